/* Translation of a region, whatever the processor: its blocks, how they follow each other, and how they are left.
 *
 * A block first takes its steps from what is left, all at once; where that does not suffice, and where an instruction needs
 * the interpreter, a stub gives back those that were not made, puts the registers into the thread, and leaves. */
#include "translate.h"
#include <stdlib.h>

#if defined(__x86_64__) || defined(__aarch64__)

struct translator *translate_workspace(void) { return malloc(sizeof(struct translator)); }

/* ---- leaving ---- */

static void store_dirty(struct translator *t, uint32_t dirty)
{
    for (unsigned reg = 1; reg < 32; reg++)
        if (dirty >> reg & 1)
            host_store_home(t, reg);
}

static void emit_stub(struct translator *t, const struct exit_stub *stub)
{
    struct translation *translation = t->translation;
    unsigned number = translation->first_exit + translation->exit_count;
    translation->exits[translation->exit_count++] = stub->place;
    host_land(t, stub->from, position(&t->as));
    store_dirty(t, stub->dirty);
    host_leave(t, stub->unused_steps, number, stub->place.kind == EXIT_CHAIN);
}

/* The jump at `from` leads to a block of the region, or out of it. */
static void lead_to(struct translator *t, size_t from, int block, uint64_t pc)
{
    if (block == NOWHERE) {
        add_stub(t, from, (struct exit_place){pc, pc + 4, EXIT_CHAIN});
    } else {
        t->fixups[t->fixup_count].from = from;
        t->fixups[t->fixup_count++].block = block;
    }
}

static void go_to(struct translator *t, unsigned at, int block, uint64_t pc)
{
    if (block != (int)at + 1)
        lead_to(t, host_jump(t), block, pc);
}

/* ---- blocks ---- */

static void translate_instruction(struct translator *t, const struct instruction *it)
{
    if (!translate_operation(t, it))
        abort(); /* region.c lets in what nothing here translates */
}

static void translate_branch(struct translator *t, unsigned at, const struct code_block *block)
{
    const struct instruction *branch = &t->region->instructions[block->first + block->count - 2], *slot = branch + 1;
    bool disturbs = (instruction_writes(slot) & instruction_reads(branch)) != 0 ||
                    (branch->operation == DO_BC1 && slot->operation == DO_C_COND);
    unsigned condition;
    if (disturbs) {
        host_keep_condition(t, host_condition(t, branch));
        translate_instruction(t, slot);
        condition = host_kept_condition(t);
    } else {
        translate_instruction(t, slot);
        condition = host_condition(t, branch);
    }
    t->unused_steps = 0;
    lead_to(t, host_jump_if(t, condition), block->taken_block, block->taken);
    go_to(t, at, block->next_block, block->next);
}

static void translate_call(struct translator *t, const struct code_block *block)
{
    const struct instruction *slot = &t->region->instructions[block->first + block->count - 1];
    host_write_constant(t, 31, block->next);
    t->unused_steps = 1;
    t->leave_place = (struct exit_place){block->next - 4, block->taken, EXIT_IN_SLOT};
    translate_instruction(t, slot);
    t->unused_steps = 0;
    lead_to(t, host_jump(t), NOWHERE, block->taken);
}

static void translate_indirect(struct translator *t, const struct code_block *block)
{
    const struct instruction *branch = &t->region->instructions[block->first + block->count - 2], *slot = branch + 1;
    host_keep_target(t, branch->b);
    if (branch->a != DISCARD)
        host_write_constant(t, branch->a, block->next);
    t->unused_steps = 1;
    t->leave_place = (struct exit_place){block->next - 4, 0, EXIT_IN_INDIRECT_SLOT};
    translate_instruction(t, slot);
    t->unused_steps = 0;
    store_dirty(t, t->dirty);
    host_go_to_target(t);
}

static void translate_block(struct translator *t, unsigned at)
{
    const struct code_block *block = &t->region->blocks[at];
    t->labels[at] = position(&t->as);
    t->dirty = block->dirty_in;
    t->unused_steps = block->count;
    t->leave_place = (struct exit_place){block->pc, block->pc + 4, EXIT_INTERPRET};
    if (block->count != 0)
        add_stub(t, host_take_steps(t, block->count), t->leave_place);
    bool branches = block->end != END_FALL && block->end != END_INTERPRET;
    unsigned straight = block->count - (branches ? 2 : 0);
    for (unsigned i = 0; i < straight; i++) {
        translate_instruction(t, &t->region->instructions[block->first + i]);
        t->unused_steps--;
        t->leave_place.pc += 4;
        t->leave_place.next_pc += 4;
    }
    /* From here on leave_place is the branch, which has no effect before its delay slot, but for links. */
    switch (block->end) {
    case END_FALL: go_to(t, at, block->next_block, block->next); break;
    case END_BRANCH: translate_branch(t, at, block); break;
    case END_JUMP:
        translate_instruction(t, &t->region->instructions[block->first + block->count - 1]);
        t->unused_steps = 0;
        go_to(t, at, block->taken_block, block->taken);
        break;
    case END_CALL: translate_call(t, block); break;
    case END_INDIRECT: translate_indirect(t, block); break;
    case END_INTERPRET: add_stub(t, host_jump(t), t->leave_place); break;
    }
}

static void emit_entry(struct translator *t, unsigned at)
{
    const struct code_block *block = &t->region->blocks[at];
    struct translation *translation = t->translation;
    translation->entries[translation->entry_count].pc = block->pc;
    translation->entries[translation->entry_count++].offset = position(&t->as);
    for (unsigned reg = 1; reg < 32; reg++)
        if (block->needed_in >> reg & 1)
            host_load_home(t, reg);
    host_land(t, host_jump(t), t->labels[at]);
}

bool translate(struct translation *translation, const struct common_code *common, const struct code_data *data,
               uintptr_t origin)
{
    struct translator *t = translation->workspace;
    const struct region *region = translation->region;
    t->as = (struct assembler){translation->bytes, translation->bytes, translation->bytes + REGION_CODE_BYTES, origin,
                               false};
    t->region = region;
    t->translation = translation;
    t->common = common;
    t->data = data;
    t->fixup_count = t->stub_count = t->detour_count = 0;
    translation->exit_count = translation->entry_count = 0;
    for (unsigned at = 0; at < region->block_count; at++)
        translate_block(t, at);
    if (t->stub_count > translation->exit_room)
        return false;
    for (unsigned i = 0; i < t->fixup_count; i++)
        host_land(t, t->fixups[i].from, t->labels[t->fixups[i].block]);
    for (unsigned i = 0; i < t->detour_count; i++)
        host_detour(t, &t->detours[i]);
    for (unsigned i = 0; i < t->stub_count; i++)
        emit_stub(t, &t->stubs[i]);
    for (unsigned at = 0; at < region->block_count; at++)
        if (region->blocks[at].entry)
            emit_entry(t, at);
    translation->count = position(&t->as);
    return !t->as.full;
}
#else
struct translator *translate_workspace(void) { return NULL; }

size_t translate_common(struct common_code *common, const struct code_data *data, uint8_t *bytes, size_t room,
                        uintptr_t origin)
{
    (void)common, (void)data, (void)bytes, (void)room, (void)origin;
    return 0;
}

bool translate(struct translation *translation, const struct common_code *common, const struct code_data *data,
               uintptr_t origin)
{
    (void)translation, (void)common, (void)data, (void)origin;
    return false;
}
#endif
