/* Memory-heavy work: a sort, a hash table, a sieve and a byte-wise string search, in fresh pages, static data and stack. */
#include "program.h"

enum { SORTED = 20000 * SCALE, SLOTS = 1 << 16, KEYS = 30000, SIEVE = 200000, TEXT = 40000 };

static void sift_down(uint64_t *heap, size_t root, size_t size)
{
    for (;;) {
        size_t child = 2 * root + 1;
        if (child >= size)
            return;
        if (child + 1 < size && heap[child + 1] > heap[child])
            child++;
        if (heap[root] >= heap[child])
            return;
        uint64_t held = heap[root];
        heap[root] = heap[child];
        heap[child] = held;
        root = child;
    }
}

static uint64_t sort(void)
{
    uint64_t *values = map_memory(SORTED * sizeof *values), random = 2, digest = 0;
    for (size_t i = 0; i < SORTED; i++)
        values[i] = next_random(&random);
    for (size_t i = SORTED / 2; i-- > 0;)
        sift_down(values, i, SORTED);
    for (size_t end = SORTED; end-- > 1;) {
        uint64_t largest = values[0];
        values[0] = values[end];
        values[end] = largest;
        sift_down(values, 0, end);
    }
    for (size_t i = 0; i < SORTED; i++) {
        if (i > 0 && values[i - 1] > values[i])
            return 0;
        digest = fold(digest, values[i]);
    }
    return digest;
}

static struct {
    uint64_t key;
    uint32_t count;
    uint16_t length;
    uint8_t tag;
} table[SLOTS]; /* 1 MB of .bss with fields of every width */

static uint64_t count_keys(void)
{
    uint64_t random = 3, digest = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        uint64_t key = next_random(&random) % (KEYS / 2) + 1;
        size_t slot = fold(key, 0) % SLOTS;
        while (table[slot].key != 0 && table[slot].key != key)
            slot = (slot + 1) % SLOTS;
        table[slot].key = key;
        table[slot].count++;
        table[slot].length = (uint16_t)(table[slot].length + key);
        table[slot].tag ^= (uint8_t)i;
    }
    for (size_t slot = 0; slot < SLOTS; slot++)
        if (table[slot].key != 0)
            digest = fold(digest, table[slot].key + ((uint64_t)table[slot].count << 32) +
                                      ((uint64_t)table[slot].length << 40) + table[slot].tag);
    return digest;
}

static uint64_t sieve(void)
{
    static uint8_t composite[SIEVE];
    uint64_t digest = 0;
    for (size_t i = 2; i < SIEVE; i++) {
        if (composite[i])
            continue;
        digest = fold(digest, i);
        for (size_t j = i * i; j < SIEVE; j += i)
            composite[j] = 1;
    }
    return digest;
}

static uint64_t search(void)
{
    char text[TEXT]; /* on the stack */
    static const char wanted[] = "abab";
    uint64_t random = 4, digest = 0;
    for (size_t i = 0; i < TEXT; i++)
        text[i] = (char)('a' + next_random(&random) % 2);
    for (size_t i = 0; i + sizeof wanted - 1 <= TEXT; i++) {
        size_t same = 0;
        while (same < sizeof wanted - 1 && text[i + same] == wanted[same])
            same++;
        if (same == sizeof wanted - 1)
            digest = fold(digest, i);
    }
    return digest;
}

uint64_t program(void) { return fold(fold(fold(fold(0, sort()), count_keys()), sieve()), search()); }
