/* What both the VM and Linux offer a program: output in pieces, fresh zero pages, and locked updates of memory. */
#include "program.h"

#ifdef __mips__
static uint64_t add_locked_wide(uint64_t *at, uint64_t value)
{
    uint64_t old, fresh;
    __asm__ volatile("1: lld %0, 0(%2)\n\tdaddu %1, %0, %3\n\tscd %1, 0(%2)\n\tbeqz %1, 1b\n\tnop"
                     : "=&r"(old), "=&r"(fresh)
                     : "r"(at), "r"(value)
                     : "memory");
    return old;
}
static uint32_t add_locked(uint32_t *at, uint32_t value)
{
    uint32_t old, fresh;
    __asm__ volatile("1: ll %0, 0(%2)\n\taddu %1, %0, %3\n\tsc %1, 0(%2)\n\tbeqz %1, 1b\n\tnop"
                     : "=&r"(old), "=&r"(fresh)
                     : "r"(at), "r"(value)
                     : "memory");
    return old;
}
#else
static uint64_t add_locked_wide(uint64_t *at, uint64_t value)
{
    return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
static uint32_t add_locked(uint32_t *at, uint32_t value) { return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST); }
#endif

uint64_t program(void)
{
    static const char verse[] = "one step at a time\n";
    uint64_t digest = 0, random = 10;
    for (size_t i = 0; i < sizeof verse - 1; i++)
        print(verse + i, 1);
    for (size_t at = 0; at < sizeof verse - 1; at += 5)
        print(verse + at, at + 5 < sizeof verse - 1 ? 5 : sizeof verse - 1 - at);

    for (size_t pages = 1; pages <= 16; pages *= 2) {
        uint64_t *memory = map_memory(pages * 4096 - 100);
        size_t words = pages * 512 - 13;
        for (size_t i = 0; i < words; i += 37)
            digest = fold(digest, memory[i]); /* zero, all of them */
        for (size_t i = 0; i < words; i += 41)
            memory[i] = next_random(&random);
        for (size_t i = 0; i < words; i += 41)
            digest = fold(digest, add_locked_wide(&memory[i], i) ^ memory[i]);
    }

    static uint32_t counters[8];
    for (unsigned i = 0; i < 1000; i++)
        digest = fold(digest, add_locked(&counters[i % 8], (uint32_t)next_random(&random)));
    return digest;
}
