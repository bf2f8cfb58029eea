/* The host's side of an inference: a segment in memory, and nodes run in it.
 *
 * The segment is 2^40 bytes of address space reserved without memory: pages come when they are touched, and go when
 * their block is freed. Elements lie in the host's byte order (or, with `vm_bytes`, as the VM holds them); PROGRAM and
 * HEADER always hold the VM's bytes. `opml_ml_run` does transitions; a node's range is cut into parts for threads,
 * which changes no bit (kernels.h). Reading, writing and hashing the segment is Python's work (inference.py). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "export.h"
#include "fast/doubles.h"
#include "fast/fast.h"
#include "fast/integers.h"
#include "float_mode.h"
#include "kernels/kernels.h"
#include "ml.h"
#include "program/block_formats.h"
#include "program/opcodes.h"
#include "program/transition.h"

/* The kernels of kernels/big_endian.c. */
kernel kernel_run_bytes;
enum inference_status kernel_check_data_bytes(const uint8_t *segment, const struct record *r);

/* The segment, and a page behind it: fast paths load whole vectors, which may go over the end of what they need. */
#define MAPPED_BYTES ((1ull << SEGMENT_LOG2) + 65536)

/* Parts smaller than this (in inner steps) are not worth waking a thread for. */
#define LEAST_PART (1u << 15)
/* gemm's register tiles (fast/gemm.h) take rows well by fours. */
#define CHANNELS_TOGETHER 4

static int is_float(uint8_t dtype) { return dtype == DT_F32 || dtype == DT_F16 || dtype == DT_BF16; }

/* Inner steps that one output element takes, and how many outputs belong together. */
static uint64_t steps_each(const struct record *r, uint64_t *grain)
{
    const int64_t *body = r->body;
    uint64_t steps = 1;
    *grain = 16;
    switch (r->opcode) {
    case OP_CONTRACT:
        *grain = r->dim[r->rank - 1];
        if ((r->hi - r->lo) / *grain < 64) /* few rows: cut columns, a cache line at a time */
            *grain = 16;
        return is_float(r->dtype_in[0]) ? (r->imm[0] + 3) / 4 : r->imm[0]; /* four products take the time of a step */
    case OP_CONV: {
        uint64_t channel = 1;
        for (int d = 0; d < body[0]; d++)
            channel *= (uint64_t)body[20 + d];
        if ((r->hi - r->lo) / channel >= 2) /* cut between channels, and between the rows of register tiles */
            *grain = (r->hi - r->lo) / channel >= 4 * CHANNELS_TOGETHER ? CHANNELS_TOGETHER * channel : channel;
        steps = (uint64_t)body[2] / (uint64_t)body[4];
    } /* fall through */
    case OP_POOL:
    case OP_POOL_INDEX:
        for (int d = 0; d < body[0]; d++)
            steps *= (uint64_t)body[8 + d];
        return steps;
    case OP_REDUCE:
    case OP_ARGREDUCE:
    case OP_TOPK:
    case OP_SCAN:
    case OP_DOUBLE_SUMS:
    case OP_DOUBLE_SCANS:
    case OP_DOUBLE_EXTREMES:
    case OP_RANKS:
        for (unsigned d = r->rank - (unsigned)r->imm[1]; d < r->rank; d++)
            steps *= r->dim[d];
        *grain = 1;
        return steps;
    case OP_TREE: *grain = 1; return (uint64_t)body[3] * (1 + (uint64_t)body[6] + (uint64_t)body[7]);
    case OP_BLOCK_QUANTISE: return r->imm[0];
    case OP_BLOCK_GATHER: return 8ull * block_elements(r->imm[0]);
    case OP_BLOCK_CONTRACT:
        if ((r->hi - r->lo) / (uint64_t)body[1] >= 8) {
            *grain = (uint64_t)body[1];
            return (uint64_t)body[2] / 8;
        }
        *grain = 32; /* columns: of few rows, what takes time is to read and unpack the weights */
        return (uint64_t)body[2];
    default: return 1;
    }
}

