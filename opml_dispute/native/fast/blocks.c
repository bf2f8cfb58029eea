/* OP_BLOCK_CONTRACT: a panel of weights at a time, as many rows of them as a vector has lanes.
 *
 * The panel's blocks are unpacked from where they lie, a few at a time, into words of four unsigned bytes, one lane a row
 * of weights: then one instruction multiplies four elements of every row by the same four activations, sums are exact
 * whatever their order, and each lane combines its own blocks in the order that the plain kernel has. What is unpacked
 * stays in the nearest cache while all rows of activations pass over it; nothing is kept. */
#include <string.h>

#include "integers.h"
#include "kernels/blocks.h"
#include "kernels/float32.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef u32 words __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));
typedef i32 signed_words __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));
typedef float floats __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));

/* Unpacked blocks of a panel. q: four elements of each row in a word. */
struct narrow { /* 32 elements */
    u32 q[8][INTEGER_LANES];
    float d[INTEGER_LANES], e[INTEGER_LANES];
    u32 zero[INTEGER_LANES];
};
struct wide { /* 256 elements in 8 or 16 runs */
    u32 q[64][INTEGER_LANES];
    u32 scale[16][INTEGER_LANES], minimum[16][INTEGER_LANES];
    float d[INTEGER_LANES], e[INTEGER_LANES];
};

/* The sums of a block of activations alone. */
struct activation {
    float scale, scaled_sum;
    i32 sum;
    i16 run[16]; /* sums of runs, of 256 elements */
};

/* Unpacked at a time, in bytes, about: they share the nearest cache with activations. */
#define PACKED_BYTES 16384
#define CACHE_LINE   64
/* Rows of activations that pass over a panel. */
#define ROWS_AT_ONCE 256
/* Rows whose sums are in registers. */
#define BLOCK_ROWS (INTEGER_LANES == 16 ? 8 : 4)

/* Some blocks of a panel, and the rows that pass over them. */
struct pass {
    u64 format, rows, blocks;
    u64 block; /* of the row, the first one here */
    u64 row_blocks, x_row;
    const void *packed;
    const u8 *x;
    const struct activation *activation; /* [rows][row_blocks] */
    float *sums;                         /* [rows][INTEGER_LANES] */
};

/* A panel's rows of weights: where each begins, how far behind the first one that is, and where in them a block begins. */
struct panel {
    const u8 *row[INTEGER_LANES];
    i32 behind[INTEGER_LANES];
    u64 block;
};

INLINE u32 word_at(const u8 *p) { return *(const u32 *)p; }

/* ---- unpacking ---------------------------------------------------------------------------------------------------- */

/* Four words of each row, from byte `at` of it on. */
INLINE void four_words(u32 (*to)[INTEGER_LANES], const struct panel *w, u64 at)
{
#if defined(__AVX512BW__)
    __m512i part[4];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < 4; i++) { /* rows i, i + 4, i + 8, i + 12 */
        __m512i rows = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(w->row[i] + w->block + at)));
        rows = _mm512_inserti32x4(rows, _mm_loadu_si128((const __m128i *)(w->row[i + 4] + w->block + at)), 1);
        rows = _mm512_inserti32x4(rows, _mm_loadu_si128((const __m128i *)(w->row[i + 8] + w->block + at)), 2);
        part[i] = _mm512_inserti32x4(rows, _mm_loadu_si128((const __m128i *)(w->row[i + 12] + w->block + at)), 3);
    }
    __m512i low01 = _mm512_unpacklo_epi32(part[0], part[1]), high01 = _mm512_unpackhi_epi32(part[0], part[1]);
    __m512i low23 = _mm512_unpacklo_epi32(part[2], part[3]), high23 = _mm512_unpackhi_epi32(part[2], part[3]);
    _mm512_storeu_si512(to[0], _mm512_unpacklo_epi64(low01, low23));
    _mm512_storeu_si512(to[1], _mm512_unpackhi_epi64(low01, low23));
    _mm512_storeu_si512(to[2], _mm512_unpacklo_epi64(high01, high23));
    _mm512_storeu_si512(to[3], _mm512_unpackhi_epi64(high01, high23));
