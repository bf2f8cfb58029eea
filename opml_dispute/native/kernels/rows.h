/* The inner loops of elementwise kernels: one row of n elements, each operand with its own byte step.
 *
 * ROW1 and ROW2 make such a function from an expression of x (and y). Elements that lie side by side get a loop
 * of their own: the host's compiler vectorises it, the guest's unrolls it, since every instruction of the guest
 * is a step that a dispute may have to search. */
#ifndef OPML_ROWS_H
#define OPML_ROWS_H
#include "access.h"

typedef void row1(u8 *restrict o, i64 so, const u8 *restrict a, i64 sa, u64 n);
typedef void row2(u8 *restrict o, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb, u64 n);

typedef u8 boolean; /* stored as one byte: 0 or 1; any other byte counts as 1 */
INLINE boolean ld_boolean(const u8 *p) { return *p != 0; }
INLINE void st_boolean(u8 *p, boolean v) { *p = v; }

#if OPML_GUEST
#define UNROLL _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL
#endif

#define ROW1_LOOP(TO, TA, EXPR, SO, SA)                                                                                \
    for (u64 i = 0; i < n; i++) {                                                                                      \
        TA x = ld_##TA(a + (i64)i * (SA));                                                                             \
        st_##TO(o + (i64)i * (SO), EXPR);                                                                              \
    }
#define ROW2_LOOP(TO, T, EXPR, SO, SA, SB)                                                                             \
    for (u64 i = 0; i < n; i++) {                                                                                      \
        T x = ld_##T(a + (i64)i * (SA)), y = ld_##T(b + (i64)i * (SB));                                                \
        st_##TO(o + (i64)i * (SO), EXPR);                                                                              \
    }

/* For expressions of a few instructions. */
#define ROW1(NAME, TO, TA, EXPR)                                                                                       \
    static void NAME(u8 *restrict o, i64 so, const u8 *restrict a, i64 sa, u64 n)                                      \
    {                                                                                                                  \
        if (so == sizeof(TO) && sa == sizeof(TA)) {                                                                    \
            UNROLL ROW1_LOOP(TO, TA, EXPR, (i64)sizeof(TO), (i64)sizeof(TA))                                           \
        } else {                                                                                                       \
            ROW1_LOOP(TO, TA, EXPR, so, sa)                                                                            \
        }                                                                                                              \
    }
#define ROW2(NAME, TO, T, EXPR)                                                                                        \
    static void NAME(u8 *restrict o, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb, u64 n)                          \
    {                                                                                                                  \
        if (so == sizeof(TO) && sa == sizeof(T) && sb == sizeof(T)) {                                                  \
            UNROLL ROW2_LOOP(TO, T, EXPR, (i64)sizeof(TO), (i64)sizeof(T), (i64)sizeof(T))                             \
        } else if (so == sizeof(TO) && sa == sizeof(T) && sb == 0) {                                                   \
            T y = ld_##T(b);                                                                                           \
            UNROLL for (u64 i = 0; i < n; i++)                                                                         \
            {                                                                                                          \
                T x = ld_##T(a + i * sizeof(T));                                                                       \
                st_##TO(o + i * sizeof(TO), EXPR);                                                                     \
            }                                                                                                          \
        } else {                                                                                                       \
            ROW2_LOOP(TO, T, EXPR, so, sa, sb)                                                                         \
        }                                                                                                              \
    }

/* For long expressions, where the guest has nothing to win from a second copy. */
#if OPML_GUEST
#define ROW1_LONG(NAME, TO, TA, EXPR)                                                                                  \
    static void NAME(u8 *restrict o, i64 so, const u8 *restrict a, i64 sa, u64 n) { ROW1_LOOP(TO, TA, EXPR, so, sa) }
#define ROW2_LONG(NAME, TO, T, EXPR)                                                                                   \
    static void NAME(u8 *restrict o, i64 so, const u8 *a, i64 sa, const u8 *b, i64 sb, u64 n)                          \
    {                                                                                                                  \
        ROW2_LOOP(TO, T, EXPR, so, sa, sb)                                                                             \
    }
#else
#define ROW1_LONG ROW1
#define ROW2_LONG ROW2
#endif

/* Elements of any format as binary32 or as integers, CHUNK at a time. */
#define CHUNK 64u

/* out[0..n) = the elements at a, a + sa, ... of a float dtype. */
void KERNEL(load_f32_chunk)(f32 *out, const u8 *a, i64 sa, u8 dtype, u64 n);
/* Elements of a float dtype at o, o + so, ... = in[0..n), rounded half to even, NaN canonical. */
void KERNEL(store_f32_chunk)(u8 *o, i64 so, u8 dtype, const f32 *in, u64 n);
/* out[0..n) = the elements of an integer dtype or bool, sign- or zero-extended (u64: the same bits). */
void KERNEL(load_i64_chunk)(i64 *out, const u8 *a, i64 sa, u8 dtype, u64 n);
/* Stores the low bits of each. */
void KERNEL(store_i64_chunk)(u8 *o, i64 so, u8 dtype, const i64 *in, u64 n);
/* Keys: unsigned integers in the order of the elements; -0 equals +0, and NaN is `nan_key`. */
void KERNEL(load_key_chunk)(u64 *out, const u8 *a, i64 sa, u8 dtype, u64 n, u64 nan_key);

#endif
