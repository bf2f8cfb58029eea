/* Sums and products of binary64 by pairs: neighbours, then neighbours of these, a last one without a neighbour as it is.
 * And sums in order.
 *
 * By pairs is a tree over places: what begins at a multiple of 2^l and reaches to the next is one number at level l. Numbers are
 * put on a stack as a counter counts in binary, each carry an addition, and what is left of the stack is added up from the
 * last to the first. Which places a vector's lanes are changes nothing. */
#include "doubles.h"

#include "kernels/walk.h"
#include "gemm.h"

#define LEVELS 40 /* of more numbers than a record may have */

#define JOIN(x, y) (multiplies ? (x) * (y) : (x) + (y))

struct stack {
    f64 at[LEVELS];
};

/* Puts number `count` of level `level` on a stack. */
INLINE void put(struct stack *s, f64 x, u64 count, unsigned level, int multiplies)
{
    for (; count & 1; count >>= 1, level++)
        x = JOIN(s->at[level], x);
    s->at[level] = x;
}

/* What the parts come to whose levels are the bits of `count`. */
INLINE f64 rest_of(const struct stack *s, u64 count, int multiplies)
{
    unsigned level = (unsigned)__builtin_ctzll(count);
    f64 x = s->at[level];
    for (count &= count - 1; count; count &= count - 1) {
        level = (unsigned)__builtin_ctzll(count);
        x = JOIN(s->at[level], x);
    }
    return one_nan(x);
}

/* n numbers, or products of two. */
INLINE f64 any_row(const u8 *x, i64 x_step, const u8 *y, i64 y_step, u64 n, int multiplies)
{
    struct stack s;
    for (u64 k = 0; k < n; k++) {
        f64 a = *(const f64 *)(x + (i64)k * x_step);
        put(&s, y ? a * *(const f64 *)(y + (i64)k * y_step) : a, k, 0, multiplies);
    }
    return rest_of(&s, n, multiplies);
}

#if LANES

#define WIDE (LANES / 2)
typedef f64 wide __attribute__((vector_size(8 * WIDE), aligned(8), may_alias));

/* The sums of neighbours in two vectors. */
INLINE wide neighbours(wide low, wide high, int multiplies)
{
#if WIDE == 8
    wide even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    wide odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
#elif WIDE == 4
    wide even = __builtin_shufflevector(low, high, 0, 2, 4, 6), odd = __builtin_shufflevector(low, high, 1, 3, 5, 7);
#else
    wide even = __builtin_shufflevector(low, high, 0, 2), odd = __builtin_shufflevector(low, high, 1, 3);
#endif
    return JOIN(even, odd);
}

/* Numbers of a row that are summed in registers, and the logarithm of how many they are. */
#define BLOCK       (8 * WIDE)
#define BLOCK_LEVEL (WIDE == 8 ? 6u : WIDE == 4 ? 5u : 4u)

INLINE wide load_product(const f64 *x, const f64 *y)
{
    return y ? *(const wide *)x * *(const wide *)y : *(const wide *)x;
}

/* `vectors` of them, a power of two, and so one number of the level of as many places. */
INLINE f64 block(const f64 *x, const f64 *y, unsigned vectors, int multiplies)
{
    wide part[8];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < vectors; i++)
        part[i] = load_product(x + i * WIDE, y ? y + i * WIDE : NULL);
#pragma clang loop unroll(full)
    for (unsigned count = vectors / 2; count; count /= 2)
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < count; i++)
            part[i] = neighbours(part[2 * i], part[2 * i + 1], multiplies);
    wide sum = part[0];
#pragma clang loop unroll(full)
    for (unsigned lanes = WIDE; lanes > 1; lanes /= 2)
        sum = neighbours(sum, sum, multiplies);
    return sum[0];
}

/* A row that lies side by side. What is left behind whole blocks has a part for each bit of its length, the longest first,
 * which begins where one of its level does. */
