/* A strided walk: the elements [lo, hi) of an iteration space, row by row.
 *
 * The iteration space dim[0..rank) is row-major; each operand has one byte stride per dimension (0 broadcasts,
 * negative reverses). `walk_begin` drops dimensions of size 1 and merges neighbours that are one run for every
 * operand, so that rows are as long as they can be; it divides once to find element lo. After that
 * positions are only ever added to:
 *
 *     struct walk w;
 *     walk_begin(&w, operand, 2, dim, rank, lo, hi);
 *     for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
 *         row(w.at[0], w.step[0], w.at[1], w.step[1], n);     n elements, w.step[j] bytes apart */
#ifndef OPML_WALK_H
#define OPML_WALK_H
#include "program/record.h"
#include "access.h"

#define WALK_OPERANDS 4

struct walk {
    u8 *at[WALK_OPERANDS];   /* the next element of each operand */
    i64 step[WALK_OPERANDS]; /* bytes from one element of a row to the next */
    u64 row, column;         /* a row's length, and where in its row the next element is */
    u64 left;                /* elements still to come */
    unsigned outer;          /* dimensions above the row */
    u64 index[RECORD_MAX_RANK], size[RECORD_MAX_RANK];
    i64 stride[RECORD_MAX_RANK][WALK_OPERANDS]; /* bytes, by dimension, innermost first */
};

/* One operand of a walk: where its element [0, 0, ...] is, its strides in elements, its element's width. */
struct walk_operand {
    u8 *base;
    const i64 *stride;
    u64 width;
};

void walk_begin(struct walk *w, const struct walk_operand *operand, unsigned operands, const u64 *dim, unsigned rank,
                u64 lo, u64 hi);

/* How many elements come next in one row; 0 at the end. */
INLINE u64 walk_row(const struct walk *w)
{
    u64 n = w->row - w->column;
    return n < w->left ? n : w->left;
}

/* Goes on by the n elements that walk_row announced. */
void walk_next(struct walk *w, u64 n, unsigned operands);

/* The record's operands: the output, and input j with its stride row. */
INLINE struct walk_operand walk_out(u8 *segment, const struct record *r)
{
    return (struct walk_operand){segment + r->out, r->stride[0], dtype_bytes(r->dtype_out)};
}
INLINE struct walk_operand walk_in(u8 *segment, const struct record *r, unsigned j)
{
    return (struct walk_operand){segment + r->in[j], r->stride[1 + j], dtype_bytes(r->dtype_in[j])};
}

#endif
