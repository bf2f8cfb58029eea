/* OP_POOL's sums and averages in binary32 from a copy of each channel, with its padding as zeros.
 *
 * A sum that starts from +0 is never -0, so +0 may be added. Each output's taps are added in their order; the additions of
 * several vectors of outputs go on while one waits for its own. */
#include <string.h>

#include "kernels/float32.h"
#include "kernels/window.h"
#include "pooling.h"

/* The outputs of a channel, and the copy of it that they are made of. */
struct plane {
    const struct window *g;
    float *copy;
    i64 phases; /* columns j, j + phases ... of the padded channel lie side by side */
    i64 reach;  /* columns of the padded channel that count */
    i64 phase;  /* numbers of one phase of a row, whole vectors, and those behind it that a vector goes over */
    i64 row;    /* numbers of all phases of a row */
};

/* Copies row h of the padded channel, which was zero before, or held another channel's row; `line`: memory for a row, of
 * which the same is true. */
static void copy_row(const struct plane *p, const float *channel, i64 h, float *line)
{
    const struct window *g = p->g;
    float *copy = p->copy + h * p->row, *to = p->phases == 1 ? copy : line;
    i64 from = h - g->pad[1], pad = g->pad[2] > 0 ? g->pad[2] : 0, skip = g->pad[2] < 0 ? -g->pad[2] : 0;
    if (from < 0 || from >= g->input[1])
        return;
    i64 count = g->input[2] - skip < p->reach - pad ? g->input[2] - skip : p->reach - pad, i = 0;
    channel += from * g->input[2] + skip;
    for (; i + WIDTH <= count; i += WIDTH)
        *(vec *)(to + pad + i) = *(const vec *)(channel + i);
    if (i < count)
        store_first(to + pad + i, *(const vec *)(channel + i), count - i);
    for (i64 j = 0; p->phases == 2 && j < p->phase; j += WIDTH) {
        vec low = *(const vec *)(line + 2 * j), high = *(const vec *)(line + 2 * j + WIDTH);
        *(vec *)(copy + j) = every_second(low, high);
        *(vec *)(copy + p->phase + j) = every_second(next_lanes(low, high), next_lanes(high, high));
    }
}

/* Rows of outputs that are made together. */
#define TOGETHER 8

/* Sums of WIDTH windows, the first at column j, in each of some rows; at[i]: the copy's row of the first tap of row i. */
INLINE void sum_windows(const struct plane *p, const float *const at[TOGETHER], i64 j, i64 rows, i64 columns,
                        vec sum[TOGETHER])
{
    const struct window *g = p->g;
    for (int i = 0; i < TOGETHER; i++)
        sum[i] = (vec){0};
    for (i64 h = 0; h < rows; h++)
        for (i64 t = 0; t < columns; t++) {
            i64 column = t * g->dilation[2];
            i64 place = h * g->dilation[1] * p->row + j +
                        (p->phases == 1 ? column : (column & 1) * p->phase + column / 2);
            for (int i = 0; i < TOGETHER; i++)
                sum[i] += *(const vec *)(at[i] + place);
        }
}

/* Output rows [first, first + rows) of a channel, TOGETHER at most; taps[i]: taps of row i that count, along the columns;
 * counts: the taps of each window along its row, null for sums. */
static void sum_rows(const struct plane *p, i64 first, i64 rows, const i64 *taps, const float *counts, float *out)
{
    const struct window *g = p->g;
    const float *at[TOGETHER];
    for (i64 i = 0; i < TOGETHER; i++) /* the last one again where there are fewer */
        at[i] = p->copy + (first + (i < rows ? i : rows - 1)) * g->stride[1] * p->row;
    for (i64 j = 0; j < g->output[2]; j += WIDTH) {
        vec sum[TOGETHER];
        if (g->kernel[2] == 3)
            sum_windows(p, at, j, g->kernel[1], 3, sum);
        else
            sum_windows(p, at, j, g->kernel[1], g->kernel[2], sum);
        i64 lanes = g->output[2] - j;
        for (i64 i = 0; i < rows; i++) {
            if (counts)
                sum[i] /= *(const vec *)(counts + j) * (float)taps[i]; /* by 1: nothing changes */
            if (lanes >= WIDTH)
                *(vec *)(out + i * g->output[2] + j) = canonical_vec(sum[i]);
            else
                store_first(out + i * g->output[2] + j, canonical_vec(sum[i]), lanes);
        }
    }
}

/* Channels that are added together where each is one window. */
#define CHANNELS 8

