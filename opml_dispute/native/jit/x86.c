/* The parts of a translation that only x86-64 has: how machine code is entered and left, and where it branches. */
#if defined(__x86_64__)
#include "x86.h"

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

/* ---- jumps, steps and registers ---- */

size_t host_jump(struct translator *t) { return jump(&t->as); }

size_t host_jump_if(struct translator *t, unsigned condition) { return jump_if(&t->as, condition); }

void host_land(struct translator *t, size_t from, size_t target) { land_at(&t->as, from, target); }

size_t host_take_steps(struct translator *t, unsigned steps)
{
    calculate_constant(&t->as, WIDE, ALU_SUB, in(R15), (int32_t)steps);
    return jump_if(&t->as, CC_BELOW);
}

void host_leave(struct translator *t, unsigned steps, unsigned exit, bool chain)
{
    struct assembler *as = &t->as;
    if (steps != 0)
        calculate_constant(as, WIDE, ALU_ADD, in(R15), (int32_t)steps);
    move_constant(as, RAX, exit);
    if (chain)
        jump_through(as, DATA(t, links[exit]));
    else
        jump_address(as, t->common->leave);
}

void host_load_home(struct translator *t, unsigned reg)
{
    move_to(&t->as, WIDE, HOMES[t->region->home[reg]], thread_at(THREAD(r) + 8 * (int32_t)reg));
}

void host_store_home(struct translator *t, unsigned reg)
{
    move_from(&t->as, WIDE, thread_at(THREAD(r) + 8 * (int32_t)reg), HOMES[t->region->home[reg]]);
}

void host_write_constant(struct translator *t, unsigned reg, uint64_t value) { write_guest_constant(t, reg, value); }

/* ---- instructions and branches ---- */

bool host_instruction(struct translator *t, const struct instruction *it)
{
    return x86_integer(t, it) || x86_float(t, it);
}

unsigned host_condition(struct translator *t, const struct instruction *it)
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

void host_keep_condition(struct translator *t, unsigned condition)
{
    encode(&t->as, 0, NARROW, 0x0f90 | condition, 0, DATA(t, condition), 0); /* set byte */
}

unsigned host_kept_condition(struct translator *t)
{
    encode(&t->as, 0, NARROW, 0x80, ALU_CMP, DATA(t, condition), 1); /* cmp byte */
    put(&t->as, 0, 1);
    return CC_NOT_EQUAL;
}

void host_keep_target(struct translator *t, unsigned reg)
{
    read_guest(t, WIDE, RAX, reg);
    move_from(&t->as, WIDE, thread_at(THREAD(next_pc)), RAX);
}

void host_go_to_target(struct translator *t)
{
    struct assembler *as = &t->as;
    move_to(as, WIDE, RAX, thread_at(THREAD(next_pc)));
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

void host_detour(struct translator *t, const struct detour *detour)
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
#endif
