/* OP_CONV of bytes where each output channel reads one channel of an image: four taps of a row share a word, and one
 * instruction (VNNI) adds their products to a sum.
 *
 * Nothing is laid out: a load takes what of a row is in the input, zeros for the rest, and a shuffle brings each of 16
 * neighbouring outputs the four bytes that its taps read. The instruction multiplies a byte without a sign by one with a
 * sign; x is shifted by 128 where both have one or none, and 128 times the sum of the taps makes up for it. */
#include "integers.h"

#include "kernels/window.h"
#include "vectors.h"

#if defined(__AVX512BW__)

/* Below this many products the other ways do as well. */
#define LEAST_PRODUCTS 4096
/* Outputs of a vector, taps of a word, rows of outputs made at a time. */
#define COLUMNS 16
#define TAPS    4
#define ROWS    8
/* Kernels are at most so wide and so high. */
#define GROUPS_MOST 4
#define TALLEST     32
/* Sizes, strides and padding are below this: no product of two of them overflows. */
#define NUMBER_MOST (1ll << 30)

#define TARGET __attribute__((target("avx512vnni,avx512bw,avx512f")))

struct depthwise {
    const struct window *g;
    int w_has_sign;
    u8 flip;                         /* what x is combined with, exclusively or, to get the sign that w has not */
    unsigned groups;                 /* words of taps in a row of the kernel */
    u32 taps[TALLEST * GROUPS_MOST]; /* [group][row] */
    u32 add;                         /* to each sum */
    __m512i quarters, bytes;         /* the shuffles: of quarters of lanes, then of bytes within lanes */
    i64 reach;                       /* bytes that the outputs of a vector read for one word of taps */
    const u8 *x;                     /* a channel of an image */
    u32 *out;
    u64 first, end; /* the positions that are wanted */
};

static int is_small(i64 number) { return number > -NUMBER_MOST && number < NUMBER_MOST; }

/* 0 if the convolution is none of these. */
static int plan(struct depthwise *d, const struct window *g, const struct record *r)
{
    if ((r->dtype_in[0] != DT_U8 && r->dtype_in[0] != DT_I8) || (r->dtype_in[1] != DT_U8 && r->dtype_in[1] != DT_I8) ||
        !(integer_features() & INTEGER_VNNI) || g->C != g->groups || g->input[0] != 1 || g->kernel[0] != 1 ||
        g->output[0] != 1 || g->pad[0] != 0 || g->stride[2] > 2 || (g->dilation[2] != 1 && g->kernel[2] > 1) ||
        g->kernel[1] > TALLEST || g->kernel[2] > TAPS * GROUPS_MOST)
        return 0;
    for (unsigned i = 1; i < 3; i++)
        if (!is_small(g->input[i]) || !is_small(g->output[i]) || !is_small(g->stride[i]) || !is_small(g->dilation[i]) ||
            !is_small(g->pad[i]))
            return 0;
    d->g = g;
    d->w_has_sign = r->dtype_in[1] == DT_I8;
    d->flip = (r->dtype_in[0] == DT_I8) == d->w_has_sign ? 0x80 : 0;
    d->groups = (unsigned)(g->kernel[2] + TAPS - 1) / TAPS;
    d->reach = (COLUMNS - 1) * g->stride[2] + TAPS;
    i64 quarters[8];
    u8 bytes[64];
    for (unsigned lane = 0; lane < 4; lane++) {
        unsigned from = lane * 4 * (unsigned)g->stride[2];
        quarters[2 * lane] = from / 8;
        quarters[2 * lane + 1] = from / 8 + 1;
        for (unsigned i = 0; i < 16; i++)
            bytes[16 * lane + i] = (u8)(from % 8 + i / TAPS * (unsigned)g->stride[2] + i % TAPS);
    }
    d->quarters = _mm512_loadu_si512(quarters);
    d->bytes = _mm512_loadu_si512(bytes);
    return 1;
}

