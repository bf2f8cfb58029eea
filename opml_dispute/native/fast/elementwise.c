/* Elementwise functions whose plain kernels branch, where their common case can be told from the operands. */
#include "kernels/elementary.h"
#include "kernels/walk.h"
#include "divide.h"
#include "rows.h"

/* x^y of positive finite numbers: what pow32 leaves to pow_positive, without a branch on the way. */
static __attribute__((flatten)) void pow_row(float *restrict o, const float *restrict x, const float *restrict y,
                                             u64 y_step, u64 n)
{
    if (y_step == 0) {
        float exponent = *y;
        for (u64 i = 0; i < n; i++)
            o[i] = canonical(pow_positive(x[i], exponent));
    } else {
        for (u64 i = 0; i < n; i++)
            o[i] = canonical(pow_positive(x[i], y[i]));
    }
}

/* Whether pow32 leaves |x|^y to pow_positive (1^y it does not, but the result is the same). */
INLINE u32 is_usual(f32 x, f32 y)
{
    f32 size = f32_abs(x);
    return size > 0.0f && size < f32_inf() && f32_abs(y) < f32_inf();
}

/* pow32, given |x|^y where that is usual. Its special cases as choices: the last that holds is the first it asks for. */
INLINE f32 pow_of(f32 x, f32 y, f32 power)
{
    f32 size = f32_abs(x), y_size = f32_abs(y);
    u32 edge = size == 0.0f || size == f32_inf(), endless = y_size == f32_inf();
    f32 small = y_size < 0x1p24f ? y_size : 0.0f; /* from 2^24 on every float is an even integer */
    u32 whole = y_size >= 0x1p24f || round32(small) == small, odd = whole && ((i32)small & 1);
    power = size == 1.0f ? 1.0f : power;
    power = edge ? ((size == 0.0f) == (y < 0.0f) ? f32_inf() : 0.0f) : power;
    power = odd && (f32_bits(x) & SIGN_BIT) ? -power : power;
    power = x < 0.0f && !whole && !edge ? f32_nan() : power;
    power = endless ? (size == 1.0f ? 1.0f : (size > 1.0f) == (y > 0.0f) ? f32_inf() : 0.0f) : power;
    power = x != x || y != y ? f32_nan() : power;
    return x == 1.0f || y == 0.0f ? 1.0f : power;
}

/* Any numbers, at most LOOK of them: 2^1 takes the place of what is not usual. */
static void any_pow_row(float *restrict o, const float *restrict x, const float *restrict y, u64 y_step, u64 n)
{
    float base[LOOK], exponent[LOOK], power[LOOK];
    for (u64 i = 0; i < n; i++)
        exponent[i] = y_step ? y[i] : *y;
    for (u64 i = 0; i < n; i++)
        base[i] = is_usual(x[i], exponent[i]) ? f32_abs(x[i]) : 2.0f;
    if (y_step == 0 && f32_abs(*y) < f32_inf())
        pow_row(power, base, y, 0, n);
    else {
        float usual[LOOK];
        for (u64 i = 0; i < n; i++)
            usual[i] = is_usual(x[i], exponent[i]) ? exponent[i] : 1.0f;
        pow_row(power, base, usual, 1, n);
    }
    for (u64 i = 0; i < n; i++)
        o[i] = canonical(pow_of(x[i], exponent[i], power[i]));
}

/* Are all of n numbers positive and finite? As integers those lie side by side. */
static u32 all_positive(const float *x, u64 n)
{
    u32 others = 0;
    for (u64 i = 0; i < n; i++)
        others |= f32_bits(x[i]) - 1 >= INF_BITS - 1;
    return !others;
}

static u32 all_finite(const float *x, u64 n)
{
    u32 others = 0;
    for (u64 i = 0; i < n; i++)
        others |= (f32_bits(x[i]) & ~SIGN_BIT) >= INF_BITS;
    return !others;
}

#if LANES

/* A row divided by one number; 0 if that is out of range. */
static int div_row(float *restrict o, const float *restrict x, float divisor, u64 n)
{
    typedef divide_vec vec;
    typedef divide_veci veci;
    if (!divides_well(divisor))
        return 0;
    vec y = divisor - (vec){0}, r = 1.0f / y;
    u64 i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec q = divide(*(const vec *)(x + i), y, r);
        veci bits = (veci)q, is_nan = (bits & 0x7fffffff) > 0x7f800000;
        *(vec *)(o + i) = (vec)((is_nan & 0x7fc00000) | (~is_nan & bits));
    }
    for (; i < n; i++)
        o[i] = canonical(x[i] / divisor);
    return 1;
}

static int divide_rows(struct walk *w)
{
    if (w->step[0] != 4 || w->step[1] != 4 || w->step[2] != 0 || w->row < 2 * LANES)
        return 0;
    for (u64 n; (n = walk_row(w)) != 0; walk_next(w, n, 3)) {
        float *o = (float *)w->at[0];
        const float *x = (const float *)w->at[1], y = *(const float *)w->at[2];
        if (!div_row(o, x, y, n))
            for (u64 i = 0; i < n; i++)
                o[i] = canonical(x[i] / y);
    }
    return 1;
}

#else

static int divide_rows(struct walk *w)
{
    (void)w;
    return 0;
}

#endif

/* bfloat16, side by side or one number for a row: widened, computed and rounded without a detour through memory. */
#define BRAIN_ROW(NAME, EXPR)                                                                                          \
    static void NAME##_brain_row(u16 *restrict o, const u16 *a, const u16 *b, u64 b_step, u64 n)                       \
    {                                                                                                                  \
        f32 y = f32_from_bf16(*b);                                                                                     \
        if (b_step)                                                                                                    \
            for (u64 i = 0; i < n; i++) {                                                                              \
                f32 x = f32_from_bf16(a[i]);                                                                           \
                y = f32_from_bf16(b[i]);                                                                               \
                o[i] = bf16_from_f32(EXPR);                                                                            \
            }                                                                                                          \
        else                                                                                                           \
            for (u64 i = 0; i < n; i++) {                                                                              \
                f32 x = f32_from_bf16(a[i]);                                                                           \
                o[i] = bf16_from_f32(EXPR);                                                                            \
            }                                                                                                          \
    }
