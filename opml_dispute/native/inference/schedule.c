/* A whole inference in one run, for when no state between the first and the last is needed.
 *
 * engine/schedule.py says what to do, and why that comes to the same last state: its steps are node records whose
 * operands lie wherever that is fastest. Tensors that come and go share a small workspace, so that memory is touched
 * once and stays in the caches; weights are read where the program holds them. A chain of steps that each make element i
 * from elements i runs stretch by stretch, and what only its next step needs stays in a worker's own buffer.
 *
 * An operand's address in the plan given to opml_schedule_new:
 *   bit 60   bytes into the workspace           bit 61   an address in this process
 *   bit 62   the number of a worker's buffer    none     bytes into the segment */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "export.h"
#include "float_mode.h"
#include "kernels/kernels.h"
#include "ml.h"
#include "packed.h"
#include "schedule.h"
#include "program/opcodes.h"

#define IN_WORKSPACE (1ull << 60)
#define IN_PROCESS   (1ull << 61)
#define IN_BUFFER    (1ull << 62)

/* A head and the steps chained to it, shared out. */
struct job {
    struct ml *ml;
    const struct schedule *schedule;
    const struct step *step; /* of `steps` */
    unsigned steps, parts;
    int rows;    /* parts are rows of a group (rows.c) */
    int columns; /* parts are positions of every channel, not a range (fast_conv_columns) */
    uint64_t each;
};

/* The steps chained to a head that was made, on [begin, end). */
static void run_chain(const struct job *job, const struct step *step, unsigned steps, uint64_t begin, uint64_t end,
                      unsigned worker, struct fast_scratch *scratch)
{
    uint8_t *segment = job->ml->segment;
    uint64_t lo = begin, apart = worker * (job->schedule->buffers * BUFFER_BYTES);
    if (steps && worker == 0 && lo == 0) {
        lo = end < STRETCH ? end : STRETCH;
        schedule_stretch(step, NULL, steps, segment, 0, lo, scratch);
    }
    if (!steps || lo >= end)
        return;
    struct record copy[CHAIN_MOST];
    for (unsigned i = 0; i < steps; i++)
        if (step[i].buffered)
            copy[i] = step[i].record;
    for (; lo < end; lo += STRETCH) {
        for (unsigned i = 0; i < steps; i++)
            schedule_place(&copy[i], &step[i], apart, lo);
        schedule_stretch(step, copy, steps, segment, lo, end - lo < STRETCH ? end : lo + STRETCH, scratch);
    }
}

static void run_columns(const struct job *job, unsigned part, unsigned worker, struct fast_scratch *scratch)
{
    const struct step *head = job->step;
    const struct record *r = &head->record;
    uint64_t size = 1, first = part * job->each, end = first + job->each;
    for (int d = 0; d < r->body[0]; d++)
        size *= (uint64_t)r->body[20 + d];
    end = end < size ? end : size;
    fast_run_columns(job->ml->segment, r, first, end, &head->finish, &head->prepared, scratch);
    unsigned made = 1 + head->finishes;
    for (uint64_t channel = r->lo; made < job->steps && channel < r->hi; channel += size)
        run_chain(job, head + made, job->steps - made, channel + first, channel + end, worker, scratch);
}

/* A gather and the steps chained to it, stretch by stretch: what it fetched is in the nearest cache when it is read. */
static void run_gather(const struct job *job, const struct step *step, unsigned steps, uint64_t begin, uint64_t end,
                       unsigned worker, struct fast_scratch *scratch)
{
    for (uint64_t lo = begin, hi; lo < end; lo = hi) {
        hi = end - lo < STRETCH ? end : lo + STRETCH;
        if (!fast_run(job->ml->segment, &step->record, lo, hi, NULL, scratch))
            kernel_run(job->ml->segment, &step->record, lo, hi);
        run_chain(job, step + 1, steps - 1, lo, hi, worker, scratch);
    }
}

