/* Hashes of memory: roots, proofs, and the walk that saves a memory.
 *
 * branch_hash computes one missing hash. It first gathers, top down, all that is missing below it and needed
 * (gather_branch), then hashes bottom up: all pages, then all branches of height 1, 2, ... each in vector batches. */
#include "memory_tree.h"
#include <stdlib.h>
#include <string.h>

/* ---- pages ---- */

static void page_part_hash(const struct page *page, unsigned place, uint8_t *out)
{
    unsigned depth = 31u - (unsigned)__builtin_clz(place);
    unsigned log2_size = MEMORY_PAGE_LOG2 - depth;
    const uint8_t *bytes = page->bytes + ((size_t)(place ^ (1u << depth)) << log2_size);
    if (page->partial != NULL && place < PAGE_LEAVES) {
        if (bit_of(page->partial->fixed, place)) {
            memcpy(out, page->partial->hash[place], HASH_BYTES);
        } else {
            uint8_t halves[2 * HASH_BYTES];
            page_part_hash(page, 2 * place, halves);
            page_part_hash(page, 2 * place + 1, halves + HASH_BYTES);
            keccak_pairs(halves, out, 1);
        }
        return;
    }
    merkle_root(bytes, (uint64_t)1 << log2_size, log2_size, 1, 1, out); /* less than a chunk: cannot fail */
}

enum memory_status page_hash(const struct page *page, unsigned place, uint8_t out[static HASH_BYTES])
{
    if (page->partial != NULL)
        for (unsigned above = place >> 1; above != 0; above >>= 1)
            if (bit_of(page->partial->fixed, above))
                return MEMORY_UNKNOWN;
    page_part_hash(page, place, out);
    return MEMORY_OK;
}

void page_make_root(struct page *page)
{
    if (!page->root_valid)
        page_part_hash(page, 1, page->root);
    page->root_valid = true;
}

enum { PAGE_BATCH = 8 };

/* The roots of up to PAGE_BATCH whole pages: four levels page by page, the upper three across pages, to fill vectors. */
static void make_page_roots(struct page *const *pages, size_t count)
{
    _Alignas(64) uint8_t nodes[PAGE_BATCH][MEMORY_PAGE_BYTES / 2];
    const uint8_t *in[4 * PAGE_BATCH];
    uint8_t *out[4 * PAGE_BATCH];
    for (size_t i = 0; i < count; i++) {
        keccak_pairs(pages[i]->bytes, nodes[i], 64);
        for (size_t pairs = 32; pairs >= 8; pairs /= 2)
            keccak_pairs(nodes[i], nodes[i], pairs);
    }
    for (size_t pairs = 4; pairs != 0; pairs /= 2) {
        /* WHY NOT in place: jobs of one gather may run in any order. The other half of `nodes` is free. */
        size_t from = pairs == 2 ? 1024 : 0, to = 1024 - from, jobs = 0;
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < pairs; j++, jobs++) {
                in[jobs] = nodes[i] + from + 64 * j;
                out[jobs] = pairs == 1 ? pages[i]->root : nodes[i] + to + HASH_BYTES * j;
            }
        keccak_pairs_gather(in, out, jobs);
    }
    for (size_t i = 0; i < count; i++)
        pages[i]->root_valid = true;
}

/* ---- branches ---- */

struct wanted_branch {
    struct branch *branch;
    uint32_t places; /* heap positions to make valid */
};

struct list {
    void *items;
    size_t count, room;
};

struct gather {
    struct memory *memory;
    struct list pages;                    /* of struct page * */
    struct list branches[TOP_HEIGHT + 1]; /* of struct wanted_branch, by height */
};

static void *list_add(struct list *list, size_t item_size)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : 2 * list->room;
        void *items = realloc(list->items, room * item_size);
        if (items == NULL)
            return NULL;
        list->items = items;
        list->room = room;
    }
    return (uint8_t *)list->items + item_size * list->count++;
}

