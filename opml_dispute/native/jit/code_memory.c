/* Memory for machine code: never writable and executable at the same time. */
#define _GNU_SOURCE
#include "jit.h"
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* At least a page between data and code, so that stores to the one are not taken for stores to the other. */
static size_t data_bytes(void)
{
    size_t page = page_bytes();
    return (sizeof(struct code_data) + 2 * page - 1) / page * page;
}

bool code_memory_make(struct code_memory *memory)
{
    uint8_t *start = mmap(NULL, data_bytes() + CODE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return false;
    memory->data = (struct code_data *)start;
    memory->code = start + data_bytes();
    memory->used = 0;
    /* Some systems forbid what was writable to become executable: better known now. */
    if (mprotect(memory->code, CODE_BYTES, PROT_READ | PROT_EXEC) != 0) {
        code_memory_free(memory);
        return false;
    }
    return true;
}

void code_memory_free(struct code_memory *memory)
{
    if (memory->data != NULL)
        munmap(memory->data, data_bytes() + CODE_BYTES);
    memory->data = NULL;
}

bool code_memory_append(struct code_memory *memory, const uint8_t *bytes, size_t count)
{
    size_t page = page_bytes();
    if (count > CODE_BYTES - memory->used)
        return false;
    uint8_t *to = memory->code + memory->used;
    uint8_t *first = memory->code + memory->used / page * page;
    size_t size = (size_t)(to + count - first);
    if (mprotect(first, size, PROT_READ | PROT_WRITE) != 0)
        return false;
    memcpy(to, bytes, count);
    if (mprotect(first, size, PROT_READ | PROT_EXEC) != 0)
        return false;
    __builtin___clear_cache((char *)to, (char *)to + count); /* where instructions have a cache that stores pass by */
    memory->used += count;
    return true;
}