/* Elements [begin, end) of a head and of the steps chained to it. */
static void run_range(const struct job *job, const struct step *step, unsigned steps, uint64_t begin, uint64_t end,
                      unsigned worker, struct fast_scratch *scratch)
{
    const struct record *head = &step->record;
    if (head->opcode == OP_GATHER && steps > 1) {
        run_gather(job, step, steps, begin, end, worker, scratch);
        return;
    }
    if (step->finishes) {
        unsigned made = 1 + step->finishes;
        fast_run_finished(job->ml->segment, head, begin, end, &step->finish, &step->prepared, scratch);
        step += made;
        steps -= made;
    } else if ((steps == 1 && !step->passes) || !schedule_is_elementwise(head)) {
        if (!fast_run(job->ml->segment, head, begin, end, &step->prepared, scratch))
            kernel_run(job->ml->segment, head, begin, end);
        step++;
        steps--;
    }
    run_chain(job, step, steps, begin, end, worker, scratch);
}

/* Rows [row, end) of the steps from `step` on that are one function of rows. */
static void run_together(const struct step *step, uint64_t row, uint64_t end)
{
    if (step->are_exponentials)
        fast_exponential_rows(&step->exponential, row, end);
    else
        fast_square_rows(&step->square, row, end);
}

/* Rows [part * each, ...) of a group, some at a time. */
static void run_rows(const struct job *job, unsigned part, unsigned worker, struct fast_scratch *scratch)
{
    const struct step *first = job->step;
    uint64_t row = part * job->each, last = row + job->each;
    last = last < first->rows ? last : first->rows;
    for (uint64_t end; row < last; row = end) {
        end = last - row < first->rows_at_once ? last : row + first->rows_at_once;
        for (unsigned i = 0, next; i < job->steps; i = next) {
            for (next = i + 1; next < job->steps && first[next].chained; next++)
                ;
            uint64_t each = first[i].record.hi / first->rows;
            if (first[i].together && !first[i].chained) {
                run_together(&first[i], row, end);
                i += first[i].together;
                for (next = i; next < job->steps && first[next].chained; next++)
                    ;
                each = next > i ? first[i].record.hi / first->rows : 0;
                run_chain(job, &first[i], next - i, row * each, end * each, worker, scratch);
                continue;
            }
            run_range(job, &first[i], next - i, row * each, end * each, worker, scratch);
        }
    }
}

static void run_part(void *self, unsigned part, unsigned worker, struct fast_scratch *scratch)
{
    const struct job *job = self;
    if (job->rows) {
        run_rows(job, part, worker, scratch);
        return;
    }
    if (job->columns) {
        run_columns(job, part, worker, scratch);
        return;
    }
    const struct record *head = &job->step->record;
    uint64_t count = head->hi - head->lo, begin = part * job->each, end = begin + job->each;
    if (begin >= count)
        return;
    if (end > count || part + 1 == job->parts)
        end = count;
    run_range(job, job->step, job->steps, begin + head->lo, end + head->lo, worker, scratch);
}

/* Sees that a head's chain comes to x + something and the greater of that and 0, put where the head's output was: then
 * that is done to each output as soon as it is made, and no step runs for it.
 *
 * Between them the steps write buffers only, and no buffer is read after the chain (engine/schedule.py);
 * nor the head's own output, which the last step writes over. */
