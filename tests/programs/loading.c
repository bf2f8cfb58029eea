/* Brings 2^LOG2_SIZE bytes of data into memory at BASE, in one of two ways, and exits. Local pre-image 2 says which data:
 *
 *   oracle       a pre-image key; the data are read through descriptor 5, 8 bytes a system call, which is all that one may
 *                read. The loop is the tightest there is: four instructions for each 8 bytes.
 *   tensor_map   a Merkle root; the data are mapped, at once.
 *
 * scripts/measure-loading counts the steps of both (docs/comparison.md). */
#include "preimage_client.h"

#define BASE ((uint64_t)1 << 44)

_Alignas(32) static uint64_t commitment[4];

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
