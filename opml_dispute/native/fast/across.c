/* REDUCE and SCAN, many outputs at a time. First, where outputs that are neighbours are made from elements that are neighbours: over the first axis of a
 * matrix, say, or over the channels of an image.
 *
 * Many outputs are made at once, side by side in vectors, each in the plain kernel's order: element i goes to partial
 * result i mod 8. So memory is read along its rows.
 *
 * Second, REDUCE of rows that lie side by side in memory: eight partial results are one vector, and each element waits for
 * the one eight before it; so four rows are reduced at a time, which do not wait for one another. */
#include "fast.h"
#include "kernels/float32.h"
#include "kernels/walk.h"

/* Outputs made at a time: their partial results stay in the nearest cache. */
#define AT_ONCE  256u
#define PARTIALS 8u
/* Rows of fewer outputs are left to the plain kernel. */
#define LEAST_ROW 8u

INLINE f32 combined(u64 function, f32 x, f32 y)
{
    switch (function) {
    case RED_SUM: return x + y;
    case RED_PROD: return x * y;
    case RED_MAX: return x > y || x != x ? x : y;
    default: return x < y || x != x ? x : y;
    }
}
static f32 neutral(u64 function)
{
    return function == RED_SUM ? 0.0f : function == RED_PROD ? 1.0f : function == RED_MAX ? -f32_inf() : f32_inf();
}

INLINE void take_row(u64 function, f32 *restrict partial, const f32 *restrict x, u64 n)
{
    for (u64 i = 0; i < n; i++)
        partial[i] = combined(function, partial[i], x[i]);
}

/* n outputs side by side, from the elements that `inputs` walks, moved by `moved` bytes. */
INLINE void reduce_columns(u64 function, f32 *restrict o, struct walk inputs, i64 moved, u64 n)
{
    f32 partial[PARTIALS][AT_ONCE];
    f32 start = neutral(function);
    /* Partial results that no element goes to stay neutral, and change nothing in the end. */
    unsigned used = inputs.left < PARTIALS ? (unsigned)inputs.left : PARTIALS;
    for (unsigned p = 0; p < used; p++)
        for (u64 i = 0; i < n; i++)
            partial[p][i] = start;
    unsigned turn = 0;
    for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1)) {
        const u8 *x = inputs.at[0] + moved;
        for (u64 j = 0; j < m; j++, x += inputs.step[0], turn = (turn + 1) % PARTIALS)
            take_row(function, partial[turn], (const f32 *)x, n);
    }
    for (unsigned width = PARTIALS / 2; width; width /= 2)
        for (unsigned p = 0; p < width && p + width < used; p++)
            take_row(function, partial[p], partial[p + width], n);
    for (u64 i = 0; i < n; i++)
        o[i] = canonical(partial[0][i]);
}

static void reduce_some(u64 function, f32 *o, const struct walk *inputs, i64 moved, u64 n)
{
    switch (function) {
    case RED_SUM: reduce_columns(RED_SUM, o, *inputs, moved, n); return;
    case RED_PROD: reduce_columns(RED_PROD, o, *inputs, moved, n); return;
    case RED_MAX: reduce_columns(RED_MAX, o, *inputs, moved, n); return;
    default: reduce_columns(RED_MIN, o, *inputs, moved, n); return;
    }
}

typedef float many __attribute__((vector_size(64), aligned(4), may_alias));
typedef i32 manyi __attribute__((vector_size(64), aligned(4), may_alias));
#define MANY 16u

INLINE many combined_many(u64 function, many x, many y)
{
    if (function == RED_SUM)
        return x + y;
    if (function == RED_PROD)
        return x * y;
    manyi first = (function == RED_MAX ? x > y : x < y) | (x != x);
    return (many)((first & (manyi)x) | (~first & (manyi)y));
}

/* Outputs side by side that have `used` elements each, one for a partial result: element p of output i is x[p][i]. Nothing
 * leaves the registers. Answers how many of n outputs are made. */
