/* exp, log, sin, ... as fixed sequences of binary32 operations: the same bits on every machine.
 *
 * Never libm: two libraries differ in the last bit, and then two honest people would disagree about S_t.
 * Coefficients are minimax fits rounded to binary32. Each function states its error, in units in the last
 * place of the correctly rounded result, as tests/kernels/test_elementary.py measures it over all exponents.
 * Results are not canonical yet: the caller stores canonical(f(x)).
 *
 * A product that becomes a term of a sum is written mul32 (float32.h says why).
 *
 * exp, log, tanh, erf, sigmoid, softplus are free of branches, so that the host computes 4 to 16 at a time. */
#ifndef OPML_ELEMENTARY_H
#define OPML_ELEMENTARY_H
#include "float32.h"

/* 2^n for -126 <= n <= 127. */
INLINE f32 power_of_two(i32 n) { return f32_from_bits((u32)(n + 127) << 23); }

/* e^x * 2^shift for -2 <= shift <= 24.   1.0 ulp; exact at 0; overflows to infinity, underflows gradually to 0.
 * x = n ln 2 + r, |r| <= ln(2)/2: a polynomial gives e^r, and 2^n goes on in two factors so that only the
 * last multiplication can round (a subnormal) or overflow. */
INLINE f32 exp_shifted(f32 x, i32 shift)
{
    x = x > 90.0f ? 90.0f : x;
    x = x < -105.0f ? -105.0f : x;
    f32 shifted = fma32(x, 0x1.715476p+0f, 0x1.8p+23f); /* n sits in the low bits of the significand */
    f32 n = shifted - 0x1.8p+23f;
    f32 r = fma32(n, -0x1.62e400p-1f, x); /* ln 2 in two parts; the first product is exact */
    r = fma32(n, -0x1.7f7d1cp-20f, r);
    f32 p = 0x1.a250cap-13f;
    p = fma32(p, r, 0x1.6d4cd0p-10f);
    p = fma32(p, r, 0x1.110ffep-7f);
    p = fma32(p, r, 0x1.5554e8p-5f);
    p = fma32(p, r, 0x1.555556p-3f);
    p = fma32(p, r, 0.5f);
    p = fma32(p, mul32(r, r), r) + 1.0f;
    i32 power = (i32)(f32_bits(shifted) - 0x4b400000u) + shift;
    power = x != x ? 0 : power; /* NaN's bits are no number; p is NaN already */
    i32 half = power >> 1;
    return mul32(mul32(p, power_of_two(half)), power_of_two(power - half));
}
INLINE f32 exp32(f32 x) { return exp_shifted(x, 0); }

/* ln x.   0.9 ulp.   ln 0 = -inf, ln of a negative number = NaN.
 * x = 2^e m with m in [2/3, 4/3): ln x = e ln 2 + ln(1 + (m - 1)). */
INLINE f32 log32(f32 x)
{
    f32 scaled = x < 0x1p-126f ? mul32(x, 0x1p23f) : x; /* a subnormal becomes normal */
    f32 e = x < 0x1p-126f ? -23.0f : 0.0f;
    u32 bits = f32_bits(scaled);
    i32 offset = (i32)(bits - 0x3f2aaaabu) & (i32)0xff800000;
    f32 m = f32_from_bits(bits - (u32)offset);
    e = e + f32_from_i32(offset >> 23);
    f32 f = m - 1.0f, s = mul32(f, f);
    f32 p = -0x1.07e5f4p-3f;
    p = fma32(p, f, 0x1.1e73a0p-3f);
    p = fma32(p, f, -0x1.f32078p-4f);
    p = fma32(p, f, 0x1.1ed424p-3f);
    p = fma32(p, f, -0x1.559d36p-3f);
    p = fma32(p, f, 0x1.99d05ep-3f);
    p = fma32(p, f, -0x1.fffef4p-3f);
    p = fma32(p, f, 0x1.555506p-2f);
    p = fma32(p, f, -0.5f);
    f32 low = fma32(e, 0x1.7f7d1cp-20f, mul32(p, s)); /* small terms first */
    f32 y = fma32(e, 0x1.62e400p-1f, f + low);
    y = x > 0.0f ? y : f32_nan();
    y = x == 0.0f ? -f32_inf() : y;
    return x == f32_inf() ? x : y;
}

