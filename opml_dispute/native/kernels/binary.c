/* OP_BINARY: out = f(in0, in1), element by element. */
#include "elementary.h"
#include "kernels.h"
#include "rows.h"
#include "walk.h"

/* clang-format off */
ROW2(add_f32, f32, f32, arith(x + y))
ROW2(sub_f32, f32, f32, arith(x - y))
ROW2(mul_f32, f32, f32, arith(x * y))
ROW2(div_f32, f32, f32, arith(x / y))
/* NaN wins on either side; of equal numbers (+0, -0) the second is taken. */
ROW2(min_f32, f32, f32, canonical(x < y || x != x ? x : y))
ROW2(max_f32, f32, f32, canonical(x > y || x != x ? x : y))
ROW2(prelu_f32, f32, f32, canonical(x < 0.0f ? x * y : x))
ROW2(eq_f32, boolean, f32, x == y)
ROW2(lt_f32, boolean, f32, x < y)
ROW2(le_f32, boolean, f32, x <= y)
/* clang-format on */

#define ROW2_CALL(NAME, F)                                                                                             \
    static void NAME(u8 *restrict o, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb, u64 n)                          \
    {                                                                                                                  \
        for (; n; n--, o += so, a += sa, b += sb)                                                                      \
            st_f32(o, canonical(F(ld_f32(a), ld_f32(b))));                                                             \
    }
ROW2_CALL(pow_f32, pow32)
ROW2_CALL(mod_f32, mod32)
ROW2_CALL(fmod_f32, fmod32)
ROW2_CALL(atan2_f32, atan2_32)

static row2 *float_binary_row(u64 function)
{
    switch (function) {
    case BIN_ADD: return add_f32;
    case BIN_SUB: return sub_f32;
    case BIN_MUL: return mul_f32;
    case BIN_DIV: return div_f32;
    case BIN_MIN: return min_f32;
    case BIN_MAX: return max_f32;
    case BIN_POW: return pow_f32;
    case BIN_MOD: return mod_f32;
    case BIN_FMOD: return fmod_f32;
    case BIN_EQ: return eq_f32;
    case BIN_LT: return lt_f32;
    case BIN_LE: return le_f32;
    case BIN_PRELU: return prelu_f32;
    default: return atan2_f32;
    }
}

