/* Single-precision arithmetic of the ML extension, on bits. Twin: contracts/src/vm/Fpu.sol; docs/vm.md, ML.3 to ML.8.
 *
 * ASSUMES: host float is IEEE binary32, and the host rounds to nearest even and keeps subnormals while these run
 * (float_mode.h); the build fuses nothing (-ffp-contract=off). */
#ifndef OPML_FPU_H
#define OPML_FPU_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FPU_NAN             0x7fc00000u
#define FPU_SIGN            0x80000000u
#define FPU_INTEGER_INVALID 0x7fffffffu /* what a float too large for 32-bit integers, an infinity or NaN becomes */
#define FCSR_MASK           0xfe800000u /* FCC[0] is bit 23, FCC[1..7] are bits 25..31 */

static inline float fpu_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline uint32_t fpu_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* Every NaN result is canonicalised to 0x7fc00000. */
static inline uint32_t fpu_result(float x) { return x != x ? FPU_NAN : fpu_bits(x); }

static inline uint32_t fpu_add(uint32_t a, uint32_t b) { return fpu_result(fpu_float(a) + fpu_float(b)); }

static inline uint32_t fpu_sub(uint32_t a, uint32_t b) { return fpu_result(fpu_float(a) - fpu_float(b)); }

static inline uint32_t fpu_mul(uint32_t a, uint32_t b) { return fpu_result(fpu_float(a) * fpu_float(b)); }

static inline uint32_t fpu_div(uint32_t a, uint32_t b) { return fpu_result(fpu_float(a) / fpu_float(b)); }

static inline uint32_t fpu_sqrt(uint32_t a) { return fpu_result(__builtin_sqrtf(fpu_float(a))); }

/* a * b + c, rounded once. */
static inline uint32_t fpu_fused_multiply_add(uint32_t a, uint32_t b, uint32_t c)
{
    return fpu_result(fmaf(fpu_float(a), fpu_float(b), fpu_float(c)));
}

/* -a, unless it is a NaN. */
static inline uint32_t fpu_negate_number(uint32_t a) { return a == FPU_NAN ? FPU_NAN : a ^ FPU_SIGN; }

/* The float nearest to a signed 32-bit integer. */
static inline uint32_t fpu_from_int(uint32_t a) { return fpu_bits((float)(int32_t)a); }

enum fpu_rounding { FPU_NEAREST, FPU_TRUNCATE, FPU_CEIL, FPU_FLOOR };

/* A float as a signed 32-bit integer; FPU_INTEGER_INVALID if it is none, or too large. */
uint32_t fpu_to_int(uint32_t a, enum fpu_rounding rounding);

/* Whether a and b are as `condition`, c.cond.s's funct, says: bit 0 unordered, bit 1 equal, bit 2 less. */
static inline bool fpu_compare(uint32_t a, uint32_t b, unsigned condition)
{
    float x = fpu_float(a), y = fpu_float(b);
    unsigned holds = (unsigned)(x != x || y != y) | (unsigned)(x == y) << 1 | (unsigned)(x < y) << 2;
    return (holds & condition) != 0;
}

/* Where condition code `code` stands in FCSR. */
static inline uint32_t condition_bit(unsigned code) { return 1u << (code == 0 ? 23 : 24 + code); }

static inline bool fcc(uint32_t fcsr, unsigned code) { return (fcsr & condition_bit(code)) != 0; }

static inline uint32_t fcc_set(uint32_t fcsr, unsigned code, bool value)
{
    return value ? fcsr | condition_bit(code) : fcsr & ~condition_bit(code);
}

#endif
