/* Memory proofs of one step: taken in either encoding, verified, and written down. docs/vm.md, "Proof".
 *
 * Twin: contracts/src/vm/MemoryTree.sol, with the same names in the same order. */
#include "proof.h"

void proof_open(struct proofs *proofs, const uint8_t *sent, size_t size)
{
    proofs->sent = sent;
    proofs->size = size;
    proofs->compact = size >= COMPACT_MARKER_BYTES && load_big64(sent) == COMPACT_MARKER;
    proofs->cursor = proofs->compact ? COMPACT_MARKER_BYTES : 0;
}

/* The aligned 8-byte word of a leaf that contains `address`. */
static uint64_t proof_word_of(const uint8_t leaf[static HASH_BYTES], uint64_t address)
{
    return load_big64(leaf + (address & 24));
}

/* The leaf with `word` in place of the aligned 8-byte word that contains `address`. */
static void proof_with_word(uint8_t leaf[static HASH_BYTES], uint64_t address, uint64_t word)
{
    store_big64(leaf + (address & 24), word);
}

/* The memory root that the proof's siblings make with `start` in the place of its node. */
static void proof_root_with(const struct proof *proof, const uint8_t start[static HASH_BYTES],
                            uint8_t root[static HASH_BYTES])
{
    uint8_t node[HASH_BYTES];
    memcpy(node, start, HASH_BYTES);
    for (unsigned level = proof->log2_size; level < 64; level++) {
        const uint8_t *sibling = proof->siblings[level - proof->log2_size];
        if ((proof->address >> level) & 1)
            keccak_pair(sibling, node, node);
        else
            keccak_pair(node, sibling, node);
    }
    memcpy(root, node, HASH_BYTES);
}

enum reason proof_take(struct proofs *proofs, uint8_t *bytes, size_t count)
{
    /* In the full encoding the zeros that pad calldata to whole words count as sent. */
    size_t end = proofs->compact ? proofs->size : (proofs->size + 31) & ~(size_t)31;
    if (end - proofs->cursor < count)
        return REASON_PROOF_TOO_SHORT;
    size_t there = proofs->size - (proofs->cursor < proofs->size ? proofs->cursor : proofs->size);
    memset(bytes, 0, count);
    if (there != 0)
        memcpy(bytes, proofs->sent + proofs->cursor, there < count ? there : count);
    proofs->cursor += count;
    return REASON_NONE;
}

/* Node, bitmap, and the siblings that are not zero subtrees. */
static enum reason proof_next_compact(struct proofs *proofs, struct proof *proof)
{
    unsigned levels = 64 - proof->log2_size;
    uint8_t head[HASH_BYTES + 8];
    enum reason reason = proof_take(proofs, head, sizeof head);
    if (reason != REASON_NONE)
        return reason;
    memcpy(proof->node, head, HASH_BYTES);
    uint64_t bitmap = load_big64(head + HASH_BYTES);
    if (bitmap >> levels != 0)
        return REASON_PROOF_BITMAP;
    for (unsigned i = 0; i < levels; i++) {
        memcpy(proof->siblings[i], zero_root(proof->log2_size + i), HASH_BYTES);
        if ((bitmap >> i) & 1 && proof_take(proofs, proof->siblings[i], HASH_BYTES) != REASON_NONE)
            return REASON_PROOF_TOO_SHORT;
    }
    return REASON_NONE;
}

/* Takes the next part. Full encoding: node and siblings, in a place of 60 words whatever their number. */
static enum reason proof_next(struct proofs *proofs, struct proof *proof, int slot)
{
    if (proofs->compact)
        return proof_next_compact(proofs, proof);
    size_t words = 65 - proof->log2_size;
    uint8_t bytes[MEMORY_PROOF_BYTES];
    proofs->cursor = proofs->thread_bytes + HASH_BYTES + (size_t)slot * MEMORY_PROOF_BYTES;
    if (proofs->cursor > ((proofs->size + 31) & ~(size_t)31))
        return REASON_PROOF_TOO_SHORT;
    enum reason reason = proof_take(proofs, bytes, HASH_BYTES * words);
    if (reason != REASON_NONE)
        return reason;
    memcpy(proof->node, bytes, HASH_BYTES);
    memcpy(proof->siblings, bytes + HASH_BYTES, HASH_BYTES * (words - 1));
    return REASON_NONE;
}

