/* What the OP Stack's cannon counts of a run beside its states, for --debug-info. */
#ifndef OPML_COUNTS_H
#define OPML_COUNTS_H
#include <stdbool.h>
#include <stdint.h>

enum { COUNTED_LINKS = 5 };

struct counts {
    uint64_t linked_stores, failed_stores; /* store conditional */
    uint64_t longest_link;                 /* steps from a load linked to the store conditional of its thread */
    uint64_t lost_reservations;            /* to other stores */
    uint64_t preemptions;                  /* at the end of a slice */
    uint64_t idle_steps;                   /* of thread 0, between its turns */

    struct {
        uint64_t thread, step;
    } links[COUNTED_LINKS]; /* without a store conditional yet, of the threads that linked last, newest first */
    unsigned link_count;
    uint64_t active_thread, idle_since;
};

void counts_linked(struct counts *counts, uint64_t thread, uint64_t step);
void counts_stored(struct counts *counts, uint64_t thread, uint64_t step, bool success);
/* A thread went to the other stack, and `thread` has its turn. */
void counts_preempted(struct counts *counts, uint64_t thread, uint64_t step, bool at_slice_end);
#endif
