/* COPY and SELECT where elements do not lie side by side in both places: rows and blocks move, not elements.
 *
 * Three kinds of COPY are common: a transposition, whose input's rows lie along another dimension than its output's; each
 * element several times, as resizing and repeating do; and short rows, for which a call for each would cost more than the
 * row. Elements are moved as bits, so all widths go through integers. */
#include <string.h>

#include "fast.h"
#include "kernels/walk.h"

/* Sides of the square blocks that a transposition moves: a cache line of the narrowest elements. */
#define BLOCK 16u

/* Each of n elements `times` times. */
#define REPEAT(T)                                                                                                      \
    static void repeat_##T(T *restrict o, const T *restrict a, i64 apart, u64 n, u64 times)                            \
    {                                                                                                                  \
        if (times == 2) {                                                                                              \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[2 * i] = o[2 * i + 1] = a[(i64)i * apart];                                                           \
        } else if (times == 3) {                                                                                       \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[3 * i] = o[3 * i + 1] = o[3 * i + 2] = a[(i64)i * apart];                                            \
        } else {                                                                                                       \
            for (u64 i = 0; i < n; i++)                                                                                \
                for (u64 j = 0; j < times; j++)                                                                        \
                    *o++ = a[(i64)i * apart];                                                                          \
        }                                                                                                              \
    }
/* `rows` rows of `columns` elements: o's elements side by side, rows o_row apart; a's rows side by side, elements a_column
 * apart. A block's lines of both sides stay in the nearest cache. */
#define TRANSPOSE(T)                                                                                                   \
    static void transpose_##T(T *restrict o, i64 o_row, const T *restrict a, i64 a_column, u64 rows, u64 columns)      \
    {                                                                                                                  \
        for (u64 i = 0; i < rows; i += BLOCK)                                                                          \
            for (u64 j = 0; j < columns; j += BLOCK) {                                                                 \
                T *to = o + (i64)i * o_row + (i64)j;                                                                   \
                const T *from = a + (i64)j * a_column + (i64)i;                                                        \
                u64 high = rows - i < BLOCK ? rows - i : BLOCK, wide = columns - j < BLOCK ? columns - j : BLOCK;      \
                if (high == BLOCK && wide == BLOCK)                                                                    \
                    block_##T(to, o_row, from, a_column);                                                              \
                else                                                                                                   \
                    for (u64 m = 0; m < high; m++)                                                                     \
                        for (u64 n = 0; n < wide; n++)                                                                 \
                            to[(i64)m * o_row + (i64)n] = from[(i64)n * a_column + (i64)m];                            \
            }                                                                                                          \
    }

/* One block, through vectors of 16 elements: at each step pairs of rows that lie `apart` rows from one another exchange
 * halves of blocks of twice that length. */
#define EXCHANGE(V, APART, ...)                                                                                        \
    for (unsigned i = 0; i < BLOCK; i++)                                                                               \
        if (!(i & APART)) {                                                                                            \
            V p = row[i], q = row[i + APART];                                                                          \
            row[i] = __builtin_shufflevector(p, q, FIRST(APART));                                                      \
            row[i + APART] = __builtin_shufflevector(p, q, SECOND(APART));                                             \
        }
#define LANE_FIRST(A, i)  ((i) & (A) ? 16 + (i) - (A) : (i))
#define LANE_SECOND(A, i) ((i) & (A) ? 16 + (i) : (i) + (A))
#define FIRST(A)                                                                                                       \
    LANE_FIRST(A, 0), LANE_FIRST(A, 1), LANE_FIRST(A, 2), LANE_FIRST(A, 3), LANE_FIRST(A, 4), LANE_FIRST(A, 5),        \
        LANE_FIRST(A, 6), LANE_FIRST(A, 7), LANE_FIRST(A, 8), LANE_FIRST(A, 9), LANE_FIRST(A, 10), LANE_FIRST(A, 11),  \
        LANE_FIRST(A, 12), LANE_FIRST(A, 13), LANE_FIRST(A, 14), LANE_FIRST(A, 15)
#define SECOND(A)                                                                                                      \
    LANE_SECOND(A, 0), LANE_SECOND(A, 1), LANE_SECOND(A, 2), LANE_SECOND(A, 3), LANE_SECOND(A, 4), LANE_SECOND(A, 5),  \
        LANE_SECOND(A, 6), LANE_SECOND(A, 7), LANE_SECOND(A, 8), LANE_SECOND(A, 9), LANE_SECOND(A, 10),                \
        LANE_SECOND(A, 11), LANE_SECOND(A, 12), LANE_SECOND(A, 13), LANE_SECOND(A, 14), LANE_SECOND(A, 15)
