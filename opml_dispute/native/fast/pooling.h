/* What the fast paths of OP_POOL share: how many taps count, and the greater of two numbers. */
#ifndef OPML_POOLING_H
#define OPML_POOLING_H
#include "kernels/float32.h"
#include "kernels/window.h"
#include "lanes.h"

/* The second of equals; NaN if one is. */
INLINE vec greater(vec x, vec y) { return choose((x > y) | (x != x), x, y); }

enum { POOL_MAX = 0, POOL_AVERAGE = 1, POOL_AVERAGE_PADDED = 2, POOL_SUM = 3 };

/* The taps along dimension d of a window that begins at coordinate `at` which count: those inside the input, or inside it
 * and its padding. */
INLINE i64 pool_taps(const struct window *g, int d, i64 at, int padded)
{
    if (padded) { /* the first tap never lies before the padding */
        i64 room = g->input[d] + g->pad_end[d] - at;
        i64 taps = room <= 0 ? 0 : (room + g->dilation[d] - 1) / g->dilation[d];
        return taps < g->kernel[d] ? taps : g->kernel[d];
    }
    struct place p = {0};
    i64 first, end;
    p.at[d] = at;
    place_taps(&p, g, d, &first, &end);
    return end - first;
}

/* By how many taps each sum of a row is divided: `outer` rows of taps, and those along the row. */
INLINE void pool_count_taps(float *count, const struct window *g, i64 outer, int padded)
{
    for (i64 j = 0; j < g->output[2]; j++)
        count[j] = f32_from_i64(outer * pool_taps(g, 2, j * g->stride[2] - g->pad[2], padded));
}

/* One way each; 0 where it does not serve (fast_pool). */
int fast_pool_sums(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi, struct fast_scratch *s);
int fast_pool_integers(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi,
                       struct fast_scratch *s);

#endif
