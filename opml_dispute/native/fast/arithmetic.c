/* A chain of sums, products and choices of binary32, in one pass: what is between two steps stays in registers.
 *
 * NaNs are made canonical at the end only: whether a number is NaN depends on no NaN's bits. */
#include "vectors.h"

int fast_is_arithmetic(const struct record *r)
{
#if LANES
    if (r->opcode != OP_BINARY || r->dtype_in[0] != DT_F32)
        return 0;
    u64 function = r->imm[0];
    return function == BIN_ADD || function == BIN_SUB || function == BIN_MUL || function == BIN_MIN ||
           function == BIN_MAX;
#else
    (void)r;
    return 0;
#endif
}

#if LANES

/* Vectors that go through all steps together. */
#define TOGETHER 4

INLINE vec chosen(veci mask, vec x, vec y) { return (vec)((mask & (veci)x) | (~mask & (veci)y)); }

INLINE vec result(u64 function, vec x, vec y)
{
    switch (function) {
    case BIN_ADD: return x + y;
    case BIN_SUB: return x - y;
    case BIN_MUL: return x * y;
    case BIN_MIN: return chosen((x < y) | (x != x), x, y);
    default: return chosen((x > y) | (x != x), x, y);
    }
}

INLINE void apply_function(u64 function, int swapped, vec *value, const vec *other)
{
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < TOGETHER; v++)
        value[v] = swapped ? result(function, other[v], value[v]) : result(function, value[v], other[v]);
}

/* A step: its function, and the operand that is not chained. */
struct link {
    u64 function;
    int swapped; /* the chained value is the second operand */
    int is_single;
    const float *other; /* for the elements that are next */
    /* Where it begins, and how it repeats. */
    const float *base;
    u64 each, count;
};

/* Finds what element i and those after it meet; answers how many, n at most, meet that, or what lies beside it. */
INLINE u64 meet(struct link *l, u64 i, u64 n)
{
    if (l->each == 1) {
        u64 place = i % l->count, left = l->count - place;
        l->other = l->base + place;
        return left < n ? left : n;
    }
    u64 left = l->each - i % l->each;
    l->other = l->base + i / l->each % l->count;
    return left < n && l->count > 1 ? left : n;
}

INLINE void apply(const struct link *l, vec *value, const vec *other)
{
    switch (l->function) {
    case BIN_ADD: apply_function(BIN_ADD, 0, value, other); break;
    case BIN_MUL: apply_function(BIN_MUL, 0, value, other); break;
    case BIN_SUB:
        if (l->swapped)
            apply_function(BIN_SUB, 1, value, other);
        else
            apply_function(BIN_SUB, 0, value, other);
        break;
    case BIN_MIN:
        if (l->swapped)
            apply_function(BIN_MIN, 1, value, other);
        else
            apply_function(BIN_MIN, 0, value, other);
        break;
    default:
        if (l->swapped)
            apply_function(BIN_MAX, 1, value, other);
        else
            apply_function(BIN_MAX, 0, value, other);
    }
}

/* n elements of one stretch, in which every link's other operand is one number or lies side by side. */
INLINE void run_links(const struct link *links, unsigned steps, const float *x, float *o, u64 n)
{
    u64 at = 0;
    for (; at + TOGETHER * LANES <= n; at += TOGETHER * LANES) {
        vec value[TOGETHER], other[TOGETHER];
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < TOGETHER; v++)
            value[v] = *(const vec *)(x + at + v * LANES);
        for (unsigned i = 0; i < steps; i++) {
            const struct link *l = &links[i];
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < TOGETHER; v++)
                other[v] = l->is_single ? *l->other - (vec){0} : *(const vec *)(l->other + at + v * LANES);
            apply(l, value, other);
        }
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < TOGETHER; v++)
            *(vec *)(o + at + v * LANES) = canonical_vec(value[v]);
    }
    for (; at < n; at += LANES) {
        i64 left = (i64)(n - at);
        vec value[TOGETHER] = {load_some(x + at, left)}, other[TOGETHER] = {{0}};
        for (unsigned i = 0; i < steps; i++) {
            const struct link *l = &links[i];
            other[0] = l->is_single ? *l->other - (vec){0} : load_some(l->other + at, left);
            apply(l, value, other);
        }
        store_some(o + at, canonical_vec(value[0]), left);
    }
}

void fast_arithmetic(u8 *segment, const struct record *const step[], const struct fast_operands *operands,
                     unsigned steps, u64 lo, u64 hi)
{
    struct link links[FAST_STEPS_MOST];
    for (unsigned i = 0; i < steps; i++) {
        unsigned of = operands[i].chained == 1 ? 2 : 1;
        links[i] = (struct link){.function = step[i]->imm[0],
                                 .swapped = of == 1,
                                 .is_single = operands[i].each > 1 || operands[i].count == 1,
                                 .base = (const float *)(segment + step[i]->in[of - 1]),
                                 .each = operands[i].each,
                                 .count = operands[i].count};
    }
    const float *x = (const float *)(segment + step[0]->in[operands[0].chained - 1]);
    float *o = (float *)(segment + step[steps - 1]->out);
    while (lo < hi) {
        u64 n = hi - lo;
        for (unsigned i = 0; i < steps; i++)
            n = meet(&links[i], lo, n);
        run_links(links, steps, x + lo, o + lo, n);
        lo += n;
    }
}

#else

void fast_arithmetic(u8 *segment, const struct record *const step[], const struct fast_operands *operands,
                     unsigned steps, u64 lo, u64 hi)
{
    (void)segment, (void)step, (void)operands, (void)steps, (void)lo, (void)hi; /* never asked for */
}

#endif