/* Integers: computed in 64 bits, where nothing below overflows in C's sense, and cut to size. */
INLINE u64 power_as_u64(u64 x, u64 y)
{
    u64 power = 1;
    for (; y; y >>= 1, x *= x)
        if (y & 1)
            power *= x;
    return power;
}
/* A negative power of an integer is 0, except of 1 and -1. */
INLINE i64 power_as_i64(i64 x, i64 y)
{
    if (y >= 0)
        return (i64)power_as_u64((u64)x, (u64)y);
    return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
}
/* WHY the tests for -1: the least number divided by it traps on x86. It wraps to itself, remainder 0. */
INLINE i64 divide_as_i64(i64 x, i64 y) { return y == 0 ? 0 : y == -1 ? (i64)(0 - (u64)x) : x / y; }
INLINE i64 fmod_as_i64(i64 x, i64 y) { return y == 0 || y == -1 ? 0 : x % y; }
INLINE i64 mod_as_i64(i64 x, i64 y)
{
    i64 rest = fmod_as_i64(x, y);
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
INLINE u64 divide_as_u64(u64 x, u64 y) { return y ? x / y : 0; }
INLINE u64 mod_as_u64(u64 x, u64 y) { return y ? x % y : 0; }
#define fmod_as_u64 mod_as_u64

#define BITS(T) (8 * sizeof(T))
/* The shift is taken as unsigned; from the width on nothing is left (of a negative number: -1). */
#define SHIFT_LEFT(T)         (T)((u64)y < BITS(T) ? (u64)x << (u64)y : 0)
#define SHIFT_RIGHT(T)        (T)((u64)y < BITS(T) ? x >> (u64)y : x >> (BITS(T) - 1) >> 1)
#define SHIFT_RIGHT_SIGNED(T) (T)(x >> ((u64)y < BITS(T) ? (u64)y : BITS(T) - 1))

#define INTEGER_BINARY_ROWS(T, WIDE, RIGHT, PRELU)                                                                     \
    ROW2_LONG(add_##T, T, T, (T)((u64)x + (u64)y))                                                                     \
    ROW2_LONG(sub_##T, T, T, (T)((u64)x - (u64)y))                                                                     \
    ROW2_LONG(mul_##T, T, T, (T)((u64)x * (u64)y))                                                                     \
    ROW2_LONG(div_##T, T, T, (T)divide_as_##WIDE(x, y))                                                                \
    ROW2_LONG(mod_##T, T, T, (T)mod_as_##WIDE(x, y))                                                                   \
    ROW2_LONG(fmod_##T, T, T, (T)fmod_as_##WIDE(x, y))                                                                 \
    ROW2_LONG(pow_##T, T, T, (T)power_as_##WIDE(x, y))                                                                 \
    ROW2_LONG(min_##T, T, T, x < y ? x : y)                                                                            \
    ROW2_LONG(max_##T, T, T, x > y ? x : y)                                                                            \
    ROW2_LONG(and_##T, T, T, (T)(x & y))                                                                               \
    ROW2_LONG(or_##T, T, T, (T)(x | y))                                                                                \
    ROW2_LONG(xor_##T, T, T, (T)(x ^ y))                                                                               \
    ROW2_LONG(shl_##T, T, T, SHIFT_LEFT(T))                                                                            \
    ROW2_LONG(shr_##T, T, T, RIGHT(T))                                                                                 \
    ROW2_LONG(eq_##T, boolean, T, x == y)                                                                              \
    ROW2_LONG(lt_##T, boolean, T, x < y)                                                                               \
    ROW2_LONG(le_##T, boolean, T, x <= y)                                                                              \
    ROW2_LONG(prelu_##T, T, T, (T)(PRELU))                                                                             \
    static row2 *integer_binary_row_##T(u64 function)                                                                  \
    {                                                                                                                  \
        switch (function) {                                                                                            \
        case BIN_ADD: return add_##T;                                                                                  \
        case BIN_SUB: return sub_##T;                                                                                  \
        case BIN_MUL: return mul_##T;                                                                                  \
        case BIN_DIV: return div_##T;                                                                                  \
        case BIN_MIN: return min_##T;                                                                                  \
        case BIN_MAX: return max_##T;                                                                                  \
        case BIN_POW: return pow_##T;                                                                                  \
        case BIN_MOD: return mod_##T;                                                                                  \
        case BIN_FMOD: return fmod_##T;                                                                                \
        case BIN_BITAND: return and_##T;                                                                               \
        case BIN_BITOR: return or_##T;                                                                                 \
        case BIN_BITXOR: return xor_##T;                                                                               \
        case BIN_SHL: return shl_##T;                                                                                  \
        case BIN_SHR: return shr_##T;                                                                                  \
        case BIN_EQ: return eq_##T;                                                                                    \
        case BIN_LT: return lt_##T;                                                                                    \
        case BIN_LE: return le_##T;                                                                                    \
        default: return prelu_##T;                                                                                     \
        }                                                                                                              \
    }
#define SIGNED_ROWS(T)   INTEGER_BINARY_ROWS(T, i64, SHIFT_RIGHT_SIGNED, x < 0 ? (u64)x * (u64)y : (u64)x)
#define UNSIGNED_ROWS(T) INTEGER_BINARY_ROWS(T, u64, SHIFT_RIGHT, ((void)y, x))
UNSIGNED_ROWS(u8)
SIGNED_ROWS(i8)
UNSIGNED_ROWS(u16)
SIGNED_ROWS(i16)
UNSIGNED_ROWS(u32)
SIGNED_ROWS(i32)
UNSIGNED_ROWS(u64)
SIGNED_ROWS(i64)

/* clang-format off */
ROW2_LONG(and_bool, boolean, boolean, x & y)
ROW2_LONG(or_bool, boolean, boolean, x | y)
ROW2_LONG(xor_bool, boolean, boolean, x ^ y)
ROW2_LONG(eq_bool, boolean, boolean, x == y)
/* clang-format on */
static row2 *bool_row(u64 function)
{
    switch (function) {
    case BIN_AND: return and_bool;
    case BIN_OR: return or_bool;
    case BIN_XOR: return xor_bool;
    default: return eq_bool;
    }
}

static row2 *find_binary_row(u8 dtype, u64 function)
{
    switch (dtype) {
    case DT_U8: return integer_binary_row_u8(function);
    case DT_I8: return integer_binary_row_i8(function);
    case DT_U16: return integer_binary_row_u16(function);
    case DT_I16: return integer_binary_row_i16(function);
    case DT_U32: return integer_binary_row_u32(function);
    case DT_I32: return integer_binary_row_i32(function);
    case DT_U64: return integer_binary_row_u64(function);
    case DT_I64: return integer_binary_row_i64(function);
    case DT_BOOL: return bool_row(function);
    default: return float_binary_row(function);
    }
}

/* binary16 and bfloat16: widen both, compute, round, a chunk at a time. */
static void half_binary_row(row2 *row, const struct record *r, u8 *o, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb,
                            u64 n)
{
    f32 x[CHUNK], y[CHUNK], out[CHUNK];
    while (n) {
        u64 now = n < CHUNK ? n : CHUNK;
        KERNEL(load_f32_chunk)(x, a, sa, r->dtype_in[0], now);
        KERNEL(load_f32_chunk)(y, b, sb, r->dtype_in[1], now);
        for (u64 i = 0; i < now; i++) { /* rows read and write in storage order */
            st_f32((u8 *)(x + i), x[i]);
            st_f32((u8 *)(y + i), y[i]);
        }
        if (r->dtype_out == DT_BOOL) {
            row(o, so, (u8 *)x, 4, (u8 *)y, 4, now);
        } else {
            row((u8 *)out, 4, (u8 *)x, 4, (u8 *)y, 4, now);
            for (u64 i = 0; i < now; i++)
                out[i] = ld_f32((u8 *)(out + i));
            KERNEL(store_f32_chunk)(o, so, r->dtype_out, out, now);
        }
        o += (i64)now * so;
        a += (i64)now * sa;
        b += (i64)now * sb;
        n -= now;
    }
}

void KERNEL(kernel_binary)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    row2 *row = find_binary_row(r->dtype_in[0], r->imm[0]);
    u32 half = r->dtype_in[0] == DT_F16 || r->dtype_in[0] == DT_BF16;
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3))
        if (half)
            half_binary_row(row, r, w.at[0], w.step[0], w.at[1], w.step[1], w.at[2], w.step[2], n);
        else
            row(w.at[0], w.step[0], w.at[1], w.step[1], w.at[2], w.step[2], n);
}
