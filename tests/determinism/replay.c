/* Runs programs on another machine than this one and says what it comes to: tests/determinism/replay.py.
 *
 * Linked with the engine's own sources and bare.c into one static program, which an emulator of that machine runs. It reads
 * jobs from standard input, all numbers u64 in the machine's order:
 *   threads, vm_bytes, regions, loads, transitions
 *   each region: offset, size                         what of the segment there will ever be something in
 *   each load:   offset, size, the bytes              the model, the input, the first header
 *   each transition: kind, then
 *       kind 0: nodes, joined_hi                      as opml_ml_run takes them
 *       kind 1: nodes, copies, steps, clearings, workspace_bytes, buffers;
 *               the records of all nodes and copies, nine words a step, a byte a step, the clearings (schedule.c)
 *     then blocks, and for each block: offset, log2_size, size, word_bytes
 * After each transition every block's root, 32 bytes, goes to standard output; if its word_bytes is 0, which says that
 * there is no one width, the block's bytes as they are. */
#define _GNU_SOURCE
#include "bare.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct ml;
struct ml *opml_ml_new(int vm_bytes, unsigned threads);
void opml_ml_free(struct ml *ml);
uint8_t *opml_ml_segment(struct ml *ml);
void opml_ml_run(struct ml *ml, uint64_t count, uint64_t joined_hi);
struct schedule;
struct weights;
struct schedule *opml_schedule_new(struct ml *ml, struct weights *weights, const uint8_t *records, uint64_t nodes,
                                   const uint8_t *copies, const void *plan, uint64_t steps, const uint8_t *chained,
                                   const uint64_t *clearing, uint64_t clearings, uint64_t workspace_bytes,
                                   unsigned buffers);
int opml_schedule_run(struct ml *ml, struct schedule *schedule);
void opml_schedule_free(struct schedule *schedule);
int opml_merkle_root(const uint8_t *data, uint64_t size, unsigned log2_size, unsigned word_bytes, unsigned threads,
                     uint8_t out[32]);

#define SEGMENT_BYTES (1ull << 40)
#define SEGMENT_PLACE ((uint8_t *)(1ull << 41))

/* The engine is compiled with these names for mmap, munmap and madvise. Where it reserves a whole segment, nothing is
 * reserved: an emulator may keep a record for every page of it. The regions of the job are mapped instead. */
void *replay_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    return size >= SEGMENT_BYTES ? SEGMENT_PLACE : mmap(address, size, protection, flags, file, offset);
}
int replay_munmap(void *address, size_t size) { return size >= SEGMENT_BYTES ? 0 : munmap(address, size); }
int replay_madvise(void *address, size_t size, int advice)
{
    return advice == MADV_DONTNEED ? madvise(address, size, advice) : 0;
}

static uint64_t word(void)
{
    uint64_t x;
    bare_need(&x, sizeof x);
    return x;
}

static void *read_new(size_t size)
{
    void *to = malloc(size ? size : 1);
    if (!to)
        bare_stop("replay: no memory");
    bare_need(to, size);
    return to;
}

static void run_schedule(struct ml *ml)
{
    uint64_t nodes = word(), copies = word(), steps = word(), clearings = word();
    uint64_t workspace_bytes = word(), buffers = word();
    uint8_t *records = read_new(512 * (nodes + copies));
    uint64_t *plan = read_new(72 * steps);
    uint8_t *chained = read_new(steps);
    uint64_t *clearing = read_new(24 * clearings);
    struct schedule *schedule = opml_schedule_new(ml, NULL, records, nodes, records + 512 * nodes, plan, steps, chained,
                                                  clearing, clearings, workspace_bytes, (unsigned)buffers);
    if (!schedule || opml_schedule_run(ml, schedule) != 0)
        bare_stop("replay: the schedule did not run");
    opml_schedule_free(schedule);
    free(records);
    free(plan);
    free(chained);
    free(clearing);
}

/* tests/hostile/elsewhere.c */
int run_machines(void);

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "machines") == 0)
        return run_machines();
    uint64_t threads;
    while (bare_get(&threads, sizeof threads)) {
        uint64_t vm_bytes = word(), regions = word(), loads = word(), transitions = word();
        struct {
            uint64_t offset, size;
        } *region = calloc(regions ? regions : 1, sizeof *region);
        if (!region)
            bare_stop("replay: no memory");
        for (uint64_t i = 0; i < regions; i++) {
            region[i].offset = word();
            region[i].size = word();
            int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
            if (mmap(SEGMENT_PLACE + region[i].offset, region[i].size, PROT_READ | PROT_WRITE, flags, -1, 0) ==
                MAP_FAILED)
                bare_stop("replay: cannot map a region");
        }
        struct ml *ml = opml_ml_new((int)vm_bytes, (unsigned)threads);
        if (!ml)
            bare_stop("replay: no segment");
        uint8_t *segment = opml_ml_segment(ml);
        for (uint64_t i = 0; i < loads; i++) {
            uint64_t offset = word(), size = word();
            bare_need(segment + offset, size);
        }
        for (; transitions; transitions--) {
            if (word() == 1) {
                run_schedule(ml);
            } else {
                uint64_t nodes = word(), joined_hi = word();
                opml_ml_run(ml, nodes, joined_hi);
            }
            for (uint64_t blocks = word(); blocks; blocks--) {
                uint64_t offset = word(), log2_size = word(), size = word(), word_bytes = word();
                uint8_t root[32];
                if (word_bytes == 0)
                    bare_put(segment + offset, size);
                else if (opml_merkle_root(segment + offset, size, (unsigned)log2_size, (unsigned)word_bytes, 1, root))
                    bare_put(root, sizeof root);
                else
                    bare_stop("replay: no memory to hash in");
            }
        }
        opml_ml_free(ml);
        for (uint64_t i = 0; i < regions; i++)
            munmap(SEGMENT_PLACE + region[i].offset, region[i].size);
        free(region);
    }
    return 0;
}
