/* Translation to x86-64 of single-precision arithmetic: the processor's own, with every NaN made the one NaN there is. */
#if defined(__x86_64__)
#include "x86.h"

static struct operand single_at(unsigned reg) { return thread_at(float_offset(reg)); }

static void load_single(struct translator *t, unsigned xmm, unsigned reg)
{
    single(&t->as, 0x0f10, xmm, single_at(reg));
}

/* F[reg] := xmm0, or the NaN. */
static void write_result(struct translator *t, unsigned reg)
{
    struct assembler *as = &t->as;
    encode(as, 0, NARROW, 0x0f2e, XMM0, in(XMM0), 0); /* ucomiss */
    size_t nan = jump_if(as, CC_PARITY);
    single(as, 0x0f11, XMM0, single_at(reg));
    add_detour(t, (struct detour){DETOUR_NAN, nan, position(as), float_offset(reg), 0, 0});
}

static void binary(struct translator *t, const struct instruction *it, unsigned opcode)
{
    load_single(t, XMM0, it->b);
    single(&t->as, opcode, XMM0, single_at(it->c));
    write_result(t, it->a);
}

/* F[a] := F[b], its bits changed by `what`. */
static void move_bits(struct translator *t, const struct instruction *it, enum alu what, uint32_t with)
{
    move_to(&t->as, NARROW, RAX, single_at(it->b));
    if (what != ALU_OR)
        calculate_constant(&t->as, NARROW, what, in(RAX), (int32_t)with);
    move_from(&t->as, NARROW, single_at(it->a), RAX);
}

/* xmm0 := F[b] * F[c] + or - F[fr], one rounding: vfmadd231ss, vfmsub231ss. */
void host_fused(struct translator *t, const struct instruction *it, bool subtracts, bool negates)
{
    struct assembler *as = &t->as;
    load_single(t, XMM0, (unsigned)it->immediate);
    load_single(t, XMM1, it->b);
    put(as, 0xc4, 1);
    put(as, 0xe2, 1);
    put(as, 0x71, 1); /* xmm1, 66 */
    encode(as, 0, NARROW, subtracts ? 0xbb : 0xb9, XMM0, single_at(it->c), 0);
    if (negates) { /* after rounding: not a NaN, whose sign write_result drops */
        move_constant(as, RAX, FPU_SIGN);
        encode(as, 0x66, NARROW, 0x0f6e, XMM1, in(RAX), 0); /* movd */
        encode(as, 0, NARROW, 0x0f57, XMM0, in(XMM1), 0);   /* xorps */
    }
    write_result(t, it->a);
}

void host_compare_single(struct translator *t, const struct instruction *it)
{
    /* Which flags of ucomiss mean it, and whether the operands change places (a < b is: b above a). */
    static const struct {
        bool swapped;
        uint8_t when;
    } WAYS[8] = {[1] = {false, CC_PARITY}, [3] = {false, CC_EQUAL},      [4] = {true, CC_ABOVE},
                 [5] = {false, CC_BELOW},  [6] = {true, CC_ABOVE_EQUAL}, [7] = {false, CC_BELOW_EQUAL}};
    struct assembler *as = &t->as;
    unsigned condition = (unsigned)it->immediate & 7, bit = (unsigned)__builtin_ctz(condition_bit(it->a));
    bool swapped = WAYS[condition].swapped;
    load_single(t, XMM0, swapped ? it->c : it->b);
    encode(as, 0, NARROW, 0x0f2e, XMM0, single_at(swapped ? it->b : it->c), 0); /* ucomiss */
    if (condition == 0) {
        move_constant(as, RAX, 0);
    } else if (condition == 2) { /* equal, and not unordered */
        set_if(as, CC_NOT_PARITY, RCX);
        set_if(as, CC_EQUAL, RAX);
        encode(as, 0, NARROW, 0x22, RAX, in(RCX), 0); /* and al, cl */
        encode(as, 0, NARROW, 0x0fb6, RAX, in(RAX), 0);
    } else {
        set_if(as, WAYS[condition].when, RAX);
        encode(as, 0, NARROW, 0x0fb6, RAX, in(RAX), 0); /* movzx */
    }
    shift_constant(as, NARROW, SHIFT_LEFT, RAX, bit);
    move_to(as, NARROW, RCX, thread_at(THREAD(fcsr)));
    calculate_constant(as, NARROW, ALU_AND, in(RCX), (int32_t)~condition_bit(it->a));
    calculate(as, NARROW, ALU_OR, RCX, in(RAX));
    move_from(as, NARROW, thread_at(THREAD(fcsr)), RCX);
}

