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
    *s = (struct fast_scratch){0};
}

int fast_run(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    switch (r->opcode) {
    case OP_CONTRACT: return fast_contract(segment, r, lo, hi, s);
    case OP_CONV: return fast_conv(segment, r, lo, hi, s);
    case OP_POOL: return fast_pool(segment, r, lo, hi, s);
    case OP_BINARY: return fast_binary(segment, r, lo, hi);
    default: return 0;
    }
}
