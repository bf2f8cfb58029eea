/* Operations of binary64 by the processor's own, with the bits of the records that they stand for: rounded to nearest, ties
 * to even, with subnormal numbers (float_mode.h), and one NaN. */
#include "doubles.h"

#include "kernels/float32.h"
#include "kernels/walk.h"

#define NAN_64    0x7ff8000000000000ull
#define SIGN_64   0x8000000000000000ull
#define INF_64    0x7ff0000000000000ull
#define LEAST_KEY (-0x7fffffffffffffffll)

INLINE u64 bits_of(f64 x)
{
    union {
        f64 x;
        u64 bits;
    } u = {x};
    return u.bits;
}
INLINE f64 of_bits(u64 bits)
{
    union {
        u64 bits;
        f64 x;
    } u = {bits};
    return u.x;
}

INLINE f64 with_sign(f64 size, f64 x) { return of_bits(bits_of(size) | (bits_of(x) & SIGN_64)); }
INLINE f64 size_of_f64(f64 x) { return of_bits(bits_of(x) & ~SIGN_64); }

/* The nearest integer to a number that is not negative, ties to even: from 2^52 on all are integers. */
INLINE f64 nearest_size(f64 size) { return size < 0x1p52 ? (size + 0x1p52) - 0x1p52 : size; }
INLINE f64 nearest(f64 x) { return with_sign(nearest_size(size_of_f64(x)), x); }
INLINE f64 floor_of(f64 x)
{
    f64 near = nearest(x);
    return with_sign(size_of_f64(near > x ? near - 1.0 : near), x);
}
INLINE f64 ceil_of(f64 x)
{
    f64 near = nearest(x);
    return with_sign(size_of_f64(near < x ? near + 1.0 : near), x);
}
INLINE f64 trunc_of(f64 x)
{
    f64 size = size_of_f64(x), near = nearest_size(size);
    return with_sign(near > size ? near - 1.0 : near, x);
}

INLINE i64 key_of(f64 x)
{
    u64 bits = bits_of(x);
    return (i64)(bits & SIGN_64 ? SIGN_64 - bits : bits);
}
INLINE f64 of_key(i64 key)
{
    u64 bits = key < 0 ? SIGN_64 - (u64)key : (u64)key;
    return of_bits((bits & ~SIGN_64) > INF_64 ? NAN_64 : bits);
}

INLINE i64 i64_of(f64 x)
{
    i64 within = x > -0x1p63 && x < 0x1p63 ? (i64)x : 0;
    return x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : within;
}
INLINE u64 u64_of(f64 x)
{
    u64 within = x > 0.0 && x < 0x1p64 ? (u64)x : 0;
    return x >= 0x1p64 ? UINT64_MAX : within;
}
/* x held between two integers of less than 53 bits; NaN becomes 0. */
INLINE f64 held(f64 x, f64 least, f64 greatest)
{
    x = x == x ? x : 0.0;
    x = x < least ? least : x;
    return x > greatest ? greatest : x;
}
INLINE i32 i32_of(f64 x) { return (i32)held(x, -0x1p31, 0x1p31 - 1); }
INLINE f32 f32_of(f64 x)
{
    union {
        f32 x;
        u32 bits;
    } u = {(f32)x}, nan = {.bits = 0x7fc00000};
    return x == x ? u.x : nan.x;
}

/* Towards the number whose last bit is odd, if x lies between two: what is rounded to few bits then is as if x were. */
INLINE f32 odd_of(f64 x)
{
    union {
        f32 x;
        u32 bits;
    } u = {(f32)x};
    u32 is_beyond = size_of_f64((f64)u.x) > size_of_f64(x), is_exact = (f64)u.x == x;
    u.bits = is_exact ? u.bits : (u.bits - is_beyond) | 1;
    return x == x ? u.x : f32_of(x);
}

