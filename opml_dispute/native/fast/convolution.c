/* OP_CONV in binary32: as matrix products over a padded copy (layout.h), or, where a group has few channels, directly. */
#include "kernels/window.h"
#include "gemm.h"
#include "layout.h"
#include "plane.h"
#include "vectors.h"

#if LANES

/* Below this many products laying out costs more than it saves. */
#define WORTH_LAYING_OUT 4096
/* Above this many floats a copy is no longer worth its memory. */
#define LAYOUT_MOST (1ull << 27)

struct positions {
    const struct layout *layout;
    const float *at; /* where it lies */
    u64 first;       /* column 0 of the product */
};

/* Row by row, `vectors[i]` vectors of each run. Most tiles have a run or two: then the numbers are known here. */
INLINE void pack_some(const float *const from[], const unsigned start[], const unsigned vectors[], unsigned runs,
                      const i64 *offset, float *to, size_t depth)
{
    for (size_t k = 0; k < depth; k++, to += TILE_N)
        for (unsigned i = 0; i < runs; i++) {
            const float *run = from[i] + offset[k];
            *(vec *)(to + start[i]) = *(const vec *)run;
            if (vectors[i] > 1)
                *(vec *)(to + start[i] + LANES) = *(const vec *)(run + LANES);
        }
}

/* Columns are positions, rows are taps. A tile's columns are a few runs; runs are copied in whole vectors, what goes
 * over is overwritten by the next run or the next row (gemm leaves room behind its buffer). */
static void pack_positions(const void *b, float *to, size_t k0, size_t depth, size_t n0, size_t columns)
{
    const struct positions *at = b;
    const struct layout *l = at->layout;
    const float *from[TILE_N];
    unsigned start[TILE_N], vectors[TILE_N], runs = 0;
    for (size_t j = 0; j < columns;) {
        u64 p = at->first + n0 + j;
        size_t left = (size_t)((u64)l->output[2] - p % (u64)l->output[2]), n = left < columns - j ? left : columns - j;
        from[runs] = at->at + position_offset(l, p);
        start[runs] = (unsigned)j;
        vectors[runs++] = (unsigned)((n + LANES - 1) / LANES);
        j += n;
    }
    const i64 *offset = l->offset + k0;
    unsigned kind = runs == 1 ? vectors[0] : runs == 2 ? 4 * vectors[0] + vectors[1] : 0;
    switch (kind) {
    case 2: pack_some(from, start, (const unsigned[]){2}, 1, offset, to, depth); break;
    case 4 + 1: pack_some(from, start, (const unsigned[]){1, 1}, 2, offset, to, depth); break;
    case 4 + 2: pack_some(from, start, (const unsigned[]){1, 2}, 2, offset, to, depth); break;
    case 8 + 1: pack_some(from, start, (const unsigned[]){2, 1}, 2, offset, to, depth); break;
    default: pack_some(from, start, vectors, runs, offset, to, depth);
    }
}

/* The bias and the finishing of one channel's outputs. */
struct ending {
    float bias;
    int has_bias;
    const float *add; /* of the channel's first position; null: none */
    int relu;
};

/* Where column n lies, up to the row's part of it. */
static const float *positions_at(const void *b, size_t n)
{
    const struct positions *at = b;
    return at->at + position_offset(at->layout, at->first + n);
}

/* Store and finish n sums. */
static void finish_run(const struct ending *e, float *out, const float *add, const float *sum, u64 n)
{
    for (u64 i = 0; i < n; i++) {
        float y = e->has_bias ? sum[i] + e->bias : sum[i];
        y = canonical(y + add[i]);
        out[i] = e->relu && y < 0 ? 0.0f : y;
    }
}

/* The same for whole vectors, where nothing is added. */
INLINE vec finish_vec(const struct ending *e, vec y)
{
    if (e->has_bias)
        y += e->bias;
    y = canonical_vec(y);
    return e->relu ? relu_vec(y) : y;
}

/* Output channel by output channel, for groups of few: w is the channel's K weights. Positions [p, end) to out.
 *
 * Sums are made for all of the layout that lies between the first position and the last, a few vectors at a time, whether
 * an output belongs there or not: between the ends of two rows there are few, and rows may be shorter than a vector. */
