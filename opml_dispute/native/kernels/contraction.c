/* OP_CONTRACT: out[b.., m, n] = sum over k of in0[b.., m, k] * in1[b.., k, n] (+ in2[b.., m, n]).
 *
 * k ascends, and each term is one fused multiply-add onto +0, one accumulator an output element: the order is
 * part of the answer (docs/arithmetic.md, "Contractions"). So a block of 4 x 4 outputs may share its loads,
 * which is 27 guest instructions for 16 products, but nothing may run along k. */
#include "kernels.h"
#include "types.h"

/* A record's contraction in bytes: the strides of m, n, k for each operand. */
struct contraction {
    u64 M, N, K;
    i64 a_m, a_k, b_n, b_k, o_m, o_n, bias_m, bias_n;
    u32 has_bias;
    u8 dtype_out;
};

/* Outputs [m..m+mr) x [n..n+nr); a, b, o, bias point to the block's first row, column, element. */
#define CONTRACT_BLOCKS(NAME, ACC, A, B, MAC)                                                                          \
    INLINE void contract_##NAME(unsigned mr, unsigned nr, const struct contraction *c, u8 *o, const u8 *a,             \
                                const u8 *b, const u8 *bias)                                                           \
    {                                                                                                                  \
        ACC sum[4][4] = {{0}};                                                                                         \
        i64 a_m = c->a_m, b_n = c->b_n, a_k = c->a_k, b_k = c->b_k;                                                    \
        for (u64 k = c->K; k; k--) {                                                                                   \
            __typeof__(ld_##B(b)) column[4];                                                                           \
            for (unsigned j = 0; j < nr; j++)                                                                          \
                column[j] = ld_##B(b + (i64)j * b_n);                                                                  \
            for (unsigned i = 0; i < mr; i++) {                                                                        \
                __typeof__(ld_##A(a)) row = ld_##A(a + (i64)i * a_m);                                                  \
                for (unsigned j = 0; j < nr; j++)                                                                      \
                    sum[i][j] = MAC(row, column[j], sum[i][j]);                                                        \
            }                                                                                                          \
            a += a_k;                                                                                                  \
            b += b_k;                                                                                                  \
        }                                                                                                              \
        u8 dtype = c->dtype_out;                                                                                       \
        if (c->has_bias) {                                                                                             \
            i64 bias_m = c->bias_m, bias_n = c->bias_n;                                                                \
            for (unsigned i = 0; i < mr; i++, bias += bias_m)                                                          \
                for (unsigned j = 0; j < nr; j++)                                                                      \
                    sum[i][j] = sum[i][j] + load_bias_##ACC(bias + (i64)j * bias_n, dtype);                            \
        }                                                                                                              \
        i64 o_m = c->o_m, o_n = c->o_n;                                                                                \
        for (unsigned i = 0; i < mr; i++, o += o_m) {                                                                  \
            u8 *to = o;                                                                                                \
            for (unsigned j = 0; j < nr; j++, to += o_n)                                                               \
                store_##ACC(to, dtype, sum[i][j]);                                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static void contract_4x4_##NAME(const struct contraction *c, u8 *o, const u8 *a, const u8 *b, const u8 *bias)      \
    {                                                                                                                  \
        contract_##NAME(4, 4, c, o, a, b, bias);                                                                       \
    }                                                                                                                  \
    static void contract_4x1_##NAME(const struct contraction *c, u8 *o, const u8 *a, const u8 *b, const u8 *bias)      \
    {                                                                                                                  \
        contract_##NAME(4, 1, c, o, a, b, bias);                                                                       \
    }                                                                                                                  \
    static void contract_1x4_##NAME(const struct contraction *c, u8 *o, const u8 *a, const u8 *b, const u8 *bias)      \
    {                                                                                                                  \
        contract_##NAME(1, 4, c, o, a, b, bias);                                                                       \
    }                                                                                                                  \
    static void contract_1x1_##NAME(const struct contraction *c, u8 *o, const u8 *a, const u8 *b, const u8 *bias)      \
    {                                                                                                                  \
        contract_##NAME(1, 1, c, o, a, b, bias);                                                                       \
    }
FOR_EACH_PRODUCT(CONTRACT_BLOCKS)

typedef void contract_block(const struct contraction *c, u8 *o, const u8 *a, const u8 *b, const u8 *bias);
/* clang-format off */
static contract_block *const contract_blocks[][4] = {
#define CONTRACT_BLOCK_ROW(NAME, ACC, A, B, MAC) {contract_4x4_##NAME, contract_4x1_##NAME, contract_1x4_##NAME, contract_1x1_##NAME},
    FOR_EACH_PRODUCT(CONTRACT_BLOCK_ROW)
};
/* clang-format on */

void KERNEL(kernel_contract)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    i64 a_width = (i64)dtype_bytes(r->dtype_in[0]), b_width = (i64)dtype_bytes(r->dtype_in[1]);
    i64 o_width = (i64)dtype_bytes(r->dtype_out);
    struct contraction c = {
        .M = r->dim[m_at],
        .N = r->dim[n_at],
        .K = r->imm[0],
        .a_m = r->stride[1][m_at] * a_width,
        .a_k = (i64)r->imm[1] * a_width,
        .b_n = r->stride[2][n_at] * b_width,
        .b_k = (i64)r->imm[2] * b_width,
        .o_m = r->stride[0][m_at] * o_width,
        .o_n = r->stride[0][n_at] * o_width,
        .bias_m = r->stride[3][m_at] * o_width,
        .bias_n = r->stride[3][n_at] * o_width,
        .has_bias = r->n_in == 3,
        .dtype_out = r->dtype_out,
    };
    contract_block *const *make = contract_blocks[product_of(r)];
    while (lo < hi) {
        u64 row = lo / c.N, n = lo - row * c.N;
        u64 batch = row / c.M, m = row - batch * c.M;
        u8 *o = segment + r->out + (i64)m * c.o_m + (i64)n * c.o_n;
        const u8 *a = segment + r->in[0] + (i64)m * c.a_m, *b = segment + r->in[1] + (i64)n * c.b_n;
        const u8 *bias = segment + r->in[2] + (i64)m * c.bias_m + (i64)n * c.bias_n;
        for (unsigned d = m_at; d-- > 0;) {
            i64 index = (i64)(batch % r->dim[d]);
            batch /= r->dim[d];
            o += index * r->stride[0][d] * o_width;
            a += index * r->stride[1][d] * a_width;
            b += index * r->stride[2][d] * b_width;
            bias += index * r->stride[3][d] * o_width;
        }
        /* Four whole rows at once where the range and the matrix have them, else the rest of one row. */
        u32 four = n == 0 && m + 4 <= c.M && hi - lo >= 4 * c.N;
        u64 end = four ? c.N : hi - lo < c.N - n ? n + (hi - lo) : c.N;
        lo += four ? 4 * c.N : end - n;
        for (; n + 4 <= end; n += 4) {
            make[four ? 0 : 2](&c, o, a, b, bias);
            o += 4 * c.o_n;
            b += 4 * c.b_n;
            bias += 4 * c.bias_n;
        }
        for (; n < end; n++) {
            make[four ? 1 : 3](&c, o, a, b, bias);
            o += c.o_n;
            b += c.b_n;
            bias += c.bias_n;
        }
    }
}
