/* OP_UNARY: out = f(in0), element by element. */
#include "elementary.h"
#include "kernels.h"
#include "rows.h"
#include "walk.h"

ROW1(neg_f32, f32, f32, canonical(-x))
ROW1(abs_f32, f32, f32, canonical(f32_abs(x)))
ROW1(sign_f32, f32, f32, canonical(x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x))
ROW1(reciprocal_f32, f32, f32, arith(1.0f / x))
ROW1(sqrt_f32, f32, f32, arith(sqrt32(x)))
ROW1(floor_f32, f32, f32, canonical(floor32(x)))
ROW1(ceil_f32, f32, f32, canonical(ceil32(x)))
ROW1(round_f32, f32, f32, canonical(round32(x)))
ROW1(trunc_f32, f32, f32, canonical(trunc32(x)))
ROW1(relu_f32, f32, f32, canonical(x < 0.0f ? 0.0f : x))
ROW1_LONG(exp_f32, f32, f32, arith(exp32(x)))
ROW1_LONG(log_f32, f32, f32, canonical(log32(x)))
ROW1_LONG(tanh_f32, f32, f32, canonical(tanh32(x)))
ROW1_LONG(erf_f32, f32, f32, canonical(erf32(x)))
ROW1_LONG(sigmoid_f32, f32, f32, arith(sigmoid32(x)))
ROW1_LONG(softplus_f32, f32, f32, arith(softplus32(x)))

/* These branch, so no copy for elements side by side. */
#define ROW1_CALL(NAME, F)                                                                                             \
    static void NAME(u8 *restrict o, i64 so, const u8 *restrict a, i64 sa, u64 n)                                      \
    {                                                                                                                  \
        for (; n; n--, o += so, a += sa)                                                                               \
            st_f32(o, canonical(F(ld_f32(a))));                                                                        \
    }
ROW1_CALL(sin_f32, sin32)
ROW1_CALL(cos_f32, cos32)
ROW1_CALL(tan_f32, tan32)
ROW1_CALL(asin_f32, asin32)
ROW1_CALL(acos_f32, acos32)
ROW1_CALL(atan_f32, atan32)
ROW1_CALL(sinh_f32, sinh32)
ROW1_CALL(cosh_f32, cosh32)
ROW1_CALL(asinh_f32, asinh32)
ROW1_CALL(acosh_f32, acosh32)
ROW1_CALL(atanh_f32, atanh32)

ROW1(isnan_f32, boolean, f32, x != x)
ROW1(isinf_both_f32, boolean, f32, f32_abs(x) == f32_inf())
ROW1(isinf_plus_f32, boolean, f32, x == f32_inf())
ROW1(isinf_minus_f32, boolean, f32, x == -f32_inf())
ROW1(isinf_none_f32, boolean, f32, x != x && x == x)

static row1 *const float_unary_row[] = {
    [UN_NEG] = neg_f32,     [UN_ABS] = abs_f32,         [UN_SIGN] = sign_f32,
    [UN_SQRT] = sqrt_f32,   [UN_FLOOR] = floor_f32,     [UN_CEIL] = ceil_f32,
    [UN_ROUND] = round_f32, [UN_EXP] = exp_f32,         [UN_LOG] = log_f32,
    [UN_SIN] = sin_f32,     [UN_COS] = cos_f32,         [UN_TAN] = tan_f32,
    [UN_ASIN] = asin_f32,   [UN_ACOS] = acos_f32,       [UN_ATAN] = atan_f32,
    [UN_SINH] = sinh_f32,   [UN_COSH] = cosh_f32,       [UN_TANH] = tanh_f32,
    [UN_ASINH] = asinh_f32, [UN_ACOSH] = acosh_f32,     [UN_ATANH] = atanh_f32,
    [UN_ERF] = erf_f32,     [UN_SIGMOID] = sigmoid_f32, [UN_SOFTPLUS] = softplus_f32,
    [UN_RELU] = relu_f32,   [UN_TRUNC] = trunc_f32,     [UN_RECIPROCAL] = reciprocal_f32,
    [UN_ISNAN] = isnan_f32,
};
static row1 *const isinf_row[4] = {isinf_none_f32, isinf_minus_f32, isinf_plus_f32, isinf_both_f32};

