/* OP_REDUCE: out = sum, product, maximum or minimum over the trailing dimensions of the iteration space.
 *
 * Element number i of the reduced elements (row-major) goes to partial result i mod 8; each partial starts from
 * the function's neutral element and takes its elements in order; then 0..3 takes 4..7, 0..1 takes 2..3, 0 takes
 * 1. One order for all four functions: it fits vector registers, and is short enough to remember.
 * Integers wrap, so order does not matter to them. Maximum and minimum let NaN win; of +0 and -0 the one that
 * comes later in this order is taken. */
#include "kernels.h"
#include "rows.h"
#include "types.h"
#include "walk.h"

#define LANES 8u

INLINE f32 combine_f32(u64 function, f32 x, f32 y)
{
    switch (function) {
    case RED_SUM: return x + y;
    case RED_PROD: return x * y;
    case RED_MAX: return x > y || x != x ? x : y;
    default: return x < y || x != x ? x : y;
    }
}
static f32 neutral_f32(u64 function)
{
    switch (function) {
    case RED_SUM: return 0.0f;
    case RED_PROD: return 1.0f;
    case RED_MAX: return -f32_inf();
    default: return f32_inf();
    }
}

/* Takes the n elements of one row into the partials; `lane` says whose turn it is. Whole rounds of eight keep
 * the partials in registers. */
