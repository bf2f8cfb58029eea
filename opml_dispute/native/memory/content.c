/* The store: how much memory machines may use; and content registered under its root, mapped where that root is put. */
#include "content.h"
#include <stdlib.h>
#include <string.h>

enum { PAGE_LOG2 = 12, PAGE_BYTES = 1 << PAGE_LOG2 };

struct kept_block {
    struct block block;
    /* Roots of the block's aligned parts, or NULL until asked for. Level k (12 <= k <= log2_size) has count[k] roots,
     * for the parts that hold data; the others are zero. */
    uint8_t **levels;
    struct store *store;
};

struct content {
    uint64_t references;
    struct store *store;
    uint8_t root[HASH_BYTES];
    uint8_t log2_size;
    size_t count;
    struct kept_block *blocks; /* by ascending offset */
    struct content *next;
};

struct store {
    uint64_t references;
    uint64_t limit, used;
};

struct store *store_new(uint64_t limit_bytes)
{
    struct store *store = calloc(1, sizeof *store);
    if (store != NULL) {
        store->references = 1;
        store->limit = limit_bytes;
    }
    return store;
}

void store_retain(struct store *store) { store->references++; }

void *store_allocate(struct store *store, size_t size)
{
    if (size > store->limit - store->used)
        return NULL;
    void *memory = calloc(1, size);
    if (memory != NULL)
        store->used += size;
    return memory;
}

void store_free(struct store *store, void *memory, size_t size)
{
    if (memory != NULL) {
        store->used -= size;
        free(memory);
    }
}

uint64_t store_used_bytes(const struct store *store) { return store->used; }

static uint64_t parts_with_data(const struct block *block, unsigned level)
{
    return (block->size >> level) + ((block->size & (((uint64_t)1 << level) - 1)) != 0);
}

static void free_levels(struct kept_block *kept)
{
    if (kept->levels == NULL)
        return;
    for (unsigned level = PAGE_LOG2; level <= kept->block.log2_size; level++)
        store_free(kept->store, kept->levels[level - PAGE_LOG2],
                   (size_t)(parts_with_data(&kept->block, level) + 1) * HASH_BYTES);
    store_free(kept->store, kept->levels, sizeof(uint8_t *) * (kept->block.log2_size - PAGE_LOG2 + 1u));
    kept->levels = NULL;
}

void store_release(struct store *store)
{
    if (--store->references == 0)
        free(store);
}

static void content_free(struct content *content)
{
    for (size_t i = 0; i < content->count; i++)
        free_levels(&content->blocks[i]);
    store_free(content->store, content->blocks, content->count * sizeof *content->blocks);
    store_free(content->store, content, sizeof *content);
}

void content_retain(struct content *content)
{
    if (content != NULL)
        content->references++;
}

void content_release(struct content *content)
{
    while (content != NULL && --content->references == 0) {
        struct content *next = content->next;
        content_free(content);
        content = next;
    }
}

struct content *content_find(struct content *list, const uint8_t root[static HASH_BYTES], unsigned log2_size)
{
    for (struct content *content = list; content != NULL; content = content->next)
        if (content->log2_size == log2_size && memcmp(content->root, root, HASH_BYTES) == 0)
            return content;
    return NULL;
}

