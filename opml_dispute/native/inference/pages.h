/* Memory of freed blocks, kept to be used again.
 *
 * Every tensor has an address of its own, so a run touches fresh pages all the time, and the system has to clear each.
 * Instead the pages of a freed block are moved aside (its place then reads as zero, as it must) and moved in under the
 * next block of that size, if that is about to be overwritten from end to end. What a caller sees is the same memory
 * as without this file; where the system cannot move pages, nothing is kept. */
#ifndef OPML_PAGES_H
#define OPML_PAGES_H
#include <stdint.h>

#define SPARE_LEAST_LOG2 16 /* smaller blocks are cleared by hand */
#define SPARE_MOST_LOG2  30
#define SPARE_SLOTS      64             /* of each size */
#define SPARE_BYTES      (512ull << 20) /* kept at most */
#define MOST_KNOWN       256

struct pages {
    uint8_t *base;                                   /* the segment */
    uint8_t *slot[SPARE_MOST_LOG2 + 1][SPARE_SLOTS]; /* places to put blocks aside; null until first needed */
    uint64_t used[SPARE_MOST_LOG2 + 1][SPARE_SLOTS]; /* bytes that the block there had written */
    unsigned full[SPARE_MOST_LOG2 + 1];              /* slots [0, full) hold a block */
    uint64_t kept;
    struct {
        uint64_t offset, used;
        unsigned log2_size;
    } known[MOST_KNOWN]; /* blocks in use that were announced */
    unsigned known_count;
    int cannot_move;
};

/* All 2^log2_size bytes of a block, which hold nothing so far, are about to become: [lo, hi) written from end to end,
 * the rest zero. */
void pages_announce(struct pages *p, uint64_t offset, unsigned log2_size, uint64_t lo, uint64_t hi);

/* Something in [lo, hi) may be written. To be said before every write: what a block has written is what must be cleared
 * when it is used again. */
void pages_wrote(struct pages *p, uint64_t lo, uint64_t hi);

/* `size` bytes at `offset` become zero. */
void pages_clear(struct pages *p, uint64_t offset, uint64_t size);

/* Gives back what is kept. */
void pages_free(struct pages *p);

#endif
