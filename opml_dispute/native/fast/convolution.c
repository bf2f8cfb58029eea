/* OP_CONV in binary32: as matrix products over a padded copy, or, where a group has few channels, directly.
 *
 * The input of one image and group is laid out anew, once: zeros in the padding, and a dimension of stride s split into
 * s parts by coordinate mod s. Then what tap k reads at neighbouring output positions lies side by side, at
 * `offset[k]` from a place that only the positions decide; no coordinate is looked at again. The plain kernel lets
 * padded taps take part as +0 for exactly this reason. */
#include "kernels/window.h"
#include "gemm.h"

#if LANES
#include <string.h>

#include "kernels/float32.h"

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Below this many products laying out costs more than it saves. */
#define WORTH_LAYING_OUT 4096
/* Above this many floats a copy is no longer worth its memory. */
#define LAYOUT_MOST (1ull << 27)

/* A stride beyond this is not worth a layout. */
#define MOST_PARTS 8

/* One image and group, laid out. Positions are rows of `output[2]` neighbours, numbered across the output's rows. */
struct layout {
    const float *at;
    int part_of[3][MOST_PARTS]; /* for each coordinate mod stride its part; -1: no tap reads it */
    i64 part[3];   /* elements from one part of dimension d to the next */
    i64 pitch[3];  /* elements from one coordinate of a part to the next, by dimension */
    i64 size[3];   /* coordinates in a part */
    i64 channel;   /* elements from one channel to the next */
    i64 output[3]; /* the output's size; merged to one row where positions are one run */
    const i64 *offset; /* [K], of the taps in the order of the sum */
};

/* from[0], from[2], from[4] ... */
static vec every_second(const float *from)
{
    vec low = *(const vec *)from, high = *(const vec *)(from + LANES);
#if LANES == 16
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif LANES == 8
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
#else
    return __builtin_shufflevector(low, high, 0, 2, 4, 6);
#endif
}

/* Sizes and pitches; answers the elements of all channels of a group, UINT64_MAX if there can be no layout. `direct`:
 * the input itself will do. */
static u64 plan_layout(struct layout *l, const struct window *g, int *direct)
{
    *direct = 1;
    i64 parts[3], pitch = 1;
    for (int d = 2; d >= 0; d--) {
        i64 stride = g->stride[d], need = (g->output[d] - 1) * stride + (g->kernel[d] - 1) * g->dilation[d] + 1;
        if (stride > MOST_PARTS)
            return UINT64_MAX;
        *direct &= stride == 1 && g->pad[d] == 0 && need <= g->input[d];
        l->size[d] = (need + stride - 1) / stride;
        l->output[d] = g->output[d];
        parts[d] = 0;
        for (i64 i = 0; i < stride; i++)
            l->part_of[d][i] = -1;
        for (i64 t = 0; t < g->kernel[d]; t++) {
            int *part = &l->part_of[d][t * g->dilation[d] % stride];
            if (*part < 0)
                *part = (int)parts[d]++;
        }
    }
    if (*direct)
        for (int d = 0; d < 3; d++)
            l->size[d] = g->input[d];
    for (int d = 2; d >= 0; d--) {
        l->pitch[d] = pitch;
        if (__builtin_mul_overflow(pitch, l->size[d], &pitch))
            return UINT64_MAX;
    }
    for (int d = 2; d >= 0; d--) {
        l->part[d] = pitch;
        if (__builtin_mul_overflow(pitch, parts[d], &pitch))
            return UINT64_MAX;
    }
    l->channel = pitch;
    for (int d = 1; d >= 0; d--) /* rows that follow one another without a gap are one row */
        if (l->pitch[d] == l->output[2] && (d == 1 || l->output[1] == 1)) {
            l->output[2] *= l->output[d];
            l->output[d] = 1;
        }
    u64 all;
    if (__builtin_mul_overflow((u64)pitch, g->C / g->groups, &all))
        return UINT64_MAX;
    return all;
}

static i64 tap_offset(const struct layout *l, const struct window *g, int d, i64 tap)
{
    i64 coordinate = tap * g->dilation[d];
    return l->part_of[d][coordinate % g->stride[d]] * l->part[d] + coordinate / g->stride[d] * l->pitch[d];
}

static void plan_taps(const struct layout *l, const struct window *g, i64 *offset)
{
    u64 taps = g->kernel_size, K = taps * (g->C / g->groups);
    i64 *to = offset;
    for (i64 d = 0; d < g->kernel[0]; d++)
        for (i64 h = 0; h < g->kernel[1]; h++)
            for (i64 w = 0; w < g->kernel[2]; w++)
                *to++ = tap_offset(l, g, 0, d) + tap_offset(l, g, 1, h) + tap_offset(l, g, 2, w);
    for (u64 k = taps; k < K; k++)
        offset[k] = offset[k - taps] + l->channel;
}

