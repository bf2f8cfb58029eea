/* ARGREDUCE of binary32: where the greatest or least elements are. Elements are compared as numbers, and not by keys: -0
 * equals +0, and NaN is the one looked for. Outputs that lie side by side are made together; of a row, the best of every
 * 32nd element are, and then the best of these. */
#include "fast.h"
#include "kernels/float32.h"
#include "kernels/walk.h"

typedef f32 many __attribute__((vector_size(64), aligned(4), may_alias));
typedef i32 manyi __attribute__((vector_size(64), aligned(4), may_alias));
#define MANY 16u

/* Vectors of outputs made at a time, and the least outputs that pay for it. */
#define AT_ONCE   4u
#define LEAST_ROW 8u
#define LONGEST   (1ull << 31)

/* Whether x takes the place of an earlier `best`: the same of vectors and of numbers. */
#define TAKES(x, best)                                                                                                 \
    ((least ? (x) < (best) : (x) > (best)) | (((x) != (x)) & ((best) == (best))) |                                     \
     (last ? ((x) == (best)) | (((x) != (x)) & ((best) != (best))) : ((x) < (x))))

INLINE i32 takes(u32 least, u32 last, f32 x, f32 best) { return TAKES(x, best); }

/* Lanes of `takes_part` alone take. */
INLINE void take_some(u32 least, u32 last, many x, manyi number, manyi takes_part, many *best, manyi *place)
{
    manyi taken = TAKES(x, *best) & takes_part;
    *best = (many)((taken & (manyi)x) | (~taken & (manyi)*best));
    *place = (taken & number) | (~taken & *place);
}

INLINE void take(u32 least, u32 last, many x, manyi number, many *best, manyi *place)
{
    take_some(least, last, x, number, (manyi){0} - 1, best, place);
}

/* The same of what may have come before or behind: of equals, the number decides. */
INLINE void take_any(u32 least, u32 last, many x, manyi number, many *best, manyi *place)
{
    manyi equal = (x == *best) | ((x != x) & (*best != *best)), beyond = last ? number > *place : number < *place;
    manyi taken = (least ? x < *best : x > *best) | ((x != x) & (*best == *best)) | (equal & beyond);
    *best = (many)((taken & (manyi)x) | (~taken & (manyi)*best));
    *place = (taken & number) | (~taken & *place);
}

/* `vectors` vectors of outputs side by side, from the elements that `inputs` walks, moved by `moved` bytes. */
INLINE void places_of_columns(u32 least, u32 last, unsigned vectors, i64 *o, struct walk inputs, i64 moved)
{
    many best[AT_ONCE];
    manyi place[AT_ONCE], number = {0};
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < vectors; v++) {
        best[v] = *(const many *)(inputs.at[0] + moved + 64 * v);
        place[v] = (manyi){0};
    }
    for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1)) {
        const u8 *at = inputs.at[0] + moved;
        for (u64 j = 0; j < m; j++, number += 1, at += inputs.step[0])
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < vectors; v++)
                take(least, last, *(const many *)(at + 64 * v), number, &best[v], &place[v]);
    }
    for (unsigned v = 0; v < vectors; v++)
        for (unsigned i = 0; i < MANY; i++)
            o[v * MANY + i] = place[v][i];
}

/* One output, of elements that lie anyhow. */
INLINE i64 place_of_one(u32 least, u32 last, struct walk inputs, i64 moved)
{
    f32 best = *(const f32 *)(inputs.at[0] + moved);
    i64 place = 0, number = 0;
    for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1))
        for (u64 j = 0; j < m; j++, number++) {
            f32 x = *(const f32 *)(inputs.at[0] + moved + (i64)j * inputs.step[0]);
            i32 taken = takes(least, last, x, best);
            best = taken ? x : best;
            place = taken ? number : place;
        }
    return place;
}

