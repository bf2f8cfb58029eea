/* OP_CONV in binary32 with weights that were packed before the runs: output channels in the lanes (channels.h). */
#include <stdlib.h>

#include "channels.h"
#include "layout.h"

#if LANES

/* Above this many floats a copy of the input is no longer worth its memory. */
#define LAYOUT_MOST (1ull << 27)
/* Images of fewer positions are made together. */
#define FEW_POSITIONS (2 * TILE_POSITIONS)

struct work {
    struct window g;
    struct layout l;
    int direct;
    u64 K, channels, group_floats, image_floats; /* of the panels of a group, of an image laid out */
    float *memory;
    const float *x;
    const float *panels;
    struct channels product;
    struct fast_scratch *s;
    const float *bias, *add;
    float *out;
};

int fast_prepare_convolution(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    struct window g;
    window_decode(&g, r);
    u64 K = g.C / g.groups * g.kernel_size, channels = g.M / g.groups;
    u64 bytes = g.groups * channels_panels(channels, K) * sizeof(float);
    if (r->dtype_in[0] != DT_F32 || bytes > FAST_PREPARED_MOST ||
        !channels_are_worth(channels, K, g.out_size, g.kernel_size, (u64)g.output[2]))
        return 0;
    prepared->memory = fast_allocate(bytes);
    if (!prepared->memory)
        return 0;
    const float *w = (const float *)(segment + r->in[1]);
    float *to = prepared->memory;
    for (u64 group = 0; group < g.groups; group++)
        channels_pack(w + group * channels * K, (i64)K, 1, channels, K, to + group * channels_panels(channels, K));
    prepared->bytes = bytes;
    return 1;
}

/* 0 if there is no memory, or no layout. */
static int begin(struct work *k, u8 *segment, const struct record *r, const struct fast_finish *finish,
                 const struct fast_prepared *prepared, u64 images, struct fast_scratch *s)
{
    struct window *g = &k->g;
    window_decode(g, r);
    k->channels = g->M / g->groups;
    k->K = g->C / g->groups * g->kernel_size;
    k->image_floats = layout_plan(&k->l, g, &k->direct);
    if (k->image_floats > LAYOUT_MOST / images || k->K > LAYOUT_MOST)
        return 0;
    u64 copied = k->direct ? 0 : (images * k->image_floats + 4 * LANES + 1) / 2 * 2;
    k->memory = fast_buffer_get(&s->layout, copied * sizeof(float) + k->K * sizeof(i64));
    if (!k->memory)
        return 0;
    i64 *terms = (i64 *)(k->memory + copied);
    layout_taps(&k->l, g, terms);
    k->l.offset = terms;
    k->group_floats = channels_panels(k->channels, k->K);
    k->x = (const float *)(segment + r->in[0]);
    k->panels = prepared->memory;
    k->bias = r->n_in == 3 ? (const float *)(segment + r->in[2]) : NULL;
    k->out = (float *)(segment + r->out);
    k->add = finish->add;
    k->s = s;
    k->product = (struct channels){
        .K = k->K,
        .terms = terms,
        .one_tap = k->K == g->C / g->groups,
        .o_m = (i64)g->out_size,
        .relu = finish->relu,
    };
    return 1;
}

/* Positions [first, end) of channels [m, last) of a group of some images; 0 if there is no memory. */
static int run_group(struct work *k, u64 image, u64 images, u64 group, u64 m, u64 last, u64 first, u64 end)
{
    const struct window *g = &k->g;
    u64 depth = g->C / g->groups, begin_channel = group * k->channels;
    const float *x = k->x + (image * g->C + group * depth) * g->in_size, *at = x;
    u64 apart = g->C * g->in_size;
    if (!k->direct) {
        for (u64 i = 0; i < images; i++)
            layout_floats(&k->l, g, x + i * apart, first, end, k->memory + i * k->image_floats);
        at = k->memory;
        apart = k->image_floats;
    }
    struct channels *c = &k->product;
    c->M = k->channels;
    c->panels = k->panels + group * k->group_floats;
    u64 base = (image * g->M + begin_channel) * g->out_size;
    c->out = k->out + base;
    c->add = k->add ? k->add + base : NULL;
    c->bias = k->bias ? k->bias + begin_channel : NULL;
    struct block_of_positions b = {.count = 0};
    for (u64 i = 0; i < images; i++)
        for (u64 p = first; p < end;) {
            u64 row = (u64)k->l.output[2], n = row - p % row;
            n = n < end - p ? n : end - p;
            n = n < BLOCK_POSITIONS - b.count ? n : BLOCK_POSITIONS - b.count;
            const float *from = at + i * apart + position_offset(&k->l, p);
            i64 to = (i64)(i * g->M * g->out_size + p);
            for (u64 j = 0; j < n; j++) {
                b.in[b.count] = from + j;
                b.out[b.count++] = to + (i64)j;
            }
            p += n;
            if (b.count == BLOCK_POSITIONS || (i + 1 == images && p == end)) {
                if (!channels_run(c, m, last, &b, k->s))
                    return 0;
                b.count = 0;
            }
        }
    return 1;
}

/* Positions [first, end) of channels [m, last), which may lie in several groups, of some images. */
static int run_channels(struct work *k, u64 image, u64 images, u64 m, u64 last, u64 first, u64 end)
{
    while (m < last) {
        u64 group = m / k->channels, from = m - group * k->channels, left = k->channels - from;
        u64 n = last - m < left ? last - m : left;
        if (!run_group(k, image, images, group, from, from + n, first, end))
            return 0;
        m += n;
    }
    return 1;
}

static u64 images_at_once(const struct window *g)
{
    return g->out_size >= FEW_POSITIONS ? 1 : (BLOCK_POSITIONS + g->out_size - 1) / g->out_size;
}

int fast_conv_channels(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                       const struct fast_prepared *prepared, struct fast_scratch *s)
{
    struct work k;
    window_decode(&k.g, r);
    u64 size = k.g.out_size, M = k.g.M, together = images_at_once(&k.g);
    if (size == 0 || lo % size || hi % size || !begin(&k, segment, r, finish, prepared, together, s))
        return 0;
    for (u64 m = lo / size, end = hi / size; m < end;) {
        u64 image = m / M, from = m % M, whole = from == 0 ? (end - m) / M : 0;
        u64 images = whole < together ? whole : together, last = end - m < M - from ? from + end - m : M;
        if (images)
            last = M;
        if (!run_channels(&k, image, images ? images : 1, from, last, 0, size))
            return 0;
        m += images ? images * M : last - from;
    }
    return 1;
}

int fast_conv_channels_columns(u8 *segment, const struct record *r, u64 first, u64 end,
                               const struct fast_finish *finish, const struct fast_prepared *prepared,
                               struct fast_scratch *s)
{
    struct work k;
    if (!begin(&k, segment, r, finish, prepared, 1, s))
        return 0;
    for (u64 image = 0; image < k.g.N; image++)
        if (!run_channels(&k, image, 1, 0, k.g.M, first, end))
            return 0;
    return 1;
}

#else

int fast_prepare_convolution(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    (void)prepared, (void)segment, (void)r;
    return 0;
}

int fast_conv_channels(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                       const struct fast_prepared *prepared, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)prepared, (void)s;
    return 0;
}

int fast_conv_channels_columns(u8 *segment, const struct record *r, u64 first, u64 end,
                               const struct fast_finish *finish, const struct fast_prepared *prepared,
                               struct fast_scratch *s)
{
    (void)segment, (void)r, (void)first, (void)end, (void)finish, (void)prepared, (void)s;
    return 0;
}

#endif
