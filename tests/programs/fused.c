/* The four fused operations, one rounding each, on operands for which a second rounding would show: random ones, near
 * cancellation, subnormal results. Also the benchmark's contraction: out = a * b, k ascending. */
#include "program.h"

#ifdef __mips__
/* Written as words, with the registers that the compiler chose looked up by name: the programs are built without these
 * instructions (build.py says why), so the assembler would refuse them. */
__asm__(".macro fused word, d, r, s, t\n"
        "  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "    .ifc \\d, $f\\n\n .set fused_d, \\n\n .endif\n"
        "    .ifc \\r, $f\\n\n .set fused_r, \\n\n .endif\n"
        "    .ifc \\s, $f\\n\n .set fused_s, \\n\n .endif\n"
        "    .ifc \\t, $f\\n\n .set fused_t, \\n\n .endif\n"
        "  .endr\n"
        "  .word \\word | fused_r << 21 | fused_t << 16 | fused_s << 11 | fused_d << 6\n"
        ".endm\n");
#define FUSED(name, word)                                                                                              \
    static inline float name(float a, float b, float c)                                                                \
    {                                                                                                                  \
        float result;                                                                                                  \
        __asm__("fused " #word ", %0, %1, %2, %3" : "=f"(result) : "f"(c), "f"(a), "f"(b));                            \
        return result;                                                                                                 \
    }
FUSED(madd, 0x4c000020)
FUSED(msub, 0x4c000028)
FUSED(nmadd, 0x4c000030)
FUSED(nmsub, 0x4c000038)
#else
static float madd(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static float msub(float a, float b, float c) { return __builtin_fmaf(a, b, -c); }
static float nmadd(float a, float b, float c) { return -__builtin_fmaf(a, b, c); }
static float nmsub(float a, float b, float c) { return -__builtin_fmaf(a, b, -c); }
#endif

static float of_bits(uint32_t bits)
{
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}

static uint64_t bits_of(float x)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    return bits;
}

/* Any finite float; every exponent as likely. */
static float any_finite(uint64_t *random)
{
    uint32_t bits = (uint32_t)next_random(random);
    return of_bits((bits & 0x7f800000) == 0x7f800000 ? bits & 0xbfffffff : bits);
}

/* Between 1 and 2, or its negative. */
static float near_one(uint64_t *random) { return of_bits(((uint32_t)next_random(random) & 0x807fffff) | 0x3f800000); }

static uint64_t all_four(float a, float b, float c)
{
    uint64_t digest = fold(0, bits_of(madd(a, b, c)));
    digest = fold(digest, bits_of(msub(a, b, c)));
    digest = fold(digest, bits_of(nmadd(a, b, c)));
    return fold(digest, bits_of(nmsub(a, b, c)));
}

static uint64_t scattered(void)
{
    uint64_t random = 8, digest = 0;
    for (unsigned i = 0; i < 2000; i++) {
        float a = any_finite(&random), b = any_finite(&random), c = any_finite(&random);
        digest = fold(digest, all_four(a, b, c));
        float x = near_one(&random), y = near_one(&random);
        digest = fold(digest, all_four(x, y, -(x * y))); /* what is left is the product's rounding error */
        digest = fold(digest, all_four(x, of_bits(0x00800000), of_bits(0x80800000)));
    }
    return digest;
}

enum { ROWS = 16, COLUMNS = 16, DEPTH = 64 };

static uint64_t contraction(void)
{
    static float a[ROWS][DEPTH], b[DEPTH][COLUMNS], out[ROWS][COLUMNS];
    uint64_t random = 9, digest = 0;
    for (unsigned k = 0; k < DEPTH; k++) {
        for (unsigned m = 0; m < ROWS; m++)
            a[m][k] = near_one(&random);
        for (unsigned n = 0; n < COLUMNS; n++)
            b[k][n] = near_one(&random);
    }
    for (unsigned round = 0; round < SCALE; round++) {
        for (unsigned m = 0; m < ROWS; m++)
            for (unsigned n = 0; n < COLUMNS; n += 4) { /* four accumulators, as the guest's kernel has */
                float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
                for (unsigned k = 0; k < DEPTH; k++) {
                    float left = a[m][k];
                    const float *right = &b[k][n];
                    sum0 = madd(left, right[0], sum0);
                    sum1 = madd(left, right[1], sum1);
                    sum2 = madd(left, right[2], sum2);
                    sum3 = madd(left, right[3], sum3);
                }
                out[m][n] = sum0, out[m][n + 1] = sum1, out[m][n + 2] = sum2, out[m][n + 3] = sum3;
            }
        a[0][round % DEPTH] = out[1][1] / 1024.0f; /* so that no round is like the one before */
    }
    for (unsigned m = 0; m < ROWS; m++)
        for (unsigned n = 0; n < COLUMNS; n++)
            digest = fold(digest, bits_of(out[m][n]));
    return digest;
}

uint64_t program(void) { return fold(scattered(), contraction()); }