/* Makes a channel's taps ready, which lie row by row at w. */
static void take_taps(struct depthwise *d, const u8 *w, u32 bias)
{
    const struct window *g = d->g;
    u32 sum = 0;
    for (i64 y = 0; y < g->kernel[1]; y++)
        for (i64 word = 0; word < d->groups; word++) {
            u32 taps = 0;
            for (i64 x = word * TAPS; x < g->kernel[2] && x < (word + 1) * TAPS; x++) {
                u8 tap = w[y * g->kernel[2] + x];
                sum += d->w_has_sign ? (u32)(i32)(i8)tap : tap;
                taps |= (u32)tap << 8 * (x % TAPS);
            }
            d->taps[word * g->kernel[1] + y] = taps;
        }
    d->add = bias + (d->flip ? (d->w_has_sign ? 0 - 128 * sum : 128 * sum) : 0);
}

/* Of 64 bytes from the column `from` of a row on: those that are wanted and in the input. */
static __mmask64 there(const struct depthwise *d, i64 from)
{
    i64 first = from < 0 ? -from : 0, end = d->g->input[2] - from;
    end = end < d->reach ? end : d->reach;
    return first < end ? (~0ull >> (64 - (end - first))) << first : 0;
}

/* What the taps of a word read for a vector of outputs, whose first byte is at `from`. */
INLINE TARGET __m512i taken(const struct depthwise *d, const u8 *from, __mmask64 mask)
{
    __m512i bytes = _mm512_maskz_loadu_epi8(mask, from);
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8((char)d->flip));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi64(d->quarters, bytes), d->bytes);
}

/* The same in a row that may not be there: then zeros. */
INLINE TARGET __m512i taken_if(const struct depthwise *d, i64 row, i64 column, __mmask64 mask)
{
    int inside = row >= 0 && row < d->g->input[1];
    return taken(d, d->x + (inside ? row * d->g->input[2] : 0) + column, inside ? mask : 0);
}

INLINE TARGET __m512i dot(int w_has_sign, __m512i sum, u32 taps, __m512i x)
{
    __m512i w = _mm512_set1_epi32((int)taps);
    return w_has_sign ? _mm512_dpbusd_epi32(sum, x, w) : _mm512_dpbusd_epi32(sum, w, x);
}

/* Stores what of ROWS rows is wanted. */
INLINE TARGET void put_down(const struct depthwise *d, i64 h, i64 w, const __m512i sum[ROWS])
{
    i64 columns = d->g->output[2], width = columns - w < COLUMNS ? columns - w : COLUMNS, at = h * columns + w;
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; r++, at += columns) {
        i64 first = (i64)d->first - at, last = (i64)d->end - at;
        first = first > 0 ? first : 0;
        last = last < width ? last : width;
        if (first < last)
            _mm512_mask_storeu_epi32(d->out + at, (__mmask16)((1u << last) - (1u << first)), sum[r]);
    }
}

/* ROWS rows of a vector of outputs, from row h and column w on, if they are wanted and all rows of the input are there. The
 * kernel is `tall`, its rows follow one another, and it moves down by `apart`: what several rows of outputs read is shuffled
 * once. */
INLINE TARGET void make_inner(const struct depthwise *d, i64 h, i64 w, int w_has_sign, int tall, int apart)
{
    const struct window *g = d->g;
    __m512i sum[ROWS];
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; r++)
        sum[r] = _mm512_set1_epi32((int)d->add);
    i64 pitch = g->input[2];
    const u32 *taps = d->taps;
    for (unsigned word = 0; word < d->groups; word++, taps += tall) {
        i64 column = w * g->stride[2] - g->pad[2] + word * TAPS;
        const u8 *from = d->x + (h * apart - g->pad[1]) * pitch + column;
        __mmask64 mask = there(d, column);
#pragma clang loop unroll(full)
        for (int i = 0; i < tall + (ROWS - 1) * apart; i++, from += pitch) {
            __m512i x = taken(d, from, mask);
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++)
                if (i >= r * apart && i < r * apart + tall)
                    sum[r] = dot(w_has_sign, sum[r], taps[i - r * apart], x);
        }
    }
    u32 *out = d->out + h * g->output[2] + w;
    __mmask16 mask = g->output[2] - w < COLUMNS ? (__mmask16)((1u << (g->output[2] - w)) - 1) : 0xffff;
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; r++, out += g->output[2])
        _mm512_mask_storeu_epi32(out, mask, sum[r]);
}

