/* Chooses the fast path of a node, if there is one, and finishes its outputs. */
#include <string.h>

#include "doubles.h"
#include "fast.h"

#include "kernels/float32.h"

int fast_prepare_contraction(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    for (unsigned d = 0; d + 1 < r->rank; d++)
        if (r->stride[2][d] && r->dim[d] > 1)
            return 0; /* more than one matrix */
    return r->dtype_in[0] == DT_F32 ? fast_prepare_rows(prepared, segment, r)
                                    : fast_prepare_integers(prepared, segment, r);
}

int fast_prepares_alike(const struct record *one, const struct record *other)
{
    if (one->opcode != other->opcode)
        return 0;
    if (one->opcode == OP_CONV) /* the same weights, seen as the same channels, groups and taps */
        return one->in[1] == other->in[1] && one->dtype_in[0] == other->dtype_in[0] &&
               !memcmp(one->body + 2, other->body + 2, 3 * sizeof *one->body) &&
               !memcmp(one->body + 8, other->body + 8, 3 * sizeof *one->body);
    unsigned n_one = one->rank - 1u, n_other = other->rank - 1u;
    return one->in[1] == other->in[1] && one->dtype_in[0] == other->dtype_in[0] &&
           one->dtype_in[1] == other->dtype_in[1] && one->imm[0] == other->imm[0] && one->imm[2] == other->imm[2] &&
           one->dim[n_one] == other->dim[n_other] && one->stride[2][n_one] == other->stride[2][n_other] &&
           (one->dim[n_one - 1] == other->dim[n_other - 1]);
}

static const struct fast_finish as_it_is = {0};

int fast_run(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_prepared *prepared,
             struct fast_scratch *s)
{
    switch (r->opcode) {
    case OP_CONTRACT:
        return fast_contract(segment, r, lo, hi, &as_it_is, prepared, s) ||
               fast_contract_integers(segment, r, lo, hi, prepared, s) || fast_half_rows(segment, r, lo, hi, s) ||
               fast_halves(segment, r, lo, hi, s);
    case OP_CONV:
        return fast_conv(segment, r, lo, hi, &as_it_is, prepared, s) ||
               fast_conv_depthwise_integers(segment, r, lo, hi) || fast_conv_integers(segment, r, lo, hi, s) ||
               fast_halves(segment, r, lo, hi, s);
    case OP_POOL: return fast_pool(segment, r, lo, hi, s) || fast_halves(segment, r, lo, hi, s);
    case OP_POOL_INDEX: return fast_pool_index(segment, r, lo, hi);
    case OP_COPY: return fast_copy(segment, r, lo, hi);
    case OP_SELECT: return fast_select(segment, r, lo, hi);
    case OP_GATHER: return fast_gather(segment, r, lo, hi);
    case OP_SCATTER: return fast_scatter(segment, r, lo, hi);
    case OP_REDUCE: return fast_reduce(segment, r, lo, hi) || fast_reduce_integers(segment, r, lo, hi);
    case OP_ARGREDUCE: return fast_argreduce(segment, r, lo, hi) || fast_argreduce_integers(segment, r, lo, hi);
    case OP_SCAN: return fast_scan(segment, r, lo, hi) || fast_scan_integers(segment, r, lo, hi);
    case OP_TREE: fast_tree(segment, r, lo, hi); return 1;
    case OP_TOPK: return fast_topk(segment, r, lo, hi, s);
    case OP_BLOCK_CONTRACT: return fast_block_contract(segment, r, lo, hi, s);
    case OP_CAST: return fast_cast(segment, r, lo, hi);
    case OP_UNARY: return fast_unary(segment, r, lo, hi) || fast_half_elements(segment, r, lo, hi, s, fast_run);
    case OP_BINARY:
        return fast_binary(segment, r, lo, hi) || fast_single_integers(segment, r, lo, hi) ||
               fast_divide_integers(segment, r, lo, hi) || fast_half_elements(segment, r, lo, hi, s, fast_run);
    case OP_DOUBLES: fast_doubles(segment, r, lo, hi); return 1;
    case OP_DOUBLE_SUMS: fast_double_sums(segment, r, lo, hi, s); return 1;
    case OP_DOUBLE_SCANS: fast_double_scans(segment, r, lo, hi, s); return 1;
    case OP_DOUBLE_EXTREMES: fast_double_extremes(segment, r, lo, hi); return 1;
    case OP_RANKS: fast_ranks(segment, r, lo, hi); return 1;
    default: return 0;
    }
}

/* Finish outputs [lo, hi), which are computed already. */
static void finish_range(float *out, u64 lo, u64 hi, const struct fast_finish *finish)
{
    for (u64 i = lo; i < hi && finish->add; i++)
        out[i] = canonical(out[i] + finish->add[i]);
    for (u64 i = lo; i < hi && finish->relu; i++)
        out[i] = out[i] < 0 ? 0.0f : out[i];
}

void fast_run_finished(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                       const struct fast_prepared *prepared, struct fast_scratch *s)
{
    if ((r->opcode == OP_CONTRACT && fast_contract(segment, r, lo, hi, finish, prepared, s)) ||
        (r->opcode == OP_CONV && fast_conv(segment, r, lo, hi, finish, prepared, s)))
        return;
    if (!fast_run(segment, r, lo, hi, prepared, s))
        kernel_run(segment, r, lo, hi);
    finish_range((float *)(segment + r->out), lo, hi, finish);
}

void fast_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                      const struct fast_prepared *prepared, struct fast_scratch *s)
{
    fast_conv_run_columns(segment, r, first, end, finish, prepared, s, fast_run_finished);
}
