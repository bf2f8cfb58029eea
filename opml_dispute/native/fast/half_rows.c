/* OP_CONTRACT of a few rows of binary16 with a matrix of it: what a language model's step does with the keys and values of all
 * positions (to binary32), and with its weights.
 *
 * Columns of the matrix lie side by side. They are widened in registers, so that memory is read once and as halves; sums of
 * some columns stay in registers for all k, which ascends. */
#include "pieces.h"
#include "kernels/rows.h"
#include "vectors.h"

#if LANES

#if LANES == 8
#include <immintrin.h>
#elif LANES == 4
#include <arm_neon.h>
#endif

/* Rows whose sums are in registers, with so many vectors of columns each; of more rows, with fewer. */
#define ROWS 4u
#define WIDE (LANES == 16 ? 4u : 2u)
#define TALL (LANES == 16 ? 12u : ROWS)
/* Of more rows the matrix is read again, for up to so many. */
#define ROWS_MOST 16u
/* How far ahead in one column rows are fetched. */
#define ROWS_AHEAD 16

/* LANES halves, widened exactly. */
INLINE vec widened(const u16 *from)
{
#if LANES == 16
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif LANES == 8
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    return (vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#endif
}

/* A piece under way. */
struct few {
    const float *a; /* [rows][K] */
    const u16 *b;
    const u8 *bias; /* null: there is none */
    u8 *out;
    u8 dtype; /* of both */
    u64 K, N;
    i64 b_k, o_m, bias_m, bias_n;
};

/* LANES sums of row i, from column n on, to their places. */
static void finish(const struct few *f, vec x, u64 i, u64 n)
{
    i64 width = f->dtype == DT_F32 ? 4 : 2;
    u8 *out = f->out + ((i64)i * f->o_m + (i64)n) * width;
    if (f->bias) {
        vec bias;
        const u8 *from = f->bias + ((i64)i * f->bias_m + (i64)n * f->bias_n) * width;
        load_f32_chunk((float *)&bias, from, f->bias_n * width, f->dtype, LANES);
        x += bias;
    }
    x = canonical_vec(x);
    if (f->dtype == DT_F32)
        *(vec *)out = x;
    else
        store_f32_chunk(out, width, f->dtype, (const float *)&x, LANES);
}

/* Columns [n, n + vectors * LANES) of all rows. */
INLINE void some_columns(const struct few *f, u64 n, unsigned rows, unsigned vectors)
{
    vec sum[TALL][WIDE];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < rows; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++)
            sum[i][v] = (vec){0};
    const u16 *row = f->b + n;
    /* Also where a tile is narrower: processors fetch lines in pairs. */
    i64 ahead = n + 2 * WIDE * LANES <= f->N ? (i64)(WIDE * LANES) : ROWS_AHEAD * f->b_k;
    for (u64 k = 0; k < f->K; k++, row += f->b_k) {
        vec b[WIDE];
        __builtin_prefetch(row + ahead);
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++)
            b[v] = widened(row + v * LANES);
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++) {
            vec factor = f->a[i * f->K + k] - (vec){0};
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < vectors; v++)
                sum[i][v] = __builtin_elementwise_fma(factor, b[v], sum[i][v]);
        }
    }
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < rows; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++)
            finish(f, sum[i][v], i, n + v * LANES);
}

/* All columns of `rows` rows, some vectors at a time; LANES of them at least. The last vector may make some a second time. */
INLINE void all_columns(const struct few *f, unsigned rows, unsigned vectors)
{
    u64 n = 0;
    for (; n + vectors * LANES <= f->N; n += vectors * LANES)
        some_columns(f, n, rows, vectors);
    for (; n + LANES <= f->N; n += LANES)
        some_columns(f, n, rows, 1);
    if (n < f->N)
        some_columns(f, f->N - LANES, rows, 1);
}

static void run_few(struct few f, u64 rows)
{
    i64 width = f.dtype == DT_F32 ? 4 : 2;
    for (u64 now; rows; rows -= now) {
        now = rows < TALL ? rows : TALL;
        switch (now) {
        case 1: all_columns(&f, 1, WIDE); break;
        case 2: all_columns(&f, 2, WIDE); break;
        case 3: all_columns(&f, 3, WIDE); break;
        case 4: all_columns(&f, 4, WIDE); break;
#if LANES == 16
        case 5: all_columns(&f, 5, WIDE); break;
        case 6: all_columns(&f, 6, WIDE); break;
        case 7: all_columns(&f, 7, WIDE / 2); break;
        case 8: all_columns(&f, 8, WIDE / 2); break;
        case 9: all_columns(&f, 9, WIDE / 2); break;
        case 10: all_columns(&f, 10, WIDE / 2); break;
        case 11: all_columns(&f, 11, WIDE / 2); break;
        default: all_columns(&f, 12, WIDE / 2); break;
#endif
        }
        f.a += now * f.K;
        f.out += (i64)now * f.o_m * width;
        f.bias = f.bias ? f.bias + (i64)now * f.bias_m * width : NULL;
    }
}

int fast_half_rows(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 M = r->dim[m_at], N = r->dim[n_at], K = r->imm[0];
    if (r->dtype_in[0] != DT_F16 || r->dtype_in[1] != DT_F16 || M > ROWS_MOST || N < LANES ||
        (N > 1 && (r->stride[0][n_at] != 1 || r->stride[2][n_at] != 1)))
        return 0;
    i64 o_width = (i64)dtype_bytes(r->dtype_out);
    float *a = fast_buffer_get(&s->wide, M * K * sizeof(float));
    if (!a)
        return 0;
    while (lo < hi) {
        u64 before = lo;
        struct piece p = next_piece(r, &lo, hi);
        const u16 *from = (const u16 *)(segment + r->in[0]) + p.a;
        for (u64 i = 0; i < p.rows; i++)
            load_f32_chunk(a + i * K, (const u8 *)(from + (i64)i * r->stride[1][m_at]), (i64)r->imm[1] * 2, DT_F16, K);
        struct few f = {
            .a = a,
            .b = (const u16 *)(segment + r->in[1]) + p.b,
            .out = segment + r->out + p.out * o_width,
            .bias = r->n_in == 3 ? segment + r->in[2] + p.bias * o_width : NULL,
            .dtype = r->dtype_out,
            .K = K,
            .N = p.columns,
            .b_k = (i64)r->imm[2],
            .o_m = r->stride[0][m_at],
            .bias_m = r->stride[3][m_at],
            .bias_n = r->stride[3][n_at],
        };
        if (p.columns < LANES)
            kernel_run(segment, r, before, lo); /* what a part of a row begins or ends with */
        else
            run_few(f, p.rows);
    }
    return 1;
}

#else

int fast_half_rows(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)s;
    return 0;
}

#endif
