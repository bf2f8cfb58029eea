/* Products of a few rows with a matrix: nothing is packed, and the matrix is read once. */
#include "vectors.h"

#if LANES

/* Adds what is to be added and makes NaN canonical in one finished row. */
static void finish_row(const struct gemm *g, size_t m)
{
    float *out = g->out + (ptrdiff_t)m * g->o_m;
    const float *bias = g->bias ? g->bias + (ptrdiff_t)m * g->bias_m : NULL;
    const float *add = g->add ? g->add + (ptrdiff_t)m * g->o_m : NULL;
    size_t n = 0;
    for (; (!bias || g->bias_n == 1) && n + LANES <= g->N; n += LANES) {
        vec x = *(const vec *)(out + n);
        if (bias)
            x += *(const vec *)(bias + n);
        if (add)
            x += *(const vec *)(add + n);
        x = canonical_vec(x);
        *(vec *)(out + n) = g->relu ? relu_vec(x) : x;
    }
    for (; n < g->N; n++) {
        float x = bias ? out[n] + bias[(ptrdiff_t)n * g->bias_n] : out[n];
        x = canonical(add ? x + add[n] : x);
        out[n] = g->relu && x < 0 ? 0.0f : x;
    }
}

/* Columns of b side by side: eight rows of b are read along at a time, the sums stay in out. */
#define ROWS_AT_ONCE 8
static void rows_times_rows(const struct gemm *g)
{
    const struct matrix *b = g->b;
    for (size_t m = 0; m < g->M; m++) {
        float *out = g->out + (ptrdiff_t)m * g->o_m;
        const float *a = g->a + (ptrdiff_t)m * g->a_m;
        for (size_t n = 0; n < g->N; n++)
            out[n] = 0.0f;
        size_t k = 0;
        for (; k + ROWS_AT_ONCE <= g->K; k += ROWS_AT_ONCE) {
            vec factor[ROWS_AT_ONCE];
            const float *row = b->at + (ptrdiff_t)k * b->k;
            for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
                factor[i] = a[(ptrdiff_t)(k + i) * g->a_k] - (vec){0};
            size_t n = 0;
            for (; n + LANES <= g->N; n += LANES) {
                vec sum = *(const vec *)(out + n);
#pragma clang loop unroll(full)
                for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
                    sum = __builtin_elementwise_fma(factor[i], *(const vec *)(row + (ptrdiff_t)i * b->k + n), sum);
                *(vec *)(out + n) = sum;
            }
            for (; n < g->N; n++)
                for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
                    out[n] = fma32(factor[i][0], row[(ptrdiff_t)i * b->k + (ptrdiff_t)n], out[n]);
        }
        for (; k < g->K; k++)
            for (size_t n = 0; n < g->N; n++)
                out[n] = fma32(a[(ptrdiff_t)k * g->a_k], b->at[(ptrdiff_t)k * b->k + (ptrdiff_t)n], out[n]);
        finish_row(g, m);
    }
}

/* As `rows_times_rows`, for several rows of a: what is read of b serves them all. Rows of a and of sums lie pages apart,
 * where too many of them share the places of the nearest cache: so a's terms are packed, and the sums of a piece lie
 * together until they are done. */
#define COLUMNS_AT_ONCE 256
/* No row of sums lies a page behind another: a load behind a store to such a place waits for it. */
#define SUMS_APART (COLUMNS_AT_ONCE + 2 * LANES)

/* Eight terms of `rows` sums, in two vectors each or one: sums of several rows are made by turns. a: [rows][8]. */
INLINE void add_terms(const float *a, vec column[ROWS_AT_ONCE][2], float *sums, unsigned rows, unsigned vectors)
{
    vec sum[4][2];
#pragma clang loop unroll(full)
    for (unsigned m = 0; m < rows; m++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++)
            sum[m][v] = *(const vec *)(sums + m * SUMS_APART + v * LANES);
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
#pragma clang loop unroll(full)
        for (unsigned m = 0; m < rows; m++) {
            vec factor = a[m * ROWS_AT_ONCE + i] - (vec){0};
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < vectors; v++)
                sum[m][v] = __builtin_elementwise_fma(factor, column[i][v], sum[m][v]);
        }
#pragma clang loop unroll(full)
    for (unsigned m = 0; m < rows; m++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++)
            *(vec *)(sums + m * SUMS_APART + v * LANES) = sum[m][v];
}

