/* Vector registers of LANES floats: canonical NaNs, rectification, and the transposition of LANES of them. */
#ifndef OPML_VECTORS_H
#define OPML_VECTORS_H
#include <string.h>

#include "gemm.h"
#include "kernels/float32.h"

#if LANES
#if LANES == 16
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* As `canonical` (float32.h), on a vector. */
INLINE vec canonical_vec(vec x)
{
    veci bits = (veci)x, is_nan = x != x;
    return (vec)((is_nan & 0x7fc00000) | (~is_nan & bits));
}

/* +0 instead of a negative number; NaN and -0 stay. */
INLINE vec relu_vec(vec x)
{
    veci negative = x < 0;
    return (vec)(~negative & (veci)x);
}

/* How finished sums are put down: NaN canonical, and, of one that is rectified, +0 instead of a negative number. */
#if LANES == 16
typedef __m512i ending;
INLINE ending ending_of(int relu)
{
    /* What stands for a quiet NaN, a signalling one, 0, 1, -inf, +inf, other negative and positive numbers, from the
     * right: 0 what is given, 1 the number itself, 8 +0. */
    return _mm512_set1_epi32(relu ? 0x18181100 : 0x11111100);
}
INLINE vec ended(vec x, ending e) { return (vec)_mm512_fixupimm_ps((__m512)((veci){0} + 0x7fc00000), (__m512)x, e, 0); }
#else
typedef vec ending; /* instead of what is smaller */
INLINE ending ending_of(int relu) { return (vec){0} + (relu ? 0.0f : -f32_inf()); }
INLINE vec ended(vec x, ending e)
{
    vec y = canonical_vec(x);
    veci less = e > y;
    return (vec)((less & (veci)e) | (~less & (veci)y));
}
#endif

/* Lanes 0, 2, 4 ... of two vectors. */
INLINE vec even_lanes(vec low, vec high)
{
#if LANES == 16
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif LANES == 8
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
#else
    return __builtin_shufflevector(low, high, 0, 2, 4, 6);
#endif
}

/* from[0], from[2], from[4] ... of the 2 LANES floats from there on. */
INLINE vec every_second(const float *from) { return even_lanes(*(const vec *)from, *(const vec *)(from + LANES)); }

/* n floats; rows of outputs are often shorter than a vector. */
INLINE void copy_run(float *out, const float *from, u64 n)
{
#if LANES == 16
    for (; n >= LANES; n -= LANES, out += LANES, from += LANES)
        *(vec *)out = *(const vec *)from;
    __mmask16 rest = (__mmask16)((1u << n) - 1);
    _mm512_mask_storeu_ps(out, rest, _mm512_maskz_loadu_ps(rest, from));
#else
    for (; n >= LANES; n -= LANES, out += LANES, from += LANES)
        *(vec *)out = *(const vec *)from;
    for (u64 i = 0; i < n; i++)
        out[i] = from[i];
#endif
}

/* The first n lanes, LANES at most, of what lies there; zeros in the others. */
INLINE vec load_some(const float *from, i64 n)
{
    if (n >= LANES)
        return *(const vec *)from;
#if LANES == 16
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
#else
    vec some = {0};
    memcpy(&some, from, (size_t)n * sizeof(float));
    return some;
#endif
}

/* Stores the first n lanes, LANES at most. */
INLINE void store_some(float *to, vec x, i64 n)
{
    if (n >= LANES) {
        *(vec *)to = x;
        return;
    }
#if LANES == 16
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), (__m512)x);
#else
    memcpy(to, &x, (size_t)n * sizeof(float));
#endif
}

/* Lanes [first, end) of what lies there; zeros in the others, which are not looked at. */
INLINE vec load_lanes(const float *from, unsigned first, unsigned end)
{
#if LANES == 16
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << end) - (1u << first)), from);
#else
    vec some = {0};
    memcpy((float *)&some + first, from + first, (end - first) * sizeof(float));
    return some;
#endif
}

/* Stores lanes [first, end). */
INLINE void store_lanes(float *to, vec x, unsigned first, unsigned end)
{
#if LANES == 16
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << end) - (1u << first)), (__m512)x);
#else
    memcpy(to + first, (const float *)&x + first, (end - first) * sizeof(float));
#endif
}

/* from[0], from[2] ... from[2 (n - 1)]; nothing behind that is read. */
INLINE void copy_second(float *out, const float *from, u64 n)
{
    for (; n > LANES; n -= LANES, out += LANES, from += 2 * LANES)
        *(vec *)out = every_second(from);
#if LANES == 16
    i64 rest = 2 * (i64)n - 1;
    if (n)
        store_some(out, even_lanes(load_some(from, rest), load_some(from + LANES, rest > LANES ? rest - LANES : 0)),
                   (i64)n);
#else
    for (u64 i = 0; i < n; i++)
        out[i] = from[2 * i];
#endif
}

/* Turns LANES rows of LANES floats into columns, in registers: at each step pairs of rows that lie `apart` rows from one
 * another exchange halves of blocks of twice that length. */
INLINE void transpose(vec row[LANES])
{
#if LANES == 16
#define LOW(p, q, A)                                                                                                   \
    __builtin_shufflevector(p, q, A(0), A(1), A(2), A(3), A(4), A(5), A(6), A(7), A(8), A(9), A(10), A(11), A(12),     \
                            A(13), A(14), A(15))
#elif LANES == 8
#define LOW(p, q, A) __builtin_shufflevector(p, q, A(0), A(1), A(2), A(3), A(4), A(5), A(6), A(7))
#else
#define LOW(p, q, A) __builtin_shufflevector(p, q, A(0), A(1), A(2), A(3))
#endif
/* Lane i of the first result comes from lane i of p, or, where bit APART of i is set, from lane i - APART of q; of the
 * second result from lane i + APART of p, or lane i of q. */
#define FIRST(APART, i)  ((i) & (APART) ? LANES + (i) - (APART) : (i))
#define SECOND(APART, i) ((i) & (APART) ? LANES + (i) : (i) + (APART))
#define FIRST_1(i)       FIRST(1, i)
#define FIRST_2(i)       FIRST(2, i)
#define FIRST_4(i)       FIRST(4, i)
#define FIRST_8(i)       FIRST(8, i)
#define SECOND_1(i)      SECOND(1, i)
#define SECOND_2(i)      SECOND(2, i)
#define SECOND_4(i)      SECOND(4, i)
#define SECOND_8(i)      SECOND(8, i)
#define EXCHANGE(APART)                                                                                                \
    _Pragma("clang loop unroll(full)") for (unsigned i = 0; i < LANES; i++) if (!(i & APART))                          \
    {                                                                                                                  \
        vec p = row[i], q = row[i + APART];                                                                            \
        row[i] = LOW(p, q, FIRST_##APART);                                                                             \
        row[i + APART] = LOW(p, q, SECOND_##APART);                                                                    \
    }
    EXCHANGE(1)
    EXCHANGE(2)
#if LANES >= 8
    EXCHANGE(4)
#endif
#if LANES >= 16
    EXCHANGE(8)
#endif
}

#endif
#endif
