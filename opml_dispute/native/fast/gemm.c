/* Products of binary32 matrices, tile by tile, every sum in the order of the plain kernel. */
#include "vectors.h"

#if LANES

/* Sums are put down and taken up again every DEPTH terms: a panel of b of that depth stays in the first-level cache
 * while the tiles of all rows of a block pass over it. The rows lie packed in the second-level cache. */
#define DEPTH   256
#define PIECE_M (TILE_M * 43)
#define PIECE_A (128 * 1024) /* floats */
#define PIECE_B (128 * 1024) /* floats */
/* Floats of the panels that so many rows of few terms pass over together. */
#define TOGETHER  (64 * 1024)
#define MANY_ROWS 128
/* Rows of more columns are foreseen by the processor. */
#define NEAR_COLUMNS 512
/* With so few columns rows are taken as they lie, and in longer pieces. */
#define ROWS_AS_THEY_LIE 64
#define DEPTH_OF_ROWS    512
/* Rows of b with more columns lie pages apart, where no processor foresees the next: so much of so many rows is packed
 * before the rows below. */
#define LONG_ROW        512
#define ROWS_READ_ALONG 8

/* One register tile over one piece of K. a: packed [depth][mr], or rows a_m apart whose elements lie side by side;
 * b: packed [depth][TILE_N]; c: the sums so far, if not `first`, and where they go. On the last piece the bias is added
 * and NaN made canonical. */
struct tile {
    size_t depth;
    const float *a, *b;
    const float *ahead; /* null, or what of row k of b to fetch for later: `rows[k]` elements from here */
    const ptrdiff_t *rows;
    int packed;    /* a is */
    ptrdiff_t a_m; /* if it is not */
    float *c;
    ptrdiff_t c_m;
    int first, last;
    const float *bias; /* of the tile's first element; null: none */
    ptrdiff_t bias_m, bias_n;
    const float *add; /* likewise; strides are c's */
    int relu;
};

/* Puts sums down. Nothing is read from `t` after a store, which could have changed it, as the compiler sees it. */
INLINE void put_sums(const struct tile *t, vec sum[TILE_M][2], unsigned mr, unsigned nv)
{
    float *c = t->c;
    ptrdiff_t c_m = t->c_m;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < mr; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            *(vec *)(c + (ptrdiff_t)i * c_m + v * LANES) = sum[i][v];
}

/* Finishes whole sums and puts them down likewise. `usual`: each row has a bias, and nothing is added. */
INLINE void finish_sums(const struct tile *t, vec sum[TILE_M][2], unsigned mr, unsigned nv, int usual)
{
    const float *bias = t->bias, *add = usual ? NULL : t->add;
    float *c = t->c;
    ptrdiff_t c_m = t->c_m, bias_m = t->bias_m;
    int differs = !usual && bias && t->bias_n; /* from column to column */
    ending end = ending_of(t->relu);
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < mr; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++) {
            vec x = sum[i][v];
            if (differs)
                x += *(const vec *)(bias + (ptrdiff_t)i * bias_m + v * LANES);
            else if (usual || bias)
                x += bias[(ptrdiff_t)i * bias_m];
            if (add)
                x += *(const vec *)(add + (ptrdiff_t)i * c_m + v * LANES);
            *(vec *)(c + (ptrdiff_t)i * c_m + v * LANES) = ended(x, end);
        }
}

INLINE void run_tile(const struct tile *t, unsigned mr, unsigned nv, int packed)
{
    vec sum[TILE_M][2];
    const float *b = t->b, *ahead = t->ahead;
    const ptrdiff_t *rows = t->rows;
    /* Every third row has a pointer: the others are one and two strides from it, which one register holds. */
    const float *third[(TILE_M + 2) / 3];
    ptrdiff_t a_m = packed ? 1 : t->a_m;
    for (unsigned i = 0; i < (mr + 2) / 3; i++)
        third[i] = t->a + (ptrdiff_t)(3 * i) * a_m;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < mr; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            sum[i][v] = t->first ? (vec){0} : *(const vec *)(t->c + (ptrdiff_t)i * t->c_m + v * LANES);
    for (size_t k = t->depth; k; k--, b += TILE_N) {
        vec column[2];
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            column[v] = *(const vec *)(b + v * LANES);
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < mr; i++) {
            vec row = third[i / 3][(ptrdiff_t)(i % 3) * a_m] - (vec){0}; /* in every lane: x - 0 is x, also for -0 */
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < nv; v++)
                sum[i][v] = __builtin_elementwise_fma(row, column[v], sum[i][v]);
        }
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < (mr + 2) / 3; i++)
            third[i] += packed ? mr : 1;
        if (packed && ahead)
            __builtin_prefetch(ahead + *rows++);
        if (!packed && k % 16 == 0)
