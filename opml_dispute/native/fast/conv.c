/* OP_CONV in binary32: as matrix products over a padded copy, or, where a group has few channels, directly.
 *
 * The input of one image and group is laid out anew, once: zeros in the padding, and a dimension of stride s split into
 * s parts by coordinate mod s. Then what tap k reads at neighbouring output positions lies side by side, at
 * `offset[k]` from a place that only the positions decide; no coordinate is looked at again. The plain kernel lets
 * padded taps take part as +0 for exactly this reason. */
#include "../kernels/window.h"
#include "gemm.h"

#if LANES
#include <string.h>

#include "../kernels/float32.h"

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
    for (u64 c = 0; c < g->C / g->groups; c++)
        for (i64 d = 0; d < g->kernel[0]; d++)
            for (i64 h = 0; h < g->kernel[1]; h++)
                for (i64 w = 0; w < g->kernel[2]; w++)
                    *offset++ = (i64)c * l->channel + tap_offset(l, g, 0, d) + tap_offset(l, g, 1, h) + tap_offset(l, g, 2, w);
}

/* Where along dimension d the input's coordinate lies; -1 if nothing reads it. */
static i64 input_offset(const struct layout *l, const struct window *g, int d, i64 coordinate)
{
    i64 padded = coordinate + g->pad[d], at = padded / g->stride[d];
    if (padded < 0 || at >= l->size[d] || l->part_of[d][padded % g->stride[d]] < 0)
        return -1;
    return l->part_of[d][padded % g->stride[d]] * l->part[d] + at * l->pitch[d];
}

/* One row of the input into the parts of one row of the layout. */
static void lay_out_row(const struct layout *l, const struct window *g, const float *x, float *row)
{
    i64 stride = g->stride[2], pad = g->pad[2];
    for (i64 i = 0; i < stride; i++) {
        if (l->part_of[2][i] < 0)
            continue;
        /* Coordinates at * stride + i - pad, those that the input has. */
        float *part = row + l->part_of[2][i] * l->part[2];
        i64 first = pad > i ? (pad - i + stride - 1) / stride : 0;
        i64 end = (g->input[2] + pad - i + stride - 1) / stride;
        end = end < l->size[2] ? end : l->size[2];
        const float *from = x + first * stride + i - pad;
        if (stride == 1) {
            if (first < end)
                memcpy(part + first, from, (size_t)(end - first) * sizeof(float));
        } else {
            for (i64 at = first; at < end; at++, from += stride)
                part[at] = *from;
        }
    }
}

/* Copies one image and group into place. */
static void lay_out(const struct layout *l, const struct window *g, const float *x, float *to)
{
    u64 channels = g->C / g->groups;
    memset(to, 0, channels * (u64)l->channel * sizeof(float));
    for (u64 c = 0; c < channels; c++, to += l->channel)
        for (i64 d = 0; d < g->input[0]; d++) {
            i64 at_d = input_offset(l, g, 0, d);
            for (i64 h = 0; h < g->input[1]; h++, x += g->input[2]) {
                i64 at_h = at_d < 0 ? -1 : input_offset(l, g, 1, h);
                if (at_h >= 0)
                    lay_out_row(l, g, x, to + at_d + at_h);
            }
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

/* Output channel by output channel, for groups of few: w is the channel's K weights. Positions [p, end). */
static void convolve_channel(const struct layout *l, const float *w, u64 K, float bias, int has_bias, float *out, u64 p,
                             u64 end)
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
            for (u64 i = 0; i < 4 * LANES && j + i < n; i++)
                out[j + i] = canonical(has_bias ? flat[i] + bias : flat[i]);
        }
        out += n;
        p += n;
    }
}

int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    struct window g;
    struct layout l;
    window_decode(&g, r);
    u64 depth = g.C / g.groups, channels = g.M / g.groups, K = depth * g.kernel_size;
    if (r->dtype_in[0] != DT_F32 || (hi - lo) * K < WORTH_LAYING_OUT)
        return 0;
    int direct;
    u64 size = plan_layout(&l, &g, &direct);
    if (size > LAYOUT_MOST || K > LAYOUT_MOST)
        return 0;
    /* The layout, room to read over its end, and the offsets. */
    u64 copied = direct ? 0 : (size + 4 * LANES + 1) / 2 * 2;
    float *memory = fast_buffer_get(&s->layout, copied * sizeof(float) + K * sizeof(i64));
    if (!memory)
        return 0;
    i64 *offset = (i64 *)(memory + copied);
    plan_taps(&l, &g, offset);
    l.offset = offset;
    if (!direct)
        memset(memory + size, 0, 4 * LANES * sizeof(float));
    u64 laid_out = UINT64_MAX;
    int done = 1;
    while (lo < hi && done) {
        u64 image = lo / g.out_size, p = lo - image * g.out_size;
        u64 n = image / g.M, m = image - n * g.M, group = m / channels;
        u64 rows = p || hi - lo < g.out_size ? 1 : (hi - lo) / g.out_size;
        if (rows > (group + 1) * channels - m)
            rows = (group + 1) * channels - m;
        u64 columns = p || hi - lo < g.out_size ? (g.out_size - p < hi - lo ? g.out_size - p : hi - lo) : g.out_size;
        const float *x = (const float *)(segment + r->in[0]) + (n * g.C + group * depth) * g.in_size;
        const float *w = (const float *)(segment + r->in[1]) + m * K;
        const float *bias = r->n_in == 3 ? (const float *)(segment + r->in[2]) + m : NULL;
        float *out = (float *)(segment + r->out) + lo;
        if (direct) {
            l.at = x;
        } else if (laid_out != n * g.groups + group) {
            lay_out(&l, &g, x, memory);
            laid_out = n * g.groups + group;
            l.at = memory;
        }
        if (rows < 3) {
            for (u64 i = 0; i < rows; i++)
                convolve_channel(&l, w + i * K, K, bias ? bias[i] : 0.0f, bias != NULL, out + i * g.out_size, p, p + columns);
        } else {
            struct positions b = {&l, p};
            struct gemm product = {
                .M = rows,
                .N = columns,
                .K = K,
                .a = w,
                .a_m = (i64)K,
                .a_k = 1,
                .b = &b,
                .pack = pack_positions,
                .out = out,
                .o_m = (i64)g.out_size,
                .bias = bias,
                .bias_m = 1,
                .bias_n = 0,
            };
            done = gemm(&product, s);
        }
        lo += rows * columns;
    }
    return done;
}

#else

int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)s;
    return 0;
}

#endif
