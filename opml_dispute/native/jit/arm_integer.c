/* Translation to AArch64 of arithmetic, logic, shifts, products, quotients and moves. */
#if defined(__aarch64__)
#include "arm.h"

static void wide(struct translator *t, const struct instruction *it, enum alu what)
{
    unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c), to = home_or(t, X0, it->a);
    calculate(&t->as, WIDE, what, to, b, c);
    write_guest(t, it->a, to);
}

static void narrow(struct translator *t, const struct instruction *it, enum alu what)
{
    unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c);
    calculate(&t->as, NARROW, what, X0, b, c);
    write_extended(t, it->a, X0);
}

static void nor(struct translator *t, const struct instruction *it)
{
    unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c), to = home_or(t, X0, it->a);
    calculate(&t->as, WIDE, ALU_OR, X0, b, c);
    calculate(&t->as, WIDE, ALU_OR_NOT, to, ZERO, X0);
    write_guest(t, it->a, to);
}

static void add_immediate(struct translator *t, const struct instruction *it, bool is_wide)
{
    if (it->b == 0) {
        write_constant(t, it->a, (uint64_t)(int64_t)it->immediate);
        return;
    }
    unsigned b = fetch(t, X0, it->b), to = is_wide ? home_or(t, X0, it->a) : X0;
    add_constant(&t->as, is_wide, to, b, it->immediate, X1);
    if (is_wide)
        write_guest(t, it->a, to);
    else
        write_extended(t, it->a, to);
}

static void with_constant(struct translator *t, const struct instruction *it, enum alu what)
{
    uint32_t value = (uint32_t)it->immediate;
    unsigned b = fetch(t, X0, it->b), to = home_or(t, X0, it->a);
    if (what == ALU_AND && value != 0 && (value & (value + 1)) == 0) {
        and_ones(&t->as, to, b, 32 - (unsigned)__builtin_clz(value), 0);
    } else {
        constant(&t->as, X1, value);
        calculate(&t->as, WIDE, what, to, b, X1);
    }
    write_guest(t, it->a, to);
}

static void set_on(struct translator *t, const struct instruction *it, bool with_immediate, enum condition when)
{
    unsigned b = fetch(t, X0, it->b), c = X1, to = home_or(t, X0, it->a);
    if (with_immediate)
        constant(&t->as, X1, (uint64_t)(int64_t)it->immediate);
    else
        c = fetch(t, X1, it->c);
    compare(&t->as, WIDE, b, c);
    set_if(&t->as, when, to);
    write_guest(t, it->a, to);
}

void host_shift(struct translator *t, const struct instruction *it, bool is_wide, enum shift how, bool variable)
{
    unsigned c = fetch(t, X0, it->c), to = is_wide ? home_or(t, X0, it->a) : X0;
    if (variable)
        shift_by(&t->as, is_wide, how, to, c, fetch(t, X1, it->b));
    else
        shift_constant(&t->as, is_wide, how, to, c, (unsigned)it->immediate);
    if (is_wide)
        write_guest(t, it->a, to);
    else
        write_extended(t, it->a, to);
}

static void move_conditionally(struct translator *t, const struct instruction *it, enum condition when)
{
    unsigned was = fetch(t, X0, it->a), b = fetch(t, X1, it->b), c = fetch(t, X2, it->c), to = home_or(t, X0, it->a);
    compare(&t->as, WIDE, c, ZERO);
    choose(&t->as, when, to, b, was);
    write_guest(t, it->a, to);
}

/* ---- HI and LO ---- */

static void write_hi_lo(struct translator *t, unsigned hi, unsigned lo)
{
    store(&t->as, WIDE, hi, THREAD_BASE, THREAD(hi));
    store(&t->as, WIDE, lo, THREAD_BASE, THREAD(lo));
}

static void multiply(struct translator *t, const struct instruction *it, bool is_signed)
{
    struct assembler *as = &t->as;
    unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c);
    three(as, is_signed ? 0x9b207c00 : 0x9ba07c00, X0, b, c); /* smull, umull */
    extend(as, X1, X0, 4);
    shift_constant(as, WIDE, SHIFT_ARITHMETIC, X0, X0, 32);
    write_hi_lo(t, X0, X1);
}

static void multiply_wide(struct translator *t, const struct instruction *it, bool is_signed)
{
    struct assembler *as = &t->as;
    unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c);
    three(as, is_signed ? 0x9b407c00 : 0x9bc07c00, X2, b, c); /* smulh, umulh */
    three(as, 0x9b007c00, X0, b, c);                          /* mul */
    write_hi_lo(t, X2, X0);
}

