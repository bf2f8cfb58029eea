/* Hashing for Python: engine/hashing.py is the other side. */
#include "content.h"
#include "export.h"
#include "keccak.h"
#include <string.h>

EXPORT void opml_keccak256(const uint8_t *data, uint64_t size, uint8_t out[static HASH_BYTES])
{
    keccak256(data, (size_t)size, out);
}

EXPORT void opml_zero_root(unsigned log2_size, uint8_t out[static HASH_BYTES])
{
    memcpy(out, zero_root(log2_size), HASH_BYTES);
}

/* 0: out of memory. */
EXPORT int opml_merkle_root(const uint8_t *data, uint64_t size, unsigned log2_size, unsigned word_bytes,
                            unsigned threads, uint8_t out[static HASH_BYTES])
{
    return merkle_root(data, size, log2_size, word_bytes, threads, out);
}

/* out[i] := H(in[64 i ..]), so that Python builds levels of trees fast. */
EXPORT void opml_keccak_pairs(const uint8_t *in, uint8_t *out, uint64_t count) { keccak_pairs(in, out, (size_t)count); }

/* The root `levels` levels above a subtree of 2^log2_size bytes at `offset` whose root is given; `siblings`: those on the
 * way up, lowest first, or null: zeros. */
EXPORT void opml_root_above(const uint8_t root[static HASH_BYTES], uint64_t offset, unsigned log2_size, unsigned levels,
                            const uint8_t *siblings, uint8_t out[static HASH_BYTES])
{
    uint8_t pair[2 * HASH_BYTES];
    memcpy(out, root, HASH_BYTES);
    for (unsigned level = log2_size; level < log2_size + levels; level++) {
        const uint8_t *sibling = siblings ? siblings + HASH_BYTES * (level - log2_size) : zero_root(level);
        int is_right = (int)(offset >> level & 1);
        memcpy(pair + (is_right ? HASH_BYTES : 0), out, HASH_BYTES);
        memcpy(pair + (is_right ? 0 : HASH_BYTES), sibling, HASH_BYTES);
        keccak_pair(pair, pair + HASH_BYTES, out);
    }
}

/* The root of the 2^log2_size bytes at `offset`, in which `count` blocks lie; the blocks' roots are known. */
static void root_of_blocks(const struct block *block, uint64_t count, uint64_t offset, unsigned log2_size,
                           uint8_t out[static HASH_BYTES])
{
    if (count == 0) {
        memcpy(out, zero_root(log2_size), HASH_BYTES);
        return;
    }
    if (count == 1) {
        opml_root_above(block->root, block->offset, block->log2_size, log2_size - block->log2_size, NULL, out);
        return;
    }
    uint64_t middle = offset + (1ull << (log2_size - 1)), left = 0;
    while (left < count && block[left].offset < middle)
        left++;
    uint8_t pair[2 * HASH_BYTES];
    root_of_blocks(block, left, offset, log2_size - 1, pair);
    root_of_blocks(block + left, count - left, middle, log2_size - 1, pair + HASH_BYTES);
    keccak_pair(pair, pair + HASH_BYTES, out);
}

/* The root of the 2^log2_size bytes at `offset`, which are zero but for `count` blocks: ascending, disjoint, each aligned to
 * its size. Hashes those whose root is not known, and puts that down. 0: out of memory. */
EXPORT int opml_blocks_root(struct block *block, uint64_t count, uint64_t offset, unsigned log2_size, unsigned threads,
                            uint8_t out[static HASH_BYTES])
{
    for (uint64_t i = 0; i < count; i++) {
        struct block *b = &block[i];
        if (b->root_known)
            continue;
        if (!merkle_root(b->data, b->size, b->log2_size, b->word_bytes, threads, b->root))
            return 0;
        b->root_known = 1;
    }
    root_of_blocks(block, count, offset, log2_size, out);
    return 1;
}
