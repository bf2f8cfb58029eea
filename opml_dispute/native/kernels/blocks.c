/* OP_BLOCK_QUANTISE, OP_BLOCK_CONTRACT, OP_BLOCK_GATHER: products with weights that stay in their blocks.
 *
 * imm[0] is the format (blocks.h), body is M, N, K; operands are dense and row-major. A block's part of a dot product is
 * one or two exact integers; these are combined in binary32, block by block, so that a kernel that adds the integers up
 * in another order gets the same bits. docs/kernels.md says which integers, and how they are combined. */
#include "blocks.h"
#include "float32.h"
#include "kernels.h"

/* The guest's loops are as they are written, so that tests/guest/loops.py finds them. */
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#if OPML_GUEST
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define KEEP_LOOP
#endif

/* ---- activations --------------------------------------------------------------------------------------------------
 *
 * A block whose largest number is below this is quantised as zeros: its scale would be no normal number. */
#define LEAST_ACTIVATION 0x1p-110f
/* Added to a number below 2^22, it leaves the nearest integer, halves to even, in the low bits. */
#define ROUNDING 0x1.8p23f

/* Elements are taken by fours: a block has 32 or 256. */
void KERNEL(kernel_block_quantise)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u64 elements = r->imm[0];
    const u8 *x = segment + r->in[0] + lo * elements * 4;
    u8 *o = segment + r->out + lo * (ACTIVATION_HEAD + elements);
    for (; lo < hi; lo++) {
        u32 most = 0;
        KEEP_LOOP
        for (u64 i = 0; i < elements; i += 4) {
            UNROLL_ALL
            for (unsigned j = 0; j < 4; j++) {
                u32 bits = f32_bits(ld_f32(x + (i + j) * 4)) & ~SIGN_BIT;
                most = bits > most ? bits : most;
            }
        }
        f32 greatest = f32_from_bits(most), scale = 0.0f, inverse = 0.0f;
        u32 counts = most >= f32_bits(LEAST_ACTIVATION) && most < INF_BITS;
        if (most >= INF_BITS)
            scale = f32_nan();
        else if (counts) {
            scale = greatest / 127.0f;
            inverse = 127.0f / greatest;
        }
        store_big_u32(o, f32_bits(scale));
        o += ACTIVATION_HEAD;
        KEEP_LOOP
        for (u64 i = 0; i < elements; i += 4) {
            UNROLL_ALL
            for (unsigned j = 0; j < 4; j++)
                o[i + j] = counts ? (u8)f32_bits(mul32(ld_f32(x + (i + j) * 4), inverse) + ROUNDING) : 0;
        }
        x += elements * 4;
        o += elements;
    }
}

/* ---- what a block of weights and one of activations come to ------------------------------------------------------
 *
 * sums_FORMAT: the integers a and b of the two blocks, exact. Without minima b is not there. */

#define EACH_BYTE(COUNT) UNROLL_ALL for (unsigned j = 0; j < (COUNT); j++)

INLINE i32 sums_Q4_0(const i8 *x, const u8 *w, i32 *b)
{
    i32 a = 0;
    (void)b;
    EACH_BYTE(16) a += ((w[2 + j] & 15) - 8) * x[j] + ((w[2 + j] >> 4) - 8) * x[16 + j];
    return a;
}
INLINE i32 sums_Q4_1(const i8 *x, const u8 *w, i32 *b)
{
    i32 a = 0, sum = 0;
    EACH_BYTE(16)
    {
        a += (w[4 + j] & 15) * x[j] + (w[4 + j] >> 4) * x[16 + j];
        sum += x[j] + x[16 + j];
    }
    *b = sum;
    return a;
}
INLINE i32 sums_Q5_0(const i8 *x, const u8 *w, i32 *b)
{
    u32 high = load_little_u32(w + 2);
    i32 a = 0;
    (void)b;
    EACH_BYTE(16)
    {
        a += (i32)((w[6 + j] & 15u) | (high >> j & 1) << 4) * x[j] - 16 * x[j];
        a += (i32)((w[6 + j] >> 4) | (high >> (16 + j) & 1) << 4) * x[16 + j] - 16 * x[16 + j];
    }
    return a;
}
INLINE i32 sums_Q5_1(const i8 *x, const u8 *w, i32 *b)
{
    u32 high = load_little_u32(w + 4);
    i32 a = 0, sum = 0;
    EACH_BYTE(16)
    {
        a += (i32)((w[8 + j] & 15u) | (high >> j & 1) << 4) * x[j];
        a += (i32)((w[8 + j] >> 4) | (high >> (16 + j) & 1) << 4) * x[16 + j];
        sum += x[j] + x[16 + j];
    }
    *b = sum;
    return a;
}
INLINE i32 sums_Q8_0(const i8 *x, const u8 *w, i32 *b)
{
    i32 a = 0;
    (void)b;
    EACH_BYTE(32) a += (i8)w[2 + j] * x[j];
    return a;
}
INLINE i32 sums_N4(const i8 *x, const u8 *w, i32 *b)
{
    i32 a = 0, zero = w[4];
    (void)b;
    EACH_BYTE(16) a += ((w[8 + j] & 15) - zero) * x[j] + ((w[8 + j] >> 4) - zero) * x[16 + j];
    return a;
}
INLINE i32 sums_N8(const i8 *x, const u8 *w, i32 *b)
{
    i32 a = 0, zero = w[4];
    (void)b;
    EACH_BYTE(32) a += (w[8 + j] - zero) * x[j];
    return a;
}