/* Neither -2^63 / -1 nor anything else traps. */
static void divide(struct translator *t, const struct instruction *it, bool is_wide, bool is_signed)
{
    struct assembler *as = &t->as;
    unsigned c = fetch(t, X1, it->c);
    add_stub(t, jump_if_zero(as, is_wide, c, true), t->leave_place);
    unsigned b = fetch(t, X0, it->b);
    if (!is_wide && is_signed) {
        extend(as, X0, b, 4);
        extend(as, X1, c, 4);
        b = X0;
        c = X1;
    }
    uint32_t size = size_bit(is_wide || is_signed);
    three(as, (is_signed ? 0x1ac00c00 : 0x1ac00800) | size, X2, b, c); /* sdiv, udiv */
    word(as, 0x1b008000 | size | c << 16 | b << 10 | X2 << 5 | X3);    /* msub: b - x2 * c */
    if (!is_wide) {
        extend(as, X2, X2, 4);
        extend(as, X3, X3, 4);
    }
    write_hi_lo(t, X3, X2);
}

static bool hi_lo(struct translator *t, const struct instruction *it)
{
    struct assembler *as = &t->as;
    switch (it->operation) {
    case DO_MULT: multiply(t, it, true); break;
    case DO_MULTU: multiply(t, it, false); break;
    case DO_DMULT: multiply_wide(t, it, true); break;
    case DO_DMULTU: multiply_wide(t, it, false); break;
    case DO_DIV: divide(t, it, NARROW, true); break;
    case DO_DIVU: divide(t, it, NARROW, false); break;
    case DO_DDIV: divide(t, it, WIDE, true); break;
    case DO_DDIVU: divide(t, it, WIDE, false); break;
    case DO_MTHI: store(as, WIDE, fetch(t, X0, it->b), THREAD_BASE, THREAD(hi)); break;
    case DO_MTLO: store(as, WIDE, fetch(t, X0, it->b), THREAD_BASE, THREAD(lo)); break;
    case DO_MFHI:
    case DO_MFLO: {
        unsigned to = home_or(t, X0, it->a);
        load(as, WIDE, to, THREAD_BASE, it->operation == DO_MFHI ? THREAD(hi) : THREAD(lo));
        write_guest(t, it->a, to);
        return true;
    }
    default: return false;
    }
    write_constant(t, it->a, 0);
    return true;
}

void host_count_zeros(struct translator *t, const struct instruction *it, bool is_wide, bool complement)
{
    unsigned b = fetch(t, X0, it->b), to = home_or(t, X0, it->a);
    if (complement) {
        calculate(&t->as, is_wide, ALU_OR_NOT, X0, ZERO, b);
        b = X0;
    }
    word(&t->as, 0x5ac01000 | size_bit(is_wide) | b << 5 | to); /* clz */
    write_guest(t, it->a, to);
}

bool arm_integer(struct translator *t, const struct instruction *it)
{
    if (hi_lo(t, it))
        return true;
    switch (it->operation) {
    case DO_MOVZ: move_conditionally(t, it, CC_EQUAL); return true;
    case DO_MOVN: move_conditionally(t, it, CC_NOT_EQUAL); return true;
    case DO_SYNC: write_guest(t, it->a, fetch(t, X0, it->b)); return true;
    case DO_ADDU: narrow(t, it, ALU_ADD); return true;
    case DO_SUBU: narrow(t, it, ALU_SUB); return true;
    case DO_AND: wide(t, it, ALU_AND); return true;
    case DO_OR: wide(t, it, ALU_OR); return true;
    case DO_XOR: wide(t, it, ALU_XOR); return true;
    case DO_DADDU: wide(t, it, ALU_ADD); return true;
    case DO_DSUBU: wide(t, it, ALU_SUB); return true;
    case DO_NOR: nor(t, it); return true;
    case DO_SLT: set_on(t, it, false, CC_LESS); return true;
    case DO_SLTU: set_on(t, it, false, CC_BELOW); return true;
    case DO_SLTI: set_on(t, it, true, CC_LESS); return true;
    case DO_SLTIU: set_on(t, it, true, CC_BELOW); return true;
    case DO_ANDI: with_constant(t, it, ALU_AND); return true;
    case DO_ORI: with_constant(t, it, ALU_OR); return true;
    case DO_XORI: with_constant(t, it, ALU_XOR); return true;
    case DO_ADDIU: add_immediate(t, it, NARROW); return true;
    case DO_DADDIU: add_immediate(t, it, WIDE); return true;
    case DO_MUL: {
        unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c);
        three(&t->as, 0x1b007c00, X0, b, c);
        write_extended(t, it->a, X0);
        return true;
    }
    default: return false;
    }
}
#endif
