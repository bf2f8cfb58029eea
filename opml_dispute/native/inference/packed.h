/* The planned steps of a schedule in little memory (packed.c). */
#ifndef OPML_PACKED_H
#define OPML_PACKED_H
#include "schedule.h"

struct packed_steps;

/* Packs steps that will not change; what they point to stays where it is. Null if there is no memory. */
struct packed_steps *steps_pack(const struct step *step, uint64_t steps);
void steps_free(struct packed_steps *p);

/* Step i and those that may run together with it, a group or a chain, as they were; `*next` is the step behind them. They are
 * there until the next call. */
const struct step *steps_open(const struct packed_steps *p, uint64_t i, uint64_t *next);

#endif