/* ln(1 + x) for x > -1/2.   1.5 ulp.   1 + x is rounded; what rounding lost is put back to first order. */
INLINE f32 log1p32(f32 x)
{
    f32 u = 1.0f + x;
    f32 lost = x - (u - 1.0f);
    f32 y = log32(u) + lost / u;
    y = u == 1.0f ? x : y;
    return x == f32_inf() ? x : y;
}

/* tanh x.   1.5 ulp. */
INLINE f32 tanh32(f32 x)
{
    f32 a = f32_abs(x), s = mul32(x, x);
    f32 p = -0x1.82a1eap-8f;
    p = fma32(p, s, 0x1.54c95cp-6f);
    p = fma32(p, s, -0x1.b89b7ap-5f);
    p = fma32(p, s, 0x1.1109c2p-3f);
    p = fma32(p, s, -0x1.55553ep-2f);
    f32 near = fma32(mul32(p, s), x, x);
    f32 far = 1.0f - 2.0f / (exp32(a + a) + 1.0f);
    return a < 0.55f ? near : f32_copysign(far, x);
}

/* 1 / (1 + e^-x).   2.4 ulp.   From e^-|x|, which cannot overflow. */
INLINE f32 sigmoid32(f32 x)
{
    f32 e = exp32(-f32_abs(x));
    f32 numerator = x < 0.0f ? e : 1.0f;
    return numerator / (1.0f + e);
}

/* ln(1 + e^x).   2.0 ulp. */
INLINE f32 softplus32(f32 x)
{
    f32 y = log1p32(exp32(-f32_abs(x)));
    return y + (x > 0.0f ? x : 0.0f);
}

/* erf x.   1.0 ulp.   Below 0.92 an odd polynomial; above, 1 - e^q(x) with q fitted to ln erfc. */
INLINE f32 erf32(f32 x)
{
    f32 t = f32_abs(x), s = mul32(x, x);
    f32 p = 0x1.4f675ep-14f;
    p = fma32(p, s, -0x1.a60a2ep-11f);
    p = fma32(p, s, 0x1.544a1ap-8f);
    p = fma32(p, s, -0x1.b8011ap-6f);
    p = fma32(p, s, 0x1.ce2d64p-4f);
    p = fma32(p, s, -0x1.812740p-2f);
    p = fma32(p, s, 0x1.06eba8p-3f);
    f32 near = fma32(p, x, x);
    f32 c = t > 4.0f ? 4.0f : t; /* erf is 1 to the last bit from 3.92 on */
    f32 q = -0x1.78d116p-17f;
    q = fma32(q, c, 0x1.52795cp-12f);
    q = fma32(q, c, -0x1.dd6ba8p-9f);
    q = fma32(q, c, 0x1.855122p-6f);
    q = fma32(q, c, -0x1.b32568p-4f);
    q = fma32(q, c, -0x1.45328ep-1f);
    q = fma32(q, c, -0x1.0778dcp-3f);
    f32 far = 1.0f - exp32(fma32(q, c, -c));
    return t < 0.92f ? near : f32_copysign(far, x);
}

/* x = quadrant * pi/2 + result, |result| <= pi/4 (a little more at the seams); |x| < 32768.
 * pi/2 in three parts; k * first is exact. */
INLINE f32 reduce_near(f32 x, i32 *quadrant)
{
    f32 shifted = fma32(x, 0x1.45f306p-1f, 0x1.8p+23f);
    f32 k = shifted - 0x1.8p+23f;
    *quadrant = (i32)(f32_bits(shifted) - 0x4b400000u);
    f32 near = fma32(k, -0x1.921fb0p+0f, x);
    f32 second = mul32(k, 0x1.5110b4p-22f);
    f32 r = near - second;
    /* What the last two lines rounded away: it counts where little is left. */
    f32 lost = (near - r) - second - fma32(k, 0x1.5110b4p-22f, -second);
    return r + fma32(k, -0x1.84698ap-48f, lost);
}