#define FLOAT_ROW(NAME, FUNCTION)                                                                                      \
    static void reduce_##NAME##_##FUNCTION(f32 partial[LANES], unsigned lane, const u8 *a, i64 sa, u64 n)              \
    {                                                                                                                  \
        for (; n && lane; n--, a += sa) {                                                                              \
            partial[lane] = combine_f32(FUNCTION, partial[lane], ld_##NAME(a));                                        \
            lane = (lane + 1) % LANES;                                                                                 \
        }                                                                                                              \
        if (n >= LANES) {                                                                                              \
            f32 p[LANES];                                                                                              \
            for (unsigned j = 0; j < LANES; j++)                                                                       \
                p[j] = partial[j];                                                                                     \
            if (sa == sizeof(stored_##NAME))                                                                           \
                for (; n >= LANES; n -= LANES, a += LANES * sizeof(stored_##NAME))                                     \
                    for (unsigned j = 0; j < LANES; j++)                                                               \
                        p[j] = combine_f32(FUNCTION, p[j], ld_##NAME(a + j * sizeof(stored_##NAME)));                  \
            else                                                                                                       \
                for (; n >= LANES; n -= LANES)                                                                         \
                    for (unsigned j = 0; j < LANES; j++, a += sa)                                                      \
                        p[j] = combine_f32(FUNCTION, p[j], ld_##NAME(a));                                              \
            for (unsigned j = 0; j < LANES; j++)                                                                       \
                partial[j] = p[j];                                                                                     \
        }                                                                                                              \
        for (unsigned j = 0; j < n; j++, a += sa)                                                                      \
            partial[j] = combine_f32(FUNCTION, partial[j], ld_##NAME(a));                                              \
    }
#define FLOAT_ROWS(NAME)                                                                                               \
    FLOAT_ROW(NAME, RED_SUM)                                                                                           \
    FLOAT_ROW(NAME, RED_PROD)                                                                                          \
    FLOAT_ROW(NAME, RED_MAX)                                                                                           \
    FLOAT_ROW(NAME, RED_MIN)                                                                                           \
    static reduce_row *find_reduce_row_##NAME(u64 function)                                                            \
    {                                                                                                                  \
        switch (function) {                                                                                            \
        case RED_SUM: return reduce_##NAME##_RED_SUM;                                                                  \
        case RED_PROD: return reduce_##NAME##_RED_PROD;                                                                \
        case RED_MAX: return reduce_##NAME##_RED_MAX;                                                                  \
        default: return reduce_##NAME##_RED_MIN;                                                                       \
        }                                                                                                              \
    }
typedef void reduce_row(f32 partial[LANES], unsigned lane, const u8 *a, i64 sa, u64 n);
FLOAT_ROWS(f32)
FLOAT_ROWS(f16)
FLOAT_ROWS(bf16)

static f32 fold_lanes(u64 function, f32 partial[LANES])
{
    for (unsigned width = LANES / 2; width; width /= 2)
        for (unsigned j = 0; j < width; j++)
            partial[j] = combine_f32(function, partial[j], partial[j + width]);
    return partial[0];
}

/* Sums and products of unsigned, maxima of the dtype: all within 64 bits. */
static u64 reduce_integer_row(u64 function, u8 dtype, u64 value, const u8 *a, i64 sa, u64 n)
{
    i64 chunk[CHUNK];
    while (n) {
        u64 now = n < CHUNK ? n : CHUNK;
        KERNEL(load_i64_chunk)(chunk, a, sa, dtype, now);
        for (u64 i = 0; i < now; i++) {
            u64 x = (u64)chunk[i];
            switch (function) {
            case RED_SUM: value += x; break;
            case RED_PROD: value *= x; break;
            case RED_MAX: value = dtype == DT_U64 ? x > value ? x : value : (i64)x > (i64)value ? x : value; break;
            default: value = dtype == DT_U64 ? x < value ? x : value : (i64)x < (i64)value ? x : value; break;
            }
        }
        a += (i64)now * sa;
        n -= now;
    }
    return value;
}
static u64 neutral_integer(u64 function, u8 dtype)
{
    switch (function) {
    case RED_SUM: return 0;
    case RED_PROD: return 1;
    case RED_MAX: return dtype == DT_U64 ? 0 : (u64)INT64_MIN;
    default: return dtype == DT_U64 ? UINT64_MAX : (u64)INT64_MAX;
    }
}

void KERNEL(kernel_reduce)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u64 function = r->imm[0];
    u8 dtype = r->dtype_in[0];
    unsigned kept = r->rank - (unsigned)r->imm[1], reduced = (unsigned)r->imm[1];
    u64 count = 1;
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    reduce_row *float_row = dtype == DT_F32    ? find_reduce_row_f32(function)
                            : dtype == DT_F16  ? find_reduce_row_f16(function)
                            : dtype == DT_BF16 ? find_reduce_row_bf16(function)
                                               : 0;
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    /* The reduced elements lie alike below every output: one walk, moved from output to output. */
    struct walk_operand below = {segment, r->stride[1] + kept, operand[1].width};
    walk_begin(&inputs, &below, 1, r->dim + kept, reduced, 0, count);
    const struct walk start = inputs;
    for (u64 n; (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2)) {
        u8 *o = outputs.at[0];
        const u8 *a = outputs.at[1];
        for (u64 i = 0; i < n; i++, o += outputs.step[0], a += outputs.step[1]) {
            i64 moved = a - segment;
            if (float_row) {
                f32 partial[LANES];
                for (unsigned j = 0; j < LANES; j++)
                    partial[j] = neutral_f32(function);
                unsigned lane = 0;
                if (start.outer == 0) {
                    float_row(partial, 0, start.at[0] + moved, start.step[0], count);
                } else {
                    inputs = start;
                    for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1)) {
                        float_row(partial, lane, inputs.at[0] + moved, inputs.step[0], m);
                        lane = (lane + m) % LANES;
                    }
                }
                f32 value = fold_lanes(function, partial);
                KERNEL(store_f32_chunk)(o, 0, r->dtype_out, &value, 1);
            } else {
                u64 value = neutral_integer(function, dtype);
                inputs = start;
                for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1))
                    value = reduce_integer_row(function, dtype, value, inputs.at[0] + moved, inputs.step[0], m);
                i64 result = (i64)value;
                KERNEL(store_i64_chunk)(o, 0, r->dtype_out, &result, 1);
            }
        }
    }
}
