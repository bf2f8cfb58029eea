/* Counting what happens beside the states. */
#include "counts.h"
#include <string.h>

/* Takes the link of a thread out of the list; false: it is not there. */
static bool take_link(struct counts *counts, uint64_t thread, uint64_t *step)
{
    for (unsigned i = 0; i < counts->link_count; i++) {
        if (counts->links[i].thread != thread)
            continue;
        *step = counts->links[i].step;
        counts->link_count--;
        memmove(&counts->links[i], &counts->links[i + 1], (counts->link_count - i) * sizeof counts->links[0]);
        return true;
    }
    return false;
}

void counts_linked(struct counts *counts, uint64_t thread, uint64_t step)
{
    uint64_t before;
    take_link(counts, thread, &before);
    if (counts->link_count == COUNTED_LINKS)
        counts->link_count--;
    memmove(&counts->links[1], &counts->links[0], counts->link_count * sizeof counts->links[0]);
    counts->links[0].thread = thread;
    counts->links[0].step = step;
    counts->link_count++;
}

void counts_stored(struct counts *counts, uint64_t thread, uint64_t step, bool success)
{
    uint64_t linked;
    if (success)
        counts->linked_stores++;
    else
        counts->failed_stores++;
    if (take_link(counts, thread, &linked) && step - linked > counts->longest_link)
        counts->longest_link = step - linked;
}

void counts_preempted(struct counts *counts, uint64_t thread, uint64_t step, bool at_slice_end)
{
    counts->preemptions += at_slice_end;
    if (counts->active_thread == 0 && thread != 0)
        counts->idle_since = step;
    else if (counts->active_thread != 0 && thread == 0)
        counts->idle_steps += step - counts->idle_since;
    counts->active_thread = thread;
}