unsigned node_parts(const struct record *r, unsigned workers, uint64_t more_steps, uint64_t *each)
{
    uint64_t grain, count = r->hi - r->lo, steps = steps_each(r, &grain) + more_steps, parts = workers;
    uint64_t affordable = count * steps / LEAST_PART; /* ASSUMES record_check: at most RECORD_MAX_WORK steps a node */
    if (affordable < parts)
        parts = affordable;
    if (parts > POOL_MOST_PARTS)
        parts = POOL_MOST_PARTS;
    if (r->opcode == OP_SCATTER || parts < 1)
        parts = 1;
    *each = parts == 1 ? count : (count / parts + grain - 1) / grain * grain;
    return (unsigned)parts;
}

/* One node, shared out. */
struct job {
    struct ml *ml;
    const struct record *record;
    uint64_t each;
    unsigned parts;
};

static void run_part(void *self, unsigned part, unsigned worker, struct fast_scratch *scratch)
{
    const struct job *job = self;
    const struct record *r = job->record;
    uint64_t count = r->hi - r->lo, begin = part * job->each, end = begin + job->each;
    (void)worker;
    if (begin >= count)
        return;
    if (end > count || part + 1 == job->parts)
        end = count;
    if (job->ml->vm_bytes)
        kernel_run_bytes(job->ml->segment, r, r->lo + begin, r->lo + end);
    else if (!fast_run(job->ml->segment, r, r->lo + begin, r->lo + end, NULL, scratch))
        kernel_run(job->ml->segment, r, r->lo + begin, r->lo + end);
}

static int run_node(void *self, const struct record *node)
{
    struct ml *ml = self;
    struct record whole = *node, *r = &whole;
    if (ml->joined_done)
        return ST_OK; /* the first of its kin made its part too */
    if (ml->joined_hi) {
        whole.hi = ml->joined_hi;
        ml->joined_done = 1;
    }
    int status = (int)(ml->vm_bytes ? kernel_check_data_bytes : fast_check_data)(ml->segment, r);
    if (status != ST_OK)
        return status;
    struct extent touched[1 + RECORD_MAX_IN];
    record_check(node, touched);
    pages_wrote(&ml->pages, touched[0].lo, touched[0].hi);
    if (ml->fresh_log2)
        pages_announce(&ml->pages, ml->fresh_block, ml->fresh_log2, ml->fresh_lo, ml->fresh_hi);
    ml->fresh_log2 = 0;
    struct job job = {.ml = ml, .record = r};
    job.parts = node_parts(r, pool_workers(ml->pool), 0, &job.each);
    pool_run(ml->pool, job.parts, run_part, &job);
    return ST_OK;
}

static void zero_block(void *self, uint64_t offset, unsigned log2_size)
{
    struct ml *ml = self;
    pages_clear(&ml->pages, offset, 1ull << log2_size);
}

/* Frees a segment and its threads. */
EXPORT void opml_ml_free(struct ml *ml)
{
    if (!ml)
        return;
    pool_free(ml->pool);
    pages_free(&ml->pages);
    if (ml->segment)
        munmap(ml->segment, MAPPED_BYTES);
    free(ml);
}

/* An empty segment; nodes will be run by `threads` threads. Null if the address space or memory is not to be had. */
EXPORT struct ml *opml_ml_new(int vm_bytes, unsigned threads)
{
    struct ml *ml = calloc(1, sizeof *ml);
    if (!ml)
        return NULL;
    ml->vm_bytes = vm_bytes;
    ml->pool = pool_new(threads);
    if (!ml->pool) {
        free(ml);
        return NULL;
    }
    void *segment =
        mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (segment == MAP_FAILED) {
        opml_ml_free(ml);
        return NULL;
    }
    ml->segment = ml->pages.base = segment;
    /* Large pages where there are any: a tensor's first write costs a fault for each page. Failure is ignored. */
    madvise(ml->segment + SEC_WEIGHTS, (1ull << SEGMENT_LOG2) - SEC_WEIGHTS, MADV_HUGEPAGE);
    return ml;
}

/* Where the segment lies in this process. */
EXPORT uint8_t *opml_ml_segment(struct ml *ml) { return ml->segment; }

/* For speed, and changing nothing else: the next node to run writes all of [lo, hi), in the block of 2^log2_size bytes at
 * `block`, which is zero so far. ASSUMES that, and that the node fails in no case. */
