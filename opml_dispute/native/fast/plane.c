/* Convolutions of few terms: a tile's columns are neighbours in the layout, whether or not an output belongs there.
 *
 * gemm packs the columns it reads, which takes as long as eight of its rows. Here a term of a tile is two vectors of
 * the layout itself. Where a tile reaches over the end of a row of outputs, what lies between the rows is made too and
 * not stored. */
#include "plane.h"
#include "vectors.h"

#if LANES

/* Rows of a tile, and so output channels. */
#if LANES == 16
#define PLANE_ROWS 14
#else
#define PLANE_ROWS TILE_M
#endif

/* How a tile gets its columns: from where they lie; so, and keeps them for the rows below; or those that were kept. */
enum reading { LYING, KEEPING, KEPT, READINGS };

struct plane_tile {
    u64 depth;
    const float *rows; /* packed [depth][height] */
    const float *x;    /* the first column */
    const i64 *terms;  /* where each term lies behind it */
    float *out;
    i64 o_m;
    const float *bias; /* or null */
    const float *add;  /* or null; lies like out */
    int relu;
    const float *ahead; /* null, or what to fetch for later, as x */
    float *kept;        /* [depth][TILE_N], or null: none are */
};

/* Nothing is read from `t` after a store, which could have changed it, as the compiler sees it. `usual`: there is a bias,
 * and nothing is added. */
INLINE void finish_sums(const struct plane_tile *t, vec sum[PLANE_ROWS][2], unsigned height, unsigned nv, int usual)
{
    const float *bias = t->bias, *add = usual ? NULL : t->add;
    float *out = t->out;
    i64 o_m = t->o_m;
    ending end = ending_of(t->relu);
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < height; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++) {
            vec y = sum[i][v];
            if (usual || bias)
                y += bias[i];
            if (add)
                y += *(const vec *)(add + (i64)i * o_m + v * LANES);
            *(vec *)(out + (i64)i * o_m + v * LANES) = ended(y, end);
        }
}

INLINE void run_tile(const struct plane_tile *t, unsigned height, unsigned nv, enum reading reading)
{
    vec sum[PLANE_ROWS][2];
    const float *row = t->rows;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < height; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++) {
            sum[i][v] = (vec){0};
            __builtin_prefetch(t->out + (i64)i * t->o_m + v * LANES, 1);
        }
    for (u64 k = 0; k < t->depth; k++, row += height) {
        const float *x = reading == KEPT ? t->kept + k * TILE_N : t->x + t->terms[k];
        vec column[2];
        if (reading != KEPT && t->ahead) {
            __builtin_prefetch(t->ahead + t->terms[k]);
            __builtin_prefetch(t->ahead + t->terms[k] + LANES);
        }
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            column[v] = *(const vec *)(x + v * LANES);
        if (reading == KEEPING)
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < nv; v++)
                *(vec *)(t->kept + k * TILE_N + v * LANES) = column[v];
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < height; i++) {
            vec weight = row[i] - (vec){0}; /* in every lane: x - 0 is x, also for -0 */
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < nv; v++)
                sum[i][v] = __builtin_elementwise_fma(weight, column[v], sum[i][v]);
        }
    }
    if (t->bias && !t->add)
        finish_sums(t, sum, height, nv, 1);
    else
        finish_sums(t, sum, height, nv, 0);
}

#define FOR_EACH_HEIGHT_TO_6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#if PLANE_ROWS >= 8
#define FOR_EACH_HEIGHT_TO_8(X) X(7) X(8)
#else
#define FOR_EACH_HEIGHT_TO_8(X)
#endif
#if PLANE_ROWS >= 14
#define FOR_EACH_HEIGHT_TO_14(X) X(9) X(10) X(11) X(12) X(13) X(14)
#else
#define FOR_EACH_HEIGHT_TO_14(X)
#endif
#define FOR_EACH_HEIGHT(X) FOR_EACH_HEIGHT_TO_6(X) FOR_EACH_HEIGHT_TO_8(X) FOR_EACH_HEIGHT_TO_14(X)

#define TILE_FUNCTIONS(N)                                                                                              \
    static void lying_##N##_1(const struct plane_tile *t) { run_tile(t, N, 1, LYING); }                                \
    static void lying_##N##_2(const struct plane_tile *t) { run_tile(t, N, 2, LYING); }                                \
    static void keeping_##N##_1(const struct plane_tile *t) { run_tile(t, N, 1, KEEPING); }                            \
    static void keeping_##N##_2(const struct plane_tile *t) { run_tile(t, N, 2, KEEPING); }                            \
    static void kept_##N##_1(const struct plane_tile *t) { run_tile(t, N, 1, KEPT); }                                  \
    static void kept_##N##_2(const struct plane_tile *t) { run_tile(t, N, 2, KEPT); }
