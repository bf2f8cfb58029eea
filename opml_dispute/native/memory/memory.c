/* Memory of 2^64 bytes: reading and writing, sharing pages with forks, mapping content. The hashes are in memory_hash.c. */
#include "memory_tree.h"
#include <string.h>

static struct branch *branch_new(struct memory *memory, int height)
{
    struct branch *branch = store_allocate(memory->store, sizeof *branch);
    if (branch == NULL)
        return NULL;
    branch->references = 1;
    branch->valid = ~(uint32_t)1;
    for (unsigned place = 1, level = span_log2(height); place < 2 * FANOUT; level--)
        for (unsigned end = 2 * place; place < end; place++)
            memcpy(branch->hash[place], zero_root(level), HASH_BYTES);
    return branch;
}

static struct page *page_new(struct memory *memory)
{
    struct page *page = store_allocate(memory->store, sizeof *page);
    if (page == NULL)
        return NULL;
    page->references = 1;
    page->root_valid = true;
    memcpy(page->root, zero_root(MEMORY_PAGE_LOG2), HASH_BYTES);
    return page;
}

static void child_retain(void *child, int height)
{
    if (child == NULL)
        return;
    if (is_mapping(child))
        as_mapping(child)->references++;
    else if (height == 0)
        ((struct page *)child)->references++;
    else
        ((struct branch *)child)->references++;
}

static void child_release(struct store *store, void *child, int height)
{
    if (child == NULL)
        return;
    if (is_mapping(child)) {
        struct mapping *mapping = as_mapping(child);
        if (--mapping->references == 0) {
            content_release(mapping->content);
            store_free(store, mapping, sizeof *mapping);
        }
    } else if (height == 0) {
        struct page *page = child;
        if (--page->references == 0) {
            store_free(store, page->partial, sizeof *page->partial);
            store_free(store, page, sizeof *page);
        }
    } else {
        struct branch *branch = child;
        if (--branch->references == 0) {
            for (unsigned slot = 0; slot < FANOUT; slot++)
                child_release(store, branch->child[slot], height - 1);
            store_free(store, branch, sizeof *branch);
        }
    }
}

bool memory_init(struct memory *memory, struct store *store)
{
    memory->store = store;
    memory->contents = NULL;
    memory->root = branch_new(memory, TOP_HEIGHT);
    return memory->root != NULL;
}

void memory_free(struct memory *memory)
{
    child_release(memory->store, memory->root, TOP_HEIGHT);
    content_release(memory->contents);
    store_release(memory->store);
    memory->root = NULL;
    memory->store = NULL;
}

void memory_fork(const struct memory *memory, struct memory *copy)
{
    *copy = *memory;
    copy->root->references++;
    content_retain(copy->contents);
    store_retain(copy->store);
}

const struct content *mapping_content(const struct memory *memory, const struct mapping *mapping)
{
    return mapping->content != NULL ? mapping->content
                                    : content_find(memory->contents, mapping->root, mapping->log2_size);
}

enum memory_status branch_child(struct memory *memory, struct branch *branch, int height, uint64_t address,
                                void **child)
{
    unsigned slot = child_slot(address, height);
    void *present = branch->child[slot];
    if (!is_mapping(present)) {
        *child = present;
        return MEMORY_OK;
    }
    struct mapping *mapping = as_mapping(present);
    const struct content *content = mapping_content(memory, mapping);
    if (content == NULL)
        return MEMORY_UNKNOWN;
    unsigned log2_size = span_log2(height - 1);
    uint64_t offset = align_down(address, log2_size) - mapping->address;
    bool hash_valid = (branch->valid >> (FANOUT + slot)) & 1;
    if (!content_touches(content, offset, log2_size)) {
        *child = NULL;
    } else if (height == 1) {
        struct page *page = page_new(memory);
        if (page == NULL)
            return MEMORY_FULL;
        content_read(content, offset, page->bytes, MEMORY_PAGE_BYTES);
        page->root_valid = hash_valid;
        memcpy(page->root, branch->hash[FANOUT + slot], HASH_BYTES);
        *child = page;
    } else {
        struct branch *below = branch_new(memory, height - 1);
        if (below == NULL)
            return MEMORY_FULL;
        for (unsigned i = 0; i < FANOUT; i++)
            below->child[i] = present;
        mapping->references += FANOUT;
        below->valid = (uint32_t)hash_valid << 1;
        memcpy(below->hash[1], branch->hash[FANOUT + slot], HASH_BYTES);
        *child = below;
    }
    branch->child[slot] = *child;
    child_release(memory->store, present, height - 1);
    return MEMORY_OK;
}