EXPORT void opml_ml_fresh(struct ml *ml, uint64_t block, unsigned log2_size, uint64_t lo, uint64_t hi)
{
    ml->fresh_block = block;
    ml->fresh_log2 = log2_size;
    ml->fresh_lo = lo;
    ml->fresh_hi = hi;
}

/* Makes `count` transitions. If `joined_hi` is not 0, the nodes are parts of one range that ends there, and run as one:
 * the same record but for lo and hi, one behind the other, frees in the last only. ASSUMES the caller looked (their
 * records are judged good, and look at no data), so that this changes the speed and nothing else. */
EXPORT void opml_ml_run(struct ml *ml, uint64_t count, uint64_t joined_hi)
{
    struct transition_host host = {run_node, zero_block, ml};
    uint64_t mode = float_mode_begin();
    ml->joined_hi = joined_hi;
    while (count--)
        transition(ml->segment + SEC_PROGRAM, ml->segment + SEC_HEADER, &host);
    ml->joined_hi = 0;
    ml->joined_done = 0;
    ml->fresh_log2 = 0;
    float_mode_end(mode);
}

/* Makes `size` bytes at `offset` zero. */
EXPORT void opml_ml_zero(struct ml *ml, uint64_t offset, uint64_t size) { pages_clear(&ml->pages, offset, size); }

/* Judges `count` records of 512 bytes: status[i]; in extents[i][0..6][lo, hi, width] what record i touches (the output
 * first; zero where there is no such operand); in steps[i] the VM steps that it takes at most. Extents and steps are zero
 * where record_check refused; steps are compared with no limit. */
EXPORT void opml_records_check(const uint8_t *records, uint64_t count, int32_t *status, uint64_t *extents,
                               uint64_t *steps)
{
    for (uint64_t i = 0; i < count; i++) {
        struct record r;
        struct extent e[1 + RECORD_MAX_IN];
        uint64_t *to = extents + i * 3 * (1 + RECORD_MAX_IN);
        record_decode(&r, records + i * RECORD_BYTES);
        status[i] = record_check(&r, e);
        steps[i] = status[i] == ST_OK ? record_steps(&r) : 0;
        memset(to, 0, sizeof(uint64_t) * 3 * (1 + RECORD_MAX_IN));
        for (unsigned j = 0; status[i] == ST_OK && j < 1u + r.n_in; j++) {
            to[3 * j] = e[j].lo;
            to[3 * j + 1] = e[j].hi;
            to[3 * j + 2] = e[j].width;
        }
    }
}

/* For tests: instructions in `mask` (fast/integers.h) are not used from now on. */
EXPORT void opml_hide_features(unsigned mask) { integer_features_hide(mask); }

/* Runs one node on memory that is not a segment: for tests. `fast`: 0 plain kernels, 1 with fast paths, 2 the kernels
 * of kernels/big_endian.c, 3 fast paths after a factor was packed as one that never changes (-1 if that is not done).
 * Addresses in the record count from `base`. The record is judged as ever. */
EXPORT int opml_kernel(uint8_t *base, const uint8_t *record, int fast)
{
    struct record r;
    struct fast_scratch scratch = {0};
    record_decode(&r, record);
    int status = record_check(&r, 0);
    if (status != ST_OK)
        return status;
    record_settle(&r);
    status = (int)(fast == 2 ? kernel_check_data_bytes : fast ? fast_check_data : kernel_check_data)(base, &r);
    if (status != ST_OK)
        return status;
    struct fast_prepared prepared = {0};
    if (fast == 3 && !(r.opcode == OP_CONV       ? fast_prepare_convolution(&prepared, base, &r)
                       : r.opcode == OP_CONTRACT ? fast_prepare_channels(&prepared, base, &r)
                                                 : 0))
        return -1;
    uint64_t mode = float_mode_begin();
    if (fast == 2)
        kernel_run_bytes(base, &r, r.lo, r.hi);
    else if (!fast || !fast_run(base, &r, r.lo, r.hi, &prepared, &scratch))
        kernel_run(base, &r, r.lo, r.hi);
    float_mode_end(mode);
    fast_prepared_free(&prepared);
    fast_scratch_free(&scratch);
    return ST_OK;
}
