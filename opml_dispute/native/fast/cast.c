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
TRUNCATE(u64_of, u64, 0.0f, 0, 0x1p64f, UINT64_MAX)

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
CAST(f32, u64, u64_of(x))
CAST(f32, boolean, x != 0.0f)
CAST(f32, f16, f16_from_f32(x))
CAST(f32, bf16, bf16_from_f32(x))
CAST(f16, f32, canonical(f32_from_f16(x)))
CAST(bf16, f32, canonical(f32_from_bf16(x)))
CAST(boolean, f32, x ? 1.0f : 0.0f)
CAST(boolean, u8, x != 0)
CAST(boolean, u16, x != 0)
CAST(boolean, u32, x != 0)
CAST(boolean, u64, x != 0)
CAST(boolean, f16, x ? 0x3c00 : 0)
CAST(boolean, bf16, x ? 0x3f80 : 0)

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

static cast_row *row_from_boolean(u8 to)
{
    switch (to) {
    case DT_F32: return cast_boolean_f32;
    case DT_F16: return cast_boolean_f16;
    case DT_BF16: return cast_boolean_bf16;
    default: break;
    }
    switch (dtype_bytes(to)) {
    case 1: return cast_boolean_u8;
    case 2: return cast_boolean_u16;
    case 4: return cast_boolean_u32;
    default: return cast_boolean_u64;
    }
}

/* To the nearest number, where `to` does not have them all. */
#define LEAST_u8     0
#define LEAST_u16    0
#define LEAST_u32    0
#define LEAST_u64    0
#define LEAST_i8     INT8_MIN
#define LEAST_i16    INT16_MIN
#define LEAST_i32    INT32_MIN
#define LEAST_i64    INT64_MIN
#define GREATEST_u8  UINT8_MAX
#define GREATEST_u16 UINT16_MAX
#define GREATEST_u32 UINT32_MAX
#define GREATEST_u64 UINT64_MAX
#define GREATEST_i8  INT8_MAX
#define GREATEST_i16 INT16_MAX
#define GREATEST_i32 INT32_MAX
#define GREATEST_i64 INT64_MAX
#define SATURATE(FROM, TO)                                                                                             \
    static void saturate_##FROM##_##TO(void *restrict o, const void *restrict a, u64 n)                                \
    {                                                                                                                  \
        const FROM least = (i64)LEAST_##FROM > (i64)LEAST_##TO ? (FROM)LEAST_##FROM : (FROM)LEAST_##TO;                \
        const FROM most = (u64)GREATEST_##FROM < (u64)GREATEST_##TO ? (FROM)GREATEST_##FROM : (FROM)GREATEST_##TO;     \
        for (u64 i = 0; i < n; i++) {                                                                                  \
            FROM x = ((const FROM *)a)[i];                                                                             \
            x = x < least ? least : x;                                                                                 \
            ((TO *)o)[i] = (TO)(x > most ? most : x);                                                                  \
        }                                                                                                              \
    }
#define SATURATE_TO_EACH(FROM)                                                                                         \
    SATURATE(FROM, u8)                                                                                                 \
    SATURATE(FROM, i8)                                                                                                 \
    SATURATE(FROM, u16)                                                                                                \
    SATURATE(FROM, i16)                                                                                                \
    SATURATE(FROM, u32)                                                                                                \
    SATURATE(FROM, i32)                                                                                                \
    SATURATE(FROM, u64)                                                                                                \
    SATURATE(FROM, i64)                                                                                                \
    static cast_row *saturating_row_from_##FROM(u8 to)                                                                 \
    {                                                                                                                  \
        switch (to) {                                                                                                  \
        case DT_U8: return saturate_##FROM##_u8;                                                                       \
        case DT_I8: return saturate_##FROM##_i8;                                                                       \
        case DT_U16: return saturate_##FROM##_u16;                                                                     \
        case DT_I16: return saturate_##FROM##_i16;                                                                     \
        case DT_U32: return saturate_##FROM##_u32;                                                                     \
        case DT_I32: return saturate_##FROM##_i32;                                                                     \
        case DT_U64: return saturate_##FROM##_u64;                                                                     \
        default: return saturate_##FROM##_i64;                                                                         \
        }                                                                                                              \
    }
SATURATE_TO_EACH(u8)
SATURATE_TO_EACH(i8)
SATURATE_TO_EACH(u16)
SATURATE_TO_EACH(i16)
SATURATE_TO_EACH(u32)
SATURATE_TO_EACH(i32)
SATURATE_TO_EACH(u64)
SATURATE_TO_EACH(i64)

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
    case DT_U64: return cast_f32_u64;
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

/* A row of halves by way of binary32, which holds them exactly; a NaN is one there too. */
static void cast_halves(cast_row *widen, cast_row *narrow, u64 width, u8 *o, const u8 *a, u64 n)
{
    f32 real[CHUNK];
    for (u64 now; n; n -= now, a += 2 * now, o += width * now) {
        now = n < CHUNK ? n : CHUNK;
        widen(real, a, now);
        narrow(o, real, now);
    }
}

static cast_row *find_row(const struct record *r)
{
    u8 from = r->dtype_in[0], to = r->dtype_out;
    if (from == DT_F32)
        return row_from_real(to);
    if (from == DT_F16 || from == DT_BF16)
        return from == DT_F16 ? cast_f16_f32 : cast_bf16_f32;
    if (from == DT_BOOL)
        return row_from_boolean(to);
    int is_float = to == DT_F32 || to == DT_F16 || to == DT_BF16;
    int saturates = !is_float && r->imm[0] && !all_fit(from, to);
#define ROW_FROM(FROM) (saturates ? saturating_row_from_##FROM(to) : row_from_##FROM(to))
    switch (from) {
    case DT_U8: return ROW_FROM(u8);
    case DT_I8: return ROW_FROM(i8);
    case DT_U16: return ROW_FROM(u16);
    case DT_I16: return ROW_FROM(i16);
    case DT_U32: return ROW_FROM(u32);
    case DT_I32: return ROW_FROM(i32);
    case DT_U64: return ROW_FROM(u64);
    default: return ROW_FROM(i64);
    }
#undef ROW_FROM
}

int fast_cast(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    cast_row *row = find_row(r);
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
    if (!row || w.step[0] != (i64)operand[0].width || w.step[1] != (i64)operand[1].width)
        return 0;
    u8 from = r->dtype_in[0];
    cast_row *narrow = (from == DT_F16 || from == DT_BF16) && r->dtype_out != DT_F32 ? row_from_real(r->dtype_out)
                                                                                     : NULL;
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
        if (narrow)
            cast_halves(row, narrow, operand[0].width, w.at[0], w.at[1], n);
        else
            row(w.at[0], w.at[1], n);
    return 1;
}
