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
