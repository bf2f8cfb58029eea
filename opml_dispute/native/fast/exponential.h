/* The exponential function on vectors: the sequence of kernels/elementary.h, lane by lane. NaN stays NaN, not canonical. */
#ifndef OPML_EXPONENTIAL_H
#define OPML_EXPONENTIAL_H
#include "vectors.h"

#if LANES

INLINE vec splat(f32 x) { return x - (vec){0}; } /* x - 0 is x, also for -0 */
INLINE vec fma_vec(vec a, vec b, vec c) { return __builtin_elementwise_fma(a, b, c); }
INLINE vec choose(veci mask, vec x, vec y) { return (vec)((mask & (veci)x) | (~mask & (veci)y)); }

/* p * 2^n for the n and p of exp_shifted. There 2^n is multiplied on in two factors; p times the first is exact, so one
 * rounding is all there is. */
INLINE vec scale(vec p, vec shifted, vec n, vec x)
{
#if defined(__AVX512F__)
    (void)shifted, (void)x;
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    veci power = (veci)shifted - 0x4b400000;
    power &= x == x; /* NaN's bits are no number; p is NaN already */
    veci half = power >> 1;
    (void)n;
    return (p * (vec)((half + 127) << 23)) * (vec)((power - half + 127) << 23);
#endif
}

/* Of numbers from -105 to 90, or NaN. */
INLINE vec exp_in_range(vec x)
{
    vec shifted = fma_vec(x, splat(0x1.715476p+0f), splat(0x1.8p+23f));
    vec n = shifted - 0x1.8p+23f;
    vec r = fma_vec(n, splat(-0x1.62e400p-1f), x);
    r = fma_vec(n, splat(-0x1.7f7d1cp-20f), r);
    vec p = fma_vec(splat(0x1.a250cap-13f), r, splat(0x1.6d4cd0p-10f));
    p = fma_vec(p, r, splat(0x1.110ffep-7f));
    p = fma_vec(p, r, splat(0x1.5554e8p-5f));
    p = fma_vec(p, r, splat(0x1.555556p-3f));
    p = fma_vec(p, r, splat(0.5f));
    p = fma_vec(p, r * r, r) + 1.0f;
    return scale(p, shifted, n, x);
}

INLINE vec exp_vec(vec x)
{
    x = choose(x > 90.0f, splat(90.0f), x);
    return exp_in_range(choose(x < -105.0f, splat(-105.0f), x));
}

#endif
#endif
