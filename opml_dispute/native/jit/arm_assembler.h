/* AArch64 instructions, each four bytes. `wide`: 64 bits, otherwise 32. Register 31 is zero wherever the name `ZERO` may
 * stand; in sums with a constant and as the base of an address it would be the stack. */
#ifndef OPML_ARM_ASSEMBLER_H
#define OPML_ARM_ASSEMBLER_H
#include "assembler.h"
#include <string.h>

enum {
    X0,
    X1,
    X2,
    X3,
    X4,
    X5,
    X16 = 16,
    THREAD_BASE = 19,
    CACHES,
    LEFT,
    DATA_BASE,
    FRAME = 29,
    LINK,
    ZERO,
    STACK = 31
};
enum { S0, S1, S2 };

/* As they stand in the encoding. */
enum condition {
    CC_EQUAL,
    CC_NOT_EQUAL,
    CC_ABOVE_EQUAL,
    CC_BELOW,
    CC_MINUS,
    CC_UNORDERED = 6,
    CC_ORDERED,
    CC_BELOW_EQUAL = 9,
    CC_GREATER_EQUAL,
    CC_LESS,
    CC_GREATER,
    CC_LESS_EQUAL,
};

static inline void word(struct assembler *as, uint32_t instruction) { put(as, instruction, 4); }

static inline uint32_t size_bit(bool wide) { return wide ? 0x80000000 : 0; }

/* A word with its operands in the usual fields. */
static inline void three(struct assembler *as, uint32_t code, unsigned to, unsigned n, unsigned m)
{
    word(as, code | m << 16 | n << 5 | to);
}

/* ---- registers and constants ---- */

enum alu {
    ALU_ADD = 0x0b000000,
    ALU_SUB = 0x4b000000,
    ALU_AND = 0x0a000000,
    ALU_OR = 0x2a000000,
    ALU_XOR = 0x4a000000,
    ALU_OR_NOT = 0x2a200000,
    /* n | ~m */ ALU_CLEAR = 0x0a200000 /* n & ~m */
};

static inline void calculate(struct assembler *as, bool wide, enum alu what, unsigned to, unsigned n, unsigned m)
{
    three(as, (uint32_t)what | size_bit(wide), to, n, m);
}

/* to := n + (m << shift). */
static inline void add_shifted(struct assembler *as, unsigned to, unsigned n, unsigned m, unsigned shift)
{
    word(as, 0x8b000000 | m << 16 | shift << 10 | n << 5 | to);
}

static inline void move(struct assembler *as, bool wide, unsigned to, unsigned from)
{
    if (to != from || !wide)
        calculate(as, wide, ALU_OR, to, ZERO, from);
}

static inline void constant(struct assembler *as, unsigned to, uint64_t value)
{
    bool inverted = value >> 32 == 0xffffffff;
    uint64_t rest = inverted ? ~value : value;
    unsigned first = 0;
    while (first < 3 && (rest >> 16 * first & 0xffff) == 0)
        first++;
    /* movz, or movn, sets all other bits as well; movk then sets what still differs. */
    word(as, (inverted ? 0x92800000 : 0xd2800000) | first << 21 | (uint32_t)(rest >> 16 * first & 0xffff) << 5 | to);
    for (unsigned i = first + 1; i < 4; i++)
        if ((rest >> 16 * i & 0xffff) != 0)
            word(as, 0xf2800000 | i << 21 | (uint32_t)(value >> 16 * i & 0xffff) << 5 | to);
}

/* to := n + value; neither is ZERO. `scratch` is neither. */
static inline void add_constant(struct assembler *as, bool wide, unsigned to, unsigned n, int64_t value,
                                unsigned scratch)
{
    if (value == 0) {
        move(as, wide, to, n);
    } else if (value > -4096 && value < 4096) {
        uint32_t code = value > 0 ? 0x11000000 : 0x51000000;
        word(as, code | size_bit(wide) | (uint32_t)(value > 0 ? value : -value) << 10 | n << 5 | to);
    } else {
        constant(as, scratch, (uint64_t)value);
        calculate(as, wide, ALU_ADD, to, n, scratch);
    }
}

/* to := n & (`ones` ones, `zeros` places to the left). */
static inline void and_ones(struct assembler *as, unsigned to, unsigned n, unsigned ones, unsigned zeros)
{
    word(as, 0x92400000 | (-zeros & 63) << 16 | (ones - 1) << 10 | n << 5 | to);
}

/* ---- comparisons ---- */

static inline void compare(struct assembler *as, bool wide, unsigned n, unsigned m)
{
    three(as, 0x6b000000 | size_bit(wide), ZERO, n, m);
}

/* n is not ZERO. */
static inline void compare_constant(struct assembler *as, bool wide, unsigned n, unsigned small)
{
    word(as, 0x7100001f | size_bit(wide) | small << 10 | n << 5);
}

static inline void set_if(struct assembler *as, enum condition when, unsigned to)
{
    word(as, 0x9a9f07e0 | (when ^ 1u) << 12 | to);
}

/* to := when ? n : m */
static inline void choose(struct assembler *as, enum condition when, unsigned to, unsigned n, unsigned m)
{
    word(as, 0x9a800000 | m << 16 | (uint32_t)when << 12 | n << 5 | to);
}

/* ---- shifts and fields ---- */

static inline void field(struct assembler *as, bool wide, bool is_signed, unsigned to, unsigned n, unsigned r,
                         unsigned s)
{
    uint32_t code = is_signed ? 0x13000000 : 0x53000000;
    word(as, code | (wide ? 0x80400000 : 0) | r << 16 | s << 10 | n << 5 | to);
}

