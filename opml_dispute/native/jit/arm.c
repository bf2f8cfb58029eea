/* The parts of a translation that only AArch64 has: how machine code is entered and left, and where it branches. */
#if defined(__aarch64__)
#include "arm.h"

/* ---- common code ---- */

enum { FRAME_BYTES = 96 };

/* Calls data->function(x0, w1, w2), keeping x0 if `keeps`; the answer to x1, or else to x0. */
static void call_c(struct assembler *as, size_t function, bool keeps)
{
    pair(as, STORE_PAIR_AND_MOVE, LINK, keeps ? X3 : ZERO, STACK, -FRAME_BYTES);
    for (unsigned reg = 6; reg < 16; reg += 2)
        pair(as, STORE_PAIR, reg, reg + 1, STACK, (int)(8 * (reg - 4)));
    load(as, WIDE, X16, DATA_BASE, function);
    call(as, X16);
    if (keeps)
        field(as, NARROW, false, X1, X0, 0, 7); /* a bool is its low byte */
    for (unsigned reg = 6; reg < 16; reg += 2)
        pair(as, LOAD_PAIR, reg, reg + 1, STACK, (int)(8 * (reg - 4)));
    pair(as, LOAD_PAIR_AND_MOVE, LINK, keeps ? X0 : X1, STACK, FRAME_BYTES);
    go_back(as);
}

/* w1 := whether the page of address x0 is there. */
static uintptr_t ready_routine(struct assembler *as, bool to_write)
{
    uintptr_t at = here(as);
    move(as, WIDE, X3, X0);
    move(as, WIDE, X1, X0);
    load(as, WIDE, X0, DATA_BASE, DATA(machine));
    constant(as, X2, to_write);
    call_c(as, DATA(ready), true);
    return at;
}

size_t translate_common(struct common_code *common, const struct code_data *data, uint8_t *bytes, size_t room,
                        uintptr_t origin)
{
    struct assembler assembler = {bytes, bytes, bytes + room, origin, false}, *as = &assembler;
    /* Sanitizers look at what stands before a function that is called by pointer. */
    put(as, 0, 8);
    put(as, 0, 8);
    uintptr_t enter = here(as);
    pair(as, STORE_PAIR_AND_MOVE, FRAME, LINK, STACK, -FRAME_BYTES);
    for (unsigned reg = 19; reg < 29; reg += 2)
        pair(as, STORE_PAIR, reg, reg + 1, STACK, (int)(8 * (reg - 17)));
    move(as, WIDE, CACHES, X0);
    add_constant(as, WIDE, THREAD_BASE, X1, -(int64_t)register_offset(16), X4);
    move(as, WIDE, LEFT, X2);
    constant(as, DATA_BASE, (uintptr_t)data);
    jump_to(as, X3);

    common->leave_indirect = here(as);
    store(as, WIDE, X0, THREAD_BASE, THREAD(pc));
    constant(as, X0, EXIT_INDIRECT);
    common->leave = here(as);
    move(as, WIDE, X1, LEFT);
    for (unsigned reg = 19; reg < 29; reg += 2)
        pair(as, LOAD_PAIR, reg, reg + 1, STACK, (int)(8 * (reg - 17)));
    pair(as, LOAD_PAIR_AND_MOVE, FRAME, LINK, STACK, FRAME_BYTES);
    go_back(as);

    common->ready_to_read = ready_routine(as, false);
    common->ready_to_write = ready_routine(as, true);
    common->to_int = here(as); /* w0 := to_int(w0, w1) */
    call_c(as, DATA(to_int), false);

    memcpy(&common->enter, &enter, sizeof enter);
    return as->full ? 0 : position(as);
}

/* ---- jumps, steps and registers ---- */

size_t host_jump(struct translator *t) { return jump(&t->as); }

size_t host_jump_if(struct translator *t, unsigned condition) { return jump_if(&t->as, condition); }

_Static_assert(REGION_CODE_BYTES <= 1 << 20, "how far a conditional jump reaches");
void host_land(struct translator *t, size_t from, size_t target) { land_at(&t->as, from, target); }

size_t host_take_steps(struct translator *t, unsigned steps)
{
    word(&t->as, 0xf1000000 | steps << 10 | LEFT << 5 | LEFT); /* subs */
    return jump_if(&t->as, CC_BELOW);
}

