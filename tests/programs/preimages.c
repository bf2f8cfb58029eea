/* Asks for pre-images with hints before, as a client of a pre-image server does, and exits with a digest of what it read.
 *
 * Local pre-image 0 says how many keys there are (8 bytes), local pre-images 1, 2, ... are the keys, of any type. Before each
 * is asked for, a hint is written: "h" and the key, in two writes that part inside its length. Data are read 8 bytes at a
 * time, those of the first key once more at the end, at an odd address and 5 bytes at a time. */
#include "preimage_client.h"

static uint64_t first_key[4];
_Alignas(8) static uint8_t hint[4 + 33], data[16];

static void read_local(uint64_t ident, uint64_t word[4])
{
    const uint64_t key[4] = {(uint64_t)1 << 56, 0, 0, ident};
    request(key);
    for (unsigned i = 0; i < 4; i++)
        call(SYS_read, FD_PREIMAGE_READ, (uint64_t)(word + i), 8);
}

static void write_hint(const uint64_t key[4])
{
    uint8_t acknowledgement;
    hint[3] = 33;
    hint[4] = 'h';
    for (unsigned i = 0; i < 32; i++)
        hint[5 + i] = (uint8_t)(key[i / 8] >> (56 - 8 * (i % 8)));
    call(SYS_write, FD_HINT_WRITE, (uint64_t)hint, 3);
    call(SYS_write, FD_HINT_WRITE, (uint64_t)(hint + 3), sizeof hint - 3);
    call(SYS_read, FD_HINT_READ, (uint64_t)&acknowledgement, 1);
}

/* A digest of a pre-image of any length, read up to `size` bytes at a time to `target`. */
static uint64_t digest(const uint64_t key[4], uint64_t sum, uint8_t *target, uint64_t size)
{
    uint64_t left = request(key);
    while (left != 0) {
        uint64_t count = call(SYS_read, FD_PREIMAGE_READ, (uint64_t)target, size);
        for (uint64_t i = 0; i < count; i++)
            sum = sum * 31 + target[i];
        left -= count;
    }
    return sum;
}

_Noreturn void start(void)
{
    uint64_t count, sum = 7, key[4];
    const uint64_t count_key[4] = {(uint64_t)1 << 56, 0, 0, 0};
    request(count_key);
    call(SYS_read, FD_PREIMAGE_READ, (uint64_t)&count, 8);
    for (uint64_t i = 1; i <= count; i++) {
        read_local(i, key);
        write_hint(key);
        sum = digest(key, sum, data, 8);
    }
    read_local(1, first_key);
    sum = digest(first_key, sum, data + 3, 5);
    for (;;)
        call(SYS_exit_group, sum & 63, 0, 0);
}