static inline void shift_constant(struct assembler *as, bool wide, enum shift how, unsigned to, unsigned n,
                                  unsigned count)
{
    unsigned top = wide ? 63 : 31;
    if (how == SHIFT_LEFT)
        field(as, wide, false, to, n, (top + 1 - count) & top, top - count);
    else
        field(as, wide, how == SHIFT_ARITHMETIC, to, n, count, top);
}

/* By the low bits of m. */
static inline void shift_by(struct assembler *as, bool wide, enum shift how, unsigned to, unsigned n, unsigned m)
{
    three(as, (0x1ac02000 + ((uint32_t)how << 10)) | size_bit(wide), to, n, m);
}

/* to := `bits` low bits of n, from bit `first` on. */
static inline void take_bits(struct assembler *as, unsigned to, unsigned n, unsigned first, unsigned bits)
{
    field(as, WIDE, false, to, n, first, first + bits - 1);
}

static inline void extend(struct assembler *as, unsigned to, unsigned n, unsigned bytes)
{
    field(as, WIDE, true, to, n, 0, 8 * bytes - 1);
}

/* The bytes of the low 2, 4 or 8 of n in the other order; above them zeros. Of 2: n has no others. */
static inline void swap_bytes(struct assembler *as, unsigned bytes, unsigned to, unsigned n)
{
    word(as, (bytes == 8 ? 0xdac00c00 : bytes == 4 ? 0x5ac00800 : 0x5ac00400) | n << 5 | to);
}

/* ---- memory ---- */

/* At a multiple of 8 (or of 4, if narrow) bytes from `base`. */
static inline void load(struct assembler *as, bool wide, unsigned to, unsigned base, size_t offset)
{
    word(as, (wide ? 0xf9400000 : 0xb9400000) | (uint32_t)(offset / (wide ? 8 : 4)) << 10 | base << 5 | to);
}

static inline void store(struct assembler *as, bool wide, unsigned from, unsigned base, size_t offset)
{
    word(as, (wide ? 0xf9000000 : 0xb9000000) | (uint32_t)(offset / (wide ? 8 : 4)) << 10 | base << 5 | from);
}

static inline void load_byte(struct assembler *as, unsigned to, unsigned base, size_t offset)
{
    word(as, 0x39400000 | (uint32_t)offset << 10 | base << 5 | to);
}

static inline void store_byte(struct assembler *as, unsigned from, unsigned base, size_t offset)
{
    word(as, 0x39000000 | (uint32_t)offset << 10 | base << 5 | from);
}

/* 1, 2, 4 or 8 bytes at base + index, zero-extended. */
static inline void load_indexed(struct assembler *as, unsigned bytes, unsigned to, unsigned base, unsigned index)
{
    three(as, 0x38606800 | (uint32_t)__builtin_ctz(bytes) << 30, to, base, index);
}

static inline void store_indexed(struct assembler *as, unsigned bytes, unsigned from, unsigned base, unsigned index)
{
    three(as, 0x38206800 | (uint32_t)__builtin_ctz(bytes) << 30, from, base, index);
}

enum pair {
    LOAD_PAIR = 0xa9400000,
    STORE_PAIR = 0xa9000000,
    STORE_PAIR_AND_MOVE = 0xa9800000,
    LOAD_PAIR_AND_MOVE = 0xa8c00000
};
static inline void pair(struct assembler *as, enum pair what, unsigned first, unsigned second, unsigned base,
                        int offset)
{
    word(as, (uint32_t)what | ((uint32_t)(offset / 8) & 0x7f) << 15 | second << 10 | base << 5 | first);
}

/* ---- jumps ---- */

/* Jumps whose target is set later, by land_at. */
static inline size_t jump(struct assembler *as)
{
    word(as, 0x14000000);
    return position(as) - 4;
}

static inline size_t jump_if(struct assembler *as, enum condition when)
{
    word(as, 0x54000000 | (uint32_t)when);
    return position(as) - 4;
}

static inline size_t jump_if_zero(struct assembler *as, bool wide, unsigned n, bool is_zero)
{
    word(as, (is_zero ? 0x34000000 : 0x35000000) | size_bit(wide) | n);
    return position(as) - 4;
}

static inline void land_at(struct assembler *as, size_t from, size_t target)
{
    if (as->full)
        return;
    uint32_t instruction, distance = ((uint32_t)target - (uint32_t)from) >> 2;
    memcpy(&instruction, as->start + from, 4);
    instruction |= instruction >> 26 == 0x05 ? distance & 0x3ffffff : (distance & 0x7ffff) << 5;
    memcpy(as->start + from, &instruction, 4);
}

static inline void land(struct assembler *as, size_t from) { land_at(as, from, position(as)); }

static inline void jump_address(struct assembler *as, uintptr_t target)
{
    word(as, 0x14000000 | ((uint32_t)((target - here(as)) >> 2) & 0x3ffffff));
}

static inline void call_address(struct assembler *as, uintptr_t target)
{
    word(as, 0x94000000 | ((uint32_t)((target - here(as)) >> 2) & 0x3ffffff));
}

static inline void jump_to(struct assembler *as, unsigned n) { word(as, 0xd61f0000 | n << 5); }
static inline void call(struct assembler *as, unsigned n) { word(as, 0xd63f0000 | n << 5); }
static inline void go_back(struct assembler *as) { word(as, 0xd65f03c0); }
#endif
