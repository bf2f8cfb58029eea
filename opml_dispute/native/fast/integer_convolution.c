/* OP_CONV of integers up to 32 bits, as products of panels (integers.h): rows are weights, columns are positions of the
 * input laid out (layout.h) as elements of the form. */
#include <string.h>

#include "integers.h"
#include "layout.h"
#include "vectors.h"

/* Below this many products laying out costs more than it saves. */
#define WORTH_LAYING_OUT 4096
/* Groups of fewer output channels are made channel by channel. */
#define FEW_CHANNELS 3
/* So many products of two bytes have a sum below 2^24. */
#define FLOATS_MOST 256
/* Above this many elements a copy is no longer worth its memory. */
#define LAYOUT_MOST (1ull << 27)

/* A convolution under way. */
struct work {
    struct window g;
    struct layout l;
    u8 dtype_x, dtype_w;
    u64 K, depth, channels; /* terms; input and output channels of a group */
    int few;                /* channels a group has, so few that packing would cost more than the product */
    int floats;             /* of those: words hold floats, whose sums are whole numbers below 2^24, and so exact */
    enum integer_form form;
    enum integer_signs signs;
    i64 cw, cx; /* taken off weights and input */
    const u8 *x, *w;
    const u32 *bias;
    u32 *out;
    int direct; /* `layout` is the input itself, of one image and group */
    const u8 *layout;
    u8 *own; /* `own` is where it is laid out */
    const i64 *offset;
    u8 *rows; /* weights of a group, packed */
    u32 *row_add, *panel;
    u8 *ones;
    u64 laid_out;            /* the group that is there, counted over all images */
    u64 packed, packed_rows; /* the first channel of the rows, and how many there are */
};

static u64 up(u64 size) { return (size + 63) / 64 * 64; }

/* 0 if `outputs` outputs are not for us. */
static int begin(struct work *k, u8 *segment, const struct record *r, u64 outputs, struct fast_scratch *s)
{
    struct window *g = &k->g;
    window_decode(g, r);
    k->depth = g->C / g->groups;
    k->channels = g->M / g->groups;
    k->K = k->depth * g->kernel_size;
    if (!integer_takes(r) || outputs * k->K < WORTH_LAYING_OUT)
        return 0;
    int direct;
    u64 size = layout_plan(&k->l, g, &direct);
    if (size > LAYOUT_MOST || k->K > LAYOUT_MOST)
        return 0;
    k->dtype_x = r->dtype_in[0];
    k->dtype_w = r->dtype_in[1];
    k->x = segment + r->in[0];
    k->w = segment + r->in[1];
    k->bias = r->n_in == 3 ? (const u32 *)(segment + r->in[2]) : NULL;
    k->out = (u32 *)(segment + r->out);
    u64 inputs = g->N * g->C * g->in_size, weights = g->M * k->K;
    struct integer_range x = integer_range_of(k->x, k->dtype_x, 1, 0, inputs);
    if (x.least > 0) /* padding is 0 */
        x.least = 0;
    if (x.greatest < 0)
        x.greatest = 0;
    struct integer_range w = integer_range_of(k->w, k->dtype_w, 1, 0, weights);
    k->signs = SIGNS_US;
    k->cw = k->cx = 0;
    k->form = FORM_QUADS;
    if (!integer_signs_for(w, x, k->channels, &k->signs))
        k->form = integer_form_for(w, x, &k->cw, &k->cx);
    k->few = k->channels < FEW_CHANNELS;
    if (k->few) {
        k->form = FORM_WORDS;
        k->cw = k->cx = 0;
    }
    k->floats = k->few && dtype_bytes(k->dtype_x) == 1 && dtype_bytes(k->dtype_w) == 1 && k->K <= FLOATS_MOST;
    k->direct = direct && k->cx == 0 && form_width(k->form) == dtype_bytes(k->dtype_x);
    size = k->direct ? 0 : size;
    u64 width = form_width(k->form), pitch = form_pitch(k->form, k->K);
    u64 layout = up((size + 3 * PANEL) * width), offset = up(k->K * sizeof(i64));
    u64 rows = (k->channels + INTEGER_ROWS_BEHIND) * pitch, row_add = up(k->channels * sizeof(u32));
    u64 panel = up((form_panel(k->form, k->K) + PANEL) * sizeof(u32));
    k->layout = k->own = fast_buffer_get(&s->layout, layout + offset + rows + row_add + panel + pitch);
    if (!k->own)
        return 0;
    memset(k->own + size * width, 0, layout - size * width);
    i64 *taps = (i64 *)(k->own + layout);
    layout_taps(&k->l, g, taps);
    k->offset = taps;
    k->rows = (u8 *)taps + offset;
    k->row_add = (u32 *)(k->rows + rows);
    k->panel = (u32 *)((u8 *)k->row_add + row_add);
    k->ones = (u8 *)k->panel + panel;
    k->laid_out = k->packed = UINT64_MAX;
    return 1;
}

