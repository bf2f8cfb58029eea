/* Products with output channels in the lanes of vectors; every sum in the order of the plain kernel. */
#include "channels.h"
#include "vectors.h"

#if LANES

/* Sums are put down and taken up again every so many terms, so that a piece of a panel and what a tile reads stay in the
 * nearest cache. A window of one tap reads a piece as well from the next one, in a row. Measured. */
#define DEPTH      192
#define DEPTH_MOST 576
/* Floats from one term to the next of what a tile reads, packed: whole vectors. */
#define PITCH ((TILE_POSITIONS + LANES - 1) / LANES * LANES)
/* Floats of the sums that are put down at a time. */
#define SUMS_MOST (128u * 1024)

/* How a tile finds what it reads: packed, [depth][PITCH]; or where it lies, its positions being neighbours, or two runs of
 * neighbours of one length. */
enum reading { PACKED, ONE_RUN, TWO_RUNS, READINGS };

/* A register tile over a piece of the terms. */
struct channel_tile {
    u64 depth;
    const float *panel; /* [depth][TILE_N] */
    const float *ahead; /* from where to fetch the next panel for later, */
    i64 step;           /* and so many floats further for each term */
    const float *x;     /* what is packed, or what the first position reads */
    i64 second;         /* of the second run of positions, behind the first */
    const i64 *terms;   /* of what is not packed: where each term lies */
    const float *next;  /* null, or from where to fetch `next_terms` for later, as many as there are terms */
    const i64 *next_terms;
    float *sums; /* [positions][TILE_N] */
    int first;
};