/* One row of the input (null: there is none, zeros) into the parts of one row of the layout. */
static void lay_out_row(const struct layout *l, const struct window *g, const float *x, float *row)
{
    i64 stride = g->stride[2], pad = g->pad[2];
    for (i64 i = 0; i < stride; i++) {
        if (l->part_of[2][i] < 0)
            continue;
        /* Coordinates at * stride + i - pad; [first, end) are those that the input has. */
        float *part = row + l->part_of[2][i] * l->part[2];
        i64 first = pad > i ? (pad - i + stride - 1) / stride : 0, size = l->size[2];
        i64 last = g->input[2] + pad - i, end = x && last > 0 ? (last + stride - 1) / stride : 0;
        end = end < size ? end : size;
        if (first > end)
            first = end;
        for (i64 at = 0; at < first; at++)
            part[at] = 0.0f;
        for (i64 at = end; at < size; at++)
            part[at] = 0.0f;
        if (first == end)
            continue;
        const float *from = x + first * stride + i - pad;
        i64 at = first;
        if (stride == 1) {
            for (; at + LANES <= end; at += LANES, from += LANES)
                *(vec *)(part + at) = *(const vec *)from;
        } else if (stride == 2) {
            /* The last of the 2 LANES floats read is not needed, and need not be in the input. */
            for (; at + LANES < end; at += LANES, from += 2 * LANES)
                *(vec *)(part + at) = every_second(from);
        }
        for (; at < end; at++, from += stride)
            part[at] = *from;
    }
}

/* Copies one image and group into place, as far as positions [first, end) look at it. */
static void lay_out(const struct layout *l, const struct window *g, const float *x, float *to, u64 first, u64 end)
{
    i64 begin = 0, reach = l->size[1];
    if (g->output[0] == 1) { /* whole rows h of the layout */
        begin = (i64)first / g->output[2];
        reach = (i64)(end - 1) / g->output[2] + (g->kernel[1] - 1) * g->dilation[1] / g->stride[1] + 1;
        reach = reach < l->size[1] ? reach : l->size[1];
    }
    for (u64 c = 0; c < g->C / g->groups; c++, x += g->in_size, to += l->channel)
        for (i64 i = 0; i < g->stride[0]; i++)
            for (i64 d = 0; l->part_of[0][i] >= 0 && d < l->size[0]; d++)
                for (i64 j = 0; j < g->stride[1]; j++)
                    for (i64 h = begin; l->part_of[1][j] >= 0 && h < reach; h++) {
                        i64 at_d = d * g->stride[0] + i - g->pad[0], at_h = h * g->stride[1] + j - g->pad[1];
                        int inside = at_d >= 0 && at_d < g->input[0] && at_h >= 0 && at_h < g->input[1];
                        lay_out_row(l, g, inside ? x + (at_d * g->input[1] + at_h) * g->input[2] : NULL,
                                    to + l->part_of[0][i] * l->part[0] + d * l->pitch[0] + l->part_of[1][j] * l->part[1] +
                                        h * l->pitch[1]);
                    }
}

/* The elements between the layout's start and output position p. */
static i64 position_offset(const struct layout *l, u64 p)
{
    i64 w = (i64)(p % (u64)l->output[2]), rest = (i64)(p / (u64)l->output[2]);
    return w + rest % l->output[1] * l->pitch[1] + rest / l->output[1] * l->pitch[0];
}

struct positions {
    const struct layout *layout;
    u64 first; /* column 0 of the product */
};

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
        from[runs] = l->at + position_offset(l, p);
        start[runs] = (unsigned)j;
        vectors[runs++] = (unsigned)((n + LANES - 1) / LANES);
        j += n;
    }
    for (size_t k = 0; k < depth; k++, to += TILE_N) {
        i64 offset = l->offset[k0 + k];
        for (unsigned i = 0; i < runs; i++) {
            const float *run = from[i] + offset;
            *(vec *)(to + start[i]) = *(const vec *)run;
            if (vectors[i] > 1)
                *(vec *)(to + start[i] + LANES) = *(const vec *)(run + LANES);
        }
    }
}

/* What is added to, or done with, the outputs of one channel. */
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
    return at->layout->at + position_offset(at->layout, at->first + n);
}

