/* A test program: `program` computes, may print, and answers a digest of all it did.
 *
 * The same source is compiled twice. For MIPS64 (frame_mips64.c) it runs in the VM and under qemu; for this machine
 * (frame_host.c) it says what the digest should be. So it uses nothing whose result C leaves open: no signed overflow, no
 * order of evaluation, no byte order, no address.
 *
 * The frame prints the digest as 16 hexadecimal digits and exits with its low six bits. */
#ifndef PROGRAM_H
#define PROGRAM_H
#include <stddef.h>
#include <stdint.h>

/* How much to do; a benchmark asks for more. */
#ifndef SCALE
#define SCALE 1
#endif

uint64_t program(void);

/* Provided by the frame. */
void print(const char *text, size_t size);
/* `size` fresh zero bytes, never given back. */
void *map_memory(size_t size);

/* One more value into a digest: a step of splitmix64, so that order counts. */
static inline uint64_t fold(uint64_t digest, uint64_t value)
{
    uint64_t z = (digest ^ value) + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* The same numbers everywhere: splitmix64 as a generator. */
static inline uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    return fold(*state, 0);
}
#endif