INLINE void run_tile(const struct channel_tile *t, unsigned positions, unsigned nv, enum reading reading)
{
    vec sum[TILE_POSITIONS][2];
    const float *panel = t->panel, *x = t->x, *second = t->x + t->second;
    /* Where nothing is to be fetched, what is read now is: no step of a term has to ask. */
    const float *next = t->next ? t->next : x;
    const i64 *terms = t->terms, *next_terms = t->next ? t->next_terms : terms;
    const float *ahead = t->ahead;
    i64 step = t->step;
    u64 depth = t->depth;
    unsigned run = reading == TWO_RUNS ? positions / 2 : positions;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < positions; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            sum[i][v] = t->first ? (vec){0} : *(const vec *)(t->sums + i * TILE_N + v * LANES);
#pragma clang loop unroll_count(2)
    for (u64 k = 0; k < depth; k++, panel += TILE_N) {
        vec weights[2];
        i64 term = reading == PACKED ? (i64)k * PITCH : terms[k];
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < nv; v++)
            weights[v] = *(const vec *)(panel + v * LANES);
        __builtin_prefetch(ahead, 0, 2);
        ahead += step;
        if (reading != PACKED)
            __builtin_prefetch(next + next_terms[k], 0, 2);
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < positions; i++) {
            const float *at = i < run ? x + term + i : second + term + (i - run);
            vec number = *at - (vec){0}; /* in every lane: x - 0 is x, also for -0 */
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
    static void tile_##N##_1(const struct channel_tile *t) { run_tile(t, N, 1, PACKED); }                              \
    static void tile_##N##_2(const struct channel_tile *t) { run_tile(t, N, 2, PACKED); }                              \
    static void one_##N##_1(const struct channel_tile *t) { run_tile(t, N, 1, ONE_RUN); }                              \
    static void one_##N##_2(const struct channel_tile *t) { run_tile(t, N, 2, ONE_RUN); }                              \
    static void two_##N##_1(const struct channel_tile *t) { run_tile(t, N, 1, TWO_RUNS); }                             \
    static void two_##N##_2(const struct channel_tile *t) { run_tile(t, N, 2, TWO_RUNS); }
FOR_EACH_HEIGHT(TILE_FUNCTIONS)

typedef void tile_function(const struct channel_tile *t);
/* clang-format off */
static tile_function *const tiles[TILE_POSITIONS][READINGS][2] = { /* [positions - 1][reading][vectors - 1] */
#define TILE_ROW(N) {{tile_##N##_1, tile_##N##_2}, {one_##N##_1, one_##N##_2}, {two_##N##_1, two_##N##_2}},
    FOR_EACH_HEIGHT(TILE_ROW)
};
/* clang-format on */

static u64 least(u64 x, u64 y) { return x < y ? x : y; }

static u64 most_terms(const struct channels *c) { return least(c->K, c->one_tap ? DEPTH_MOST : DEPTH); }

/* Fewer channels leave too many lanes empty. */
#define LEAST_CHANNELS 8

/* What a position costs beside the steps of its terms: here to put a panel's sums in their places, and, of a window of
 * several taps, to pack for gemm. Measured, as are the costs of half panels. */
#define PANEL_ENDS   30.0
#define WINDOW_PACKS 8.0
/* Shorter rows of positions may have to be packed. */
#define SHORTEST_ROW 4

/* Both costs in steps for a position and a term: of panels, half panels and packing here, and of gemm's tiles. */
int channels_are_worth(u64 M, u64 K, u64 positions, u64 taps, u64 row)
{
    u64 left = M % TILE_N, wide = (positions + LANES - 1) / LANES * LANES;
    if (M < LEAST_CHANNELS || K == 0 || positions == 0)
        return 0;
    int as_they_lie = taps > 1 && row >= SHORTEST_ROW;
    double panels = (double)(M / TILE_N) + (left > LANES ? 1.0 : left == 0 ? 0.0 : as_they_lie ? 0.7 : 0.6);
    double by_channels = as_they_lie ? panels * (1.0 + PANEL_ENDS / (double)K) : panels + 2.0 / TILE_POSITIONS;
    double by_positions = ((double)M + (as_they_lie ? WINDOW_PACKS : 3.0)) / TILE_N * (double)wide / (double)positions;
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

/* Finishes the sums of n positions of LANES channels from m on, where the positions lie side by side from `out` on.
 * Nothing is read from `c` after a store, which could have changed it, as the compiler sees it. */
INLINE void finish_square(const struct channels *c, u64 m, const float *sums, i64 out, unsigned n, int adds)
{
    i64 at = (i64)m * c->o_m + out, o_m = c->o_m;
    float *to = c->out + at;
    const float *add = adds ? c->add + at : NULL;
    /* x + -0 is x, also for -0, which a sum too small to be told from 0 is. */
    vec bias = c->bias ? *(const vec *)(c->bias + m) : -0.0f - (vec){0};
    ending end = ending_of(c->relu);
    vec row[LANES];
#pragma clang loop unroll(full)
    for (unsigned j = 0; j < LANES; j++)
        row[j] = j < n ? *(const vec *)(sums + j * TILE_N) + bias : (vec){0};
    transpose(row);
#pragma clang loop unroll(full)
    for (unsigned j = 0; j < LANES; j++, to += o_m) {
        vec y = row[j];
        if (adds) {
            y += load_some(add, n);
            add += o_m;
        }
        store_some(to, ended(y, end), n);
    }
}

/* Finishes the sums of some positions: lanes [lane, end) of the panel that begins with channel m. */
static void finish_panel(const struct channels *c, u64 m, unsigned lane, unsigned end, const float *sums,
                         const i64 *out, unsigned positions)
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
            const float *square = sums + i * TILE_N + v * LANES;
            if (beside && to - from == LANES) {
                if (n == LANES && c->add)
                    finish_square(c, m + from, square, out[i], LANES, 1);
                else if (n == LANES)
                    finish_square(c, m + from, square, out[i], LANES, 0);
                else if (c->add)
                    finish_square(c, m + from, square, out[i], n, 1);
                else
                    finish_square(c, m + from, square, out[i], n, 0);
                continue;
            }
            vec row[LANES];
#pragma clang loop unroll(full)
            for (unsigned j = 0; j < LANES; j++)
                row[j] = j < n ? *(const vec *)(square + j * TILE_N) : (vec){0};
            transpose(row);
            for (unsigned j = from; j < to; j++)
                store_channel(c, m + j, row[j - v * LANES], out + i, n, beside);
        }
    }
}

