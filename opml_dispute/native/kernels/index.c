/* OP_GATHER and OP_SCATTER: elements at places that an int64 tensor names.
 *
 * A place has q components (imm[0]), imm[1] elements apart in the index tensor; component c moves by
 * stride[3][c] elements along an axis of stride[3][4 + c] elements. A negative index counts from the axis's end.
 * Indices are checked before anything is written (indices_check), so a node that fails leaves no trace but its
 * status. */
#include "float32.h"
#include "kernels.h"
#include "rows.h"
#include "walk.h"

/* How the index at p moves an operand, in elements. ASSUMES: indices_check passed. */
INLINE i64 displacement(const struct record *r, const u8 *p)
{
    i64 moved = 0;
    for (u64 c = 0; c < r->imm[0]; c++, p += (i64)r->imm[1] * 8) {
        i64 index = ld_i64(p);
        moved += (index < 0 ? index + r->stride[3][4 + c] : index) * r->stride[3][c];
    }
    return moved;
}

enum inference_status KERNEL(indices_check)(const u8 *segment, const struct record *r)
{
    struct walk w;
    struct walk_operand operand[1] = {walk_in((u8 *)segment, r, 1)};
    /* A dimension that does not move the index tensor shows the same indices again: look at one of them.
     * [lo, hi) then no longer names them by number, so do so only if the range is the whole. */
    u64 dim[RECORD_MAX_RANK], count = 1, lo = r->lo, hi = r->hi;
    for (unsigned d = 0; d < r->rank; d++)
        count *= r->dim[d];
    u32 whole = lo == 0 && hi == count;
    count = 1;
    for (unsigned d = 0; d < r->rank; d++) {
        dim[d] = whole && r->stride[2][d] == 0 ? 1 : r->dim[d];
        count *= dim[d];
    }
    walk_begin(&w, operand, 1, dim, r->rank, lo, whole ? count : hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 1)) {
        const u8 *p = w.at[0];
        u64 distinct = w.step[0] == 0 ? 1 : n;
        for (u64 i = 0; i < distinct; i++, p += w.step[0])
            for (u64 c = 0; c < r->imm[0]; c++) {
                i64 index = ld_i64(p + (i64)(c * r->imm[1]) * 8), size = r->stride[3][4 + c];
                if (index < -size || index >= size)
                    return ST_INDEX_OUT_OF_RANGE;
            }
    }
    return ST_OK;
}

void KERNEL(copy_row)(u8 *o, i64 so, const u8 *a, i64 sa, u64 n, u64 width);

void KERNEL(kernel_gather)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    i64 width = (i64)operand[0].width;
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3)) {
        u8 *o = w.at[0];
        const u8 *a = w.at[1], *p = w.at[2];
        if (w.step[2] == 0) { /* one place for the whole row */
            KERNEL(copy_row)(o, w.step[0], a + displacement(r, p) * width, w.step[1], n, (u64)width);
            continue;
        }
        for (u64 i = 0; i < n; i++, o += w.step[0], a += w.step[1], p += w.step[2])
            KERNEL(copy_row)(o, width, a + displacement(r, p) * width, width, 1, (u64)width);
    }
}

/* o = o (combined with) a. Floats through binary32, rounded each time; integers in 64 bits. */
static void combine(const struct record *r, u8 *o, const u8 *a)
{
    u8 dtype = r->dtype_out;
    u64 function = r->imm[2];
    if (dtype == DT_F32 || dtype == DT_F16 || dtype == DT_BF16) {
        f32 x, y;
        KERNEL(load_f32_chunk)(&x, o, 0, dtype, 1);
        KERNEL(load_f32_chunk)(&y, a, 0, dtype, 1);
        f32 value = function == RED_SUM    ? x + y
                    : function == RED_PROD ? x * y
                    : function == RED_MAX  ? (x > y || x != x ? x : y)
                                           : (x < y || x != x ? x : y);
        KERNEL(store_f32_chunk)(o, 0, dtype, &value, 1);
        return;
    }
    i64 x, y;
    KERNEL(load_i64_chunk)(&x, o, 0, dtype, 1);
    KERNEL(load_i64_chunk)(&y, a, 0, dtype, 1);
    u64 sign = dtype == DT_U64 ? 0 : 1ull << 63; /* compares as unsigned after this flip */
    u32 greater = ((u64)x ^ sign) > ((u64)y ^ sign);
    i64 value = function == RED_SUM    ? (i64)((u64)x + (u64)y)
                : function == RED_PROD ? (i64)((u64)x * (u64)y)
                : function == RED_MAX  ? (greater ? x : y)
                                       : (greater ? y : x);
    KERNEL(store_i64_chunk)(o, 0, dtype, &value, 1);
}

/* Updates in ascending order, so that of two for one place the later wins (or both combine, in that order). */
void KERNEL(kernel_scatter)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    i64 width = (i64)operand[0].width;
    u32 store = r->imm[2] == RED_NONE;
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3)) {
        u8 *o = w.at[0];
        const u8 *a = w.at[1], *p = w.at[2];
        if (store && w.step[2] == 0 && w.step[0] != 0) {
            KERNEL(copy_row)(o + displacement(r, p) * width, w.step[0], a, w.step[1], n, (u64)width);
            continue;
        }
        for (u64 i = 0; i < n; i++, o += w.step[0], a += w.step[1], p += w.step[2]) {
            u8 *place = o + displacement(r, p) * width;
            if (store)
                KERNEL(copy_row)(place, width, a, width, 1, (u64)width);
            else
                combine(r, place, a);
        }
    }
}