/* The same for every finite x. *quadrant is known modulo 4 only. */
static inline f32 reduce_quadrant(f32 x, i32 *quadrant)
{
    f32 size = f32_abs(x);
    if (size < 32768.0f)
        return reduce_near(x, quadrant);
    /* Payne and Hanek: x = significand * 2^shift, and of 2/pi only 96 bits matter: those above turn whole
     * circles, those below are too small. */
    static const u32 two_over_pi[8] = {0x00000000u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u,
                                       0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu};
    u32 bits = f32_bits(size);
    u32 significand = (bits & 0x7fffffu) | 0x800000u;
    u32 shift = (bits >> 23) - 150 + 30; /* skip so many bits of the table: a window of weights 2^1 .. 2^-94 */
    u32 word = shift >> 5, within = shift & 31;
    u32 window[3];
    for (u32 i = 0; i < 3; i++)
        window[i] = within ? two_over_pi[word + i] << within | two_over_pi[word + i + 1] >> (32 - within)
                           : two_over_pi[word + i];
    u64 low = (u64)significand * window[2];
    u64 middle = (u64)significand * window[1] + (low >> 32);
    u32 high = (u32)((u64)significand * window[0] + (middle >> 32));
    u64 fraction = (u64)high << 34 | (u64)(u32)middle << 2 | (u32)low >> 30;
    u32 turns = high >> 30;
    u32 negative = 0;
    if (fraction >> 63) { /* nearer to the next quadrant */
        turns++;
        fraction = 0 - fraction;
        negative = 1;
    }
    /* fraction * 2^-64 * pi/2, from its leading 30 and next 30 bits. */
    i32 zeros = fraction ? __builtin_clzll(fraction) : 63;
    fraction <<= zeros;
    f32 top = f32_from_i32((i32)(fraction >> 40)), rest = f32_from_i32((i32)(fraction >> 16 & 0xffffff));
    f32 r = fma32(top, 0x1.921fb6p+0f, fma32(top, -0x1.777a5cp-25f, mul32(rest, 0x1.921fb6p-24f)));
    r = mul32(r, power_of_two(-24 - zeros));
    if (f32_bits(x) & SIGN_BIT) {
        turns = 0 - turns;
        negative ^= 1;
    }
    *quadrant = (i32)turns;
    return negative ? -r : r;
}

/* sin and cos for |r| <= pi/4. */
INLINE f32 sin_octant(f32 r)
{
    f32 s = mul32(r, r);
    f32 p = 0x1.7cd82cp-19f;
    p = fma32(p, s, -0x1.a05bbap-13f);
    p = fma32(p, s, 0x1.111176p-7f);
    p = fma32(p, s, -0x1.555556p-3f);
    return fma32(mul32(p, s), r, r);
}
INLINE f32 cos_octant(f32 r)
{
    f32 s = mul32(r, r);
    f32 p = -0x1.37242ap-22f;
    p = fma32(p, s, 0x1.a075e8p-16f);
    p = fma32(p, s, -0x1.6c1762p-10f);
    p = fma32(p, s, 0x1.555556p-5f);
    p = fma32(p, s, -0.5f);
    return fma32(p, s, 1.0f);
}

/* sin x, cos x, tan x for every finite x; NaN for infinities.   1.5, 1.5 and 3.2 ulp. */
static inline f32 sin32(f32 x)
{
    if (!(f32_abs(x) < f32_inf()))
        return f32_nan();
    i32 quadrant;
    f32 r = reduce_quadrant(x, &quadrant);
    f32 y = quadrant & 1 ? cos_octant(r) : sin_octant(r);
    y = quadrant & 2 ? -y : y;
    return x == 0.0f ? x : y; /* keeps -0 */
}
static inline f32 cos32(f32 x)
{
    if (!(f32_abs(x) < f32_inf()))
        return f32_nan();
    i32 quadrant;
    f32 r = reduce_quadrant(x, &quadrant);
    f32 y = quadrant & 1 ? sin_octant(r) : cos_octant(r);
    return (quadrant + 1) & 2 ? -y : y;
}
static inline f32 tan32(f32 x)
{
    if (!(f32_abs(x) < f32_inf()))
        return f32_nan();
    i32 quadrant;
    f32 r = reduce_quadrant(x, &quadrant);
    f32 sine = sin_octant(r), cosine = cos_octant(r);
    f32 y = quadrant & 1 ? -(cosine / sine) : sine / cosine;
    return x == 0.0f ? x : y;
}