#pragma clang loop unroll(full)
            for (unsigned i = 0; i < mr; i++)
                __builtin_prefetch(third[i / 3] + (ptrdiff_t)(mr + i % 3) * a_m, 0, 2);
    }
    if (t->last && t->bias && !t->bias_n && !t->add)
        finish_sums(t, sum, mr, nv, 1);
    else if (t->last)
        finish_sums(t, sum, mr, nv, 0);
    else
        put_sums(t, sum, mr, nv);
}

#define FOR_EACH_MR(X)      FOR_EACH_MR_TO_6(X) FOR_EACH_MR_TO_8(X) FOR_EACH_MR_TO_12(X)
#define FOR_EACH_MR_TO_6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#if TILE_M >= 8
#define FOR_EACH_MR_TO_8(X) X(7) X(8)
#else
#define FOR_EACH_MR_TO_8(X)
#endif
#if TILE_M >= 12
#define FOR_EACH_MR_TO_12(X) X(9) X(10) X(11) X(12)
#else
#define FOR_EACH_MR_TO_12(X)
#endif

#define TILE_FUNCTIONS(MR)                                                                                             \
    static void tile_##MR##_1(const struct tile *t) { run_tile(t, MR, 1, 1); }                                         \
    static void tile_##MR##_2(const struct tile *t) { run_tile(t, MR, 2, 1); }                                         \
    static void rows_##MR##_1(const struct tile *t) { run_tile(t, MR, 1, 0); }                                         \
    static void rows_##MR##_2(const struct tile *t) { run_tile(t, MR, 2, 0); }
FOR_EACH_MR(TILE_FUNCTIONS)

typedef void tile_function(const struct tile *t);
/* clang-format off */
static tile_function *const tiles[TILE_M][2][2] = { /* [mr - 1][a is packed][vectors - 1] */
#define TILE_ROW(MR) {{rows_##MR##_1, rows_##MR##_2}, {tile_##MR##_1, tile_##MR##_2}},
    FOR_EACH_MR(TILE_ROW)
};
/* clang-format on */

/* The first nr floats of a tile's row. A call of memcpy for each takes longer than a tile of a few terms. */
INLINE void store_row(float *to, const float *from, unsigned nr)
{
    store_some(to, *(const vec *)from, (i64)nr);
    if (nr > LANES)
        store_some(to + LANES, *(const vec *)(from + LANES), (i64)nr - LANES);
}

/* A tile of mr x nr outputs at c. The sums of one narrower than its vectors are kept in `sums` until they are done; a bias
 * whose columns do not lie side by side is laid out so. */
static void make_tile(const struct tile *t, unsigned mr, unsigned nr, float *sums)
{
    unsigned nv = nr > LANES ? 2 : 1;
    tile_function *run = tiles[mr - 1][t->packed][nv - 1];
    int is_narrow = nr != nv * LANES;
    int is_spread = t->last && t->bias && t->bias_n != 0 && t->bias_n != 1;
    if (!is_narrow && !is_spread) {
        run(t);
        return;
    }
    float bias[TILE_M * TILE_N], add[TILE_M * TILE_N];
    struct tile other = *t;
    if (t->last && t->bias && t->bias_n) {
        for (unsigned i = 0; i < mr; i++)
            for (unsigned j = 0; j < TILE_N; j++)
                bias[i * TILE_N + j] = j < nr ? t->bias[(ptrdiff_t)i * t->bias_m + (ptrdiff_t)j * t->bias_n] : 0.0f;
        other.bias = bias;
        other.bias_m = TILE_N;
        other.bias_n = 1;
    }
    if (!is_narrow) {
        run(&other);
        return;
    }
    other.c = sums;
    other.c_m = TILE_N;
    if (t->last && t->add) {
        memset(add, 0, sizeof add);
        for (unsigned i = 0; i < mr; i++)
            memcpy(add + i * TILE_N, t->add + (ptrdiff_t)i * t->c_m, nr * sizeof(float));
        other.add = add;
    }
    run(&other);
    for (unsigned i = 0; t->last && i < mr; i++)
        store_row(t->c + (ptrdiff_t)i * t->c_m, sums + i * TILE_N, nr);
}

