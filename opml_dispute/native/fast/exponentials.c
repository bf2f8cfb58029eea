/* What every softmax begins with, row by row: the greatest number, the differences from it, their exponentials, the sum of
 * those, and the quotients by it. What is between two of these steps stays in the nearest cache, or in registers.
 *
 * A row whose greatest number is finite holds no NaN and no +inf, so its differences are at most 0, its exponentials lie in
 * [0, 1], and their sum is at least 1: nothing on the way needs to be asked whether it is a number. Other rows are rare, and
 * taken one number at a time. */
#include "divide.h"
#include "exponential.h"
#include "kernels/elementary.h"

#define PARTIALS 8u

/* The rows' operands, from number `at` on. */
struct row {
    const f32 *x;
    f32 *below, *power, *quotient;
};

/* As REDUCE, RED_MAX: its order decides which of two zeros is the greatest. */
static f32 greatest_in_order(const f32 *x, u64 n)
{
    f32 p[PARTIALS];
    for (unsigned j = 0; j < PARTIALS; j++)
        p[j] = -f32_inf();
    for (u64 i = 0; i < n; i++) {
        f32 *best = &p[i % PARTIALS];
        *best = *best > x[i] || *best != *best ? *best : x[i];
    }
    for (unsigned width = PARTIALS / 2; width; width /= 2)
        for (unsigned j = 0; j < width; j++)
            p[j] = p[j] > p[j + width] || p[j] != p[j] ? p[j] : p[j + width];
    return canonical(p[0]);
}

static f32 folded(f32 *p)
{
    for (unsigned width = PARTIALS / 2; width; width /= 2)
        for (unsigned j = 0; j < width; j++)
            p[j] += p[j + width];
    return canonical(p[0]);
}

/* Any row, each step as its plain kernel makes it. Answers the sum. */
static f32 any_row(const struct row *row, f32 greatest, u64 n)
{
    f32 p[PARTIALS] = {0}, *kept = row->power ? row->power : row->quotient;
    for (u64 i = 0; i < n; i++) {
        f32 below = canonical(row->x[i] - greatest), power = canonical(exp32(below));
        if (row->below)
            row->below[i] = below;
        if (kept)
            kept[i] = power;
        p[i % PARTIALS] += power;
    }
    f32 sum = folded(p);
    for (u64 i = 0; i < n && row->quotient; i++)
        row->quotient[i] = canonical(kept[i] / sum);
    return sum;
}

#if LANES

typedef f32 eight __attribute__((vector_size(32), aligned(4), may_alias));

INLINE vec greater(vec x, vec y) { return choose(x > y, x, y); }
INLINE vec less(vec x, vec y) { return choose(x < y, x, y); }

/* The greatest or least number of a vector: halves meet, in every lane. */
#if LANES == 16
#define HALVES(F, x)                                                                                                   \
    x = F(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));                     \
    x = F(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));                     \
    x = F(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));                     \
    x = F(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14))
#elif LANES == 8
#define HALVES(F, x)                                                                                                   \
    x = F(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));                                                   \
    x = F(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));                                                   \
    x = F(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6))
#else
#define HALVES(F, x)                                                                                                   \
    x = F(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));                                                               \
    x = F(x, __builtin_shufflevector(x, x, 1, 0, 3, 2))
#endif
INLINE f32 greatest_of(vec x)
{
    HALVES(greater, x);
    return x[0];
}
INLINE f32 least_of(vec x)
{
    HALVES(less, x);
    return x[0];
}

/* The greatest of n numbers, if it is finite and not zero; else 0. */
static f32 greatest_if_usual(const f32 *x, u64 n)
{
#define SIDE_BY_SIDE 4u
    vec best[SIDE_BY_SIDE];
    veci nan = {0};
    u64 at = 0;
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < SIDE_BY_SIDE; v++)
        best[v] = splat(-f32_inf());
    for (; at + SIDE_BY_SIDE * LANES <= n; at += SIDE_BY_SIDE * LANES)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < SIDE_BY_SIDE; v += 2) {
            vec one = *(const vec *)(x + at + v * LANES), other = *(const vec *)(x + at + (v + 1) * LANES);
            best[v] = greater(best[v], one);
            best[v + 1] = greater(best[v + 1], other);
            nan |= (one != one) | (other != other);
        }
    f32 result = -f32_inf();
    u32 any = 0;
    for (; at + LANES <= n; at += LANES) {
        vec one = *(const vec *)(x + at);
        best[0] = greater(best[0], one);
        nan |= one != one;
    }
    for (; at < n; at++) {
        result = result > x[at] ? result : x[at];
        any |= x[at] != x[at];
    }
    vec all = greater(greater(best[0], best[1]), greater(best[2], best[3]));
    f32 most = greatest_of(all);
    result = result > most ? result : most;
    any |= (u32)__builtin_reduce_or(nan);
    return any || !(f32_abs(result) < f32_inf()) ? 0.0f : result;
}

