/* Elementary functions in vectors: the sequences of kernels/elementary.h, lane by lane.
 *
 * The plain kernels' loops of exp and its kin are vectorised by the compiler; here 2^n is multiplied on by one instruction
 * where there is one. Functions whose plain kernels branch are written without: both sides are computed, and one is taken.
 * Only sin, cos and tan keep a branch, for stretches in which an argument is so large that it needs integers. */
#include "kernels/elementary.h"
#include "exponential.h"
#include "rows.h"
#include "kernels/walk.h"

#if LANES

INLINE vec abs_vec(vec x) { return (vec)((veci)x & 0x7fffffff); }
INLINE vec copysign_vec(vec size, vec sign) { return (vec)(((veci)size & 0x7fffffff) | ((veci)sign & INT32_MIN)); }
INLINE vec sigmoid_vec(vec x)
{
    vec e = exp_vec((vec)((veci)x | INT32_MIN));
    return choose(x < 0.0f, e, splat(1.0f)) / (1.0f + e);
}

INLINE vec tanh_vec(vec x)
{
    vec a = abs_vec(x), s = x * x;
    vec p = fma_vec(splat(-0x1.82a1eap-8f), s, splat(0x1.54c95cp-6f));
    p = fma_vec(p, s, splat(-0x1.b89b7ap-5f));
    p = fma_vec(p, s, splat(0x1.1109c2p-3f));
    p = fma_vec(p, s, splat(-0x1.55553ep-2f));
    vec near = fma_vec(p * s, x, x);
    vec far = 1.0f - 2.0f / (exp_vec(a + a) + 1.0f);
    return choose(a < 0.55f, near, copysign_vec(far, x));
}

INLINE vec erf_vec(vec x)
{
    vec t = abs_vec(x), s = x * x;
    vec p = fma_vec(splat(0x1.4f675ep-14f), s, splat(-0x1.a60a2ep-11f));
    p = fma_vec(p, s, splat(0x1.544a1ap-8f));
    p = fma_vec(p, s, splat(-0x1.b8011ap-6f));
    p = fma_vec(p, s, splat(0x1.ce2d64p-4f));
    p = fma_vec(p, s, splat(-0x1.812740p-2f));
    p = fma_vec(p, s, splat(0x1.06eba8p-3f));
    vec near = fma_vec(p, x, x);
    vec c = choose(t > 4.0f, splat(4.0f), t);
    vec q = fma_vec(splat(-0x1.78d116p-17f), c, splat(0x1.52795cp-12f));
    q = fma_vec(q, c, splat(-0x1.dd6ba8p-9f));
    q = fma_vec(q, c, splat(0x1.855122p-6f));
    q = fma_vec(q, c, splat(-0x1.b32568p-4f));
    q = fma_vec(q, c, splat(-0x1.45328ep-1f));
    q = fma_vec(q, c, splat(-0x1.0778dcp-3f));
    vec far = 1.0f - exp_vec(fma_vec(q, c, -c));
    return choose(t < 0.92f, near, copysign_vec(far, x));
}

typedef void unary_row(f32 *restrict o, const f32 *restrict x, u64 n);