static enum memory_status gather_branch(struct gather *gather, struct branch *branch, int height, uint64_t start,
                                        unsigned place)
{
    if ((branch->valid >> place) & 1)
        return MEMORY_OK;
    uint32_t places = (uint32_t)1 << place;
    for (unsigned i = place; i < FANOUT; i++)
        if ((places >> i) & 1)
            places |= ((uint32_t)3 << (2 * i)) & ~branch->valid;
    for (unsigned slot = 0; slot < FANOUT; slot++) {
        if (!((places >> (FANOUT + slot)) & 1))
            continue;
        void *child = branch->child[slot];
        uint8_t *hash = branch->hash[FANOUT + slot];
        unsigned log2_size = span_log2(height - 1);
        uint64_t address = start + ((uint64_t)slot << log2_size);
        enum memory_status status = MEMORY_OK;
        if (child == NULL) {
            memcpy(hash, zero_root(log2_size), HASH_BYTES);
        } else if (is_mapping(child)) {
            const struct content *content = mapping_content(gather->memory, as_mapping(child));
            status = content == NULL ? MEMORY_UNKNOWN
                                     : content_root(content, address - as_mapping(child)->address, log2_size, hash);
        } else if (height > 1) {
            status = gather_branch(gather, child, height - 1, address, 1);
        } else if (!((struct page *)child)->root_valid) {
            if (((struct page *)child)->partial != NULL) {
                page_make_root(child);
            } else {
                struct page **item = list_add(&gather->pages, sizeof *item);
                if (item == NULL)
                    return MEMORY_FULL;
                *item = child;
            }
        }
        if (status != MEMORY_OK)
            return status;
    }
    struct wanted_branch *item = list_add(&gather->branches[height], sizeof *item);
    if (item == NULL)
        return MEMORY_FULL;
    *item = (struct wanted_branch){branch, places};
    return MEMORY_OK;
}

static void hash_branches(const struct list *list, int height)
{
    enum { JOBS = 256 };
    const uint8_t *in[JOBS];
    uint8_t *out[JOBS];
    const struct wanted_branch *wanted = list->items;
    for (size_t i = 0; i < list->count; i++) {
        struct branch *branch = wanted[i].branch;
        for (unsigned slot = 0; slot < FANOUT; slot++) {
            void *child = branch->child[slot];
            if (!((wanted[i].places >> (FANOUT + slot)) & 1) || child == NULL || is_mapping(child))
                continue; /* gather_branch filled in those */
            memcpy(branch->hash[FANOUT + slot],
                   height == 1 ? ((struct page *)child)->root : ((struct branch *)child)->hash[1], HASH_BYTES);
        }
    }
    for (unsigned level = FANOUT / 2; level != 0; level /= 2) {
        size_t jobs = 0;
        for (size_t i = 0; i < list->count; i++)
            for (unsigned place = level; place < 2 * level; place++) {
                if (!((wanted[i].places >> place) & 1))
                    continue;
                in[jobs] = wanted[i].branch->hash[2 * place];
                out[jobs] = wanted[i].branch->hash[place];
                if (++jobs == JOBS) {
                    keccak_pairs_gather(in, out, jobs);
                    jobs = 0;
                }
            }
        keccak_pairs_gather(in, out, jobs);
    }
    for (size_t i = 0; i < list->count; i++)
        wanted[i].branch->valid |= wanted[i].places;
}

enum memory_status branch_hash(struct memory *memory, struct branch *branch, int height, uint64_t start, unsigned place)
{
    if ((branch->valid >> place) & 1)
        return MEMORY_OK;
    struct gather gather = {.memory = memory};
    enum memory_status status = gather_branch(&gather, branch, height, start, place);
    if (status == MEMORY_OK) {
        struct page *const *pages = gather.pages.items;
        for (size_t i = 0; i < gather.pages.count; i += PAGE_BATCH)
            make_page_roots(pages + i, gather.pages.count - i < PAGE_BATCH ? gather.pages.count - i : PAGE_BATCH);
        for (int h = 1; h <= height; h++)
            hash_branches(&gather.branches[h], h);
    }
    free(gather.pages.items);
    for (int h = 1; h <= TOP_HEIGHT; h++)
        free(gather.branches[h].items);
    return status;
}

