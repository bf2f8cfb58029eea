/* What the parts of the translator to AArch64 share.
 *
 *   x19   the thread                 x21   steps left
 *   x20   the caches                 x22   the data beside the code
 *   x6 .. x15, x23 .. x28            registers of the guest
 *   x0 .. x5, x16                    for the moment; x0 is an address or a result */
#ifndef OPML_ARM_H
#define OPML_ARM_H
#include "arm_assembler.h"
#include "translate.h"

#define THREAD(member) offsetof(struct thread, member)
#define DATA(member)   offsetof(struct code_data, member)

static inline size_t register_offset(unsigned reg) { return THREAD(r) + 8 * reg; }
static inline size_t float_offset(unsigned reg) { return THREAD(f) + 4 * reg; }

_Static_assert(MAX_HOMES == 16, "HOMES");
static const uint8_t HOMES[MAX_HOMES] = {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 23, 24, 25, 26, 27, 28};

static inline bool has_home(const struct translator *t, unsigned reg) { return t->region->home[reg] != NOWHERE; }

/* A host register that holds register `reg` of the guest: ZERO, its home, or `scratch`. Not to be written. */
static inline unsigned fetch(struct translator *t, unsigned scratch, unsigned reg)
{
    if (reg == 0)
        return ZERO;
    if (has_home(t, reg))
        return HOMES[t->region->home[reg]];
    load(&t->as, WIDE, scratch, THREAD_BASE, register_offset(reg));
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
    if (has_home(t, reg)) {
        move(&t->as, WIDE, HOMES[t->region->home[reg]], host);
        t->dirty |= (uint32_t)1 << reg;
    } else {
        store(&t->as, WIDE, host, THREAD_BASE, register_offset(reg));
    }
}

/* The low 32 bits of `from`, sign-extended. */
static inline void write_extended(struct translator *t, unsigned reg, unsigned from)
{
    unsigned to = home_or(t, X0, reg);
    extend(&t->as, to, from, 4);
    write_guest(t, reg, to);
}

static inline void write_constant(struct translator *t, unsigned reg, uint64_t value)
{
    if (reg == DISCARD)
        return;
    unsigned to = value == 0 && !has_home(t, reg) ? ZERO : home_or(t, X0, reg);
    if (to != ZERO)
        constant(&t->as, to, value);
    write_guest(t, reg, to);
}

/* Flags: whether a condition code of the floating-point unit is not 0. */
static inline void test_condition_code(struct translator *t, unsigned code)
{
    load(&t->as, NARROW, X1, THREAD_BASE, THREAD(fcsr));
    unsigned bit = (unsigned)__builtin_ctz(condition_bit(code));
    word(&t->as, 0x7200001f | ((32 - bit) & 31) << 16 | X1 << 5); /* tst */
}

/* arm_integer.c, arm_float.c: false if the operation is none of theirs. */
bool arm_integer(struct translator *t, const struct instruction *it);
bool arm_float(struct translator *t, const struct instruction *it);
#endif