#define BLOCK_OF(T)                                                                                                    \
    VECTOR(T)                                                                                                          \
    static void block_##T(T *restrict o, i64 o_row, const T *restrict a, i64 a_column)                                 \
    {                                                                                                                  \
        vector_##T row[BLOCK];                                                                                         \
        for (unsigned i = 0; i < BLOCK; i++)                                                                           \
            row[i] = *(const vector_##T *)(a + (i64)i * a_column);                                                     \
        EXCHANGE(vector_##T, 1)                                                                                        \
        EXCHANGE(vector_##T, 2)                                                                                        \
        EXCHANGE(vector_##T, 4)                                                                                        \
        EXCHANGE(vector_##T, 8)                                                                                        \
        for (unsigned i = 0; i < BLOCK; i++)                                                                           \
            *(vector_##T *)(o + (i64)i * o_row) = row[i];                                                              \
    }
/* The same of bytes, for which processors have that exchange only of neighbours: four times all rows of one half are woven
 * with those of the other, which turns the block. */
#define VECTOR(T) typedef T vector_##T __attribute__((vector_size(sizeof(T) * BLOCK), aligned(sizeof(T)), may_alias));
VECTOR(u8)
INLINE void weave_halves(const vector_u8 *row, vector_u8 *to)
{
    for (unsigned i = 0; i < BLOCK / 2; i++) {
        vector_u8 p = row[i], q = row[i + BLOCK / 2];
        to[2 * i] = __builtin_shufflevector(p, q, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        to[2 * i + 1] = __builtin_shufflevector(p, q, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}
static void block_u8(u8 *restrict o, i64 o_row, const u8 *restrict a, i64 a_column)
{
    vector_u8 row[BLOCK], other[BLOCK];
    for (unsigned i = 0; i < BLOCK; i++)
        row[i] = *(const vector_u8 *)(a + (i64)i * a_column);
    weave_halves(row, other);
    weave_halves(other, row);
    weave_halves(row, other);
    weave_halves(other, row);
    for (unsigned i = 0; i < BLOCK; i++)
        *(vector_u8 *)(o + (i64)i * o_row) = row[i];
}
/* Elements that lie `apart` elements from one another; the usual distances are known to the compiler. */
#define PICK(T)                                                                                                        \
    static void pick_##T(T *restrict o, const T *restrict a, i64 apart, u64 n)                                         \
    {                                                                                                                  \
        switch (apart) {                                                                                               \
            PICK_EVERY(2)                                                                                              \
            PICK_EVERY(3)                                                                                              \
            PICK_EVERY(4)                                                                                              \
            PICK_EVERY(-1)                                                                                             \
        default:                                                                                                       \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[i] = a[(i64)i * apart];                                                                              \
        }                                                                                                              \
    }
#define PICK_EVERY(APART)                                                                                              \
    case APART:                                                                                                        \
        for (u64 i = 0; i < n; i++)                                                                                    \
            o[i] = a[(i64)i * (APART)];                                                                                \
        break;
/* `rows` short rows of elements that lie far apart, each row beside the next: of a few lines, one element in turn. */
#define WEAVE(T)                                                                                                       \
    static void weave_##T(T *restrict o, const T *restrict a, i64 apart, u64 rows, u64 columns)                        \
    {                                                                                                                  \
        switch (columns) {                                                                                             \
            WEAVE_LINES(2)                                                                                             \
            WEAVE_LINES(3)                                                                                             \
            WEAVE_LINES(4)                                                                                             \
        default:                                                                                                       \
            for (u64 i = 0; i < rows; i++)                                                                             \
                for (u64 j = 0; j < columns; j++)                                                                      \
                    *o++ = a[(i64)j * apart + (i64)i];                                                                 \
        }                                                                                                              \
    }
#define WEAVE_LINES(COLUMNS)                                                                                           \
    case COLUMNS:                                                                                                      \
        for (u64 i = 0; i < rows; i++)                                                                                 \
            for (u64 j = 0; j < (COLUMNS); j++)                                                                        \
                o[(COLUMNS) * i + j] = a[(i64)j * apart + (i64)i];                                                     \
        break;
/* c ? a : b, steps of 0 or 1 each. */
#define CHOOSE(T)                                                                                                      \
    static void choose_##T(T *restrict o, const u8 *restrict c, u64 c_step, const T *restrict a, u64 a_step,           \
                           const T *restrict b, u64 b_step, u64 n)                                                     \
    {                                                                                                                  \
        if (c_step == 0) {                                                                                             \
            const T *from = *c ? a : b;                                                                                \
            u64 step = *c ? a_step : b_step;                                                                           \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[i] = step ? from[i] : *from;                                                                         \
        } else {                                                                                                       \
            T one = *a, other = *b;                                                                                    \
            for (u64 i = 0; i < n; i++) {                                                                              \
                T x = a_step ? a[i] : one, y = b_step ? b[i] : other;                                                  \
                o[i] = c[i] ? x : y;                                                                                   \
            }                                                                                                          \
        }                                                                                                              \
    }
#define MOVERS(T) REPEAT(T) TRANSPOSE(T) PICK(T) WEAVE(T) CHOOSE(T)
BLOCK_OF(u16)
BLOCK_OF(u32)
BLOCK_OF(u64)
MOVERS(u8)
MOVERS(u16)
MOVERS(u32)
MOVERS(u64)

/* Calls F_T for the type of a width. */
#define BY_WIDTH(WIDTH, F, ...)                                                                                        \
    switch (WIDTH) {                                                                                                   \
    case 1: F(u8, __VA_ARGS__); break;                                                                                 \
    case 2: F(u16, __VA_ARGS__); break;                                                                                \
    case 4: F(u32, __VA_ARGS__); break;                                                                                \
    default: F(u64, __VA_ARGS__); break;                                                                               \
    }

/* A copy's iteration space, as walk.h merges it; strides in bytes, of the output and of the input. */
struct copy {
    u8 *segment;
    const struct record *r;
    struct walk w; /* at element 0 */
    i64 width;
};

/* Moves both places to row number `row`, counted over all dimensions above `levels` ones. */
static void go_to(const struct copy *c, u64 row, unsigned levels, u8 **o, const u8 **a)
{
    *o = c->w.at[0];
    *a = c->w.at[1];
    for (unsigned l = levels; l < c->w.outer; l++) {
        i64 index = (i64)(row % c->w.size[l]);
        row /= c->w.size[l];
        *o += index * c->w.stride[l][0];
        *a += index * c->w.stride[l][1];
    }
}

/* One unit of a copy: `rows` rows, from the first one's places; o's rows are o_row apart, a's a_row. */
typedef void copy_unit(const struct copy *c, u8 *o, i64 o_row, const u8 *a, i64 a_row, u64 rows);

static void repeat_unit(const struct copy *c, u8 *o, i64 o_row, const u8 *a, i64 a_row, u64 rows)
{
    (void)o_row; /* rows lie side by side */
#define CALL(T, X) repeat_##T((T *)o, (const T *)a, a_row / X, rows, c->w.row)
    BY_WIDTH(c->width, CALL, c->width)
#undef CALL
}

static void transpose_unit(const struct copy *c, u8 *o, i64 o_row, const u8 *a, i64 a_row, u64 rows)
{
    (void)a_row; /* rows begin side by side */
#define CALL(T, X) transpose_##T((T *)o, o_row / X, (const T *)a, c->w.step[1] / X, rows, c->w.row)
    BY_WIDTH(c->width, CALL, c->width)
#undef CALL
}

/* Rows of at most as many elements, read along other rows, are woven and not transposed. */
#define NARROW 8

static void weave_unit(const struct copy *c, u8 *o, i64 o_row, const u8 *a, i64 a_row, u64 rows)
{
    (void)o_row, (void)a_row; /* rows lie side by side, and begin so in the input */
#define CALL(T, X) weave_##T((T *)o, (const T *)a, c->w.step[1] / X, rows, c->w.row)
    BY_WIDTH(c->width, CALL, c->width)
#undef CALL
}

static void pick_unit(const struct copy *c, u8 *o, i64 o_row, const u8 *a, i64 a_row, u64 rows)
{
    for (u64 i = 0; i < rows; i++, o += o_row, a += a_row) {
#define CALL(T, X) pick_##T((T *)o, (const T *)a, c->w.step[1] / X, c->w.row)
        BY_WIDTH(c->width, CALL, c->width)
#undef CALL
    }
}

/* Short rows, side by side in both places. A length that the compiler knows needs no call. */
static void rows_unit(const struct copy *c, u8 *o, i64 o_row, const u8 *a, i64 a_row, u64 rows)
{
    u64 bytes = c->w.row * (u64)c->width;
#define ROWS(BYTES)                                                                                                    \
    case BYTES:                                                                                                        \
        for (u64 i = 0; i < rows; i++, o += o_row, a += a_row)                                                         \
            memcpy(o, a, BYTES);                                                                                       \
        return;
    switch (bytes) {
        ROWS(2)
        ROWS(4)
        ROWS(8)
        ROWS(12)
        ROWS(16)
        ROWS(24)
        ROWS(32)
        ROWS(48)
        ROWS(64)
        ROWS(96)
        ROWS(128)
    default:
        for (u64 i = 0; i < rows; i++, o += o_row, a += a_row)
            memcpy(o, a, bytes);
    }
#undef ROWS
}

/* Elements [lo, hi) of rows that are picked, transposed or woven, which need not be whole. */
static void pick_range(const struct copy *c, u64 lo, u64 hi)
{
    for (u64 n; lo < hi; lo += n) {
        u8 *o;
        const u8 *a;
        u64 at = lo % c->w.row;
        n = c->w.row - at < hi - lo ? c->w.row - at : hi - lo;
        go_to(c, lo / c->w.row, 0, &o, &a);
#define CALL(T, X)                                                                                                     \
    pick_##T((T *)(o + (i64)at * c->w.step[0]), (const T *)(a + (i64)at * c->w.step[1]), c->w.step[1] / X, n)
        BY_WIDTH(c->width, CALL, c->width)
#undef CALL
    }
}

/* Rows of one element, again and again, of at most so many take longer to walk over than to make. */
#define SHORT_FILL 64

/* How to make a unit of rows along dimension `*level` of w's outer ones; null: as the plain kernel does. */
static copy_unit *find_unit(const struct copy *c, unsigned *level)
{
    const struct walk *w = &c->w;
    i64 o_step = w->step[0], a_step = w->step[1], row = (i64)w->row;
    *level = 0;
    if (o_step != c->width || w->outer == 0)
        return NULL;
    if (a_step == c->width)
        return row * c->width <= 512 ? rows_unit : NULL;
    if (a_step == 0 && w->stride[0][0] != row * c->width)
        return row <= SHORT_FILL ? pick_unit : NULL;
    if (a_step == 0)
        return repeat_unit;
    if (row <= NARROW && w->stride[0][1] == c->width && w->stride[0][0] == row * c->width)
        return weave_unit;
    if (row >= 4)
        for (unsigned l = 0; l < w->outer; l++)
            if (w->stride[l][1] == c->width && w->size[l] >= 4) {
                *level = l;
                return transpose_unit;
            }
    return pick_unit;
}

int fast_copy(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct copy c = {.segment = segment, .r = r};
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    c.width = (i64)operand[0].width;
    walk_begin(&c.w, operand, 2, r->dim, r->rank, 0, 1);
    unsigned level;
    copy_unit *unit = find_unit(&c, &level);
    if (!unit)
        return 0;
    u64 row = c.w.row, below = 1, rows = c.w.size[level];
    for (unsigned l = 0; l < level; l++)
        below *= c.w.size[l];
    /* Whole rows if the unit's dimension is the one above them; else whole blocks of all dimensions up to it. */
    u64 grain = level ? row * below * rows : row, first = (lo + grain - 1) / grain, end = hi / grain;
    int picks = unit == pick_unit || unit == transpose_unit || unit == weave_unit;
    if (first >= end) {
        if (picks)
            pick_range(&c, lo, hi);
        return picks;
    }
    if (picks) {
        pick_range(&c, lo, first * grain);
        pick_range(&c, end * grain, hi);
    } else {
        if (lo < first * grain)
            kernel_copy(segment, r, lo, first * grain);
        if (end * grain < hi)
            kernel_copy(segment, r, end * grain, hi);
    }
    i64 o_row = c.w.stride[level][0], a_row = c.w.stride[level][1];
    u8 *o;
    const u8 *a;
    if (level == 0) {
        for (u64 at = first, now; at < end; at += now) {
            u64 index = at % rows;
            now = rows - index < end - at ? rows - index : end - at;
            go_to(&c, at / rows, 1, &o, &a);
            unit(&c, o + (i64)index * o_row, o_row, a + (i64)index * a_row, a_row, now);
        }
        return 1;
    }
    for (u64 at = first; at < end; at++)
        for (u64 between = 0; between < below; between++) {
            go_to(&c, at, level + 1, &o, &a);
            u64 rest = between;
            for (unsigned l = 0; l < level; l++) {
                i64 index = (i64)(rest % c.w.size[l]);
                rest /= c.w.size[l];
                o += index * c.w.stride[l][0];
                a += index * c.w.stride[l][1];
            }
            unit(&c, o, o_row, a, a_row, rows);
        }
    return 1;
}

int fast_select(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[4] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1),
                                      walk_in(segment, r, 2)};
    i64 width = (i64)operand[0].width;
    walk_begin(&w, operand, 4, r->dim, r->rank, lo, hi);
    if (w.step[0] != width || w.step[1] > 1 || w.step[1] < 0)
        return 0;
    for (unsigned j = 2; j < 4; j++)
        if (w.step[j] != width && w.step[j] != 0)
            return 0;
    u64 a_step = w.step[2] != 0, b_step = w.step[3] != 0;
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 4)) {
#define CALL(T, X)                                                                                                     \
    choose_##T((T *)w.at[0], w.at[1], (u64)w.step[1], (const T *)w.at[2], a_step, (const T *)w.at[3], b_step, X)
        BY_WIDTH(width, CALL, n)
#undef CALL
    }
    return 1;
}