void host_leave(struct translator *t, unsigned steps, unsigned exit, bool chain)
{
    struct assembler *as = &t->as;
    if (steps != 0)
        add_constant(as, WIDE, LEFT, LEFT, steps, X16);
    constant(as, X0, exit);
    if (chain) {
        constant(as, X16, DATA(links) + 8 * (uint64_t)exit);
        load_indexed(as, 8, X16, DATA_BASE, X16);
        jump_to(as, X16);
    } else {
        jump_address(as, t->common->leave);
    }
}

void host_load_home(struct translator *t, unsigned reg)
{
    load(&t->as, WIDE, HOMES[t->region->home[reg]], THREAD_BASE, register_offset(reg));
}

void host_store_home(struct translator *t, unsigned reg)
{
    store(&t->as, WIDE, HOMES[t->region->home[reg]], THREAD_BASE, register_offset(reg));
}

void host_write_constant(struct translator *t, unsigned reg, uint64_t value) { write_constant(t, reg, value); }

/* ---- instructions and branches ---- */

bool host_instruction(struct translator *t, const struct instruction *it)
{
    return arm_integer(t, it) || arm_float(t, it);
}

unsigned host_condition(struct translator *t, const struct instruction *it)
{
    if (it->operation == DO_BC1) {
        test_condition_code(t, it->b);
        return it->c ? CC_NOT_EQUAL : CC_EQUAL;
    }
    bool two = it->operation == DO_BEQ || it->operation == DO_BNE;
    unsigned b = fetch(t, X0, it->b), c = two ? fetch(t, X1, it->c) : ZERO;
    compare(&t->as, WIDE, b, c);
    switch (it->operation) {
    case DO_BEQ: return CC_EQUAL;
    case DO_BNE: return CC_NOT_EQUAL;
    case DO_BLTZ: return CC_LESS;
    case DO_BGEZ: return CC_GREATER_EQUAL;
    case DO_BLEZ: return CC_LESS_EQUAL;
    default: return CC_GREATER;
    }
}

void host_keep_condition(struct translator *t, unsigned condition)
{
    set_if(&t->as, condition, X0);
    store(&t->as, WIDE, X0, DATA_BASE, DATA(condition));
}

unsigned host_kept_condition(struct translator *t)
{
    load(&t->as, WIDE, X0, DATA_BASE, DATA(condition));
    compare(&t->as, WIDE, X0, ZERO);
    return CC_NOT_EQUAL;
}

void host_keep_target(struct translator *t, unsigned reg)
{
    store(&t->as, WIDE, fetch(t, X0, reg), THREAD_BASE, THREAD(next_pc));
}

void host_go_to_target(struct translator *t)
{
    struct assembler *as = &t->as;
    _Static_assert(sizeof(struct jump_entry) == 16 && offsetof(struct jump_entry, code) == 8, "pairs");
    _Static_assert(JUMP_ENTRIES == 1 << 12, "bits");
    load(as, WIDE, X0, THREAD_BASE, THREAD(next_pc));
    take_bits(as, X1, X0, 2, 12);
    add_constant(as, WIDE, X2, DATA_BASE, DATA(jumps), X3);
    add_shifted(as, X2, X2, X1, 4);
    pair(as, LOAD_PAIR, X3, X4, X2, 0);
    compare(as, WIDE, X3, X0);
    size_t other = jump_if(as, CC_NOT_EQUAL);
    jump_to(as, X4);
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
        land_at(as, jump_if_zero(as, NARROW, X1, false), detour->back);
        t->stubs[detour->stub].from = jump(as);
        return;
    case DETOUR_NAN:
        constant(as, X0, FPU_NAN);
        store(as, NARROW, X0, THREAD_BASE, (size_t)detour->offset);
        break;
    case DETOUR_TO_INT:
        load(as, NARROW, X0, THREAD_BASE, float_offset(detour->stub));
        constant(as, X1, detour->argument);
        call_address(as, t->common->to_int);
        store(as, NARROW, X0, THREAD_BASE, (size_t)detour->offset);
        break;
    }
    land_at(as, jump(as), detour->back);
}
#endif