FOR_EACH_HEIGHT(TILE_FUNCTIONS)

typedef void tile_function(const struct plane_tile *t);
/* clang-format off */
static tile_function *const tiles[PLANE_ROWS][READINGS][2] = { /* [height - 1][reading][vectors - 1] */
#define TILE_ROW(N) {{lying_##N##_1, lying_##N##_2}, {keeping_##N##_1, keeping_##N##_2}, {kept_##N##_1, kept_##N##_2}},
    FOR_EACH_HEIGHT(TILE_ROW)
};
/* clang-format on */

/* Elements from one row of positions to the next in the layout. */
static u64 pitch_of(const struct layout *l) { return (u64)(l->output[1] == 1 ? l->output[2] : l->pitch[1]); }

/* More rows pass over what gemm packed often enough; if tiles keep columns, theirs pass as often over these, while packed
 * weights fit the second-level cache. More terms of a tile do not fit the nearest. */
#define ROWS_MOST    128
#define WEIGHTS_MOST (256 * 1024)
#define TERMS_MOST   512
/* What gemm takes to pack a column, as rows. Measured. */
#define PACKING 12
/* From so many terms on that lie so many floats apart, no processor foresees the next tile's. */
#define MANY_TERMS 16
#define FAR_TERMS  128

/* Tiles of rows from which on columns are kept, where each term of them is in another channel: no line of the cache
 * serves two terms, and few lines of so regular an order are in the nearest cache at a time. */
#define KEEPING_TILES 3

static u64 tiles_of_rows(u64 M) { return (M + PLANE_ROWS - 1) / PLANE_ROWS; }

int plane_is_worth(const struct layout *l, u64 M, u64 K, int one_tap)
{
    return l->output[0] == 1 && K <= TERMS_MOST && (M <= ROWS_MOST || (one_tap && M * K <= WEIGHTS_MOST)) &&
           M * pitch_of(l) <= (M + PACKING) * (u64)l->output[2];
}

/* Lanes [first, end) of a vector of a tile's columns that are outputs; lane i is position `position` + i. */
struct run {
    unsigned vector, first, end;
    i64 position;
};
struct runs {
    unsigned count;
    struct run run[TILE_N];
};

/* Of columns [f, f + n) of the layout, those before position `end`. */
static void find_runs(struct runs *found, const struct layout *l, u64 f, unsigned n, u64 end)
{
    u64 pitch = pitch_of(l), width = (u64)l->output[2];
    found->count = 0;
    for (unsigned i = 0; i < n;) {
        u64 row = (f + i) / pitch, column = (f + i) % pitch;
        if (column >= width) {
            i += (unsigned)(pitch - column < n - i ? pitch - column : n - i);
            continue;
        }
        u64 p = row * width + column;
        if (p >= end)
            return;
        unsigned lane = i % LANES, vector = i / LANES;
        u64 count = width - column < LANES - lane ? width - column : LANES - lane;
        count = count < end - p ? count : end - p;
        count = count < n - i ? count : n - i;
        found->run[found->count++] = (struct run){vector, lane, lane + (unsigned)count, (i64)p - (i64)lane};
        i += (unsigned)count;
    }
}

/* A tile some of whose columns are not outputs. */
static void run_scattered(struct plane_tile *t, const struct runs *runs, unsigned height, unsigned nv,
                          enum reading reading, float *out, const float *add, i64 o_m)
{
    float sums[PLANE_ROWS * TILE_N];
    int relu = t->relu;
    t->out = sums;
    t->o_m = TILE_N;
    t->relu = relu && !add;
    tiles[height - 1][reading][nv - 1](t);
    for (unsigned j = 0; j < runs->count; j++) {
        const struct run *p = &runs->run[j];
        float *to = out + p->position;
        const float *from = sums + p->vector * LANES, *with = add ? add + p->position : NULL;
        for (unsigned i = 0; i < height; i++, from += TILE_N, to += o_m) {
            vec y = *(const vec *)from;
            if (with) {
                y = canonical_vec(y + load_lanes(with, p->first, p->end));
                y = relu ? relu_vec(y) : y;
                with += o_m;
            }
            store_lanes(to, y, p->first, p->end);
        }
    }
}