INLINE f64 packed_row(const f64 *x, const f64 *y, u64 n, int multiplies)
{
    struct stack s;
    u64 blocks = n / BLOCK, k = blocks * BLOCK;
    for (u64 i = 0; i < blocks; i++)
        put(&s, block(x + i * BLOCK, y ? y + i * BLOCK : NULL, 8, multiplies), i, BLOCK_LEVEL, multiplies);
#define PART(VECTORS, LEVEL)                                                                                           \
    if (n & (VECTORS * WIDE)) {                                                                                        \
        s.at[LEVEL] = block(x + k, y ? y + k : NULL, VECTORS, multiplies);                                             \
        k += VECTORS * WIDE;                                                                                           \
    }
    PART(4, BLOCK_LEVEL - 1)
    PART(2, BLOCK_LEVEL - 2)
    PART(1, BLOCK_LEVEL - 3)
#undef PART
    for (u64 first = k; k < n; k++)
        put(&s, y ? x[k] * y[k] : x[k], k - first, 0, multiplies);
    return rest_of(&s, n, multiplies);
}

/* Outputs that are side by side and so are what they are made of; where `x_repeats`, they share their first factors. */
struct columns {
    f64 *out;
    const u8 *x, *y;
    i64 x_step, y_step;
    u64 n;
};

INLINE wide column_at(const struct columns *c, u64 k, int x_repeats)
{
    wide none = {0};
    const u8 *x = c->x + (i64)k * c->x_step;
    if (!c->y)
        return *(const wide *)x;
    wide y = *(const wide *)(c->y + (i64)k * c->y_step);
    return (x_repeats ? *(const f64 *)x - none : *(const wide *)x) * y;
}

INLINE wide four_columns(const struct columns *c, u64 k, int x_repeats, int multiplies)
{
    wide low = JOIN(column_at(c, k, x_repeats), column_at(c, k + 1, x_repeats));
    wide high = JOIN(column_at(c, k + 2, x_repeats), column_at(c, k + 3, x_repeats));
    return JOIN(low, high);
}

/* WIDE outputs. */
INLINE void column_block(const struct columns *c, int x_repeats, int multiplies)
{
    _Alignas(64) wide at[LEVELS];
    wide x;
    u64 k = 0;
    for (; k + 8 <= c->n; k += 8) {
        wide low = four_columns(c, k, x_repeats, multiplies), high = four_columns(c, k + 4, x_repeats, multiplies);
        unsigned level = 3;
        x = JOIN(low, high);
        for (u64 count = k / 8; count & 1; count >>= 1, level++)
            x = JOIN(at[level], x);
        at[level] = x;
    }
    if (c->n & 4) {
        at[2] = four_columns(c, k, x_repeats, multiplies);
        k += 4;
    }
    if (c->n & 2) {
        at[1] = JOIN(column_at(c, k, x_repeats), column_at(c, k + 1, x_repeats));
        k += 2;
    }
    if (c->n & 1)
        at[0] = column_at(c, k, x_repeats);
    u64 left = c->n;
    x = at[__builtin_ctzll(left)];
    for (left &= left - 1; left; left &= left - 1)
        x = JOIN(at[__builtin_ctzll(left)], x);
    for (unsigned i = 0; i < WIDE; i++)
        c->out[i] = one_nan(x[i]);
}

/* As many of n outputs as whole vectors are. */
INLINE u64 columns(struct columns c, u64 n, int x_repeats, int multiplies)
{
    u64 i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        column_block(&c, x_repeats, multiplies);
        c.out += WIDE;
        c.x += x_repeats ? 0 : WIDE * sizeof(f64);
        c.y = c.y ? c.y + WIDE * sizeof(f64) : NULL;
    }
    return i;
}

/* Rows of a product that are made at a time, so that what is loaded of a panel serves them all. */
#define ROWS 4

/* A row's factors, and how far apart they are. */
struct factors {
    const u8 *at;
    i64 step;
};

#define EACH_ROW _Pragma("clang loop unroll(full)") for (unsigned r = 0; r < rows; r++)

/* For each of `rows` rows the sum of its products from k on, `count` of them, a power of two up to 8. What is loaded of the
 * panel serves all rows, and no more is kept of each than its tree needs. */
INLINE void sums_from(struct factors x, i64 x_row, const f64 *panel, u64 k, unsigned count, unsigned rows, wide *sum)
{
    wide part[ROWS][3];
#define PRODUCT(I)                                                                                                     \
    (*(const f64 *)(x.at + (i64)r * x_row + (i64)(k + (I)) * x.step) * *(const wide *)(panel + (k + (I)) * WIDE))
    if (count == 1)
        EACH_ROW sum[r] = PRODUCT(0);
#pragma clang loop unroll(full)
    for (unsigned i = 0; i + 1 < count; i += 2)
        EACH_ROW
        {
            wide two = PRODUCT(i) + PRODUCT(i + 1);
            unsigned level = 0;
#pragma clang loop unroll(full)
            for (unsigned pairs = i / 2; pairs & 1; pairs >>= 1, level++)
                two = part[r][level] + two;
            part[r][level] = two;
            sum[r] = two; /* the last pair's is that of all */
        }
#undef PRODUCT
}

