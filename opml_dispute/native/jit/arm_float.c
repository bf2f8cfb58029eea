/* Translation to AArch64 of single-precision arithmetic: the processor's own, with every NaN made the one NaN there is. */
#if defined(__aarch64__)
#include "arm.h"

static void load_single(struct translator *t, unsigned s, unsigned reg)
{
    word(&t->as, 0xbd400000 | (uint32_t)(float_offset(reg) / 4) << 10 | THREAD_BASE << 5 | s);
}

static void store_single(struct translator *t, unsigned s, unsigned reg)
{
    word(&t->as, 0xbd000000 | (uint32_t)(float_offset(reg) / 4) << 10 | THREAD_BASE << 5 | s);
}

static void compare_singles(struct translator *t, unsigned n, unsigned m) { three(&t->as, 0x1e202000, 0, n, m); }

/* F[reg] := s0, or the NaN. */
static void write_result(struct translator *t, unsigned reg)
{
    struct assembler *as = &t->as;
    compare_singles(t, S0, S0);
    size_t nan = jump_if(as, CC_UNORDERED);
    store_single(t, S0, reg);
    add_detour(t, (struct detour){DETOUR_NAN, nan, position(as), (int32_t)float_offset(reg), 0, 0});
}

static void binary(struct translator *t, const struct instruction *it, uint32_t code)
{
    load_single(t, S0, it->b);
    load_single(t, S1, it->c);
    three(&t->as, code, S0, S0, S1);
    write_result(t, it->a);
}

/* F[a] := F[b], its bits changed by `what`. */
static void move_bits(struct translator *t, const struct instruction *it, enum alu what, uint32_t with)
{
    struct assembler *as = &t->as;
    load(as, NARROW, X0, THREAD_BASE, float_offset(it->b));
    constant(as, X1, with);
    calculate(as, NARROW, what, X0, X0, X1);
    store(as, NARROW, X0, THREAD_BASE, float_offset(it->a));
}

/* s0 := F[b] * F[c] + or - F[fr], one rounding: fmadd, fnmsub. */
void host_fused(struct translator *t, const struct instruction *it, bool subtracts, bool negates)
{
    load_single(t, S0, it->b);
    load_single(t, S1, it->c);
    load_single(t, S2, (unsigned)it->immediate);
    word(&t->as, (subtracts ? 0x1f208000 : 0x1f000000) | S1 << 16 | S2 << 10 | S0 << 5 | S0);
    if (negates) /* after rounding: not a NaN, whose sign write_result drops */
        word(&t->as, 0x1e214000 | S0 << 5 | S0);
    write_result(t, it->a);
}

void host_compare_single(struct translator *t, const struct instruction *it)
{
    static const uint8_t WHEN[8] = {[1] = CC_UNORDERED, [2] = CC_EQUAL,       [3] = CC_EQUAL,     [4] = CC_MINUS,
                                    [5] = CC_LESS,      [6] = CC_BELOW_EQUAL, [7] = CC_LESS_EQUAL};
    struct assembler *as = &t->as;
    unsigned condition = (unsigned)it->immediate & 7, bit = (unsigned)__builtin_ctz(condition_bit(it->a));
    load_single(t, S0, it->b);
    load_single(t, S1, it->c);
    compare_singles(t, S0, S1);
    if (condition == 0)
        constant(as, X0, 0);
    else
        set_if(as, WHEN[condition], X0);
    if (condition == 3)                                                      /* or unordered: no condition says both */
        word(as, 0x9a800400 | ZERO << 16 | CC_ORDERED << 12 | X0 << 5 | X0); /* csinc */
    load(as, NARROW, X1, THREAD_BASE, THREAD(fcsr));
    word(as, 0x33000000 | ((32 - bit) & 31) << 16 | X0 << 5 | X1); /* bfi: one bit */
    store(as, NARROW, X1, THREAD_BASE, THREAD(fcsr));
}