/* Columns of the layout whose tiles are run for some channels before they are for the next: what these columns read then
 * stays near, and a channel's outputs are stored side by side. */
#define BAND 256
/* Floats of them that are kept at most. */
#define KEPT_MOST (32 * 1024)

static u64 band_of(u64 K, int keeps)
{
    u64 band = BAND;
    while (keeps && band > TILE_N && band * K > KEPT_MOST)
        band /= 2;
    return band;
}

/* Columns [f, stop) and what of the last tile lies beyond, of the `rows` channels that begin with channel m; `last`: where
 * the columns end at position `end`. `kept`: where the first channels keep what they read for the others, or null. Answers
 * where the next column is. */
static u64 run_band(const struct plane *c, const float *packed, float *kept, u64 m, u64 rows, u64 f, u64 stop, u64 last,
                    u64 end)
{
    const struct layout *l = c->layout;
    u64 pitch = pitch_of(l), width = (u64)l->output[2], row = f / pitch, column = f % pitch;
    int far = l->channel >= FAR_TERMS && c->K >= MANY_TERMS;
    /* Rows of nearly whole vectors: no tile goes from one to the next. */
    int apart = (width + LANES - 1) / LANES * LANES <= pitch + pitch / 32;
    float *out = c->out + (i64)m * c->o_m;
    const float *add = c->add ? c->add + (i64)m * c->o_m : NULL;
    enum reading reading = !kept ? LYING : m == 0 ? KEEPING : KEPT;
    while (f < stop) {
        u64 reach = apart ? width - column : last - f;
        unsigned n = reach < TILE_N ? (unsigned)reach : TILE_N, nv = n > LANES ? 2 : 1;
        n = last - f < n ? (unsigned)(last - f) : n;
        struct plane_tile t = {.depth = c->K,
                               .rows = packed + m * c->K,
                               .x = c->at + f,
                               .terms = l->offset,
                               .bias = c->bias ? c->bias + m : NULL,
                               .relu = c->relu,
                               .ahead = far && m == 0 ? c->at + f + TILE_N : NULL,
                               .kept = kept};
        kept += kept ? c->K * TILE_N : 0;
        if (n == nv * LANES && column + n <= width) {
            t.out = out + row * width + column;
            t.o_m = c->o_m;
            t.add = add ? add + row * width + column : NULL;
            tiles[rows - 1][reading][nv - 1](&t);
        } else {
            struct runs runs;
            find_runs(&runs, l, f, n, end);
            run_scattered(&t, &runs, (unsigned)rows, nv, reading, out, add, c->o_m);
        }
        f += n;
        column += n;
        if (column >= width) { /* on to the first column of a row */
            u64 beyond = column < pitch ? 0 : column - pitch;
            f += column < pitch ? pitch - column : 0;
            row += 1 + beyond / pitch;
            column = beyond % pitch;
        }
    }
    return f;
}

int plane_run(const struct plane *c, u64 p, u64 end, struct fast_scratch *s)
{
    u64 tall = tiles_of_rows(c->M), height = (c->M + tall - 1) / tall;
    /* Where rows of positions follow one another without a gap, a tile is TILE_N columns, and a band as many tiles. */
    int keeps = c->one_tap && tall >= KEEPING_TILES && c->layout->output[1] == 1;
    u64 band = band_of(c->K, keeps), rows_size = (c->M * c->K + 2 * LANES - 1) / LANES * LANES;
    float *packed = fast_buffer_get(&s->packed, (rows_size + (keeps ? band * c->K : 0)) * sizeof(float));
    if (!packed)
        return 0;
    for (u64 m = 0, rows; m < c->M; m += rows) {
        rows = c->M - m < height ? c->M - m : height;
        pack_rows(c->weights + m * c->K, (i64)c->K, 1, packed + m * c->K, c->K, (unsigned)rows);
    }
    u64 f = (u64)position_offset(c->layout, p), last = (u64)position_offset(c->layout, end - 1) + 1;
    for (u64 next = f; f < last; f = next)
        for (u64 m = 0, rows; m < c->M; m += rows) {
            rows = c->M - m < height ? c->M - m : height;
            next = run_band(c, packed, keeps ? packed + rows_size : NULL, m, rows, f, last - f < band ? last : f + band,
                            last, end);
        }
    return 1;
}

#endif