/* One image and group being laid out. */
struct laying {
    const struct work *work;
    const u8 *x;
    struct layout_part parts[MOST_PARTS]; /* of a row that there is */
};

/* n bytes, `apart` from one another, as elements of the form. */
static void convert(const struct work *k, void *to, const u8 *from, u8 dtype, i64 apart, i64 offset, u64 n)
{
    if (!k->floats) {
        integer_convert(k->form, to, from, dtype, apart, offset, n);
        return;
    }
    f32 *out = to;
    const i8 *with_sign = (const i8 *)from;
    if (dtype == DT_U8 && apart == 1)
        for (u64 i = 0; i < n; i++)
            out[i] = (f32)from[i];
    else if (apart == 1)
        for (u64 i = 0; i < n; i++)
            out[i] = (f32)with_sign[i];
    else
        for (u64 i = 0; i < n; i++)
            out[i] = dtype == DT_U8 ? (f32)from[(i64)i * apart] : (f32)with_sign[(i64)i * apart];
}

static void lay_out_row(void *self, i64 from, i64 to)
{
    const struct laying *laying = self;
    const struct work *k = laying->work;
    i64 stride = k->g.stride[2], width = (i64)form_width(k->form), x_width = (i64)dtype_bytes(k->dtype_x);
    for (i64 i = 0; i < stride; i++) {
        if (k->l.part_of[2][i] < 0)
            continue;
        u8 *part = k->own + (to + k->l.part_of[2][i] * k->l.part[2]) * width;
        struct layout_part in = from >= 0 ? laying->parts[i] : (struct layout_part){0, 0, 0};
        int zero = (u8)(0 - k->cx); /* of quads; other forms take nothing off */
        memset(part, zero, (u64)(in.first * width));
        memset(part + in.end * width, zero, (u64)((k->l.size[2] - in.end) * width));
        if (in.first < in.end)
            convert(k, part + in.first * width, laying->x + (from + in.from) * x_width, k->dtype_x, stride, k->cx,
                    (u64)(in.end - in.first));
    }
}

/* Weights of the channels [m, m + rows), all of one group. */
static void pack_weights(struct work *k, u64 m, u64 rows)
{
    if (k->packed == m && k->packed_rows == rows)
        return;
    u64 width = form_width(k->form), pitch = form_pitch(k->form, k->K);
    const u8 *w = k->w + m * k->K * dtype_bytes(k->dtype_w);
    for (u64 i = 0; i < rows; i++, w += k->K * dtype_bytes(k->dtype_w)) {
        u8 *to = k->rows + i * pitch;
        convert(k, to, w, k->dtype_w, 1, k->cw, k->K);
        memset(to + k->K * width, 0, pitch - k->K * width);
        u32 sum = 0;
        for (u64 j = 0; j < k->K && k->cx; j++)
            sum += to[j]; /* FORM_QUADS: there is no constant else */
        k->row_add[i] = (u32)k->cx * sum + (u32)k->K * (u32)k->cw * (u32)k->cx;
    }
    k->packed = m;
    k->packed_rows = rows;
}