static void plan_finish(const struct schedule *s, uint64_t head, const uint8_t *segment)
{
    struct step *h = &s->step[head];
    const struct record *r = &h->record;
    if ((r->opcode != OP_CONV && r->opcode != OP_CONTRACT) || r->dtype_in[0] != DT_F32 || r->dtype_out != DT_F32 ||
        h->buffered & 1)
        return;
    struct fast_finish finish = {0};
    uint64_t i = head + 1;
    for (; i < s->steps && s->step[i].chained; i++) {
        const struct step *step = &s->step[i], *before = step - 1;
        const struct record *f = &step->record;
        int first = i == head + 1;
        if (!first && !(before->buffered & 1))
            return; /* another step may read that */
        if (f->opcode == OP_BINARY && f->imm[0] == BIN_ADD && f->dtype_in[0] == DT_F32 && first) {
            unsigned other = schedule_is_made_by(step, 1, before) ? 2 : 1;
            if (!schedule_is_made_by(step, 3 - other, before) || schedule_is_made_by(step, other, before) ||
                step->buffered >> other & 1 || !schedule_is_packed(f, other))
                return;
            finish.add = (const float *)(segment + f->in[other - 1]);
        } else if (f->opcode == OP_UNARY && f->imm[0] == UN_RELU && f->dtype_in[0] == DT_F32 &&
                   schedule_is_made_by(step, 1, before)) {
            finish.relu = 1; /* twice is once */
        } else if (f->opcode != OP_COPY || dtype_bytes(f->dtype_in[0]) != sizeof(float) || first ||
                   !schedule_is_made_by(step, 1, before)) {
            return;
        }
        if (f->lo != 0 || r->lo != 0 || f->hi != r->hi)
            return;
    }
    const struct step *last = &s->step[i - 1];
    if (i == head + 1 || last->buffered & 1 || last->record.out != r->out)
        return;
    h->finish = finish;
    h->finishes = (uint32_t)(i - head - 1);
}

/* All that is prepared for a schedule's steps takes no more than this. */
#define PREPARED_MOST (256ull << 20)

/* How many steps back one is looked for that has the same weights: a recurrence's steps lie close together. */
#define LOOKS_BACK 256

/* What an earlier step prepared, if it serves this one too. */
static int share(struct schedule *s, uint64_t i)
{
    struct step *step = &s->step[i];
    for (uint64_t j = i; j > 0 && i - j < LOOKS_BACK; j--) {
        const struct step *earlier = &s->step[j - 1];
        if (!earlier->prepared.memory || !fast_prepares_alike(&earlier->record, &step->record))
            continue;
        step->prepared = earlier->prepared;
        step->prepared.is_shared = 1;
        return 1;
    }
    return 0;
}

/* Prepares what never changes: weights are read where the program holds them. */
static void prepare(struct schedule *s, const uint8_t *segment)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < s->steps && bytes < PREPARED_MOST; i++) {
        struct step *step = &s->step[i];
        if (!(step->constant >> 2 & 1) || step->record.opcode != OP_CONTRACT || share(s, i))
            continue;
        if (fast_prepare_contraction(&step->prepared, segment, &step->record))
            bytes += step->prepared.bytes;
    }
}

/* So many steps are packed when they are planned. WHY NOT all: what weights.c packs belongs to steps as they were. */
#define MANY_STEPS (1u << 13)