/* WIDE outputs of each of `rows` rows, of n products of a row's factors and a panel's. */
INLINE void rows_block(u8 *out, i64 out_row, struct factors x, i64 x_row, const f64 *panel, u64 n, unsigned rows)
{
    _Alignas(64) wide at[ROWS][LEVELS];
    wide sum[ROWS];
    u64 k = 0;
    for (; k + 8 <= n; k += 8) {
        unsigned level = 3;
        sums_from(x, x_row, panel, k, 8, rows, sum);
        for (u64 count = k / 8; count & 1; count >>= 1, level++)
            EACH_ROW sum[r] = at[r][level] + sum[r];
        EACH_ROW at[r][level] = sum[r];
    }
#define REST(COUNT, LEVEL)                                                                                             \
    if (n & COUNT) {                                                                                                   \
        sums_from(x, x_row, panel, k, COUNT, rows, sum);                                                               \
        EACH_ROW at[r][LEVEL] = sum[r];                                                                                \
        k += COUNT;                                                                                                    \
    }
    REST(4, 2)
    REST(2, 1)
    REST(1, 0)
#undef REST
    EACH_ROW sum[r] = at[r][__builtin_ctzll(n)];
    for (u64 left = n & (n - 1); left; left &= left - 1)
        EACH_ROW sum[r] = at[r][__builtin_ctzll(left)] + sum[r];
    EACH_ROW for (unsigned i = 0; i < WIDE; i++)((f64 *)(out + (i64)r * out_row))[i] = one_nan(sum[r][i]);
}
#undef EACH_ROW

/* The same of ROWS rows or one; side by side their factors are usual. */
static void some_rows(u8 *out, i64 out_row, struct factors x, i64 x_row, const f64 *panel, u64 n, u64 rows)
{
    struct factors packed = {x.at, 8};
    if (rows == ROWS && x.step == 8)
        rows_block(out, out_row, packed, x_row, panel, n, ROWS);
    else if (rows == ROWS)
        rows_block(out, out_row, x, x_row, panel, n, ROWS);
    else
        rows_block(out, out_row, x, x_row, panel, n, 1);
}

/* Rows of a product that share their second factors are worth packing those from so many on. */
#define ROWS_TO_PACK 4
#define PACKED_MOST  (1u << 22) /* of numbers */

/* Rows of a product of matrices whose second one lies with its columns side by side: those are packed, WIDE columns to a
 * panel, so that outputs can be a vector's lanes; 0 if it is no such product. ASSUMES one matrix. */
static int packed_product(struct walk *w, u64 terms, i64 x_step, i64 y_step, struct fast_scratch *scratch)
{
    u64 rows = w->left / w->row, whole = w->row / WIDE * WIDE;
    if (!w->outer || w->column || w->left % w->row || rows < ROWS_TO_PACK || !whole || w->step[0] != 8 ||
        w->step[1] != 0 || y_step != 8 || w->stride[0][2] != 0 || whole * terms > PACKED_MOST)
        return 0;
    f64 *packed = fast_buffer_get(&scratch->packed, whole * terms * sizeof(f64));
    if (!packed)
        return 0;
    for (u64 j = 0; j < whole; j += WIDE) {
        const u8 *y = w->at[2] + (i64)j * w->step[2];
        for (u64 k = 0; k < terms; k++)
            for (u64 i = 0; i < WIDE; i++)
                packed[(j * terms) + k * WIDE + i] = *(const f64 *)(y + (i64)i * w->step[2] + 8 * (i64)k);
    }
    i64 out_row = w->stride[0][0], x_row = w->stride[0][1];
    for (u64 row = 0, now; row < rows; row += now) {
        struct factors x = {w->at[1] + (i64)row * x_row, x_step};
        u8 *out = w->at[0] + (i64)row * out_row;
        now = rows - row < ROWS ? 1 : ROWS;
        for (u64 j = 0; j < whole; j += WIDE)
            some_rows(out + 8 * j, out_row, x, x_row, packed + j * terms, terms, now);
    }
    for (u64 row = 0; row < rows; row++) {
        const u8 *x = w->at[1] + (i64)row * x_row;
        u8 *out = w->at[0] + (i64)row * out_row;
        for (u64 j = whole; j < w->row; j++) {
            const u8 *y = w->at[2] + (i64)j * w->step[2];
            ((f64 *)out)[j] = x_step == 8 ? packed_row((const f64 *)x, (const f64 *)y, terms, 0)
                                          : any_row(x, x_step, y, y_step, terms, 0);
        }
    }
    return 1;
}

