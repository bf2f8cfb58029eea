/* The input of a convolution laid out anew: padded, and split into parts by coordinate mod stride. */
#include "layout.h"

#include "vectors.h"

u64 layout_plan(struct layout *l, const struct window *g, int *direct)
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
        for (i64 t = 0; t < g->kernel[d]; t++)
            l->part_of[d][t * g->dilation[d] % stride] = 0;
        for (i64 i = 0; i < stride; i++)
            if (l->part_of[d][i] == 0)
                l->part_of[d][i] = (int)parts[d]++;
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

void layout_taps(const struct layout *l, const struct window *g, i64 *offset)
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

struct layout_part layout_part(const struct layout *l, const struct window *g, i64 i)
{
    i64 stride = g->stride[2], pad = g->pad[2], size = l->size[2];
    i64 first = pad > i ? (pad - i + stride - 1) / stride : 0;
    i64 last = g->input[2] + pad - i, end = last > 0 ? (last + stride - 1) / stride : 0;
    end = end < size ? end : size;
    if (first > end)
        first = end;
    return (struct layout_part){first, end, first * stride + i - pad};
}

/* `layout_rows`, with what is done to a row inlined. */
INLINE void walk_rows(const struct layout *l, const struct window *g, u64 first, u64 end, layout_row *row, void *self)
{
    i64 begin = 0, reach = l->size[1], channel = 0, to = 0;
    i64 rows = g->input[1], width = g->input[2], step = g->stride[1], pitch = l->pitch[1];
    if (g->output[0] == 1) { /* whole rows h of the layout */
        begin = (i64)first / g->output[2];
        reach = (i64)(end - 1) / g->output[2] + (g->kernel[1] - 1) * g->dilation[1] / step + 1;
        reach = reach < l->size[1] ? reach : l->size[1];
    }
    /* INVARIANT: from lower addresses to higher: a row may be written in whole vectors, over the start of what follows. */
    for (u64 c = 0; c < g->C / g->groups; c++, channel += (i64)g->in_size, to += l->channel)
        for (i64 i = 0; i < g->stride[0]; i++)
            for (i64 j = 0; l->part_of[0][i] >= 0 && j < step; j++)
                for (i64 d = 0; l->part_of[1][j] >= 0 && d < l->size[0]; d++) {
                    i64 at_d = d * g->stride[0] + i - g->pad[0], at_h = begin * step + j - g->pad[1];
                    i64 plane = at_d >= 0 && at_d < g->input[0] ? channel + at_d * rows * width : -1;
                    i64 place = to + l->part_of[0][i] * l->part[0] + d * l->pitch[0] + l->part_of[1][j] * l->part[1];
                    for (i64 h = begin; h < reach; h++, at_h += step)
                        row(self, plane >= 0 && at_h >= 0 && at_h < rows ? plane + at_h * width : -1,
                            place + h * pitch);
                }
}

void layout_rows(const struct layout *l, const struct window *g, u64 first, u64 end, layout_row *row, void *self)
{
    walk_rows(l, g, first, end, row, self);
}

#if LANES

/* One image and group being laid out. */
struct laying {
    const struct layout *l;
    const float *x;
    float *to;
    i64 stride, size;
    struct layout_part parts[MOST_PARTS]; /* of a row that there is */
};

/* A row of stride 1, which has one part. Whole vectors: what goes over is zeroed, and behind the row is the next, or
 * room. */
INLINE void lay_out_whole_row(void *self, i64 from, i64 to)
{
    const struct laying *laying = self;
    i64 size = laying->size, first = laying->parts[0].first, end = laying->parts[0].end;
    float *part = laying->to + to;
    if (from < 0) {
        for (i64 at = 0; at < size; at += LANES)
            *(vec *)(part + at) = (vec){0};
        return;
    }
    const float *x = laying->x + from + laying->parts[0].from - first;
    for (i64 at = 0; at < first; at++)
        part[at] = 0.0f;
    for (i64 at = first; at < end; at += LANES)
        *(vec *)(part + at) = *(const vec *)(x + at);
    for (i64 at = end; at < size; at++)
        part[at] = 0.0f;
}

/* A row of another stride. */
INLINE void lay_out_parts(void *self, i64 from, i64 to)
{
    const struct laying *laying = self;
    const struct layout *l = laying->l;
    i64 stride = laying->stride, size = laying->size;
    for (i64 i = 0; i < stride; i++) {
        if (l->part_of[2][i] < 0)
            continue;
        float *part = laying->to + to + l->part_of[2][i] * l->part[2];
        struct layout_part in = from >= 0 ? laying->parts[i] : (struct layout_part){0, 0, 0};
        for (i64 at = 0; at < in.first; at++)
            part[at] = 0.0f;
        const float *x = laying->x + from + in.from;
        i64 at = in.first;
        if (stride == 2) {
            copy_second(part + at, x, (u64)(in.end - at));
            at = in.end;
        }
        for (; at < in.end; at++, x += stride)
            part[at] = *x;
        for (at = in.end; at < size; at++)
            part[at] = 0.0f;
    }
}

void layout_floats(const struct layout *l, const struct window *g, const float *x, u64 first, u64 end, float *to)
{
    struct laying laying = {.l = l, .x = x, .to = to, .stride = g->stride[2], .size = l->size[2]};
    for (i64 i = 0; i < laying.stride; i++)
        laying.parts[i] = layout_part(l, g, i);
    if (laying.stride == 1)
        walk_rows(l, g, first, end, lay_out_whole_row, &laying);
    else
        walk_rows(l, g, first, end, lay_out_parts, &laying);
}

#endif
