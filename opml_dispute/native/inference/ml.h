/* A segment in memory and the threads that work on it: what ml.c and schedule.c share. */
#ifndef OPML_ML_H
#define OPML_ML_H
#include "pages.h"
#include "threads.h"
#include "program/record.h"

struct ml {
    uint8_t *segment;
    int vm_bytes; /* elements lie as the VM holds them, not in the host's order */
    struct pool *pool;
    struct pages pages;
    uint64_t joined_hi;                       /* opml_ml_run */
    uint64_t fresh_block, fresh_lo, fresh_hi; /* opml_ml_fresh */
    unsigned fresh_log2;
    int joined_done;
};

/* Parts that a node's range [lo, hi) is cut into for `workers` threads, each of `*each` outputs but the last.
 * `more_steps`: what each output costs beyond the record's own kernel. */
unsigned node_parts(const struct record *r, unsigned workers, uint64_t more_steps, uint64_t *each);

#endif