/* Terms k .. k + 7 of all rows' sums, in two vectors each or one. a: [M][8]; b: where row k has the first column. */
INLINE void add_rows(const float *a, size_t rows, const float *b, ptrdiff_t b_k, float *sums, unsigned vectors)
{
    vec column[ROWS_AT_ONCE][2];
#pragma clang loop unroll(full)
    for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++) {
            column[i][v] = *(const vec *)(b + (ptrdiff_t)i * b_k + v * LANES);
            __builtin_prefetch(b + (ptrdiff_t)(i + ROWS_AT_ONCE) * b_k + v * LANES);
        }
    for (; rows >= 4; rows -= 4, a += 4 * ROWS_AT_ONCE, sums += 4 * SUMS_APART)
        add_terms(a, column, sums, 4, vectors);
    if (rows == 3)
        add_terms(a, column, sums, 3, vectors);
    else if (rows == 2)
        add_terms(a, column, sums, 2, vectors);
    else if (rows == 1)
        add_terms(a, column, sums, 1, vectors);
}

/* Terms k0 and so on of columns [n0, end), one by one. */
static void add_singly(const struct gemm *g, size_t m, size_t k0, size_t n0, size_t end)
{
    const struct matrix *b = g->b;
    const float *a = g->a + (ptrdiff_t)m * g->a_m;
    float *out = g->out + (ptrdiff_t)m * g->o_m;
    for (size_t n = n0; n < end; n++) {
        float sum = k0 ? out[n] : 0.0f;
        for (size_t k = k0; k < g->K; k++)
            sum = fma32(a[(ptrdiff_t)k * g->a_k], b->at[(ptrdiff_t)k * b->k + (ptrdiff_t)n], sum);
        out[n] = sum;
    }
}

int several_rows(const struct gemm *g, struct fast_scratch *s)
{
    const struct matrix *b = g->b;
    size_t deep = g->K / ROWS_AT_ONCE * ROWS_AT_ONCE, wide = g->N / LANES * LANES;
    float *a = fast_buffer_get(&s->packed, g->M * (deep + SUMS_APART) * sizeof *a);
    if (!a)
        return 0;
    float *sums = a + g->M * deep;
    for (size_t m = 0; m < g->M; m++)
        for (size_t k = 0; k < deep; k++)
            a[(k / ROWS_AT_ONCE * g->M + m) * ROWS_AT_ONCE + k % ROWS_AT_ONCE] =
                g->a[(ptrdiff_t)m * g->a_m + (ptrdiff_t)k * g->a_k];
    for (size_t n0 = 0; n0 < wide; n0 += COLUMNS_AT_ONCE) {
        size_t columns = wide - n0 < COLUMNS_AT_ONCE ? wide - n0 : COLUMNS_AT_ONCE;
        memset(sums, 0, g->M * SUMS_APART * sizeof *sums);
        for (size_t k = 0; k < deep; k += ROWS_AT_ONCE) {
            const float *row = b->at + (ptrdiff_t)k * b->k + n0;
            size_t n = 0;
            for (; n + 2 * LANES <= columns; n += 2 * LANES)
                add_rows(a + k * g->M, g->M, row + n, b->k, sums + n, 2);
            if (n < columns)
                add_rows(a + k * g->M, g->M, row + n, b->k, sums + n, 1);
        }
        for (size_t m = 0; m < g->M; m++)
            memcpy(g->out + (ptrdiff_t)m * g->o_m + n0, sums + m * SUMS_APART, columns * sizeof *sums);
    }
    for (size_t m = 0; m < g->M; m++) {
        if (deep < g->K)
            add_singly(g, m, deep, 0, wide);
        add_singly(g, m, 0, wide, g->N);
        finish_row(g, m);
    }
    return 1;
}

/* Each column of b a run in memory: LANES of them are read along, and turned in registers. */
static void rows_times_runs(const struct gemm *g)
{
    const struct matrix *b = g->b;
    size_t deep = g->K / LANES * LANES, wide = g->N / LANES * LANES;
    for (size_t n = 0; n < g->N; n += LANES) {
        const float *run = b->at + (ptrdiff_t)n * b->n;
        size_t k = 0;
        if (n < wide) {
            vec sum[FEW_ROWS] = {{0}};
            for (; k < deep; k += LANES) {
                vec column[LANES];
#pragma clang loop unroll(full)
                for (unsigned i = 0; i < LANES; i++) {
                    const float *from = run + (ptrdiff_t)i * b->n + (ptrdiff_t)k;
                    column[i] = *(const vec *)from;
                    __builtin_prefetch(from + 8 * LANES);
                }
                transpose(column);
#pragma clang loop unroll(full)
                for (unsigned m = 0; m < FEW_ROWS; m++)
                    if (m < g->M)
#pragma clang loop unroll(full)
                        for (unsigned i = 0; i < LANES; i++) {
                            float factor = g->a[(ptrdiff_t)m * g->a_m + (ptrdiff_t)(k + i) * g->a_k];
                            sum[m] = __builtin_elementwise_fma(factor - (vec){0}, column[i], sum[m]);
                        }
            }
            for (size_t m = 0; m < g->M; m++)
                *(vec *)(g->out + (ptrdiff_t)m * g->o_m + n) = sum[m];
        }
        for (size_t m = 0; m < g->M; m++)
            for (size_t j = n; j < n + LANES && j < g->N; j++) {
                float *out = g->out + (ptrdiff_t)m * g->o_m + j, sum = k ? *out : 0.0f;
                for (size_t i = k; i < g->K; i++)
                    sum = fma32(g->a[(ptrdiff_t)m * g->a_m + (ptrdiff_t)i * g->a_k],
                                b->at[(ptrdiff_t)j * b->n + (ptrdiff_t)i], sum);
                *out = sum;
            }
    }
    for (size_t m = 0; m < g->M; m++)
        finish_row(g, m);
}