/* The page that holds `address`, to read: NULL if it is zero. */
static enum memory_status find_page(struct memory *memory, uint64_t address, struct page **page)
{
    void *at = memory->root;
    for (int height = TOP_HEIGHT; height > 0 && at != NULL; height--) {
        enum memory_status status = branch_child(memory, at, height, address, &at);
        if (status != MEMORY_OK)
            return status;
    }
    *page = at;
    return MEMORY_OK;
}

/* Makes *place, a branch at `height`, ours alone. */
static enum memory_status own_branch(struct memory *memory, void **place, int height)
{
    struct branch *shared = *place;
    if (shared == NULL) {
        *place = branch_new(memory, height);
        return *place == NULL ? MEMORY_FULL : MEMORY_OK;
    }
    if (shared->references == 1)
        return MEMORY_OK;
    struct branch *own = store_allocate(memory->store, sizeof *own);
    if (own == NULL)
        return MEMORY_FULL;
    memcpy(own, shared, sizeof *own);
    own->references = 1;
    for (unsigned slot = 0; slot < FANOUT; slot++)
        child_retain(own->child[slot], height - 1);
    shared->references--;
    *place = own;
    return MEMORY_OK;
}

static enum memory_status own_page(struct memory *memory, void **place)
{
    struct page *shared = *place;
    if (shared == NULL) {
        *place = page_new(memory);
        return *place == NULL ? MEMORY_FULL : MEMORY_OK;
    }
    if (shared->references == 1)
        return MEMORY_OK;
    struct page *own = store_allocate(memory->store, sizeof *own);
    if (own == NULL)
        return MEMORY_FULL;
    memcpy(own, shared, sizeof *own);
    own->references = 1;
    if (shared->partial != NULL) {
        own->partial = store_allocate(memory->store, sizeof *own->partial);
        if (own->partial == NULL) {
            store_free(memory->store, own, sizeof *own);
            return MEMORY_FULL;
        }
        *own->partial = *shared->partial;
    }
    shared->references--;
    *place = own;
    return MEMORY_OK;
}

/* The page that holds `address`, ours alone, and no hash above it valid. */
static enum memory_status find_page_to_write(struct memory *memory, uint64_t address, struct page **page)
{
    /* INVARIANT: below an unknown mapping nothing is written, so its hash stays valid. The read walk stops there before
     * the second walk forgets any hash. */
    enum memory_status status = find_page(memory, address, page);
    void **place = (void **)&memory->root;
    for (int height = TOP_HEIGHT; height > 0 && status == MEMORY_OK; height--) {
        status = own_branch(memory, place, height);
        if (status == MEMORY_OK) {
            struct branch *branch = *place;
            unsigned slot = child_slot(address, height);
            branch->valid &= ~places_above(FANOUT + slot);
            place = &branch->child[slot];
        }
    }
    if (status == MEMORY_OK)
        status = own_page(memory, place);
    if (status != MEMORY_OK)
        return status;
    *page = *place;
    (*page)->root_valid = false;
    return MEMORY_OK;
}

static const uint8_t zero_page[MEMORY_PAGE_BYTES];

enum memory_status memory_page_to_read(struct memory *memory, uint64_t page_index, const uint8_t **page, bool *whole)
{
    struct page *found;
    enum memory_status status = find_page(memory, page_index << MEMORY_PAGE_LOG2, &found);
    if (status != MEMORY_OK)
        return status;
    *page = found == NULL ? zero_page : found->bytes;
    *whole = found == NULL || found->partial == NULL;
    return MEMORY_OK;
}

enum memory_status memory_page_to_write(struct memory *memory, uint64_t page_index, uint8_t **page, bool *whole)
{
    struct page *found;
    enum memory_status status = find_page_to_write(memory, page_index << MEMORY_PAGE_LOG2, &found);
    if (status != MEMORY_OK)
        return status;
    *page = found->bytes;
    *whole = found->partial == NULL;
    return MEMORY_OK;
}

static bool leaf_unknown(const struct page *page, uint64_t address)
{
    return page != NULL && page->partial != NULL &&
           bit_of(page->partial->unknown, (unsigned)(address >> LEAF_LOG2) & (PAGE_LEAVES - 1));
}

enum memory_status memory_leaf_known(struct memory *memory, uint64_t address)
{
    struct page *page;
    enum memory_status status = find_page(memory, address, &page);
    if (status == MEMORY_OK && leaf_unknown(page, address))
        status = MEMORY_UNKNOWN;
    return status;
}

