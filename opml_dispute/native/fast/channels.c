/* Products with output channels in the lanes of vectors; every sum in the order of the plain kernel. */
#include "channels.h"
#include "vectors.h"

#if LANES

/* Sums are put down and taken up again every DEPTH terms, so that a piece of a panel and what a tile reads stay in the
 * nearest cache. */
#define DEPTH 192
/* Floats from one term to the next of what a tile reads, packed: whole vectors. */
#define PITCH ((TILE_POSITIONS + LANES - 1) / LANES * LANES)
/* Floats of the sums that are put down at a time. */
#define SUMS_MOST (128u * 1024)

/* A register tile over a piece of the terms. */
struct channel_tile {
    u64 depth;
    const float *panel; /* [depth][TILE_N] */
    const float *ahead; /* null, or what panel to fetch for later */
    const float *x;     /* [depth][PITCH] */
    float *sums;        /* [positions][TILE_N] */
    int first;
};

INLINE void run_tile(const struct channel_tile *t, unsigned positions, unsigned nv)
{
    vec sum[TILE_POSITIONS][2];
    const float *panel = t->panel, *x = t->x;
    i64 ahead = t->ahead ? t->ahead - panel : 0;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < positions; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            sum[i][v] = t->first ? (vec){0} : *(const vec *)(t->sums + i * TILE_N + v * LANES);
    for (u64 k = t->depth; k; k--, panel += TILE_N, x += PITCH) {
        vec weights[2];
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            weights[v] = *(const vec *)(panel + v * LANES);
        if (ahead)
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < nv; v++)
                __builtin_prefetch(panel + ahead + v * LANES, 0, 2);
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < positions; i++) {
            vec number = x[i] - (vec){0}; /* in every lane: x - 0 is x, also for -0 */
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < nv; v++)
                sum[i][v] = __builtin_elementwise_fma(number, weights[v], sum[i][v]);
        }
    }
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < positions; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            *(vec *)(t->sums + i * TILE_N + v * LANES) = sum[i][v];
}

#define FOR_EACH_HEIGHT_TO_6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#if TILE_POSITIONS >= 8
#define FOR_EACH_HEIGHT_TO_8(X) X(7) X(8)
#else
#define FOR_EACH_HEIGHT_TO_8(X)
#endif
#if TILE_POSITIONS >= 14
#define FOR_EACH_HEIGHT_TO_14(X) X(9) X(10) X(11) X(12) X(13) X(14)
#else
#define FOR_EACH_HEIGHT_TO_14(X)
#endif
#define FOR_EACH_HEIGHT(X) FOR_EACH_HEIGHT_TO_6(X) FOR_EACH_HEIGHT_TO_8(X) FOR_EACH_HEIGHT_TO_14(X)

#define TILE_FUNCTIONS(N)                                                                                              \
    static void tile_##N##_1(const struct channel_tile *t) { run_tile(t, N, 1); }                                      \
    static void tile_##N##_2(const struct channel_tile *t) { run_tile(t, N, 2); }
FOR_EACH_HEIGHT(TILE_FUNCTIONS)

typedef void tile_function(const struct channel_tile *t);
/* clang-format off */
static tile_function *const tiles[TILE_POSITIONS][2] = { /* [positions - 1][vectors - 1] */
#define TILE_ROW(N) {tile_##N##_1, tile_##N##_2},
    FOR_EACH_HEIGHT(TILE_ROW)
};
/* clang-format on */

/* Fewer channels leave too many lanes empty. */
#define LEAST_CHANNELS 8

/* Both costs in steps for a position and a term: of panels, half panels and packing here, and of gemm's tiles. */
int channels_are_worth(u64 M, u64 K, u64 positions)
{
    u64 left = M % TILE_N, wide = (positions + LANES - 1) / LANES * LANES;
    if (M < LEAST_CHANNELS || K == 0 || positions == 0)
        return 0;
    double by_channels = (double)(M / TILE_N) + (left > LANES ? 1.0 : left ? 0.6 : 0.0) + 2.0 / TILE_POSITIONS;
    double by_positions = ((double)M + 3.0) / TILE_N * (double)wide / (double)positions;
    return by_channels <= by_positions;
}