#elif defined(__AVX2__)
    __m256i part[4];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < 4; i++) { /* rows i, i + 4 */
        __m256i rows = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(w->row[i] + w->block + at)));
        part[i] = _mm256_inserti128_si256(rows, _mm_loadu_si128((const __m128i *)(w->row[i + 4] + w->block + at)), 1);
    }
    __m256i low01 = _mm256_unpacklo_epi32(part[0], part[1]), high01 = _mm256_unpackhi_epi32(part[0], part[1]);
    __m256i low23 = _mm256_unpacklo_epi32(part[2], part[3]), high23 = _mm256_unpackhi_epi32(part[2], part[3]);
    _mm256_storeu_si256((__m256i *)to[0], _mm256_unpacklo_epi64(low01, low23));
    _mm256_storeu_si256((__m256i *)to[1], _mm256_unpackhi_epi64(low01, low23));
    _mm256_storeu_si256((__m256i *)to[2], _mm256_unpacklo_epi64(high01, high23));
    _mm256_storeu_si256((__m256i *)to[3], _mm256_unpackhi_epi64(high01, high23));
#else
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        for (unsigned g = 0; g < 4; g++)
            memcpy(&to[g][lane], w->row[lane] + w->block + at + 4 * g, 4);
#endif
}

#define WORDS(p) (*(words *)(p))

/* The binary16 at byte `at` of each row. */
INLINE void halves(float *to, const struct panel *w, u64 at)
{
#if defined(__AVX512BW__)
    /* Whole words, of which one half is meant: the lower one at the start of a block, else the upper. */
    __m512i behind = _mm512_loadu_si512(w->behind);
    __m512i both = _mm512_i32gather_epi32(behind, w->row[0] + w->block + (at ? at - 2 : 0), 1);
    _mm512_storeu_ps(to, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(at ? _mm512_srli_epi32(both, 16) : both)));
#else
    u16 half[INTEGER_LANES];
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        memcpy(&half[lane], w->row[lane] + w->block + at, 2);
#if defined(__AVX2__)
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)half)));
#else
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        to[lane] = f32_from_f16(half[lane]);
#endif
#endif
}

/* Words of low and high halves of 16 bytes. */
INLINE void split_nibbles(u32 (*low)[INTEGER_LANES], u32 (*high)[INTEGER_LANES], const struct panel *w, u64 at)
{
    u32 both[4][INTEGER_LANES];
    four_words(both, w, at);
    for (unsigned g = 0; g < 4; g++) {
        WORDS(low[g]) = WORDS(both[g]) & 0x0f0f0f0f;
        WORDS(high[g]) = WORDS(both[g]) >> 4 & 0x0f0f0f0f;
    }
}

/* Bit i of the word at byte `at` of each row becomes bit 4 of element i. */
INLINE void add_fifth_bits(u32 (*q)[INTEGER_LANES], const struct panel *w, u64 at)
{
    u32 bits[INTEGER_LANES];
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        memcpy(&bits[lane], w->row[lane] + w->block + at, 4);
    for (unsigned g = 0; g < 8; g++)
        WORDS(q[g]) |= ((WORDS(bits) >> 4 * g & 15) * 0x00204081 & 0x01010101) << 4;
}

INLINE void all_zeros(struct narrow *to, u32 zero) { WORDS(to->zero) = zero + (words){0}; }

INLINE void unpack_narrow(struct narrow *to, u64 format, const struct panel *w)
{
    switch (format) {
    case BLOCK_Q4_0:
        halves(to->d, w, 0);
        split_nibbles(to->q, to->q + 4, w, 2);
        all_zeros(to, 8);
        return;
    case BLOCK_Q4_1:
        halves(to->d, w, 0);
        halves(to->e, w, 2);
        split_nibbles(to->q, to->q + 4, w, 4);
        return;
    case BLOCK_Q5_0:
        halves(to->d, w, 0);
        split_nibbles(to->q, to->q + 4, w, 6);
        add_fifth_bits(to->q, w, 2);
        all_zeros(to, 16);
        return;
    case BLOCK_Q5_1:
        halves(to->d, w, 0);
        halves(to->e, w, 2);
        split_nibbles(to->q, to->q + 4, w, 8);
        add_fifth_bits(to->q, w, 4);
        return;
    case BLOCK_Q8_0:
        halves(to->d, w, 0);
        four_words(to->q, w, 2);
        four_words(to->q + 4, w, 18);
        for (unsigned g = 0; g < 8; g++)
            WORDS(to->q[g]) ^= 0x80808080; /* unsigned, 128 above */
        all_zeros(to, 128);
        return;
    default: /* N4, N8 */
        for (unsigned lane = 0; lane < INTEGER_LANES; lane++) {
            memcpy(&to->d[lane], w->row[lane] + w->block, 4);
            to->zero[lane] = (w->row[lane] + w->block)[4];
        }
        if (format == BLOCK_N4)
            split_nibbles(to->q, to->q + 4, w, 8);
        else {
            four_words(to->q, w, 8);
            four_words(to->q + 4, w, 24);
        }
    }
}

