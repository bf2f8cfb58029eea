/* OP_TREE: an ensemble of decision trees, summed (or the maximum, minimum) for each target.
 *
 *   in0  f32 x[N][F]              a row's features
 *   in1  i32 node[nodes][4]       mode | flags, feature, child if true, child if false
 *                                 leaf: 0, first weight, number of weights, 0
 *   in2  f32 threshold[nodes]
 *   in3  i32 root[trees]
 *   in4  i32 target[weights]      in5  f32 weight[weights]
 *   out  f32 [N][T]               imm[0] = RED_SUM, RED_MAX, RED_MIN
 *   body: N F nodes trees weights T, then the depth (comparisons on the way to any leaf, at most) and the
 *   weights of a leaf, at most: longer walks end, further weights are left out, so that a row's cost is bounded.
 *
 * Modes compare x[feature] with the node's threshold: 1 <=, 2 <, 3 >=, 4 >, 5 ==, 6 !=; flag 0x100: NaN is true.
 * Trees in order, a leaf's weights in order, plain adds from +0 (maximum, minimum: from -inf, +inf).
 * [lo, hi) counts rows of x. A walk that meets anything that is not there (feature, child, weight, target) ends
 * or passes over it: no table is an error. */
#include "float32.h"
#include "kernels.h"
#include "types.h"

enum { LEAF = 0, LEQ = 1, LT = 2, GTE = 3, GT = 4, EQ = 5, NEQ = 6, NAN_IS_TRUE = 0x100 };

static u32 decides(i32 mode, f32 x, f32 threshold)
{
    if (x != x && mode & NAN_IS_TRUE)
        return 1;
    switch (mode & 0xff) {
    case LEQ: return x <= threshold;
    case LT: return x < threshold;
    case GTE: return x >= threshold;
    case GT: return x > threshold;
    case EQ: return x == threshold;
    default: return x != threshold;
    }
}

static void add_leaf(const struct record *r, const u8 *segment, u8 *out, i64 first, i64 count)
{
    i64 weights = r->body[4], targets = r->body[5], most = r->body[7];
    if (first < 0)
        return;
    i64 end = first + (count < most ? count : most);
    for (i64 i = first; i < end && i < weights; i++) {
        i32 target = ld_i32(segment + r->in[4] + i * 4);
        if (target < 0 || target >= targets)
            continue;
        u8 *o = out + (i64)target * 4;
        f32 x = ld_f32(o), y = ld_f32(segment + r->in[5] + i * 4);
        st_f32(o, canonical(r->imm[0] == RED_SUM   ? x + y
                            : r->imm[0] == RED_MAX ? (x > y || x != x ? x : y)
                                                   : (x < y || x != x ? x : y)));
    }
}

void KERNEL(kernel_tree)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    i64 features = r->body[1], nodes = r->body[2], trees = r->body[3], targets = r->body[5];
    f32 start = r->imm[0] == RED_SUM ? 0.0f : r->imm[0] == RED_MAX ? -f32_inf() : f32_inf();
    for (; lo < hi; lo++) {
        const u8 *x = segment + r->in[0] + (i64)lo * features * 4;
        u8 *out = segment + r->out + (i64)lo * targets * 4;
        for (i64 i = 0; i < targets; i++)
            st_f32(out + i * 4, start);
        for (i64 t = 0; t < trees; t++) {
            i64 at = ld_i32(segment + r->in[3] + t * 4), left = r->body[6];
            while (at >= 0 && at < nodes) {
                const u8 *node = segment + r->in[1] + at * 16;
                i32 mode = ld_i32(node), feature = ld_i32(node + 4);
                if ((mode & 0xff) == LEAF) {
                    add_leaf(r, segment, out, feature, ld_i32(node + 8));
                    break;
                }
                if (feature < 0 || feature >= features || left-- == 0)
                    break;
                u32 yes = decides(mode, ld_f32(x + (i64)feature * 4), ld_f32(segment + r->in[2] + at * 4));
                at = ld_i32(node + (yes ? 8 : 12));
            }
        }
    }
}
