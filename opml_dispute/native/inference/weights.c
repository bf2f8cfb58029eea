/* What is packed of a program's weights for every run of a schedule, whichever inference runs it.
 *
 * Packing takes about as long as it saves in a run or two, so it waits for the second run: a program that runs once is
 * not held up. Inferences of one program, in any threads, share what is packed (engine/segment_memory.py). */
#include <pthread.h>
#include <stdlib.h>

#include "export.h"
#include "schedule.h"

/* All that is packed takes no more than this. */
#define PACKED_MOST (256ull << 20)
/* The run before which weights are packed. */
#define PACKING_RUN 2

/* How many steps back one is looked for that has the same weights. */
#define LOOKS_BACK 256

struct weights {
    pthread_mutex_t lock;
    unsigned runs; /* begun, up to PACKING_RUN */
    uint64_t steps;
    struct fast_prepared packed[]; /* by step */
};

/* For schedules of `steps` steps, all made of one plan; null if there is no memory. */
EXPORT struct weights *opml_weights_new(uint64_t steps)
{
    struct weights *w = calloc(1, sizeof *w + steps * sizeof *w->packed);
    if (!w)
        return NULL;
    w->steps = steps;
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

/* No schedule that took them may run any more. */
EXPORT void opml_weights_free(struct weights *w)
{
    if (!w)
        return;
    for (uint64_t i = 0; i < w->steps; i++)
        fast_prepared_free(&w->packed[i]);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* Whether a step is a product with weights, read where the program holds them, that may be worth packing. */
static int has_weights(const struct step *step)
{
    unsigned factor = step->record.opcode == OP_CONV ? 2 : step->record.opcode == OP_CONTRACT ? 1 : 0;
    return factor && (step->constant >> factor & 1) && !step->prepared.memory;
}

static void pack(struct weights *w, const struct schedule *s, const uint8_t *segment)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < s->steps && bytes < PACKED_MOST; i++) {
        const struct record *r = &s->step[i].record;
        if (!has_weights(&s->step[i]))
            continue;
        struct fast_prepared *packed = &w->packed[i];
        for (uint64_t j = r->opcode == OP_CONV ? i : 0; j > 0 && i - j < LOOKS_BACK && !packed->memory; j--)
            if (w->packed[j - 1].memory && fast_prepares_alike(&s->step[j - 1].record, r)) {
                *packed = w->packed[j - 1];
                packed->is_shared = 1;
            }
        if (packed->memory)
            continue;
        if ((r->opcode == OP_CONV ? fast_prepare_convolution : fast_prepare_channels)(packed, segment, r))
            bytes += packed->bytes;
    }
}

void weights_begin_run(struct weights *w, struct schedule *s, const uint8_t *segment)
{
    if (!w || s->has_packed || s->packed)
        return;
    pthread_mutex_lock(&w->lock);
    if (w->runs < PACKING_RUN && ++w->runs == PACKING_RUN)
        pack(w, s, segment);
    s->has_packed = w->runs == PACKING_RUN;
    pthread_mutex_unlock(&w->lock);
    for (uint64_t i = 0; s->has_packed && i < s->steps; i++)
        if (w->packed[i].memory) {
            s->step[i].prepared = w->packed[i];
            s->step[i].prepared.is_shared = 1;
        }
}
