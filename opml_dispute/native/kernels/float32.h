/* Binary32 on every machine alike: fused multiply-add, the one NaN, conversions, rounding to integers.
 *
 * docs/arithmetic.md has the rules; here they are functions that host and guest compile from one source.
 * ASSUMES: -ffp-contract=off and no -ffast-math, so a + b * c rounds twice and a comparison sees NaN. */
#ifndef OPML_FLOAT32_H
#define OPML_FLOAT32_H
#include "access.h"

/* WHY NOT __builtin_nanf: on MIPS the compiler's NaN has the legacy encoding 0x7fbfffff. */
#define NAN_BITS 0x7fc00000u
#define INF_BITS 0x7f800000u
#define SIGN_BIT 0x80000000u

INLINE f32 f32_nan(void) { return f32_from_bits(NAN_BITS); }
INLINE f32 f32_inf(void) { return f32_from_bits(INF_BITS); }
INLINE f32 f32_abs(f32 x) { return f32_from_bits(f32_bits(x) & ~SIGN_BIT); }
INLINE f32 f32_copysign(f32 size, f32 sign)
{
    return f32_from_bits((f32_bits(size) & ~SIGN_BIT) | (f32_bits(sign) & SIGN_BIT));
}

/* Every NaN result is canonicalised: what a kernel stores is either a number or 0x7fc00000.
 * WHY NOT x != x ? f32_nan() : x on the host: to the compiler one NaN is as good as another, and after a square root
 * it has been seen to leave that line out. Integers it takes at their word. On the guest it may: there x is either
 * loaded, or made by an instruction that yields this NaN anyway. */
INLINE f32 canonical(f32 x)
{
#if OPML_GUEST
    return x != x ? f32_nan() : x;
#else
    u32 bits = f32_bits(x);
    return f32_from_bits((bits & ~SIGN_BIT) > INF_BITS ? NAN_BITS : bits);
#endif
}

/* The same for the direct result of +, -, *, /, sqrt or fma: the VM's own arithmetic makes only that NaN
 * (docs/vm.md, ML.3), so the guest has nothing to do. */
INLINE f32 arith(f32 x) { return OPML_GUEST ? x : canonical(x); }

/* a * b, rounded, even if it is then added to something.
 * WHY an asm on the guest: this compiler turns a * b + c into one fused instruction whatever -ffp-contract says, as long
 * as its target has one. Ours is built without (guest_flags.py, "+nomadd4"), so this is the second lock on that door:
 * nothing but the inside of an asm is safe from a compiler that knows better. */
INLINE f32 mul32(f32 a, f32 b)
{
#if OPML_GUEST
    f32 d;
    __asm__("mul.s %0, %1, %2" : "=f"(d) : "f"(a), "f"(b));
    return d;
#else
    return a * b;
#endif
}

#if OPML_GUEST
/* madd.s, as a word, with the registers that the compiler chose looked up by name: the assembler refuses the
 * instruction's name along with the compiler.
 *
 *  31    26 25   21 20   16 15   11 10    6 5      0
 * | COP1X  |  fr   |  ft   |  fs   |  fd   | funct  |   madd.s fd, fr, fs, ft: fd = fs * ft + fr, one rounding */
__asm__(".macro fused_madd d, r, s, t\n"
        "  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "    .ifc \\d, $f\\n\n .set fused_d, \\n\n .endif\n"
        "    .ifc \\r, $f\\n\n .set fused_r, \\n\n .endif\n"
        "    .ifc \\s, $f\\n\n .set fused_s, \\n\n .endif\n"
        "    .ifc \\t, $f\\n\n .set fused_t, \\n\n .endif\n"
        "  .endr\n"
        "  .word 0x4c000020 | fused_r << 21 | fused_t << 16 | fused_s << 11 | fused_d << 6\n"
        ".endm\n");
#endif

/* a * b + c, rounded once. */
INLINE f32 fma32(f32 a, f32 b, f32 c)
{
#if OPML_GUEST
    f32 d;
    __asm__("fused_madd %0, %1, %2, %3" : "=f"(d) : "f"(c), "f"(a), "f"(b));
    return d;
#elif defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    /* No such instruction (plain x86-64), and libm's function is slow and not ours. In binary64 the product
     * is exact; the sum is rounded to odd (the last bit set when inexact), so that the final rounding to
     * binary32, with 29 bits less, sees on which side of every tie the exact value lies. */
    double product = (double)a * b, sum = product + c;
    double part = sum - product;
    double error = (product - (sum - part)) + (c - part); /* exact: Knuth's TwoSum */
    union {
        double d;
        u64 u;
    } v = {.d = sum};
    u64 finite = (v.u & 0x7ff0000000000000ull) != 0x7ff0000000000000ull;
    u64 adjust = finite & (error != 0) & ~v.u & 1;
    /* Towards the exact value: away from zero if the error has the sum's sign. */
    v.u += adjust & ((error > 0) == (sum > 0));
    v.u -= adjust & ((error > 0) != (sum > 0));
    return (f32)v.d;
#endif
}

INLINE f32 sqrt32(f32 x)
{
#if OPML_GUEST
    f32 root;
    __asm__("sqrt.s %0, %1" : "=f"(root) : "f"(x));
    return root;
#else
    return __builtin_sqrtf(x);
#endif
}

/* Rounding to an integer, half to even, as a float. Adding 2^23 pushes the fraction out of the significand;
 * from 2^23 on every float is an integer (and NaN stays NaN). The sign of zero is kept. */
