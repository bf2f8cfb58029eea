/* Translation of a region to x86-64: its blocks, how they follow each other, and how they are left.
 *
 * A block first takes its steps from what is left, all at once; where that does not suffice, and where an instruction needs
 * the interpreter, a stub gives back those that were not made, puts the registers into the thread, and leaves. */
#include "jit.h"
#include <stdlib.h>

#if defined(__x86_64__)
#include "translate.h"

struct translator *translate_workspace(void) { return malloc(sizeof(struct translator)); }

/* ---- common code ---- */

static const uint8_t KEPT_BY_CALLS[] = {RBX, RBP, R12, R13, R14, R15};
/* Of those in use; with the return address they leave the stack aligned. */
static const uint8_t LOST_BY_CALLS[] = {RAX, RSI, RDI, R8, R9, R10, R11};

static void push_all(struct assembler *as, const uint8_t *registers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        push(as, registers[i]);
}

static void pop_all(struct assembler *as, const uint8_t *registers, unsigned count)
{
    while (count-- != 0)
        pop(as, registers[count]);
}

static uintptr_t ready_routine(struct assembler *as, const struct code_data *data, bool to_write)
{
    uintptr_t at = here(as);
    push_all(as, LOST_BY_CALLS, sizeof LOST_BY_CALLS);
    move_to(as, WIDE, RDI, at_address((uintptr_t)&data->machine));
    move_to(as, WIDE, RSI, in(RAX));
    move_constant(as, RDX, to_write);
    call_through(as, at_address((uintptr_t)&data->ready));
    encode(as, 0, NARROW, 0x0fb6, RCX, in(RAX), 0); /* movzx */
    pop_all(as, LOST_BY_CALLS, sizeof LOST_BY_CALLS);
    test_registers(as, NARROW, RCX);
    put(as, 0xc3, 1);
    return at;
}

size_t translate_common(struct common_code *common, const struct code_data *data, uint8_t *bytes, size_t room,
                        uintptr_t origin)
{
    struct assembler assembler = {bytes, bytes, bytes + room, origin, false}, *as = &assembler;
    /* Sanitizers look at what stands before a function that is called by pointer. */
    put(as, 0xcccccccccccccccc, 8);
    put(as, 0xcccccccccccccccc, 8);
    uintptr_t enter = here(as);
    push_all(as, KEPT_BY_CALLS, sizeof KEPT_BY_CALLS);
    push(as, RAX); /* aligns the stack */
    move_to(as, WIDE, R14, in(RDI));
    move_to(as, WIDE, RBX, in(RSI));
    move_to(as, WIDE, R15, in(RDX));
    jump_through(as, in(RCX));

    common->leave_indirect = here(as);
    move_from(as, WIDE, thread_at(THREAD(pc)), RAX);
    move_constant(as, RAX, EXIT_INDIRECT);
    common->leave = here(as);
    move_to(as, WIDE, RDX, in(R15));
    pop(as, RCX);
    pop_all(as, KEPT_BY_CALLS, sizeof KEPT_BY_CALLS);
    put(as, 0xc3, 1);

    common->ready_to_read = ready_routine(as, data, false);
    common->ready_to_write = ready_routine(as, data, true);
    common->to_int = here(as); /* eax := to_int(eax, edx) */
    push_all(as, LOST_BY_CALLS, sizeof LOST_BY_CALLS);
    encode(as, 0, NARROW, 0x8b, RDI, in(RAX), 0);
    encode(as, 0, NARROW, 0x8b, RSI, in(RDX), 0);
    call_through(as, at_address((uintptr_t)&data->to_int));
    encode(as, 0, NARROW, 0x8b, RCX, in(RAX), 0);
    pop_all(as, LOST_BY_CALLS, sizeof LOST_BY_CALLS);
    encode(as, 0, NARROW, 0x8b, RAX, in(RCX), 0);
    put(as, 0xc3, 1);

    memcpy(&common->enter, &enter, sizeof enter);
    return as->full ? 0 : position(as);
}