static void convolve_channel(const struct layout *l, const float *at, const float *w, u64 K, const struct ending *e,
                             float *out, u64 p, u64 end)
{
    u64 row = (u64)l->output[2], rows = (u64)l->output[1];
    while (p < end) {
        /* The rest of this plane, or of this row where rows lie far apart; or of the range. */
        u64 pitch = (u64)l->pitch[1], together = pitch <= row + row / 2 + 4 ? row * rows : row;
        u64 stop = p - p % together + together;
        stop = stop < end ? stop : end;
        const float *x = at + position_offset(l, p);
        u64 reach = (u64)(position_offset(l, stop - 1) - position_offset(l, p)) + 1;
        u64 column = p % row;
        u64 begin = 0; /* where, from x on, the next output's place is */
        for (u64 j = 0; j < reach; j += 4 * LANES) {
            vec sum[4] = {{0}};
            for (u64 k = 0; k < K; k++) {
                const float *from = x + l->offset[k] + j;
#pragma clang loop unroll(full)
                for (unsigned v = 0; v < 4; v++)
                    sum[v] = __builtin_elementwise_fma(w[k] - (vec){0}, *(const vec *)(from + v * LANES), sum[v]);
            }
            float flat[5 * LANES]; /* a vector more, for copy_run's loads */
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < 4; v++)
                *(vec *)(flat + v * LANES) = e->add ? sum[v] : finish_vec(e, sum[v]);
            while (p < stop && begin < j + 4 * LANES) {
                u64 n = row - column, room = j + 4 * LANES - begin;
                n = n < room ? n : room;
                n = n < stop - p ? n : stop - p;
                if (e->add)
                    finish_run(e, out + p, e->add + p, flat + (begin - j), n);
                else
                    copy_run(out + p, flat + (begin - j), n);
                p += n;
                column += n;
                begin += n;
                if (column == row) {
                    column = 0;
                    begin += pitch - row;
                }
            }
        }
    }
}

/* A convolution under way. */
struct work {
    struct window g;
    struct layout l;
    int direct;
    u64 K, depth, channels;
    float *memory;   /* for a laid out group */
    u64 laid_out;    /* the group that is there, counted over all images */
    const float *at; /* of the group under way */
    const float *x, *w, *bias;
    float *out;
    const struct fast_finish *finish;
    struct fast_scratch *s;
};

/* 0 if `outputs` outputs are not for us. */
static int begin(struct work *k, u8 *segment, const struct record *r, u64 outputs, const struct fast_finish *finish,
                 struct fast_scratch *s)
{
    struct window *g = &k->g;
    window_decode(g, r);
    k->depth = g->C / g->groups;
    k->channels = g->M / g->groups;
    k->K = k->depth * g->kernel_size;
    if (r->dtype_in[0] != DT_F32 || outputs * k->K < WORTH_LAYING_OUT)
        return 0;
    u64 size = layout_plan(&k->l, g, &k->direct);
    if (size > LAYOUT_MOST || k->K > LAYOUT_MOST)
        return 0;
    /* The layout, room to read over its end, and the offsets. */
    u64 copied = k->direct ? 0 : (size + 4 * LANES + 1) / 2 * 2;
    k->memory = fast_buffer_get(&s->layout, copied * sizeof(float) + k->K * sizeof(i64));
    if (!k->memory)
        return 0;
    i64 *offset = (i64 *)(k->memory + copied);
    layout_taps(&k->l, g, offset);
    k->l.offset = offset;
    if (!k->direct)
        memset(k->memory + size, 0, 4 * LANES * sizeof(float));
    k->laid_out = UINT64_MAX;
    k->x = (const float *)(segment + r->in[0]);
    k->w = (const float *)(segment + r->in[1]);
    k->bias = r->n_in == 3 ? (const float *)(segment + r->in[2]) : NULL;
    k->out = (float *)(segment + r->out);
    k->finish = finish;
    k->s = s;
    return 1;
}

/* Positions [p, end) of the channels m to m + rows - 1 of one image, all of one group; 0 if there is no memory. Of every
 * group all calls look at the same positions, or one call looks at it. */
static int convolve(struct work *k, u64 image, u64 m, u64 rows, u64 p, u64 end)
{
    const struct window *g = &k->g;
    u64 group = m / k->channels, counted = image * g->groups + group;
    const float *x = k->x + (image * g->C + group * k->depth) * g->in_size, *w = k->w + m * k->K;
    const float *bias = k->bias ? k->bias + m : NULL;
    u64 first = (image * g->M + m) * g->out_size;
    float *out = k->out + first;
    const float *add = k->finish->add ? k->finish->add + first : NULL;
    if (k->direct) {
        k->at = x;
    } else if (k->laid_out != counted) {
        layout_floats(&k->l, g, x, p, end, k->memory);
        k->laid_out = counted;
        k->at = k->memory;
    }
    if (rows < 3) {
        for (u64 i = 0; i < rows; i++) {
            u64 to = i * g->out_size;
            struct ending e = {bias ? bias[i] : 0.0f, bias != NULL, add ? add + to : NULL, k->finish->relu};
            convolve_channel(&k->l, k->at, w + i * k->K, k->K, &e, out + to, p, end);
        }
        return 1;
    }
    int one_tap = g->kernel_size == 1;
    if (plane_is_worth(&k->l, rows, k->K, one_tap)) {
        struct plane plane = {&k->l, k->at, rows, k->K, one_tap, w, bias, out, (i64)g->out_size, add, k->finish->relu};
        return plane_run(&plane, p, end, k->s);
    }
    struct positions b = {&k->l, k->at, p};
    struct gemm product = {
        .M = rows,
        .N = end - p,
        .K = k->K,
        .a = w,
        .a_m = (i64)k->K,
        .a_k = 1,
        .b = &b,
        .pack = pack_positions,
        .place = positions_at,
        .rows = k->l.offset,
        .out = out + p,
        .o_m = (i64)g->out_size,
        .bias = bias,
        .bias_m = 1,
        .bias_n = 0,
        .add = add ? add + p : NULL,
        .relu = k->finish->relu,
    };
    return gemm(&product, k->s);
}

