/* OP_CONV in binary32 where each output channel reads one channel of an image: rows of outputs side by side in vectors.
 *
 * A channel's rows are copied between zeros, split into even and odd columns for a stride of 2; then what a tap reads
 * at neighbouring outputs lies side by side. Several rows of outputs are made at a time, since each sum waits for its
 * last addition. As in the layout (layout.h), padded taps take part as +0. */
#include "kernels/window.h"

#include "vectors.h"

#if LANES

/* Below this many products the plain kernel does as well. */
#define LEAST_PRODUCTS 4096

/* A channel of the input, copied for all the windows over it. */
struct depthwise {
    const struct window *g;
    i64 parts;         /* the stride across: columns are split by what is left of them */
    i64 pitch;         /* floats of a part of a row */
    i64 columns;       /* of the input's rows that some output looks at, at most */
    float *copy;       /* a channel's rows; behind them one of zeros */
    const float **row; /* the row that each padded one is */
    i64 *column;       /* where a tap's column lies, from an output's on */
#if LANES == 16
    /* Where a vector holds a row of outputs nothing is copied: a tap reads the input itself, less what is not there. */
    int in_place;
    __mmask16 *there; /* by column of taps */
#endif
};

/* Vectors of sums at a time: each waits four steps for its last addition, and two are begun in a step. */
#define SUMS 8
/* Above this many floats a copy of a channel is left to the other path. */
#define COPY_MOST (1ull << 22)

/* The least count of whole vectors that hold n floats, in floats. */
INLINE i64 whole_vectors(i64 n) { return (n + LANES - 1) / LANES * LANES; }

/* The padded rows: those of the input lie `apart` floats from one another. */
static void place_rows(const struct depthwise *d, const float *input, i64 apart)
{
    const struct window *g = d->g;
    const float *none = d->copy + g->input[1] * d->pitch * d->parts + (input == d->copy ? 0 : g->pad[2]);
    i64 tall = (g->output[1] - 1 + SUMS) * g->stride[1] + (g->kernel[1] - 1) * g->dilation[1] + 1;
    for (i64 i = 0; i < tall; i++) {
        i64 at = i - g->pad[1];
        d->row[i] = at >= 0 && at < g->input[1] ? input + at * apart : none;
    }
}

/* 0 if the convolution is none of these, or if there is no memory. */
static int plan(struct depthwise *d, const struct window *g, struct fast_scratch *s)
{
    i64 parts = g->stride[2];
    if (g->C != g->groups || g->input[0] != 1 || g->kernel[0] != 1 || g->output[0] != 1 || g->pad[0] != 0 ||
        parts > 2 || g->pad[1] < 0 || g->pad[2] < 0)
        return 0;
    i64 taps = (g->kernel[2] - 1) * g->dilation[2];
    /* Behind the last outputs there are rows of zeros, so that rows of outputs are always made SUMS at a time. */
    i64 tall = (g->output[1] - 1 + SUMS) * g->stride[1] + (g->kernel[1] - 1) * g->dilation[1] + 1;
    if (taps > (i64)COPY_MOST || tall > (i64)COPY_MOST || g->pad[2] > (i64)COPY_MOST)
        return 0;
    *d = (struct depthwise){.g = g, .parts = parts};
    /* Where a row begins, all its outputs' vectors, and what the last tap reads behind them; then room for a vector. */
    d->pitch = whole_vectors(whole_vectors(g->output[2]) + taps / parts + 1) + LANES;
    i64 room = d->pitch * parts - g->pad[2] - LANES;
    d->columns = g->input[2] < room ? g->input[2] : room;
    u64 floats;
    if (d->columns < 0 || __builtin_mul_overflow((u64)g->input[1] + 1, (u64)(d->pitch * parts), &floats) ||
        floats > COPY_MOST)
        return 0;
    floats += LANES;
    u64 rows = (u64)tall * sizeof(const float *), columns = (u64)g->kernel[2] * (sizeof(i64) + sizeof(u16));
    u8 *memory = fast_buffer_get(&s->layout, floats * sizeof(float) + rows + columns);
    if (!memory)
        return 0;
    d->copy = (float *)memory;
    memset(d->copy, 0, floats * sizeof(float));
    d->row = (const float **)(memory + floats * sizeof(float));
    d->column = (i64 *)((u8 *)d->row + rows);
#if LANES == 16
    d->in_place = parts == 1 && g->output[2] <= LANES;
    d->there = (__mmask16 *)(d->column + g->kernel[2]);
    for (i64 k = 0; d->in_place && k < g->kernel[2]; k++) {
        i64 at = k * g->dilation[2] - g->pad[2];
        u32 bits = 0;
        for (i64 i = 0; i < g->output[2]; i++)
            bits |= (u32)(at + i >= 0 && at + i < g->input[2]) << i;
        d->column[k] = at;
        d->there[k] = (__mmask16)bits;
    }
    if (d->in_place)
        return 1;
#endif
    for (i64 k = 0; k < g->kernel[2]; k++) {
        i64 at = k * g->dilation[2];
        d->column[k] = at % parts * d->pitch + at / parts;
    }
    place_rows(d, d->copy, d->pitch * parts);
    return 1;
}

