/* What the fast paths of OP_POOL share: vector registers of WIDTH floats, also where gemm has none (vectors.h), since
 * nothing is multiplied here, and how many taps count. */
#ifndef OPML_POOLING_H
#define OPML_POOLING_H
#include "fast.h"
#include "kernels/window.h"

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
/* The second of equals; NaN if one is. */
INLINE vec greater(vec x, vec y) { return choose((x > y) | (x != x), x, y); }
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

enum { POOL_MAX = 0, POOL_AVERAGE = 1, POOL_AVERAGE_PADDED = 2, POOL_SUM = 3 };

/* The taps along dimension d of a window that begins at coordinate `at` which count: those inside the input, or inside it
 * and its padding. */
i64 pool_taps(const struct window *g, int d, i64 at, int padded);
/* By how many taps each sum of a row is divided: `outer` rows of taps, and those along the row. */
void pool_count_taps(float *count, const struct window *g, i64 outer, int padded);

/* One way each; 0 where it does not serve (fast_pool). */
int fast_pool_sums(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi, struct fast_scratch *s);
int fast_pool_integers(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi,
                       struct fast_scratch *s);

#endif
