/* The parts that memory.c (bytes) and memory_hash.c (hashes) share. */
#ifndef OPML_MEMORY_TREE_H
#define OPML_MEMORY_TREE_H
#include "memory.h"

enum { TOP_HEIGHT = 13, FANOUT = 16, PAGE_LEAVES = 128 };

/* Where parts of a page are known by root only. Heap positions: 1 is the page, 64..127 pairs of leaves, 128.. leaves. */
struct partial {
    uint64_t unknown[2];                   /* leaves */
    uint64_t fixed[2];                     /* heap positions whose hash is given */
    uint8_t hash[PAGE_LEAVES][HASH_BYTES]; /* at fixed positions */
};

struct page {
    uint32_t references;
    bool root_valid;
    struct partial *partial; /* usually NULL */
    uint8_t root[HASH_BYTES];
    uint8_t bytes[MEMORY_PAGE_BYTES];
};

struct branch {
    uint32_t references;
    uint32_t valid; /* bit i: hash[i] is right, 1 <= i < 32 */
    void *child[FANOUT];
    uint8_t hash[2 * FANOUT][HASH_BYTES];
};

/* A subtree put by its root. INVARIANT: while its content is unknown, the hash at its own place is valid. */
struct mapping {
    uint64_t references;
    uint64_t address;
    uint8_t log2_size;
    struct content *content; /* NULL: not known when it was put */
    uint8_t root[HASH_BYTES];
};

/* A child pointer's lowest bit says that it is a mapping. */
static inline bool is_mapping(const void *child) { return ((uintptr_t)child & 1) != 0; }

static inline struct mapping *as_mapping(const void *child)
{
    return (struct mapping *)((uintptr_t)child & ~(uintptr_t)1);
}

static inline void *mapping_child(struct mapping *mapping) { return (void *)((uintptr_t)mapping | 1); }

/* log2 of the bytes that a branch at `height` spans; height 0 is a page. */
static inline unsigned span_log2(int height) { return MEMORY_PAGE_LOG2 + 4 * (unsigned)height; }

/* Which child of a branch at `height` holds `address`. */
static inline unsigned child_slot(uint64_t address, int height)
{
    return (unsigned)(address >> span_log2(height - 1)) & (FANOUT - 1);
}

static inline uint64_t align_down(uint64_t address, unsigned log2_size)
{
    return log2_size > 63 ? 0 : address >> log2_size << log2_size;
}

/* Bits of `valid` for heap position `place` and all above it. */
static inline uint32_t places_above(unsigned place)
{
    uint32_t mask = 0;
    for (; place != 0; place >>= 1)
        mask |= (uint32_t)1 << place;
    return mask;
}

/* The mapping's content, or NULL: looked up again if it was not known when it was put.
 * WHY NOT keep what is found: the mapping may be shared with forks that do not hold that content. */
const struct content *mapping_content(const struct memory *memory, const struct mapping *mapping);

/* *child := the branch or page that holds `address` below `branch`, or NULL for zeros; fills in a mapping. */
enum memory_status branch_child(struct memory *memory, struct branch *branch, int height, uint64_t address,
                                void **child);

/* Makes hash[place] of `branch` (whose span begins at `start`) valid. */
enum memory_status branch_hash(struct memory *memory, struct branch *branch, int height, uint64_t start,
                               unsigned place);

/* out := hash at heap position `place` of a page; MEMORY_UNKNOWN inside a fixed one. */
enum memory_status page_hash(const struct page *page, unsigned place, uint8_t out[static HASH_BYTES]);

/* page->root becomes valid. */
void page_make_root(struct page *page);

static inline bool bit_of(const uint64_t words[2], unsigned i) { return (words[i >> 6] >> (i & 63)) & 1; }
#endif