/* A tile of fewer positions takes as long as one of so many. */
#define LEAST_POSITIONS ((TILE_POSITIONS + 1) / 2)

/* The positions of a block, cut into tiles. */
struct cut_tile {
    unsigned first, count;
    enum reading reading;
    i64 second; /* the second run, behind the first */
};
struct cut {
    unsigned tiles;
    int packs; /* what they read is packed */
    struct cut_tile tile[BLOCK_POSITIONS];
};

static void add_tile(struct cut *cut, unsigned first, unsigned count, enum reading reading, i64 second)
{
    cut->tile[cut->tiles++] = (struct cut_tile){first, count, reading, second};
}

/* Neighbours from position i of a block on, before `end`. */
static unsigned run_from(const struct block_of_positions *b, unsigned i, unsigned end)
{
    unsigned n = 1;
    while (i + n < end && b->in[i + n] == b->in[i] + n)
        n++;
    return n;
}

/* `count` positions in tiles of nearly one height. */
static void cut_evenly(struct cut *cut, unsigned first, unsigned count, enum reading reading)
{
    unsigned high = (count + TILE_POSITIONS - 1) / TILE_POSITIONS, height = (count + high - 1) / high;
    for (unsigned i = 0, n; i < count; i += n) {
        n = count - i < height ? count - i : height;
        add_tile(cut, first + i, n, reading, 0);
    }
}

/* Positions [first, end) of a block as runs of neighbours, which are read where they lie; or, if these are many and
 * short, as they come, to be packed. */
static void cut_block(struct cut *cut, const struct block_of_positions *b, unsigned first, unsigned end, int has_terms)
{
    unsigned cost = 0;
    cut->tiles = 0;
    for (unsigned i = first, n; i < end && has_terms; i += n) {
        n = run_from(b, i, end);
        if (2 * n <= TILE_POSITIONS && i + n < end && run_from(b, i + n, end) == n) {
            add_tile(cut, i, 2 * n, TWO_RUNS, b->in[i + n] - b->in[i]);
            n *= 2;
        } else {
            cut_evenly(cut, i, n, ONE_RUN);
        }
    }
    for (unsigned i = 0; i < cut->tiles; i++)
        cost += cut->tile[i].count > LEAST_POSITIONS ? cut->tile[i].count : LEAST_POSITIONS;
    cut->packs = !has_terms || cost > (end - first) * 9 / 8;
    if (cut->packs) {
        cut->tiles = 0;
        cut_evenly(cut, first, end - first, PACKED);
    }
}

/* One piece of the terms: what the tiles of a block read, packed if it has to be. */
static void pack_piece(const struct channels *c, const struct block_of_positions *b, const struct cut *cut, u64 k,
                       u64 terms, u64 depth, float *packed)
{
    for (unsigned i = 0; i < cut->tiles && cut->packs; i++, packed += depth * PITCH) {
        if (c->terms)
            pack_tile(b, cut->tile[i].first, cut->tile[i].count, c->terms + k, terms, packed);
        else
            pack_terms(b->in + cut->tile[i].first, cut->tile[i].count, k, terms, packed);
    }
}

/* Where a panel's sums of a tile will be put, and what is added to them, behind the first: the first and the last line
 * of each channel, which lie so far apart that no processor foresees them. */
static void expect_sums(const struct channels *c, i64 places[DEPTH_MOST])
{
    memset(places, 0, DEPTH_MOST * sizeof *places);
    for (unsigned i = 0; i < TILE_N; i++)
        for (unsigned part = 0; part < (c->add ? 4 : 2); part++)
            places[part * TILE_N + i] = (i64)i * c->o_m + (part % 2 ? TILE_POSITIONS - 1 : 0) +
                                        (part < 2 ? 0 : c->add - c->out);
}