/* A row of one operand, or of two: side by side, one number for all, or neither. */
#define ROW_1(NAME, TO, TA, EXPR)                                                                                      \
    static void NAME##_row(u8 *out, i64 so, const u8 *a, i64 sa, u64 n)                                                \
    {                                                                                                                  \
        if (so == sizeof(TO) && sa == sizeof(TA)) {                                                                    \
            TO *restrict o = (TO *)out;                                                                                \
            for (u64 i = 0; i < n; i++) {                                                                              \
                TA x = ((const TA *)a)[i];                                                                             \
                o[i] = EXPR;                                                                                           \
            }                                                                                                          \
        } else {                                                                                                       \
            for (u64 i = 0; i < n; i++) {                                                                              \
                TA x = *(const TA *)(a + (i64)i * sa);                                                                 \
                *(TO *)(out + (i64)i * so) = EXPR;                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }
#define ROW_2(NAME, TO, TA, TB, EXPR)                                                                                  \
    static void NAME##_row(u8 *out, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb, u64 n)                           \
    {                                                                                                                  \
        TO *restrict o = (TO *)out;                                                                                    \
        if (so == sizeof(TO) && sa == sizeof(TA) && sb == sizeof(TB)) {                                                \
            for (u64 i = 0; i < n; i++) {                                                                              \
                f64 x = AS_##TA(((const TA *)a)[i]), y = AS_##TB(((const TB *)b)[i]);                                  \
                o[i] = EXPR;                                                                                           \
            }                                                                                                          \
        } else if (so == sizeof(TO) && sa == sizeof(TA) && sb == 0) {                                                  \
            f64 y = AS_##TB(*(const TB *)b);                                                                           \
            for (u64 i = 0; i < n; i++) {                                                                              \
                f64 x = AS_##TA(((const TA *)a)[i]);                                                                   \
                o[i] = EXPR;                                                                                           \
            }                                                                                                          \
        } else if (so == sizeof(TO) && sa == 0 && sb == sizeof(TB)) {                                                  \
            f64 x = AS_##TA(*(const TA *)a);                                                                           \
            for (u64 i = 0; i < n; i++) {                                                                              \
                f64 y = AS_##TB(((const TB *)b)[i]);                                                                   \
                o[i] = EXPR;                                                                                           \
            }                                                                                                          \
        } else {                                                                                                       \
            for (u64 i = 0; i < n; i++) {                                                                              \
                f64 x = AS_##TA(*(const TA *)(a + (i64)i * sa)), y = AS_##TB(*(const TB *)(b + (i64)i * sb));          \
                *(TO *)(out + (i64)i * so) = EXPR;                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }
#define AS_f64(x) (x)
#define AS_i64(x) of_key(x)

ROW_2(add, f64, f64, f64, one_nan(x + y))
ROW_2(sub, f64, f64, f64, one_nan(x - y))
ROW_2(mul, f64, f64, f64, one_nan(x *y))
ROW_2(div, f64, f64, f64, one_nan(x / y))
ROW_2(min, f64, f64, f64, one_nan(x < y || x != x ? x : y))
ROW_2(max, f64, f64, f64, one_nan(x > y || x != x ? x : y))
#define COMPARES(SUFFIX, TA, TB)                                                                                       \
    ROW_2(eq##SUFFIX, u8, TA, TB, x == y)                                                                              \
    ROW_2(lt##SUFFIX, u8, TA, TB, x < y)                                                                               \
    ROW_2(le##SUFFIX, u8, TA, TB, x <= y)
COMPARES(, f64, f64)
COMPARES(_first_key, i64, f64)
COMPARES(_second_key, f64, i64)

ROW_1(sqrt, f64, f64, one_nan(__builtin_sqrt(x)))
ROW_1(floor, f64, f64, one_nan(floor_of(x)))
ROW_1(ceil, f64, f64, one_nan(ceil_of(x)))
ROW_1(trunc, f64, f64, one_nan(trunc_of(x)))
ROW_1(round, f64, f64, one_nan(nearest(x)))
ROW_1(neg, f64, f64, one_nan(of_bits(bits_of(x) ^ SIGN_64)))
ROW_1(abs, f64, f64, one_nan(size_of_f64(x)))
ROW_1(relu, f64, f64, one_nan(x != x || x > 0.0 ? x : 0.0))
ROW_1(sign, f64, f64, one_nan(x != x || x == 0.0 ? x : with_sign(1.0, x)))
ROW_1(reciprocal, f64, f64, one_nan(1.0 / x))
ROW_1(isnan, u8, f64, x != x)
ROW_1(of_f32, f64, f32, one_nan((f64)x))
ROW_1(of_i64, f64, i64, (f64)x)
ROW_1(of_u64, f64, u64, (f64)x)
ROW_1(to_bool, u8, f64, x != 0.0)
ROW_1(to_f32, f32, f64, f32_of(x))
ROW_1(to_f16, u16, f64, f16_from_f32(odd_of(x)))
ROW_1(to_bf16, u16, f64, bf16_from_f32(odd_of(x)))
ROW_1(to_i64, i64, f64, i64_of(x))
ROW_1(to_u64, u64, f64, u64_of(x))
ROW_1(to_i32, i32, f64, i32_of(x))
ROW_1(to_u32, u32, f64, (u32)i64_of(x))
ROW_1(to_u16, u16, f64, (u16)i32_of(x))
ROW_1(to_u8, u8, f64, (u8)i32_of(x))
ROW_1(nearest_u32, u32, f64, (u32)(i64)held(x, 0, UINT32_MAX))
ROW_1(nearest_u16, u16, f64, (u16)(i32)held(x, 0, UINT16_MAX))
ROW_1(nearest_i16, i16, f64, (i16)(i32)held(x, INT16_MIN, INT16_MAX))
ROW_1(nearest_u8, u8, f64, (u8)(i32)held(x, 0, UINT8_MAX))
ROW_1(nearest_i8, i8, f64, (i8)(i32)held(x, INT8_MIN, INT8_MAX))
ROW_1(rising_key, i64, f64, x == x ? key_of(x) : INT64_MAX)
ROW_1(falling_key, i64, f64, x == x ? key_of(x) : LEAST_KEY)
ROW_1(of_key, f64, i64, of_key(x))

typedef void row_1(u8 *out, i64 so, const u8 *a, i64 sa, u64 n);
typedef void row_2(u8 *out, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb, u64 n);

static row_1 *row_to(u8 dtype)
{
    switch (dtype) {
    case DT_BOOL: return to_bool_row;
    case DT_F32: return to_f32_row;
    case DT_F16: return to_f16_row;
    case DT_BF16: return to_bf16_row;
    case DT_I64: return to_i64_row;
    case DT_U64: return to_u64_row;
    case DT_I32: return to_i32_row;
    case DT_U32: return to_u32_row;
    case DT_I16:
    case DT_U16: return to_u16_row;
    default: return to_u8_row;
    }
}

static row_1 *row_to_nearest(u8 dtype)
{
    switch (dtype) {
    case DT_U32: return nearest_u32_row;
    case DT_U16: return nearest_u16_row;
    case DT_I16: return nearest_i16_row;
    case DT_U8: return nearest_u8_row;
    default: return nearest_i8_row;
    }
}

static row_1 *row_of_one(const struct record *r)
{
    switch (r->imm[0]) {
    case D_SQRT: return sqrt_row;
    case D_FLOOR: return floor_row;
    case D_CEIL: return ceil_row;
    case D_TRUNC: return trunc_row;
    case D_ROUND: return round_row;
    case D_NEG: return neg_row;
    case D_ABS: return abs_row;
    case D_RELU: return relu_row;
    case D_SIGN: return sign_row;
    case D_ISNAN: return isnan_row;
    case D_OF: return r->dtype_in[0] == DT_F32 ? of_f32_row : r->dtype_in[0] == DT_I64 ? of_i64_row : of_u64_row;
    case D_TO: return row_to(r->dtype_out);
    case D_TO_NEAREST: return row_to_nearest(r->dtype_out);
    case D_RISING_KEY: return rising_key_row;
    case D_FALLING_KEY: return falling_key_row;
    case D_OF_KEY: return of_key_row;
    default: return reciprocal_row;
    }
}

static row_2 *row_of_two(const struct record *r)
{
    int first = r->dtype_in[0] == DT_I64, second = r->dtype_in[1] == DT_I64;
    switch (r->imm[0]) {
    case D_ADD: return add_row;
    case D_SUB: return sub_row;
    case D_MUL: return mul_row;
    case D_DIV: return div_row;
    case D_MIN: return min_row;
    case D_MAX: return max_row;
    case D_EQ: return first ? eq_first_key_row : second ? eq_second_key_row : eq_row;
    case D_LT: return first ? lt_first_key_row : second ? lt_second_key_row : lt_row;
    default: return first ? le_first_key_row : second ? le_second_key_row : le_row;
    }
}

void fast_doubles(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0)};
    if (r->n_in == 1) {
        row_1 *row = row_of_one(r);
        walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
        for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
            row(w.at[0], w.step[0], w.at[1], w.step[1], n);
        return;
    }
    row_2 *row = row_of_two(r);
    operand[2] = walk_in(segment, r, 1);
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3))
        row(w.at[0], w.step[0], w.at[1], w.step[1], w.at[2], w.step[2], n);
}

void fast_ranks(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned last = r->rank - 1u;
    i64 step = r->stride[1][last];
    u64 terms = r->dim[last];
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    walk_begin(&w, operand, 3, r->dim, last, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3))
        for (u64 i = 0; i < n; i++) {
            const i64 *x = (const i64 *)(w.at[1] + (i64)i * w.step[1]);
            i64 key = *(const i64 *)(w.at[2] + (i64)i * w.step[2]), count = 0;
            if (step == 1)
                for (u64 k = 0; k < terms; k++)
                    count += (x[k] < key) + (x[k] <= key);
            else
                for (u64 k = 0; k < terms; k++)
                    count += (x[(i64)k * step] < key) + (x[(i64)k * step] <= key);
            *(f32 *)(w.at[0] + (i64)i * w.step[0]) = (f32)(i32)count;
        }
}
