/* OP_POOL's maxima of integers: of the rows that a window reaches first, then along the row. The order does not matter. */
#include "kernels/window.h"
#include "pooling.h"

/* One output row of a channel x, whose windows begin at coordinate `at` of its rows; `line`: memory for a padded row. */
#define MAXIMA(T, LEAST)                                                                                               \
    INLINE void along_##T(T *restrict out, const T *restrict line, i64 columns, i64 step)                              \
    {                                                                                                                  \
        for (i64 j = 0; j < columns; j++)                                                                              \
            out[j] = line[j * step] > out[j] ? line[j * step] : out[j];                                                \
    }                                                                                                                  \
    static void row_##T(const struct window *g, const void *channel, i64 at, void *memory, i64 size, void *to)         \
    {                                                                                                                  \
        T *line = memory, *out = to;                                                                                   \
        i64 pad = g->pad[2] > 0 ? g->pad[2] : 0, skip = g->pad[2] < 0 ? -g->pad[2] : 0, count = g->input[2] - skip;    \
        count = count < size - pad ? count : size - pad;                                                               \
        for (i64 i = 0; i < size; i++)                                                                                 \
            line[i] = LEAST;                                                                                           \
        for (i64 h = 0; h < g->kernel[1]; h++) {                                                                       \
            i64 row = at + h * g->dilation[1];                                                                         \
            if (row >= 0 && row < g->input[1])                                                                         \
                along_##T(line + pad, (const T *)channel + row * g->input[2] + skip, count, 1);                        \
        }                                                                                                              \
        for (i64 j = 0; j < g->output[2]; j++)                                                                         \
            out[j] = LEAST;                                                                                            \
        for (i64 t = 0; t < g->kernel[2]; t++)                                                                         \
            if (g->stride[2] == 1)                                                                                     \
                along_##T(out, line + t * g->dilation[2], g->output[2], 1);                                            \
            else if (g->stride[2] == 2)                                                                                \
                along_##T(out, line + t * g->dilation[2], g->output[2], 2);                                            \
            else                                                                                                       \
                along_##T(out, line + t * g->dilation[2], g->output[2], g->stride[2]);                                 \
    }
MAXIMA(u8, 0)
MAXIMA(i8, INT8_MIN)
MAXIMA(u16, 0)
MAXIMA(i16, INT16_MIN)
MAXIMA(u32, 0)
MAXIMA(i32, INT32_MIN)
MAXIMA(u64, 0)
MAXIMA(i64, INT64_MIN)

typedef void row_function(const struct window *g, const void *channel, i64 at, void *memory, i64 size, void *to);

static row_function *row_for(u8 dtype)
{
    switch (dtype) {
    case DT_U8: return row_u8;
    case DT_I8: return row_i8;
    case DT_U16: return row_u16;
    case DT_I16: return row_i16;
    case DT_U32: return row_u32;
    case DT_I32: return row_i32;
    case DT_U64: return row_u64;
    case DT_I64: return row_i64;
    default: return NULL;
    }
}

/* Numbers of a padded row, at most; sizes below this do not overflow in what follows. */
#define LINE_MOST (1ll << 20)

int fast_pool_integers(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi,
                       struct fast_scratch *s)
{
    row_function *run = row_for(r->dtype_in[0]);
    u64 columns = (u64)g->output[2], rows = (u64)g->output[1], width = dtype_bytes(r->dtype_in[0]);
    if (!run || g->output[0] != 1 || g->kernel[0] != 1 || g->input[0] != 1 || g->pad[0] || lo % columns || hi % columns)
        return 0;
    for (int d = 1; d < 3; d++)
        if (g->stride[d] > LINE_MOST || g->dilation[d] > LINE_MOST || g->kernel[d] > LINE_MOST ||
            g->output[d] > LINE_MOST || g->pad[d] > LINE_MOST || g->pad[d] < -LINE_MOST)
            return 0;
    i64 size = (g->output[2] - 1) * g->stride[2] + (g->kernel[2] - 1) * g->dilation[2] + 1;
    void *line = size > LINE_MOST || g->pad[2] > size ? NULL : fast_buffer_get(&s->layout, (u64)size * width);
    if (!line)
        return 0;
    for (u64 row = lo / columns; row < hi / columns; row++) {
        u64 channel = row / rows;
        i64 at = (i64)(row - channel * rows) * g->stride[1] - g->pad[1];
        run(g, segment + r->in[0] + channel * g->in_size * width, at, line, size,
            segment + r->out + row * columns * width);
    }
    return 1;
}
