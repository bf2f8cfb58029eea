/* Brings 2^LOG2_SIZE bytes of data into memory at BASE, in one of two ways, and exits. Local pre-image 2 says which data:
 *
 *   oracle       a pre-image key; the data are read through descriptor 5, 8 bytes a system call, which is all that one may
 *                read. The loop is the tightest there is: four instructions for each 8 bytes.
 *   tensor_map   a Merkle root; the data are mapped, at once.
 *
 * scripts/measure-loading counts the steps of both (docs/comparison.md). */
#include <stdint.h>

#define BASE ((uint64_t)1 << 44)
enum { FD_PREIMAGE_READ = 5, FD_PREIMAGE_WRITE = 6 };
enum { SYS_read = 5000, SYS_write = 5001, SYS_exit_group = 5205, SYS_tensor_map = 7001 };

_Alignas(64) static char stack[4096];
char *const stack_top = stack + sizeof stack;
_Alignas(32) static uint64_t commitment[4];

__asm__(".set noreorder\n"
        ".globl __start\n"
        "__start:\n"
        "  lui  $2, %hi(stack_top)\n"
        "  jal  start\n"
        "  ld   $29, %lo(stack_top)($2)\n"
        ".set reorder\n");

static inline uint64_t call(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2)
{
    register uint64_t r2 __asm__("$2") = number;
    register uint64_t r4 __asm__("$4") = a0;
    register uint64_t r5 __asm__("$5") = a1;
    register uint64_t r6 __asm__("$6") = a2;
    __asm__ volatile("syscall" : "+r"(r2) : "r"(r4), "r"(r5), "r"(r6) : "$7", "memory");
    return r2;
}

/* Asks for a pre-image; its length comes first. */
static uint64_t request(const uint64_t key[4])
{
    uint64_t length;
    for (unsigned i = 0; i < 4; i++)
        call(SYS_write, FD_PREIMAGE_WRITE, (uint64_t)(key + i), 8);
    call(SYS_read, FD_PREIMAGE_READ, (uint64_t)&length, 8);
    return length;
}

static void read_words(uint64_t *at, uint64_t count)
{
    for (; count != 0; count--, at++)
        call(SYS_read, FD_PREIMAGE_READ, (uint64_t)at, 8);
}

/* From `at` to `end`, 8 bytes a turn. ASSUMES: at and end are multiples of 8, and the pre-image is long enough. */
static void read_all(uint64_t at, uint64_t end)
{
    register uint64_t r4 __asm__("$4") = FD_PREIMAGE_READ;
    register uint64_t r5 __asm__("$5") = at;
    register uint64_t r6 __asm__("$6") = 8;
    __asm__ volatile(".set noreorder\n"
                     "  li $2, 5000\n"
                     "1: syscall\n"
                     "  daddiu $5, $5, 8\n"
                     "  bne $5, %[end], 1b\n"
                     "  li $2, 5000\n"
                     ".set reorder\n"
                     : "+r"(r5)
                     : "r"(r4), "r"(r6), [end] "r"(end)
                     : "$2", "$7", "memory");
}

_Noreturn void start(void)
{
    static const uint64_t which[4] = {(uint64_t)1 << 56, 0, 0, 2};
    uint64_t failed = request(which) != 32;
    read_words(commitment, 4);
#if BY_TENSOR_MAP
    (void)read_all;
    failed |= call(SYS_tensor_map, BASE, LOG2_SIZE, (uint64_t)commitment);
#else
    failed |= request(commitment) != (uint64_t)1 << LOG2_SIZE;
    read_all(BASE, BASE + ((uint64_t)1 << LOG2_SIZE));
#endif
    for (;;)
        call(SYS_exit_group, failed, 0, 0);
}