/* Integers wrap: neg and abs of the least number are that number. Unsigned ones are their own abs and relu. */
#define INTEGER_UNARY_ROWS(T, IS_NEGATIVE)                                                                             \
    ROW1_LONG(neg_##T, T, T, (T)(0 - (u64)x))                                                                          \
    ROW1_LONG(abs_##T, T, T, (T)(IS_NEGATIVE ? 0 - (u64)x : (u64)x))                                                   \
    ROW1_LONG(sign_##T, T, T, (T)(IS_NEGATIVE ? -1 : x != 0))                                                          \
    ROW1_LONG(relu_##T, T, T, (T)(IS_NEGATIVE ? 0 : x))                                                                \
    ROW1_LONG(bitnot_##T, T, T, (T)~x)                                                                                 \
    static row1 *integer_unary_row_##T(u64 function)                                                                   \
    {                                                                                                                  \
        switch (function) {                                                                                            \
        case UN_NEG: return neg_##T;                                                                                   \
        case UN_ABS: return abs_##T;                                                                                   \
        case UN_SIGN: return sign_##T;                                                                                 \
        case UN_RELU: return relu_##T;                                                                                 \
        default: return bitnot_##T;                                                                                    \
        }                                                                                                              \
    }
INTEGER_UNARY_ROWS(u8, 0)
INTEGER_UNARY_ROWS(i8, x < 0)
INTEGER_UNARY_ROWS(u16, 0)
INTEGER_UNARY_ROWS(i16, x < 0)
INTEGER_UNARY_ROWS(u32, 0)
INTEGER_UNARY_ROWS(i32, x < 0)
INTEGER_UNARY_ROWS(u64, 0)
INTEGER_UNARY_ROWS(i64, x < 0)
ROW1(not_bool, boolean, boolean, !x)

static row1 *find_unary_row(const struct record *r)
{
    u64 function = r->imm[0];
    switch (r->dtype_in[0]) {
    case DT_U8: return integer_unary_row_u8(function);
    case DT_I8: return integer_unary_row_i8(function);
    case DT_U16: return integer_unary_row_u16(function);
    case DT_I16: return integer_unary_row_i16(function);
    case DT_U32: return integer_unary_row_u32(function);
    case DT_I32: return integer_unary_row_i32(function);
    case DT_U64: return integer_unary_row_u64(function);
    case DT_I64: return integer_unary_row_i64(function);
    case DT_BOOL: return not_bool;
    default: return function == UN_ISINF ? isinf_row[r->imm[1] & 3] : float_unary_row[function];
    }
}

/* binary16 and bfloat16: widen, compute, round, a chunk at a time. */
static void half_unary_row(row1 *row, const struct record *r, u8 *o, i64 so, const u8 *a, i64 sa, u64 n)
{
    f32 in[CHUNK], out[CHUNK];
    u8 *wide = (u8 *)in;
    while (n) {
        u64 now = n < CHUNK ? n : CHUNK;
        KERNEL(load_f32_chunk)(out, a, sa, r->dtype_in[0], now);
        for (u64 i = 0; i < now; i++)
            st_f32(wide + 4 * i, out[i]); /* rows read in storage order */
        if (r->dtype_out == DT_BOOL) {
            row(o, so, wide, 4, now);
        } else {
            row((u8 *)out, 4, wide, 4, now);
            for (u64 i = 0; i < now; i++)
                in[i] = ld_f32((u8 *)out + 4 * i);
            KERNEL(store_f32_chunk)(o, so, r->dtype_out, in, now);
        }
        o += (i64)now * so;
        a += (i64)now * sa;
        n -= now;
    }
}

void KERNEL(kernel_unary)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    row1 *row = find_unary_row(r);
    u32 half = r->dtype_in[0] == DT_F16 || r->dtype_in[0] == DT_BF16;
    walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
        if (half)
            half_unary_row(row, r, w.at[0], w.step[0], w.at[1], w.step[1], n);
        else
            row(w.at[0], w.step[0], w.at[1], w.step[1], n);
}
