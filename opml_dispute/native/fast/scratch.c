/* The memory of fast paths: what a worker keeps between nodes, and what was prepared of constants. */
#define _GNU_SOURCE
#include "fast.h"

#include <stdlib.h>
#include <sys/mman.h>

/* From so many bytes on memory is asked for in large pages: what lies far apart is read with few looks at page tables. */
#define LARGE_FROM (512u << 10)
#define LARGE_PAGE (2u << 20)

void *fast_allocate(size_t size)
{
    size_t unit = size < LARGE_FROM ? 64 : LARGE_PAGE;
    size = (size + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, size);
    if (memory && unit == LARGE_PAGE)
        madvise(memory, size, MADV_HUGEPAGE); /* a hint to the system: failure is ignored */
    return memory;
}

void *fast_buffer_get(struct fast_buffer *buffer, size_t size)
{
    if (buffer->size < size) {
        free(buffer->memory);
        buffer->size = 0;
        buffer->memory = fast_allocate(size);
        if (buffer->memory)
            buffer->size = size;
    }
    return buffer->memory;
}

void fast_scratch_free(struct fast_scratch *s)
{
    free(s->packed.memory);
    free(s->layout.memory);
    free(s->wide.memory);
    *s = (struct fast_scratch){0};
}

void fast_prepared_free(struct fast_prepared *p)
{
    if (!p->is_shared)
        free(p->memory);
    p->memory = NULL;
}