/* Makes one channel's rows ready: between the zeros, which stay. */
static void take_channel(const struct depthwise *d, const float *x)
{
    const struct window *g = d->g;
    float *to = d->copy;
#if LANES == 16
    if (d->in_place) {
        place_rows(d, x, g->input[2]);
        return;
    }
#endif
    for (i64 h = 0; h < g->input[1]; h++, x += g->input[2], to += d->pitch * d->parts) {
        if (d->parts == 1) {
            copy_run(to + g->pad[2], x, (u64)d->columns);
            continue;
        }
        for (i64 i = 0; i < 2; i++) { /* the columns at which at + pad is even, odd */
            i64 first = (g->pad[2] + i) % 2, count = (d->columns - first + 1) / 2;
            if (count > 0)
                copy_second(to + i * d->pitch + (first + g->pad[2]) / 2, x + first, (u64)count);
        }
    }
}

/* What becomes of a channel's sums. */
struct channel {
    const float *w; /* its taps */
    float bias;
    int has_bias, relu;
    const float *add; /* null: none */
    float *out;       /* its outputs */
};

/* Bias, what is added, rectification: n outputs, LANES at most, from `to` on. */
INLINE void finish(const struct channel *c, vec sum, i64 to, i64 n)
{
    if (c->has_bias)
        sum += c->bias;
    if (c->add)
        sum += load_some(c->add + to, n);
    sum = canonical_vec(sum);
    store_some(c->out + to, c->relu ? relu_vec(sum) : sum, n);
}

/* What a tap reads for one vector of outputs. */
INLINE vec taken(const struct depthwise *d, int in_place, const float *row, i64 x)
{
#if LANES == 16
    if (in_place)
        return (vec)_mm512_maskz_loadu_ps(d->there[x], row + d->column[x]);
#endif
    (void)in_place;
    return *(const vec *)(row + d->column[x]);
}

/* V vectors of R rows of outputs, the first at row h and column w; `left` columns of outputs are there. Rows beyond the
 * last are not stored. */
INLINE void make(const struct depthwise *d, const struct channel *c, unsigned V, unsigned R, int in_place, i64 h, i64 w,
                 i64 left)
{
    const struct window *g = d->g;
    vec sum[SUMS];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < V * R; i++)
        sum[i] = (vec){0};
    const float *tap = c->w;
    const float **row = d->row + h * g->stride[1];
    for (i64 y = 0; y < g->kernel[1]; y++, row += g->dilation[1]) {
        const float *at[SUMS];
#pragma clang loop unroll(full)
        for (unsigned r = 0; r < R; r++)
            at[r] = row[(i64)r * g->stride[1]] + w;
        for (i64 x = 0; x < g->kernel[2]; x++, tap++)
#pragma clang loop unroll(full)
            for (unsigned i = 0; i < V * R; i++)
                sum[i] = __builtin_elementwise_fma(*tap - (vec){0},
                                                   taken(d, in_place, at[i / V] + (i64)(i % V * LANES), x), sum[i]);
    }
    i64 rows = g->output[1] - h;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < V * R && i / V < rows; i++)
        finish(c, sum[i], (h + (i64)(i / V)) * g->output[2] + w + i % V * LANES, left - (i64)(i % V) * LANES);
}

#if LANES == 16
typedef float half __attribute__((vector_size(32), aligned(4), may_alias));

