/* Content: the bytes behind a subtree root, known before they are needed.
 *
 * tensor_map puts a root into VM memory; the bytes behind it are the host's (a model's weights, the tensors of an
 * inference), in the host's byte order. A `content` lists them as blocks, and can fill any page and give the hash of any
 * aligned part without the whole ever being copied or, where the blocks' roots are known, hashed.
 *
 * A `store` is the account of memory that one machine and all its forks draw on. Contents form a list that only grows at
 * its head: a fork shares the list as it stood, and what either adds later is its own. One thread at a time. */
#ifndef OPML_CONTENT_H
#define OPML_CONTENT_H
#include "keccak.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a use of memory can end. */
enum memory_status {
    MEMORY_OK = 0,
    MEMORY_UNKNOWN = 1, /* it lies in a subtree of which only the root is known                      */
    MEMORY_FULL = 2,    /* the store's limit, or the host's memory, is used up                       */
    MEMORY_CONTENT = 3, /* registered content does not have the root it was registered under         */
};

/* 2^log2_size bytes at `offset`: data[0..size), then zeros. The caller keeps `data` alive and unchanged. */
struct block {
    uint64_t offset;
    const uint8_t *data;
    uint64_t size;
    uint8_t log2_size;
    uint8_t word_bytes; /* data is host-order words of this size; VM memory is big-endian */
    uint8_t root_known;
    uint8_t root[HASH_BYTES];
};

struct store;
struct content;

struct store *store_new(uint64_t limit_bytes);
void store_retain(struct store *store);
void store_release(struct store *store);
/* Allocates zeroed memory on the store's account; NULL if that would exceed its limit. */
void *store_allocate(struct store *store, size_t size);
void store_free(struct store *store, void *memory, size_t size);
uint64_t store_used_bytes(const struct store *store);

/* *list := a longer list, with the content of `root`, which must be what the blocks' roots make: those that are not known
 * are hashed now. The blocks must be disjoint, aligned to their size and inside the subtree (else *problem says what is
 * wrong with block *problem_block). Adding a root again does nothing. */
enum memory_status content_add(struct store *store, struct content **list, const uint8_t root[static HASH_BYTES],
                               unsigned log2_size, const struct block *blocks, size_t count, unsigned threads,
                               const char **problem, size_t *problem_block);

/* Counts one more, or one less, holder of a content and of all behind it in its list. NULL is no content. */
void content_retain(struct content *content);
void content_release(struct content *content);

/* The content in `list` for the 2^log2_size bytes whose root is `root`, or NULL. */
struct content *content_find(struct content *list, const uint8_t root[static HASH_BYTES], unsigned log2_size);

/* Whether any block lies in the 2^log2_size bytes at `offset`; if not, they are zero. */
bool content_touches(const struct content *content, uint64_t offset, unsigned log2_size);

/* out[0..size) := the bytes at `offset`, in VM (big-endian) order; offset and size are multiples of 32. */
void content_read(const struct content *content, uint64_t offset, uint8_t *out, size_t size);

/* out := the root of the 2^log2_size bytes at `offset`. Inside a block this hashes the whole block, once. */
enum memory_status content_root(const struct content *content, uint64_t offset, unsigned log2_size,
                                uint8_t out[static HASH_BYTES]);
#endif
