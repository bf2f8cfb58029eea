/* OP_POOL and OP_POOL_INDEX: the maximum, average or sum of each window; where in the input the maximum is.
 *
 * x: [N][C][input..], out: [N][C][output..], contiguous. Taps go row-major; only those inside the input count.
 *   maximum   starts from -infinity (integers: the least number); NaN wins.
 *   average   sum from +0 by plain adds, divided once by the count of taps inside (imm[0] = 1), or of taps
 *             inside the input and its padding on both sides (imm[0] = 2).
 *   sum       the same without the division (imm[0] = 3). */
#include "kernels.h"
#include "rows.h"
#include "types.h"
#include "window.h"

enum { POOL_MAX = 0, POOL_AVERAGE = 1, POOL_AVERAGE_PADDED = 2, POOL_SUM = 3 };

/* How many taps along d lie inside the input or its padding. */
static i64 padded_taps(const struct place *p, const struct window *g, int d)
{
    i64 room = g->input[d] + g->pad_end[d] - p->at[d]; /* the first tap never lies before the padding */
    i64 taps = room <= 0 ? 0 : (room + g->dilation[d] - 1) / g->dilation[d];
    return taps < g->kernel[d] ? taps : g->kernel[d];
}

/* Runs BODY for every tap inside the input, `tap` its address and `offset` its element number in the channel. */
#define FOR_EACH_TAP(WIDTH, BODY)                                                                                      \
    for (i64 d = first[0]; d < end[0]; d++)                                                                            \
        for (i64 h = first[1]; h < end[1]; h++) {                                                                      \
            i64 offset = ((p.at[0] + d * g.dilation[0]) * g.input[1] + p.at[1] + h * g.dilation[1]) * g.input[2] +     \
                         p.at[2] + first[2] * g.dilation[2];                                                           \
            const u8 *tap = x + offset * (WIDTH);                                                                      \
            for (i64 t = end[2] - first[2]; t > 0; t--) {                                                              \
                BODY;                                                                                                  \
                tap += g.dilation[2] * (WIDTH);                                                                        \
                offset += g.dilation[2];                                                                               \
            }                                                                                                          \
        }

/* Visits the windows [lo, hi): x is the channel, o the output element, first/end the taps inside. */
#define FOR_EACH_WINDOW(OUT_WIDTH, WIDTH, BODY)                                                                        \
    struct window g;                                                                                                   \
    struct place p;                                                                                                    \
    window_decode(&g, r);                                                                                              \
    u64 channel = lo / g.out_size, position = lo - channel * g.out_size;                                               \
    u8 *o = segment + r->out + lo * (OUT_WIDTH);                                                                       \
    place_begin(&p, &g, position);                                                                                     \
    for (; lo < hi; lo++, o += (OUT_WIDTH)) {                                                                          \
        const u8 *x = segment + r->in[0] + channel * g.in_size * (WIDTH);                                              \
        i64 first[3], end[3];                                                                                          \
        for (int d = 0; d < 3; d++)                                                                                    \
            place_taps(&p, &g, d, &first[d], &end[d]);                                                                 \
        if (first[2] == end[2]) /* no tap at all: no address of one either */                                          \
            end[0] = first[0];                                                                                         \
        BODY;                                                                                                          \
        place_next(&p, &g);                                                                                            \
        if (++position == g.out_size) {                                                                                \
            position = 0;                                                                                              \
            channel++;                                                                                                 \
        }                                                                                                              \
    }

