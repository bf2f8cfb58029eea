/* OP_TREE: several trees at a time. A walk waits for each node before it knows the next one; the walks of other trees do not.
 *
 * A walk that has ended stays where it is, so that all make the same steps without asking which are still on their way.
 * Leaves are added afterwards, tree by tree, as the plain kernel adds them. */
#include "fast.h"
#include "kernels/float32.h"

#define TOGETHER 8

enum { NAN_IS_TRUE = 0x100 };

struct table {
    const i32 (*node)[4];
    const float *threshold;
    u64 nodes, features;
};

/* For each mode (1 <=, 2 <, 3 >=, 4 >, 5 ==, all else !=) in which order of the two it holds: bit 0 where x is less, bit 1
 * where they are equal, bit 2 where it is greater, bit 3 where one is NaN. */
static const u32 holds[8] = {13, 3, 1, 6, 4, 2, 13, 13};

INLINE u32 decides(i32 mode, f32 x, f32 threshold)
{
    u32 kind = (u32)mode & 0xff;
    u32 order = x < threshold ? 0 : x == threshold ? 1 : x > threshold ? 2 : 3;
    return (holds[kind < 7 ? kind : 7] >> order & 1) | (x != x && mode & NAN_IS_TRUE);
}

#define USUALLY(x) __builtin_expect(!!(x), 1)

/* One step of a walk, which is at -1 if it met a node that is not there; whether it has ended. What is branched on is the
 * same nearly always, and what is not is chosen. */
INLINE u32 step(const struct table *t, const float *x, i32 *at)
{
    if (!USUALLY(*at >= 0))
        return 1;
    const i32 *node = t->node[*at];
    i32 mode = node[0];
    u32 is_leaf = (mode & 0xff) == 0;
    i32 feature = is_leaf ? 0 : node[1];
    if (!USUALLY((u64)(i64)feature < t->features))
        return 1;
    float value = x[feature], threshold = t->threshold[*at];
    u32 yes = value <= threshold;
    if (!USUALLY((mode & 0xff) <= 1 && value == value))
        yes = decides(mode, value, threshold);
    i32 next = is_leaf ? *at : node[yes ? 2 : 3];
    *at = USUALLY((u64)(i64)next < t->nodes) ? next : -1;
    return is_leaf;
}

static void add_leaf(const struct record *r, const u8 *segment, float *out, const i32 *leaf)
{
    i64 first = leaf[1], count = leaf[2], weights = r->body[4], targets = r->body[5], most = r->body[7];
    const i32 *target = (const i32 *)(segment + r->in[4]);
    const float *weight = (const float *)(segment + r->in[5]);
    if (first < 0)
        return;
    i64 end = first + (count < most ? count : most);
    for (i64 i = first; i < end && i < weights; i++) {
        if (target[i] < 0 || target[i] >= targets)
            continue;
        f32 x = out[target[i]], y = weight[i];
        out[target[i]] = canonical(r->imm[0] == RED_SUM   ? x + y
                                   : r->imm[0] == RED_MAX ? (x > y || x != x ? x : y)
                                                          : (x < y || x != x ? x : y));
    }
}

/* The trees whose roots are given, on one row. */
INLINE void walk_some(const struct record *r, const u8 *segment, const struct table *t, const float *x, const i32 *root,
                      u64 count, float *out)
{
    i32 at[TOGETHER];
    for (u64 j = 0; j < count; j++)
        at[j] = (u64)(i64)root[j] < t->nodes ? root[j] : -1;
    u32 all_end = 0;
    for (i64 left = r->body[6]; left > 0 && !all_end; left--) {
        all_end = 1;
        for (u64 j = 0; j < count; j++)
            all_end &= step(t, x, &at[j]);
    }
    for (u64 j = 0; j < count; j++)
        if (at[j] >= 0 && (t->node[at[j]][0] & 0xff) == 0)
            add_leaf(r, segment, out, t->node[at[j]]);
}

void fast_tree(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u64 features = (u64)r->body[1], trees = (u64)r->body[3], targets = (u64)r->body[5];
    const i32 *root = (const i32 *)(segment + r->in[3]);
    struct table table = {(const i32(*)[4])(segment + r->in[1]), (const float *)(segment + r->in[2]), (u64)r->body[2],
                          features};
    f32 start = r->imm[0] == RED_SUM ? 0.0f : r->imm[0] == RED_MAX ? -f32_inf() : f32_inf();
    for (; lo < hi; lo++) {
        const float *x = (const float *)(segment + r->in[0]) + lo * features;
        float *out = (float *)(segment + r->out) + lo * targets;
        for (u64 i = 0; i < targets; i++)
            out[i] = start;
        u64 t = 0;
        for (; t + TOGETHER <= trees; t += TOGETHER)
            walk_some(r, segment, &table, x, root + t, TOGETHER, out);
        for (; t < trees; t++)
            walk_some(r, segment, &table, x, root + t, 1, out);
    }
}