/* Q4_K and Q5_K: two runs of 32 in the halves of 32 bytes. */
INLINE void unpack_eight_runs(struct wide *to, u64 format, const struct panel *w)
{
    u32 fifth[8][INTEGER_LANES];
    u64 at = format == BLOCK_Q5_K ? 48 : 16;
    halves(to->d, w, 0);
    halves(to->e, w, 2);
    WORDS(to->e) ^= 0x80000000; /* minima are taken off */
    if (format == BLOCK_Q5_K) {
        four_words(fifth, w, 16);
        four_words(fifth + 4, w, 32);
    }
    for (unsigned pair = 0; pair < 4; pair++, at += 32) {
        u32(*low)[INTEGER_LANES] = to->q + 16 * pair, (*high)[INTEGER_LANES] = low + 8;
        split_nibbles(low, high, w, at);
        split_nibbles(low + 4, high + 4, w, at + 16);
        for (unsigned g = 0; g < 8 && format == BLOCK_Q5_K; g++) {
            WORDS(low[g]) |= (WORDS(fifth[g]) >> 2 * pair & 0x01010101) << 4;
            WORDS(high[g]) |= (WORDS(fifth[g]) >> (2 * pair + 1) & 0x01010101) << 4;
        }
    }
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        for (unsigned run = 0; run < 8; run++) {
            i32 scale, minimum;
            scale_and_minimum(w->row[lane] + w->block + 4, run, &scale, &minimum);
            to->scale[run][lane] = (u32)scale;
            to->minimum[run][lane] = (u32)minimum;
        }
}

/* Sixteen runs of 16, whose integers are 32 too high: what that adds is a run's minimum here. */
INLINE void unpack_sixteen_runs(struct wide *to, const struct panel *w)
{
    u32 high[8][INTEGER_LANES];
    halves(to->d, w, 208);
    for (unsigned half = 0; half < 2; half++) {
        u32(*q)[INTEGER_LANES] = to->q + 32 * half;
        for (unsigned second = 0; second < 2; second++) /* the first 32 bytes are runs 0 and 4, the others 2 and 6 */
            for (unsigned part = 0; part < 2; part++)
                split_nibbles(q + 8 * second + 4 * part, q + 16 + 8 * second + 4 * part, w,
                              64 * half + 32 * second + 16 * part);
        four_words(high, w, 128 + 32 * half);
        four_words(high + 4, w, 144 + 32 * half);
        for (unsigned quarter = 0; quarter < 4; quarter++)
            for (unsigned g = 0; g < 8; g++)
                WORDS(q[8 * quarter + g]) |= (WORDS(high[g]) >> 2 * quarter & 0x03030303) << 4;
    }
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        for (unsigned run = 0; run < 16; run++) {
            i32 scale = (i8)(w->row[lane] + w->block)[192 + run];
            to->scale[run][lane] = (u32)scale;
            to->minimum[run][lane] = 32 * (u32)scale;
        }
}

/* Asks for memory of the next panel, which is read from many places at once: a processor does not see that coming. Behind
 * the last panel that is something else, and does no harm. */
INLINE void fetch_ahead(const u8 *from, u64 bytes)
{
    for (u64 at = 0; at < bytes; at += CACHE_LINE)
        __builtin_prefetch(from + at, 0, 2); /* as far as the second-level cache */
}

/* Blocks of a panel, from each row's block `block` on. */
static void unpack(const struct pass *p, void *packed, const struct panel *w)
{
    u64 bytes = block_bytes(p->format), count = p->blocks;
    struct panel at = *w;
    for (u64 b = 0; b < count; b++) {
        at.block = (p->block + b) * bytes;
        fetch_ahead(w->row[0] + INTEGER_LANES * (p->row_blocks * bytes + at.block), INTEGER_LANES * bytes);
        struct narrow *narrow = (struct narrow *)packed + b;
        struct wide *wide = (struct wide *)packed + b;
        switch (p->format) { /* each with its own copy of what it calls */
        case BLOCK_Q4_0: unpack_narrow(narrow, BLOCK_Q4_0, &at); break;
        case BLOCK_Q4_1: unpack_narrow(narrow, BLOCK_Q4_1, &at); break;
        case BLOCK_Q5_0: unpack_narrow(narrow, BLOCK_Q5_0, &at); break;
        case BLOCK_Q5_1: unpack_narrow(narrow, BLOCK_Q5_1, &at); break;
        case BLOCK_Q8_0: unpack_narrow(narrow, BLOCK_Q8_0, &at); break;
        case BLOCK_N4: unpack_narrow(narrow, BLOCK_N4, &at); break;
        case BLOCK_N8: unpack_narrow(narrow, BLOCK_N8, &at); break;
        case BLOCK_Q4_K: unpack_eight_runs(wide, BLOCK_Q4_K, &at); break;
        case BLOCK_Q5_K: unpack_eight_runs(wide, BLOCK_Q5_K, &at); break;
        default: unpack_sixteen_runs(wide, &at);
        }
    }
}

