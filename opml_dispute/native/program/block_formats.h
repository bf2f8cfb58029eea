/* The formats of block-quantised weights: how many elements a block has, in how many bytes.
 *
 * A row of K elements is K / elements blocks, one behind the other. What the bytes mean: kernels/blocks.c and
 * docs/kernels.md, "Blocks". */
#ifndef OPML_BLOCK_FORMATS_H
#define OPML_BLOCK_FORMATS_H
#include <stdint.h>

#include "opcodes.h"

/* FOR_EACH_BLOCK_FORMAT(X) calls X(NAME, elements, bytes of a block). */
#define FOR_EACH_BLOCK_FORMAT(X)                                                                                       \
    X(Q4_0, 32, 18)                                                                                                    \
    X(Q4_1, 32, 20)                                                                                                    \
    X(Q5_0, 32, 22)                                                                                                    \
    X(Q5_1, 32, 24)                                                                                                    \
    X(Q8_0, 32, 34)                                                                                                    \
    X(Q4_K, 256, 144)                                                                                                  \
    X(Q5_K, 256, 176)                                                                                                  \
    X(Q6_K, 256, 210)                                                                                                  \
    X(N4, 32, 24)                                                                                                      \
    X(N8, 32, 40)

/* A block of quantised activations: a big-endian binary32, then `elements` signed bytes. */
#define ACTIVATION_HEAD 4

/* Elements and bytes of a block; 0 if there is no such format. */
static inline uint32_t block_elements(uint64_t format)
{
    switch (format) {
#define BLOCK_ELEMENTS(NAME, ELEMENTS, BYTES)                                                                          \
    case BLOCK_##NAME: return ELEMENTS;
        FOR_EACH_BLOCK_FORMAT(BLOCK_ELEMENTS)
#undef BLOCK_ELEMENTS
    default: return 0;
    }
}
static inline uint32_t block_bytes(uint64_t format)
{
    switch (format) {
#define BLOCK_BYTES(NAME, ELEMENTS, BYTES)                                                                             \
    case BLOCK_##NAME: return BYTES;
        FOR_EACH_BLOCK_FORMAT(BLOCK_BYTES)
#undef BLOCK_BYTES
    default: return 0;
    }
}

#endif