/* The tiles of positions [first, end) of a block. `packed`, `sums`: room for them. */
static void run_some(const struct channels *c, u64 m, u64 last, const struct block_of_positions *b, unsigned first,
                     unsigned end, float *packed, float *sums)
{
    struct cut cut;
    cut_block(&cut, b, first, end, c->terms != NULL);
    u64 most = most_terms(c), pieces = (c->K + most - 1) / most, depth = (c->K + pieces - 1) / pieces,
        m0 = m / TILE_N * TILE_N;
    unsigned count = end - first;
    i64 places[DEPTH_MOST];
    expect_sums(c, places);
    /* Each tile fetches its share of the next panel: as much at once as one tile reads comes too fast to be waited for. */
    u64 share = (TILE_N + cut.tiles - 1) / cut.tiles;
    i64 reach = b->in[end - 1] + 1 - b->in[first]; /* about as far behind them the next positions lie */
    for (u64 k = 0, terms; k < c->K; k += terms) {
        terms = c->K - k < depth ? c->K - k : depth;
        pack_piece(c, b, &cut, k, terms, depth, packed);
        for (u64 panel = m0; panel < last; panel += TILE_N) {
            unsigned lane = m > panel ? (unsigned)(m - panel) : 0,
                     lanes = last - panel < TILE_N ? (unsigned)(last - panel) : TILE_N;
            int is_last = panel + TILE_N >= last;
            const float *at = c->panels + panel * c->K + k * TILE_N;
            const float *next = is_last ? c->panels + m0 * c->K + (k + terms) * TILE_N : at + c->K * TILE_N;
            for (unsigned i = 0; i < cut.tiles; i++) {
                unsigned from = cut.tile[i].first, n = cut.tile[i].count;
                struct channel_tile t = {.depth = terms,
                                         .panel = at,
                                         .ahead = next + i * terms * share,
                                         .step = (i64)share,
                                         .x = cut.packs ? packed + i * depth * PITCH : b->in[from],
                                         .second = cut.tile[i].second,
                                         .sums = sums + ((panel - m0) * count + (from - first) * TILE_N),
                                         .first = k == 0};
                int goes_on = k + terms < c->K;
                if (!cut.packs) {
                    t.terms = c->terms + k;
                    if (is_last) {
                        t.next = b->in[from] + (goes_on ? 0 : reach);
                        t.next_terms = c->terms + (goes_on ? least(k + terms, c->K - terms) : 0);
                    } else if (!goes_on) {
                        t.next = c->out + (i64)panel * c->o_m + b->out[from];
                        t.next_terms = places;
                    }
                }
                tiles[n - 1][cut.tile[i].reading][lanes > LANES](&t);
            }
            if (k + terms == c->K)
                finish_panel(c, panel, lane, lanes, sums + (panel - m0) * count, b->out + first, count);
        }
    }
}

int channels_run(const struct channels *c, u64 m, u64 end, const struct block_of_positions *b, struct fast_scratch *s)
{
    u64 channels = (end + TILE_N - 1) / TILE_N * TILE_N - m / TILE_N * TILE_N;
    unsigned most = (unsigned)(SUMS_MOST / channels / TILE_POSITIONS * TILE_POSITIONS);
    most = most < TILE_POSITIONS ? TILE_POSITIONS : most < BLOCK_POSITIONS ? most : BLOCK_POSITIONS;
    u64 depth = most_terms(c), packed = most / TILE_POSITIONS * depth * PITCH + LANES;
    float *memory = fast_buffer_get(&s->packed, (packed + channels * most) * sizeof(float));
    if (!memory)
        return 0;
    for (unsigned i = 0, n; i < b->count; i += n) {
        n = b->count - i < most ? b->count - i : most;
        run_some(c, m, end, b, i, i + n, memory, memory + packed);
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