/* What n positions read in `depth` terms that lie side by side, as [depth][PITCH]. */
static void pack_terms(const float *const in[], unsigned n, u64 first, u64 depth, float *to)
{
    u64 k = 0;
    for (; k + LANES <= depth; k += LANES)
        for (unsigned i = 0; i < n; i += LANES) {
            vec row[LANES];
#pragma clang loop unroll(full)
            for (unsigned j = 0; j < LANES; j++)
                row[j] = i + j < n ? *(const vec *)(in[i + j] + first + k) : (vec){0};
            transpose(row);
#pragma clang loop unroll(full)
            for (unsigned j = 0; j < LANES; j++)
                *(vec *)(to + (k + j) * PITCH + i) = row[j];
        }
    for (; k < depth; k++)
        for (unsigned i = 0; i < n; i++)
            to[k * PITCH + i] = in[i][first + k];
}

/* What positions [i, i + n) of a block read in `depth` terms, as [depth][PITCH]. Runs of neighbours are read in whole
 * vectors; what goes over is overwritten by the next run or the next term, or lies behind the positions. */
static void pack_tile(const struct block_of_positions *b, unsigned i, unsigned n, const i64 *terms, u64 depth,
                      float *to)
{
    const float *from[TILE_POSITIONS];
    unsigned start[TILE_POSITIONS], runs = 0;
    for (unsigned j = 0; j < n; j++)
        if (j == 0 || b->in[i + j] != b->in[i + j - 1] + 1) {
            from[runs] = b->in[i + j];
            start[runs++] = j;
        }
    for (u64 k = 0; k < depth; k++, to += PITCH) {
        if (runs == 1) {
            for (unsigned v = 0; v < PITCH; v += LANES)
                *(vec *)(to + v) = *(const vec *)(from[0] + terms[k] + v);
            continue;
        }
        for (unsigned run = 0; run < runs; run++)
            for (unsigned v = 0; start[run] + v < n; v += LANES)
                *(vec *)(to + start[run] + v) = *(const vec *)(from[run] + terms[k] + v);
    }
}

/* Stores n outputs of one channel, whose sums lie side by side in y; `out`: the positions' places. */
INLINE void store_channel(const struct channels *c, u64 m, vec y, const i64 *out, unsigned n, int beside)
{
    i64 at = (i64)m * c->o_m;
    if (c->bias)
        y += c->bias[m];
    if (beside) {
        if (c->add)
            y += load_some(c->add + at + out[0], n);
        y = canonical_vec(y);
        store_some(c->out + at + out[0], c->relu ? relu_vec(y) : y, n);
        return;
    }
    float flat[LANES];
    *(vec *)flat = y;
    for (unsigned i = 0; i < n; i++) {
        float x = canonical(c->add ? flat[i] + c->add[at + out[i]] : flat[i]);
        c->out[at + out[i]] = c->relu && x < 0 ? 0.0f : x;
    }
}

/* Finishes the sums of a tile: lanes [lane, end) of the panel that begins with channel m. */
static void finish_tile(const struct channels *c, u64 m, unsigned lane, unsigned end, const float *sums, const i64 *out,
                        unsigned positions)
{
    for (unsigned i = 0; i < positions; i += LANES) {
        unsigned n = positions - i < LANES ? positions - i : LANES;
        int beside = 1;
        for (unsigned j = 1; j < n; j++)
            beside &= out[i + j] == out[i] + (i64)j;
        for (unsigned v = 0; v < 2; v++) {
            unsigned from = v * LANES > lane ? v * LANES : lane, to = (v + 1) * LANES < end ? (v + 1) * LANES : end;
            if (from >= to)
                continue;
            vec row[LANES];
#pragma clang loop unroll(full)
            for (unsigned j = 0; j < LANES; j++)
                row[j] = j < n ? *(const vec *)(sums + (i + j) * TILE_N + v * LANES) : (vec){0};
            transpose(row);
            for (unsigned j = from; j < to; j++)
                store_channel(c, m + j, row[j - v * LANES], out + i, n, beside);
        }
    }
}