/* LOAD: an element as binary32. STORE: a binary32 as an element. */
#define FLOAT_POOL(NAME, WIDTH, LOAD, STORE)                                                                           \
    static __attribute__((noinline)) void pool_##NAME(u8 *segment, const struct record *r, u64 lo, u64 hi)             \
    {                                                                                                                  \
        u64 function = r->imm[0];                                                                                      \
        FOR_EACH_WINDOW(WIDTH, WIDTH, {                                                                                \
            f32 value;                                                                                                 \
            if (function == POOL_MAX) {                                                                                \
                value = -f32_inf();                                                                                    \
                FOR_EACH_TAP(WIDTH, {                                                                                  \
                    f32 y = LOAD(tap);                                                                                 \
                    value = value > y || value != value ? value : y;                                                   \
                })                                                                                                     \
            } else {                                                                                                   \
                value = 0.0f;                                                                                          \
                FOR_EACH_TAP(WIDTH, value = value + LOAD(tap))                                                         \
                i64 count = 1;                                                                                         \
                if (function != POOL_SUM)                                                                              \
                    for (int d = 0; d < 3; d++)                                                                        \
                        count *= function == POOL_AVERAGE ? end[d] - first[d] : padded_taps(&p, &g, d);                \
                value = count == 1 ? value : value / f32_from_i64(count);                                              \
            }                                                                                                          \
            STORE(o, value);                                                                                           \
        })                                                                                                             \
    }
#define STORE_F32(o, v) st_f32(o, canonical(v))
FLOAT_POOL(f32, 4, ld_f32, STORE_F32)

static f32 load_half(const u8 *p, u8 dtype) { return dtype == DT_F16 ? ld_f16(p) : ld_bf16(p); }
#define LOAD_HALF(p)     load_half(p, r->dtype_in[0])
#define STORE_HALF(o, v) st_u16(o, r->dtype_in[0] == DT_F16 ? f16_from_f32(v) : bf16_from_f32(v))
FLOAT_POOL(half, 2, LOAD_HALF, STORE_HALF)

/* The greatest element of each window, any integer dtype; an empty window gives the least number. */
static __attribute__((noinline)) void pool_integer(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u8 dtype = r->dtype_in[0];
    i64 width = (i64)dtype_bytes(dtype);
    u32 is_signed = dtype == DT_I8 || dtype == DT_I16 || dtype == DT_I32 || dtype == DT_I64;
    u64 flip = is_signed ? 1ull << 63 : 0; /* compares as unsigned after this flip */
    u64 least = is_signed ? 0 - (1ull << (8 * width - 1)) : 0;
    FOR_EACH_WINDOW(width, width, {
        u64 value = least;
        FOR_EACH_TAP(width, {
            i64 y;
            KERNEL(load_i64_chunk)(&y, tap, 0, dtype, 1);
            value = ((u64)y ^ flip) > (value ^ flip) ? (u64)y : value;
        })
        KERNEL(store_i64_chunk)(o, 0, dtype, (const i64 *)&value, 1);
    })
}

void KERNEL(kernel_pool)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    switch (r->dtype_in[0]) {
    case DT_F32: pool_f32(segment, r, lo, hi); return;
    case DT_F16:
    case DT_BF16: pool_half(segment, r, lo, hi); return;
    default: pool_integer(segment, r, lo, hi); return; /* ASSUMES: POOL_MAX (record_check) */
    }
}

/* The element number in the whole input of the first maximum (the first NaN, if there is one); an empty window
 * gives -1. imm[1] bit 0: the spatial coordinates count column-major (ONNX's storage_order = 1). */
void KERNEL(kernel_pool_index)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    i64 width = (i64)dtype_bytes(r->dtype_in[0]);
    u8 dtype = r->dtype_in[0];
    FOR_EACH_WINDOW(8, width, {
        i64 best = -1;
        u64 best_key = 0;
        FOR_EACH_TAP(width, {
            u64 key;
            KERNEL(load_key_chunk)(&key, tap, 0, dtype, 1, ~0ull);
            if (best < 0 || key > best_key) {
                best = offset;
                best_key = key;
            }
        })
        if (best >= 0) {
            if (r->imm[1] & 1) {
                i64 w = best % g.input[2];
                i64 h = best / g.input[2] % g.input[1];
                i64 d = best / g.input[2] / g.input[1];
                best = (w * g.input[1] + h) * g.input[0] + d;
            }
            best += (i64)(channel * g.in_size);
        }
        st_i64(o, best);
    })
}