/* ---- multiplying -------------------------------------------------------------------------------------------------- */

#if defined(__AVX512BW__)
#define FMA(a, b, c) ((floats)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
/* WHY not one instruction for bytes above 127: two of its products may be more than 16 bits hold. */
INLINE words dot_plain(words sum, words w, words x, unsigned small)
{
    if (small)
        return sum + (words)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)w, (__m512i)x), _mm512_set1_epi16(1));
    __m512i low = _mm512_madd_epi16((__m512i)(w & 0x00ff00ff), _mm512_srai_epi16(_mm512_slli_epi16((__m512i)x, 8), 8));
    return sum + (words)low +
           (words)_mm512_madd_epi16((__m512i)(w >> 8 & 0x00ff00ff), _mm512_srai_epi16((__m512i)x, 8));
}
#define TILE(name)               name##_plain
#define TARGET                   __attribute__((target("avx512bw")))
#define DOT(sum, w, x, is_small) dot_plain(sum, w, x, is_small)
#include "blocks_tile.inc"
#undef TILE
#undef TARGET
#undef DOT
#define TILE(name) name##_vnni
#define TARGET     __attribute__((target("avx512vnni")))
#define DOT(sum, w, x, is_small)                                                                                       \
    ((void)(is_small), (words)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(w), (__m512i)(x)))
#include "blocks_tile.inc"
#define run_pass(p) ((integer_features() & INTEGER_VNNI) ? run_pass_vnni(p) : run_pass_plain(p))
#elif defined(__AVX2__)
#define FMA(a, b, c)             ((floats)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
INLINE words dot_plain(words sum, words w, words x, unsigned small)
{
    if (small)
        return sum + (words)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)w, (__m256i)x), _mm256_set1_epi16(1));
    __m256i low = _mm256_madd_epi16((__m256i)(w & 0x00ff00ff), _mm256_srai_epi16(_mm256_slli_epi16((__m256i)x, 8), 8));
    return sum + (words)low +
           (words)_mm256_madd_epi16((__m256i)(w >> 8 & 0x00ff00ff), _mm256_srai_epi16((__m256i)x, 8));
}
#define TILE(name)               name##_plain
#define TARGET                   __attribute__((target("avx2")))
#define DOT(sum, w, x, is_small) dot_plain(sum, w, x, is_small)
#include "blocks_tile.inc"
#undef TILE
#undef TARGET
#undef DOT
#define TILE(name) name##_vnni
#define TARGET     __attribute__((target("avxvnni")))
#define DOT(sum, w, x, is_small)                                                                                       \
    ((void)(is_small), (words)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(w), (__m256i)(x)))
#include "blocks_tile.inc"
#define run_pass(p) ((integer_features() & INTEGER_VNNI) ? run_pass_vnni(p) : run_pass_plain(p))
#else
INLINE floats fma_lanes(floats a, floats b, floats c)
{
    for (unsigned lane = 0; lane < INTEGER_LANES; lane++)
        c[lane] = fma32(a[lane], b[lane], c[lane]);
    return c;
}
#define FMA(a, b, c) fma_lanes(a, b, c)
INLINE words dot_plain(words sum, words w, words x)
{
    for (unsigned at = 0; at < 32; at += 8)
        sum += (w >> at & 255) * (words)((signed_words)(x << (24 - at)) >> 24);
    return sum;
}
#define TILE(name)   name##_plain
#define TARGET
#define DOT(sum, w, x, is_small) ((void)(is_small), dot_plain(sum, w, x))
#include "blocks_tile.inc"
#define run_pass(p) run_pass_plain(p)
#endif

/* ---- rows of activations ------------------------------------------------------------------------------------------ */