/* ---- roots and siblings ---- */

/* out := root of the 2^log2_size bytes at `address` inside what `child` (below height `height`) is. */
enum memory_status memory_root(struct memory *memory, uint64_t address, unsigned log2_size,
                               uint8_t out[static HASH_BYTES])
{
    struct branch *branch = memory->root;
    for (int height = TOP_HEIGHT; height > 0; height--) {
        unsigned slot = child_slot(address, height);
        uint64_t start = align_down(address, span_log2(height));
        enum memory_status status;
        if (log2_size >= span_log2(height - 1)) {
            unsigned place = (FANOUT + slot) >> (log2_size - span_log2(height - 1));
            /* A hash that is there serves even if nothing below it is known. */
            status = branch_hash(memory, branch, height, start, place);
            if (status == MEMORY_OK)
                memcpy(out, branch->hash[place], HASH_BYTES);
            return status;
        }
        void *child = branch->child[slot];
        if (is_mapping(child)) {
            const struct content *content = mapping_content(memory, as_mapping(child));
            return content == NULL ? MEMORY_UNKNOWN
                                   : content_root(content, address - as_mapping(child)->address, log2_size, out);
        }
        if (child == NULL) {
            memcpy(out, zero_root(log2_size), HASH_BYTES);
            return MEMORY_OK;
        }
        if (height == 1) {
            unsigned place = (1u << (MEMORY_PAGE_LOG2 - log2_size)) |
                             (unsigned)((address & (MEMORY_PAGE_BYTES - 1)) >> log2_size);
            return page_hash(child, place, out);
        }
        branch = child;
    }
    return MEMORY_OK; /* not reached: height 1 always answers */
}

enum memory_status memory_siblings(struct memory *memory, uint64_t address, unsigned log2_size,
                                   uint8_t siblings[static HASH_BYTES])
{
    /* From the top, so that a mapping is met (and refused or answered) before what lies inside it. */
    for (unsigned level = 63; level + 1 > log2_size; level--) {
        uint64_t sibling = align_down(address, level) ^ ((uint64_t)1 << level);
        enum memory_status status = memory_root(memory, sibling, level, siblings + HASH_BYTES * (level - log2_size));
        if (status != MEMORY_OK)
            return status;
    }
    return MEMORY_OK;
}

/* ---- saving ---- */

static bool visit_page(struct page *page, uint64_t address, const struct memory_visitor *visitor)
{
    if (!visitor->page(visitor->context, address, page->bytes))
        return false;
    for (unsigned place = 1; page->partial != NULL && place < PAGE_LEAVES; place++)
        if (bit_of(page->partial->fixed, place)) {
            unsigned depth = 31u - (unsigned)__builtin_clz(place), log2_size = MEMORY_PAGE_LOG2 - depth;
            uint64_t at = address + ((uint64_t)(place ^ (1u << depth)) << log2_size);
            if (!visitor->subtree(visitor->context, at, log2_size, page->partial->hash[place]))
                return false;
        }
    return true;
}

static bool visit_branch(struct branch *branch, int height, uint64_t start, const struct memory_visitor *visitor)
{
    for (unsigned slot = 0; slot < FANOUT; slot++) {
        unsigned log2_size = span_log2(height - 1);
        uint64_t address = start + ((uint64_t)slot << log2_size);
        void *child = branch->child[slot];
        bool going;
        if (child == NULL) {
            going = visitor->subtree(visitor->context, address, log2_size, zero_root(log2_size));
        } else if (is_mapping(child)) {
            const struct mapping *mapping = as_mapping(child);
            going = visitor->subtree(visitor->context, mapping->address, mapping->log2_size, mapping->root);
        } else {
            going = height > 1 ? visit_branch(child, height - 1, address, visitor)
                               : visit_page(child, address, visitor);
        }
        if (!going)
            return false;
    }
    return true;
}

bool memory_visit(struct memory *memory, const struct memory_visitor *visitor)
{
    return visit_branch(memory->root, TOP_HEIGHT, 0, visitor);
}
