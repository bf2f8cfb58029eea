/* Parts of rows of binary32: as many elements as are looked at, and then computed, together. */
#ifndef OPML_ROWS_H
#define OPML_ROWS_H
#include "kernels/walk.h"

/* A cache's worth. */
#define LOOK 1024
/* Shorter rows cost more to begin than to copy. */
#define SHORT_ROW 64

/* Whether an operand's rows are read where they lie, and not copied side by side first, several together. */
static inline u32 lies_in_rows(const struct walk *w, unsigned operand)
{
    return w->step[operand] == 4 && w->row >= SHORT_ROW;
}

/* n elements, `step` bytes apart. */
static inline void copy_apart(f32 *restrict to, const u8 *at, i64 step, u64 n)
{
    for (u64 i = 0; i < n; i++)
        to[i] = *(const f32 *)(at + (i64)i * step);
}

#endif