static size_t least(size_t x, size_t y) { return x < y ? x : y; }
static size_t rounded_up(size_t x, size_t unit) { return (x + unit - 1) / unit * unit; }

/* The height of the next tile where `left` rows are left: no low tile at the end, which would be slow. */
static unsigned next_height(size_t left)
{
    if (left <= TILE_M)
        return (unsigned)left;
    return left <= TILE_M + TILE_M / 3 ? TILE_M - TILE_M / 3 : TILE_M;
}

/* x in as few nearly equal shares of at most `most` as there can be; if in several, then each a multiple of `unit`. */
static size_t share(size_t x, size_t most, size_t unit)
{
    if (x <= most)
        return x;
    most = most < unit ? unit : most / unit * unit;
    size_t shares = (x + most - 1) / most, each = (x + shares - 1) / shares;
    return (each + unit - 1) / unit * unit;
}

/* A piece of the product: rows, columns and terms. */
struct block {
    const struct gemm *g;
    size_t m0, k0, n0, rows, depth, columns;
    size_t tall; /* terms of a tile */
    float *a;    /* where to pack rows; null: they are taken as they lie */
    float *b;
    float *sums;     /* [M][TILE_N], for tiles that are narrower */
    int keeps_b;     /* panels of b are packed by the first rows, for all; else each is packed, used and forgotten */
    size_t together; /* columns of the panels that rows pass over at a time */
    size_t piece;    /* terms of all those panels are packed before the next so many */
};

/* Rows i and so on, columns j and so on, terms k and so on of a block; a, b: where those rows and columns begin. */
static void run_in_block(const struct block *block, size_t i, unsigned mr, size_t j, size_t k, const float *a,
                         const float *b, const float *ahead)
{
    const struct gemm *g = block->g;
    ptrdiff_t m = (ptrdiff_t)(block->m0 + i), n = (ptrdiff_t)(block->n0 + j);
    size_t depth = least(block->depth - k, block->tall);
    struct tile t = {
        .depth = depth,
        .a = a,
        .packed = block->a != NULL,
        .a_m = g->a_m,
        .b = b,
        .ahead = ahead,
        .rows = ahead ? g->rows + block->k0 + k : NULL,
        .c = g->out + m * g->o_m + n,
        .c_m = g->o_m,
        .first = block->k0 + k == 0,
        .last = block->k0 + k + depth == g->K,
        .bias = g->bias ? g->bias + m * g->bias_m + n * g->bias_n : NULL,
        .bias_m = g->bias_m,
        .bias_n = g->bias_n,
        .add = g->add ? g->add + m * g->o_m + n : NULL,
        .relu = g->relu,
    };
    make_tile(&t, mr, (unsigned)least(block->columns - j, TILE_N), block->sums + m * TILE_N);
}

/* Fetches where the sums of the tile at row i, column j will be put, and what is added to them: rows so far apart no
 * processor foresees. */
static void expect_sums(const struct block *block, size_t i, size_t j)
{
    const struct gemm *g = block->g;
    ptrdiff_t at = (ptrdiff_t)(block->m0 + i) * g->o_m + (ptrdiff_t)(block->n0 + j);
    for (size_t left = least(block->rows - i, TILE_M); left; left--, at += g->o_m) {
        __builtin_prefetch(g->out + at, 1);
        __builtin_prefetch(g->out + at + LANES, 1);
        if (g->add) {
            __builtin_prefetch(g->add + at);
            __builtin_prefetch(g->add + at + LANES);
        }
    }
}