/* ---- leaving ---- */

static void store_dirty(struct translator *t, uint32_t dirty)
{
    for (unsigned reg = 1; reg < 32; reg++)
        if (dirty >> reg & 1)
            move_from(&t->as, WIDE, thread_at(THREAD(r) + 8 * (int32_t)reg), HOMES[t->region->home[reg]]);
}

static void emit_stub(struct translator *t, const struct exit_stub *stub)
{
    struct assembler *as = &t->as;
    land(as, stub->from);
    store_dirty(t, stub->dirty);
    if (stub->unused_steps != 0)
        calculate_constant(as, WIDE, ALU_ADD, in(R15), (int32_t)stub->unused_steps);
    struct translation *translation = t->translation;
    unsigned number = translation->first_exit + translation->exit_count;
    translation->exits[translation->exit_count++] = stub->place;
    move_constant(as, RAX, number);
    if (stub->place.kind == EXIT_CHAIN)
        jump_through(as, DATA(t, links[number]));
    else
        jump_address(as, t->common->leave);
}

static void emit_detour(struct translator *t, const struct detour *detour)
{
    struct assembler *as = &t->as;
    land(as, detour->from);
    switch (detour->kind) {
    case DETOUR_READY:
        call_address(as, detour->argument ? t->common->ready_to_write : t->common->ready_to_read);
        land_at(as, jump_if(as, CC_NOT_EQUAL), detour->back);
        t->stubs[detour->stub].from = jump(as);
        return;
    case DETOUR_NAN: store_constant(as, NARROW, thread_at(detour->offset), FPU_NAN); break;
    case DETOUR_TO_INT:
        move_to(as, NARROW, RAX, thread_at(float_offset(detour->stub)));
        move_constant(as, RDX, detour->argument);
        call_address(as, t->common->to_int);
        move_from(as, NARROW, thread_at(detour->offset), RAX);
        break;
    }
    land_at(as, jump(as), detour->back);
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
        lead_to(t, jump(&t->as), block, pc);
}

/* To the address in rax: by the table of jumps, or out. */
static void go_indirectly(struct translator *t)
{
    struct assembler *as = &t->as;
    store_dirty(t, t->dirty);
    encode(as, 0, NARROW, 0x8b, RCX, in(RAX), 0);
    shift_constant(as, NARROW, SHIFT_RIGHT, RCX, 2);
    calculate_constant(as, NARROW, ALU_AND, in(RCX), JUMP_ENTRIES - 1);
    shift_constant(as, NARROW, SHIFT_LEFT, RCX, 4);
    _Static_assert(sizeof(struct jump_entry) == 16, "shift");
    encode(as, 0, WIDE, 0x8d, RDX, DATA(t, jumps), 0); /* lea */
    encode(as, 0, WIDE, 0x3b, RAX, at_index(RDX, RCX, (int32_t)offsetof(struct jump_entry, pc)), 0);
    size_t other = jump_if(as, CC_NOT_EQUAL);
    jump_through(as, at_index(RDX, RCX, (int32_t)offsetof(struct jump_entry, code)));
    land(as, other);
    jump_address(as, t->common->leave_indirect);
}

/* ---- blocks ---- */

static void translate_instruction(struct translator *t, const struct instruction *it)
{
    if (!translate_integer(t, it) && !translate_memory(t, it) && !translate_float(t, it))
        abort(); /* region.c lets in what nothing here translates */
}

