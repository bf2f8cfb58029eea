/* Running a machine by compiled code, block by block by the interpreter where there is none yet.
 *
 * The first steps of a machine are the interpreter's alone. Then every address where a block starts is counted, and
 * compiled when it was met often enough. The interpreter (vm/run.c) stays the reference: whatever is rare, may fail, or
 * would pass the limit of steps, is left to it, at exactly that instruction. */
#include "compiled.h"
#include "export.h"
#include <stdlib.h>

enum {
    COLD_STEPS = 1 << 22, /* of a machine before anything is counted */
    HOT_VISITS = 50,
    EARLY_VISITS = 3, /* for tests of what real runs come to */
    MAX_DROPS = 64,   /* a program that changes its own code so often is better interpreted */
};

struct jit {
    struct compiled *compiled; /* NULL until it is needed */
    bool off;                  /* it cannot be, or is not worth it */
    bool in_doubt;             /* memory was changed by other means than stores */
    unsigned drops;
    uint64_t cold_steps;
    unsigned hot_visits;
    bool everything; /* regions of all that can be reached, not only of what was met */
    struct heat heat;
};

static struct jit *jit_of(struct machine *machine) { return machine->acceleration; }

static void drop(struct jit *jit)
{
    compiled_forget(jit->compiled);
    if (++jit->drops >= MAX_DROPS) {
        compiled_free(jit->compiled);
        jit->compiled = NULL;
        jit->off = true;
    }
}

/* ---- what memory says ---- */

/* A store by the interpreter. True: the page must go on saying so. */
static bool stored(struct machine *machine, uint64_t address, unsigned size)
{
    struct jit *jit = jit_of(machine);
    if (jit->compiled == NULL)
        return false;
    const struct covered_page *page = compiled_page(jit->compiled, address >> MEMORY_PAGE_LOG2);
    if (page == NULL)
        return false;
    if (size != 0 && compiled_from(page, address, size))
        drop(jit);
    return true;
}

static void changed(struct machine *machine) { jit_of(machine)->in_doubt = true; }

static void destroy(struct machine *machine)
{
    struct jit *jit = jit_of(machine);
    compiled_free(jit->compiled);
    free(jit);
}

/* ---- running ---- */

/* The code at the thread's pc, compiled if it has become hot; or NULL. */
static const void *code_for(struct jit *jit, struct machine *machine, uint64_t pc)
{
    if (jit->off || pc & 3)
        return NULL;
    if (jit->compiled == NULL) {
        jit->compiled = compiled_make(machine);
        if (jit->compiled == NULL) {
            jit->off = true;
            return NULL;
        }
    }
    if (jit->in_doubt) {
        if (!compiled_holds(jit->compiled, machine))
            drop(jit);
        jit->in_doubt = false;
        if (jit->off)
            return NULL;
    }
    const void *code = compiled_find(jit->compiled, pc);
    uint8_t *heat = heat_of(&jit->heat, pc);
    if (code != NULL || ++*heat < jit->hot_visits)
        return code;
    *heat = 1; /* met, and to be counted again if it is dropped */
    bool broken = false;
    code = compiled_add(jit->compiled, machine, pc, jit->everything ? NULL : &jit->heat, &broken);
    if (broken) {
        compiled_free(jit->compiled);
        jit->compiled = NULL;
        jit->off = true;
    }
    return code;
}

/* How many steps the interpreter makes at least until a block ends: to behind a delay slot, or before what is never
 * compiled. 1 or more. */
static uint64_t steps_to_block_end(struct machine *machine, const struct thread *thread)
{
    uint64_t steps = 0, pc = thread->pc;
    struct instruction it;
    if (thread->next_pc != pc + 4)
        return 1;
    for (; steps < MAX_BLOCK_STEPS; steps++, pc += 4) {
        if (machine_fetch(machine, pc, &it) != REASON_NONE)
            break;
        unsigned traits = operation_traits(it.operation);
        if (traits & IS_BRANCH)
            return steps + 2;
        if (traits & INTERPRETED)
            return steps == 0 ? 1 : steps;
    }
    return steps == 0 ? 1 : steps;
}