/* Output channel by output channel, for groups of few: w is the channel's K weights. Positions [p, end) to out. */
static void convolve_channel(const struct layout *l, const float *w, u64 K, const struct ending *e, float *out, u64 p, u64 end)
{
    while (p < end) {
        u64 left = (u64)l->output[2] - p % (u64)l->output[2], n = left < end - p ? left : end - p;
        const float *x = l->at + position_offset(l, p);
        for (u64 j = 0; j < n; j += 4 * LANES) {
            vec sum[4] = {{0}};
            for (u64 k = 0; k < K; k++) {
                const float *from = x + l->offset[k] + j;
#pragma clang loop unroll(full)
                for (unsigned v = 0; v < 4; v++)
                    sum[v] = __builtin_elementwise_fma(w[k] - (vec){0}, *(const vec *)(from + v * LANES), sum[v]);
            }
            float *flat = (float *)sum;
            for (u64 i = 0; i < 4 * LANES && j + i < n; i++) {
                float y = e->has_bias ? flat[i] + e->bias : flat[i];
                y = canonical(e->add ? y + e->add[p + j + i] : y);
                out[p + j + i] = e->relu && y < 0 ? 0.0f : y;
            }
        }
        p += n;
    }
}

/* A convolution under way. */
struct work {
    struct window g;
    struct layout l;
    int direct;
    u64 K, depth, channels;
    float *memory;     /* for a laid out group */
    u64 laid_out;      /* the group that is there, counted over all images */
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
    u64 size = plan_layout(&k->l, g, &k->direct);
    if (size > LAYOUT_MOST || k->K > LAYOUT_MOST)
        return 0;
    /* The layout, room to read over its end, and the offsets. */
    u64 copied = k->direct ? 0 : (size + 4 * LANES + 1) / 2 * 2;
    k->memory = fast_buffer_get(&s->layout, copied * sizeof(float) + k->K * sizeof(i64));
    if (!k->memory)
        return 0;
    i64 *offset = (i64 *)(k->memory + copied);
    plan_taps(&k->l, g, offset);
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
        k->l.at = x;
    } else if (k->laid_out != counted) {
        lay_out(&k->l, g, x, k->memory, p, end);
        k->laid_out = counted;
        k->l.at = k->memory;
    }
    if (rows < 3) {
        for (u64 i = 0; i < rows; i++) {
            u64 to = i * g->out_size;
            struct ending e = {bias ? bias[i] : 0.0f, bias != NULL, add ? add + to : NULL, k->finish->relu};
            convolve_channel(&k->l, w + i * k->K, k->K, &e, out + to, p, end);
        }
        return 1;
    }
    struct positions b = {&k->l, p};
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

int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish, struct fast_scratch *s)
{
    struct work k;
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
#define ROW_COST 0.4

/* If a range is cut between channels, each thread lays out and packs all positions for its channels; if positions are
 * cut, each thread packs all weights. */
unsigned fast_conv_columns(const struct record *r, unsigned workers, u64 *each)
{
    struct window g;
    window_decode(&g, r);
    u64 channels = g.M / g.groups, panels = (g.out_size + TILE_N - 1) / TILE_N, share = (panels + workers - 1) / workers;
    if (r->dtype_in[0] != DT_F32 || workers < 2 || r->hi - r->lo != g.N * g.M * g.out_size || channels < 3 || panels < workers)
        return 0;
    double rows = (double)((channels + workers - 1) / workers), all = (double)channels;
    double by_rows = (double)panels * (rows + PANEL_COST) + ROW_COST * rows;
    double by_positions = (double)share * (all + PANEL_COST) + ROW_COST * all;
    if (by_rows < by_positions)
        return 0;
    *each = share * TILE_N;
    return (unsigned)((g.out_size + *each - 1) / *each);
}

void fast_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                      struct fast_scratch *s)
{
    struct work k;
    int done = begin(&k, segment, r, (end - first) * (r->hi - r->lo), finish, s);
    if (!done)
        window_decode(&k.g, r);
    for (u64 image = 0; image < k.g.N; image++)
        for (u64 m = 0; m < k.g.M; m += done ? k.channels : 1) {
            if (done && convolve(&k, image, m, k.channels, first, end))
                continue;
            u64 lo = (image * k.g.M + m) * k.g.out_size;
            for (u64 i = 0; i < (done ? k.channels : 1); i++, lo += k.g.out_size)
                fast_run_finished(segment, r, lo + first, lo + end, finish, s);
        }
}

#else

int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)s;
    return 0;
}

unsigned fast_conv_columns(const struct record *r, unsigned workers, u64 *each)
{
    (void)r, (void)workers, (void)each;
    return 0;
}

void fast_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                      struct fast_scratch *s)
{
    (void)segment, (void)r, (void)first, (void)end, (void)finish, (void)s; /* never asked for */
}

#endif
