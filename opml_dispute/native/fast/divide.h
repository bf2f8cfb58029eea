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
    return __builtin_reduce_and(usual) ? q : x / y;
}

#endif
#endif