/* Positions [first, first + count) of a block, in tiles of `height`. `packed`, `sums`: room for them. */
static void run_some(const struct channels *c, u64 m, u64 end, const struct block_of_positions *b, unsigned first,
                     unsigned count, unsigned height, float *packed, float *sums)
{
    u64 pieces = (c->K + DEPTH - 1) / DEPTH, depth = (c->K + pieces - 1) / pieces, m0 = m / TILE_N * TILE_N;
    for (u64 k = 0, terms; k < c->K; k += terms) {
        terms = c->K - k < depth ? c->K - k : depth;
        for (unsigned i = 0, n; i < count; i += n) {
            n = count - i < height ? count - i : height;
            float *to = packed + i / height * depth * PITCH;
            if (c->terms)
                pack_tile(b, first + i, n, c->terms + k, terms, to);
            else
                pack_terms(b->in + first + i, n, k, terms, to);
        }
        for (u64 panel = m0; panel < end; panel += TILE_N) {
            unsigned lane = m > panel ? (unsigned)(m - panel) : 0,
                     lanes = end - panel < TILE_N ? (unsigned)(end - panel) : TILE_N;
            const float *at = c->panels + panel * c->K + k * TILE_N;
            const float *next = panel + TILE_N < end ? at + c->K * TILE_N
                                                     : c->panels + m0 * c->K + (k + terms) * TILE_N;
            for (unsigned i = 0, n; i < count; i += n) {
                n = count - i < height ? count - i : height;
                struct channel_tile t = {.depth = terms,
                                         .panel = at,
                                         .ahead = i == 0 ? next : NULL,
                                         .x = packed + i / height * depth * PITCH,
                                         .sums = sums + ((panel - m0) * count + i * TILE_N),
                                         .first = k == 0};
                tiles[n - 1][lanes > LANES](&t);
                if (k + terms == c->K)
                    finish_tile(c, panel, lane, lanes, t.sums, b->out + first + i, n);
            }
        }
    }
}

int channels_run(const struct channels *c, u64 m, u64 end, const struct block_of_positions *b, struct fast_scratch *s)
{
    u64 channels = (end + TILE_N - 1) / TILE_N * TILE_N - m / TILE_N * TILE_N;
    unsigned most = (unsigned)(SUMS_MOST / channels / TILE_POSITIONS * TILE_POSITIONS);
    most = most < TILE_POSITIONS ? TILE_POSITIONS : most < BLOCK_POSITIONS ? most : BLOCK_POSITIONS;
    u64 depth = c->K < DEPTH ? c->K : DEPTH, packed = most / TILE_POSITIONS * depth * PITCH + LANES;
    float *memory = fast_buffer_get(&s->packed, (packed + channels * most) * sizeof(float));
    if (!memory)
        return 0;
    for (unsigned i = 0, count; i < b->count; i += count) {
        count = b->count - i < most ? b->count - i : most;
        unsigned tiles_high = (count + TILE_POSITIONS - 1) / TILE_POSITIONS,
                 height = (count + tiles_high - 1) / tiles_high;
        run_some(c, m, end, b, i, count, height, memory, memory + packed);
    }
    return 1;
}

void channels_pack(const float *rows, i64 apart, i64 step, u64 M, u64 K, float *to)
{
    for (u64 m = 0; m < M; m += TILE_N, to += K * TILE_N) {
        u64 n = M - m < TILE_N ? M - m : TILE_N, k = 0;
        const float *from = rows + (i64)m * apart;
        for (; step == 1 && n == TILE_N && k + LANES <= K; k += LANES)
            for (unsigned v = 0; v < 2; v++) {
                vec row[LANES];
#pragma clang loop unroll(full)
                for (unsigned i = 0; i < LANES; i++)
                    row[i] = *(const vec *)(from + (i64)(v * LANES + i) * apart + (i64)k);
                transpose(row);
#pragma clang loop unroll(full)
                for (unsigned i = 0; i < LANES; i++)
                    *(vec *)(to + (k + i) * TILE_N + v * LANES) = row[i];
            }
        for (; k < K; k++)
            for (u64 i = 0; i < TILE_N; i++)
                to[k * TILE_N + i] = i < n ? from[(i64)i * apart + (i64)k * step] : 0.0f;
    }
}

#endif