INLINE u64 reduce_few(u64 function, f32 *o, const f32 *const x[PARTIALS], unsigned used, u64 n)
{
    u64 at = 0;
    for (; at + MANY <= n; at += MANY) {
        many partial[PARTIALS];
#pragma clang loop unroll(full)
        for (unsigned p = 0; p < PARTIALS; p++) {
            partial[p] = (many){0};
            if (p >= used)
                continue; /* the neutral elements of the others change no number */
            partial[p] = *(const many *)(x[p] + at);
            if (function == RED_SUM)
                partial[p] += 0.0f;
        }
#pragma clang loop unroll(full)
        for (unsigned width = PARTIALS / 2; width; width /= 2)
#pragma clang loop unroll(full)
            for (unsigned p = 0; p < width; p++)
                if (p + width < used)
                    partial[p] = combined_many(function, partial[p], partial[p + width]);
        manyi bits = (manyi)partial[0], is_nan = (bits & 0x7fffffff) > 0x7f800000;
        *(many *)(o + at) = (many)((is_nan & 0x7fc00000) | (~is_nan & bits));
    }
    return at;
}

/* The same for the elements that `inputs` walks, moved by `moved` bytes. */
static u64 reduce_some_few(u64 function, f32 *o, const struct walk *inputs, i64 moved, u64 n)
{
    if (inputs->left > PARTIALS || n < MANY)
        return 0;
    const f32 *x[PARTIALS];
    struct walk w = *inputs;
    unsigned used = 0;
    for (u64 m; (m = walk_row(&w)) != 0; walk_next(&w, m, 1))
        for (u64 j = 0; j < m; j++)
            x[used++] = (const f32 *)(w.at[0] + moved + (i64)j * w.step[0]);
    switch (function) {
    case RED_SUM: return reduce_few(RED_SUM, o, x, used, n);
    case RED_PROD: return reduce_few(RED_PROD, o, x, used, n);
    case RED_MAX: return reduce_few(RED_MAX, o, x, used, n);
    default: return reduce_few(RED_MIN, o, x, used, n);
    }
}

typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef i32 eighti __attribute__((vector_size(32), aligned(4), may_alias));
/* Rows reduced at a time, and the least elements that pay for it. */
#define ROWS           4u
#define LEAST_ELEMENTS 32u

/* `combined`, on vectors. A NaN is remembered in `nan`, and may be lost in the result. */
INLINE eight combined_eight(u64 function, eight x, eight y, eighti *nan)
{
    if (function == RED_SUM)
        return x + y;
    if (function == RED_PROD)
        return x * y;
    *nan |= y != y;
    eighti first = function == RED_MAX ? x > y : x < y;
    return (eight)((first & (eighti)x) | (~first & (eighti)y));
}

/* `combined`, on vectors, NaN winning. */
INLINE eight joined_eight(u64 function, eight x, eight y)
{
    if (function == RED_SUM)
        return x + y;
    if (function == RED_PROD)
        return x * y;
    eighti first = (function == RED_MAX ? x > y : x < y) | (x != x);
    return (eight)((first & (eighti)x) | (~first & (eighti)y));
}

/* The results of ROWS rows in the first lanes: 0..3 take 4..7 of each, 0..1 take 2..3, 0 takes 1. */
INLINE eight fold_rows(u64 function, const eight *p)
{
#define HALVES(x, y, SHUFFLE_LOW, SHUFFLE_HIGH)                                                                        \
    joined_eight(function, __builtin_shufflevector(x, y, SHUFFLE_LOW), __builtin_shufflevector(x, y, SHUFFLE_HIGH))
#define LIST(...) __VA_ARGS__
    eight p01 = HALVES(p[0], p[1], LIST(0, 1, 2, 3, 8, 9, 10, 11), LIST(4, 5, 6, 7, 12, 13, 14, 15));
    eight p23 = HALVES(p[2], p[3], LIST(0, 1, 2, 3, 8, 9, 10, 11), LIST(4, 5, 6, 7, 12, 13, 14, 15));
    eight all = HALVES(p01, p23, LIST(0, 1, 4, 5, 8, 9, 12, 13), LIST(2, 3, 6, 7, 10, 11, 14, 15));
    return HALVES(all, all, LIST(0, 2, 4, 6, 0, 2, 4, 6), LIST(1, 3, 5, 7, 1, 3, 5, 7));
}