/* Two runs of 32 at a time: low and high halves of the same bytes. */
INLINE i32 sums_Q4_K(const i8 *x, const u8 *w, i32 *b)
{
    const u8 *q = w + 16;
    i32 a = 0, minima = 0;
    KEEP_LOOP
    for (unsigned pair = 0; pair < 4; pair++, q += 32, x += 64) {
        i32 low = 0, high = 0, low_sum = 0, high_sum = 0, scale, minimum;
        EACH_BYTE(32)
        {
            low += (q[j] & 15) * x[j];
            high += (q[j] >> 4) * x[32 + j];
            low_sum += x[j];
            high_sum += x[32 + j];
        }
        scale_and_minimum(w + 4, 2 * pair, &scale, &minimum);
        a += scale * low;
        minima += minimum * low_sum;
        scale_and_minimum(w + 4, 2 * pair + 1, &scale, &minimum);
        a += scale * high;
        minima += minimum * high_sum;
    }
    *b = minima;
    return a;
}
INLINE i32 sums_Q5_K(const i8 *x, const u8 *w, i32 *b)
{
    const u8 *q = w + 48, *fifth = w + 16;
    i32 a = 0, minima = 0;
    KEEP_LOOP
    for (unsigned pair = 0; pair < 4; pair++, q += 32, x += 64) {
        i32 low = 0, high = 0, low_sum = 0, high_sum = 0, scale, minimum;
        EACH_BYTE(32)
        {
            u32 bits = (u32)fifth[j] >> 2 * pair;
            low += (i32)((q[j] & 15u) | (bits & 1) << 4) * x[j];
            high += (i32)((q[j] >> 4) | (bits & 2) << 3) * x[32 + j];
            low_sum += x[j];
            high_sum += x[32 + j];
        }
        scale_and_minimum(w + 4, 2 * pair, &scale, &minimum);
        a += scale * low;
        minima += minimum * low_sum;
        scale_and_minimum(w + 4, 2 * pair + 1, &scale, &minimum);
        a += scale * high;
        minima += minimum * high_sum;
    }
    *b = minima;
    return a;
}
/* Four runs of 16 at a time: of each half of the block, its first or second sixteen bytes. */
INLINE i32 sums_Q6_K(const i8 *x, const u8 *w, i32 *b)
{
    i32 a = 0;
    (void)b;
    KEEP_LOOP
    for (unsigned part = 0; part < 4; part++) {
        unsigned half = part >> 1, second = part & 1;
        const u8 *q = w + 64 * half + 16 * second, *high = w + 128 + 32 * half + 16 * second;
        const i8 *scale = (const i8 *)w + 192 + 8 * half + second, *at = x + 128 * half + 16 * second;
        i32 sum[4] = {0, 0, 0, 0};
        EACH_BYTE(16)
        {
            u32 bits = high[j];
            sum[0] += ((i32)((q[j] & 15u) | (bits & 3) << 4) - 32) * at[j];
            sum[1] += ((i32)((q[32 + j] & 15u) | (bits & 12) << 2) - 32) * at[32 + j];
            sum[2] += ((i32)((q[j] >> 4) | (bits & 48)) - 32) * at[64 + j];
            sum[3] += ((i32)((q[32 + j] >> 4) | (bits & 192) >> 2) - 32) * at[96 + j];
        }
        UNROLL_ALL
        for (unsigned run = 0; run < 4; run++)
            a += scale[2 * run] * sum[run];
    }
    *b = 0;
    return a;
}