/* (asin x - x) / x for |x| <= 1/2, as a polynomial of s = x * x. */
INLINE f32 asin_tail(f32 s)
{
    f32 p = 0x1.34433ap-5f;
    p = fma32(p, s, 0x1.d66858p-7f);
    p = fma32(p, s, 0x1.04c116p-5f);
    p = fma32(p, s, 0x1.6ca8eap-5f);
    p = fma32(p, s, 0x1.3338a6p-4f);
    p = fma32(p, s, 0x1.55554cp-3f);
    return mul32(p, s);
}
#define PI_HALF_HIGH 0x1.921fb6p+0f
#define PI_HALF_LOW  (-0x1.777a5cp-25f)

/* asin of the square root of s, s in [0, 1/4], as an unevaluated sum root + *low. */
INLINE f32 asin_of_root(f32 s, f32 *low)
{
    f32 root = sqrt32(s);
    f32 lost = root > 0.0f ? fma32(root, -root, s) / (root + root) : 0.0f;
    *low = fma32(asin_tail(s), root, lost);
    return root;
}

/* asin x and acos x; NaN outside [-1, 1].   1.6 and 1.0 ulp.   asin x = pi/2 - 2 asin(sqrt((1 - x) / 2)). */
static inline f32 asin32(f32 x)
{
    f32 a = f32_abs(x), low;
    if (!(a <= 1.0f))
        return f32_nan();
    if (a <= 0.5f)
        return fma32(asin_tail(mul32(x, x)), x, x);
    f32 root = asin_of_root(fma32(a, -0.5f, 0.5f), &low);
    return f32_copysign(fma32(root, -2.0f, PI_HALF_HIGH) + fma32(low, -2.0f, PI_HALF_LOW), x);
}
static inline f32 acos32(f32 x)
{
    f32 a = f32_abs(x), low;
    if (!(a <= 1.0f))
        return f32_nan();
    if (a <= 0.5f)
        return PI_HALF_HIGH - (fma32(asin_tail(mul32(x, x)), x, x) - PI_HALF_LOW);
    f32 root = asin_of_root(fma32(a, -0.5f, 0.5f), &low);
    f32 y = mul32(2.0f, root + low);
    return x > 0.0f ? y : 2.0f * PI_HALF_HIGH - (y - 2.0f * PI_HALF_LOW);
}

/* atan x for |x| <= 1. */
INLINE f32 atan_small(f32 x)
{
    f32 s = mul32(x, x);
    f32 p = -0x1.d5581ap-10f;
    p = fma32(p, s, 0x1.652948p-7f);
    p = fma32(p, s, -0x1.fe581cp-6f);
    p = fma32(p, s, 0x1.da8a34p-5f);
    p = fma32(p, s, -0x1.5820f8p-4f);
    p = fma32(p, s, 0x1.c092dep-4f);
    p = fma32(p, s, -0x1.2420fap-3f);
    p = fma32(p, s, 0x1.9991eap-3f);
    p = fma32(p, s, -0x1.55553ep-2f);
    return fma32(mul32(p, s), x, x);
}
/* atan x.   1.5 ulp. */
static inline f32 atan32(f32 x)
{
    f32 a = f32_abs(x);
    if (!(a > 1.0f))
        return atan_small(x);
    f32 y = atan_small(1.0f / a);
    return f32_copysign(PI_HALF_HIGH - (y - PI_HALF_LOW), x);
}
/* The angle of the point (x, y), in (-pi, pi].   1.5 ulp.   Signed zeros and infinities as in C's atan2. */
static inline f32 atan2_32(f32 y, f32 x)
{
    if (y != y || x != x)
        return f32_nan();
    f32 ay = f32_abs(y), ax = f32_abs(x);
    f32 small = ay < ax ? ay : ax, large = ay < ax ? ax : ay;
    f32 ratio = large == 0.0f ? 0.0f : small == f32_inf() ? 1.0f : small / large;
    f32 angle = atan_small(ratio);
    if (ay > ax)
        angle = PI_HALF_HIGH - (angle - PI_HALF_LOW);
    if (f32_bits(x) & SIGN_BIT)
        angle = 2.0f * PI_HALF_HIGH - (angle - 2.0f * PI_HALF_LOW);
    return f32_copysign(angle, y);
}

