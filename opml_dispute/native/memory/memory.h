/* The VM's memory: 2^64 bytes, a Merkle tree, sparse, copy-on-write. Twin: contracts/src/vm/MemoryTree.sol.
 *
 *   branch, height 13   the root: bits 63..60 of an address choose one of 16 children
 *     ...               each height resolves four more bits
 *   branch, height 1    16 pages
 *   page                4096 bytes
 *
 * A branch keeps the 31 hashes of the four levels it spans as a heap (1 is its own root, 16..31 are its children's), each
 * marked valid or not; a write marks those above it invalid, and a root is recomputed from invalid ones alone, in vector
 * batches. A child is NULL (zero bytes), a branch or page, or a *mapping*: a subtree put there by its root alone
 * (tensor_map), whose bytes appear page by page as they are touched, if their content was added.
 *
 * Branches and pages are counted and shared: memory_fork copies one pointer, and a machine that writes to a shared one
 * copies it. Filling in a mapping or a missing hash changes no byte of memory, so it is done in place, for all who
 * share it. */
#ifndef OPML_MEMORY_H
#define OPML_MEMORY_H
#include "content.h"

#define MEMORY_PAGE_LOG2    12
#define MEMORY_PAGE_BYTES   4096
#define MEMORY_MAX_SIBLINGS 59

struct branch;

struct memory {
    struct branch *root;
    struct store *store;
    struct content *contents; /* what may be known about subtrees put by their root */
};

/* memory->store is taken over (released by memory_free). False: out of memory. */
bool memory_init(struct memory *memory, struct store *store);
void memory_free(struct memory *memory);
/* `copy` becomes an independent memory with the same bytes. */
void memory_fork(const struct memory *memory, struct memory *copy);

/* *page := the 4096 bytes at page_index * 4096, to read; valid until memory is written there by any other means.
 * *whole := false if parts of it are unknown: then ask memory_leaf_known about each leaf. */
enum memory_status memory_page_to_read(struct memory *memory, uint64_t page_index, const uint8_t **page, bool *whole);

/* *page := the same, to write: its hashes are forgotten now, so the pointer serves only until the next hash, fork or
 * subtree is taken. */
enum memory_status memory_page_to_write(struct memory *memory, uint64_t page_index, uint8_t **page, bool *whole);

/* MEMORY_OK if the leaf at `address` is known. */
enum memory_status memory_leaf_known(struct memory *memory, uint64_t address);

/* Copies bytes out or in; nothing is written unless all can be. */
enum memory_status memory_read(struct memory *memory, uint64_t address, uint8_t *out, uint64_t size);
enum memory_status memory_write(struct memory *memory, uint64_t address, const uint8_t *data, uint64_t size);
/* Makes `size` bytes zero, in time proportional to log(size). */
enum memory_status memory_zero(struct memory *memory, uint64_t address, uint64_t size);

/* out := the root of the 2^log2_size bytes at `address`, a multiple of that; 5 <= log2_size <= 64. */
enum memory_status memory_root(struct memory *memory, uint64_t address, unsigned log2_size,
                               uint8_t out[static HASH_BYTES]);

/* The subtree's root becomes `root`; 5 <= log2_size <= 63. Its bytes are the content added for that root, if any. */
enum memory_status memory_put(struct memory *memory, uint64_t address, unsigned log2_size,
                              const uint8_t root[static HASH_BYTES]);

/* siblings := the 64 - log2_size siblings of that subtree, lowest first. The subtree itself may be unknown. */
enum memory_status memory_siblings(struct memory *memory, uint64_t address, unsigned log2_size,
                                   uint8_t siblings[static HASH_BYTES]);

/* Walks the whole memory by ascending address, until a call answers false. `page` is told every page there is; `subtree`
 * every part that is zero, and every subtree that was put by its root and is not filled in everywhere (as it was put, once
 * for each place in it that is not). For saving a state. */
struct memory_visitor {
    void *context;
    bool (*subtree)(void *context, uint64_t address, unsigned log2_size, const uint8_t root[static HASH_BYTES]);
    bool (*page)(void *context, uint64_t address, const uint8_t *bytes);
};
bool memory_visit(struct memory *memory, const struct memory_visitor *visitor);
#endif
