/* OP_CONTRACT in binary32 as matrix products (gemm.h). */
#include <stdlib.h>

#include "gemm.h"
#include "pieces.h"

#if LANES

/* Below this many products packing costs more than it saves. */
#define WORTH_PACKING 2048
/* So does what is prepared, once and for all runs, below this many. */
#define WORTH_PREPARING 32

int fast_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                  const struct fast_prepared *prepared, struct fast_scratch *s)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 M = r->dim[m_at], N = r->dim[n_at], K = r->imm[0];
    int is_prepared = prepared && prepared->memory, is_first = is_prepared && prepared->is_first;
    if (r->dtype_in[0] != DT_F32 || (!is_prepared && (hi - lo) * K < WORTH_PACKING))
        return 0;
    if (is_first && fast_contract_channels(segment, r, lo, hi, finish, prepared, s))
        return 1;
    i64 o_m = r->stride[0][m_at], o_n = r->stride[0][n_at];
    /* Columns of a product must lie side by side. If rows do instead, make the transposed product: the products
     * a * b are the same in either order. */
    u32 transposed = N > 1 && o_n != 1;
    if ((transposed && o_m != 1) || (N == 1 && M > 1 && o_m != 1 && o_n != 1))
        return 0;
    if (N == 1 && o_m == 1)
        transposed = 1;
    while (lo < hi) {
        struct piece p = next_piece(r, &lo, hi);
        u64 rows = p.rows, columns = p.columns;
        const float *a = (const float *)(segment + r->in[0]) + p.a, *b = (const float *)(segment + r->in[1]) + p.b;
        const float *bias = (const float *)(segment + r->in[2]) + p.bias;
        float *out = (float *)(segment + r->out) + p.out;
        struct matrix right = {b, (i64)r->imm[2], r->stride[2][n_at]};
        struct gemm g = {
            .M = rows,
            .N = columns,
            .K = K,
            .a = a,
            .a_m = r->stride[1][m_at],
            .a_k = (i64)r->imm[1],
            .b = &right,
            .pack = pack_matrix,
            .out = out,
            .o_m = o_m,
            .bias = r->n_in == 3 ? bias : NULL,
            .bias_m = r->stride[3][m_at],
            .bias_n = r->stride[3][n_at],
            .add = finish->add ? finish->add + (out - (float *)(segment + r->out)) : NULL,
            .relu = finish->relu,
        };
        if (transposed) {
            struct matrix left = {a, (i64)r->imm[1], r->stride[1][m_at]};
            g.M = columns;
            g.N = rows;
            g.a = b;
            g.a_m = right.n;
            g.a_k = right.k;
            right = left;
            g.o_m = o_n;
            g.bias_m = r->stride[3][n_at];
            g.bias_n = r->stride[3][m_at];
        } else if (is_prepared && !is_first && M <= FEW_ROWS) {
            g.panels = (const float *)prepared->memory + p.column / GEMM_PANEL * GEMM_PANEL * K;
            g.panel_column = p.column % GEMM_PANEL;
        } else if (is_prepared && !is_first && p.column % TILE_N == 0) {
            g.tiles = (const float *)prepared->memory + p.column * K;
        }
        if (!gemm(&g, s))
            return 0;
    }
    return 1;
}

/* Of a few rows: weights that stay in the caches from one run, or one step of a recurrence, to the next. Of several: such
 * whose columns do not lie side by side, which would take longer to pack than to multiply. */
int fast_prepare_rows(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    int is_few = r->dim[m_at] <= FEW_ROWS, is_tiled = r->dim[m_at] <= TILED_ROWS && r->stride[2][n_at] != 1;
    u64 K = r->imm[0], N = r->dim[n_at], width = is_few ? GEMM_PANEL : TILE_N, panels = (N + width - 1) / width,
        bytes = panels * width * K * sizeof(float);
    if ((!is_few && !is_tiled) || N == 1 || r->stride[0][n_at] != 1 || bytes > FAST_ROWS_MOST ||
        K * N < WORTH_PREPARING)
        return 0;
    prepared->memory = fast_allocate(bytes);
    if (!prepared->memory)
        return 0;
    struct matrix b = {(const float *)(segment + r->in[1]), (i64)r->imm[2], r->stride[2][n_at]};
    pack_panels(&b, K, N, width, prepared->memory);
    prepared->bytes = bytes;
    return 1;
}

#else

int fast_prepare_rows(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    (void)prepared, (void)segment, (void)r;
    return 0;
}

int fast_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                  const struct fast_prepared *prepared, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)prepared, (void)s;
    return 0;
}

#endif