static void measure(struct activation *to, const u8 *x, u64 blocks, u64 elements)
{
    for (; blocks; blocks--, to++, x += ACTIVATION_HEAD + elements) {
        const i8 *q = (const i8 *)x + ACTIVATION_HEAD;
        to->scale = f32_from_bits(load_big_u32(x));
        to->sum = 0;
        if (elements == 32)
            for (unsigned i = 0; i < 32; i++)
                to->sum += q[i];
        to->scaled_sum = to->scale * (float)to->sum;
    }
}

/* Sums of the runs of a block of 256: `runs` of them. */
static void measure_runs(struct activation *to, const u8 *x, u64 blocks, unsigned runs)
{
    for (; blocks; blocks--, to++, x += ACTIVATION_HEAD + 256) {
        const i8 *q = (const i8 *)x + ACTIVATION_HEAD;
        for (unsigned run = 0; run < runs; run++) {
            i32 sum = 0;
            for (unsigned i = 0; i < 256 / runs; i++)
                sum += q[run * (256 / runs) + i];
            to->run[run] = (i16)sum;
        }
    }
}

/* ---- a part of the outputs ---------------------------------------------------------------------------------------- */

/* Lanes [0, columns) of the finished sums, to their row. */
static void finish(float *out, const float *sums, const float *bias, u64 columns)
{
    for (u64 i = 0; i < columns; i++)
        out[i] = canonical(bias ? sums[i] + bias[i] : sums[i]);
}

int fast_block_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    u64 format = r->imm[0], elements = block_elements(format), N = (u64)r->body[1], blocks = (u64)r->body[2] / elements;
    u64 w_row = blocks * block_bytes(format), x_row = blocks * (ACTIVATION_HEAD + elements);
    u64 each = elements == 32 ? sizeof(struct narrow) : sizeof(struct wide);
    u64 together = PACKED_BYTES / each < 1 ? 1 : PACKED_BYTES / each;
    u64 most = hi - lo < N ? 1 : (hi - lo) / N < ROWS_AT_ONCE ? (hi - lo) / N : ROWS_AT_ONCE;
    u64 packed_bytes = (together * each + 63) / 64 * 64, sums_bytes = most * INTEGER_LANES * sizeof(float);
    if (w_row > INT32_MAX / INTEGER_LANES)
        return 0;
    u8 *memory = fast_buffer_get(&s->packed, packed_bytes + sums_bytes + most * blocks * sizeof(struct activation));
    if (!memory)
        return 0;
    float *sums = (float *)(memory + packed_bytes);
    struct activation *activation = (struct activation *)((u8 *)sums + sums_bytes);
    while (lo < hi) {
        u64 m = lo / N, first = lo - m * N;
        u64 rows = first || hi - lo < N ? 1 : (hi - lo) / N < most ? (hi - lo) / N : most;
        u64 end = rows > 1 || hi - lo >= N - first ? N : first + (hi - lo);
        struct pass p = {.format = format, .rows = rows, .row_blocks = blocks, .x_row = x_row, .sums = sums};
        p.packed = memory;
        p.x = segment + r->in[0] + m * x_row;
        p.activation = activation;
        measure(activation, p.x, rows * blocks, elements);
        if (elements == 256)
            measure_runs(activation, p.x, rows * blocks, format == BLOCK_Q6_K ? 16 : 8);
        for (u64 n = first; n < end; n += INTEGER_LANES) {
            struct panel w;
            u64 columns = end - n < INTEGER_LANES ? end - n : INTEGER_LANES;
            for (unsigned lane = 0; lane < INTEGER_LANES; lane++) { /* the remaining places repeat the last row */
                u64 behind = (lane < columns ? lane : columns - 1) * w_row;
                w.row[lane] = segment + r->in[1] + n * w_row + behind;
                w.behind[lane] = (i32)behind;
            }
            memset(sums, 0, rows * INTEGER_LANES * sizeof(float));
            for (p.block = 0; p.block < blocks; p.block += together) {
                p.blocks = blocks - p.block < together ? blocks - p.block : together;
                unpack(&p, memory, &w);
                run_pass(&p);
            }
            const float *bias = r->n_in == 3 ? (const float *)(segment + r->in[2]) + n : NULL;
            for (u64 i = 0; i < rows; i++)
                finish((float *)(segment + r->out) + (m + i) * N + n, sums + i * INTEGER_LANES, bias, columns);
        }
        lo += rows > 1 ? rows * N : end - first;
    }
    return 1;
}
