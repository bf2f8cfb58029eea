/* The memory of fast paths: what a worker keeps between nodes, and what was prepared of constants. */
#include "fast.h"

#include <stdlib.h>

void *fast_buffer_get(struct fast_buffer *buffer, size_t size)
{
    if (buffer->size < size) {
        free(buffer->memory);
        buffer->size = 0;
        buffer->memory = aligned_alloc(64, (size + 63) / 64 * 64);
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
