/* OP_CONTRACT in binary32 of a matrix that never changes with few columns: its rows in the lanes (channels.h). */
#include "channels.h"
#include "pieces.h"

#if LANES

/* Whether operand j is the same for all batches. */
static int is_one_matrix(const struct record *r, unsigned j)
{
    for (unsigned d = 0; d + 2 < r->rank; d++)
        if (r->stride[j][d] && r->dim[d] > 1)
            return 0;
    return 1;
}

int fast_prepare_channels(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 M = r->dim[m_at], N = r->dim[n_at], K = r->imm[0], bytes = channels_panels(M, K) * sizeof(float);
    if (r->dtype_in[0] != DT_F32 || r->imm[2] != 1 || !channels_are_worth(M, K, N, 1, 1) || bytes > FAST_ROWS_MOST ||
        !is_one_matrix(r, 1))
        return 0;
    if (r->n_in == 3 && (!is_one_matrix(r, 3) || r->stride[3][m_at] != 1 || (r->stride[3][n_at] && N > 1)))
        return 0;
    prepared->memory = fast_allocate(bytes);
    if (!prepared->memory)
        return 0;
    channels_pack((const float *)(segment + r->in[0]), r->stride[1][m_at], (i64)r->imm[1], M, K, prepared->memory);
    prepared->bytes = bytes;
    prepared->is_first = 1;
    return 1;
}

int fast_contract_channels(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 M = r->dim[m_at], N = r->dim[n_at];
    if (lo % N || hi % N)
        return 0;
    struct channels c = {
        .M = M,
        .K = r->imm[0],
        .panels = prepared->memory,
        .bias = r->n_in == 3 ? (const float *)(segment + r->in[2]) : NULL,
        .out = (float *)(segment + r->out),
        .o_m = r->stride[0][m_at],
        .add = finish->add,
        .relu = finish->relu,
    };
    struct block_of_positions b = {.count = 0};
    while (lo < hi) {
        u64 m = lo / N % M;
        struct piece p = next_piece(r, &lo, hi);
        const float *in = (const float *)(segment + r->in[1]) + p.b;
        i64 out = p.out - (i64)m * c.o_m;
        int goes_on = p.rows == M && hi - lo >= M * N; /* the next batch has all its rows too */
        for (u64 n = 0; n < N; n++) {
            b.in[b.count] = in + (i64)n * r->stride[2][n_at];
            b.out[b.count++] = out + (i64)n * r->stride[0][n_at];
            if (b.count < BLOCK_POSITIONS && (goes_on || n + 1 < N))
                continue;
            if (!channels_run(&c, m, m + p.rows, &b, s))
                return 0;
            b.count = 0;
        }
    }
    return 1;
}

#else

int fast_prepare_channels(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    (void)prepared, (void)segment, (void)r;
    return 0;
}

int fast_contract_channels(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)finish, (void)prepared, (void)s;
    return 0;
}

#endif
