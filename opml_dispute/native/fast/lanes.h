/* Vector registers of WIDTH floats, for what multiplies no matrices: also where gemm has none (vectors.h). */
#ifndef OPML_LANES_H
#define OPML_LANES_H
#include "fast.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 16
#elif defined(__AVX2__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

INLINE vec choose(veci mask, vec x, vec y) { return (vec)((mask & (veci)x) | (~mask & (veci)y)); }
INLINE vec canonical_vec(vec x)
{
    veci is_nan = ((veci)x & 0x7fffffff) > 0x7f800000;
    return choose(is_nan, (vec)((veci){0} + 0x7fc00000), x);
}

/* Stores the first n lanes, fewer than all. */
INLINE void store_first(float *to, vec x, i64 n)
{
#if WIDTH == 16
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), (__m512)x);
#else
    for (i64 i = 0; i < n; i++)
        to[i] = x[i];
#endif
}

/* Lanes 0, 2, 4 ... of two vectors. */
INLINE vec every_second(vec low, vec high)
{
#if WIDTH == 16
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif WIDTH == 8
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
#else
    return __builtin_shufflevector(low, high, 0, 2, 4, 6);
#endif
}

/* Lane 1 of x and those behind it, and lane 0 of y. */
INLINE vec next_lanes(vec x, vec y)
{
#if WIDTH == 16
    return __builtin_shufflevector(x, y, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
#elif WIDTH == 8
    return __builtin_shufflevector(x, y, 1, 2, 3, 4, 5, 6, 7, 8);
#else
    return __builtin_shufflevector(x, y, 1, 2, 3, 4);
#endif
}

#endif