#else

static int packed_product(struct walk *w, u64 terms, i64 x_step, i64 y_step, struct fast_scratch *scratch)
{
    (void)w, (void)terms, (void)x_step, (void)y_step, (void)scratch;
    return 0;
}

#endif

/* Outputs of one row of a walk, `terms` numbers each, `x_step` and `y_step` bytes apart. */
INLINE void outputs(const struct walk *w, u64 n, u64 terms, i64 x_step, i64 y_step, int two, int multiplies)
{
    u64 i = 0;
    const u8 *x = w->at[1], *y = two ? w->at[2] : NULL;
#if LANES
    struct columns c = {(f64 *)w->at[0], x, y, x_step, y_step, terms};
    if (w->step[0] == 8 && (two ? w->step[2] == 8 && (w->step[1] == 8 || w->step[1] == 0) : w->step[1] == 8))
        i = w->step[1] == 0 ? columns(c, n, 1, multiplies) : columns(c, n, 0, multiplies);
    if (x_step == 8 && (!two || y_step == 8)) {
        for (; i < n; i++)
            *(f64 *)(w->at[0] + (i64)i * w->step[0]) = packed_row((const f64 *)(x + (i64)i * w->step[1]),
                                                                  two ? (const f64 *)(y + (i64)i * w->step[2]) : NULL,
                                                                  terms, multiplies);
        return;
    }
#endif
    for (; i < n; i++)
        *(f64 *)(w->at[0] + (i64)i * w->step[0]) =
            any_row(x + (i64)i * w->step[1], x_step, two ? y + (i64)i * w->step[2] : NULL, y_step, terms, multiplies);
}

/* Sums in the order of the terms: of eight outputs at a time, since each addition waits for the one before it. */
INLINE void some_in_order(const struct walk *w, u64 first, u64 count, u64 terms, i64 x_step)
{
    f64 sum[8];
    const u8 *x = w->at[1] + (i64)first * w->step[1];
    for (u64 j = 0; j < count; j++)
        sum[j] = *(const f64 *)(x + (i64)j * w->step[1]);
    for (u64 k = 1; k < terms; k++)
        for (u64 j = 0; j < count; j++)
            sum[j] = sum[j] + *(const f64 *)(x + (i64)k * x_step + (i64)j * w->step[1]);
    for (u64 j = 0; j < count; j++)
        *(f64 *)(w->at[0] + (i64)(first + j) * w->step[0]) = one_nan(sum[j]);
}

static void in_order(const struct walk *w, u64 n, u64 terms, i64 x_step)
{
    u64 i = 0;
    for (; i + 8 <= n; i += 8)
        some_in_order(w, i, 8, terms, x_step);
    for (; i < n; i++)
        some_in_order(w, i, 1, terms, x_step);
}

void fast_double_sums(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    unsigned last = r->rank - 1u, operands = 1u + r->n_in;
    u64 terms = r->dim[last];
    i64 x_step = r->stride[1][last] * 8, y_step = r->n_in == 2 ? r->stride[2][last] * 8 : 0;
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    walk_begin(&w, operand, operands, r->dim, last, lo, hi);
    u64 matrix = operands == 3 && w.outer > 1 ? w.row * w.size[0] : hi;
    for (u64 end; lo < hi; lo = end) { /* a matrix at a time */
        end = (lo / matrix + 1) * matrix < hi ? (lo / matrix + 1) * matrix : hi;
        walk_begin(&w, operand, operands, r->dim, last, lo, end);
        if (operands == 3 && packed_product(&w, terms, x_step, y_step, s))
            continue;
        for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, operands))
            if (r->imm[2])
                in_order(&w, n, terms, x_step);
            else if (operands == 3)
                outputs(&w, n, terms, x_step, y_step, 1, 0);
            else if (r->imm[0] == D_MUL)
                outputs(&w, n, terms, x_step, 0, 0, 1);
            else
                outputs(&w, n, terms, x_step, 0, 0, 0);
    }
}