/* Bytes from `address` to the end of its page, at most `size`. */
static size_t page_part(uint64_t address, uint64_t size)
{
    uint64_t left = MEMORY_PAGE_BYTES - (address & (MEMORY_PAGE_BYTES - 1));
    return (size_t)(size < left ? size : left);
}

enum memory_status memory_read(struct memory *memory, uint64_t address, uint8_t *out, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        uint64_t at = address + done;
        size_t part = page_part(at, size - done);
        struct page *page;
        enum memory_status status = find_page(memory, at, &page);
        if (status != MEMORY_OK)
            return status;
        if (page == NULL) {
            memset(out + done, 0, part);
        } else {
            if (page->partial != NULL)
                for (uint64_t leaf = align_down(at, LEAF_LOG2); leaf < at + part; leaf += HASH_BYTES)
                    if (leaf_unknown(page, leaf))
                        return MEMORY_UNKNOWN;
            memcpy(out + done, page->bytes + (at & (MEMORY_PAGE_BYTES - 1)), part);
        }
        done += part;
    }
    return MEMORY_OK;
}

/* MEMORY_OK if every byte of the range is known, and its pages can be ours. */
static enum memory_status prepare_write(struct memory *memory, uint64_t address, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        uint64_t at = address + done;
        size_t part = page_part(at, size - done);
        struct page *page;
        enum memory_status status = find_page(memory, at, &page);
        if (status != MEMORY_OK)
            return status;
        if (page != NULL && page->partial != NULL)
            for (uint64_t leaf = align_down(at, LEAF_LOG2); leaf < at + part; leaf += HASH_BYTES)
                if (leaf_unknown(page, leaf))
                    return MEMORY_UNKNOWN;
        status = find_page_to_write(memory, at, &page);
        if (status != MEMORY_OK)
            return status;
        done += part;
    }
    return MEMORY_OK;
}

enum memory_status memory_write(struct memory *memory, uint64_t address, const uint8_t *data, uint64_t size)
{
    enum memory_status status = prepare_write(memory, address, size);
    for (uint64_t done = 0; done < size && status == MEMORY_OK;) {
        uint64_t at = address + done;
        size_t part = page_part(at, size - done);
        struct page *page;
        status = find_page_to_write(memory, at, &page);
        if (status == MEMORY_OK)
            memcpy(page->bytes + (at & (MEMORY_PAGE_BYTES - 1)), data + done, part);
        done += part;
    }
    return status;
}

enum memory_status memory_zero(struct memory *memory, uint64_t address, uint64_t size)
{
    static const uint8_t zeros[HASH_BYTES];
    while (size != 0) {
        unsigned log2_size = address == 0 ? 63 : (unsigned)__builtin_ctzll(address);
        if (log2_size > 63)
            log2_size = 63;
        while (((uint64_t)1 << log2_size) > size)
            log2_size--;
        uint64_t part;
        enum memory_status status;
        if (log2_size >= LEAF_LOG2) {
            part = (uint64_t)1 << log2_size;
            status = memory_put(memory, address, log2_size, zero_root(log2_size));
        } else {
            part = HASH_BYTES - (address & (HASH_BYTES - 1));
            part = part < size ? part : size;
            status = memory_write(memory, address, zeros, part);
        }
        if (status != MEMORY_OK)
            return status;
        address += part;
        size -= part;
    }
    return MEMORY_OK;
}

