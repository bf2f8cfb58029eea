/* What the guest asks of the VM. docs/vm.md, "System calls". */
#ifndef OPML_GUEST_SYSTEM_H
#define OPML_GUEST_SYSTEM_H
#include <stdint.h>

enum { CALL_READ = 5000, CALL_WRITE = 5001, CALL_EXIT_GROUP = 5205, CALL_TENSOR_MAP = 7001, CALL_TENSOR_ROOT = 7002 };
enum { FD_PREIMAGE_READ = 5, FD_PREIMAGE_WRITE = 6 };

/* A Merkle root, or any leaf: 32 bytes, aligned as the tensor calls want it. */
struct leaf {
    uint64_t word[4];
} __attribute__((aligned(32)));

/* One system call; sets *failed if the VM reported an error. */
static inline uint64_t system_call(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t *failed)
{
    register uint64_t v0 __asm__("$2") = number;
    register uint64_t r4 __asm__("$4") = a0;
    register uint64_t r5 __asm__("$5") = a1;
    register uint64_t r6 __asm__("$6") = a2;
    register uint64_t r7 __asm__("$7");
    __asm__ volatile("syscall" : "+r"(v0), "=r"(r7) : "r"(r4), "r"(r5), "r"(r6) : "memory");
    *failed = r7;
    return v0;
}

/* Ends the run. What should never happen ends with EXIT_PANIC: neither "equal" nor "not equal". */
enum { EXIT_EQUAL = 0, EXIT_DIFFERENT = 1, EXIT_PANIC = 2 };
static inline _Noreturn void exit_group(uint64_t code)
{
    uint64_t failed;
    for (;;)
        system_call(CALL_EXIT_GROUP, code, 0, 0, &failed);
}

/* The subtree of 2^log2_size bytes at `address` becomes the one with this root / *root becomes that subtree's. */
static inline void tensor_map(uint64_t address, unsigned log2_size, const struct leaf *root)
{
    uint64_t failed;
    system_call(CALL_TENSOR_MAP, address, log2_size, (uint64_t)root, &failed);
    if (failed)
        exit_group(EXIT_PANIC);
}
static inline void tensor_root(uint64_t address, unsigned log2_size, struct leaf *root)
{
    uint64_t failed;
    system_call(CALL_TENSOR_ROOT, address, log2_size, (uint64_t)root, &failed);
    if (failed)
        exit_group(EXIT_PANIC);
}

/* The 32 bytes of local pre-image `ident` (oracle.c). */
void oracle_local(uint64_t ident, struct leaf *out);

#endif