/* The runs of positions [p, p + columns). */
static struct integer_runs runs_of(const struct work *k, u64 p, u64 columns)
{
    struct integer_runs runs = {0};
    for (u64 j = 0; j < columns;) {
        u64 row = (u64)k->l.output[2], left = row - (p + j) % row, n = left < columns - j ? left : columns - j;
        runs.from[runs.count] = k->layout + position_offset(&k->l, p + j) * (i64)form_width(k->form);
        runs.start[runs.count] = (unsigned)j;
        runs.vectors[runs.count++] = (unsigned)((n + INTEGER_LANES - 1) / INTEGER_LANES);
        j += n;
    }
    return runs;
}

typedef u32 words __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));
typedef i32 numbers __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));
typedef f32 reals __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));

/* Sums of K products at neighbouring positions, some vectors of them. */
INLINE void sum_some(const struct work *k, const u32 *w, const u32 *x, words *sum, unsigned vectors, int floats)
{
    words whole[4] = {{0}};
    reals real[4] = {{0}};
    for (u64 i = 0; i < k->K; i++) {
        const u32 *from = x + k->offset[i];
        reals weight = f32_from_bits(w[i]) - (reals){0};
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++) {
            reals value = *(const reals *)(from + v * INTEGER_LANES);
            if (!floats)
                whole[v] += w[i] * (words)value;
            else
#if defined(__FMA__) || defined(__aarch64__)
                real[v] = __builtin_elementwise_fma(weight, value, real[v]);
#else
                real[v] += weight * value; /* exact, and so is the sum */
#endif
        }
    }
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < vectors; v++)
        sum[v] = floats ? (words) __builtin_convertvector(real[v], numbers) : whole[v];
}

static void sum_products(const struct work *k, const u32 *w, const u32 *x, words *sum, u64 wanted)
{
    if (!k->floats)
        sum_some(k, w, x, sum, 4, 0);
    else if (wanted > 3 * INTEGER_LANES)
        sum_some(k, w, x, sum, 4, 1);
    else if (wanted > 2 * INTEGER_LANES)
        sum_some(k, w, x, sum, 3, 1);
    else if (wanted > INTEGER_LANES)
        sum_some(k, w, x, sum, 2, 1);
    else
        sum_some(k, w, x, sum, 1, 1);
}

/* n sums, with the bias. Whole vectors are read. */
INLINE void put_down(u32 *out, const u32 *sum, u32 bias, u64 n)
{
    u64 i = 0;
    for (; i + INTEGER_LANES <= n; i += INTEGER_LANES)
        *(words *)(out + i) = *(const words *)(sum + i) + bias;
    if (i == n)
        return;
#if LANES == 16
    words rest = *(const words *)(sum + i) + bias;
    _mm512_mask_storeu_epi32(out + i, (__mmask16)((1u << (n - i)) - 1), (__m512i)rest);
#else
    for (; i < n; i++)
        out[i] = sum[i] + bias;
#endif
}

/* Positions [p, end) of one channel, whose K weights are w. Sums are made for all of the layout that lies between, as in
 * convolution.c. */