/* d of a block, and e: what b counts for. */
#define HALF_AT(w, at)           f32_from_f16(load_little_u16((w) + (at)))
#define D_Q4_0(w)                HALF_AT(w, 0)
#define D_Q4_1(w)                HALF_AT(w, 0)
#define D_Q5_0(w)                HALF_AT(w, 0)
#define D_Q5_1(w)                HALF_AT(w, 0)
#define D_Q8_0(w)                HALF_AT(w, 0)
#define D_Q4_K(w)                HALF_AT(w, 0)
#define D_Q5_K(w)                HALF_AT(w, 0)
#define D_Q6_K(w)                HALF_AT(w, 208)
#define D_N4(w)                  f32_from_bits(load_little_u32(w))
#define D_N8(w)                  f32_from_bits(load_little_u32(w))
#define ADD_NOTHING(w, dx, b, y) (y)
#define ADD_MINIMUM(w, dx, b, y) fma32(HALF_AT(w, 2), mul32(dx, (f32)(b)), y)
#define ADD_MINIMA(w, dx, b, y)  fma32(-HALF_AT(w, 2), mul32(dx, (f32)(b)), y)
#define E_Q4_0                   ADD_NOTHING
#define E_Q4_1                   ADD_MINIMUM
#define E_Q5_0                   ADD_NOTHING
#define E_Q5_1                   ADD_MINIMUM
#define E_Q8_0                   ADD_NOTHING
#define E_Q4_K                   ADD_MINIMA
#define E_Q5_K                   ADD_MINIMA
#define E_Q6_K                   ADD_NOTHING
#define E_N4                     ADD_NOTHING
#define E_N8                     ADD_NOTHING

/* A row of activations times a row of weights, of so many blocks. */
typedef f32 block_product(const u8 *x, const u8 *w, u64 blocks);
#define BLOCK_PRODUCT(NAME, ELEMENTS, BYTES)                                                                           \
    static f32 block_product_##NAME(const u8 *x, const u8 *w, u64 blocks)                                              \
    {                                                                                                                  \
        f32 y = 0.0f;                                                                                                  \
        KEEP_LOOP                                                                                                      \
        for (; blocks; blocks--, x += ACTIVATION_HEAD + ELEMENTS, w += BYTES) {                                        \
            f32 dx = f32_from_bits(load_big_u32(x));                                                                   \
            i32 b = 0, a = sums_##NAME((const i8 *)x + ACTIVATION_HEAD, w, &b);                                        \
            y = fma32(D_##NAME(w), mul32(dx, (f32)a), y);                                                              \
            y = E_##NAME(w, dx, b, y);                                                                                 \
        }                                                                                                              \
        return y;                                                                                                      \
    }
FOR_EACH_BLOCK_FORMAT(BLOCK_PRODUCT)

static block_product *product_with(u64 format)
{
    switch (format) {
#define PRODUCT_WITH(NAME, ELEMENTS, BYTES)                                                                            \
    case BLOCK_##NAME: return block_product_##NAME;
        FOR_EACH_BLOCK_FORMAT(PRODUCT_WITH)
    default: return 0; /* record_check admits no other */
    }
}

void KERNEL(kernel_block_contract)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u64 N = (u64)r->body[1], blocks = (u64)r->body[2] / block_elements(r->imm[0]);
    u64 x_row = blocks * (ACTIVATION_HEAD + block_elements(r->imm[0])), w_row = blocks * block_bytes(r->imm[0]);
    block_product *make = product_with(r->imm[0]);
    u32 has_bias = r->n_in == 3;
    while (lo < hi) {
        u64 m = lo / N, n = lo - m * N, end = hi - lo < N - n ? n + (hi - lo) : N;
        const u8 *x = segment + r->in[0] + m * x_row, *w = segment + r->in[1] + n * w_row;
        const u8 *bias = segment + r->in[2] + n * 4;
        u8 *o = segment + r->out + lo * 4;
        lo += end - n;
        KEEP_LOOP
        for (; n < end; n++, w += w_row, bias += 4, o += 4) {
            f32 y = make(x, w, blocks);
            st_f32(o, arith(has_bias ? y + ld_f32(bias) : y));
        }
    }
}

