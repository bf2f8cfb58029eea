/* Cumulative sums and products of binary64. In round i each number takes in what stands 2^i places before it; from
 * the last to the first, so that none has changed when it is taken in. The first of a line stays as it is, a NaN's
 * bits included. */
#include "doubles.h"

#include "kernels/walk.h"

typedef f64 many __attribute__((vector_size(64), aligned(8), may_alias));
#define MANY    8u
#define VECTORS 4u /* of lines that are made at a time: as much of a row as a processor fetches ahead */

#define JOIN(x, y) (multiplies ? (x) * (y) : (x) + (y))

/* A line side by side, in its place. */
INLINE void scan_line(f64 *x, u64 n, int multiplies)
{
    for (u64 away = 1; away < n; away *= 2) {
        u64 i = n;
        for (; i >= away + MANY; i -= MANY) {
            many *to = (many *)(x + i - MANY);
            *to = JOIN(*to, *(const many *)(x + i - MANY - away));
        }
        for (; i > away; i--)
            x[i - 1] = JOIN(x[i - 1], x[i - 1 - away]);
    }
    for (u64 i = 1; i < n; i++)
        x[i] = one_nan(x[i]);
}

/* A line whose numbers are `step` bytes apart, in its place. */
INLINE void scan_apart(u8 *at, i64 step, u64 n, int multiplies)
{
#define NUMBER(i) (*(f64 *)(at + (i64)(i) * step))
    for (u64 away = 1; away < n; away *= 2)
        for (u64 i = n; i > away; i--)
            NUMBER(i - 1) = JOIN(NUMBER(i - 1), NUMBER(i - 1 - away));
    for (u64 i = 1; i < n; i++)
        NUMBER(i) = one_nan(NUMBER(i));
#undef NUMBER
}

/* Four places before three rounds, after one and after two. */
struct places {
    many x[4], one[4], two[4];
};

/* Place i + k, which lies at `at`; i is a multiple of four, and `p` has the places before it. */
INLINE void next_place(struct places *p, many *at, u64 i, unsigned k, int multiplies)
{
    many before = p->x[(k + 3) % 4], two_before = p->one[(k + 2) % 4], four_before = p->two[k];
    p->x[k] = *at;
    p->one[k] = i || k >= 1 ? JOIN(p->x[k], before) : p->x[k];
    p->two[k] = i || k >= 2 ? JOIN(p->one[k], two_before) : p->one[k];
    *at = i ? JOIN(p->two[k], four_before) : p->two[k];
}

/* As many of places i to i + 3 as are before `count`. */
INLINE void next_places(struct places *p, many *at, u64 step, u64 i, u64 count, int multiplies)
{
    next_place(p, at + i * step, i, 0, multiplies);
    if (i + 1 < count)
        next_place(p, at + (i + 1) * step, i, 1, multiplies);
    if (i + 2 < count)
        next_place(p, at + (i + 2) * step, i, 2, multiplies);
    if (i + 3 < count)
        next_place(p, at + (i + 3) * step, i, 3, multiplies);
}

/* Three rounds at once of MANY lines, in their place, whose distances are 1, 2 and 4 times `step`: a place needs
 * of each round the ones before it, and these are in registers. */
INLINE void three_rounds(many *at, u64 step, u64 count, int multiplies)
{
    struct places p = {0};
    u64 i = 4;
    next_places(&p, at, step, 0, count, multiplies);
    for (; i + 4 <= count; i += 4)
        next_places(&p, at, step, i, i + 4, multiplies);
    if (i < count)
        next_places(&p, at, step, i, count, multiplies);
}

INLINE many one_nan_each(many x)
{
    typedef i64 bits __attribute__((vector_size(64), aligned(8), may_alias));
    bits is_number = x == x;
    return (many)((is_number & (bits)x) | (~is_number & 0x7ff8000000000000ll));
}

/* `vectors` times MANY lines side by side, by way of `buffer`, which has them one vector behind the other: it is
 * read and written in the order of memory. Rounds after the first three are the same of every eighth place, then
 * of every 64th. */
INLINE void scan_lines(many *buffer, u8 *o, i64 so, const u8 *a, i64 sa, u64 n, unsigned vectors, int multiplies)
{
    for (u64 i = 0; i < n; i++)
        for (unsigned v = 0; v < vectors; v++)
            buffer[v * n + i] = ((const many *)(a + (i64)i * sa))[v];
    for (unsigned v = 0; v < vectors; v++)
        for (u64 away = 1; away < n; away *= 8)
            for (u64 place = 0; place < away; place++)
                three_rounds(buffer + v * n + place, away, (n - place + away - 1) / away, multiplies);
    for (u64 i = 0; i < n; i++)
        for (unsigned v = 0; v < vectors; v++) {
            many x = buffer[v * n + i];
            ((many *)(o + (i64)i * so))[v] = i ? one_nan_each(x) : x;
        }
}

INLINE void scan_row(const struct walk *w, many *buffer, i64 so, i64 sa, u64 lines, u64 n, int multiplies)
{
    u64 line = 0;
    if (buffer && w->step[0] == 8 && w->step[1] == 8) {
        for (; line + VECTORS * MANY <= lines; line += VECTORS * MANY)
            scan_lines(buffer, w->at[0] + 8 * line, so, w->at[1] + 8 * line, sa, n, VECTORS, multiplies);
        for (; line + MANY <= lines; line += MANY)
            scan_lines(buffer, w->at[0] + 8 * line, so, w->at[1] + 8 * line, sa, n, 1, multiplies);
    }
    for (; line < lines; line++) {
        u8 *o = w->at[0] + (i64)line * w->step[0];
        const u8 *a = w->at[1] + (i64)line * w->step[1];
        for (u64 i = 0; i < n; i++)
            *(f64 *)(o + (i64)i * so) = *(const f64 *)(a + (i64)i * sa);
        if (so == 8)
            scan_line((f64 *)o, n, multiplies);
        else
            scan_apart(o, so, n, multiplies);
    }
}

void fast_double_scans(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    unsigned axis = r->rank - 1u;
    u64 n = r->dim[axis];
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&w, operand, 2, r->dim, axis, lo, hi);
    int side_by_side = n > 1 && w.step[0] == 8 && w.step[1] == 8 && w.row >= MANY;
    many *buffer = side_by_side ? fast_buffer_get(&s->packed, VECTORS * n * sizeof(many)) : NULL;
    for (u64 m; (m = walk_row(&w)) != 0; walk_next(&w, m, 2))
        if (r->imm[0] == D_MUL)
            scan_row(&w, buffer, r->stride[0][axis] * 8, r->stride[1][axis] * 8, m, n, 1);
        else
            scan_row(&w, buffer, r->stride[0][axis] * 8, r->stride[1][axis] * 8, m, n, 0);
}
