/* UNARY and BINARY of binary16 and bfloat16, long rows side by side or one
 * number for a row: some are widened, the paths for binary32 run on them, and
 * the results are rounded. That is what the plain kernels do, a chunk of a few
 * at a time. */
#include "fast.h"
#include "kernels/rows.h"
#include "kernels/walk.h"

/* Elements that are widened at a time: three rows of them stay in the nearest
 * cache. */
#define AT_ONCE 1024u
/* Shorter rows are left to the plain kernel. */
#define LEAST_ROW 256u

static u32 is_half(u8 dtype) { return dtype == DT_F16 || dtype == DT_BF16; }

/* The record's function of binary32, of rows of n elements: to `out` from `in`,
 * of which `is_single` says which are one number. */
static struct record widened(const struct record *r, u64 out, const u64 *in, const u32 *is_single, u64 n)
{
    struct record wide = {.opcode = r->opcode, .rank = 1, .n_in = r->n_in, .dtype_out = r->dtype_out, .out = out};
    wide.imm[0] = r->imm[0];
    wide.imm[1] = r->imm[1];
    wide.hi = wide.dim[0] = n;
    wide.stride[0][0] = 1;
    if (wide.dtype_out != DT_BOOL)
        wide.dtype_out = DT_F32;
    for (unsigned j = 0; j < r->n_in; j++) {
        wide.in[j] = in[j];
        wide.dtype_in[j] = DT_F32;
        wide.stride[1 + j][0] = !is_single[j];
    }
    return wide;
}

int fast_half_elements(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s, fast_runner *run)
{
    if (!is_half(r->dtype_in[0]))
        return 0;
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, r->n_in - 1u)};
    unsigned operands = 1u + r->n_in;
    walk_begin(&w, operand, operands, r->dim, r->rank, lo, hi);
    if (w.row < LEAST_ROW || w.step[0] != (i64)operand[0].width)
        return 0;
    f32 copy[3][AT_ONCE];
    u64 in[2] = {0};
    u32 is_single[2] = {0};
    for (unsigned j = 0; j < r->n_in; j++) {
        if (w.step[1 + j] != 2 && w.step[1 + j] != 0)
            return 0;
        is_single[j] = w.step[1 + j] == 0;
        in[j] = (u64)(uintptr_t)copy[1 + j] - (u64)(uintptr_t)segment;
    }
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, operands))
        for (u64 at = 0, now; at < n; at += now) {
            now = n - at < AT_ONCE ? n - at : AT_ONCE;
            for (unsigned j = 0; j < r->n_in; j++)
                load_f32_chunk(copy[1 + j], w.at[1 + j] + (i64)at * w.step[1 + j], 2, r->dtype_in[j],
                               is_single[j] ? 1 : now);
            u8 *o = w.at[0] + (i64)at * w.step[0], *to = r->dtype_out == DT_BOOL ? o : (u8 *)copy[0];
            struct record wide = widened(r, (u64)(uintptr_t)to - (u64)(uintptr_t)segment, in, is_single, now);
            if (!run(segment, &wide, 0, now, NULL, s))
                kernel_run(segment, &wide, 0, now);
            if (r->dtype_out != DT_BOOL)
                store_f32_chunk(o, 2, r->dtype_out, copy[0], now);
        }
    return 1;
}
