/* Which steps of a chain are made in one pass, because what is between them need not go through memory; and the run. */
#include "schedule.h"

/* Whether a step from `first` on, before `reader`, puts something else where `made` put its output. */
static int rewritten(const struct schedule *s, uint64_t first, uint64_t reader, const struct step *made)
{
    for (uint64_t i = first; i < reader; i++)
        if ((s->step[i].buffered & 1) && s->step[i].record.out == made->record.out)
            return 1;
    return 0;
}

int schedule_only_for_next(const struct schedule *s, uint64_t i, uint64_t end)
{
    const struct step *step = &s->step[i];
    if (!(step->buffered & 1))
        return 0;
    for (uint64_t later = i + 2; later < end; later++) {
        const struct step *reader = &s->step[later];
        for (unsigned k = 1; k <= reader->record.n_in; k++)
            if (schedule_is_made_by(reader, k, step) && !rewritten(s, i + 1, later, step))
                return 0;
    }
    return 1;
}

/* Shorter runs of elements that meet one number, or numbers side by side, are left to the kernels. */
#define LEAST_RUN 32

/* Sees how operand j repeats: 0 if in another way than fast_operands tells. */
static int repeats(const struct record *r, unsigned j, struct fast_operands *found)
{
    unsigned d = r->rank;
    uint64_t whole = 1;
    found->each = found->count = 1;
    for (; d > 0 && (r->dim[d - 1] == 1 || r->stride[j][d - 1] == 0); d--)
        found->each *= r->dim[d - 1];
    for (; d > 0 && (r->dim[d - 1] == 1 || r->stride[j][d - 1] == (int64_t)found->count); d--)
        found->count *= r->dim[d - 1];
    for (; d > 0 && (r->dim[d - 1] == 1 || r->stride[j][d - 1] == 0); d--)
        whole = 0; /* from the start again */
    return d == 0 &&
           (found->each == 1 ? whole || found->count >= LEAST_RUN : found->count == 1 || found->each >= LEAST_RUN);
}

/* The operands of an arithmetic step whose operand number `chained` is the chained one; `chained` is 0 in the result if no
 * pass can take the other. */
static struct fast_operands operands_of(const struct step *step, unsigned chained)
{
    const struct record *r = &step->record;
    unsigned other = 3 - chained;
    struct fast_operands found = {.chained = chained};
    if (r->n_in == 1)
        return found; /* there is no other */
    /* What lies in a buffer is counted from the stretch's start. */
    if (!repeats(r, other, &found) || (step->buffered >> other & 1 && !schedule_is_packed(r, other)))
        found.chained = 0;
    return found;
}

/* Whether a step that no other joins is better made as a pass: its rows are short, and each meets a number of its own. */
#define SHORT_ROW 1024
static int has_short_rows(const struct fast_operands *found)
{
    return found->each > 1 && found->count > 1 && found->each <= SHORT_ROW;
}

/* How many steps from step i on are a quantisation in one pass; 0: none. */
static unsigned quantising(struct schedule *s, uint64_t i, uint64_t end)
{
    const struct record *record[FAST_QUANTISES_MOST];
    unsigned most = end - i < FAST_QUANTISES_MOST ? (unsigned)(end - i) : FAST_QUANTISES_MOST, scales;
    for (unsigned j = 0; j < most; j++)
        record[j] = &s->step[i + j].record;
    unsigned steps = fast_quantises(record, most, &scales);
    if (!steps || !schedule_is_packed(record[0], 1) || s->step[i].buffered >> 2 & 1)
        return 0;
    for (unsigned j = 1; j < steps; j++) {
        const struct step *before = &s->step[i + j - 1], *step = &s->step[i + j];
        if (!schedule_is_made_by(step, 1, before) || (step->record.n_in == 2 && step->buffered >> 2 & 1) ||
            !schedule_only_for_next(s, i + j - 1, end))
            return 0;
    }
    if (scales < steps) {
        struct fast_operands factors = operands_of(&s->step[i + scales], 1);
        if (!factors.chained || (factors.each == 1 && factors.count > 1))
            return 0;
        s->step[i].factors = factors;
    }
    return steps;
}

/* How many steps from step i on are arithmetic in one pass; 0: none. */
static unsigned computing(struct schedule *s, uint64_t i, uint64_t end)
{
    struct step *first = &s->step[i];
    if (!fast_is_arithmetic(&first->record))
        return 0;
    for (unsigned j = 1; j <= first->record.n_in && !first->as_first.chained; j++)
        if (schedule_is_packed(&first->record, j))
            first->as_first = operands_of(first, j);
    unsigned steps = first->as_first.chained != 0;
    for (; steps && steps < FAST_STEPS_MOST && i + steps < end; steps++) {
        struct step *before = &s->step[i + steps - 1], *step = &s->step[i + steps];
        if (!fast_is_arithmetic(&step->record) || step->record.lo != first->record.lo ||
            step->record.hi != first->record.hi || !schedule_only_for_next(s, i + steps - 1, end) ||
            quantising(s, i + steps, end))
            break;
        unsigned chained = schedule_is_made_by(step, 1, before) ? 1 : step->record.n_in;
        if (!schedule_is_made_by(step, chained, before))
            break;
        if (step->record.n_in == 2 && schedule_is_made_by(step, 3 - chained, before))
            break; /* its square, say */
        step->as_later = operands_of(step, chained);
        if (!step->as_later.chained)
            break;
    }
    while (steps > 0 && !schedule_is_packed(&s->step[i + steps - 1].record, 0))
        steps--;
    return steps > 1 || (steps && has_short_rows(&first->as_first)) ? steps : 0;
}

void schedule_plan_passes(struct schedule *s, uint64_t i, uint64_t end)
{
    struct step *step = &s->step[i];
    step->passes = quantising(s, i, end);
    if (!step->passes) {
        step->passes = computing(s, i, end);
        step->is_arithmetic = step->passes != 0;
    }
}

/* Makes elements [lo, hi) of `step->passes` steps. */
static void run_pass(const struct step *step, const struct record *copy, uint8_t *segment, uint64_t lo, uint64_t hi)
{
    const struct record *pass[FAST_STEPS_MOST];
    struct fast_operands operands[FAST_STEPS_MOST];
    for (unsigned i = 0; i < step->passes; i++) {
        pass[i] = copy && step[i].buffered ? &copy[i] : &step[i].record;
        operands[i] = i ? step[i].as_later : step->as_first;
    }
    if (step->is_arithmetic)
        fast_arithmetic(segment, pass, operands, step->passes, lo, hi);
    else
        fast_quantise(segment, pass, step->passes, &step->factors, lo, hi);
}

void schedule_stretch(const struct step *step, const struct record *copy, unsigned steps, uint8_t *segment, uint64_t lo,
                      uint64_t hi, struct fast_scratch *scratch)
{
    for (unsigned i = 0; i < steps; i++) {
        const struct record *r = copy && step[i].buffered ? &copy[i] : &step[i].record;
        if (step[i].passes && i + step[i].passes <= steps) {
            run_pass(&step[i], copy ? &copy[i] : NULL, segment, lo, hi);
            i += step[i].passes - 1;
        } else if (!fast_run(segment, r, lo, hi, NULL, scratch)) {
            kernel_run(segment, r, lo, hi);
        }
    }
}
