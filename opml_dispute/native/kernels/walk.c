/* The walk of an iteration space, a row of the innermost dimension at a time. */
#include "walk.h"

void walk_begin(struct walk *w, const struct walk_operand *operand, unsigned operands, const u64 *dim, unsigned rank,
                u64 lo, u64 hi)
{
    /* Merge from the last dimension up; the row is built last, so collect in reverse: level 0 = the row. */
    u64 size[RECORD_MAX_RANK + 1];
    i64 stride[RECORD_MAX_RANK + 1][WALK_OPERANDS];
    unsigned levels = 0;
    for (unsigned d = rank; d-- > 0;) {
        if (dim[d] == 1)
            continue;
        unsigned joins = levels > 0;
        i64 bytes[WALK_OPERANDS];
        for (unsigned j = 0; j < operands; j++) {
            bytes[j] = operand[j].stride[d] * (i64)operand[j].width;
            if (joins && bytes[j] != stride[levels - 1][j] * (i64)size[levels - 1])
                joins = 0;
        }
        if (joins) {
            size[levels - 1] *= dim[d];
            continue;
        }
        size[levels] = dim[d];
        for (unsigned j = 0; j < operands; j++)
            stride[levels][j] = bytes[j];
        levels++;
    }
    if (levels == 0) { /* one element */
        size[0] = 1;
        for (unsigned j = 0; j < operands; j++)
            stride[0][j] = 0;
        levels = 1;
    }
    for (unsigned j = 0; j < operands; j++) {
        w->at[j] = operand[j].base;
        w->step[j] = stride[0][j];
    }
    w->row = size[0];
    w->outer = levels - 1;
    w->left = hi - lo;
    u64 place = lo;
    w->column = place % size[0];
    place /= size[0];
    for (unsigned j = 0; j < operands; j++)
        w->at[j] += (i64)w->column * stride[0][j];
    for (unsigned l = 1; l < levels; l++) { /* index[0] changes fastest */
        w->size[l - 1] = size[l];
        w->index[l - 1] = place % size[l];
        place /= size[l];
        for (unsigned j = 0; j < operands; j++) {
            w->stride[l - 1][j] = stride[l][j];
            w->at[j] += (i64)w->index[l - 1] * stride[l][j];
        }
    }
}

void walk_next(struct walk *w, u64 n, unsigned operands)
{
    w->left -= n;
    if (w->left == 0)
        return;
    /* INVARIANT: the row is complete (only the last may be cut short), so the next one starts at column 0. */
    for (unsigned j = 0; j < operands; j++)
        w->at[j] -= (i64)w->column * w->step[j];
    w->column = 0;
    for (unsigned l = 0; l < w->outer; l++) {
        if (++w->index[l] < w->size[l]) {
            for (unsigned j = 0; j < operands; j++)
                w->at[j] += w->stride[l][j];
            return;
        }
        w->index[l] = 0;
        for (unsigned j = 0; j < operands; j++)
            w->at[j] -= (i64)(w->size[l] - 1) * w->stride[l][j];
    }
}