/* F[a] := the integer that F[b] is rounded to; where there is none, a detour. */
void host_to_integer(struct translator *t, const struct instruction *it, enum fpu_rounding rounding)
{
    static const uint32_t CODES[] = {
        [FPU_NEAREST] = 0x1e200000, [FPU_CEIL] = 0x1e280000, [FPU_FLOOR] = 0x1e300000, [FPU_TRUNCATE] = 0x1e380000};
    struct assembler *as = &t->as;
    load_single(t, S0, it->b);
    three(as, CODES[rounding], X0, S0, 0);
    constant(as, X1, 0x80000000);
    compare_singles(t, S0, S0);
    word(as, 0x7a400000 | X1 << 16 | CC_ORDERED << 12 | X0 << 5 | 4); /* ccmp: of a NaN, equal */
    size_t detour = jump_if(as, CC_EQUAL);
    store(as, NARROW, X0, THREAD_BASE, float_offset(it->a));
    /* The detour finds the operand's place in `stub`. */
    add_detour(t, (struct detour){DETOUR_TO_INT, detour, position(as), (int32_t)float_offset(it->a), (uint8_t)rounding,
                                  it->b});
}

static void move_single_if(struct translator *t, const struct instruction *it, enum condition when)
{
    struct assembler *as = &t->as;
    load(as, NARROW, X0, THREAD_BASE, float_offset(it->a));
    load(as, NARROW, X2, THREAD_BASE, float_offset(it->b));
    choose(as, when, X0, X2, X0);
    store(as, NARROW, X0, THREAD_BASE, float_offset(it->a));
}

static enum condition code_is(unsigned value) { return value ? CC_NOT_EQUAL : CC_EQUAL; }

static bool moves(struct translator *t, const struct instruction *it)
{
    struct assembler *as = &t->as;
    switch (it->operation) {
    case DO_MOVCI: {
        unsigned was = fetch(t, X0, it->a), b = fetch(t, X2, it->b), to = home_or(t, X0, it->a);
        test_condition_code(t, (unsigned)it->immediate);
        choose(as, code_is(it->c), to, b, was);
        write_guest(t, it->a, to);
        return true;
    }
    case DO_MFC1:
    case DO_CFC1:
        load(as, NARROW, X0, THREAD_BASE, it->operation == DO_MFC1 ? float_offset(it->b) : THREAD(fcsr));
        write_extended(t, it->a, X0);
        return true;
    case DO_MTC1: store(as, NARROW, fetch(t, X0, it->c), THREAD_BASE, float_offset(it->b)); return true;
    case DO_MOVCF_S:
        test_condition_code(t, (unsigned)it->immediate);
        move_single_if(t, it, code_is(it->c));
        return true;
    case DO_MOVZ_S:
    case DO_MOVN_S:
        compare(as, WIDE, fetch(t, X0, it->c), ZERO);
        move_single_if(t, it, it->operation == DO_MOVZ_S ? CC_EQUAL : CC_NOT_EQUAL);
        return true;
    default: return false;
    }
}

bool arm_float(struct translator *t, const struct instruction *it)
{
    struct assembler *as = &t->as;
    switch (it->operation) {
    case DO_ADD_S: binary(t, it, 0x1e202800); return true;
    case DO_SUB_S: binary(t, it, 0x1e203800); return true;
    case DO_MUL_S: binary(t, it, 0x1e200800); return true;
    case DO_DIV_S: binary(t, it, 0x1e201800); return true;
    case DO_SQRT_S:
        load_single(t, S0, it->b);
        word(as, 0x1e21c000 | S0 << 5 | S0);
        write_result(t, it->a);
        return true;
    case DO_ABS_S: move_bits(t, it, ALU_AND, ~FPU_SIGN); return true;
    case DO_MOV_S: move_bits(t, it, ALU_OR, 0); return true;
    case DO_NEG_S: move_bits(t, it, ALU_XOR, FPU_SIGN); return true;
    case DO_CVT_S_W:
        load(as, NARROW, X0, THREAD_BASE, float_offset(it->b));
        three(as, 0x1e220000, S0, X0, 0); /* scvtf */
        store_single(t, S0, it->a);
        return true;
    default: return moves(t, it);
    }
}
#endif