INLINE f32 round32(f32 x)
{
    f32 size = f32_abs(x);
    f32 rounded = (size + 0x1p23f) - 0x1p23f;
    return f32_copysign(size < 0x1p23f ? rounded : size, x);
}
INLINE f32 floor32(f32 x)
{
    f32 r = round32(x);
    return f32_copysign(r > x ? r - 1.0f : r, x);
}
INLINE f32 ceil32(f32 x)
{
    f32 r = round32(x);
    return f32_copysign(r < x ? r + 1.0f : r, x);
}
INLINE f32 trunc32(f32 x)
{
    f32 size = f32_abs(x), r = round32(size);
    return f32_copysign(r > size ? r - 1.0f : r, x);
}

/* A 32-bit integer to binary32, half to even.
 * WHY NOT a plain cast on the guest: the compiler widens it to 64 bits when it pleases, and calls a library. */
INLINE f32 f32_from_i32(i32 x)
{
#if OPML_GUEST
    f32 converted;
    __asm__("mtc1 %1, %0\n\tcvt.s.w %0, %0" : "=f"(converted) : "r"(x));
    return converted;
#else
    return (f32)x;
#endif
}

/* 64-bit integers to binary32, half to even. The guest's FPU converts 32-bit integers only, so it first
 * squeezes the integer into 31 bits, the dropped ones or-ed into the last ("sticky"): as in fma32, rounding
 * to 24 bits then falls to the right side of every tie. */
INLINE f32 f32_from_u64(u64 x)
{
#if OPML_GUEST
    unsigned length = x ? 64 - (unsigned)__builtin_clzll(x) : 0, shift = length > 30 ? length - 30 : 0;
    u64 kept = x >> shift;
    kept |= (kept << shift) != x;
    return mul32(f32_from_i32((i32)kept), f32_from_bits((127u + shift) << 23));
#else
    return (f32)x;
#endif
}
INLINE f32 f32_from_i64(i64 x)
{
#if OPML_GUEST
    return x < 0 ? -f32_from_u64(0 - (u64)x) : f32_from_u64((u64)x);
#else
    return (f32)x;
#endif
}

/* Binary32 to 64-bit integers: truncates, saturates, NaN becomes 0. From the bits, so that the answer is the
 * same on every machine (instructions differ outside the range). */
INLINE u64 magnitude_of(f32 x)
{
    u32 bits = f32_bits(x) & ~SIGN_BIT;
    i32 exponent = (i32)(bits >> 23) - 150;
    u64 significand = (bits & 0x7fffffu) | 0x800000u;
    if (exponent >= 41) /* 2^64 and more */
        return bits > INF_BITS ? 0 : ~0ull;
    if (exponent >= 0)
        return significand << exponent;
    return exponent > -24 ? significand >> -exponent : 0;
}
INLINE i64 i64_from_f32(f32 x)
{
    u64 size = magnitude_of(x);
    if (f32_bits(x) & SIGN_BIT)
        return size >= 1ull << 63 ? INT64_MIN : -(i64)size;
    return size >= 1ull << 63 ? INT64_MAX : (i64)size;
}
INLINE u64 u64_from_f32(f32 x) { return f32_bits(x) & SIGN_BIT ? 0 : magnitude_of(x); }

/* Whether the processor converts binary16 itself, rounding as its mode says, which is ours (float_mode.h). A NaN's payload
 * may come out otherwise than below; no kernel looks at it. */
#if !OPML_GUEST && (defined(__F16C__) || defined(__aarch64__))
#define OPML_HALF_INSTRUCTIONS 1
#else
#define OPML_HALF_INSTRUCTIONS 0
#endif

/* binary16 and bfloat16 are storage formats: widened exactly, computed in binary32, rounded half to even. */
INLINE f32 f32_from_f16(u16 h)
{
#if OPML_HALF_INSTRUCTIONS
    union {
        u16 u;
        _Float16 f;
    } v = {.u = h};
    return v.f;
#endif
    u32 sign = (u32)(h & 0x8000) << 16, rest = h & 0x7fffu;
    if (rest >= 0x7c00)
        return f32_from_bits(sign | INF_BITS | (rest & 0x3ff) << 13);
    if (rest >= 0x0400)
        return f32_from_bits(sign | ((rest << 13) + (112u << 23)));
    /* Zero and subnormals are multiples of 2^-24. */
    return f32_from_bits(sign | f32_bits(mul32(f32_from_i32((i32)rest), 0x1p-24f)));
}
INLINE u16 f16_from_f32(f32 x)
{
#if OPML_HALF_INSTRUCTIONS
    union {
        _Float16 f;
        u16 u;
    } v = {.f = (_Float16)x};
    return x != x ? 0x7e00 : v.u;
#endif
    u32 bits = f32_bits(x), sign = bits >> 16 & 0x8000, rest = bits & ~SIGN_BIT;
    if (rest > INF_BITS)
        return 0x7e00;
    if (rest >= 0x477ff000u) /* 65520: the middle between the largest number and the next, if there were one */
        return (u16)(sign | 0x7c00);
    if (rest >= 0x38800000u) /* 2^-14: a normal binary16 */
        return (u16)(sign | (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13);
    /* Below: adding 2^-1 * 1.0 leaves multiples of 2^-24 in the significand, rounded half to even. */
    return (u16)(sign | (f32_bits(f32_from_bits(rest) + 0.5f) - f32_bits(0.5f)));
}
INLINE f32 f32_from_bf16(u16 h) { return f32_from_bits((u32)h << 16); }
INLINE u16 bf16_from_f32(f32 x)
{
    u32 bits = f32_bits(x);
    if ((bits & ~SIGN_BIT) > INF_BITS)
        return 0x7fc0;
    return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
