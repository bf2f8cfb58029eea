/* OP_POOL_INDEX in binary32: where each window's greatest number is, or its first NaN.
 *
 * The plain kernel takes every tap through a key of 64 bits, which serves all types. */
#include "fast.h"
#include "kernels/window.h"

/* The windows of one output row: `x` is the channel, `row` the element number in it of tap (0, 0, 0) of a window at column
 * 0 without padding, `first` and `end` the taps that lie inside, of the outer two dimensions. */
struct row {
    const float *x;
    i64 at, first[2], end[2];
};

/* The element number in the channel of the greatest of a window's taps; -1 where there is none. */
INLINE i64 place_of_greatest(const struct window *g, const struct row *row, i64 at, i64 first, i64 end)
{
    i64 best = -1;
    float greatest = 0.0f;
    for (i64 d = row->first[0]; d < row->end[0]; d++)
        for (i64 h = row->first[1]; h < row->end[1]; h++) {
            i64 line = row->at + (d * g->dilation[0] * g->input[1] + h * g->dilation[1]) * g->input[2] + at;
            for (i64 t = first; t < end; t++) {
                i64 offset = line + t * g->dilation[2];
                float y = row->x[offset];
                u32 better = (best < 0) | (!(y <= greatest) & (greatest == greatest));
                best = better ? offset : best;
                greatest = better ? y : greatest;
            }
        }
    return best;
}

static i64 by_columns(const struct window *g, i64 best)
{
    i64 w = best % g->input[2], h = best / g->input[2] % g->input[1], d = best / g->input[2] / g->input[1];
    return (w * g->input[1] + h) * g->input[0] + d;
}

int fast_pool_index(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct window g;
    struct place p;
    if (r->dtype_in[0] != DT_F32)
        return 0;
    window_decode(&g, r);
    u64 channel = lo / g.out_size, position = lo - channel * g.out_size;
    i64 *out = (i64 *)(segment + r->out) + lo, reach = (g.kernel[2] - 1) * g.dilation[2];
    place_begin(&p, &g, position);
    while (lo < hi) {
        struct row row = {.x = (const float *)(segment + r->in[0]) + channel * g.in_size,
                          .at = (p.at[0] * g.input[1] + p.at[1]) * g.input[2]};
        for (int d = 0; d < 2; d++)
            place_taps(&p, &g, d, &row.first[d], &row.end[d]);
        i64 column = p.output[2], columns = g.output[2] - column;
        columns = (u64)columns < hi - lo ? columns : (i64)(hi - lo);
        for (i64 j = 0; j < columns; j++, p.at[2] += g.stride[2]) {
            i64 first = 0, end = g.kernel[2];
            if (p.at[2] < 0 || p.at[2] + reach >= g.input[2])
                place_taps(&p, &g, 2, &first, &end);
            i64 best = place_of_greatest(&g, &row, p.at[2], first, end);
            if (best >= 0 && r->imm[1] & 1)
                best = by_columns(&g, best);
            out[j] = best < 0 ? best : best + (i64)(channel * g.in_size);
        }
        out += columns;
        lo += (u64)columns;
        position += (u64)columns;
        if (position == g.out_size) {
            position = 0;
            channel++;
        }
        place_begin(&p, &g, position);
    }
    return 1;
}