/* e^x of numbers that are at most 0, and no NaN. */
INLINE vec exp_of_low(vec x) { return exp_in_range(choose(x < -105.0f, splat(-105.0f), x)); }

/* A row whose greatest number is finite. `least` is where the least exponential goes, if the exponentials are kept. */
INLINE f32 usual_row(const struct row *row, f32 greatest, u64 n, f32 *least, int writes_below, int writes_power)
{
    f32 *power = row->power ? row->power : row->quotient;
    eight partial = {0};
    vec smallest = splat(1.0f);
    u64 at = 0;
    for (; at + LANES <= n; at += LANES) {
        vec below = *(const vec *)(row->x + at) - greatest;
        if (writes_below)
            *(vec *)(row->below + at) = below;
        vec y = exp_of_low(below);
        if (writes_power)
            *(vec *)(power + at) = y;
        if (writes_power)
            smallest = less(y, smallest);
#if LANES == 16
        partial += __builtin_shufflevector(y, y, 0, 1, 2, 3, 4, 5, 6, 7);
        partial += __builtin_shufflevector(y, y, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
        partial += (eight)y;
#else
        eight two = {0};
        for (unsigned j = 0; j < LANES; j++)
            two[(at % PARTIALS) + j] = y[j];
        partial += two; /* x + 0 is x: no exponential is -0 */
#endif
    }
    f32 p[PARTIALS], rest[LANES];
    for (unsigned j = 0; j < PARTIALS; j++)
        p[j] = partial[j];
    *least = least_of(smallest);
    if (at < n) {
        vec below = load_some(row->x + at, (i64)(n - at)) - greatest;
        if (writes_below)
            store_some(row->below + at, below, (i64)(n - at));
        vec y = exp_of_low(choose(below > 0.0f, splat(0.0f), below)); /* lanes beyond the row */
        if (writes_power)
            store_some(power + at, y, (i64)(n - at));
        *(vec *)rest = y;
        for (u64 i = at; i < n; i++) {
            p[i % PARTIALS] += rest[i - at];
            *least = rest[i - at] < *least ? rest[i - at] : *least;
        }
    }
    return folded(p);
}

/* x[0..n) / y into o, for y in [1, n] and x in [0, 1], of which `least` is the least. */
static void quotient_row(f32 *o, const f32 *x, f32 y, f32 least, u64 n)
{
    struct short_divisor d = short_divisor(y);
    u64 at = 0;
    if (least < SHORT_LEAST)
        for (; at + LANES <= n; at += LANES)
            *(vec *)(o + at) = (vec)divide(*(const divide_vec *)(x + at), d.y, d.reciprocal);
    else if (d.is_short)
        for (; at + LANES <= n; at += LANES)
            *(vec *)(o + at) = (vec)divide_short(*(const divide_vec *)(x + at), &d, 1);
    else
        for (; at + LANES <= n; at += LANES)
            *(vec *)(o + at) = (vec)divide_short(*(const divide_vec *)(x + at), &d, 0);
    for (; at < n; at++)
        o[at] = x[at] / y;
}

static f32 fast_row(const struct row *row, f32 greatest, u64 n)
{
    f32 least, sum;
    if (row->below)
        sum = row->power || row->quotient ? usual_row(row, greatest, n, &least, 1, 1)
                                          : usual_row(row, greatest, n, &least, 1, 0);
    else
        sum = row->power || row->quotient ? usual_row(row, greatest, n, &least, 0, 1)
                                          : usual_row(row, greatest, n, &least, 0, 0);
    if (row->quotient)
        quotient_row(row->quotient, row->power ? row->power : row->quotient, sum, least, n);
    return sum;
}

#else

static f32 greatest_if_usual(const f32 *x, u64 n)
{
    (void)x, (void)n;
    return 0.0f;
}

static f32 fast_row(const struct row *row, f32 greatest, u64 n) { return any_row(row, greatest, n); }

#endif

void fast_exponential_rows(const struct fast_exponentials *e, u64 first, u64 end)
{
    u64 n = e->length;
    if (fast_exponential_short_rows(e, first, end))
        return;
    for (u64 i = first; i < end; i++) {
        struct row row = {.x = e->x + i * n,
                          .below = e->below ? e->below + i * n : NULL,
                          .power = e->power ? e->power + i * n : NULL,
                          .quotient = e->quotient ? e->quotient + i * n : NULL};
        f32 greatest = greatest_if_usual(row.x, n);
        int is_usual = greatest != 0.0f;
        if (!is_usual) {
            greatest = greatest_in_order(row.x, n);
            is_usual = f32_abs(greatest) < f32_inf();
        }
        e->greatest[i] = greatest;
        e->sum[i] = is_usual ? fast_row(&row, greatest, n) : any_row(&row, greatest, n);
    }
}
