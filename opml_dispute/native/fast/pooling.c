/* OP_POOL in binary32: neighbouring windows side by side in a vector register.
 *
 * Taps are taken in the plain kernel's order, read where they lie; those in the padding get a value that changes nothing:
 * a maximum that starts from -infinity stays what it is, and so does its NaN, when -infinity is taken in; a sum that
 * starts from +0 is never -0, so +0 may be added. */
#include "kernels/float32.h"
#include "kernels/window.h"
#include "fast.h"
#include "pooling.h"

/* Below this many taps in all plain is as fast; sizes are computed in 32 bits. */
#define WORTH_VECTORS 4096
#define SIZE_MOST     (1ll << 28)

/* ASSUMES: the memory behind a tensor may be read (ml.c, schedule.c); vectors go over its end. */

/* Rows are read with a step of at most this; with another they are read number by number. */
#define STEP_MOST 8

/* from[0], from[step], from[2 * step] ... for step 1 to STEP_MOST */
INLINE vec load_step(const float *from, i64 step)
{
    if (step == 1)
        return *(const vec *)from;
    if (step == 2)
        return every_second(*(const vec *)from, *(const vec *)(from + WIDTH));
    if (step == 4)
        return every_second(every_second(*(const vec *)from, *(const vec *)(from + WIDTH)),
                            every_second(*(const vec *)(from + 2 * WIDTH), *(const vec *)(from + 3 * WIDTH)));
#if WIDTH == 16
    __m512i places = _mm512_mullo_epi32(_mm512_set1_epi32((int)step),
                                        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    return (vec)_mm512_i32gather_ps(places, from, 4);
#else
    vec x;
    for (i64 i = 0; i < WIDTH; i++)
        x[i] = from[i * step];
    return x;
#endif
}

/* What one output row is made of: the input rows that its windows reach, [first[0], last[0]) by [first[1], last[1]) of
 * the taps, and where the input begins: nothing may be read before it. */
struct source {
    const float *begin, *row; /* row: of tap (0, 0), though it may lie in the padding */
    i64 first[2], last[2], apart[2];
};

/* WIDTH taps that read the coordinates at, at + step ... of a row; padding for those outside. */
INLINE vec load_taps(const struct source *from, const float *row, i64 at, i64 size, i64 step, float padding)
{
    vec x = (vec){0} + padding;
    if (at + (WIDTH - 1) * step < 0 || at >= size)
        return x;
    if (step > STEP_MOST || row + at < from->begin) {
        for (i64 i = 0; i < WIDTH; i++)
            if (at + i * step >= 0 && at + i * step < size)
                x[i] = row[at + i * step];
        return x;
    }
    veci coordinate;
    for (int i = 0; i < WIDTH; i++)
        coordinate[i] = i * (int)step + (int)at;
    return choose((coordinate >= 0) & (coordinate < (int)size), load_step(row + at, step), x);
}

/* WIDTH windows, the first from coordinate `at` on; `inside`: all taps of those that count are. */
INLINE vec pool_windows(const struct source *from, i64 size, i64 at, int inside, int is_max, i64 step, i64 kernel,
                        i64 dilation)
{
    float padding = is_max ? -f32_inf() : 0.0f;
    vec value = (vec){0} + padding;
    veci nan = {0};
    for (i64 d = from->first[0]; d < from->last[0]; d++)
        for (i64 h = from->first[1]; h < from->last[1]; h++) {
            const float *row = from->row + d * from->apart[0] + h * from->apart[1];
            for (i64 t = 0; t < kernel; t++) {
                i64 tap = at + t * dilation;
                vec y = inside ? load_step(row + tap, step) : load_taps(from, row, tap, size, step, padding);
                if (is_max) {
                    nan |= y != y; /* wins, even if a later number takes its place in `value` */
                    value = choose(value > y, value, y);
                } else {
                    value += y;
                }
            }
        }
    return is_max ? choose(nan, (vec)((veci){0} + 0x7fc00000), value) : value;
}

/* Input rows so far ahead are fetched where windows do not overlap much: they come from far away. */
#define ROWS_AHEAD 8

/* The output columns [begin, end) of one row, to out. */
INLINE void pool_row(const struct source *from, const struct window *g, int is_max, i64 step, i64 kernel, i64 dilation,
                     const float *count, float *out, i64 begin, i64 end)
{
    i64 size = g->input[2];
    for (i64 j = begin; j < end; j += WIDTH) {
        i64 at = j * step - g->pad[2], lanes = end - j < WIDTH ? end - j : WIDTH;
        vec value;
        const float *ahead = from->row + ROWS_AHEAD * from->apart[1] + at;
        for (i64 i = 0; step == 2 && i < 2; i++) {
            __builtin_prefetch(ahead + i * from->apart[1]);
            __builtin_prefetch(ahead + i * from->apart[1] + WIDTH);
        }
        if (step <= STEP_MOST && at >= 0 && at + (lanes - 1) * step + (kernel - 1) * dilation < size)
            value = pool_windows(from, size, at, 1, is_max, step, kernel, dilation);
        else
            value = pool_windows(from, size, at, 0, is_max, step, kernel, dilation);
        if (count)
            value /= *(const vec *)(count + j); /* by 1: nothing changes */
        value = is_max ? value : canonical_vec(value);
        if (end - j >= WIDTH)
            *(vec *)(out + j - begin) = value;
        else
            store_first(out + j - begin, value, end - j);
    }
}

/* ---- maxima of columns, then along the row ---- */

/* That is another order than that of the taps, which decides between zeros of both signs and makes NaN canonical: with -0
 * or NaN among the numbers a row is made tap by tap. */
#if WIDTH == 16
typedef __mmask16 unordered;
INLINE unordered is_unordered(vec x) { return _mm512_fpclass_ps_mask((__m512)x, 0x01 | 0x80 | 0x04); }
INLINE int has_any(unordered found) { return found != 0; }
INLINE vec greatest(vec x, vec y) { return (vec)_mm512_max_ps((__m512)x, (__m512)y); }
INLINE vec lanes_or(vec x, const float *from, i64 first, i64 end)
{
    return (vec)_mm512_mask_loadu_ps((__m512)x, (__mmask16)((1u << end) - (1u << first)), from);
}
#else
typedef veci unordered;
INLINE unordered is_unordered(vec x) { return (x != x) | ((veci)x == INT32_MIN); }
INLINE int has_any(unordered found)
{
    int any = 0;
    for (int i = 0; i < WIDTH; i++)
        any |= found[i];
    return any;
}
INLINE vec greatest(vec x, vec y) { return choose(x > y, x, y); }
/* Lanes [first, end) of what lies there, those of x beside them. */
INLINE vec lanes_or(vec x, const float *from, i64 first, i64 end)
{
    for (i64 i = first; i < end; i++)
        x[i] = from[i];
    return x;
}
#endif

/* The greatest of each column from coordinate `at` on in some rows, of `size` coordinates; the padding is -infinity. */
INLINE vec column_maxima(const float *x, i64 rows, i64 apart, i64 at, i64 size, unordered *found)
{
    vec padding = (vec){0} - f32_inf(), value = padding;
    if (at >= 0 && at + WIDTH <= size) {
        for (i64 h = 0; h < rows; h++) {
            vec y = *(const vec *)(x + h * apart + at);
            *found |= is_unordered(y);
            value = greatest(value, y);
        }
        return value;
    }
    i64 first = at < 0 ? -at : 0, end = size - at < WIDTH ? size - at : WIDTH;
    for (i64 h = 0; h < rows && first < end; h++) {
        vec y = lanes_or(padding, x + h * apart + at, first, end);
        *found |= is_unordered(y);
        value = greatest(value, y);
    }
    return value;
}

/* A whole output row of windows of one plane, `rows` of the input high, `kernel` columns wide, 2 or 3, and two apart; 0 if
 * there is -0 or NaN. */
INLINE int maxima_by_columns(const struct source *from, const struct window *g, i64 rows, i64 kernel, float *out)
{
    i64 size = g->input[2], apart = from->apart[1], columns = g->output[2];
    const float *x = from->row + from->first[0] * from->apart[0] + from->first[1] * apart;
    unordered found = {0};
    vec low = column_maxima(x, rows, apart, -g->pad[2], size, &found);
    for (i64 j = 0, at = -g->pad[2]; j < columns; j += WIDTH, at += 2 * WIDTH) {
        for (i64 i = ROWS_AHEAD; kernel == 3 && i < ROWS_AHEAD + 2; i++) {
            __builtin_prefetch(x + i * apart + at);
            __builtin_prefetch(x + i * apart + at + WIDTH);
        }
        vec high = column_maxima(x, rows, apart, at + WIDTH, size, &found), even = every_second(low, high);
        vec value = greatest(even, every_second(next_lanes(low, low), next_lanes(high, high)));
        low = column_maxima(x, rows, apart, at + 2 * WIDTH, size, &found);
        if (kernel == 3)
            value = greatest(value, next_lanes(even, low));
        if (columns - j >= WIDTH)
            *(vec *)(out + j) = value;
        else
            store_first(out + j, value, columns - j);
    }
    return !has_any(found);
}

/* `pool_row` of maxima for which neighbouring taps, two columns apart from window to window, are usual. */
INLINE void max_row(const struct source *from, const struct window *g, i64 kernel, float *out, i64 begin, i64 end)
{
    i64 rows = from->last[1] - from->first[1];
    int is_whole = begin == 0 && end == g->output[2] && from->last[0] - from->first[0] == 1 && rows > 1;
    int done = 0;
    if (is_whole && rows == kernel) /* the usual number is known here */
        done = maxima_by_columns(from, g, kernel, kernel, out);
    else if (is_whole)
        done = maxima_by_columns(from, g, rows, kernel, out);
    if (!done)
        pool_row(from, g, 1, 2, kernel, 1, NULL, out, begin, end);
}

typedef void row_function(const struct source *, const struct window *, const float *, float *, i64, i64);
#define ROW_FUNCTION(NAME, IS_MAX, STEP, KERNEL, DILATION)                                                             \
    static void NAME(const struct source *from, const struct window *g, const float *count, float *out, i64 begin,     \
                     i64 end)                                                                                          \
    {                                                                                                                  \
        pool_row(from, g, IS_MAX, STEP, KERNEL, DILATION, count, out, begin, end);                                     \
    }
ROW_FUNCTION(max_any, 1, g->stride[2], g->kernel[2], g->dilation[2])
ROW_FUNCTION(max_step_1, 1, 1, g->kernel[2], g->dilation[2])
ROW_FUNCTION(max_step_2, 1, 2, g->kernel[2], g->dilation[2])
ROW_FUNCTION(max_3_step_1, 1, 1, 3, 1)
ROW_FUNCTION(max_4_step_4, 1, 4, 4, 1)
#define MAX_ROW_FUNCTION(NAME, KERNEL)                                                                                 \
    static void NAME(const struct source *from, const struct window *g, const float *count, float *out, i64 begin,     \
                     i64 end)                                                                                          \
    {                                                                                                                  \
        (void)count; /* of sums */                                                                                     \
        max_row(from, g, KERNEL, out, begin, end);                                                                     \
    }
MAX_ROW_FUNCTION(max_2_step_2, 2)
MAX_ROW_FUNCTION(max_3_step_2, 3)
ROW_FUNCTION(sum_any, 0, g->stride[2], g->kernel[2], g->dilation[2])
ROW_FUNCTION(sum_step_1, 0, 1, g->kernel[2], g->dilation[2])
ROW_FUNCTION(sum_step_2, 0, 2, g->kernel[2], g->dilation[2])

static row_function *row_for(const struct window *g, u64 function)
{
    static row_function *const sums[] = {sum_any, sum_step_1, sum_step_2}, *const maxima[] = {max_any, max_step_1,
                                                                                              max_step_2};
    i64 step = g->stride[2] <= 2 ? g->stride[2] : 0, kernel = g->kernel[2];
    if (function != POOL_MAX)
        return sums[step];
    if (g->dilation[2] != 1)
        return maxima[step];
    if (kernel == 3 && step)
        return step == 1 ? max_3_step_1 : max_3_step_2;
    if (kernel == 2 && step == 2)
        return max_2_step_2;
    return kernel == 4 && g->stride[2] == 4 ? max_4_step_4 : maxima[step];
}

/* Maxima of windows that overlap, in two passes: of every row of the input the maxima along it, and of these the maxima of
 * the rows that a window has. The greater of two is the second of equals, and NaN if one is; so it does not matter how the
 * taps, in their order, are put in brackets. Rows are copied with their padding, so that all taps are inside. */

/* Maxima of one row of the input, of `columns` windows; `padded`: memory for the row, and for two vectors behind it. */
static void maxima_of_row(const struct window *g, const float *row, float *padded, float *out, i64 columns)
{
    i64 kernel = g->kernel[2], dilation = g->dilation[2], size = columns + (kernel - 1) * dilation, pad = g->pad[2];
    i64 begin = pad > 0 ? pad : 0, end = g->input[2] + pad;
    begin = begin < size ? begin : size;
    end = end < size ? end : size;
    for (i64 i = 0; i < begin; i++)
        padded[i] = -f32_inf();
    for (i64 i = begin; i < end; i++)
        padded[i] = row[i - pad];
    for (i64 i = end > begin ? end : begin; i < size + 2 * WIDTH; i++)
        padded[i] = -f32_inf();
    for (i64 j = 0; j < columns; j += WIDTH) {
        vec value = *(const vec *)(padded + j);
        for (i64 t = 1; t < kernel; t++)
            value = greater(value, *(const vec *)(padded + j + t * dilation));
        *(vec *)(out + j) = value;
    }
}

/* Whether windows are taken so: they move by one, and reach over several rows. */
static int overlaps(const struct window *g, u64 function)
{
    return function == POOL_MAX && g->output[0] == 1 && g->kernel[0] == 1 && g->input[0] == 1 && g->pad[0] == 0 &&
           g->stride[2] == 1 && g->kernel[1] >= 2 && g->kernel[1] > g->stride[1] && g->kernel[2] >= 3;
}

/* Output rows [first, end) of a channel at x; `maxima`: memory for the input's rows. */
static void maxima_of_rows(const struct window *g, const float *x, float *padded, float *maxima, float *out, i64 first,
                           i64 end)
{
    i64 columns = g->output[2], pitch = columns + WIDTH, reach = (g->kernel[1] - 1) * g->dilation[1];
    i64 from = first * g->stride[1] - g->pad[1], to = (end - 1) * g->stride[1] - g->pad[1] + reach + 1;
    from = from > 0 ? from : 0;
    to = to < g->input[1] ? to : g->input[1];
    for (i64 h = from; h < to; h++)
        maxima_of_row(g, x + h * g->input[2], padded, maxima + h * pitch, columns);
    for (i64 i = first; i < end; i++, out += columns)
        for (i64 j = 0; j < columns; j += WIDTH) {
            vec value = (vec){0} - f32_inf();
            for (i64 t = 0; t < g->kernel[1]; t++) {
                i64 h = i * g->stride[1] - g->pad[1] + t * g->dilation[1];
                if (h >= 0 && h < g->input[1])
                    value = greater(value, *(const vec *)(maxima + h * pitch + j));
            }
            value = canonical_vec(value);
            if (columns - j >= WIDTH)
                *(vec *)(out + j) = value;
            else
                for (i64 lane = 0; lane < columns - j; lane++)
                    out[j + lane] = value[lane];
        }
}

/* Floats of the memory that this takes: rows, with their padding, and the maxima of a channel. */
#define PADDED_MOST (1u << 16)
#define MAXIMA_MOST (1u << 22)

/* Whole rows of outputs [lo, hi); 0 if they are no such windows. */
static int overlapping_maxima(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi,
                              struct fast_scratch *s)
{
    u64 columns = (u64)g->output[2], rows = (u64)g->output[1];
    u64 size = columns + (u64)((g->kernel[2] - 1) * g->dilation[2]) + 2 * WIDTH;
    if (!overlaps(g, r->imm[0]) || lo % columns || hi % columns || size > PADDED_MOST ||
        (u64)g->input[1] > MAXIMA_MOST / (columns + WIDTH))
        return 0;
    float *padded = fast_buffer_get(&s->layout, (size + (u64)g->input[1] * (columns + WIDTH)) * sizeof(float));
    if (!padded)
        return 0;
    for (u64 row = lo / columns, end; row < hi / columns; row = end) {
        u64 channel = row / rows, first = row - channel * rows;
        end = (channel + 1) * rows < hi / columns ? (channel + 1) * rows : hi / columns;
        maxima_of_rows(g, (const float *)(segment + r->in[0]) + channel * g->in_size, padded, padded + size,
                       (float *)(segment + r->out) + row * columns, (i64)first, (i64)(first + end - row));
    }
    return 1;
}

int fast_pool(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    struct window g;
    window_decode(&g, r);
    u64 function = r->imm[0], padded = function == POOL_AVERAGE_PADDED;
    i64 columns = g.output[2], reach = (g.kernel[2] - 1) * g.dilation[2];
    if ((hi - lo) * g.kernel_size < WORTH_VECTORS || g.kernel_size > 4096)
        return 0;
    if (r->dtype_in[0] != DT_F32)
        return fast_pool_integers(segment, r, &g, lo, hi, s);
    if (fast_pool_sums(segment, r, &g, lo, hi, s))
        return 1;
    if (columns < 4 || columns * g.stride[2] > SIZE_MOST || g.input[2] > SIZE_MOST || reach > SIZE_MOST ||
        g.pad[2] > SIZE_MOST || g.pad[2] < -SIZE_MOST)
        return 0;
    if (overlapping_maxima(segment, r, &g, lo, hi, s))
        return 1;
    float *count = fast_buffer_get(&s->layout, (u64)(columns + WIDTH) * sizeof(float));
    if (!count)
        return 0;
    for (i64 i = 0; i < columns + WIDTH; i++)
        count[i] = 1.0f;
    row_function *run = row_for(&g, function);
    i64 counted = -1;
    u64 channel = lo / g.out_size, position = lo - channel * g.out_size;
    i64 begin = (i64)(position % (u64)columns);
    struct place p;
    place_begin(&p, &g, position);
    struct source from = {
        .begin = (const float *)(segment + r->in[0]),
        .apart = {g.dilation[0] * g.input[1] * g.input[2], g.dilation[1] * g.input[2]},
    };
    while (lo < hi) {
        i64 end = (u64)(columns - begin) > hi - lo ? begin + (i64)(hi - lo) : columns, outer = 1;
        from.row = from.begin + (i64)(channel * g.in_size) + (p.at[0] * g.input[1] + p.at[1]) * g.input[2];
        for (int d = 0; d < 2; d++) {
            place_taps(&p, &g, d, &from.first[d], &from.last[d]);
            outer *= padded ? pool_taps(&g, d, p.at[d], 1) : from.last[d] - from.first[d];
        }
        if ((function == POOL_AVERAGE || padded) && outer != counted) {
            pool_count_taps(count, &g, outer, (int)padded);
            counted = outer;
        }
        run(&from, &g, counted < 0 ? NULL : count, (float *)(segment + r->out) + lo, begin, end);
        lo += (u64)(end - begin);
        begin = 0;
        for (int d = 1; d >= -1; d--) { /* the next row, or the next channel's first */
            if (d < 0) {
                channel++;
                break;
            }
            p.at[d] += g.stride[d];
            if (++p.output[d] < g.output[d])
                break;
            p.output[d] = 0;
            p.at[d] = -g.pad[d];
        }
    }
    return 1;
}
