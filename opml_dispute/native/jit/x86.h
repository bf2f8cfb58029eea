/* What the parts of the translator to x86-64 share.
 *
 *   rbx   the thread, at its register 16          r14   the caches: tables of pages
 *   r15   steps left                              rsi, rdi, rbp, r8 .. r13   registers of the guest
 *   rax, rcx, rdx                                 for the moment */
#ifndef OPML_X86_H
#define OPML_X86_H
#include "translate.h"
#include "x86_assembler.h"

/* Where a field of the thread is, from rbx. */
#define THREAD_BIAS    ((int32_t)offsetof(struct thread, r) + 16 * 8)
#define THREAD(member) ((int32_t)offsetof(struct thread, member) - THREAD_BIAS)

static inline int32_t float_offset(unsigned reg) { return THREAD(f) + 4 * (int32_t)reg; }
static inline struct operand thread_at(int32_t offset) { return at_base(RBX, offset); }

#define DATA(t, member) at_address((uintptr_t)&(t)->data->member)

_Static_assert(MAX_HOMES == 9, "HOMES");
static const uint8_t HOMES[MAX_HOMES] = {RSI, RDI, RBP, R8, R9, R10, R11, R12, R13};

static inline bool has_home(const struct translator *t, unsigned reg) { return t->region->home[reg] != NOWHERE; }

/* Register `reg` of the guest; not register 0, which is no variable. */
static inline struct operand guest(const struct translator *t, unsigned reg)
{
    if (has_home(t, reg))
        return in(HOMES[t->region->home[reg]]);
    return thread_at(THREAD(r) + 8 * (int32_t)reg);
}

/* Host register := register of the guest. */
static inline void read_guest(struct translator *t, bool wide, unsigned host, unsigned reg)
{
    if (reg == 0)
        move_constant(&t->as, host, 0);
    else
        move_to(&t->as, wide, host, guest(t, reg));
}

/* A host register that holds it: its home, or `scratch`. */
static inline unsigned fetch_guest(struct translator *t, unsigned scratch, unsigned reg)
{
    if (has_home(t, reg))
        return HOMES[t->region->home[reg]];
    read_guest(t, WIDE, scratch, reg);
    return scratch;
}

/* The host register to compute register `reg` in: its home, or `scratch`. write_guest then puts it there. */
static inline unsigned home_or(const struct translator *t, unsigned scratch, unsigned reg)
{
    return has_home(t, reg) ? HOMES[t->region->home[reg]] : scratch;
}

static inline void write_guest(struct translator *t, unsigned reg, unsigned host)
{
    if (reg == DISCARD)
        return;
    move_from(&t->as, WIDE, guest(t, reg), host);
    if (has_home(t, reg))
        t->dirty |= (uint32_t)1 << reg;
}

static inline void write_guest_constant(struct translator *t, unsigned reg, uint64_t value)
{
    if (reg == DISCARD)
        return;
    if (has_home(t, reg)) {
        move_constant(&t->as, HOMES[t->region->home[reg]], value);
        t->dirty |= (uint32_t)1 << reg;
    } else if ((int64_t)value == (int32_t)value) {
        store_constant(&t->as, WIDE, guest(t, reg), (int32_t)value);
    } else {
        move_constant(&t->as, RAX, value);
        write_guest(t, reg, RAX);
    }
}

/* Host := host op register of the guest. */
static inline void calculate_guest(struct translator *t, bool wide, enum alu what, unsigned host, unsigned reg)
{
    if (reg == 0)
        calculate_constant(&t->as, wide, what, in(host), 0);
    else
        calculate(&t->as, wide, what, host, guest(t, reg));
}

/* Flags of a comparison of a register of the guest with 0. */
static inline void compare_with_zero(struct translator *t, unsigned reg)
{
    if (reg == 0) {
        move_constant(&t->as, RAX, 0);
        test_registers(&t->as, NARROW, RAX);
    } else if (has_home(t, reg)) {
        test_registers(&t->as, WIDE, HOMES[t->region->home[reg]]);
    } else {
        calculate_constant(&t->as, WIDE, ALU_CMP, guest(t, reg), 0);
    }
}

/* Flags: whether a condition code of the floating-point unit is not 0. */
static inline void test_condition_code(struct translator *t, unsigned code)
{
    encode(&t->as, 0, NARROW, 0xf7, 0, thread_at(THREAD(fcsr)), 4); /* test */
    put(&t->as, condition_bit(code), 4);
}

/* x86_integer.c, x86_float.c: false if the operation is none of theirs. */
bool x86_integer(struct translator *t, const struct instruction *it);
bool x86_float(struct translator *t, const struct instruction *it);
#endif