/* SUMS rows of at most 8 outputs, in place: half as wide, since a wide load that is not aligned counts as two. */
static void make_narrow(const struct depthwise *d, const struct channel *c, i64 h)
{
    const struct window *g = d->g;
    half sum[SUMS];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < SUMS; i++)
        sum[i] = (half){0};
    const float *tap = c->w;
    const float **row = d->row + h * g->stride[1];
    for (i64 y = 0; y < g->kernel[1]; y++, row += g->dilation[1]) {
        const float *at[SUMS];
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < SUMS; i++)
            at[i] = row[(i64)i * g->stride[1]];
        for (i64 x = 0; x < g->kernel[2]; x++, tap++)
#pragma clang loop unroll(full)
            for (unsigned i = 0; i < SUMS; i++) {
                half taken = (half)_mm256_maskz_loadu_ps((__mmask8)d->there[x], at[i] + d->column[x]);
                sum[i] = __builtin_elementwise_fma(*tap - (half){0}, taken, sum[i]);
            }
    }
    i64 rows = g->output[1] - h;
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < SUMS; i++)
        if (i < rows)
            finish(c, (vec)_mm512_castps256_ps512((__m256)sum[i]), (h + i) * g->output[2], g->output[2]);
}
#endif

/* R rows of outputs from row h on. */
INLINE void make_rows(const struct depthwise *d, const struct channel *c, unsigned R, i64 h)
{
    i64 columns = d->g->output[2];
#if LANES == 16
    if (d->in_place) {
        if (columns <= LANES / 2)
            make_narrow(d, c, h);
        else
            make(d, c, 1, R, 1, h, 0, columns);
        return;
    }
#endif
    for (i64 w = 0; w < columns;) {
        i64 left = columns - w;
        if (R <= 2 && left > 2 * LANES) {
            unsigned V = left > 3 * LANES ? 4 : 3;
            if (V == 4)
                make(d, c, 4, R, 0, h, w, left);
            else
                make(d, c, 3, R, 0, h, w, left);
            w += V * LANES;
        } else if (R <= 4 && left > LANES) {
            make(d, c, 2, R, 0, h, w, left);
            w += 2 * LANES;
        } else {
            make(d, c, 1, R, 0, h, w, left);
            w += LANES;
        }
    }
}

/* All outputs of the channels [first, end) of one image. The pointers, and what is added, begin at channel 0; `bias` may
 * be null. */
static void make_channels(const struct depthwise *d, const float *x, const float *w, const float *bias, float *out,
                          u64 first, u64 end, const struct fast_finish *finish)
{
    const struct window *g = d->g;
    u64 of_each = g->M / g->groups, copied = UINT64_MAX;
    i64 rows = g->output[1], together = g->output[2] > 2 * LANES ? 2 : g->output[2] > LANES ? 4 : 8;
    for (u64 m = first; m < end; m++) {
        if (copied != m / of_each) {
            copied = m / of_each;
            take_channel(d, x + copied * g->in_size);
        }
        struct channel c = {.w = w + m * g->kernel_size,
                            .bias = bias ? bias[m] : 0.0f,
                            .has_bias = bias != NULL,
                            .relu = finish->relu,
                            .add = finish->add ? finish->add + m * g->out_size : NULL,
                            .out = out + m * g->out_size};
        for (i64 h = 0; h < rows; h += together)
            if (together == 8)
                make_rows(d, &c, 8, h);
            else if (together == 4)
                make_rows(d, &c, 4, h);
            else
                make_rows(d, &c, 2, h);
    }
}

int fast_conv_depthwise(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                        struct fast_scratch *s)
{
    struct window g;
    struct depthwise d;
    window_decode(&g, r);
    u64 size = g.out_size;
    if (r->dtype_in[0] != DT_F32 || lo % size || hi % size || (hi - lo) * g.kernel_size < LEAST_PRODUCTS ||
        !plan(&d, &g, s))
        return 0;
    const float *x = (const float *)(segment + r->in[0]), *w = (const float *)(segment + r->in[1]);
    const float *bias = r->n_in == 3 ? (const float *)(segment + r->in[2]) : NULL;
    float *out = (float *)(segment + r->out);
    for (u64 first = lo / size, end = hi / size; first < end;) { /* image by image */
        u64 image = first / g.M, m = first % g.M, count = end - first < g.M - m ? end - first : g.M - m;
        u64 before = image * g.M * size;
        struct fast_finish of_image = {finish->add ? finish->add + before : NULL, finish->relu};
        make_channels(&d, x + image * g.C * g.in_size, w, bias, out + before, m, m + count, &of_image);
        first += count;
    }
    return 1;
}

#else

int fast_conv_depthwise(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                        struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)s;
    return 0;
}

#endif
