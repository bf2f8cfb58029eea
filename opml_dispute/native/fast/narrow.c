/* Products with a matrix of a few terms and columns, which stays in registers: a tile would take longer to set up. */
#include "vectors.h"

#if LANES

#define TERMS_MOST 8
#define ROWS_LEAST 16

/* Row k of the matrix is `column[k]`; `bias`: of every row, or zeros that are not added. */
INLINE void run_rows(const struct gemm *g, const vec *column, vec bias, unsigned terms, int has_bias)
{
    ending end = ending_of(g->relu);
    for (size_t m = 0; m < g->M; m++) {
        const float *a = g->a + (ptrdiff_t)m * g->a_m;
        vec sum = {0};
#pragma clang loop unroll(full)
        for (unsigned k = 0; k < terms; k++)
            sum = __builtin_elementwise_fma(a[(ptrdiff_t)k * g->a_k] - (vec){0}, column[k], sum);
        if (has_bias)
            sum += bias;
        if (g->add)
            sum += load_some(g->add + (ptrdiff_t)m * g->o_m, (i64)g->N);
        store_some(g->out + (ptrdiff_t)m * g->o_m, ended(sum, end), (i64)g->N);
    }
}

int narrow_rows(const struct gemm *g)
{
    const struct matrix *b = g->b;
    if (g->N > LANES || g->K > TERMS_MOST || g->M < ROWS_LEAST || (g->bias && g->bias_m))
        return 0;
    vec column[TERMS_MOST] = {{0}}, bias = {0};
    for (size_t n = 0; n < g->N; n++) {
        for (size_t k = 0; k < g->K; k++)
            column[k][n] = b->at[(ptrdiff_t)k * b->k + (ptrdiff_t)n * b->n];
        bias[n] = g->bias ? g->bias[(ptrdiff_t)n * g->bias_n] : 0.0f;
    }
#define TERMS(K)                                                                                                       \
    case K:                                                                                                            \
        if (g->bias)                                                                                                   \
            run_rows(g, column, bias, K, 1);                                                                           \
        else                                                                                                           \
            run_rows(g, column, bias, K, 0);                                                                           \
        return 1;
    switch (g->K) {
        TERMS(1)
        TERMS(2)
        TERMS(3)
        TERMS(4)
        TERMS(5)
        TERMS(6)
        TERMS(7)
        TERMS(8)
    default: return 0; /* no terms at all */
    }
#undef TERMS
}

#endif