/* sinh x and cosh x.   1.6 and 1.5 ulp.   From e^|x| / 2, which overflows only where the result does. */
static inline f32 sinh32(f32 x)
{
    f32 a = f32_abs(x);
    if (a < 1.0f) {
        f32 s = mul32(x, x);
        f32 p = 0x1.75a6f0p-19f;
        p = fma32(p, s, 0x1.a02156p-13f);
        p = fma32(p, s, 0x1.1110e2p-7f);
        p = fma32(p, s, 0x1.555556p-3f);
        return fma32(mul32(p, s), x, x);
    }
    f32 e = exp_shifted(a, -1);
    return f32_copysign(e - 0.25f / e, x);
}
static inline f32 cosh32(f32 x)
{
    f32 e = exp_shifted(f32_abs(x), -1);
    return e + 0.25f / e;
}

#define LN_2 0x1.62e430p-1f

/* asinh, acosh, atanh.   2.0, 2.1, 2.4 ulp. */
static inline f32 asinh32(f32 x)
{
    f32 a = f32_abs(x);
    f32 y = a > 0x1p13f ? log32(a) + LN_2 : log1p32(a + mul32(a, a) / (sqrt32(fma32(a, a, 1.0f)) + 1.0f));
    return f32_copysign(y, x);
}
static inline f32 acosh32(f32 x)
{
    if (!(x >= 1.0f))
        return f32_nan();
    if (x > 0x1p13f)
        return log32(x) + LN_2;
    f32 t = x - 1.0f;
    return log1p32(t + sqrt32(fma32(t, t, mul32(2.0f, t))));
}
static inline f32 atanh32(f32 x)
{
    f32 a = f32_abs(x);
    if (!(a < 1.0f))
        return a == 1.0f ? f32_copysign(f32_inf(), x) : f32_nan();
    return f32_copysign(mul32(0.5f, log1p32(mul32(2.0f, a) / (1.0f - a))), x);
}

/* x^y for x > 0, both finite, x != 1.   ln x as an unevaluated sum high + low (about 40 bits). */
static inline f32 pow_positive(f32 x, f32 y)
{
    f32 e = 0.0f;
    if (x < 0x1p-126f) {
        x = mul32(x, 0x1p23f);
        e = -23.0f;
    }
    u32 bits = f32_bits(x);
    i32 offset = (i32)(bits - 0x3f3504f3u) & (i32)0xff800000; /* m in [sqrt(1/2), sqrt(2)) */
    f32 m = f32_from_bits(bits - (u32)offset);
    e = e + f32_from_i32(offset >> 23);
    /* q = (m - 1) / (m + 1) = q_high + q_low; ln m = 2 atanh q. */
    f32 above = m - 1.0f, sum = m + 1.0f, inverse = 1.0f / sum;
    f32 q_high = mul32(above, inverse);
    f32 sum_low = m - (sum - 1.0f); /* m + 1 = sum + sum_low exactly */
    f32 remainder = fma32(q_high, -sum, above);
    f32 q_low = mul32(inverse, fma32(q_high, -sum_low, remainder));
    f32 s = mul32(q_high, q_high);
    f32 s_low = fma32(q_high, q_low + q_low, fma32(q_high, q_high, -s));
    f32 cube = mul32(s, q_high);
    f32 cube_low = fma32(s, q_low, fma32(s_low, q_high, fma32(s, q_high, -cube)));
    f32 p = 0x1.2620f8p-2f;
    p = fma32(p, s, 0x1.8e8ed6p-4f);
    p = fma32(p, s, 0x1.254404p-3f);
    p = fma32(p, s, 0x1.9997e0p-3f);
    p = fma32(p, s, 0x1.555556p-2f);
    f32 tail = fma32(p, cube, fma32(p, cube_low, q_low));
    /* Half of ln x = e (ln 2)/2 + q_high + tail, summed without loss: e times the 13-bit part is exact. */
    f32 big = mul32(e, 0x1.62e000p-2f);
    f32 total = big + q_high;
    f32 part = total - big;
    f32 lost = (big - (total - part)) + (q_high - part); /* exact: TwoSum */
    lost = fma32(e, 0x1.0bfbe8p-16f, lost + tail);
    f32 log_high = mul32(2.0f, total + lost);
    f32 log_low = mul32(2.0f, lost - (mul32(0.5f, log_high) - total));
    f32 product = mul32(log_high, y);
    if (!(f32_abs(product) < 200.0f))
        return exp32(product);
    f32 product_low = fma32(log_high, y, -product);
    product_low = fma32(log_low, y, product_low);
    /* e^product at another scale, until the low part is in: it must neither overflow nor lose bits before. */
    u32 grows = product > 0.0f;
    f32 power = exp_shifted(product, grows ? -2 : 24);
    return mul32(fma32(power, product_low, power), grows ? 4.0f : 0x1p-24f);
}

