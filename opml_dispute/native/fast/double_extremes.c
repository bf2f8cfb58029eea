/* The greatest or least of numbers of binary64: a NaN if one is there, and +0 for either zero. Outputs that lie
 * side by side are made together; of a row, the extremes of every 32nd number, and then that of these. */
#include "doubles.h"

#include "kernels/walk.h"

typedef f64 many __attribute__((vector_size(64), aligned(8), may_alias));
typedef i64 manyi __attribute__((vector_size(64), aligned(8), may_alias));
#define MANY    8u
#define VECTORS 4u
/* Outputs made at a time. */
#define AT_ONCE 256u

/* Whether x takes the place of an earlier extreme, which stays if it is a NaN: the same of vectors and of numbers. */
#define TAKES(x, best) ((least ? (x) < (best) : (x) > (best)) | ((x) != (x)))

INLINE f64 better(int least, f64 best, f64 x) { return TAKES(x, best) ? x : best; }
INLINE many better_each(int least, many best, many x)
{
    manyi taken = TAKES(x, best);
    return (many)((taken & (manyi)x) | (~taken & (manyi)best));
}

INLINE f64 finished(f64 x) { return one_nan(x + 0.0); }

/* Of n numbers side by side. */
INLINE f64 extreme_of_row(int least, const f64 *x, u64 n)
{
    f64 best = *x;
    u64 i = 0;
    if (n >= VECTORS * MANY) {
        many each[VECTORS];
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < VECTORS; v++)
            each[v] = *(const many *)(x + v * MANY);
        for (i = VECTORS * MANY; i + VECTORS * MANY <= n; i += VECTORS * MANY)
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < VECTORS; v++)
                each[v] = better_each(least, each[v], *(const many *)(x + i + v * MANY));
        each[0] = better_each(least, better_each(least, each[0], each[1]), better_each(least, each[2], each[3]));
        for (unsigned j = 0; j < MANY; j++)
            best = better(least, best, each[0][j]);
    }
    for (; i < n; i++)
        best = better(least, best, x[i]);
    return finished(best);
}

/* n outputs side by side, from the numbers that `inputs` walks, moved by `moved` bytes. */
INLINE void extremes_of_columns(int least, f64 *restrict o, struct walk inputs, i64 moved, u64 n)
{
    for (u64 i = 0; i < n; i++)
        o[i] = ((const f64 *)(inputs.at[0] + moved))[i];
    for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1))
        for (u64 j = 0; j < m; j++) {
            const f64 *restrict x = (const f64 *)(inputs.at[0] + moved + (i64)j * inputs.step[0]);
            for (u64 i = 0; i < n; i++)
                o[i] = better(least, o[i], x[i]);
        }
    for (u64 i = 0; i < n; i++)
        o[i] = finished(o[i]);
}

INLINE f64 extreme_of_any(int least, struct walk inputs, i64 moved)
{
    f64 best = *(const f64 *)(inputs.at[0] + moved);
    for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1))
        for (u64 j = 0; j < m; j++)
            best = better(least, best, *(const f64 *)(inputs.at[0] + moved + (i64)j * inputs.step[0]));
    return finished(best);
}

INLINE void all_outputs(int least, struct walk *outputs, const struct walk *inputs, const u8 *segment)
{
    int by_rows = inputs->outer == 0 && (inputs->step[0] == 8 || inputs->row == 1);
    int by_columns = !by_rows && outputs->step[0] == 8 && outputs->step[1] == 8;
    u64 now;
    for (u64 n; (n = walk_row(outputs)) != 0; walk_next(outputs, n, 2))
        for (u64 i = 0; i < n; i += now) {
            f64 *o = (f64 *)(outputs->at[0] + (i64)i * outputs->step[0]);
            i64 moved = outputs->at[1] + (i64)i * outputs->step[1] - segment;
            now = !by_columns ? 1 : n - i < AT_ONCE ? n - i : AT_ONCE;
            if (by_rows)
                *o = extreme_of_row(least, (const f64 *)(inputs->at[0] + moved), inputs->row);
            else if (by_columns)
                extremes_of_columns(least, o, *inputs, moved, now);
            else
                *o = extreme_of_any(least, *inputs, moved);
        }
}

void fast_double_extremes(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned reduced = (unsigned)r->imm[1], kept = r->rank - reduced;
    u64 count = 1;
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    struct walk_operand below = {segment, r->stride[1] + kept, operand[1].width};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    walk_begin(&inputs, &below, 1, r->dim + kept, reduced, 0, count);
    if (r->imm[0] == D_MIN)
        all_outputs(1, &outputs, &inputs, segment);
    else
        all_outputs(0, &outputs, &inputs, segment);
}
