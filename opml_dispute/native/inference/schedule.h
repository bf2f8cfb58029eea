/* A schedule: the steps of a whole inference in one run, and those of a chain that are made in one pass. */
#ifndef OPML_SCHEDULE_H
#define OPML_SCHEDULE_H
#include "fast/doubles.h"
#include "fast/fast.h"
#include "program/opcodes.h"
#include "program/record.h"

#define STRETCH      4096ull /* elements of a chain made at a time: a few buffers of them fit the nearest cache */
#define BUFFER_BYTES (STRETCH * 8)
#define CHAIN_MOST   16 /* engine/steps.py has the same number */

struct step {
    struct record record;   /* operands count from the segment's base, modulo 2^64; buffers are the first worker's */
    uint32_t buffered;      /* bit j: operand j (0 the output) is in a buffer */
    uint32_t constant;      /* bit j: operand j is a weight, read where the program holds it */
    uint32_t chained;       /* runs with the step before it */
    uint32_t reads;         /* so many later steps read what it makes, each the whole, and none other; 0: others may */
    uint32_t passes;        /* so many steps, this and those after it, are one pass (passes.c) */
    uint32_t is_arithmetic; /* that pass is fast_arithmetic's, not fast_quantise's */
    struct fast_operands as_first, as_later; /* of arithmetic, where the step begins a pass and where it does not */
    struct fast_operands factors;            /* of a quantisation that begins here, by what it multiplies */
    uint32_t group;              /* of a head: so many steps are made together, some rows at a time (rows.c) */
    uint64_t rows, rows_at_once; /* of a group */
    uint64_t row_length;         /* elements that its first reduction takes of a row */
    uint32_t together;           /* in a group: so many steps from here on are one function of rows (rows.c) */
    uint32_t are_exponentials;   /* it is fast_exponential_rows, not fast_square_rows */
    union {
        struct fast_squares square;
        struct fast_exponentials exponential;
    };
    uint32_t finishes; /* of a head: so many steps after it are its `finish` (see plan_finish) */
    struct fast_finish finish;
    struct fast_prepared prepared;
};

/* Bytes of the workspace that must be zero before a step. */
struct clearing {
    uint64_t step, offset, size;
};

struct weights;
struct schedule {
    struct step *step;           /* null if they are packed */
    struct packed_steps *packed; /* null if they are few */
    uint64_t steps;
    struct fast_prepared *prepared; /* what steps share */
    uint64_t prepares;
    struct clearing *clearing; /* by ascending step */
    uint64_t clearings;
    uint8_t *memory; /* the workspace, then every worker's buffers */
    uint64_t memory_bytes, buffers_at;
    unsigned buffers;
    struct weights *weights; /* shared with other schedules of the same plan; may be null */
    int has_packed;          /* its steps know what is packed of them */
};

/* Before a run: has a schedule use what is packed of its weights, once enough runs have begun (weights.c); not where its
 * steps are packed. */
void weights_begin_run(struct weights *w, struct schedule *s, const uint8_t *segment);

/* Operand j of a record: 0 the output. */
static inline uint64_t *schedule_operand(struct record *r, unsigned j) { return j ? &r->in[j - 1] : &r->out; }

/* Gives the operands in buffers of a step's copy their places for the stretch that begins at element lo, which lies at a
 * buffer's start, and the worker whose buffers are `apart` bytes behind the first one's. */
static inline void schedule_place(struct record *r, const struct step *step, uint64_t apart, uint64_t lo)
{
    for (unsigned j = 0; step->buffered && j <= step->record.n_in; j++)
        if (step->buffered >> j & 1) {
            uint64_t width = dtype_bytes(j ? r->dtype_in[j - 1] : r->dtype_out);
            *schedule_operand(r, j) = *schedule_operand((struct record *)&step->record, j) + apart - lo * width;
        }
}

static inline int schedule_is_elementwise(const struct record *r)
{
    return r->opcode == OP_UNARY || r->opcode == OP_BINARY || r->opcode == OP_SELECT || r->opcode == OP_CAST ||
           r->opcode == OP_COPY || r->opcode == OP_FILL || r->opcode == OP_DOUBLES;
}

/* Whether element i of operand j is at i elements from its place, in the order of the range. */
static inline int schedule_is_packed(const struct record *r, unsigned j)
{
    int64_t apart = 1;
    for (unsigned d = r->rank; d-- > 0; apart *= (int64_t)r->dim[d])
        if (r->dim[d] != 1 && r->stride[j][d] != apart)
            return 0;
    return 1;
}

/* Whether operand j of s lies in the same place as the output of `made`. */
static inline int schedule_is_made_by(const struct step *s, unsigned j, const struct step *made)
{
    return (s->buffered >> j & 1) == (made->buffered & 1) && s->record.in[j - 1] == made->record.out;
}

/* Whether step i, in a chain that ends before step `end`, makes what only the next step reads, in a buffer: a later step
 * that reads this buffer would miss what is not written, until something else lies there. */
int schedule_only_for_next(const struct schedule *s, uint64_t i, uint64_t end);
/* Sees which steps from step i on, in a chain that ends before step `end`, are one pass. */
void schedule_plan_passes(struct schedule *s, uint64_t i, uint64_t end);
/* Makes elements [lo, hi) of the steps of a chain, every step in turn. `copy`: of the records of those with operands in
 * buffers, in their places; null where the steps' own will do: for the first worker and lo = 0. */
void schedule_stretch(const struct step *step, const struct record *copy, unsigned steps, uint8_t *segment, uint64_t lo,
                      uint64_t hi, struct fast_scratch *scratch);

/* Sees whether a group begins with the chain whose head is step i; answers the step behind the group, or the chain. */
uint64_t schedule_plan_rows(struct schedule *s, uint64_t i, const uint8_t *segment);

#endif
