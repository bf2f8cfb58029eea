/* OP_CAST between elements that lie side by side, straight from type to type.
 *
 * The plain kernel goes through 64-bit integers, which is one code for all pairs. Here each common pair has a loop that
 * the compiler turns into the processor's conversions; they are not used out of their range, where processors differ.
 * */
#include "fast.h"
#include "kernels/float32.h"
#include "kernels/rows.h"
#include "kernels/walk.h"

/* x truncated, held between two integers that binary32 has; NaN becomes 0. */
INLINE i32 held(f32 x, f32 least, f32 greatest)
{
    x = x != x ? 0.0f : x;
    x = x < least ? least : x;
    return (i32)(x > greatest ? greatest : x);
}
/* The same where the type's greatest number is not one of binary32: `end`, one more, is. */
#define TRUNCATE(NAME, T, LEAST, LEAST_INTEGER, END, GREATEST)                                                         \
    INLINE T NAME(f32 x)                                                                                               \
    {                                                                                                                  \
        T y = (T)(x >= (LEAST) && x < (END) ? x : 0.0f);                                                               \
        y = x >= (END) ? (GREATEST) : y;                                                                               \
        return x < (LEAST) ? (LEAST_INTEGER) : y;                                                                      \
    }
TRUNCATE(i32_of, i32, -0x1p31f, INT32_MIN, 0x1p31f, INT32_MAX)
TRUNCATE(u32_of, u32, 0.0f, 0, 0x1p32f, UINT32_MAX)
TRUNCATE(i64_of, i64, -0x1p63f, INT64_MIN, 0x1p63f, INT64_MAX)

typedef void cast_row(void *restrict o, const void *restrict a, u64 n);

#define CAST(FROM, TO, EXPR)                                                                                           \
    static void cast_##FROM##_##TO(void *restrict o, const void *restrict a, u64 n)                                    \
    {                                                                                                                  \
        for (u64 i = 0; i < n; i++) {                                                                                  \
            FROM x = ((const FROM *)a)[i];                                                                             \
            ((TO *)o)[i] = EXPR;                                                                                       \
        }                                                                                                              \
    }
/* Storage formats are integers to C. */
typedef u16 f16, bf16;

CAST(f32, u8, (u8)held(x, 0.0f, 255.0f))
CAST(f32, i8, (i8)held(x, -128.0f, 127.0f))
CAST(f32, u16, (u16)held(x, 0.0f, 65535.0f))
CAST(f32, i16, (i16)held(x, -32768.0f, 32767.0f))
CAST(f32, i32, i32_of(x))
CAST(f32, u32, u32_of(x))
CAST(f32, i64, i64_of(x))
CAST(f32, boolean, x != 0.0f)
CAST(f32, f16, f16_from_f32(x))
CAST(f32, bf16, bf16_from_f32(x))
CAST(f16, f32, canonical(f32_from_f16(x)))
CAST(bf16, f32, canonical(f32_from_bf16(x)))
CAST(boolean, f32, x ? 1.0f : 0.0f)

#define CAST_TO_EACH(FROM)                                                                                             \
    CAST(FROM, f32, (f32)x)                                                                                            \
    CAST(FROM, u8, (u8)x)                                                                                              \
    CAST(FROM, u16, (u16)x)                                                                                            \
    CAST(FROM, u32, (u32)x)                                                                                            \
    CAST(FROM, u64, (u64)x)                                                                                            \
    CAST(FROM, boolean, x != 0)                                                                                        \
    static cast_row *row_from_##FROM(u8 to)                                                                            \
    {                                                                                                                  \
        switch (to) {                                                                                                  \
        case DT_F32: return cast_##FROM##_f32;                                                                         \
        case DT_U8:                                                                                                    \
        case DT_I8: return cast_##FROM##_u8;                                                                           \
        case DT_U16:                                                                                                   \
        case DT_I16: return cast_##FROM##_u16;                                                                         \
        case DT_U32:                                                                                                   \
        case DT_I32: return cast_##FROM##_u32;                                                                         \
        case DT_U64:                                                                                                   \
        case DT_I64: return cast_##FROM##_u64;                                                                         \
        case DT_BOOL: return cast_##FROM##_boolean;                                                                    \
        default: return NULL;                                                                                          \
        }                                                                                                              \
    }
CAST_TO_EACH(u8)
CAST_TO_EACH(i8)
CAST_TO_EACH(u16)
CAST_TO_EACH(i16)
CAST_TO_EACH(u32)
CAST_TO_EACH(i32)
CAST_TO_EACH(u64)
CAST_TO_EACH(i64)

static cast_row *row_from_real(u8 to)
{
    switch (to) {
    case DT_U8: return cast_f32_u8;
    case DT_I8: return cast_f32_i8;
    case DT_U16: return cast_f32_u16;
    case DT_I16: return cast_f32_i16;
    case DT_I32: return cast_f32_i32;
    case DT_U32: return cast_f32_u32;
    case DT_I64: return cast_f32_i64;
    case DT_BOOL: return cast_f32_boolean;
    case DT_F16: return cast_f32_f16;
    case DT_BF16: return cast_f32_bf16;
    default: return NULL;
    }
}

/* Whether every number of `from` is one of `to`, so that saturating never does anything. */
static int all_fit(u8 from, u8 to)
{
    u64 narrow = dtype_bytes(from), wide = dtype_bytes(to);
    int from_signed = from == DT_I8 || from == DT_I16 || from == DT_I32 || from == DT_I64;
    int to_signed = to == DT_I8 || to == DT_I16 || to == DT_I32 || to == DT_I64;
    return to == DT_BOOL || from == to || (narrow < wide && (to_signed || !from_signed));
}

static cast_row *find_row(const struct record *r)
{
    u8 from = r->dtype_in[0], to = r->dtype_out;
    if (from == DT_F32)
        return row_from_real(to);
    if (from == DT_F16 || from == DT_BF16)
        return to != DT_F32 ? NULL : from == DT_F16 ? cast_f16_f32 : cast_bf16_f32;
    if (from == DT_BOOL)
        return to == DT_F32 ? cast_boolean_f32 : NULL;
    if (to != DT_F32 && r->imm[0] && !all_fit(from, to))
        return NULL;
    switch (from) {
    case DT_U8: return row_from_u8(to);
    case DT_I8: return row_from_i8(to);
    case DT_U16: return row_from_u16(to);
    case DT_I16: return row_from_i16(to);
    case DT_U32: return row_from_u32(to);
    case DT_I32: return row_from_i32(to);
    case DT_U64: return row_from_u64(to);
    default: return row_from_i64(to);
    }
}

int fast_cast(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    cast_row *row = find_row(r);
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
    if (!row || w.step[0] != (i64)operand[0].width || w.step[1] != (i64)operand[1].width)
        return 0;
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
        row(w.at[0], w.at[1], n);
    return 1;
}