/* Outputs [lo, hi), each of a whole channel of `taps` numbers; count: what the sum is divided by. */
static void sum_channels(const float *x, u64 lo, u64 hi, u64 taps, float count, float *out)
{
    for (; lo < hi; lo += CHANNELS) {
        u64 some = hi - lo < CHANNELS ? hi - lo : CHANNELS;
        const float *from[CHANNELS];
        float sum[CHANNELS] = {0};
        for (u64 i = 0; i < CHANNELS; i++) /* the last one again where there are fewer */
            from[i] = x + (lo + (i < some ? i : some - 1)) * taps;
        for (u64 t = 0; t < taps; t++)
            for (u64 i = 0; i < CHANNELS; i++)
                sum[i] += from[i][t];
        for (u64 i = 0; i < some; i++)
            out[lo + i] = canonical(sum[i] / count);
    }
}

/* Numbers of the copy, at most; each size alone is far below what its products could overflow. */
#define COPY_MOST (1ll << 20)
#define SIDE_MOST (1ll << 16)

static int is_one_window(const struct window *g)
{
    for (int d = 0; d < 3; d++)
        if (g->output[d] != 1 || g->pad[d] || g->pad_end[d] || g->dilation[d] != 1 || g->kernel[d] != g->input[d])
            return 0;
    return 1;
}

int fast_pool_sums(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi, struct fast_scratch *s)
{
    u64 function = r->imm[0], columns = (u64)g->output[2], rows = (u64)g->output[1];
    const float *x = (const float *)(segment + r->in[0]);
    float *out = (float *)(segment + r->out);
    if (function != POOL_MAX && is_one_window(g)) {
        sum_channels(x, lo, hi, g->in_size, function == POOL_SUM ? 1.0f : f32_from_i64((i64)g->in_size), out);
        return 1;
    }
    if (function == POOL_MAX || g->output[0] != 1 || g->kernel[0] != 1 || g->input[0] != 1 || g->pad[0] ||
        g->stride[2] > 2 || lo % columns || hi % columns || g->kernel_size < 6)
        return 0;
    for (int d = 1; d < 3; d++)
        if (g->stride[d] > SIDE_MOST || g->dilation[d] > SIDE_MOST || g->kernel[d] > SIDE_MOST ||
            g->output[d] > SIDE_MOST || g->pad[d] > SIDE_MOST || g->pad[d] < -SIDE_MOST || g->input[d] > SIDE_MOST)
            return 0;
    struct plane p = {.g = g, .phases = g->stride[2]};
    i64 reach = (g->kernel[2] - 1) * g->dilation[2], vectors = (g->output[2] + WIDTH - 1) / WIDTH;
    p.reach = (g->output[2] - 1) * g->stride[2] + reach + 1;
    p.phase = (vectors + (reach / p.phases + WIDTH - 1) / WIDTH) * WIDTH;
    p.row = p.phases * p.phase;
    i64 height = (g->output[1] - 1) * g->stride[1] + (g->kernel[1] - 1) * g->dilation[1] + 1;
    if (height > SIDE_MOST || p.row > COPY_MOST / height)
        return 0;
    u64 line = (u64)p.row, counts = (u64)vectors * WIDTH;
    float *memory = fast_buffer_get(&s->layout, ((u64)(height * p.row) + line + counts) * sizeof *memory);
    if (!memory)
        return 0;
    p.copy = memory + line + counts;
    memset(memory, 0, (line + counts + (u64)(height * p.row)) * sizeof *memory);
    int padded = function == POOL_AVERAGE_PADDED;
    for (u64 i = columns; i < counts; i++)
        memory[line + i] = 1.0f;
    pool_count_taps(memory + line, g, 1, padded);
    for (u64 row = lo / columns, end; row < hi / columns; row = end) {
        u64 channel = row / rows, first = row - channel * rows;
        end = (channel + 1) * rows < hi / columns ? (channel + 1) * rows : hi / columns;
        i64 from = (i64)first * g->stride[1],
            to = (i64)(first + end - row - 1) * g->stride[1] + (g->kernel[1] - 1) * g->dilation[1] + 1;
        for (i64 h = from; h < to; h++)
            copy_row(&p, x + channel * g->in_size, h, memory);
        for (u64 i = row; i < end; i += TOGETHER) {
            i64 taps[TOGETHER] = {0}, some = (i64)(end - i < TOGETHER ? end - i : TOGETHER);
            for (i64 k = 0; k < some; k++)
                taps[k] = pool_taps(g, 1, ((i64)(i + (u64)k - channel * rows)) * g->stride[1] - g->pad[1], padded);
            sum_rows(&p, (i64)(i - channel * rows), some, taps, function == POOL_SUM ? NULL : memory + line,
                     out + i * columns);
        }
    }
    return 1;
}