int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
              const struct fast_prepared *prepared, struct fast_scratch *s)
{
    struct work k;
    if (fast_conv_depthwise(segment, r, lo, hi, finish, s) ||
        (prepared && prepared->memory && fast_conv_channels(segment, r, lo, hi, finish, prepared, s)))
        return 1;
    if (!begin(&k, segment, r, hi - lo, finish, s))
        return 0;
    u64 size = k.g.out_size;
    int done = 1;
    while (lo < hi && done) {
        u64 image = lo / size / k.g.M, m = lo / size % k.g.M, p = lo % size;
        if (p || hi - lo < size) {
            u64 end = size - p < hi - lo ? size : p + hi - lo;
            k.laid_out = UINT64_MAX; /* other positions than before */
            done = convolve(&k, image, m, 1, p, end);
            k.laid_out = UINT64_MAX;
            lo += end - p;
            continue;
        }
        /* As many whole channels as the range and the group have. */
        u64 rows = (hi - lo) / size, left = k.channels - m % k.channels;
        rows = rows < left ? rows : left;
        done = convolve(&k, image, m, rows, 0, size);
        lo += rows * size;
    }
    return done;
}

/* What a panel of positions costs to lay out and pack beside the product with one row of weights; and a row of weights,
 * to be packed. Measured; panels often come from another core's cache. */
#define PANEL_COST 8.0
#define ROW_COST   0.4

/* A part of fewer positions reads packed weights faster than they come from afar. */
#define FEW_POSITIONS 84

/* Where nothing is packed in the run: whether positions are better cut than channels, for which each thread lays out all
 * positions, or reads the whole input. */
static int cuts_positions(const struct window *g, u64 each, int direct)
{
    return each >= FEW_POSITIONS && (!direct || g->out_size >= g->M / g->groups);
}

/* If a range is cut between channels, each thread lays out and packs all positions for its channels; if positions are
 * cut, each thread packs all weights. */
unsigned fast_conv_columns(const struct record *r, const struct fast_prepared *prepared, unsigned workers, u64 *each)
{
    struct window g;
    struct layout l;
    int direct;
    window_decode(&g, r);
    u64 channels = g.M / g.groups, K = g.C / g.groups * g.kernel_size;
    u64 share = (g.out_size + workers - 1) / workers;
    if (r->dtype_in[0] != DT_F32 || workers < 2 || r->hi - r->lo != g.N * g.M * g.out_size || channels < 3 ||
        (g.out_size + TILE_N - 1) / TILE_N < workers || layout_plan(&l, &g, &direct) > LAYOUT_MOST)
        return 0;
    if (!prepared->memory)
        share = (share + LANES - 1) / LANES * LANES;
    if (prepared->memory || plane_is_worth(&l, channels, K, g.kernel_size == 1)) {
        if (!cuts_positions(&g, share, direct))
            return 0;
    } else {
        double rows = (double)((channels + workers - 1) / workers), all = (double)channels;
        double panels = (double)g.out_size / TILE_N, panels_each = (double)share / TILE_N;
        if (panels * (rows + PANEL_COST) + ROW_COST * rows < panels_each * (all + PANEL_COST) + ROW_COST * all)
            return 0;
    }
    *each = share;
    return (unsigned)((g.out_size + *each - 1) / *each);
}

void fast_conv_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s, fast_finished *otherwise)
{
    struct work k;
    if (prepared->memory && fast_conv_channels_columns(segment, r, first, end, finish, prepared, s))
        return;
    int done = begin(&k, segment, r, (end - first) * (r->hi - r->lo), finish, s);
    if (!done)
        window_decode(&k.g, r);
    for (u64 image = 0; image < k.g.N; image++)
        for (u64 m = 0; m < k.g.M; m += done ? k.channels : 1) {
            if (done && convolve(&k, image, m, k.channels, first, end))
                continue;
            u64 lo = (image * k.g.M + m) * k.g.out_size;
            for (u64 i = 0; i < (done ? k.channels : 1); i++, lo += k.g.out_size)
                otherwise(segment, r, lo + first, lo + end, finish, NULL, s);
        }
}

#else

int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
              const struct fast_prepared *prepared, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)prepared, (void)s;
    return 0;
}

unsigned fast_conv_columns(const struct record *r, const struct fast_prepared *prepared, unsigned workers, u64 *each)
{
    (void)r, (void)prepared, (void)workers, (void)each;
    return 0;
}

void fast_conv_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s, fast_finished *otherwise)
{
    (void)segment, (void)r, (void)first, (void)end, (void)finish, (void)prepared, (void)s;
    (void)otherwise; /* never used */
}

#endif