/* n elements each of `rows` rows, `apart` bytes from one another; results `o_step` bytes apart. */
INLINE void reduce_rows(u64 function, unsigned rows, u8 *o, i64 o_step, const u8 *a, i64 apart, u64 n)
{
    eight partial[ROWS];
    eighti nan[ROWS];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < rows; i++) {
        partial[i] = neutral(function) - (eight){0};
        nan[i] = (eighti){0};
    }
    u64 at = 0;
    for (; at + PARTIALS <= n; at += PARTIALS)
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++)
            partial[i] =
                combined_eight(function, partial[i], *(const eight *)(a + (i64)i * apart + 4 * (i64)at), &nan[i]);
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < rows; i++)
        if (function == RED_MAX || function == RED_MIN)
            partial[i] = (eight)((nan[i] & 0x7fc00000) | (~nan[i] & (eighti)partial[i]));
    if (rows == ROWS) {
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++) {
            const f32 *x = (const f32 *)(a + (i64)i * apart);
            for (u64 j = at; j < n; j++)
                partial[i][j - at] = combined(function, partial[i][j - at], x[j]);
        }
        eight result = fold_rows(function, partial);
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++)
            *(f32 *)(o + (i64)i * o_step) = canonical(result[i]);
        return;
    }
    for (unsigned i = 0; i < rows; i++) {
        const f32 *x = (const f32 *)(a + (i64)i * apart);
        f32 p[PARTIALS];
        for (unsigned j = 0; j < PARTIALS; j++)
            p[j] = partial[i][j];
        for (u64 j = at; j < n; j++)
            p[j - at] = combined(function, p[j - at], x[j]);
        for (unsigned width = PARTIALS / 2; width; width /= 2)
            for (unsigned j = 0; j < width; j++)
                p[j] = combined(function, p[j], p[j + width]);
        *(f32 *)(o + (i64)i * o_step) = canonical(p[0]);
    }
}

/* The greatest (least) of n elements side by side, in whatever order is fastest: a number other than 0 does not depend on
 * it. 0 if the result is a zero, whose sign does, or NaN; then nothing is written. */
#define WIDE     64u
#define RED_DONE 0u
INLINE int extreme_of_row(u64 function, f32 *o, const f32 *x, u64 n)
{
    f32 best[WIDE];
    u32 nan[WIDE] = {0};
    for (u64 j = 0; j < WIDE; j++)
        best[j] = x[j];
    u64 at = 0;
    for (; at + WIDE <= n; at += WIDE)
        for (u64 j = 0; j < WIDE; j++) {
            f32 y = x[at + j];
            best[j] = (function == RED_MAX ? best[j] > y : best[j] < y) ? best[j] : y;
            nan[j] |= y != y;
        }
    f32 result = best[0];
    u32 any = 0;
    for (u64 j = 0; j < WIDE; j++) {
        result = combined(function, result, best[j]);
        any |= nan[j];
    }
    for (; at < n; at++)
        result = combined(function, result, x[at]);
    if (any || result != result || result == 0.0f)
        return 0;
    *o = result;
    return 1;
}

static int extreme(u64 function, f32 *o, const f32 *x, u64 n)
{
    if ((function != RED_MAX && function != RED_MIN) || n < 4 * WIDE)
        return 0;
    return function == RED_MAX ? extreme_of_row(RED_MAX, o, x, n) : extreme_of_row(RED_MIN, o, x, n);
}

static void reduce_all_rows(u64 function, u8 *o, i64 o_step, const u8 *a, i64 apart, u64 count, u64 n)
{
    for (; count >= ROWS; count -= ROWS, o += ROWS * o_step, a += ROWS * apart)
        switch (function) {
        case RED_SUM: reduce_rows(RED_SUM, ROWS, o, o_step, a, apart, n); break;
        case RED_PROD: reduce_rows(RED_PROD, ROWS, o, o_step, a, apart, n); break;
        case RED_MAX: reduce_rows(RED_MAX, ROWS, o, o_step, a, apart, n); break;
        default: reduce_rows(RED_MIN, ROWS, o, o_step, a, apart, n); break;
        }
    for (; count; count--, o += o_step, a += apart)
        switch (extreme(function, (f32 *)o, (const f32 *)a, n) ? RED_DONE : function) {
        case RED_DONE: break;
        case RED_SUM: reduce_rows(RED_SUM, 1, o, o_step, a, apart, n); break;
        case RED_PROD: reduce_rows(RED_PROD, 1, o, o_step, a, apart, n); break;
        case RED_MAX: reduce_rows(RED_MAX, 1, o, o_step, a, apart, n); break;
        default: reduce_rows(RED_MIN, 1, o, o_step, a, apart, n); break;
        }
}