/* x^y.   2.0 ulp.   Special cases as in C's pow: pow(x, 0) = pow(1, y) = 1 even for NaN. */
static inline f32 pow32(f32 x, f32 y)
{
    if (x == 1.0f || y == 0.0f)
        return 1.0f;
    if (x != x || y != y)
        return f32_nan();
    f32 size = f32_abs(x), y_size = f32_abs(y);
    if (y_size == f32_inf()) {
        if (size == 1.0f)
            return 1.0f;
        return (size > 1.0f) == (y > 0.0f) ? f32_inf() : 0.0f;
    }
    /* From 2^24 on every float is an even integer. */
    u32 whole = y_size >= 0x1p24f || round32(y_size) == y_size;
    u32 odd = whole && y_size < 0x1p24f && ((i32)y_size & 1);
    f32 power;
    if (size == 0.0f || size == f32_inf())
        power = (size == 0.0f) == (y < 0.0f) ? f32_inf() : 0.0f;
    else if (x < 0.0f && !whole)
        return f32_nan();
    else if (size == 1.0f)
        power = 1.0f;
    else
        power = pow_positive(size, y);
    return odd && (f32_bits(x) & SIGN_BIT) ? -power : power;
}

/* What is left of x after subtracting y as often as it fits (C's fmod): exact, has the sign of x.
 * Significands are divided 32 bits of quotient at a time. */
static inline f32 fmod32(f32 x, f32 y)
{
    u32 x_bits = f32_bits(x) & ~SIGN_BIT, y_bits = f32_bits(y) & ~SIGN_BIT;
    if (x_bits >= INF_BITS || y_bits > INF_BITS || y_bits == 0)
        return f32_nan();
    if (x_bits < y_bits)
        return x;
    i32 x_exponent = (i32)(x_bits >> 23), y_exponent = (i32)(y_bits >> 23);
    u64 rest = x_exponent ? (x_bits & 0x7fffffu) | 0x800000u : x_bits & 0x7fffffu;
    u64 divisor = y_exponent ? (y_bits & 0x7fffffu) | 0x800000u : y_bits & 0x7fffffu;
    x_exponent += !x_exponent;
    y_exponent += !y_exponent;
    i32 places = x_exponent - y_exponent;
    rest %= divisor;
    while (places > 0 && rest) {
        i32 now = places < 32 ? places : 32;
        rest = (rest << now) % divisor;
        places -= now;
    }
    /* rest * 2^(y_exponent - 150) has at most 24 bits: exact, subnormal or not. */
    f32 value = f32_from_i32((i32)rest);
    i32 power = y_exponent - 150;
    value = power < -126 ? mul32(mul32(value, 0x1p-24f), power_of_two(power + 24)) : mul32(value, power_of_two(power));
    return f32_copysign(value, x);
}

/* x modulo y with the sign of y (Python's %): fmod, moved by y if the signs differ. */
static inline f32 mod32(f32 x, f32 y)
{
    f32 rest = fmod32(x, y);
    if (rest == 0.0f)
        return f32_copysign(rest, y);
    return (rest < 0.0f) != (y < 0.0f) ? rest + y : rest;
}

#endif