/* F[a] := the integer that F[b] is rounded to. What is out of range, and what the processor cannot round in one
 * instruction, is a detour. */
void host_to_integer(struct translator *t, const struct instruction *it, enum fpu_rounding rounding)
{
    struct assembler *as = &t->as;
    size_t detour;
    if (rounding == FPU_NEAREST || rounding == FPU_TRUNCATE) {
        single(as, rounding == FPU_NEAREST ? 0x0f2d : 0x0f2c, RAX, single_at(it->b));
        calculate_constant(as, NARROW, ALU_CMP, in(RAX), INT32_MIN);
        detour = jump_if(as, CC_EQUAL);
        move_from(as, NARROW, single_at(it->a), RAX);
    } else {
        detour = jump(as);
    }
    /* The detour finds the operand's place in `stub`. */
    add_detour(t, (struct detour){DETOUR_TO_INT, detour, position(as), float_offset(it->a), (uint8_t)rounding, it->b});
}

static void move_single_if(struct translator *t, const struct instruction *it, enum condition when)
{
    struct assembler *as = &t->as;
    move_to(as, NARROW, RCX, single_at(it->a));
    move_if(as, NARROW, when, RCX, single_at(it->b));
    move_from(as, NARROW, single_at(it->a), RCX);
}

static enum condition code_is(unsigned value) { return value ? CC_NOT_EQUAL : CC_EQUAL; }

static bool translate_moves(struct translator *t, const struct instruction *it)
{
    struct assembler *as = &t->as;
    switch (it->operation) {
    case DO_MOVCI: {
        unsigned to = fetch_guest(t, RAX, it->a), from = fetch_guest(t, RCX, it->b);
        test_condition_code(t, (unsigned)it->immediate);
        move_if(as, WIDE, code_is(it->c), to, in(from));
        write_guest(t, it->a, to);
        return true;
    }
    case DO_MFC1:
    case DO_CFC1: {
        unsigned to = home_or(t, RAX, it->a);
        extend32(as, to, it->operation == DO_MFC1 ? single_at(it->b) : thread_at(THREAD(fcsr)));
        write_guest(t, it->a, to);
        return true;
    }
    case DO_MTC1: {
        unsigned from = fetch_guest(t, RAX, it->c);
        move_from(as, NARROW, single_at(it->b), from);
        return true;
    }
    case DO_MOVCF_S:
        test_condition_code(t, (unsigned)it->immediate);
        move_single_if(t, it, code_is(it->c));
        return true;
    case DO_MOVZ_S:
        compare_with_zero(t, it->c);
        move_single_if(t, it, CC_EQUAL);
        return true;
    case DO_MOVN_S:
        compare_with_zero(t, it->c);
        move_single_if(t, it, CC_NOT_EQUAL);
        return true;
    default: return false;
    }
}

bool x86_float(struct translator *t, const struct instruction *it)
{
    struct assembler *as = &t->as;
    switch (it->operation) {
    case DO_ADD_S: binary(t, it, 0x0f58); return true;
    case DO_SUB_S: binary(t, it, 0x0f5c); return true;
    case DO_MUL_S: binary(t, it, 0x0f59); return true;
    case DO_DIV_S: binary(t, it, 0x0f5e); return true;
    case DO_SQRT_S:
        load_single(t, XMM0, it->b);
        single(as, 0x0f51, XMM0, in(XMM0));
        write_result(t, it->a);
        return true;
    case DO_ABS_S: move_bits(t, it, ALU_AND, ~FPU_SIGN); return true;
    case DO_MOV_S: move_bits(t, it, ALU_OR, 0); return true;
    case DO_NEG_S: move_bits(t, it, ALU_XOR, FPU_SIGN); return true;
    case DO_CVT_S_W:
        encode(as, 0, NARROW, 0x0f57, XMM0, in(XMM0), 0); /* xorps: waits for no earlier xmm0 */
        single(as, 0x0f2a, XMM0, single_at(it->b));
        single(as, 0x0f11, XMM0, single_at(it->a));
        return true;
    default: return translate_moves(t, it);
    }
}
#endif