int fast_reduce(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned reduced = (unsigned)r->imm[1], kept = r->rank - reduced;
    u64 count = 1;
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    if (r->dtype_in[0] != DT_F32)
        return 0;
    struct walk_operand below = {segment, r->stride[1] + kept, 4};
    walk_begin(&inputs, &below, 1, r->dim + kept, reduced, 0, count);
    if (inputs.outer == 0 && inputs.step[0] == 4 && count >= LEAST_ELEMENTS) {
        for (u64 n; (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2))
            reduce_all_rows(r->imm[0], outputs.at[0], outputs.step[0], inputs.at[0] + (outputs.at[1] - segment),
                            outputs.step[1], n, count);
        return 1;
    }
    if (inputs.outer == 0 && inputs.step[0] == 4 && outputs.step[0] == 4 && outputs.step[1] % 4 == 0 &&
        count <= FAST_SHORT_ROW && outputs.row >= LEAST_ROW) {
        int made = 1;
        for (u64 n; made && (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2))
            made = fast_reduce_short_rows(r->imm[0], (f32 *)outputs.at[0],
                                          (const f32 *)(inputs.at[0] + (outputs.at[1] - segment)), outputs.step[1] / 4,
                                          n, count);
        return made;
    }
    if (outputs.step[0] != 4 || outputs.step[1] != 4 || outputs.row < LEAST_ROW)
        return 0;
    for (u64 n; (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2))
        for (u64 at = reduce_some_few(r->imm[0], (f32 *)outputs.at[0], &inputs, outputs.at[1] - segment, n); at < n;
             at += AT_ONCE)
            reduce_some(r->imm[0], (f32 *)outputs.at[0] + at, &inputs, outputs.at[1] + 4 * at - segment,
                        n - at < AT_ONCE ? n - at : AT_ONCE);
    return 1;
}

/* Lines scanned at a time: as many as leave room in the nearest cache for what is read and written. */
#define LINES_AT_ONCE 2048u

/* n lines side by side; o and a: their first elements, `steps` of them, so many bytes apart. */
INLINE void scan_lines(u32 product, u32 exclusive, u8 *o, i64 so, const u8 *a, i64 sa, u64 steps, u64 n)
{
    f32 value[LINES_AT_ONCE];
    for (u64 i = 0; i < n; i++)
        value[i] = product ? 1.0f : 0.0f;
    for (; steps; steps--, o += so, a += sa) {
        const f32 *restrict x = (const f32 *)a;
        f32 *restrict out = (f32 *)o;
        for (u64 i = 0; i < n; i++) {
            f32 next = product ? value[i] * x[i] : value[i] + x[i];
            out[i] = canonical(exclusive ? value[i] : next);
            value[i] = next;
        }
    }
}

int fast_scan(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned axis = r->rank - 1u;
    struct walk lines;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&lines, operand, 2, r->dim, axis, lo, hi);
    if (r->dtype_in[0] != DT_F32 || lines.step[0] != 4 || lines.step[1] != 4 || lines.row < LEAST_ROW)
        return 0;
    i64 so = r->stride[0][axis] * 4, sa = r->stride[1][axis] * 4, last = (i64)r->dim[axis] - 1;
    u32 product = r->imm[0] == RED_PROD, exclusive = r->imm[2] & 1, reverse = r->imm[2] >> 1 & 1;
    for (u64 n; (n = walk_row(&lines)) != 0; walk_next(&lines, n, 2))
        for (u64 at = 0; at < n; at += LINES_AT_ONCE) {
            u8 *o = lines.at[0] + 4 * at + (reverse ? last * so : 0);
            const u8 *a = lines.at[1] + 4 * at + (reverse ? last * sa : 0);
            u64 now = n - at < LINES_AT_ONCE ? n - at : LINES_AT_ONCE;
            i64 o_step = reverse ? -so : so, a_step = reverse ? -sa : sa;
            if (product)
                scan_lines(1, exclusive, o, o_step, a, a_step, r->dim[axis], now);
            else
                scan_lines(0, exclusive, o, o_step, a, a_step, r->dim[axis], now);
        }
    return 1;
}
