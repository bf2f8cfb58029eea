/* Sums of squares, of numbers or of their differences from a row's mean, in one pass: a difference, its square and the sum of
 * those are three steps of every normalisation. What is read again is written, as the steps would.
 *
 * Eight partial results are one vector, as in across.c; each waits for the one eight elements before it, so four rows are
 * taken at a time. */
#include "fast.h"
#include "kernels/float32.h"

typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef i32 eighti __attribute__((vector_size(32), aligned(4), may_alias));
#define PARTIALS 8u
#define ROWS     4u

INLINE eight canonical_eight(eight x)
{
    eighti is_nan = x != x;
    return (eight)((is_nan & 0x7fc00000) | (~is_nan & (eighti)x));
}

#if defined(__AVX512F__)
typedef float sixteen __attribute__((vector_size(64), aligned(4), may_alias));
typedef i32 sixteeni __attribute__((vector_size(64), aligned(4), may_alias));

INLINE sixteen canonical_sixteen(sixteen x)
{
    sixteeni is_nan = x != x;
    return (sixteen)((is_nan & 0x7fc00000) | (~is_nan & (sixteeni)x));
}

/* As square_rows, for two times eight elements from `at` on: what is made on the way is made of both together. */
INLINE eight square_two(const f32 *x, f32 mean, f32 *centred, f32 *square, eight partial, int is_centred, int writes)
{
    sixteen value = *(const sixteen *)x;
    if (is_centred) {
        value = value - mean;
        *(sixteen *)centred = canonical_sixteen(value);
    }
    value = value * value;
    if (writes)
        *(sixteen *)square = canonical_sixteen(value);
    partial += __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7);
    return partial + __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
}
#endif

/* `rows` rows from number `first` on. */
INLINE void square_rows(const struct fast_squares *s, u64 first, unsigned rows, int is_centred, int writes)
{
    u64 n = s->length, at = 0;
    const f32 *x = s->x + first * n;
    f32 *centred = is_centred ? s->centred + first * n : NULL, *square = writes ? s->square + first * n : NULL;
    f32 mean[ROWS] = {0};
    eight partial[ROWS];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < rows; i++) {
        partial[i] = (eight){0};
        mean[i] = is_centred ? s->mean[first + i] : 0.0f;
    }
#if defined(__AVX512F__)
    for (; at + 2 * PARTIALS <= n; at += 2 * PARTIALS)
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++) {
            u64 place = i * n + at;
            partial[i] = square_two(x + place, mean[i], is_centred ? centred + place : NULL,
                                    writes ? square + place : NULL, partial[i], is_centred, writes);
        }
#endif
    for (; at + PARTIALS <= n; at += PARTIALS)
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++) {
            u64 place = i * n + at;
            eight value = *(const eight *)(x + place);
            if (is_centred) {
                value = value - mean[i];
                *(eight *)(centred + place) = canonical_eight(value);
            }
            value = value * value;
            if (writes)
                *(eight *)(square + place) = canonical_eight(value);
            partial[i] += value;
        }
    for (unsigned i = 0; i < rows; i++) {
        f32 p[PARTIALS];
        for (unsigned j = 0; j < PARTIALS; j++)
            p[j] = partial[i][j];
        for (u64 j = at; j < n; j++) {
            f32 value = x[i * n + j];
            if (is_centred) {
                value = value - mean[i];
                centred[i * n + j] = canonical(value);
            }
            value = value * value;
            if (writes)
                square[i * n + j] = canonical(value);
            p[j - at] += value;
        }
        for (unsigned width = PARTIALS / 2; width; width /= 2)
            for (unsigned j = 0; j < width; j++)
                p[j] += p[j + width];
        s->sum[first + i] = canonical(p[0]);
    }
}

INLINE void square_any_rows(const struct fast_squares *s, u64 first, u64 end, int is_centred, int writes)
{
    for (; end - first >= ROWS; first += ROWS)
        square_rows(s, first, ROWS, is_centred, writes);
    for (; first < end; first++)
        square_rows(s, first, 1, is_centred, writes);
}

void fast_square_rows(const struct fast_squares *s, u64 first, u64 end)
{
    if (s->mean && s->square)
        square_any_rows(s, first, end, 1, 1);
    else if (s->mean)
        square_any_rows(s, first, end, 1, 0);
    else if (s->square)
        square_any_rows(s, first, end, 0, 1);
    else
        square_any_rows(s, first, end, 0, 0);
}
