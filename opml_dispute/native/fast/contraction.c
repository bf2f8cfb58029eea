/* OP_CONTRACT in binary32 as matrix products (gemm.h). */
#include "gemm.h"

#if LANES

/* Below this many products packing costs more than it saves. */
#define WORTH_PACKING 2048

int fast_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish, struct fast_scratch *s)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 M = r->dim[m_at], N = r->dim[n_at], K = r->imm[0];
    if (r->dtype_in[0] != DT_F32 || (hi - lo) * K < WORTH_PACKING)
        return 0;
    i64 o_m = r->stride[0][m_at], o_n = r->stride[0][n_at];
    /* Columns of a product must lie side by side. If rows do instead, make the transposed product: the products
     * a * b are the same in either order. */
    u32 transposed = N > 1 && o_n != 1;
    if ((transposed && o_m != 1) || (N == 1 && M > 1 && o_m != 1 && o_n != 1))
        return 0;
    if (N == 1 && o_m == 1)
        transposed = 1;
    for (u64 at = lo; at < hi;) {
        /* The rest of a row, or as many whole rows as the range and this batch have. */
        u64 row = at / N, n = at - row * N, batch = row / M, m = row - batch * M;
        u64 rows = n || hi - at < N ? 1 : (hi - at) / N < M - m ? (hi - at) / N : M - m;
        u64 columns = rows > 1 || (n == 0 && hi - at >= N) ? N : N - n < hi - at ? N - n : hi - at;
        at += rows * columns;
        const float *a = (const float *)(segment + r->in[0]) + (i64)m * r->stride[1][m_at];
        const float *b = (const float *)(segment + r->in[1]) + (i64)n * r->stride[2][n_at];
        const float *bias = (const float *)(segment + r->in[2]) + (i64)m * r->stride[3][m_at] + (i64)n * r->stride[3][n_at];
        float *out = (float *)(segment + r->out) + (i64)m * o_m + (i64)n * o_n;
        for (unsigned d = m_at; d-- > 0;) {
            i64 index = (i64)(batch % r->dim[d]);
            batch /= r->dim[d];
            out += index * r->stride[0][d];
            a += index * r->stride[1][d];
            b += index * r->stride[2][d];
            bias += index * r->stride[3][d];
        }
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
        }
        if (!gemm(&g, s))
            return 0;
    }
    return 1;
}

#else

int fast_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)s;
    return 0;
}

#endif