#define VECTOR_ROW(F)                                                                                                  \
    static void F##_row(f32 *restrict o, const f32 *restrict x, u64 n)                                                 \
    {                                                                                                                  \
        u64 i = 0;                                                                                                     \
        for (; i + LANES <= n; i += LANES)                                                                             \
            *(vec *)(o + i) = canonical_vec(F##_vec(*(const vec *)(x + i)));                                           \
        if (i < n) {                                                                                                   \
            vec rest = {0};                                                                                            \
            for (u64 j = i; j < n; j++)                                                                                \
                rest[j - i] = x[j];                                                                                    \
            rest = canonical_vec(F##_vec(rest));                                                                       \
            for (u64 j = i; j < n; j++)                                                                                \
                o[j] = rest[j - i];                                                                                    \
        }                                                                                                              \
    }
VECTOR_ROW(exp)
VECTOR_ROW(sigmoid)
VECTOR_ROW(tanh)
VECTOR_ROW(erf)

/* Without branches, one number at a time: the compiler makes vectors of these. */

INLINE f32 atan_flat(f32 x)
{
    f32 a = f32_abs(x);
    f32 y = atan_small(a > 1.0f ? 1.0f / a : x);
    return a > 1.0f ? f32_copysign(PI_HALF_HIGH - (y - PI_HALF_LOW), x) : y;
}
INLINE f32 asin_flat(f32 x)
{
    f32 a = f32_abs(x), low;
    f32 s = mul32(x, x), half = fma32(a, -0.5f, 0.5f);
    f32 near = fma32(asin_tail(s), x, x), root = asin_of_root(half > 0.0f ? half : 0.0f, &low);
    f32 far = f32_copysign(fma32(root, -2.0f, PI_HALF_HIGH) + fma32(low, -2.0f, PI_HALF_LOW), x);
    f32 y = a <= 0.5f ? near : far;
    return a <= 1.0f ? y : f32_nan();
}
INLINE f32 acos_flat(f32 x)
{
    f32 a = f32_abs(x), low;
    f32 s = mul32(x, x), half = fma32(a, -0.5f, 0.5f);
    f32 near = PI_HALF_HIGH - (fma32(asin_tail(s), x, x) - PI_HALF_LOW);
    f32 root = asin_of_root(half > 0.0f ? half : 0.0f, &low);
    f32 far = mul32(2.0f, root + low);
    far = x > 0.0f ? far : 2.0f * PI_HALF_HIGH - (far - 2.0f * PI_HALF_LOW);
    f32 y = a <= 0.5f ? near : far;
    return a <= 1.0f ? y : f32_nan();
}
INLINE f32 sinh_flat(f32 x)
{
    f32 a = f32_abs(x), s = mul32(x, x);
    f32 p = 0x1.75a6f0p-19f;
    p = fma32(p, s, 0x1.a02156p-13f);
    p = fma32(p, s, 0x1.1110e2p-7f);
    p = fma32(p, s, 0x1.555556p-3f);
    f32 near = fma32(mul32(p, s), x, x), e = exp_shifted(a, -1);
    return a < 1.0f ? near : f32_copysign(e - 0.25f / e, x);
}
INLINE f32 asinh_flat(f32 x)
{
    f32 a = f32_abs(x);
    f32 far = log32(a) + LN_2, near = log1p32(a + mul32(a, a) / (sqrt32(fma32(a, a, 1.0f)) + 1.0f));
    return f32_copysign(a > 0x1p13f ? far : near, x);
}
INLINE f32 acosh_flat(f32 x)
{
    f32 t = x - 1.0f, far = log32(x) + LN_2, square = fma32(t, t, mul32(2.0f, t));
    f32 near = log1p32(t + sqrt32(square > 0.0f ? square : 0.0f));
    f32 y = x > 0x1p13f ? far : near;
    return x >= 1.0f ? y : f32_nan();
}
INLINE f32 atanh_flat(f32 x)
{
    f32 a = f32_abs(x), inside = a < 1.0f ? a : 0.0f;
    f32 y = mul32(0.5f, log1p32(mul32(2.0f, inside) / (1.0f - inside)));
    y = a < 1.0f ? y : a == 1.0f ? f32_inf() : f32_nan();
    return f32_copysign(y, x);
}

#define FLAT_ROW(NAME, F)                                                                                              \
    static void NAME##_row(f32 *restrict o, const f32 *restrict x, u64 n)                                              \
    {                                                                                                                  \
        for (u64 i = 0; i < n; i++)                                                                                    \
            o[i] = canonical(F(x[i]));                                                                                 \
    }
FLAT_ROW(log, log32)
FLAT_ROW(softplus, softplus32)
FLAT_ROW(atan, atan_flat)
FLAT_ROW(asin, asin_flat)
FLAT_ROW(acos, acos_flat)
FLAT_ROW(sinh, sinh_flat)
FLAT_ROW(cosh, cosh32)
FLAT_ROW(asinh, asinh_flat)
FLAT_ROW(acosh, acosh_flat)
FLAT_ROW(atanh, atanh_flat)

/* From here on reduce_quadrant needs integers. */
#define LARGE 32768.0f

/* sin32, cos32 and tan32 of |x| < LARGE. */
INLINE f32 sin_near(f32 x)
{
    i32 quadrant;
    f32 r = reduce_near(x, &quadrant), sine = sin_octant(r), cosine = cos_octant(r);
    f32 y = quadrant & 1 ? cosine : sine;
    y = quadrant & 2 ? -y : y;
    return x == 0.0f ? x : y;
}
INLINE f32 cos_near(f32 x)
{
    i32 quadrant;
    f32 r = reduce_near(x, &quadrant), sine = sin_octant(r), cosine = cos_octant(r);
    f32 y = quadrant & 1 ? sine : cosine;
    return (quadrant + 1) & 2 ? -y : y;
}
INLINE f32 tan_near(f32 x)
{
    i32 quadrant;
    f32 r = reduce_near(x, &quadrant), sine = sin_octant(r), cosine = cos_octant(r);
    f32 y = quadrant & 1 ? -(cosine / sine) : sine / cosine;
    return x == 0.0f ? x : y;
}

static u32 all_near(const f32 *x, u64 n)
{
    u32 others = 0;
    for (u64 i = 0; i < n; i++)
        others |= !(f32_abs(x[i]) < LARGE);
    return !others;
}

#define CIRCULAR_ROW(NAME)                                                                                             \
    static void NAME##_near_row(f32 *restrict o, const f32 *restrict x, u64 n)                                         \
    {                                                                                                                  \
        for (u64 i = 0; i < n; i++)                                                                                    \
            o[i] = canonical(NAME##_near(x[i]));                                                                       \
    }                                                                                                                  \
    static void NAME##_row(f32 *restrict o, const f32 *restrict x, u64 n)                                              \
    {                                                                                                                  \
        for (u64 at = 0; at < n; at += LOOK) {                                                                         \
            u64 now = n - at < LOOK ? n - at : LOOK;                                                                   \
            if (all_near(x + at, now))                                                                                 \
                NAME##_near_row(o + at, x + at, now);                                                                  \
            else                                                                                                       \
                for (u64 i = at; i < at + now; i++)                                                                    \
                    o[i] = canonical(NAME##32(x[i]));                                                                  \
        }                                                                                                              \
    }
CIRCULAR_ROW(sin)
CIRCULAR_ROW(cos)
CIRCULAR_ROW(tan)

static unary_row *const rows[] = {
    [UN_EXP] = exp_row,     [UN_SIGMOID] = sigmoid_row,   [UN_TANH] = tanh_row, [UN_ERF] = erf_row,
    [UN_LOG] = log_row,     [UN_SOFTPLUS] = softplus_row, [UN_ATAN] = atan_row, [UN_ASIN] = asin_row,
    [UN_ACOS] = acos_row,   [UN_SINH] = sinh_row,         [UN_COSH] = cosh_row, [UN_ASINH] = asinh_row,
    [UN_ACOSH] = acosh_row, [UN_ATANH] = atanh_row,       [UN_SIN] = sin_row,   [UN_COS] = cos_row,
    [UN_TAN] = tan_row,
};

static void copied_unary_row(const void *self, f32 *o, const f32 *x, const f32 *y, u64 n)
{
    (void)y;
    (*(unary_row *const *)self)(o, x, n);
}

int fast_unary(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    u64 function = r->imm[0];
    if (r->dtype_in[0] != DT_F32 || function >= sizeof rows / sizeof *rows || !rows[function])
        return 0;
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
    if (w.step[0] != 4)
        return 0;
    if (lies_in_rows(&w, 1))
        for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
            rows[function]((f32 *)w.at[0], (const f32 *)w.at[1], n);
    else
        run_copies(&w, 2, copied_unary_row, &rows[function]);
    return 1;
}

#else

int fast_unary(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    (void)segment, (void)r, (void)lo, (void)hi;
    return 0;
}

#endif
