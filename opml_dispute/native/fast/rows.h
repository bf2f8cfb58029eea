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

/* Computes n elements, LOOK at most, that lie side by side: o from x, and from y if there is a second operand. */
typedef void copied_row(const void *self, f32 *o, const f32 *x, const f32 *y, u64 n);

/* Runs `row` on copies of operands that lie apart or in short rows, as many elements together as there are, up to LOOK.
 * `operands`: with the output, 2 or 3. */
static inline void run_copies(struct walk *w, unsigned operands, copied_row *row, const void *self)
{
    f32 copy[2][LOOK], *o = NULL;
    u64 held = 0;
    for (u64 n; (n = walk_row(w)) != 0; walk_next(w, n, operands))
        for (u64 at = 0, now; at < n; at += now) {
            f32 *next = (f32 *)w->at[0] + at;
            if (held == LOOK || (held && next != o + held)) {
                row(self, o, copy[0], copy[1], held);
                held = 0;
            }
            o = held ? o : next;
            now = n - at < LOOK - held ? n - at : LOOK - held;
            for (unsigned j = 1; j < operands; j++)
                copy_apart(copy[j - 1] + held, w->at[j] + (i64)at * w->step[j], w->step[j], now);
            held += now;
        }
    if (held)
        row(self, o, copy[0], copy[1], held);
}

#endif