/* Index of the first block that ends behind `offset` (blocks are disjoint and sorted, so ends ascend too). */
static size_t first_block_behind(const struct content *content, uint64_t offset)
{
    size_t low = 0, high = content->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct block *block = &content->blocks[middle].block;
        if (block->offset + (((uint64_t)1 << block->log2_size) - 1) < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool content_touches(const struct content *content, uint64_t offset, unsigned log2_size)
{
    size_t i = first_block_behind(content, offset);
    return i < content->count && content->blocks[i].block.offset <= offset + (((uint64_t)1 << log2_size) - 1);
}

/* out[0..size) := bytes `at`.. of one block, zeros behind its data. */
static void block_read(const struct block *block, uint64_t at, uint8_t *out, size_t size)
{
    size_t known = at >= block->size ? 0 : block->size - at < size ? (size_t)(block->size - at) : size;
    if (known != 0)
        copy_big_endian(out, block->data + at, known, block->word_bytes);
    memset(out + known, 0, size - known);
}

void content_read(const struct content *content, uint64_t offset, uint8_t *out, size_t size)
{
    memset(out, 0, size);
    for (size_t i = first_block_behind(content, offset); i < content->count; i++) {
        const struct block *block = &content->blocks[i].block;
        uint64_t block_bytes = (uint64_t)1 << block->log2_size;
        if (block->offset > offset && block->offset - offset >= size)
            break;
        uint64_t at = block->offset > offset ? 0 : offset - block->offset;
        size_t skip = block->offset > offset ? (size_t)(block->offset - offset) : 0;
        size_t take = size - skip;
        if (block_bytes - at < take)
            take = (size_t)(block_bytes - at);
        block_read(block, at, out + skip, take);
    }
}

/* Hashes a whole block page by page and keeps every level. */
static enum memory_status build_levels(struct kept_block *kept)
{
    struct block *block = &kept->block;
    unsigned top = block->log2_size;
    kept->levels = store_allocate(kept->store, sizeof(uint8_t *) * (top - PAGE_LOG2 + 1u));
    if (kept->levels == NULL)
        return MEMORY_FULL;
    for (unsigned level = PAGE_LOG2; level <= top; level++) {
        uint64_t count = parts_with_data(block, level);
        uint8_t *roots = store_allocate(kept->store, (size_t)(count + 1) * HASH_BYTES);
        if (roots == NULL) {
            /* free_levels counts on every level's account, so give back what there is by hand. */
            for (unsigned l = PAGE_LOG2; l < level; l++)
                store_free(kept->store, kept->levels[l - PAGE_LOG2],
                           (size_t)(parts_with_data(block, l) + 1) * HASH_BYTES);
            store_free(kept->store, kept->levels, sizeof(uint8_t *) * (top - PAGE_LOG2 + 1u));
            kept->levels = NULL;
            return MEMORY_FULL;
        }
        kept->levels[level - PAGE_LOG2] = roots;
        if (level == PAGE_LOG2) {
            for (uint64_t i = 0; i < count; i++) {
                uint64_t at = i << PAGE_LOG2;
                uint64_t size = block->size - at < PAGE_BYTES ? block->size - at : PAGE_BYTES;
                merkle_root(block->data + at, size, PAGE_LOG2, block->word_bytes, 1, roots + HASH_BYTES * i);
            }
        } else {
            keccak_pairs(kept->levels[level - 1 - PAGE_LOG2], roots, (size_t)count);
        }
        /* The place behind the last closes an odd level. */
        memcpy(roots + HASH_BYTES * count, zero_root(level), HASH_BYTES);
    }
    if (memcmp(kept->levels[top - PAGE_LOG2], block->root, HASH_BYTES) != 0) {
        free_levels(kept);
        return MEMORY_CONTENT;
    }
    return MEMORY_OK;
}

static enum memory_status block_part_root(struct kept_block *kept, uint64_t at, unsigned log2_size, uint8_t *out)
{
    struct block *block = &kept->block;
    if (log2_size == block->log2_size) {
        memcpy(out, block->root, HASH_BYTES);
    } else if (at >= block->size) {
        memcpy(out, zero_root(log2_size), HASH_BYTES);
    } else if (log2_size < PAGE_LOG2) {
        uint8_t bytes[PAGE_BYTES];
        block_read(block, at, bytes, (size_t)1 << log2_size);
        merkle_root(bytes, (uint64_t)1 << log2_size, log2_size, 1, 1, out);
    } else {
        if (kept->levels == NULL) {
            enum memory_status status = build_levels(kept);
            if (status != MEMORY_OK)
                return status;
        }
        memcpy(out, kept->levels[log2_size - PAGE_LOG2] + HASH_BYTES * (at >> log2_size), HASH_BYTES);
    }
    return MEMORY_OK;
}

enum memory_status content_root(const struct content *content, uint64_t offset, unsigned log2_size,
                                uint8_t out[static HASH_BYTES])
{
    size_t i = first_block_behind(content, offset);
    if (i == content->count || content->blocks[i].block.offset > offset + (((uint64_t)1 << log2_size) - 1)) {
        memcpy(out, zero_root(log2_size), HASH_BYTES);
        return MEMORY_OK;
    }
    struct kept_block *kept = &content->blocks[i];
    if (kept->block.log2_size >= log2_size)
        return block_part_root(kept, offset - kept->block.offset, log2_size, out);
    uint8_t halves[2 * HASH_BYTES];
    for (unsigned side = 0; side < 2; side++) {
        enum memory_status status = content_root(content, offset + ((uint64_t)side << (log2_size - 1)), log2_size - 1,
                                                 halves + HASH_BYTES * side);
        if (status != MEMORY_OK)
            return status;
    }
    keccak_pairs(halves, out, 1);
    return MEMORY_OK;
}

static int by_offset(const void *left, const void *right)
{
    uint64_t a = ((const struct kept_block *)left)->block.offset, b = ((const struct kept_block *)right)->block.offset;
    return (a > b) - (a < b);
}

static const char *block_problem(const struct block *block, unsigned log2_size)
{
    if (block->log2_size < LEAF_LOG2 || block->log2_size > log2_size)
        return "its log2_size is below 5 or above the subtree's";
    uint64_t block_bytes = (uint64_t)1 << block->log2_size;
    if (block->offset & (block_bytes - 1))
        return "its offset is not a multiple of its size";
    if ((block->offset >> (log2_size - 1)) > 1)
        return "it lies outside the subtree";
    if (block->size > block_bytes)
        return "it has more data than bytes";
    if (block->word_bytes != 1 && block->word_bytes != 2 && block->word_bytes != 4 && block->word_bytes != 8)
        return "its word_bytes is not 1, 2, 4 or 8";
    if (block->size % block->word_bytes != 0)
        return "its data is not a whole number of words";
    return NULL;
}

enum memory_status content_add(struct store *store, struct content **list, const uint8_t root[static HASH_BYTES],
                               unsigned log2_size, const struct block *blocks, size_t count, unsigned threads,
                               const char **problem, size_t *problem_block)
{
    *problem = NULL;
    if (content_find(*list, root, log2_size) != NULL)
        return MEMORY_OK;
    for (size_t i = 0; i < count; i++)
        if ((*problem = block_problem(&blocks[i], log2_size)) != NULL) {
            *problem_block = i;
            return MEMORY_CONTENT;
        }
    struct content *content = store_allocate(store, sizeof *content);
    if (content == NULL)
        return MEMORY_FULL;
    content->references = 1;
    content->store = store;
    memcpy(content->root, root, HASH_BYTES);
    content->log2_size = (uint8_t)log2_size;
    content->count = 0;
    if (count != 0) {
        content->blocks =
            count > SIZE_MAX / sizeof *content->blocks ? NULL : store_allocate(store, count * sizeof *content->blocks);
        if (content->blocks == NULL) {
            content_free(content);
            return MEMORY_FULL;
        }
        content->count = count;
    }
    enum memory_status status = MEMORY_OK;
    for (size_t i = 0; i < count && status == MEMORY_OK; i++) {
        struct kept_block *kept = &content->blocks[i];
        kept->block = blocks[i];
        kept->store = store;
        struct block *block = &kept->block;
        if (!block->root_known &&
            !merkle_root(block->data, block->size, block->log2_size, block->word_bytes, threads, block->root))
            status = MEMORY_FULL;
    }
    if (status == MEMORY_OK && count != 0) {
        qsort(content->blocks, count, sizeof *content->blocks, by_offset);
        for (size_t i = 0; i + 1 < count; i++) {
            const struct block *block = &content->blocks[i].block;
            if (content->blocks[i + 1].block.offset - block->offset < (uint64_t)1 << block->log2_size) {
                *problem = "it overlaps another block";
                *problem_block = 0;
                for (size_t j = 0; j < count; j++)
                    if (blocks[j].offset == content->blocks[i + 1].block.offset)
                        *problem_block = j;
                status = MEMORY_CONTENT;
                break;
            }
        }
    }
    uint8_t made[HASH_BYTES];
    if (status == MEMORY_OK)
        status = content_root(content, 0, log2_size, made);
    /* INVARIANT: a content's blocks make its root, so a map can be answered from them. That a block's given root is its
     * data's is the caller's word; it is checked when a part of the block is first hashed (build_levels). */
    if (status == MEMORY_OK && memcmp(made, root, HASH_BYTES) != 0)
        status = MEMORY_CONTENT;
    if (status != MEMORY_OK) {
        content_free(content);
        return status;
    }
    content->next = *list; /* the list's hold on what was its head passes to the new one */
    *list = content;
    return MEMORY_OK;
}
