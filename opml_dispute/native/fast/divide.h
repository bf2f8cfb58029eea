/* Division of many numbers by one, as multiplications: dividing takes several times as long. */
#ifndef OPML_DIVIDE_H
#define OPML_DIVIDE_H
#include "gemm.h"
#include "kernels/float32.h"

#if LANES

typedef float divide_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef i32 divide_veci __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Sizes of dividends and of the divisor between which no step of `divide` can leave the normal numbers. */
#define DIVIDEND_LEAST 0x1p-90f
#define DIVIDEND_MOST  0x1p+90f
#define DIVISOR_LEAST  0x1p-30f
#define DIVISOR_MOST   0x1p+30f

/* Whether `divide` may be used with this divisor. */
INLINE int divides_well(f32 divisor)
{
    f32 size = f32_abs(divisor);
    return size >= DIVISOR_LEAST && size <= DIVISOR_MOST;
}

/* x / y, correctly rounded; r is 1 / y, correctly rounded.
 *
 * q = x r is wrong by at most two units in the last place; with its remainder it becomes one that is wrong by less than
 * one; and that, with its own remainder, which is exact, the right one: Markstein's theorem (q within one unit of x / y and
 * r correctly rounded). +0 stays +0; other numbers out of range are divided. */
INLINE divide_vec divide(divide_vec x, divide_vec y, divide_vec r)
{
    divide_veci size = (divide_veci)x & 0x7fffffff;
    divide_veci usual = (size >= (divide_veci)((divide_vec){0} + DIVIDEND_LEAST)) &
                        (size <= (divide_veci)((divide_vec){0} + DIVIDEND_MOST));
    usual |= (divide_veci)x == 0;
    divide_vec q = x * r;
    q = __builtin_elementwise_fma(__builtin_elementwise_fma(-q, y, x), r, q);
    q = __builtin_elementwise_fma(__builtin_elementwise_fma(-q, y, x), r, q);
    if (__builtin_reduce_and(usual))
        return q;
    return x / y;
}

/* A positive divisor y that divides well, for dividends of which no product or quotient leaves the normal numbers: for y from
 * 1 on, those from SHORT_LEAST to 1; and for what is rounded to an integer, all whose quotient is below 2^32. 1 / y is `reciprocal` + `low`, but
 * for an error of 2^-24 of `low`.
 *
 * q = x reciprocal + x low, rounded once, is x / y correctly rounded unless there is half a unit between what was rounded and
 * x / y. Let x and y be scaled to [1, 2), as whole numbers X and Y of 24 bits. |low| <= 2^-25, so `low` is wrong by at most
 * 2^-50, x low by 2^-49 more when it is rounded, and q, before it is rounded, by less than 2^-48. Where x >= y, half units are
 * odd multiples of 2^-24, and x / y is away from them by a multiple of 1 / (2^24 Y), which is more than 2^-48. Where x < y
 * they are odd multiples of 2^-25, and it is away by a multiple of 1 / (2^25 Y) > 2^-49: an even multiple if Y is even. If Y
 * is odd, |low| < 2^-26 halves both errors. Otherwise (`is_short` is 0) the remainder of q, which is wrong by no more than a
 * unit, gives the right one, as above. */
#define SHORT_LEAST 0x1p-60f
struct short_divisor {
    divide_vec y, reciprocal, low;
    int is_short;
};

INLINE struct short_divisor short_divisor(f32 y)
{
    f32 reciprocal = 1.0f / y, low = fma32(-reciprocal, y, 1.0f) / y;
    f32 power = f32_from_bits(f32_bits(y) & INF_BITS); /* y is scaled to [1, 2) by this */
    divide_vec zero = {0};
    return (struct short_divisor){.y = y - zero,
                                  .reciprocal = reciprocal - zero,
                                  .low = low - zero,
                                  .is_short = !(f32_bits(y) & 1) || f32_abs(low) * power < 0x1p-26f};
}

INLINE divide_vec divide_short(divide_vec x, const struct short_divisor *d, int is_short)
{
    divide_vec q = __builtin_elementwise_fma(x, d->reciprocal, x * d->low);
    if (is_short)
        return q;
    return __builtin_elementwise_fma(__builtin_elementwise_fma(-q, d->y, x), d->reciprocal, q);
}

#endif
#endif
