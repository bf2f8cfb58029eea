/* OP_CONV: out[n, m, p] = sum over c, then taps t row-major, of x[n, c, window p, tap t] * w[m, c, t] (+ bias[m]).
 *
 * x: [N][C][input..]   w: [M][C/groups][kernel..]   bias: [M]   out: [N][M][output..], all contiguous.
 * The order of the sum is part of the answer (docs/arithmetic.md, "Contractions"). A tap in the padding takes
 * part as x = +0: fma(+0, w, sum) is not always sum (w may be infinite, sum may be -0), and with this rule a
 * convolution is a contraction over a padded copy, bit for bit.
 *
 * Blocks of 4 output channels x 4 positions share their loads: about two guest instructions a product. */
#include "kernels.h"
#include "types.h"
#include "window.h"

/* A convolution in bytes: what all of its blocks share. */
struct conv {
    struct window g;
    u64 depth;                   /* input channels of a group */
    i64 plane, row;              /* input: from one coordinate to the next along dimension 0, 1 */
    i64 channel;                 /* input: from one channel to the next */
    i64 step_d, step_h, step_w;  /* input: from one tap to the next */
    i64 apart;                   /* input: from a window to the next in its row */
    i64 w_step, o_step, o_width; /* from one output channel to the next: weights, outputs; an output element */
    u8 dtype_out;
};

/* Sums for mr channels (weights from w on) and nr windows side by side; x is the group's first channel, `at` the input
 * coordinates of the first window's first tap. Here every tap lies inside the input. */
