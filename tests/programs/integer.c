/* Mixed integer code of every width: arithmetic, shifts, products, quotients, bit counts, conditional moves.
 * Also the benchmark's "mixed integer code": about 144 million steps at SCALE 100. */
#include "program.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t digest = a;
    uint32_t a32 = (uint32_t)a, b32 = (uint32_t)b;
    digest = fold(digest, a + b);
    digest ^= a - b;
    digest += a * b;
    digest ^= (uint64_t)(((unsigned __int128)a * b) >> 64);
    digest += (uint64_t)(((__int128)(int64_t)a * (int64_t)b) >> 64);
    digest ^= (uint64_t)a32 * b32;
    digest += (uint64_t)((int64_t)(int32_t)a32 * (int32_t)b32);
    digest ^= a32 * b32;
    digest += a << (b & 63);
    digest ^= a >> (b & 63);
    digest += (uint64_t)((int64_t)a >> (b & 63));
    digest ^= (uint64_t)(a32 << (b & 31)) + (a32 >> (b & 31));
    digest += (uint64_t)(int64_t)((int32_t)a32 >> (b & 31));
    digest ^= (a & b) + (a | b) + ~(a | b) + (a ^ b);
    digest += a < b ? a32 : b;
    digest ^= (int64_t)a < (int64_t)b ? b32 : a;
    digest += (uint64_t)__builtin_clzll(a | 1) + (uint64_t)__builtin_clz(a32 | 1);
    digest ^= (uint64_t)(int64_t)(int16_t)a + (uint64_t)(int64_t)(int8_t)b;
    return digest;
}

static uint64_t divide(uint64_t a, uint64_t b)
{
    uint64_t digest = 0;
    int64_t sa = (int64_t)(a >> 1), sb = (int64_t)(b >> 3 | 1); /* |sa| and sb keep clear of overflow */
    if (a & 1)
        sa = -sa;
    digest += a / (b | 1) + a % (b | 1);
    digest ^= (uint64_t)(sa / sb) + (uint64_t)(sa % sb);
    digest += (uint32_t)a / ((uint32_t)b | 1) + (uint32_t)a % ((uint32_t)b | 1);
    digest ^= (uint64_t)(int64_t)((int32_t)sa / ((int32_t)(b & 0xffff) + 1));
    digest += (uint64_t)(int64_t)((int32_t)sa % ((int32_t)(b & 0xffff) + 1));
    return digest;
}

uint64_t program(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     0x7f,
                                     0x80,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x100000000,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0xffffffff80000000,
                                     0xffffffffffffffff};
    enum { EDGES = sizeof edges / sizeof edges[0] };
    uint64_t digest = 0, random = 1;
    for (unsigned i = 0; i < EDGES; i++)
        for (unsigned j = 0; j < EDGES; j++)
            digest = fold(fold(digest, mix(edges[i], edges[j])), divide(edges[i], edges[j]));
    for (unsigned i = 0; i < 8000 * SCALE; i++) {
        uint64_t a = next_random(&random) >> (i & 63), b = next_random(&random) >> (i >> 6 & 63);
        digest = fold(digest, mix(a, b));
        if (i % 8 == 0)
            digest = fold(digest, divide(a, b));
    }
    return digest;
}