/* The part as the memory has it, written down in the encoding that is asked for. */
static enum reason proof_record(struct proofs *proofs, struct proof *proof, int slot)
{
    enum memory_status status = memory_root(proofs->memory, proof->address, proof->log2_size, proof->node);
    if (status == MEMORY_OK)
        status = memory_siblings(proofs->memory, proof->address, proof->log2_size, proof->siblings[0]);
    if (status != MEMORY_OK)
        return memory_reason(status);
    unsigned levels = 64 - proof->log2_size;
    if (!proofs->compact) {
        uint8_t *at = proofs->out + proofs->thread_bytes + HASH_BYTES + (size_t)slot * MEMORY_PROOF_BYTES;
        memcpy(at, proof->node, HASH_BYTES);
        memcpy(at + HASH_BYTES, proof->siblings, HASH_BYTES * levels);
        return REASON_NONE;
    }
    uint8_t *at = proofs->out + proofs->out_size;
    memcpy(at, proof->node, HASH_BYTES);
    uint64_t bitmap = 0;
    size_t size = HASH_BYTES + 8;
    for (unsigned i = 0; i < levels; i++) {
        if (memcmp(proof->siblings[i], zero_root(proof->log2_size + i), HASH_BYTES) == 0)
            continue;
        bitmap |= (uint64_t)1 << i;
        memcpy(at + size, proof->siblings[i], HASH_BYTES);
        size += HASH_BYTES;
    }
    store_big64(at + HASH_BYTES, bitmap);
    proofs->out_size += size;
    return REASON_NONE;
}

enum reason proof_verify(struct proofs *proofs, int slot, uint64_t address, unsigned log2_size)
{
    struct proof *proof = &proofs->proof[slot];
    address = address >> log2_size << log2_size;
    if (proof->loaded && proof->address == address && proof->log2_size == log2_size)
        return REASON_NONE;
    proofs->unknown_address = address;
    proof->address = address;
    proof->log2_size = log2_size;
    enum reason reason = proofs->memory != NULL ? proof_record(proofs, proof, slot) : proof_next(proofs, proof, slot);
    if (reason != REASON_NONE)
        return reason;
    uint8_t root[HASH_BYTES];
    proof_root_with(proof, proof->node, root);
    if (memcmp(root, proofs->memory_root, HASH_BYTES) != 0)
        return REASON_MEMORY_PROOF;
    proof->loaded = true;
    return REASON_NONE;
}

void proof_put(struct proofs *proofs, int slot, const uint8_t node[static HASH_BYTES])
{
    struct proof *proof = &proofs->proof[slot];
    memmove(proof->node, node, HASH_BYTES);
    proof_root_with(proof, proof->node, proofs->memory_root);
}

enum reason proof_read_word(struct proofs *proofs, int slot, uint64_t address, uint64_t *word)
{
    enum reason reason = proof_verify(proofs, slot, address, LEAF_LOG2);
    if (reason == REASON_NONE)
        *word = proof_word_of(proofs->proof[slot].node, address);
    return reason;
}

enum reason proof_write_word(struct proofs *proofs, int slot, uint64_t address, uint64_t word)
{
    enum reason reason = proof_verify(proofs, slot, address, LEAF_LOG2);
    if (reason != REASON_NONE)
        return reason;
    uint8_t leaf[HASH_BYTES];
    memcpy(leaf, proofs->proof[slot].node, HASH_BYTES);
    proof_with_word(leaf, address, word);
    proof_put(proofs, slot, leaf);
    if (proofs->memory == NULL)
        return REASON_NONE;
    uint8_t bytes[8];
    store_big64(bytes, word);
    return memory_reason(memory_write(proofs->memory, address & ~(uint64_t)7, bytes, 8));
}
