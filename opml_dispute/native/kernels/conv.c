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

/* sum[i][j] for channels i (weights from w, w_step bytes apart) and the windows at place[j]; x is the first
 * channel that they read. */
#define CONV_LOOPS(NAME, ACC, A, B, MAC)                                                                     \
    /* Every tap inside: the windows differ by a constant distance. */                                       \
    INLINE void inside_##NAME(unsigned mr, unsigned nr, const struct window *g, const u8 *x, const u8 *w,    \
                              i64 w_step, const struct place *place, ACC sum[4][4])                          \
    {                                                                                                        \
        i64 width = (i64)sizeof(stored_##A), row = g->input[2] * width, plane = g->input[1] * row;           \
        i64 step_d = g->dilation[0] * plane, step_h = g->dilation[1] * row, step_w = g->dilation[2] * width; \
        i64 apart[4];                                                                                        \
        for (unsigned j = 0; j < nr; j++)                                                                    \
            apart[j] = place[j].at[0] * plane + place[j].at[1] * row + place[j].at[2] * width;               \
        for (u64 c = g->C / g->groups; c; c--, x += (i64)g->in_size * width) {                               \
            const u8 *x_d = x;                                                                               \
            for (i64 d = g->kernel[0]; d; d--, x_d += step_d) {                                              \
                const u8 *x_h = x_d;                                                                         \
                for (i64 h = g->kernel[1]; h; h--, x_h += step_h) {                                          \
                    const u8 *x_w = x_h;                                                                     \
                    for (i64 t = g->kernel[2]; t; t--) {                                                     \
                        __typeof__(ld_##A(x)) value[4];                                                      \
                        for (unsigned j = 0; j < nr; j++)                                                    \
                            value[j] = ld_##A(x_w + apart[j]);                                               \
                        for (unsigned i = 0; i < mr; i++) {                                                  \
                            __typeof__(ld_##B(w)) weight = ld_##B(w + (i64)i * w_step);                      \
                            for (unsigned j = 0; j < nr; j++)                                                \
                                sum[i][j] = MAC(value[j], weight, sum[i][j]);                                \
                        }                                                                                    \
                        x_w += step_w;                                                                       \
                        w += sizeof(stored_##B);                                                             \
                    }                                                                                        \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    /* Some taps may lie in the padding: every coordinate is looked at. */                                   \
    INLINE void edge_##NAME(unsigned mr, unsigned nr, const struct window *g, const u8 *x, const u8 *w,      \
                            i64 w_step, const struct place *place, ACC sum[4][4])                            \
    {                                                                                                        \
        i64 width = (i64)sizeof(stored_##A), row = g->input[2] * width, plane = g->input[1] * row;           \
        u64 input_w = (u64)g->input[2];                                                                      \
        for (u64 c = g->C / g->groups; c; c--, x += (i64)g->in_size * width)                                 \
            for (i64 d = 0; d < g->kernel[0]; d++)                                                           \
                for (i64 h = 0; h < g->kernel[1]; h++) {                                                     \
                    const u8 *line[4];                                                                       \
                    i64 column[4];                                                                           \
                    for (unsigned j = 0; j < nr; j++) {                                                      \
                        i64 in_d = place[j].at[0] + d * g->dilation[0];                                      \
                        i64 in_h = place[j].at[1] + h * g->dilation[1];                                      \
                        u32 inside = (u64)in_d < (u64)g->input[0] && (u64)in_h < (u64)g->input[1];           \
                        line[j] = x + in_d * plane + in_h * row;                                             \
                        /* A line in the padding: no column of it is inside, however far taps go. */         \
                        column[j] = inside ? place[j].at[2] : INT64_MIN;                                     \
                    }                                                                                        \
                    for (i64 t = g->kernel[2]; t; t--) {                                                     \
                        __typeof__(ld_##A(x)) value[4];                                                      \
                        for (unsigned j = 0; j < nr; j++) {                                                  \
                            value[j] = 0;                                                                    \
                            if ((u64)column[j] < input_w)                                                    \
                                value[j] = ld_##A(line[j] + column[j] * width);                              \
                            column[j] += g->dilation[2];                                                     \
                        }                                                                                    \
                        for (unsigned i = 0; i < mr; i++) {                                                  \
                            __typeof__(ld_##B(w)) weight = ld_##B(w + (i64)i * w_step);                      \
                            for (unsigned j = 0; j < nr; j++)                                                \
                                sum[i][j] = MAC(value[j], weight, sum[i][j]);                                \
                        }                                                                                    \
                        w += sizeof(stored_##B);                                                             \
                    }                                                                                        \
                }                                                                                            \
    }

/* o: the output of channel 0, position 0 of the block; channels are o_step bytes apart; bias of channel 0. Only the
 * first `count` of the positions are stored: what is left of a row of positions repeats one of them. */
#define CONV_BLOCK(NAME, ACC, MR, SUM)                                                                       \
    static void conv_##MR##_##NAME(const struct window *g, u8 dtype_out, u8 *o, i64 o_step, const u8 *x,     \
                                   const u8 *w, i64 w_step, const u8 *bias, const struct place *place,       \
                                   unsigned count)                                                           \
    {                                                                                                        \
        ACC sum[4][4] = {{0}};                                                                               \
        u64 width = dtype_bytes(dtype_out);                                                                  \
        SUM(NAME, MR);                                                                                       \
        for (unsigned i = 0; i < MR; i++)                                                                    \
            for (unsigned j = 0; j < count; j++)                                                             \
                finish_##ACC(o + (i64)i * o_step + j * width, dtype_out, sum[i][j],                          \
                             bias ? bias + i * width : 0);                                                   \
    }
/* binary32 is what models are made of: it gets loops of its own for windows inside, and for single positions. */
#define SUM_EACH_CASE(NAME, MR)                                                                              \
    u32 inside = 1;                                                                                          \
    for (unsigned j = 0; j < count; j++)                                                                     \
        inside &= place_inside(place + j, g);                                                                \
    if (count == 1)                                                                                          \
        inside ? inside_##NAME(MR, 1, g, x, w, w_step, place, sum)                                           \
               : edge_##NAME(MR, 1, g, x, w, w_step, place, sum);                                            \
    else                                                                                                     \
        inside ? inside_##NAME(MR, 4, g, x, w, w_step, place, sum)                                           \
               : edge_##NAME(MR, 4, g, x, w, w_step, place, sum)
#define SUM_EDGE(NAME, MR) edge_##NAME(MR, 4, g, x, w, w_step, place, sum)

#define CONV_BLOCKS(NAME, ACC, A, B, MAC)                                                                    \
    CONV_LOOPS(NAME, ACC, A, B, MAC)                                                                         \
    CONV_BLOCK(NAME, ACC, 4, SUM_EDGE)                                                                       \
    CONV_BLOCK(NAME, ACC, 1, SUM_EDGE)
CONV_LOOPS(f32, f32, f32, f32, MAC_FLOAT)
CONV_BLOCK(f32, f32, 4, SUM_EACH_CASE)
CONV_BLOCK(f32, f32, 1, SUM_EACH_CASE)
FOR_EACH_OTHER_PRODUCT(CONV_BLOCKS)

typedef void conv_block(const struct window *g, u8 dtype_out, u8 *o, i64 o_step, const u8 *x, const u8 *w, i64 w_step,
                        const u8 *bias, const struct place *place, unsigned count);
static conv_block *const conv_blocks[][2] = {
#define CONV_BLOCK_ROW(NAME, ACC, A, B, MAC) {conv_4_##NAME, conv_1_##NAME},
    FOR_EACH_PRODUCT(CONV_BLOCK_ROW)
};

void KERNEL(kernel_conv)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct window g;
    window_decode(&g, r);
    u64 x_width = dtype_bytes(r->dtype_in[0]), w_width = dtype_bytes(r->dtype_in[1]);
    u64 o_width = dtype_bytes(r->dtype_out);
    u64 channels = g.M / g.groups, depth = g.C / g.groups;
    i64 w_step = (i64)(depth * g.kernel_size * w_width), o_step = (i64)(g.out_size * o_width);
    conv_block *const *make = conv_blocks[product_of(r)];
    while (lo < hi) {
        u64 image = lo / g.out_size, position = lo - image * g.out_size;
        u64 n = image / g.M, m = image - n * g.M, group = m / channels;
        /* Four whole channels of one group where the range has them, else the rest of one channel. */
        u32 four = position == 0 && m + 4 <= (group + 1) * channels && hi - lo >= 4 * g.out_size;
        u64 end = four || hi - lo >= g.out_size - position ? g.out_size : position + (hi - lo);
        const u8 *x = segment + r->in[0] + (n * g.C + group * depth) * g.in_size * x_width;
        const u8 *w = segment + r->in[1] + (i64)m * w_step;
        const u8 *bias = r->n_in == 3 ? segment + r->in[2] + m * o_width : 0;
        u8 *o = segment + r->out + lo * o_width;
        lo += four ? 4 * g.out_size : end - position;
        struct place place[4];
        place_begin(&place[0], &g, position);
        while (position < end) {
            unsigned count = end - position < 4 ? (unsigned)(end - position) : 4;
            if (count < 4 && r->dtype_in[0] == DT_F32)
                count = 1;
            for (unsigned j = 1; j < 4; j++) {
                place[j] = place[j - 1];
                if (j < count)
                    place_next(&place[j], &g);
            }
            make[four ? 0 : 1](&g, r->dtype_out, o, o_step, x, w, w_step, bias, place, count);
            o += count * o_width;
            position += count;
            place[0] = place[count - 1];
            place_next(&place[0], &g);
        }
    }
}