/* ---- the elements themselves --------------------------------------------------------------------------------------
 *
 * Element i of a block, rounded once: every product of d, a scale and an integer is exact but Q6_K's and N's last. */
static f32 block_element(u64 format, const u8 *w, u32 i)
{
    u32 nibble = i & 15, high = i >> 4 & 1; /* of the formats that have 32 elements in 16 bytes */
    i32 scale, minimum, q;
    switch (format) {
    case BLOCK_Q4_0: return mul32(HALF_AT(w, 0), (f32)((i32)(w[2 + nibble] >> 4 * high & 15) - 8));
    case BLOCK_Q4_1: return fma32(HALF_AT(w, 0), (f32)(i32)(w[4 + nibble] >> 4 * high & 15), HALF_AT(w, 2));
    case BLOCK_Q5_0:
        q = (i32)((w[6 + nibble] >> 4 * high & 15u) | (load_little_u32(w + 2) >> i & 1) << 4);
        return mul32(HALF_AT(w, 0), (f32)(q - 16));
    case BLOCK_Q5_1:
        q = (i32)((w[8 + nibble] >> 4 * high & 15u) | (load_little_u32(w + 4) >> i & 1) << 4);
        return fma32(HALF_AT(w, 0), (f32)q, HALF_AT(w, 2));
    case BLOCK_Q8_0: return mul32(HALF_AT(w, 0), (f32)(i32)(i8)w[2 + i]);
    case BLOCK_N4: return mul32(D_N4(w), (f32)((i32)(w[8 + nibble] >> 4 * high & 15) - w[4]));
    case BLOCK_N8: return mul32(D_N8(w), (f32)((i32)w[8 + i] - w[4]));
    case BLOCK_Q6_K: {
        u32 half = i >> 7, quarter = i >> 5 & 3, at = i & 31;
        u32 low = (u32)w[64 * half + (quarter & 1) * 32 + at] >> (quarter >> 1) * 4 & 15;
        u32 top = (u32)w[128 + 32 * half + at] >> 2 * quarter & 3;
        return mul32(mul32(HALF_AT(w, 208), (f32)(i32)(i8)w[192 + (i >> 4)]), (f32)((i32)(low | top << 4) - 32));
    }
    default: { /* Q4_K and Q5_K */
        u32 is_five = format == BLOCK_Q5_K, run = i >> 5, at = i & 31;
        const u8 *bytes = w + (is_five ? 48 : 16);
        q = bytes[32 * (run >> 1) + at] >> 4 * (run & 1) & 15;
        if (is_five)
            q |= (i32)((u32)w[16 + at] >> run & 1) << 4;
        scale_and_minimum(w + 4, run, &scale, &minimum);
        f32 e = mul32(HALF_AT(w, 2), (f32)minimum);
        return fma32(mul32(HALF_AT(w, 0), (f32)scale), (f32)q, -e);
    }
    }
}

/* [lo, hi) counts blocks of the output: rows at in1's indices, or all in their order. */
void KERNEL(kernel_block_gather)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u64 format = r->imm[0], elements = block_elements(format), bytes = block_bytes(format);
    u64 blocks = (u64)r->body[2] / elements;
    u8 *o = segment + r->out + lo * elements * 4;
    KEEP_LOOP
    for (; lo < hi; lo++) {
        u64 row = lo / blocks, block = lo - row * blocks;
        if (r->n_in == 2) {
            i64 index = ld_i64(segment + r->in[1] + row * 8);
            row = (u64)(index < 0 ? index + r->body[1] : index);
        }
        const u8 *w = segment + r->in[0] + (row * blocks + block) * bytes;
        KEEP_LOOP
        for (u32 i = 0; i < elements; i++, o += 4)
            st_f32(o, canonical(block_element(format, w, i)));
    }
}

enum inference_status KERNEL(block_indices_check)(const u8 *segment, const struct record *r)
{
    u64 blocks = (u64)r->body[2] / block_elements(r->imm[0]);
    if (r->n_in == 1 || r->lo == r->hi)
        return ST_OK;
    const u8 *p = segment + r->in[1] + r->lo / blocks * 8, *end = segment + r->in[1] + (r->hi - 1) / blocks * 8;
    KEEP_LOOP
    for (; p <= end; p += 8) {
        i64 index = ld_i64(p);
        if (index < -r->body[1] || index >= r->body[1])
            return ST_INDEX_OUT_OF_RANGE;
    }
    return ST_OK;
}