/* Of columns [j, j + columns) and terms [k, k + depth), whose panels are packed at `panels`: the tiles of all rows. */
static void run_panels(const struct block *block, size_t j, size_t columns, size_t k, size_t depth, const float *panels)
{
    const struct gemm *g = block->g;
    /* The next panel may come from far away, even from another core's cache, and is not read in a row: each of the
     * first tiles fetches one of its lines. */
    size_t next = block->n0 + j + columns, tile = 0;
    const float *ahead = g->place && block->m0 == 0 && next < g->N ? g->place(g->b, next) : NULL;
    for (size_t i = 0; i < block->rows;) {
        unsigned mr = next_height(block->rows - i);
        for (size_t n = 0; n < columns; n += TILE_N, tile++) {
            int is_last = n + TILE_N >= columns;
            if (columns <= NEAR_COLUMNS)
                expect_sums(block, is_last ? i + mr : i, is_last ? j : j + n + TILE_N);
            run_in_block(block, i, mr, j + n, k, block->a + k * block->rows + i * depth, panels + n * depth,
                         ahead && tile * LANES <= columns ? ahead + tile * LANES : NULL);
        }
        i += mr;
    }
}

/* Packs columns [j, j + columns) and terms [k, k + depth) at `panels`. */
static void pack_columns(const struct block *block, size_t j, size_t columns, size_t k, size_t depth, float *panels)
{
    const struct gemm *g = block->g;
    for (size_t done = 0; done < depth; done += block->piece)
        for (size_t n = 0; n < columns; n += TILE_N)
            g->pack(g->b, panels + n * depth + done * TILE_N, block->k0 + k + done, least(depth - done, block->piece),
                    block->n0 + j + n, least(columns - n, TILE_N));
}

/* A few panels of b, in the nearest cache, at a time: all rows pass over them. */
static void run_packed(const struct block *block)
{
    const struct gemm *g = block->g;
    const float *a = g->a + (ptrdiff_t)block->m0 * g->a_m + (ptrdiff_t)block->k0 * g->a_k;
    for (size_t k = 0; k < block->depth; k += block->tall) {
        size_t depth = least(block->depth - k, block->tall);
        for (size_t i = 0; i < block->rows;) {
            unsigned mr = next_height(block->rows - i);
            pack_rows(a + (ptrdiff_t)i * g->a_m + (ptrdiff_t)k * g->a_k, g->a_m, g->a_k,
                      block->a + k * block->rows + i * depth, depth, mr);
            i += mr;
        }
    }
    for (size_t j = 0, columns; j < block->columns; j += columns) {
        columns = least(block->columns - j, block->together);
        for (size_t k = 0; k < block->depth; k += block->tall) {
            size_t depth = least(block->depth - k, block->tall);
            float *panels = block->b + (block->keeps_b ? j * block->depth + k * rounded_up(columns, TILE_N) : 0);
            if (!block->keeps_b || block->m0 == 0)
                pack_columns(block, j, columns, k, depth, panels);
            run_panels(block, j, columns, k, depth, panels);
        }
    }
}

/* Few columns: rows by rows of a, as they lie, pass over the few panels of b. */
static void run_rows(const struct block *block)
{
    const struct gemm *g = block->g;
    for (size_t k = 0; k < block->depth; k += block->tall) {
        size_t depth = least(block->depth - k, block->tall);
        const float *a = g->a + (ptrdiff_t)block->m0 * g->a_m + (ptrdiff_t)(block->k0 + k);
        for (size_t j = 0; j < block->columns; j += TILE_N)
            g->pack(g->b, block->b + j * depth, block->k0 + k, depth, block->n0 + j, least(block->columns - j, TILE_N));
        for (size_t i = 0; i < block->rows;) {
            unsigned mr = next_height(block->rows - i);
            for (size_t j = 0; j < block->columns; j += TILE_N)
                run_in_block(block, i, mr, j, k, a + (ptrdiff_t)i * g->a_m, block->b + j * depth, NULL);
            i += mr;
        }
    }
}