BRAIN_ROW(add, x + y)
BRAIN_ROW(sub, x - y)
BRAIN_ROW(mul, x *y)
BRAIN_ROW(div, x / y)
BRAIN_ROW(min, x < y || x != x ? x : y)
BRAIN_ROW(max, x > y || x != x ? x : y)

typedef void brain_row(u16 *restrict o, const u16 *a, const u16 *b, u64 b_step, u64 n);

static brain_row *find_brain_row(u64 function)
{
    switch (function) {
    case BIN_ADD: return add_brain_row;
    case BIN_SUB: return sub_brain_row;
    case BIN_MUL: return mul_brain_row;
    case BIN_DIV: return div_brain_row;
    case BIN_MIN: return min_brain_row;
    case BIN_MAX: return max_brain_row;
    default: return NULL;
    }
}

static int brain_rows(struct walk *w, u64 function)
{
    brain_row *row = find_brain_row(function);
    if (!row || w->step[0] != 2 || w->step[1] != 2 || (w->step[2] != 2 && w->step[2] != 0))
        return 0;
    for (u64 n; (n = walk_row(w)) != 0; walk_next(w, n, 3))
        row((u16 *)w->at[0], (const u16 *)w->at[1], (const u16 *)w->at[2], (u64)w->step[2] / 2, n);
    return 1;
}

/* At most LOOK powers; `step` is 1, or 0 for one exponent. */
static void pow_part(float *restrict o, const float *x, const float *y, u64 step, u64 n)
{
    if (all_positive(x, n) && all_finite(y, step ? n : 1))
        pow_row(o, x, y, step, n);
    else
        any_pow_row(o, x, y, step, n);
}

static void powers_of_rows(struct walk *w)
{
    u64 step = (u64)w->step[2] / 4;
    for (u64 n; (n = walk_row(w)) != 0; walk_next(w, n, 3))
        for (u64 at = 0; at < n; at += LOOK)
            pow_part((float *)w->at[0] + at, (const float *)w->at[1] + at, (const float *)w->at[2] + at * step, step,
                     n - at < LOOK ? n - at : LOOK);
}

/* `self`: 1, or 0 where there is one exponent for all. */
static void copied_powers(const void *self, f32 *o, const f32 *x, const f32 *y, u64 n)
{
    pow_part(o, x, y, *(const u64 *)self, n);
}

/* One number, and others side by side: what the plain kernels have loops for only the other way around. */
#define SINGLE_ROW(NAME, T, EXPR)                                                                                      \
    static void NAME##_single_row(T *restrict o, f32 x, const f32 *restrict b, u64 n)                                  \
    {                                                                                                                  \
        for (u64 i = 0; i < n; i++) {                                                                                  \
            f32 y = b[i];                                                                                              \
            o[i] = EXPR;                                                                                               \
        }                                                                                                              \
    }
SINGLE_ROW(add, f32, canonical(x + y))
SINGLE_ROW(sub, f32, canonical(x - y))
SINGLE_ROW(mul, f32, canonical(x *y))
SINGLE_ROW(div, f32, canonical(x / y))
SINGLE_ROW(min, f32, canonical(x < y || x != x ? x : y))
SINGLE_ROW(max, f32, canonical(x > y || x != x ? x : y))
SINGLE_ROW(eq, u8, x == y)
SINGLE_ROW(lt, u8, x < y)
SINGLE_ROW(le, u8, x <= y)

static int single_rows(struct walk *w, u64 function)
{
    if (w->step[1] != 0 || w->step[2] != 4)
        return 0;
#define CASE(OPCODE, NAME, T)                                                                                          \
    case OPCODE:                                                                                                       \
        if (w->step[0] != sizeof(T))                                                                                   \
            return 0;                                                                                                  \
        for (u64 n; (n = walk_row(w)) != 0; walk_next(w, n, 3))                                                        \
            NAME##_single_row((T *)w->at[0], *(const f32 *)w->at[1], (const f32 *)w->at[2], n);                        \
        return 1;
    switch (function) {
        CASE(BIN_ADD, add, f32)
        CASE(BIN_SUB, sub, f32)
        CASE(BIN_MUL, mul, f32)
        CASE(BIN_DIV, div, f32)
        CASE(BIN_MIN, min, f32)
        CASE(BIN_MAX, max, f32)
        CASE(BIN_EQ, eq, u8)
        CASE(BIN_LT, lt, u8)
        CASE(BIN_LE, le, u8)
    default: return 0;
    }
#undef CASE
}

int fast_binary(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u32 is_brain = r->dtype_in[0] == DT_BF16 && r->dtype_out == DT_BF16;
    if (!is_brain && r->dtype_in[0] != DT_F32)
        return 0;
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    if (is_brain)
        return brain_rows(&w, r->imm[0]);
    if (single_rows(&w, r->imm[0]))
        return 1;
    if (r->imm[0] == BIN_DIV)
        return divide_rows(&w);
    if (r->imm[0] != BIN_POW || w.step[0] != 4)
        return 0;
    if (lies_in_rows(&w, 1) && (w.step[2] == 4 || w.step[2] == 0))
        powers_of_rows(&w);
    else {
        u64 step = !fast_is_single(r, 2);
        run_copies(&w, 3, copied_powers, &step);
    }
    return 1;
}
