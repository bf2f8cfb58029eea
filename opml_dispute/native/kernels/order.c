/* OP_ARGREDUCE and OP_TOPK: where the greatest or least elements are. Both compare keys (rows.h), so one code
 * serves every dtype. */
#include "kernels.h"
#include "rows.h"
#include "walk.h"

/* The element number, among the reduced elements in row-major order, of the greatest (imm[0] = RED_MAX) or least
 * (RED_MIN): the first of equals, or the last if imm[2] bit 0. NaN counts as the one looked for. */
void KERNEL(kernel_argreduce)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u8 dtype = r->dtype_in[0];
    unsigned kept = r->rank - (unsigned)r->imm[1];
    u64 count = 1, flip = r->imm[0] == RED_MAX ? 0 : ~0ull, last = r->imm[2] & 1;
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    struct walk_operand below = {segment, r->stride[1] + kept, operand[1].width};
    walk_begin(&inputs, &below, 1, r->dim + kept, r->rank - kept, 0, count);
    const struct walk start = inputs;
    for (u64 n; (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2)) {
        u8 *o = outputs.at[0];
        const u8 *a = outputs.at[1];
        for (u64 i = 0; i < n; i++, o += outputs.step[0], a += outputs.step[1]) {
            u64 best = 0, best_key = 0, number = 0;
            inputs = start;
            for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1))
                for (u64 done = 0; done < m;) {
                    u64 key[CHUNK], now = m - done < CHUNK ? m - done : CHUNK;
                    KERNEL(load_key_chunk)(key, inputs.at[0] + (a - segment) + (i64)done * inputs.step[0],
                                           inputs.step[0], dtype, now, flip ^ ~0ull);
                    for (u64 j = 0; j < now; j++, number++) {
                        u64 k = key[j] ^ flip;
                        if (k > best_key || (k == best_key && last) || number == 0) {
                            best = number;
                            best_key = k;
                        }
                    }
                    done += now;
                }
            st_i64(o, (i64)best);
        }
    }
}

/* One line of OP_TOPK: elements at a, a + sa, ...; their indices go to o, o + so, ... */
struct line {
    u8 *o;
    const u8 *a;
    i64 so, sa;
    u64 flip;
    u8 dtype;
};

/* Does element x come before element y in the result? Keys descend (flipped for the smallest), indices ascend. */
static u32 before(const struct line *l, i64 x, i64 y)
{
    u64 x_key, y_key;
    KERNEL(load_key_chunk)(&x_key, l->a + x * l->sa, 0, l->dtype, 1, ~0ull);
    KERNEL(load_key_chunk)(&y_key, l->a + y * l->sa, 0, l->dtype, 1, ~0ull);
    x_key ^= l->flip;
    y_key ^= l->flip;
    return x_key != y_key ? x_key > y_key : x < y;
}

/* Places `index` in the heap of `size` entries at o, starting from an empty place `hole` and going down. The
 * heap's top is the entry that comes last, so that the next candidate need only beat that one. */
static void sift_down(const struct line *l, u64 hole, u64 size, i64 index)
{
    for (u64 child; (child = 2 * hole + 1) < size; hole = child) {
        i64 entry = ld_i64(l->o + (i64)child * l->so);
        if (child + 1 < size) {
            i64 other = ld_i64(l->o + (i64)(child + 1) * l->so);
            if (before(l, entry, other)) {
                child++;
                entry = other;
            }
        }
        if (!before(l, index, entry))
            break;
        st_i64(l->o + (i64)hole * l->so, entry);
    }
    st_i64(l->o + (i64)hole * l->so, index);
}

/* The indices of the imm[2] greatest (imm[0] bit 0) or least elements along the last dimension, in order; of
 * equals the lower index first. NaN is greater than every number. The output row itself is the heap: there is no
 * other memory. */
void KERNEL(kernel_topk)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned axis = r->rank - 1u;
    u64 length = r->dim[axis], k = r->imm[2];
    struct walk lines;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    struct line l = {.so = r->stride[0][axis] * 8,
                     .sa = r->stride[1][axis] * (i64)operand[1].width,
                     .flip = r->imm[0] & 1 ? 0 : ~0ull,
                     .dtype = r->dtype_in[0]};
    walk_begin(&lines, operand, 2, r->dim, axis, lo, hi);
    for (u64 n; (n = walk_row(&lines)) != 0; walk_next(&lines, n, 2))
        for (u64 i = 0; i < n; i++) {
            l.o = lines.at[0] + (i64)i * lines.step[0];
            l.a = lines.at[1] + (i64)i * lines.step[1];
            for (u64 j = 0; j < k; j++)
                st_i64(l.o + (i64)j * l.so, (i64)j);
            for (u64 j = k / 2; j-- > 0;)
                sift_down(&l, j, k, ld_i64(l.o + (i64)j * l.so));
            for (u64 j = k; j < length; j++)
                if (before(&l, (i64)j, ld_i64(l.o)))
                    sift_down(&l, 0, k, (i64)j);
            for (u64 size = k; size-- > 1;) { /* the last goes to the end, again and again */
                i64 moved = ld_i64(l.o + (i64)size * l.so);
                st_i64(l.o + (i64)size * l.so, ld_i64(l.o));
                sift_down(&l, 0, size, moved);
            }
        }
}
