/* Matrix products in vector registers: the loop behind fast contractions and convolutions.
 *
 * out[m][n] = sum over k of a[m][k] * b[k][n] (+ bias), k ascending, one fused multiply-add each, onto +0. Only m and n
 * are blocked and vectorised. K is worked through in pieces too, but a sum that is put down in memory and taken up
 * again is the same sum: binary32 holds it exactly. */
#ifndef OPML_GEMM_H
#define OPML_GEMM_H
#include <stddef.h>

#include "fast.h"

#if defined(__AVX512F__)
#define LANES  16 /* floats in a vector register */
#define TILE_M 12 /* rows of a register tile */
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES  8
#define TILE_M 6
#elif defined(__aarch64__)
#define LANES  4
#define TILE_M 8
#else
#define LANES  0 /* no fused multiply-add in hardware: plain kernels only */
#define TILE_M 1
#endif
#define TILE_N (2 * LANES) /* columns of a register tile */

/* Packs b[k0 .. k0 + depth)[n0 .. n0 + columns) as [depth][TILE_N], missing columns zero. columns <= TILE_N. */
typedef void pack_b(const void *b, float *to, size_t k0, size_t depth, size_t n0, size_t columns);

/* Where column n of row k is read: `rows[k]` elements from the answer. May be null: b is then not fetched ahead. */
typedef const float *place_b(const void *b, size_t n);

struct gemm {
    size_t M, N, K;
    const float *a;
    ptrdiff_t a_m, a_k; /* strides in elements, as all below */
    const void *b;
    pack_b *pack;
    place_b *place;
    const ptrdiff_t *rows; /* [K], if `place` is not null */
    float *out;            /* columns lie side by side */
    ptrdiff_t o_m;
    const float *panels; /* null, or b ready for a few rows (pack_panels), from the panel that column 0 is in */
    size_t panel_column; /* where in that panel */
    const float *tiles;  /* null, or b ready for several rows, from column 0 on, which begins a panel */
    const float *bias;   /* may be null */
    ptrdiff_t bias_m, bias_n;
    const float *add; /* as `fast_finish`; strides are out's */
    int relu;
};

/* 0 if there is no memory to pack into. */
int gemm(const struct gemm *g, struct fast_scratch *s);

/* A matrix b with any strides, for `pack_matrix`. */
struct matrix {
    const float *at;
    ptrdiff_t k, n;
};
pack_b pack_matrix;
/* Rows [0, mr) of a, a_m floats from one another, terms a_k apart, as [depth][mr]. Writes up to LANES floats over the end. */
void pack_rows(const float *a, ptrdiff_t a_m, ptrdiff_t a_k, float *to, size_t depth, unsigned mr);

/* With so few rows every element of b is used once or twice, so packing it would cost as much as the product. */
#define FEW_ROWS 2
/* With so few it is read as it lies too, where its rows are long. */
#define SEVERAL_ROWS 48
/* A matrix that never changes is packed once: panels of `width` columns, [K][width], missing ones zero. Those for a few rows
 * have GEMM_PANEL; those for several, up to TILED_ROWS, TILE_N. */
#define GEMM_PANEL (4 * LANES)
#define TILED_ROWS 16
void pack_panels(const struct matrix *m, size_t K, size_t N, size_t width, float *to);
/* few_rows.c. At most FEW_ROWS rows times a `struct matrix`; 0 if its elements lie side by side in neither direction. */
int few_rows(const struct gemm *g);
/* So many columns that are one, because a factor is the same for all of them, are summed once. */
#define WORTH_SPREADING 64
/* few_rows.c. The product with a `struct matrix` of such columns; 0 if it has none. */
int equal_columns(const struct gemm *g);
/* narrow.c. Any rows times a `struct matrix` that fits into registers; 0 if it does not, or there are too few rows. */
int narrow_rows(const struct gemm *g);
/* few_rows.c. At most SEVERAL_ROWS rows times a `struct matrix` whose columns lie side by side; 0 if there is no memory. */
int several_rows(const struct gemm *g, struct fast_scratch *s);

#endif
