/* Loads and stores at every alignment. On MIPS64 these are lwl/lwr, ldl/ldr and their stores; each also appears alone,
 * which C cannot say, by inline assembly; the host computes the same from bytes. */
#include "program.h"

struct __attribute__((packed)) holder {
    uint64_t wide;
    uint32_t word;
    uint16_t half;
};

static uint8_t bytes[64];

static uint64_t read_big(unsigned at, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | bytes[at + i];
    return value;
}

static void write_big(unsigned at, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        bytes[at + i] = (uint8_t)(value >> 8 * (size - 1 - i));
}

#ifdef __mips__
#define LOAD(name)                                                                                                     \
    static uint64_t name(unsigned at, uint64_t old)                                                                    \
    {                                                                                                                  \
        __asm__ volatile(#name " %0, 0(%1)" : "+r"(old) : "r"(bytes + at) : "memory");                                 \
        return old;                                                                                                    \
    }
#define STORE(name)                                                                                                    \
    static void name(unsigned at, uint64_t value)                                                                      \
    {                                                                                                                  \
        __asm__ volatile(#name " %0, 0(%1)" ::"r"(value), "r"(bytes + at) : "memory");                                 \
    }
LOAD(ldl)
LOAD(ldr)
LOAD(lwl)
STORE(sdl)
STORE(sdr)
STORE(swl)
STORE(swr)
/* lwr leaves the upper half of its register open on a real machine, so only the lower is looked at. */
LOAD(lwr)
#else
static uint64_t ldl(unsigned at, uint64_t old)
{
    unsigned k = at & 7, shift = 8 * k;
    return read_big(at - k, 8) << shift | (old & (((uint64_t)1 << shift) - 1));
}
static uint64_t ldr(unsigned at, uint64_t old)
{
    unsigned k = at & 7, kept = 8 * (k + 1);
    uint64_t value = read_big(at - k, k + 1);
    return kept == 64 ? value : value | (old >> kept << kept);
}
static uint64_t lwl(unsigned at, uint64_t old)
{
    unsigned k = at & 3, shift = 8 * k;
    uint32_t value = (uint32_t)read_big(at - k, 4) << shift | ((uint32_t)old & (((uint32_t)1 << shift) - 1));
    return (uint64_t)(int64_t)(int32_t)value;
}
static uint64_t lwr(unsigned at, uint64_t old)
{
    unsigned k = at & 3, kept = 8 * (k + 1);
    uint32_t value = (uint32_t)read_big(at - k, k + 1);
    return kept == 32 ? value : value | ((uint32_t)old >> kept << kept);
}
static void sdl(unsigned at, uint64_t value)
{
    unsigned size = 8 - (at & 7);
    write_big(at, size, value >> 8 * (8 - size));
}
static void sdr(unsigned at, uint64_t value)
{
    unsigned k = at & 7;
    write_big(at - k, k + 1, value);
}
static void swl(unsigned at, uint64_t value)
{
    unsigned size = 4 - (at & 3);
    write_big(at, size, (uint32_t)value >> 8 * (4 - size));
}
static void swr(unsigned at, uint64_t value)
{
    unsigned k = at & 3;
    write_big(at - k, k + 1, value);
}
#endif

uint64_t program(void)
{
    uint64_t digest = 0, random = 5;
    for (unsigned round = 0; round < 200; round++)
        for (unsigned at = 8; at < 40; at++) {
            uint64_t value = next_random(&random), old = next_random(&random);
            switch (round % 8) {
            case 0: write_big(at, 8, value); break;
            case 1: sdl(at, value); break;
            case 2: sdr(at, value); break;
            case 3: swl(at, value); break;
            case 4: swr(at, value); break;
            default: {
                uint64_t wide = round % 2 ? value : read_big(at, 8) + 1;
                uint32_t word = (uint32_t)(read_big(at + 8, 4) ^ old);
                uint16_t half = (uint16_t)(read_big(at + 12, 2) + old);
                volatile struct holder *held = (volatile struct holder *)(bytes + at);
                held->wide = wide;
                held->word = word;
                held->half = half;
                digest = fold(fold(fold(digest, held->wide), held->word), held->half);
                /* What lies there depends on byte order: put it back, big-endian. */
                write_big(at, 8, wide);
                write_big(at + 8, 4, word);
                write_big(at + 12, 2, half);
            }
            }
            digest = fold(digest, ldl(at, old));
            digest = fold(digest, ldr(at, old));
            digest = fold(digest, lwl(at, old));
            digest = fold(digest, (uint32_t)lwr(at, old));
            digest = fold(digest, read_big(at, 8));
        }
    return digest;
}
