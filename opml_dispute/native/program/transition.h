/* One transition of the ML phase: S_t to S_{t+1}. docs/segment.md, "The transition".
 *
 * Host and guest run this same function. They differ in what they bring to it: how a kernel is run (the host may
 * use threads and fast paths), and how a block becomes zero (the guest asks the VM for it). */
#ifndef OPML_TRANSITION_H
#define OPML_TRANSITION_H
#include "record.h"

struct transition_host {
    /* Looks at the data (indices), then runs the node. ST_OK, or a status and nothing written. */
    int (*run)(void *self, const struct record *r);
    /* Makes 2^log2_size bytes at `offset` zero. */
    void (*zero)(void *self, uint64_t offset, unsigned log2_size);
    void *self;
};

/* Runs the node that the header names. `program` and `header` are the addresses of those sections; their bytes are
 * big-endian on every machine. Past the last node it changes nothing. */
void transition(const uint8_t *program, uint8_t *header, const struct transition_host *host);
#endif