/* Several rows of a, as they lie, times panels that are ready; 0 if there is no memory. */
static int tiled_rows(const struct gemm *g, struct fast_scratch *s)
{
    float *sums = fast_buffer_get(&s->packed, sizeof(float) * g->M * TILE_N);
    struct block block = {.g = g, .rows = g->M, .depth = g->K, .columns = g->N, .tall = g->K, .sums = sums};
    for (size_t j = 0; sums && j < g->N; j += TILE_N)
        for (size_t i = 0; i < g->M;) {
            unsigned mr = next_height(g->M - i);
            run_in_block(&block, i, mr, j, 0, g->a + (ptrdiff_t)i * g->a_m, g->tiles + j * g->K, NULL);
            i += mr;
        }
    return sums != NULL;
}

int gemm(const struct gemm *g, struct fast_scratch *s)
{
    if (g->tiles && g->a_k == 1)
        return tiled_rows(g, s);
    if (g->pack == pack_matrix && (narrow_rows(g) || equal_columns(g) || (g->M <= FEW_ROWS && few_rows(g))))
        return 1;
    int has_long_rows = g->N >= LONG_ROW && g->pack == pack_matrix && ((const struct matrix *)g->b)->n == 1;
    if (has_long_rows && g->M <= SEVERAL_ROWS)
        return several_rows(g, s);
    /* Packing a pays once its elements are used often; few columns take rows as they lie. */
    int packs_a = g->a_k != 1 || g->N > ROWS_AS_THEY_LIE;
    size_t tall = share(g->K, packs_a ? DEPTH : DEPTH_OF_ROWS, 1);
    size_t rows = packs_a ? share(g->M, PIECE_M, TILE_M) : g->M,
           piece_k = packs_a ? share(g->K, PIECE_A / rows, tall) : g->K;
    int keeps_b = rows < g->M || !packs_a;
    size_t wide = (g->N + TILE_N - 1) / TILE_N * TILE_N,
           columns = keeps_b && packs_a ? PIECE_B / piece_k / TILE_N * TILE_N : wide;
    columns = least(columns < TILE_N ? TILE_N : columns, wide);
    /* Of few terms, several panels fit the nearest cache: rows of sums are then longer, and sooner foreseen. Where there
     * are more and longer rows of sums than terms, they take more time than the panels, which the next cache may hold. */
    int many_sums = g->M >= MANY_ROWS && g->M > g->K && tall <= DEPTH / 2;
    size_t near = tall <= DEPTH / 4 ? DEPTH / 2 / tall * TILE_N : TILE_N,
           together = least(many_sums ? TOGETHER / tall / TILE_N * TILE_N : near, wide);
    int reads_along = has_long_rows && packs_a && !many_sums;
    if (reads_along)
        together = least(LONG_ROW, wide);
    size_t size_b = keeps_b ? columns * (packs_a ? piece_k : tall) : together * tall;
    /* Behind the packed panels room for one row more, behind the rows for one vector: packing writes whole vectors. */
    size_t size_a = packs_a ? piece_k * rows : 0, size_sums = g->N % TILE_N ? g->M * TILE_N : 0;
    float *packed_b = fast_buffer_get(&s->packed, sizeof(float) * (size_b + TILE_N + size_sums + size_a + LANES));
    if (!packed_b)
        return 0;
    for (size_t n0 = 0; n0 < g->N; n0 += columns)
        for (size_t k0 = 0; k0 < g->K; k0 += piece_k)
            for (size_t m0 = 0; m0 < g->M; m0 += rows) {
                struct block block = {
                    .g = g,
                    .m0 = m0,
                    .k0 = k0,
                    .n0 = n0,
                    .rows = least(g->M - m0, rows),
                    .depth = least(g->K - k0, piece_k),
                    .columns = least(g->N - n0, columns),
                    .tall = tall,
                    .a = packs_a ? packed_b + size_b + TILE_N + size_sums : NULL,
                    .b = packed_b,
                    .sums = packed_b + size_b + TILE_N,
                    .keeps_b = keeps_b,
                    .together = together,
                    .piece = reads_along ? ROWS_READ_ALONG : tall,
                };
                (packs_a ? run_packed : run_rows)(&block);
            }
    return 1;
}

#endif
