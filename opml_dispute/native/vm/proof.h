/* Memory proofs of one step: subtrees with their way up to the memory root, in both encodings. docs/vm.md, "Proof". */
#ifndef OPML_PROOF_H
#define OPML_PROOF_H
#include "fpvm.h"

enum { COMPACT_MARKER_BYTES = 8, LEAF_PROOF_LEVELS = 59, PROOF_COUNT = 3 };
#define COMPACT_MARKER 0x4F504D4C434D5031ull /* "OPMLCMP1" */

/* A subtree proven to be in memory, and its way up. */
struct proof {
    bool loaded;
    uint64_t address;
    unsigned log2_size;
    uint8_t node[HASH_BYTES]; /* the subtree's root; the leaf itself if log2_size is 5 */
    uint8_t siblings[LEAF_PROOF_LEVELS][HASH_BYTES];
};

/* The proofs of one step. They are taken from what was sent, or, to make a witness, from `memory` and written down. */
struct proofs {
    struct proof proof[PROOF_COUNT];
    uint8_t *memory_root; /* of the state, as the step changes it */
    uint64_t unknown_address;
    size_t thread_bytes; /* the full encoding has the thread, the inner root, and then a place for each proof */
    bool compact;

    const uint8_t *sent; /* checking */
    size_t size, cursor;

    struct memory *memory; /* recording; NULL: checking */
    uint8_t *out;
    size_t out_size;
};

/* Gets ready to take parts from `sent`, whose first bytes tell its encoding. */
void proof_open(struct proofs *proofs, const uint8_t *sent, size_t size);

/* Takes the next `bytes` bytes, zeros behind the end as calldata is padded. For the thread, before any proof. */
enum reason proof_take(struct proofs *proofs, uint8_t *bytes, size_t count);

/* Proof `slot` := of the 2^log2_size bytes at `address`, under the present memory root. Taken at most once. */
enum reason proof_verify(struct proofs *proofs, int slot, uint64_t address, unsigned log2_size);

/* Puts `node` in the place of the proof's, and moves the memory root. ASSUMES: proof `slot` is verified. */
void proof_put(struct proofs *proofs, int slot, const uint8_t node[static HASH_BYTES]);

/* The word that holds `address`, by proof `slot`. */
enum reason proof_read_word(struct proofs *proofs, int slot, uint64_t address, uint64_t *word);

/* The same word := `word`; in the memory that is recorded too. */
enum reason proof_write_word(struct proofs *proofs, int slot, uint64_t address, uint64_t word);
#endif
