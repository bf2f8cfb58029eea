/* The operands of products, as the tiles of gemm.c read them. */
#include "vectors.h"

#if LANES

/* `depth` elements of `columns` runs that start `apart` elements from one another, as [depth][width], missing columns
 * zero. columns <= width. */
static void pack_runs(const float *from, ptrdiff_t apart, float *to, size_t depth, size_t columns, size_t width)
{
    size_t whole = width % LANES == 0 ? columns / LANES * LANES : 0, deep = depth / LANES * LANES;
    for (size_t j = 0; j < whole; j += LANES)
        for (size_t k = 0; k < deep; k += LANES) {
            vec row[LANES];
#pragma clang loop unroll(full)
            for (unsigned i = 0; i < LANES; i++)
                row[i] = *(const vec *)(from + (ptrdiff_t)(j + i) * apart + (ptrdiff_t)k);
            transpose(row);
#pragma clang loop unroll(full)
            for (unsigned i = 0; i < LANES; i++)
                *(vec *)(to + (k + i) * width + j) = row[i];
        }
    for (size_t k = 0; k < depth; k++)
        for (size_t j = k < deep ? whole : 0; j < width; j++)
            to[k * width + j] = j < columns ? from[(ptrdiff_t)j * apart + (ptrdiff_t)k] : 0.0f;
}

/* Rows [0, mr) of a, whose elements lie side by side, as [depth][mr]: as many whole vectors of terms as there are. Answers
 * how many terms that were. Goes up to LANES floats over the end, where the next terms come, or room. */
static size_t pack_vectors(const float *a, ptrdiff_t a_m, float *to, size_t depth, unsigned mr)
{
    size_t k = 0;
#if TILE_M <= LANES
    for (; k + LANES <= depth; k += LANES) {
        vec row[LANES];
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < LANES; i++)
            row[i] = i < mr ? *(const vec *)(a + (ptrdiff_t)i * a_m + (ptrdiff_t)k) : (vec){0};
        transpose(row);
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < LANES; i++)
            *(vec *)(to + (k + i) * mr) = row[i];
        /* Rows of many terms lie pages apart, where no processor foresees what comes next. */
#pragma clang loop unroll(full)
        for (unsigned i = 0; i < TILE_M; i++)
            __builtin_prefetch(a + (ptrdiff_t)(i + mr) * a_m + (ptrdiff_t)k);
    }
#else
    /* Four rows at a time. */
    typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
    if (mr % 4)
        return 0;
    for (; k + 4 <= depth; k += 4)
        for (unsigned i = 0; i < mr; i += 4) {
            const float *from = a + (ptrdiff_t)i * a_m + (ptrdiff_t)k;
            quad p = *(const quad *)from, q = *(const quad *)(from + a_m);
            quad r = *(const quad *)(from + 2 * a_m), s = *(const quad *)(from + 3 * a_m);
            quad pq_low = __builtin_shufflevector(p, q, 0, 4, 1, 5),
                 pq_high = __builtin_shufflevector(p, q, 2, 6, 3, 7);
            quad rs_low = __builtin_shufflevector(r, s, 0, 4, 1, 5),
                 rs_high = __builtin_shufflevector(r, s, 2, 6, 3, 7);
            float *into = to + k * mr + i;
            *(quad *)into = __builtin_shufflevector(pq_low, rs_low, 0, 1, 4, 5);
            *(quad *)(into + mr) = __builtin_shufflevector(pq_low, rs_low, 2, 3, 6, 7);
            *(quad *)(into + 2 * mr) = __builtin_shufflevector(pq_high, rs_high, 0, 1, 4, 5);
            *(quad *)(into + 3 * mr) = __builtin_shufflevector(pq_high, rs_high, 2, 3, 6, 7);
        }
#endif
    return k;
}

void pack_rows(const float *a, ptrdiff_t a_m, ptrdiff_t a_k, float *to, size_t depth, unsigned mr)
{
    size_t k = a_k == 1 ? pack_vectors(a, a_m, to, depth, mr) : 0;
    for (; k < depth; k++)
        for (unsigned i = 0; i < mr; i++)
            to[k * mr + i] = a[(ptrdiff_t)i * a_m + (ptrdiff_t)k * a_k];
}

void pack_matrix(const void *b, float *to, size_t k0, size_t depth, size_t n0, size_t columns)
{
    const struct matrix *m = b;
    const float *from = m->at + (ptrdiff_t)k0 * m->k + (ptrdiff_t)n0 * m->n;
    if (columns == TILE_N && m->n == 1) {
        for (size_t k = 0; k < depth; k++, from += m->k, to += TILE_N)
            for (unsigned v = 0; v < 2; v++)
                *(vec *)(to + v * LANES) = *(const vec *)(from + v * LANES);
    } else if (m->k == 1) {
        pack_runs(from, m->n, to, depth, columns, TILE_N);
    } else {
        for (size_t k = 0; k < depth; k++, from += m->k, to += TILE_N)
            for (size_t j = 0; j < TILE_N; j++)
                to[j] = j < columns ? from[(ptrdiff_t)j * m->n] : 0.0f;
    }
}

#endif