static void convolve_channel(const struct work *k, const u32 *w, u32 bias, u32 *out, u64 p, u64 end)
{
    const struct layout *l = &k->l;
    u64 row = (u64)l->output[2], rows = (u64)l->output[1], pitch = (u64)l->pitch[1];
    u64 together = row < INTEGER_LANES && pitch <= row + row / 2 + 4 ? row * rows : row;
    while (p < end) {
        u64 stop = p - p % together + together;
        stop = stop < end ? stop : end;
        const u32 *x = (const u32 *)k->layout + position_offset(l, p);
        u64 reach = (u64)(position_offset(l, stop - 1) - position_offset(l, p)) + 1, column = p % row, begin = 0;
        for (u64 j = 0; j < reach; j += 2 * PANEL) {
            words sum[5]; /* one more, which may be read */
            sum[4] = (words){0};
            sum_products(k, w, x + j, sum, reach - j);
            const u32 *flat = (const u32 *)sum - j;
            while (p < stop && begin < j + 2 * PANEL) {
                u64 n = row - column, room = j + 2 * PANEL - begin;
                n = n < room ? n : room;
                n = n < stop - p ? n : stop - p;
                put_down(out + p, flat + begin, bias, n);
                p += n;
                column += n;
                begin += n;
                if (column == row) {
                    column = 0;
                    begin += pitch - row;
                }
            }
        }
    }
}

/* Positions [p, end) of the channels m to m + rows - 1 of one image, all of one group. Of every group all calls look at the
 * same positions, or one call looks at it. */
static void convolve(struct work *k, u64 image, u64 m, u64 rows, u64 p, u64 end)
{
    const struct window *g = &k->g;
    u64 group = m / k->channels, counted = image * g->groups + group;
    const u8 *x = k->x + (image * g->C + group * k->depth) * g->in_size * dtype_bytes(k->dtype_x);
    if (k->direct) {
        k->layout = x;
    } else if (k->laid_out != counted) {
        struct laying laying = {.work = k, .x = x};
        for (i64 i = 0; i < g->stride[2]; i++)
            laying.parts[i] = layout_part(&k->l, g, i);
        layout_rows(&k->l, g, p, end, lay_out_row, &laying);
        k->laid_out = counted;
    }
    pack_weights(k, m, rows);
    if (k->few) {
        for (u64 i = 0; i < rows; i++)
            convolve_channel(k, (const u32 *)(k->rows + i * form_pitch(k->form, k->K)), k->bias ? k->bias[m + i] : 0,
                             k->out + (image * g->M + m + i) * g->out_size, p, end);
        return;
    }
    struct integer_product product = {
        .form = k->form,
        .signs = k->signs,
        .rows = rows,
        .K = k->K,
        .a = k->rows,
        .panel = k->panel,
        .o_m = (i64)g->out_size,
        .o_n = 1,
        .row_add = k->cx ? k->row_add : NULL,
        .bias = k->bias ? k->bias + m : NULL,
        .bias_m = 1,
    };
    for (; p < end; p += PANEL) {
        product.columns = end - p < PANEL ? end - p : PANEL;
        struct integer_runs runs = runs_of(k, p, product.columns);
        integer_pack(k->form, k->panel, &runs, k->offset, k->K);
        u32 column_add[PANEL];
        if (k->cw) {
            integer_column_sums(k->form, k->panel, k->K, column_add, k->ones);
            for (unsigned j = 0; j < PANEL; j++)
                column_add[j] *= (u32)k->cw;
            product.column_add = column_add;
        }
        product.out = k->out + (image * g->M + m) * g->out_size + p;
        integer_product(&product);
    }
}

int fast_conv_integers(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    struct work k;
    if (!begin(&k, segment, r, hi - lo, s))
        return 0;
    u64 size = k.g.out_size;
    while (lo < hi) {
        u64 image = lo / size / k.g.M, m = lo / size % k.g.M, p = lo % size;
        if (p || hi - lo < size) {
            u64 end = size - p < hi - lo ? size : p + hi - lo;
            k.laid_out = UINT64_MAX; /* other positions than before */
            convolve(&k, image, m, 1, p, end);
            k.laid_out = UINT64_MAX;
            lo += end - p;
            continue;
        }
        /* As many whole channels as the range and the group have. */
        u64 rows = (hi - lo) / size, left = k.channels - m % k.channels;
        rows = rows < left ? rows : left;
        convolve(&k, image, m, rows, 0, size);
        lo += rows * size;
    }
    return 1;
}
