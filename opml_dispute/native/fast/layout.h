/* The input of a convolution, one image and group of it, laid out anew: zeros in the padding, and a dimension of stride s
 * split into s parts by coordinate mod s. Then what tap k reads at neighbouring output positions lies side by side, at
 * `offset[k]` from a place that only the positions decide; no coordinate is looked at again. The plain kernel lets
 * padded taps take part as +0 for exactly this reason. */
#ifndef OPML_LAYOUT_H
#define OPML_LAYOUT_H
#include "kernels/window.h"

/* A stride beyond this is not worth a layout. As large as this are those that cut an image into patches. */
#define MOST_PARTS 32

/* One image and group, laid out. Positions are rows of `output[2]` neighbours, numbered across the output's rows. */
struct layout {
    int part_of[3][MOST_PARTS]; /* for each coordinate mod stride its part; -1: no tap reads it */
    i64 part[3];                /* elements from one part of dimension d to the next */
    i64 pitch[3];               /* elements from one coordinate of a part to the next, by dimension */
    i64 size[3];                /* coordinates in a part */
    i64 channel;                /* elements from one channel to the next */
    i64 output[3];              /* the output's size; merged to one row where positions are one run */
    const i64 *offset;          /* [K], of the taps in the order of the sum */
};

/* Sizes and pitches; answers the elements of all channels of a group, UINT64_MAX if there can be no layout. `direct`:
 * the input itself will do. */
u64 layout_plan(struct layout *l, const struct window *g, int *direct);

/* offset[0 .. K), of the taps in the order of the sum. */
void layout_taps(const struct layout *l, const struct window *g, i64 *offset);

/* Lays out one row of the input, which begins `from` elements behind the group's first (-1: there is none, zeros), as one
 * row of the layout, `to` elements behind its start. */
typedef void layout_row(void *self, i64 from, i64 to);

/* All rows that positions [first, end) look at. */
void layout_rows(const struct layout *l, const struct window *g, u64 first, u64 end, layout_row *row, void *self);

/* Lays out what positions [first, end) look at of the group's channels that begin at x. Writes up to a vector over the end. */
void layout_floats(const struct layout *l, const struct window *g, const float *x, u64 first, u64 end, float *to);

/* The part of a row that holds coordinates at * stride + i - pad: [first, end) of its `size` are in the input. */
struct layout_part {
    i64 first, end;
    i64 from; /* the input's coordinate for `first` */
};
struct layout_part layout_part(const struct layout *l, const struct window *g, i64 i);

/* The elements between the layout's start and output position p. */
static inline i64 position_offset(const struct layout *l, u64 p)
{
    i64 w = (i64)(p % (u64)l->output[2]), rest = (i64)(p / (u64)l->output[2]);
    return w + rest % l->output[1] * l->pitch[1] + rest / l->output[1] * l->pitch[0];
}

#endif