/* Puts a subtree of less than a page. */
static enum memory_status put_in_page(struct memory *memory, uint64_t address, unsigned log2_size,
                                      const uint8_t root[static HASH_BYTES])
{
    size_t at = address & (MEMORY_PAGE_BYTES - 1), size = (size_t)1 << log2_size;
    unsigned place = (1u << (MEMORY_PAGE_LOG2 - log2_size)) | (unsigned)(at >> log2_size);
    struct page *page;
    enum memory_status status = find_page(memory, address, &page);
    if (status != MEMORY_OK)
        return status;
    if (page != NULL && page->partial != NULL)
        for (unsigned above = place >> 1; above != 0; above >>= 1)
            if (bit_of(page->partial->fixed, above))
                return MEMORY_UNKNOWN; /* its siblings inside the fixed part are not known */
    bool zero = memcmp(root, zero_root(log2_size), HASH_BYTES) == 0;
    const struct content *content = content_find(memory->contents, root, log2_size);
    bool known = zero || log2_size == LEAF_LOG2 || content != NULL;
    status = find_page_to_write(memory, address, &page);
    if (status != MEMORY_OK)
        return status;
    if (!known && page->partial == NULL) {
        page->partial = store_allocate(memory->store, sizeof *page->partial);
        if (page->partial == NULL)
            return MEMORY_FULL;
    }
    if (log2_size == LEAF_LOG2)
        memcpy(page->bytes + at, root, HASH_BYTES);
    else if (content != NULL && !zero)
        content_read(content, 0, page->bytes + at, size);
    else
        memset(page->bytes + at, 0, size);
    struct partial *partial = page->partial;
    if (partial == NULL)
        return MEMORY_OK;
    for (size_t leaf = at >> LEAF_LOG2; leaf < (at + size) >> LEAF_LOG2; leaf++) {
        uint64_t bit = (uint64_t)1 << (leaf & 63);
        partial->unknown[leaf >> 6] = known ? partial->unknown[leaf >> 6] & ~bit : partial->unknown[leaf >> 6] | bit;
    }
    for (unsigned first = place, count = 1; first < PAGE_LEAVES; first *= 2, count *= 2)
        for (unsigned i = first; i < first + count; i++)
            partial->fixed[i >> 6] &= ~((uint64_t)1 << (i & 63));
    if (!known) {
        partial->fixed[place >> 6] |= (uint64_t)1 << (place & 63);
        memcpy(partial->hash[place], root, HASH_BYTES);
    } else if ((partial->unknown[0] | partial->unknown[1]) == 0) {
        store_free(memory->store, partial, sizeof *partial);
        page->partial = NULL;
    }
    return MEMORY_OK;
}

enum memory_status memory_put(struct memory *memory, uint64_t address, unsigned log2_size,
                              const uint8_t root[static HASH_BYTES])
{
    if (log2_size < MEMORY_PAGE_LOG2)
        return put_in_page(memory, address, log2_size, root);
    /* The branch inside whose span the subtree's root is a heap position other than 1. */
    int target = (int)(log2_size - MEMORY_PAGE_LOG2) / 4 + 1;
    unsigned depth = span_log2(target) - log2_size;
    unsigned first_slot = child_slot(address, target), slots = FANOUT >> depth;
    unsigned place = (FANOUT + first_slot) >> (4 - depth);
    bool zero = memcmp(root, zero_root(log2_size), HASH_BYTES) == 0;

    /* A read walk first, so that nothing is changed if the subtree lies inside something unknown. */
    void *at = memory->root;
    for (int height = TOP_HEIGHT; height > target && at != NULL; height--) {
        enum memory_status status = branch_child(memory, at, height, address, &at);
        if (status != MEMORY_OK)
            return status;
    }
    if (at != NULL) {
        void *present = ((struct branch *)at)->child[first_slot];
        if (is_mapping(present) && as_mapping(present)->log2_size > log2_size &&
            mapping_content(memory, as_mapping(present)) == NULL)
            return MEMORY_UNKNOWN;
    }
    struct mapping *mapping = NULL;
    if (!zero) {
        mapping = store_allocate(memory->store, sizeof *mapping);
        if (mapping == NULL)
            return MEMORY_FULL;
        mapping->references = slots;
        mapping->address = address;
        mapping->log2_size = (uint8_t)log2_size;
        mapping->content = content_find(memory->contents, root, log2_size);
        content_retain(mapping->content);
        memcpy(mapping->root, root, HASH_BYTES);
    }
    void **walk = (void **)&memory->root;
    for (int height = TOP_HEIGHT;; height--) {
        enum memory_status status = own_branch(memory, walk, height);
        if (status != MEMORY_OK) {
            if (mapping != NULL) {
                content_release(mapping->content);
                store_free(memory->store, mapping, sizeof *mapping);
            }
            return status;
        }
        if (height == target)
            break;
        struct branch *branch = *walk;
        unsigned slot = child_slot(address, height);
        branch->valid &= ~places_above(FANOUT + slot);
        walk = &branch->child[slot];
    }
    struct branch *branch = *walk;
    for (unsigned slot = first_slot; slot < first_slot + slots; slot++) {
        child_release(memory->store, branch->child[slot], target - 1);
        branch->child[slot] = mapping == NULL ? NULL : mapping_child(mapping);
    }
    for (unsigned first = place, count = 1; first < 2 * FANOUT; first *= 2, count *= 2)
        for (unsigned i = first; i < first + count; i++)
            branch->valid &= ~((uint32_t)1 << i);
    branch->valid &= ~places_above(place);
    branch->valid |= (uint32_t)1 << place;
    memcpy(branch->hash[place], root, HASH_BYTES);
    return MEMORY_OK;
}
