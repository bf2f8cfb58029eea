/* OP_SCAN: cumulative sums or products along the last dimension of the iteration space.
 *
 * imm[0] = RED_SUM or RED_PROD; imm[2] bit 0: exclusive (element i gets what came before it), bit 1: reverse.
 * Plain adds (or multiplications) in order, from +0 (or 1). Integers wrap. */
#include "kernels.h"
#include "rows.h"
#include "walk.h"

static void float_line(const struct record *r, u8 *o, i64 so, const u8 *a, i64 sa, u64 n)
{
    u32 product = r->imm[0] == RED_PROD, exclusive = r->imm[2] & 1;
    f32 value = product ? 1.0f : 0.0f, chunk[CHUNK];
    while (n) {
        u64 now = n < CHUNK ? n : CHUNK;
        KERNEL(load_f32_chunk)(chunk, a, sa, r->dtype_in[0], now);
        for (u64 i = 0; i < now; i++) {
            f32 next = product ? value * chunk[i] : value + chunk[i];
            chunk[i] = exclusive ? value : next;
            value = next;
        }
        KERNEL(store_f32_chunk)(o, so, r->dtype_out, chunk, now);
        o += (i64)now * so;
        a += (i64)now * sa;
        n -= now;
    }
}

static void integer_line(const struct record *r, u8 *o, i64 so, const u8 *a, i64 sa, u64 n)
{
    u32 product = r->imm[0] == RED_PROD, exclusive = r->imm[2] & 1;
    u64 value = product;
    i64 chunk[CHUNK];
    while (n) {
        u64 now = n < CHUNK ? n : CHUNK;
        KERNEL(load_i64_chunk)(chunk, a, sa, r->dtype_in[0], now);
        for (u64 i = 0; i < now; i++) {
            u64 next = product ? value * (u64)chunk[i] : value + (u64)chunk[i];
            chunk[i] = (i64)(exclusive ? value : next);
            value = next;
        }
        KERNEL(store_i64_chunk)(o, so, r->dtype_out, chunk, now);
        o += (i64)now * so;
        a += (i64)now * sa;
        n -= now;
    }
}

void KERNEL(kernel_scan)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned axis = r->rank - 1u;
    u64 length = r->dim[axis];
    struct walk lines;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    i64 so = r->stride[0][axis] * (i64)operand[0].width, sa = r->stride[1][axis] * (i64)operand[1].width;
    u32 is_float = r->dtype_in[0] == DT_F32 || r->dtype_in[0] == DT_F16 || r->dtype_in[0] == DT_BF16;
    walk_begin(&lines, operand, 2, r->dim, axis, lo, hi);
    for (u64 n; (n = walk_row(&lines)) != 0; walk_next(&lines, n, 2))
        for (u64 i = 0; i < n; i++) {
            u8 *o = lines.at[0] + (i64)i * lines.step[0];
            const u8 *a = lines.at[1] + (i64)i * lines.step[1];
            i64 o_step = so, a_step = sa;
            if (r->imm[2] & 2) {
                o += (i64)(length - 1) * so;
                a += (i64)(length - 1) * sa;
                o_step = -so;
                a_step = -sa;
            }
            (is_float ? float_line : integer_line)(r, o, o_step, a, a_step, length);
        }
}
