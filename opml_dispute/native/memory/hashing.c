/* Hashing for Python: engine/hashing.py is the other side. */
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
