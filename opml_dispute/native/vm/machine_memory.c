/* A machine's memory, as Python reads, writes, proves and saves it. engine/machine_memory.py is the other side. */
#include "export.h"
#include "machine.h"

static int remember(struct machine *machine, enum memory_status status, uint64_t address)
{
    machine->unknown_address = address;
    return (int)memory_reason(status);
}

EXPORT int opml_machine_read(struct machine *machine, uint64_t address, uint8_t *out, uint64_t size)
{
    return remember(machine, memory_read(&machine->memory, address, out, size), address);
}

EXPORT int opml_machine_write(struct machine *machine, uint64_t address, const uint8_t *data, uint64_t size)
{
    enum memory_status status = memory_write(&machine->memory, address, data, size);
    machine_forget_all(machine);
    return remember(machine, status, address);
}

EXPORT int opml_machine_zero(struct machine *machine, uint64_t address, uint64_t size)
{
    enum memory_status status = memory_zero(&machine->memory, address, size);
    machine_forget_all(machine);
    return remember(machine, status, address);
}

static int misplaced(uint64_t address, unsigned log2_size)
{
    return log2_size < LEAF_LOG2 || log2_size > 63 || (address & (((uint64_t)1 << log2_size) - 1)) != 0;
}

EXPORT int opml_machine_subtree_root(struct machine *machine, uint64_t address, unsigned log2_size,
                                     uint8_t out[static HASH_BYTES])
{
    if (misplaced(address, log2_size))
        return REASON_BAD_STATE;
    enum memory_status status = memory_root(&machine->memory, address, log2_size, out);
    machine_forget_writes(machine);
    return remember(machine, status, address);
}

EXPORT int opml_machine_put_subtree(struct machine *machine, uint64_t address, unsigned log2_size,
                                    const uint8_t root[static HASH_BYTES])
{
    if (misplaced(address, log2_size))
        return REASON_BAD_STATE;
    enum memory_status status = memory_put(&machine->memory, address, log2_size, root);
    machine_forget_all(machine);
    return remember(machine, status, address);
}

/* siblings: room for 59 hashes. */
EXPORT int opml_machine_siblings(struct machine *machine, uint64_t address, unsigned log2_size, uint8_t *siblings)
{
    if (misplaced(address, log2_size))
        return REASON_BAD_STATE;
    enum memory_status status = memory_siblings(&machine->memory, address, log2_size, siblings);
    machine_forget_writes(machine);
    return remember(machine, status, address);
}

/* See content_add. *problem is a constant string or NULL. */
EXPORT int opml_machine_add_subtree(struct machine *machine, const uint8_t root[static HASH_BYTES], unsigned log2_size,
                                    const struct block *blocks, uint64_t count, unsigned threads, const char **problem,
                                    uint64_t *problem_block)
{
    size_t at = 0;
    *problem = NULL;
    if (log2_size < LEAF_LOG2 || log2_size > 63)
        return REASON_BAD_STATE;
    enum memory_status status = content_add(machine->memory.store, &machine->memory.contents, root, log2_size, blocks,
                                            (size_t)count, threads, problem, &at);
    *problem_block = at;
    return (int)memory_reason(status);
}

typedef int visit_subtree(uint64_t address, unsigned log2_size, const uint8_t *root);
typedef int visit_page(uint64_t address, const uint8_t *page);

struct visit_context {
    visit_subtree *subtree;
    visit_page *page;
};

static bool call_subtree(void *context, uint64_t address, unsigned log2_size, const uint8_t root[static HASH_BYTES])
{
    return ((struct visit_context *)context)->subtree(address, log2_size, root) != 0;
}

static bool call_page(void *context, uint64_t address, const uint8_t *page)
{
    return ((struct visit_context *)context)->page(address, page) != 0;
}

/* See memory_visit. 0: a call answered 0. */
EXPORT int opml_machine_visit(struct machine *machine, visit_subtree *subtree, visit_page *page)
{
    struct visit_context context = {subtree, page};
    struct memory_visitor visitor = {&context, call_subtree, call_page};
    return memory_visit(&machine->memory, &visitor);
}
