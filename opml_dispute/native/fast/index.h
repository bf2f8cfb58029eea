/* Where indices lead: what GATHER (index.c) and SCATTER (scatter.c) share. */
#ifndef OPML_INDEX_H
#define OPML_INDEX_H
#include "fast.h"
#include "kernels/walk.h"

/* How the index at p moves an operand, in bytes. */
struct places {
    u64 components;
    i64 apart;            /* bytes from one component to the next */
    i64 size[4], step[4]; /* elements along a component's axis, bytes from one to the next */
};

INLINE struct places places_of(const struct record *r, i64 width)
{
    struct places p = {r->imm[0], (i64)r->imm[1] * 8, {0}, {0}};
    for (u64 c = 0; c < p.components && c < 4; c++) {
        p.step[c] = r->stride[3][c] * width;
        p.size[c] = r->stride[3][4 + c];
    }
    return p;
}

INLINE i64 place_of(const struct places *p, const u8 *index, u64 components)
{
    i64 moved = 0;
    for (u64 c = 0; c < components; c++, index += p->apart) {
        i64 i = *(const i64 *)index;
        moved += (i < 0 ? i + p->size[c] : i) * p->step[c];
    }
    return moved;
}

/* A row of n elements of `width` bytes; o_moves: the output is what indices move (scatter), else the input. */
void index_move_row(i64 width, int o_moves, const struct places *p, const struct walk *w, u64 n);

#endif