/* Goes on in compiled code from `code`. Answers how it was left; the thread stands where it goes on. */
static enum exit_kind run_code(struct jit *jit, struct machine *machine, struct thread *thread, const void *code,
                               uint64_t *left, uint64_t *exit)
{
    struct compiled *compiled = jit->compiled;
    compiled->memory.data->ll_address = machine->vm.ll_address;
    struct departure departure = compiled->common.enter(machine->caches, &thread->r[16], *left, code);
    machine->vm.step += *left - departure.left;
    machine->vm.slice += *left - departure.left;
    *left = departure.left;
    *exit = departure.exit;
    if (departure.exit == EXIT_INDIRECT) {
        thread->next_pc = thread->pc + 4;
        return EXIT_CHAIN;
    }
    const struct exit_place *place = &compiled->exits[departure.exit];
    thread->pc = place->pc;
    if (place->kind != EXIT_IN_INDIRECT_SLOT)
        thread->next_pc = place->next_pc;
    return place->kind;
}

/* The next time that exit is taken, or that address jumped to, it goes straight to `code`. */
static void link(struct jit *jit, uint64_t exit, uint64_t pc, const void *code)
{
    struct code_data *data = jit->compiled->memory.data;
    if (exit == EXIT_INDIRECT)
        data->jumps[pc >> 2 & (JUMP_ENTRIES - 1)] = (struct jump_entry){pc, code};
    else
        data->links[exit] = code;
}

static enum reason run(struct machine *machine, struct thread *thread, uint64_t limit, enum then *then,
                       struct thread *child)
{
    struct jit *jit = jit_of(machine);
    struct vm *vm = &machine->vm;
    if (jit->off || thread->r[0] != 0) /* register 0 of a made-up state may hold anything */
        return machine_interpret(machine, thread, limit, then, child);
    uint64_t left = limit, exit = 0;
    bool may_link = false;
    *then = THEN_GO_ON;
    if (jit->cold_steps != 0) {
        uint64_t steps = left < jit->cold_steps ? left : jit->cold_steps, first = vm->step;
        enum reason reason = machine_interpret(machine, thread, steps, then, child);
        left -= vm->step - first;
        jit->cold_steps -= vm->step - first;
        if (reason != REASON_NONE || *then != THEN_GO_ON)
            return reason;
    }
    while (left != 0) {
        if (thread->next_pc == thread->pc + 4) {
            const struct compiled *before = jit->compiled;
            uint64_t forgotten = before == NULL ? 0 : before->times_forgotten;
            const void *code = code_for(jit, machine, thread->pc);
            if (code != NULL) {
                /* Unless all was forgotten on the way, and the exit with it. */
                if (may_link && jit->compiled == before && before->times_forgotten == forgotten)
                    link(jit, exit, thread->pc, code);
                may_link = run_code(jit, machine, thread, code, &left, &exit) == EXIT_CHAIN;
                if (may_link)
                    continue;
                if (left == 0)
                    break;
            }
        }
        may_link = false;
        uint64_t steps = steps_to_block_end(machine, thread), first = vm->step;
        enum reason reason = machine_interpret(machine, thread, left < steps ? left : steps, then, child);
        left -= vm->step - first;
        if (reason != REASON_NONE || *then != THEN_GO_ON)
            return reason;
    }
    return REASON_NONE;
}

static const struct accelerator JIT = {run, stored, changed, destroy};

/* How this machine runs: 0, by the interpreter; 1, compiled where it is worth it. For tests: 2, everything compiled from
 * the first step on; 3, as 1, but after few visits. The states are the same. False: out of memory. */
EXPORT int opml_machine_compile(struct machine *machine, int how)
{
    if (machine->accelerator != NULL)
        machine->accelerator->destroy(machine);
    machine->accelerator = NULL;
    machine->acceleration = NULL;
    if (how == 0)
        return 1;
    struct jit *jit = calloc(1, sizeof *jit);
    if (jit == NULL)
        return 0;
    jit->cold_steps = how == 1 ? COLD_STEPS : 0;
    jit->hot_visits = how == 1 ? HOT_VISITS : how == 2 ? 1 : EARLY_VISITS;
    jit->everything = how == 2;
    machine->accelerator = &JIT;
    machine->acceleration = jit;
    return 1;
}

/* What compiled code there is: entries, bytes, and how often all of it was dropped because words under it changed; -1 as
 * entries: none can be made. */
EXPORT void opml_machine_compiled(const struct machine *machine, int64_t out[static 3])
{
    const struct jit *jit = machine->acceleration;
    out[0] = out[1] = out[2] = 0;
    if (jit == NULL)
        return;
    out[0] = jit->off ? -1 : jit->compiled == NULL ? 0 : (int64_t)jit->compiled->entry_count;
    out[1] = jit->compiled == NULL ? 0 : (int64_t)jit->compiled->memory.used;
    out[2] = jit->drops;
}