/* n outputs side by side. */
INLINE void places(u32 least, u32 last, i64 *o, const struct walk *inputs, i64 moved, u64 n)
{
    u64 i = 0;
    for (; i + AT_ONCE * MANY <= n; i += AT_ONCE * MANY)
        places_of_columns(least, last, AT_ONCE, o + i, *inputs, moved + 4 * (i64)i);
    for (; i + MANY <= n; i += MANY)
        places_of_columns(least, last, 1, o + i, *inputs, moved + 4 * (i64)i);
    for (; i < n; i++)
        o[i] = place_of_one(least, last, *inputs, moved + 4 * (i64)i);
}

#define TURNED(x, BY)                                                                                                  \
    __builtin_shufflevector(x, x, (0 + BY) % 16, (1 + BY) % 16, (2 + BY) % 16, (3 + BY) % 16, (4 + BY) % 16,           \
                            (5 + BY) % 16, (6 + BY) % 16, (7 + BY) % 16, (8 + BY) % 16, (9 + BY) % 16, (10 + BY) % 16, \
                            (11 + BY) % 16, (12 + BY) % 16, (13 + BY) % 16, (14 + BY) % 16, (15 + BY) % 16)

/* The place among n elements side by side. ASSUMES: the memory behind a tensor may be read (ml.c, schedule.c). */
INLINE i64 place_in_row(u32 least, u32 last, const f32 *x, u64 n)
{
    if (n < MANY) {
        u64 found = 0;
        for (u64 at = 1; at < n; at++)
            found = takes(least, last, x[at], x[found]) ? at : found;
        return (i64)found;
    }
    manyi first = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, place[2] = {first, first};
    many best[2] = {*(const many *)x, *(const many *)x};
    u64 at = MANY;
    for (; at + 2 * MANY <= n; at += 2 * MANY)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < 2; v++)
            take(least, last, *(const many *)(x + at + v * MANY), first + (i32)(at + v * MANY), &best[v], &place[v]);
    if (at + MANY <= n) {
        take(least, last, *(const many *)(x + at), first + (i32)at, &best[0], &place[0]);
        at += MANY;
    }
    if (at < n)
        take_some(least, last, *(const many *)(x + at), first + (i32)at, first < (i32)(n - at), &best[1], &place[1]);
    take_any(least, last, best[1], place[1], &best[0], &place[0]);
#define TURN(BY) take_any(least, last, TURNED(best[0], BY), TURNED(place[0], BY), &best[0], &place[0])
    TURN(8);
    TURN(4);
    TURN(2);
    TURN(1);
#undef TURN
    return place[0][0];
}

int fast_argreduce(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned reduced = (unsigned)r->imm[1], kept = r->rank - reduced;
    u32 least = r->imm[0] != RED_MAX, last = r->imm[2] & 1;
    u64 count = 1, now;
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    if (r->dtype_in[0] != DT_F32 || count == 0 || count > LONGEST)
        return 0;
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    struct walk_operand below = {segment, r->stride[1] + kept, 4};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    walk_begin(&inputs, &below, 1, r->dim + kept, reduced, 0, count);
    int by_rows = inputs.outer == 0 && inputs.step[0] == 4;
    if (!by_rows && (outputs.step[0] != 8 || outputs.step[1] != 4 || outputs.row < LEAST_ROW))
        return 0;
#define BY_KIND(F, ...)                                                                                                \
    (least ? last ? F(1, 1, __VA_ARGS__) : F(1, 0, __VA_ARGS__) : last ? F(0, 1, __VA_ARGS__) : F(0, 0, __VA_ARGS__))
    for (u64 n; (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2))
        for (u64 i = 0; i < n; i += now) {
            i64 *o = (i64 *)(outputs.at[0] + (i64)i * outputs.step[0]);
            i64 moved = outputs.at[1] + (i64)i * outputs.step[1] - segment;
            now = by_rows ? 1 : n;
            if (by_rows)
                *o = BY_KIND(place_in_row, (const f32 *)(inputs.at[0] + moved), count);
            else
                BY_KIND(places, o, &inputs, moved, n);
        }
#undef BY_KIND
    return 1;
}
