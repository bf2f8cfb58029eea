/* Running one record on buffers of the caller's, outside of any segment: how the compiler folds constants, with the
 * kernels that would run otherwise. The plain kernels only: a fast path may load beyond the end of an operand. */
#include "export.h"
#include "float_mode.h"
#include "kernels/kernels.h"

/* Runs `record`, 512 big-endian bytes, on elements in host order. The record's addresses serve for its validation alone:
 * operand j (the output first) is where the record says, moved by `moved[j]` bytes, counted from `base`.
 * ST_OK, or the status that a node with this record would latch; then nothing was written. */
EXPORT int opml_fold(uint8_t *base, const uint8_t *record, const uint64_t *moved)
{
    struct record r;
    record_decode(&r, record);
    int status = record_check(&r, 0);
    if (status != ST_OK)
        return status;
    record_settle(&r);
    r.out += moved[0];
    for (unsigned j = 0; j < r.n_in; j++)
        r.in[j] += moved[1 + j];
    status = (int)kernel_check_data(base, &r);
    if (status != ST_OK)
        return status;
    uint64_t mode = float_mode_begin();
    kernel_run(base, &r, r.lo, r.hi);
    float_mode_end(mode);
    return ST_OK;
}

/* Sets this thread's floating-point mode to the one that all results are specified in; answers what to restore. */
EXPORT uint64_t opml_float_mode_begin(void) { return float_mode_begin(); }
EXPORT void opml_float_mode_end(uint64_t before) { float_mode_end(before); }