/* Memory for `steps` steps, all zero, which goes back to the system when it is freed. */
static struct step *steps_new(uint64_t steps)
{
    void *memory = mmap(NULL, (steps + 1) * sizeof(struct step), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* The planned steps in little memory, and what was prepared for them; 0 if there is no memory. */
static int pack(struct schedule *s)
{
    for (uint64_t i = 0; i < s->steps; i++)
        s->prepares += s->step[i].prepared.memory && !s->step[i].prepared.is_shared;
    s->prepared = calloc(s->prepares + 1, sizeof *s->prepared);
    s->packed = steps_pack(s->step, s->steps);
    if (!s->prepared || !s->packed)
        return 0;
    for (uint64_t i = 0, n = 0; i < s->steps; i++)
        if (s->step[i].prepared.memory && !s->step[i].prepared.is_shared)
            s->prepared[n++] = s->step[i].prepared;
    munmap(s->step, (s->steps + 1) * sizeof *s->step);
    s->step = NULL;
    return 1;
}

/* Frees a schedule. Its segment must still be there. */
EXPORT void opml_schedule_free(struct schedule *s)
{
    if (!s)
        return;
    if (s->memory)
        munmap(s->memory, s->memory_bytes);
    for (uint64_t i = 0; s->step && i < s->steps; i++) /* it is not packed */
        fast_prepared_free(&s->step[i].prepared);
    for (uint64_t i = 0; !s->step && i < s->prepares; i++)
        fast_prepared_free(&s->prepared[i]);
    if (s->step)
        munmap(s->step, (s->steps + 1) * sizeof *s->step);
    steps_free(s->packed);
    free(s->prepared);
    free(s->clearing);
    free(s);
}

/* What a step is made of: the number of a record, one past the last output, and the operands as described above. */
struct plan {
    uint64_t record, hi, at[1 + RECORD_MAX_IN];
};

/* `weights`: null, or what schedules of the same plan share; it must outlive this one. Step i is plan[i], of the program's records or, with numbers from `nodes` on, of `copies`; bit 0 of chained[i] says
 * whether it runs with the one before it, the other bits how many later steps read what it makes (`reads`); clearing[i] are a step, an offset and a size. Null if there is no memory. */
EXPORT struct schedule *opml_schedule_new(struct ml *ml, struct weights *weights, const uint8_t *records,
                                          uint64_t nodes, const uint8_t *copies, const struct plan *plan,
                                          uint64_t steps, const uint8_t *chained, const uint64_t *clearing,
                                          uint64_t clearings, uint64_t workspace_bytes, unsigned buffers)
{
    struct schedule *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->weights = weights;
    s->steps = steps;
    s->clearings = clearings;
    s->buffers = buffers;
    s->step = steps_new(steps);
    s->clearing = calloc(clearings ? clearings : 1, sizeof *s->clearing);
    /* Fast paths load whole vectors, which may go over the end of what they need. */
    s->buffers_at = (workspace_bytes + 4095) / 4096 * 4096 + 4096;
    s->memory_bytes = s->buffers_at + pool_workers(ml->pool) * (buffers * BUFFER_BYTES);
    void *memory =
        mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
        s->memory = memory;
        madvise(memory, s->memory_bytes, MADV_HUGEPAGE); /* a hint to the system: failure is ignored */
    }
    if (!s->step || !s->clearing || !s->memory) {
        opml_schedule_free(s);
        return NULL;
    }
    for (uint64_t i = 0; i < steps; i++) {
        struct record *r = &s->step[i].record;
        uint64_t number = plan[i].record;
        record_decode(r, number < nodes ? records + number * RECORD_BYTES : copies + (number - nodes) * RECORD_BYTES);
        if (record_check(r, 0) == ST_OK)
            record_settle(r);
        r->hi = plan[i].hi; /* of the last of the records that the step takes together */
        r->n_free = 0;      /* freed blocks are not in the segment */
        memset(r->free, 0, sizeof r->free);
        s->step[i].chained = chained[i] & 1;
        s->step[i].reads = chained[i] >> 1;
        for (unsigned j = 0; j <= r->n_in; j++) {
            uint64_t *at = schedule_operand(r, j), place = plan[i].at[j] & ~(IN_WORKSPACE | IN_PROCESS | IN_BUFFER);
            *at = plan[i].at[j];
            if (*at & IN_BUFFER) {
                s->step[i].buffered |= 1u << j;
                *at = (uint64_t)(s->memory + s->buffers_at + place * BUFFER_BYTES) - (uint64_t)ml->segment;
            } else if (*at & IN_PROCESS) {
                s->step[i].constant |= 1u << j;
                *at = place - (uint64_t)ml->segment;
            } else if (*at & IN_WORKSPACE) {
                *at = (uint64_t)s->memory + place - (uint64_t)ml->segment;
            }
        }
    }
    for (uint64_t i = 0; i < steps; i++)
        if (!s->step[i].chained)
            plan_finish(s, i, ml->segment);
    for (uint64_t i = 0, end; i < steps; i++) {
        for (end = i + 1; end < steps && s->step[end].chained; end++)
            ;
        schedule_plan_passes(s, i, end);
    }
    prepare(s, ml->segment);
    for (uint64_t i = 0; i < clearings; i++)
        s->clearing[i] = (struct clearing){clearing[3 * i], clearing[3 * i + 1], clearing[3 * i + 2]};
    for (uint64_t i = 0; i < steps;)
        i = schedule_plan_rows(s, i, ml->segment);
    if (steps < MANY_STEPS || pack(s))
        return s;
    opml_schedule_free(s);
    return NULL;
}

/* Elements of all rows of a group: fewer are not worth waking a thread for, and with more than the second a few rows are
 * better cut than shared out. */
#define LEAST_SHARED   8192
#define LONGEST_BY_ROW 65536

/* Whether some workers would wait, while others make their last piece, for more than a quarter of the time. */
static int is_uneven(uint64_t pieces, uint64_t workers)
{
    uint64_t rounds = (pieces + workers - 1) / workers;
    return rounds * workers * 3 > pieces * 4;
}

/* How the rows of a group are shared out; 0 if they are too few and too long for the workers. */
static int share_rows(struct job *job)
{
    const struct step *first = job->step;
    uint64_t pieces = (first->rows + first->rows_at_once - 1) / first->rows_at_once;
    uint64_t workers = pool_workers(job->ml->pool), parts = workers == 1 ? 1 : 4 * workers;
    uint64_t elements = first->rows * first->row_length;
    if (workers > 1 && pieces < 2 * workers && is_uneven(pieces, workers) && elements > LONGEST_BY_ROW)
        return 0;
    parts = elements < LEAST_SHARED ? 1 : parts < pieces ? parts : pieces;
    job->each = (pieces + parts - 1) / parts * first->rows_at_once;
    job->parts = (unsigned)parts;
    job->steps = first->group;
    job->rows = 1;
    return 1;
}

/* How a head's outputs are shared out, with those of its chain. */
static void share_node(struct job *job)
{
    const struct record *head = &job->step->record;
    job->parts = node_parts(head, pool_workers(job->ml->pool), job->steps - 1, &job->each);
    if (head->opcode == OP_CONV && job->parts > 1) {
        uint64_t each;
        unsigned columns = fast_conv_columns(head, &job->step->prepared, job->parts, &each);
        if (columns) {
            job->columns = 1;
            job->parts = columns;
            job->each = each;
        }
    }
}

/* Makes all steps. ST_OK, or the status of a node whose data were refused: then what OUTPUT and ARENA hold is of no use,
 * and all else is as it was. */
EXPORT int opml_schedule_run(struct ml *ml, struct schedule *s)
{
    weights_begin_run(s->weights, s, ml->segment);
    uint64_t mode = float_mode_begin(), cleared = 0;
    int status = ST_OK;
    for (uint64_t i = 0, next, opened = 0; i < s->steps && status == ST_OK; i = next) {
        const struct step *step = s->packed ? steps_open(s->packed, i, &opened) : &s->step[i];
        opened = s->packed ? opened : s->steps;
        const struct record *head = &step->record;
        for (next = i + 1; next < opened && step[next - i].chained; next++)
            ;
        for (; cleared < s->clearings && s->clearing[cleared].step < next; cleared++)
            memset(s->memory + s->clearing[cleared].offset, 0, s->clearing[cleared].size);
        status = (int)fast_check_data(ml->segment, head);
        if (status != ST_OK)
            break;
        struct job job = {.ml = ml, .schedule = s, .step = step, .steps = (unsigned)(next - i)};
        if (step->group && share_rows(&job)) {
            next = i + job.steps;
            pool_run(ml->pool, job.parts, run_part, &job);
            continue;
        }
        share_node(&job);
        pool_run(ml->pool, job.parts, run_part, &job);
    }
    float_mode_end(mode);
    return status;
}
