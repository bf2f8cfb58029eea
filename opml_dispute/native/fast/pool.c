/* OP_POOL in binary32: neighbouring windows side by side in a vector register.
 *
 * Each input row is laid out anew, once: what lies in the padding gets a value that changes nothing, and a row of stride
 * s is split into s parts by coordinate mod s, so that what tap t of neighbouring windows reads lies side by side. Taps are
 * taken in the plain kernel's order. Padding changes nothing: a maximum that starts from -infinity stays what it is, and
 * so does its NaN, when -infinity is taken in; a sum that starts from +0 is never -0, so +0 may be added. */
#include <string.h>

#include "../kernels/float32.h"
#include "../kernels/window.h"
#include "fast.h"

#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX2__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

enum { POOL_MAX = 0, POOL_AVERAGE = 1, POOL_AVERAGE_PADDED = 2, POOL_SUM = 3 };

/* Below this many taps in all laying out costs more than it saves; above this many floats a channel is left alone. */
#define WORTH_LAYING_OUT 4096
#define LAYOUT_MOST (1ull << 24)

struct rows {
    i64 part, length; /* floats of a part, and of a row: `stride` parts */
    const float *at;  /* the first row of the channel */
    int direct;       /* rows are the input's own */
};

static vec choose(veci mask, vec x, vec y) { return (vec)((mask & (veci)x) | (~mask & (veci)y)); }
static vec canonical_vec(vec x)
{
    veci is_nan = ((veci)x & 0x7fffffff) > 0x7f800000;
    return choose(is_nan, (vec)((veci){0} + 0x7fc00000), x);
}

/* Lays out the input rows of one channel. */
static void lay_out(const struct rows *rows, const struct window *g, const float *x, float *to, float padding)
{
    i64 stride = g->stride[2], pad = g->pad[2], count = g->input[0] * g->input[1];
    for (i64 i = 0; i < count * rows->length; i++)
        to[i] = padding;
    for (i64 i = 0; i < count; i++, x += g->input[2], to += rows->length)
        for (i64 part = 0; part < stride; part++) {
            /* Coordinates c = w + pad with c % stride == part; place c / stride of the part. */
            i64 place = pad > part ? (pad - part + stride - 1) / stride : 0;
            i64 w = place * stride + part - pad, end = g->input[2];
            i64 n = end > w ? (end - w + stride - 1) / stride : 0;
            if (n > rows->part - place)
                n = rows->part - place;
            float *from = to + part * rows->part + place;
            if (stride == 1 && n > 0)
                memcpy(from, x + w, (size_t)n * sizeof(float));
            else if (stride == 2)
                for (i64 j = 0; j < n; j++)
                    from[j] = x[w + 2 * j];
            else
                for (i64 j = 0; j < n; j++)
                    from[j] = x[w + stride * j];
        }
}

/* By how many taps each sum of a row is divided: `outer` rows of taps, and those along the row. */
static void count_taps(float *count, const struct window *g, i64 outer, int padded)
{
    for (i64 j = 0; j < g->output[2]; j++) {
        i64 at = j * g->stride[2] - g->pad[2], dilation = g->dilation[2];
        i64 room = g->input[2] - at + (padded ? g->pad_end[2] : 0), before = padded || at >= 0 ? 0 : (-at + dilation - 1) / dilation;
        i64 taps = room <= 0 ? 0 : (room + dilation - 1) / dilation;
        taps = (taps < g->kernel[2] ? taps : g->kernel[2]) - before;
        count[j] = f32_from_i64(outer * (taps > 0 ? taps : 0));
    }
}

/* As the plain kernel's padded_taps, for an outer dimension. */
static i64 padded_taps(const struct window *g, int d, i64 at)
{
    i64 room = g->input[d] + g->pad_end[d] - at;
    i64 taps = room <= 0 ? 0 : (room + g->dilation[d] - 1) / g->dilation[d];
    return taps < g->kernel[d] ? taps : g->kernel[d];
}