#define CONV_INSIDE(NAME, ACC, A, B, MAC)                                                                              \
    INLINE void inside_##NAME(unsigned mr, unsigned nr, const struct conv *c, const u8 *x, const i64 at[3],            \
                              const u8 *w, ACC sum[4][4])                                                              \
    {                                                                                                                  \
        i64 apart = c->apart, w_step = c->w_step, step_w = c->step_w;                                                  \
        x += at[0] * c->plane + at[1] * c->row + at[2] * (i64)sizeof(stored_##A);                                      \
        for (u64 n = c->depth; n; n--, x += c->channel) {                                                              \
            const u8 *x_d = x;                                                                                         \
            for (i64 d = c->g.kernel[0]; d; d--, x_d += c->step_d) {                                                   \
                const u8 *x_h = x_d;                                                                                   \
                for (i64 h = c->g.kernel[1]; h; h--, x_h += c->step_h) {                                               \
                    const u8 *x_w = x_h;                                                                               \
                    for (i64 t = c->g.kernel[2]; t; t--, x_w += step_w) {                                              \
                        __typeof__(ld_##A(x)) value[4];                                                                \
                        for (unsigned j = 0; j < nr; j++)                                                              \
                            value[j] = ld_##A(x_w + (i64)j * apart);                                                   \
                        for (unsigned i = 0; i < mr; i++) {                                                            \
                            __typeof__(ld_##B(w)) weight = ld_##B(w + (i64)i * w_step);                                \
                            for (unsigned j = 0; j < nr; j++)                                                          \
                                sum[i][j] = MAC(value[j], weight, sum[i][j]);                                          \
                        }                                                                                              \
                        w += sizeof(stored_##B);                                                                       \
                    }                                                                                                  \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

/* The same for windows of one tap: their own loop, a third as long. */
#define CONV_POINT(NAME, ACC, A, B, MAC)                                                                               \
    INLINE void point_##NAME(unsigned mr, unsigned nr, const struct conv *c, const u8 *x, const i64 at[3],             \
                             const u8 *w, ACC sum[4][4])                                                               \
    {                                                                                                                  \
        i64 apart = c->apart, w_step = c->w_step, channel = c->channel;                                                \
        x += at[0] * c->plane + at[1] * c->row + at[2] * (i64)sizeof(stored_##A);                                      \
        for (u64 n = c->depth; n; n--, x += channel) {                                                                 \
            __typeof__(ld_##A(x)) value[4];                                                                            \
            for (unsigned j = 0; j < nr; j++)                                                                          \
                value[j] = ld_##A(x + (i64)j * apart);                                                                 \
            for (unsigned i = 0; i < mr; i++) {                                                                        \
                __typeof__(ld_##B(w)) weight = ld_##B(w + (i64)i * w_step);                                            \
                for (unsigned j = 0; j < nr; j++)                                                                      \
                    sum[i][j] = MAC(value[j], weight, sum[i][j]);                                                      \
            }                                                                                                          \
            w += sizeof(stored_##B);                                                                                   \
        }                                                                                                              \
    }

/* Some taps may lie in the padding: every coordinate is looked at. */
#define CONV_EDGE(NAME, ACC, A, B, MAC)                                                                                \
    INLINE void edge_##NAME(unsigned mr, unsigned nr, const struct conv *c, const u8 *x, const i64 at[3], const u8 *w, \
                            ACC sum[4][4])                                                                             \
    {                                                                                                                  \
        i64 w_step = c->w_step, dilation = c->g.dilation[2], stride = c->g.stride[2];                                  \
        u64 width = (u64)c->g.input[2];                                                                                \
        for (u64 n = c->depth; n; n--, x += c->channel)                                                                \
            for (i64 d = 0; d < c->g.kernel[0]; d++)                                                                   \
                for (i64 h = 0; h < c->g.kernel[1]; h++) {                                                             \
                    i64 in_d = at[0] + d * c->g.dilation[0], in_h = at[1] + h * c->g.dilation[1];                      \
                    u32 line = (u64)in_d < (u64)c->g.input[0] && (u64)in_h < (u64)c->g.input[1];                       \
                    /* Of a line in the padding no column is inside, however far taps go. */                           \
                    u64 inside = line ? width : 0, column = (u64)at[2];                                                \
                    /* Of a line in the padding this is no address, and nothing is read from it. */                    \
                    const u8 *from = (const u8 *)((u64)x + (u64)in_d * (u64)c->plane + (u64)in_h * (u64)c->row);       \
                    for (i64 t = c->g.kernel[2]; t; t--) {                                                             \
                        __typeof__(ld_##A(x)) value[4];                                                                \
                        for (unsigned j = 0; j < nr; j++) {                                                            \
                            u64 in_w = column + j * (u64)stride;                                                       \
                            value[j] = 0;                                                                              \
                            if (in_w < inside)                                                                         \
                                value[j] = ld_##A(from + in_w * sizeof(stored_##A));                                   \
                        }                                                                                              \
                        column += (u64)dilation;                                                                       \
                        for (unsigned i = 0; i < mr; i++) {                                                            \
                            __typeof__(ld_##B(w)) weight = ld_##B(w + (i64)i * w_step);                                \
                            for (unsigned j = 0; j < nr; j++)                                                          \
                                sum[i][j] = MAC(value[j], weight, sum[i][j]);                                          \
                        }                                                                                              \
                        w += sizeof(stored_##B);                                                                       \
                    }                                                                                                  \
                }                                                                                                      \
    }

#define CONV_LOOPS(NAME, ACC, A, B, MAC)                                                                               \
    CONV_INSIDE(NAME, ACC, A, B, MAC)                                                                                  \
    CONV_POINT(NAME, ACC, A, B, MAC)                                                                                   \
    CONV_EDGE(NAME, ACC, A, B, MAC)

/* o: the output of channel 0, window 0 of the block; bias of channel 0. Of the four windows that are made (a single one
 * of binary32 is made alone) the first `count` are stored. */
#define CONV_BLOCK(NAME, ACC, MR, SUM)                                                                                 \
    static void conv_##MR##_##NAME(const struct conv *c, u8 *o, const u8 *x, const i64 at[3], u32 inside, const u8 *w, \
                                   const u8 *bias, unsigned count)                                                     \
    {                                                                                                                  \
        ACC sum[4][4] = {{0}};                                                                                         \
        SUM(NAME, MR);                                                                                                 \
        u8 dtype = c->dtype_out;                                                                                       \
        i64 o_width = c->o_width, o_step = c->o_step;                                                                  \
        for (unsigned i = 0; i < MR; i++, o += o_step) {                                                               \
            if (bias) {                                                                                                \
                ACC b = load_bias_##ACC(bias + (i64)i * o_width, dtype);                                               \
                for (unsigned j = 0; j < 4; j++)                                                                       \
                    sum[i][j] = sum[i][j] + b;                                                                         \
            }                                                                                                          \
            store_##ACC(o, dtype, sum[i][0]);                                                                          \
            u8 *to = o;                                                                                                \
            for (unsigned j = 1; j < count; j++)                                                                       \
                store_##ACC(to += o_width, dtype, sum[i][j]);                                                          \
        }                                                                                                              \
    }
/* binary32 is what models are made of: it gets loops of its own for windows inside, and for single windows. */
#define SUM_ALIKE(NAME, MR, NR)                                                                                        \
    if (!inside)                                                                                                       \
        edge_##NAME(MR, NR, c, x, at, w, sum);                                                                         \
    else if (c->g.kernel_size == 1)                                                                                    \
        point_##NAME(MR, NR, c, x, at, w, sum);                                                                        \
    else                                                                                                               \
        inside_##NAME(MR, NR, c, x, at, w, sum)
#define SUM_EACH_CASE(NAME, MR)                                                                                        \
    if (count == 1) {                                                                                                  \
        SUM_ALIKE(NAME, MR, 1);                                                                                        \
    } else {                                                                                                           \
        SUM_ALIKE(NAME, MR, 4);                                                                                        \
    }
#define SUM_EDGE(NAME, MR)                                                                                             \
    (void)inside;                                                                                                      \
    edge_##NAME(MR, 4, c, x, at, w, sum)

#define CONV_BLOCKS(NAME, ACC, A, B, MAC)                                                                              \
    CONV_LOOPS(NAME, ACC, A, B, MAC)                                                                                   \
    CONV_BLOCK(NAME, ACC, 4, SUM_EDGE)                                                                                 \
    CONV_BLOCK(NAME, ACC, 1, SUM_EDGE)
CONV_LOOPS(f32, f32, f32, f32, MAC_FLOAT)
CONV_BLOCK(f32, f32, 4, SUM_EACH_CASE)
CONV_BLOCK(f32, f32, 1, SUM_EACH_CASE)
FOR_EACH_OTHER_PRODUCT(CONV_BLOCKS)

typedef void conv_block(const struct conv *c, u8 *o, const u8 *x, const i64 at[3], u32 inside, const u8 *w,
                        const u8 *bias, unsigned count);
static conv_block *const conv_blocks[][2] = {
#define CONV_BLOCK_ROW(NAME, ACC, A, B, MAC) {conv_4_##NAME, conv_1_##NAME},
    FOR_EACH_PRODUCT(CONV_BLOCK_ROW)};

/* Do the taps along dimension d of `windows` windows, the first at coordinate `at`, all lie inside? */
INLINE u32 taps_inside(const struct window *g, int d, i64 at, i64 windows)
{
    return at >= 0 && at + (windows - 1) * g->stride[d] + (g->kernel[d] - 1) * g->dilation[d] < g->input[d];
}

/* The positions [position, end) of one channel, or of four, whose first is at o (its position 0). */
static void conv_channels(const struct conv *c, conv_block *make, u8 *o, const u8 *x, const u8 *w, const u8 *bias,
                          u64 position, u64 end)
{
    const struct window *g = &c->g;
    struct place p;
    place_begin(&p, g, position);
    while (position < end) {
        u64 left = (u64)(g->output[2] - p.output[2]);
        if (left > end - position)
            left = end - position;
        u32 lines_inside = taps_inside(g, 0, p.at[0], 1) && taps_inside(g, 1, p.at[1], 1);
        i64 at[3] = {p.at[0], p.at[1], p.at[2]};
        u8 *to = o + (i64)position * c->o_width;
        position += left;
        while (left) {
            /* Two or three windows at the end of a row are made as four: cheaper than one by one. */
            unsigned count = left < 4 ? (unsigned)left : 4;
            u32 inside = lines_inside && taps_inside(g, 2, at[2], count == 1 ? 1 : 4);
            make(c, to, x, at, inside, w, bias, count);
            to += (i64)count * c->o_width;
            at[2] += (i64)count * g->stride[2];
            left -= count;
        }
        p.output[2] = g->output[2] - 1; /* on to the next row */
        place_next(&p, g);
    }
}

void KERNEL(kernel_conv)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct conv c;
    struct window *g = &c.g;
    window_decode(g, r);
    i64 x_width = (i64)dtype_bytes(r->dtype_in[0]), w_width = (i64)dtype_bytes(r->dtype_in[1]);
    u64 channels = g->M / g->groups;
    c.depth = g->C / g->groups;
    c.row = g->input[2] * x_width;
    c.plane = g->input[1] * c.row;
    c.channel = g->input[0] * c.plane;
    /* Of windows inside: a single tap may have any dilation. */
    c.step_d = g->kernel[0] == 1 ? 0 : (i64)((u64)g->dilation[0] * (u64)c.plane);
    c.step_h = g->kernel[1] == 1 ? 0 : (i64)((u64)g->dilation[1] * (u64)c.row);
    c.step_w = g->dilation[2] * x_width;
    c.apart = g->stride[2] * x_width;
    c.o_width = (i64)dtype_bytes(r->dtype_out);
    c.o_step = (i64)g->out_size * c.o_width;
    c.w_step = (i64)(c.depth * g->kernel_size) * w_width;
    c.dtype_out = r->dtype_out;
    conv_block *const *make = conv_blocks[product_of(r)];
    while (lo < hi) {
        u64 image = lo / g->out_size, position = lo - image * g->out_size;
        u64 n = image / g->M, m = image - n * g->M, group = m / channels;
        /* Four whole channels of one group where the range has them, else the rest of one channel. */
        u32 four = position == 0 && m + 4 <= (group + 1) * channels && hi - lo >= 4 * g->out_size;
        u64 end = four || hi - lo >= g->out_size - position ? g->out_size : position + (hi - lo);
        conv_channels(&c, make[four ? 0 : 1], segment + r->out + (i64)image * c.o_step,
                      segment + r->in[0] + (i64)(n * g->C + group * c.depth) * c.channel,
                      segment + r->in[1] + (i64)m * c.w_step,
                      r->n_in == 3 ? segment + r->in[2] + (i64)m * c.o_width : 0, position, end);
        lo += four ? 4 * g->out_size : end - position;
    }
}
