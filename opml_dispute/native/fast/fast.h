/* Faster ways to run some nodes on the host. Each gives the bits that the plain kernel gives, or declines.
 *
 * What a fast path may change is where sums are kept and in which order outputs are made, never the order of one
 * output's sum (docs/arithmetic.md). tests/kernels holds fast and plain together. */
#ifndef OPML_FAST_H
#define OPML_FAST_H
#include <stddef.h>

#include "../kernels/kernels.h"

/* Memory that a worker keeps between nodes. */
struct fast_buffer {
    void *memory;
    size_t size;
};
struct fast_scratch {
    struct fast_buffer packed; /* gemm's */
    struct fast_buffer layout; /* the input of a convolution or a pooling */
};

/* At least `size` bytes, aligned to 64; null if there is no memory (then decline). */
void *fast_buffer_get(struct fast_buffer *buffer, size_t size);
void fast_scratch_free(struct fast_scratch *s);

/* One opcode each, as fast_run. */
int fast_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_pool(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_binary(u8 *segment, const struct record *r, u64 lo, u64 hi);

/* Makes outputs [lo, hi) of r, whose elements lie in the host's byte order; 0 if no fast path takes it. */
int fast_run(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);

#endif
