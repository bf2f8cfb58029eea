/* Vector registers of LANES floats: canonical NaNs, rectification, and the transposition of LANES of them. */
#ifndef OPML_VECTORS_H
#define OPML_VECTORS_H
#include <string.h>

#include "gemm.h"
#include "kernels/float32.h"

#if LANES

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* As `canonical` (float32.h), on a vector. */
INLINE vec canonical_vec(vec x)
{
    veci bits = (veci)x;
    veci is_nan = (bits & 0x7fffffff) > 0x7f800000;
    return (vec)((is_nan & 0x7fc00000) | (~is_nan & bits));
}

/* +0 instead of a negative number; NaN and -0 stay. */
INLINE vec relu_vec(vec x)
{
    veci negative = x < 0;
    return (vec)(~negative & (veci)x);
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