/* The output row of `taps` pointers, each to what one tap of the row's windows reads: columns [begin, end) to out. */
static void pool_row(u64 function, const float *const *tap, u64 taps, const float *count, float *out, i64 begin, i64 end)
{
    for (i64 j = begin; j < end; j += WIDTH) {
        vec value = (vec){0};
        if (function == POOL_MAX) {
            value -= f32_inf();
            for (u64 t = 0; t < taps; t++) {
                vec y = *(const vec *)(tap[t] + j);
                value = choose((value > y) | (value != value), value, y);
            }
        } else {
            for (u64 t = 0; t < taps; t++)
                value += *(const vec *)(tap[t] + j);
            if (function != POOL_SUM)
                value /= *(const vec *)(count + j); /* by 1: nothing changes */
        }
        value = canonical_vec(value);
        if (end - j >= WIDTH)
            *(vec *)(out + j - begin) = value;
        else
            for (i64 i = 0; i < end - j; i++)
                out[j - begin + i] = value[i];
    }
}

int fast_pool(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    struct window g;
    struct rows rows;
    window_decode(&g, r);
    u64 function = r->imm[0];
    if (r->dtype_in[0] != DT_F32 || (hi - lo) * g.kernel_size < WORTH_LAYING_OUT || g.output[2] < 4)
        return 0;
    i64 reach = (g.kernel[2] - 1) * g.dilation[2], columns = g.output[2];
    u64 limit = LAYOUT_MOST, size;
    rows.part = columns + reach / g.stride[2] + 1;
    rows.length = rows.part * g.stride[2];
    /* ASSUMES: the memory behind a tensor may be read (ml.c, schedule.c); vectors go over its end. */
    rows.direct = g.stride[2] == 1 && g.pad[2] == 0 && columns + reach <= g.input[2];
    if (rows.direct)
        rows.length = g.input[2];
    if ((u64)rows.length > limit || (u64)(g.input[0] * g.input[1]) > limit / (u64)rows.length || g.kernel_size > 4096)
        return 0;
    size = rows.direct ? 0 : (u64)(g.input[0] * g.input[1] * rows.length);
    u64 counts = (u64)columns + WIDTH, floats = (size + 2 * WIDTH + counts + 15) / 16 * 16;
    float *memory = fast_buffer_get(&s->layout, floats * sizeof(float) + g.kernel_size * sizeof(float *));
    if (!memory)
        return 0;
    float *count = memory + size + 2 * WIDTH, padding = function == POOL_MAX ? -f32_inf() : 0.0f;
    const float **tap = (const float **)(memory + floats);
    for (u64 i = 0; i < 2 * WIDTH; i++)
        memory[size + i] = 0.0f;
    for (u64 i = 0; i < counts; i++)
        count[i] = 1.0f;
    u64 laid_out = UINT64_MAX;
    i64 counted = -1;
    while (lo < hi) {
        u64 channel = lo / g.out_size, position = lo - channel * g.out_size;
        i64 begin = (i64)(position % (u64)columns), end = columns;
        if ((u64)(end - begin) > hi - lo)
            end = begin + (i64)(hi - lo);
        const float *x = (const float *)(segment + r->in[0]) + channel * g.in_size;
        if (rows.direct) {
            rows.at = x;
        } else if (laid_out != channel) {
            lay_out(&rows, &g, x, memory, padding);
            laid_out = channel;
            rows.at = memory;
        }
        struct place p;
        i64 first[2], last[2], outer = 1;
        place_begin(&p, &g, position - (u64)begin);
        for (int d = 0; d < 2; d++) {
            place_taps(&p, &g, d, &first[d], &last[d]);
            outer *= function == POOL_AVERAGE_PADDED ? padded_taps(&g, d, p.at[d]) : last[d] - first[d];
        }
        u64 taps = 0;
        for (i64 d = first[0]; d < last[0]; d++)
            for (i64 h = first[1]; h < last[1]; h++) {
                const float *row = rows.at + ((p.at[0] + d * g.dilation[0]) * g.input[1] + p.at[1] + h * g.dilation[1]) * rows.length;
                for (i64 t = 0; t < g.kernel[2]; t++) {
                    i64 c = t * g.dilation[2];
                    tap[taps++] = row + c % g.stride[2] * rows.part + c / g.stride[2];
                }
            }
        if ((function == POOL_AVERAGE || function == POOL_AVERAGE_PADDED) && outer != counted) {
            count_taps(count, &g, outer, function == POOL_AVERAGE_PADDED);
            counted = outer;
        }
        pool_row(function, tap, taps, count, (float *)(segment + r->out) + lo, begin, end);
        lo += (u64)(end - begin);
    }
    return 1;
}
