/* A chain of arithmetic of binary32, in one pass: what is between two steps stays in registers.
 *
 * NaNs are made canonical at the end only: whether a number is NaN depends on no NaN's bits. */
#include "divide.h"
#include "exponential.h"

int fast_is_arithmetic(const struct record *r)
{
#if LANES
    u64 function = r->imm[0];
    if (r->dtype_in[0] != DT_F32)
        return 0;
    if (r->opcode == OP_UNARY)
        return function == UN_EXP;
    return r->opcode == OP_BINARY && (function == BIN_ADD || function == BIN_SUB || function == BIN_MUL ||
                                      function == BIN_DIV || function == BIN_MIN || function == BIN_MAX);
#else
    (void)r;
    return 0;
#endif
}

#if LANES

/* Vectors that go through all steps together. */
#define TOGETHER 4

INLINE vec result(u64 function, vec x, vec y)
{
    switch (function) {
    case BIN_ADD: return x + y;
    case BIN_SUB: return x - y;
    case BIN_MUL: return x * y;
    case BIN_DIV: return x / y;
    case BIN_MIN: return choose((x < y) | (x != x), x, y);
    default: return choose((x > y) | (x != x), x, y);
    }
}

INLINE void apply_function(u64 function, int swapped, vec *value, const vec *other)
{
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < TOGETHER; v++)
        value[v] = swapped ? result(function, other[v], value[v]) : result(function, value[v], other[v]);
}

/* A step: its function, and the operand that is not chained. */
#define LINK_EXP 256u /* beside the functions of two operands */
struct link {
    u64 function;
    u32 divides_well; /* by the one number that is next, whose reciprocal is: divide.h */
    f32 reciprocal;
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
    if (l->each == 1 && l->count) {
        u64 place = i % l->count, left = l->count - place;
        l->other = l->base + place;
        return left < n ? left : n;
    }
    if (l->count == 0)
        return n; /* there is no other */
    u64 left = l->each - i % l->each;
    l->other = l->base + i / l->each % l->count;
    if (l->function == BIN_DIV && !l->swapped) {
        l->divides_well = (u32)divides_well(*l->other);
        l->reciprocal = 1.0f / *l->other;
    }
    return left < n && l->count > 1 ? left : n;
}

INLINE void apply(const struct link *l, vec *value, const vec *other)
{
    switch (l->function) {
    case BIN_ADD: apply_function(BIN_ADD, 0, value, other); break;
    case BIN_MUL: apply_function(BIN_MUL, 0, value, other); break;
    case LINK_EXP:
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < TOGETHER; v++)
            value[v] = exp_vec(value[v]);
        break;
    case BIN_DIV:
        if (l->swapped)
            apply_function(BIN_DIV, 1, value, other);
        else if (!l->divides_well)
            apply_function(BIN_DIV, 0, value, other);
        else
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < TOGETHER; v++)
                value[v] = divide(value[v], other[v], splat(l->reciprocal));
        break;
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
        vec value[TOGETHER], other[TOGETHER] = {{0}};
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < TOGETHER; v++)
            value[v] = *(const vec *)(x + at + v * LANES);
        for (unsigned i = 0; i < steps; i++) {
            const struct link *l = &links[i];
            if (l->count)
#pragma clang loop unroll(full)
                for (unsigned v = 0; v < TOGETHER; v++)
                    other[v] = l->is_single ? splat(*l->other) : *(const vec *)(l->other + at + v * LANES);
            apply(l, value, other);
        }
#pragma clang loop unroll(full)
        for (unsigned v = 0; v < TOGETHER; v++)
            *(vec *)(o + at + v * LANES) = canonical_vec(value[v]);
    }
    if (at == n)
        return;
    vec value[TOGETHER], other[TOGETHER] = {{0}};
    i64 left[TOGETHER];
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < TOGETHER; v++) {
        left[v] = (i64)(n - at) - (i64)(v * LANES);
        left[v] = left[v] < 0 ? 0 : left[v];
        value[v] = load_some(x + at + v * LANES, left[v]);
    }
    for (unsigned i = 0; i < steps; i++) {
        const struct link *l = &links[i];
        if (l->count)
#pragma clang loop unroll(full)
            for (unsigned v = 0; v < TOGETHER; v++)
                other[v] = l->is_single ? splat(*l->other) : load_some(l->other + at + v * LANES, left[v]);
        apply(l, value, other);
    }
#pragma clang loop unroll(full)
    for (unsigned v = 0; v < TOGETHER; v++)
        store_some(o + at + v * LANES, canonical_vec(value[v]), left[v]);
}

/* The same for the commonest passes, of a difference or quotient by one number and an exponential: the compiler knows
 * the functions. */
INLINE void run_known(u64 function, const struct link *links, unsigned steps, const float *x, float *o, u64 n)
{
    struct link known[2] = {links[0], links[0]};
    known[0].function = function;
    known[0].swapped = 0;
    known[0].is_single = 1;
    known[0].count = 1;
    known[1].function = LINK_EXP;
    known[1].count = 0;
    run_links(known, steps, x, o, n);
}

enum pass { ANY, SUBTRACTS, DIVIDES, EXPONENTIALS };

static enum pass pass_of(const struct link *l, unsigned steps)
{
    if (!l->is_single || l->count == 0 || l->swapped || steps > 2)
        return ANY;
    if (steps == 2)
        return l[0].function == BIN_SUB && l[1].function == LINK_EXP ? EXPONENTIALS : ANY;
    return l->function == BIN_SUB ? SUBTRACTS : l->function == BIN_DIV ? DIVIDES : ANY;
}

void fast_arithmetic(u8 *segment, const struct record *const step[], const struct fast_operands *operands,
                     unsigned steps, u64 lo, u64 hi)
{
    struct link links[FAST_STEPS_MOST];
    for (unsigned i = 0; i < steps; i++) {
        unsigned of = operands[i].chained == 1 && step[i]->n_in == 2 ? 2 : 1;
        links[i] = (struct link){.function = step[i]->opcode == OP_UNARY ? LINK_EXP : step[i]->imm[0],
                                 .swapped = operands[i].chained == 2,
                                 .is_single = operands[i].each > 1,
                                 .base = (const float *)(segment + step[i]->in[of - 1]),
                                 .each = operands[i].each,
                                 .count = operands[i].count};
    }
    const float *x = (const float *)(segment + step[0]->in[operands[0].chained - 1]);
    float *o = (float *)(segment + step[steps - 1]->out);
    enum pass pass = pass_of(links, steps);
    while (lo < hi) {
        u64 n = hi - lo;
        for (unsigned i = 0; i < steps; i++)
            n = meet(&links[i], lo, n);
        switch (pass) {
        case SUBTRACTS: run_known(BIN_SUB, links, 1, x + lo, o + lo, n); break;
        case DIVIDES: run_known(BIN_DIV, links, 1, x + lo, o + lo, n); break;
        case EXPONENTIALS: run_known(BIN_SUB, links, 2, x + lo, o + lo, n); break;
        default: run_links(links, steps, x + lo, o + lo, n);
        }
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
