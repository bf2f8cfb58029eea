/* Single-precision arithmetic, one rounding an operation: n bodies, Horner's rule, square roots, comparisons, conversions.
 * No NaN is made and nothing is fused: there real machines differ (fused.c has the fused operations). */
#include "program.h"

static uint64_t bits_of(float x)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    return bits;
}

static float random_float(uint64_t *state) { return (float)(int32_t)next_random(state) / 1048576.0f; }

enum { BODIES = 8, DIMENSIONS = 3 };

static uint64_t orbit(void)
{
    float place[BODIES][DIMENSIONS], speed[BODIES][DIMENSIONS];
    uint64_t random = 6, digest = 0;
    for (unsigned i = 0; i < BODIES; i++)
        for (unsigned d = 0; d < DIMENSIONS; d++) {
            place[i][d] = random_float(&random);
            speed[i][d] = random_float(&random) / 1000.0f;
        }
    for (unsigned step = 0; step < 40 * SCALE; step++) {
        for (unsigned i = 0; i < BODIES; i++)
            for (unsigned j = 0; j < BODIES; j++) {
                float distance = 0.5f;
                for (unsigned d = 0; d < DIMENSIONS; d++) {
                    float apart = place[j][d] - place[i][d];
                    distance += apart * apart;
                }
                float pull = 1.0f / (distance * __builtin_sqrtf(distance));
                for (unsigned d = 0; d < DIMENSIONS; d++)
                    speed[i][d] += (place[j][d] - place[i][d]) * pull;
            }
        for (unsigned i = 0; i < BODIES; i++)
            for (unsigned d = 0; d < DIMENSIONS; d++)
                place[i][d] += speed[i][d] * 0.125f;
    }
    for (unsigned i = 0; i < BODIES; i++)
        for (unsigned d = 0; d < DIMENSIONS; d++)
            digest = fold(fold(digest, bits_of(place[i][d])), bits_of(speed[i][d]));
    return digest;
}

/* e^x for |x| <= 1/2, then down through the subnormals to zero and up to infinity. */
static uint64_t extremes(void)
{
    uint64_t digest = 0;
    for (int i = -64; i <= 64; i++) {
        float x = (float)i / 128.0f, power = 1.0f;
        for (int n = 9; n >= 1; n--)
            power = 1.0f + power * x / (float)n;
        digest = fold(digest, bits_of(power));
        for (float small = power; small != 0.0f; small /= 65536.5f)
            digest = fold(digest, bits_of(-small));
        for (float large = power; large < __builtin_inff(); large *= 65536.5f)
            digest = fold(digest, bits_of(large));
    }
    return digest;
}

static uint64_t compare(void)
{
    static const float values[] = {0.0f, -0.0f, 1.0f, -1.0f, 1e-45f, -1e-45f, 1e-38f, 3e38f, -3e38f, 0.5f, 1.5f, 2.5f};
    enum { VALUES = sizeof values / sizeof values[0] };
    uint64_t digest = 0;
    for (unsigned i = 0; i < VALUES; i++)
        for (unsigned j = 0; j < VALUES; j++) {
            volatile float va = values[i], vb = values[j]; /* not folded by the compiler */
            float a = va, b = vb;
            uint64_t said = (uint64_t)((a < b) | (a <= b) << 1 | (a == b) << 2 | (a != b) << 3 | (a > b) << 4);
            float larger = a > b ? a : b;
            digest = fold(fold(digest, said), bits_of(larger));
            digest = fold(digest, bits_of(__builtin_fabsf(a) - -b));
        }
    return digest;
}

static uint64_t convert(void)
{
    uint64_t digest = 0, random = 7;
    for (unsigned i = 0; i < 2000; i++) {
        int32_t whole = (int32_t)next_random(&random) >> (i % 32);
        float x = (float)whole; /* rounds when |whole| > 2^24 */
        digest = fold(digest, bits_of(x));
        if (x > -2e9f && x < 2e9f)
            digest = fold(digest, (uint64_t)(int64_t)(int32_t)(x * 0.75f));
    }
    return digest;
}

uint64_t program(void) { return fold(fold(fold(fold(0, orbit()), extremes()), compare()), convert()); }