/* The same of any kernel, for any rows. */
INLINE TARGET void make_any(const struct depthwise *d, i64 h, i64 w, int w_has_sign)
{
    const struct window *g = d->g;
    __m512i sum[ROWS];
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; r++)
        sum[r] = _mm512_set1_epi32((int)d->add);
    const u32 *taps = d->taps;
    for (unsigned word = 0; word < d->groups; word++) {
        i64 column = w * g->stride[2] - g->pad[2] + word * TAPS, row = h * g->stride[1] - g->pad[1];
        __mmask64 mask = there(d, column);
        for (i64 y = 0; y < g->kernel[1]; y++, row += g->dilation[1], taps++)
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++)
                sum[r] = dot(w_has_sign, sum[r], *taps, taken_if(d, row + r * g->stride[1], column, mask));
    }
    put_down(d, h, w, sum);
}

/* The wanted positions of a channel. `tall`, `apart`: as for make_inner, 0 if it is no such kernel. */
INLINE TARGET void make_channel(const struct depthwise *d, int w_has_sign, int tall, int apart)
{
    const struct window *g = d->g;
    i64 columns = g->output[2], first = (i64)d->first / columns, end = ((i64)d->end + columns - 1) / columns;
    i64 reach = (ROWS - 1) * apart + tall;
    for (i64 h = first; h < end; h += ROWS) {
        i64 top = h * apart - g->pad[1];
        int inner = tall && top >= 0 && top + reach <= g->input[1] && h * columns >= (i64)d->first &&
                    (h + ROWS) * columns <= (i64)d->end;
        for (i64 w = 0; w < columns; w += COLUMNS)
            if (inner)
                make_inner(d, h, w, w_has_sign, tall, apart);
            else
                make_any(d, h, w, w_has_sign);
    }
}

INLINE TARGET void make_kind(const struct depthwise *d, int w_has_sign)
{
    const struct window *g = d->g;
    int follow = g->dilation[1] == 1;
    if (follow && g->kernel[1] == 3 && g->stride[1] == 1)
        make_channel(d, w_has_sign, 3, 1);
    else if (follow && g->kernel[1] == 3 && g->stride[1] == 2)
        make_channel(d, w_has_sign, 3, 2);
    else if (follow && g->kernel[1] == 5 && g->stride[1] == 1)
        make_channel(d, w_has_sign, 5, 1);
    else
        make_channel(d, w_has_sign, 0, 0);
}

static TARGET void make_signed(const struct depthwise *d) { make_kind(d, 1); }
static TARGET void make_unsigned(const struct depthwise *d) { make_kind(d, 0); }

int fast_conv_depthwise_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct window g;
    struct depthwise d;
    window_decode(&g, r);
    if ((hi - lo) * g.kernel_size < LEAST_PRODUCTS || !plan(&d, &g, r))
        return 0;
    const u8 *x = segment + r->in[0], *w = segment + r->in[1];
    const u32 *bias = r->n_in == 3 ? (const u32 *)(segment + r->in[2]) : NULL;
    u32 *out = (u32 *)(segment + r->out);
    for (u64 size = g.out_size, of_each = g.M / g.groups; lo < hi; lo += d.end - d.first) {
        u64 channel = lo / size, m = channel % g.M, left = hi - channel * size;
        d.first = lo % size;
        d.end = left < size ? left : size;
        d.x = x + (channel / g.M * g.C + m / of_each) * g.in_size;
        d.out = out + channel * size;
        take_taps(&d, w + m * g.kernel_size, bias ? bias[m] : 0);
        if (d.w_has_sign)
            make_signed(&d);
        else
            make_unsigned(&d);
    }
    return 1;
}

#else

int fast_conv_depthwise_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    (void)segment, (void)r, (void)lo, (void)hi;
    return 0;
}

#endif
