/* The geometry that OP_CONV, OP_POOL and OP_POOL_INDEX share: windows that slide over a spatial grid.
 *
 * The record's body, with s spatial dimensions (1 to 3), outermost first:
 *   [0] s   [1] N   [2] C   [3] M   [4] groups   [5..7] input size   [8..10] kernel size   [11..13] stride
 *   [14..16] dilation   [17..19] padding before   [20..22] output size   [23..25] padding after (average pool)
 * Here it always has three: missing ones in front, of size 1. Tap t of the window at output position p reads
 * input coordinate p * stride - pad + t * dilation. */
#ifndef OPML_WINDOW_H
#define OPML_WINDOW_H
#include "program/record.h"
#include "access.h"

struct window {
    u64 N, C, M, groups;
    i64 input[3], kernel[3], stride[3], dilation[3], pad[3], output[3], pad_end[3];
    u64 in_size, out_size, kernel_size; /* elements of one channel, positions, taps */
};

/* One window's place: the input coordinates of its first tap, and its output position. */
struct place {
    i64 at[3], output[3];
};

void window_decode(struct window *g, const struct record *r);
void place_begin(struct place *p, const struct window *g, u64 position);

/* The next output position in row-major order. */
INLINE void place_next(struct place *p, const struct window *g)
{
    for (int d = 2; d >= 0; d--) {
        p->at[d] += g->stride[d];
        if (++p->output[d] < g->output[d])
            return;
        p->output[d] = 0;
        p->at[d] = -g->pad[d];
    }
}

/* The taps [first, end) along dimension d that read inside the input. */
INLINE void place_taps(const struct place *p, const struct window *g, int d, i64 *first, i64 *end)
{
    i64 at = p->at[d], dilation = g->dilation[d], input = g->input[d];
    *first = at >= 0 ? 0 : dilation == 1 ? -at : (-at + dilation - 1) / dilation;
    i64 last = at >= input ? 0 : dilation == 1 ? input - at : (input - at + dilation - 1) / dilation;
    *end = last < g->kernel[d] ? last : g->kernel[d];
    if (*first > *end)
        *first = *end;
}

#endif