/* Sets the flags for a conditional branch; answers which mean that it is taken. */
static enum condition branch_condition(struct translator *t, const struct instruction *it)
{
    switch (it->operation) {
    case DO_BEQ:
    case DO_BNE: {
        enum condition when = it->operation == DO_BEQ ? CC_EQUAL : CC_NOT_EQUAL;
        if (it->c == 0) {
            compare_with_zero(t, it->b);
        } else if (it->b == 0) {
            compare_with_zero(t, it->c);
        } else {
            unsigned b = fetch_guest(t, RAX, it->b);
            calculate_guest(t, WIDE, ALU_CMP, b, it->c);
        }
        return when;
    }
    case DO_BC1: test_condition_code(t, it->b); return it->c ? CC_NOT_EQUAL : CC_EQUAL;
    default: compare_with_zero(t, it->b);
    }
    switch (it->operation) {
    case DO_BLTZ: return CC_LESS;
    case DO_BGEZ: return CC_GREATER_EQUAL;
    case DO_BLEZ: return CC_LESS_EQUAL;
    default: return CC_GREATER;
    }
}

static void translate_branch(struct translator *t, unsigned at, const struct code_block *block)
{
    struct assembler *as = &t->as;
    const struct instruction *branch = &t->region->instructions[block->first + block->count - 2], *slot = branch + 1;
    bool disturbs = (instruction_writes(slot) & instruction_reads(branch)) != 0 ||
                    (branch->operation == DO_BC1 && slot->operation == DO_C_COND);
    enum condition when;
    if (disturbs) {
        when = branch_condition(t, branch);
        encode(as, 0, NARROW, 0x0f90 | when, 0, DATA(t, condition), 0); /* set byte */
        translate_instruction(t, slot);
        encode(as, 0, NARROW, 0x80, ALU_CMP, DATA(t, condition), 1); /* cmp byte */
        put(as, 0, 1);
        when = CC_NOT_EQUAL;
    } else {
        translate_instruction(t, slot);
        when = branch_condition(t, branch);
    }
    t->unused_steps = 0;
    lead_to(t, jump_if(as, when), block->taken_block, block->taken);
    go_to(t, at, block->next_block, block->next);
}

static void translate_call(struct translator *t, const struct code_block *block)
{
    const struct instruction *slot = &t->region->instructions[block->first + block->count - 1];
    write_guest_constant(t, 31, block->next);
    t->unused_steps = 1;
    t->leave_place = (struct exit_place){block->next - 4, block->taken, EXIT_IN_SLOT};
    translate_instruction(t, slot);
    t->unused_steps = 0;
    lead_to(t, jump(&t->as), NOWHERE, block->taken);
}

static void translate_indirect(struct translator *t, const struct code_block *block)
{
    struct assembler *as = &t->as;
    const struct instruction *branch = &t->region->instructions[block->first + block->count - 2], *slot = branch + 1;
    read_guest(t, WIDE, RAX, branch->b);
    move_from(as, WIDE, thread_at(THREAD(next_pc)), RAX);
    if (branch->a != DISCARD)
        write_guest_constant(t, branch->a, block->next);
    t->unused_steps = 1;
    t->leave_place = (struct exit_place){block->next - 4, 0, EXIT_IN_INDIRECT_SLOT};
    translate_instruction(t, slot);
    t->unused_steps = 0;
    move_to(as, WIDE, RAX, thread_at(THREAD(next_pc)));
    go_indirectly(t);
}

static void translate_block(struct translator *t, unsigned at)
{
    struct assembler *as = &t->as;
    const struct code_block *block = &t->region->blocks[at];
    t->labels[at] = position(as);
    t->dirty = block->dirty_in;
    t->unused_steps = block->count;
    t->leave_place = (struct exit_place){block->pc, block->pc + 4, EXIT_INTERPRET};
    if (block->count != 0) {
        calculate_constant(as, WIDE, ALU_SUB, in(R15), (int32_t)block->count);
        leave_if(t, CC_BELOW);
    }
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
    case END_INTERPRET: add_stub(t, jump(as), t->leave_place); break;
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
            move_to(&t->as, WIDE, HOMES[t->region->home[reg]], thread_at(THREAD(r) + 8 * (int32_t)reg));
    land_at(&t->as, jump(&t->as), t->labels[at]);
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
        land_at(&t->as, t->fixups[i].from, t->labels[t->fixups[i].block]);
    for (unsigned i = 0; i < t->detour_count; i++)
        emit_detour(t, &t->detours[i]);
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