void pack_panels(const struct matrix *m, size_t K, size_t N, size_t width, float *to)
{
    for (size_t n = 0; n < N; n += width)
        for (size_t k = 0; k < K; k++)
            for (size_t j = 0; j < width; j++)
                *to++ = n + j < N ? m->at[(ptrdiff_t)k * m->k + (ptrdiff_t)(n + j) * m->n] : 0.0f;
}

/* One row times the first `vectors` of one panel. */
INLINE void row_times_vectors(const float *a, ptrdiff_t a_k, size_t K, const float *panel, float *sums,
                              unsigned vectors)
{
    vec sum[4] = {{0}};
    for (; K; K--, a += a_k, panel += GEMM_PANEL) {
        vec row = *a - (vec){0};
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < vectors; v++)
            sum[v] = __builtin_elementwise_fma(row, *(const vec *)(panel + v * LANES), sum[v]);
    }
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < vectors; v++)
        *(vec *)(sums + v * LANES) = sum[v];
}

/* One row times the first `columns` of one panel; writes whole vectors. */
static void row_times_panel(const struct gemm *g, size_t m, const float *panel, float *sums, size_t columns)
{
    const float *a = g->a + (ptrdiff_t)m * g->a_m;
    if (columns <= LANES)
        row_times_vectors(a, g->a_k, g->K, panel, sums, 1);
    else if (columns <= 2 * LANES)
        row_times_vectors(a, g->a_k, g->K, panel, sums, 2);
    else if (columns <= 3 * LANES)
        row_times_vectors(a, g->a_k, g->K, panel, sums, 3);
    else
        row_times_vectors(a, g->a_k, g->K, panel, sums, 4);
}

static void rows_times_panels(const struct gemm *g)
{
    size_t first = g->panel_column;
    const float *panel = g->panels;
    for (size_t n = 0; n < g->N; first = 0, panel += g->K * GEMM_PANEL) {
        size_t columns = GEMM_PANEL - first < g->N - n ? GEMM_PANEL - first : g->N - n;
        for (size_t m = 0; m < g->M; m++) {
            float sums[GEMM_PANEL];
            row_times_panel(g, m, panel, sums, first + columns);
            memcpy(g->out + (ptrdiff_t)m * g->o_m + n, sums + first, columns * sizeof(float));
        }
        n += columns;
    }
    for (size_t m = 0; m < g->M; m++)
        finish_row(g, m);
}

/* The sums of a few rows with one column, put down for all columns. */
INLINE void spread_rows(const struct gemm *g, size_t first, unsigned rows)
{
    const struct matrix *b = g->b;
    const float *a = g->a + (ptrdiff_t)first * g->a_m, *column = b->at;
    float sum[ROWS_AT_ONCE] = {0};
    for (size_t k = 0; k < g->K; k++, a += g->a_k, column += b->k)
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < rows; i++)
            sum[i] = fma32(a[(ptrdiff_t)i * g->a_m], *column, sum[i]);
    for (unsigned i = 0; i < rows; i++) {
        float *out = g->out + (ptrdiff_t)(first + i) * g->o_m;
        for (size_t n = 0; n < g->N; n++)
            out[n] = sum[i];
        finish_row(g, first + i);
    }
}

int equal_columns(const struct gemm *g)
{
    const struct matrix *b = g->b;
    if (g->panels || b->n || g->N < WORTH_SPREADING)
        return 0;
    size_t m = 0;
    for (; m + ROWS_AT_ONCE <= g->M; m += ROWS_AT_ONCE)
        spread_rows(g, m, ROWS_AT_ONCE);
    for (; m < g->M; m++)
        spread_rows(g, m, 1);
    return 1;
}

int few_rows(const struct gemm *g)
{
    const struct matrix *b = g->b;
    if (g->panels)
        rows_times_panels(g);
    else if (b->n == 1)
        rows_times_rows(g);
    else if (b->k == 1)
        rows_times_runs(g);
    else
        return 0;
    return 1;
}

#endif
