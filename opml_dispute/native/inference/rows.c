/* Chains that are made together, some rows at a time: a normalisation reads each row several times, and what is left of the
 * first time is in the nearest caches if not all rows come in between.
 *
 * A row is what a reduction makes one output of. Chains after one another are a group if each of their steps makes the
 * elements of a row from what lies in the same row, or from what no step of the group writes. This is seen from where the
 * operands lie: two that meet, of which one is written, must lie in rows from the same place on, equally far apart. */
#include "schedule.h"

#include "program/opcodes.h"

/* Elements of each tensor that are made at a time, if rows are not longer; the longest row that is worth it. */
#define AT_ONCE     16384u
#define LONGEST_ROW (1u << 16)
/* Rows that a reduction takes at a time (fast/across.c, fast/squares.c): one by itself takes as long as these. */
#define TOGETHER 4u
/* Steps of a group: to see where their operands meet takes the square. */
#define STEPS_MOST 24

/* Where an operand lies: [lo, hi) of the process. Rows begin at `base`, `pitch` bytes apart; 0: it does not lie so. */
struct lie {
    uint64_t lo, hi, base, pitch;
};

/* The dimensions of operand j. */
static unsigned rank_of(const struct record *r, unsigned j)
{
    return r->opcode == OP_REDUCE && j == 0 ? r->rank - (unsigned)r->imm[1] : r->rank;
}

static uint64_t elements(const struct record *r, unsigned j)
{
    uint64_t count = 1;
    for (unsigned d = 0; d < rank_of(r, j); d++)
        count *= r->dim[d];
    return count;
}

/* Elements from one row to the next; 0 if they are not equally far apart, or a row meets the next. */
static uint64_t pitch_of(const struct record *r, unsigned j, uint64_t rows)
{
    unsigned rank = rank_of(r, j), d = 0;
    const int64_t *stride = r->stride[j];
    uint64_t count = 1;
    int64_t packed = 1;
    for (d = rank; d > 0 && (r->dim[d - 1] == 1 || stride[d - 1] == packed); d--)
        packed *= (int64_t)r->dim[d - 1];
    if (d == 0) /* rows need not end where a dimension does */
        return elements(r, j) % rows ? 0 : elements(r, j) / rows;
    for (d = 0; d < rank && count < rows; d++)
        count *= r->dim[d];
    if (count != rows)
        return 0;
    int64_t last = 0, pitch = 0, apart = 0;
    for (unsigned k = d; k < rank; k++) {
        if (r->dim[k] > 1 && stride[k] < 0)
            return 0;
        last += ((int64_t)r->dim[k] - 1) * stride[k];
    }
    for (; d > 0; d--) {
        if (r->dim[d - 1] == 1)
            continue;
        if (pitch == 0)
            pitch = apart = stride[d - 1];
        if (stride[d - 1] != apart)
            return 0;
        apart *= (int64_t)r->dim[d - 1];
    }
    return pitch > last ? (uint64_t)pitch : 0;
}

static struct lie extent_of(const struct record *r, unsigned j, uint64_t rows, const uint8_t *segment)
{
    int64_t first = 0, last = 0, width = (int64_t)dtype_bytes(j ? r->dtype_in[j - 1] : r->dtype_out);
    for (unsigned d = 0; d < rank_of(r, j); d++) {
        int64_t span = ((int64_t)r->dim[d] - 1) * r->stride[j][d];
        *(span < 0 ? &first : &last) += span;
    }
    uint64_t base = (uint64_t)(uintptr_t)segment + (j ? r->in[j - 1] : r->out);
    return (struct lie){.lo = base + (uint64_t)(first * width),
                        .hi = base + (uint64_t)((last + 1) * width),
                        .base = base,
                        .pitch = pitch_of(r, j, rows) * (uint64_t)width};
}

/* Whether a step makes all of its outputs, row by row. */
static int is_by_rows(const struct step *step, uint64_t rows)
{
    const struct record *r = &step->record;
    if (r->opcode == OP_REDUCE ? r->hi != rows : !schedule_is_elementwise(r) || r->hi % rows)
        return 0;
    return r->lo == 0 && r->hi == elements(r, 0) && !step->finishes;
}

/* Whether step `later` may make some rows before step `earlier` has made the others. */
static int may_overtake(const struct step *earlier, const struct step *later, uint64_t rows, const uint8_t *segment)
{
    for (unsigned i = 0; i <= earlier->record.n_in; i++)
        for (unsigned j = 0; j <= later->record.n_in; j++) {
            if ((i && j) || earlier->buffered >> i & 1 || later->buffered >> j & 1)
                continue;
            struct lie one = extent_of(&earlier->record, i, rows, segment);
            struct lie other = extent_of(&later->record, j, rows, segment);
            if (one.lo < other.hi && other.lo < one.hi &&
                (one.pitch == 0 || one.base != other.base || one.pitch != other.pitch))
                return 0;
        }
    return 1;
}

static uint64_t chain_end(const struct schedule *s, uint64_t i)
{
    for (i++; i < s->steps && s->step[i].chained; i++)
        ;
    return i;
}

/* Whether something is cleared before one of the steps [i, end): before all rows of a group, that would be too early. */
static int clears(const struct schedule *s, uint64_t i, uint64_t end)
{
    uint64_t low = 0, high = s->clearings;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        *(s->clearing[middle].step < i ? &low : &high) = s->clearing[middle].step < i ? middle + 1 : middle;
    }
    return low < s->clearings && s->clearing[low].step < end;
}

/* Whether the chain of steps [i, end) may be the next of a group that begins with step `first`. */
static int joins(const struct schedule *s, uint64_t first, uint64_t i, uint64_t end, uint64_t rows,
                 const uint8_t *segment)
{
    if (end - first > STEPS_MOST || (i > first && clears(s, i, end)))
        return 0;
    for (uint64_t k = i; k < end; k++) {
        if (!is_by_rows(&s->step[k], rows))
            return 0;
        for (uint64_t earlier = first; earlier < k; earlier++)
            if (!may_overtake(&s->step[earlier], &s->step[k], rows, segment))
                return 0;
    }
    return 1;
}

/* The first reduction among the heads of the chains from step i on, if only elementwise ones come before it. */
static const struct record *reduction_from(const struct schedule *s, uint64_t i)
{
    for (unsigned chains = 0; chains < 3 && i < s->steps; chains++, i = chain_end(s, i)) {
        const struct record *r = &s->step[i].record;
        if (r->opcode == OP_REDUCE)
            return r;
        if (!schedule_is_elementwise(r))
            return NULL;
    }
    return NULL;
}

/* Whether operand j lies packed, and is what `made` makes; null: whatever it is. */
static int is_packed_output_of(const struct step *step, unsigned j, const struct step *made)
{
    return schedule_is_packed(&step->record, j) && (!made || schedule_is_made_by(step, j, made));
}

/* Sees whether step i of a group, which has `left` steps, begins a sum of squares: x - mean, if there is a mean, that times
 * itself, and the sum of it, each a tensor in the memory that they share. */
static void plan_squares(struct step *step, uint64_t left, uint64_t rows, const uint8_t *segment)
{
    unsigned centres = step->record.opcode == OP_BINARY && step->record.imm[0] == BIN_SUB;
    if (left < 2 + centres)
        return;
    const struct step *squares = step + centres, *sums = squares + 1;
    const struct record *s = &squares->record, *r = &sums->record;
    if (s->opcode != OP_BINARY || s->imm[0] != BIN_MUL || s->dtype_in[0] != DT_F32 || squares->buffered ||
        squares->chained != centres || !schedule_is_packed(s, 0) ||
        !is_packed_output_of(squares, 1, centres ? step : NULL) || !schedule_is_packed(s, 2) || s->in[0] != s->in[1])
        return;
    if (r->opcode != OP_REDUCE || r->imm[0] != RED_SUM || r->dtype_in[0] != DT_F32 || sums->chained || sums->buffered ||
        !is_packed_output_of(sums, 1, squares) || pitch_of(r, 0, rows) != 1 || elements(r, 1) != s->hi)
        return;
    const struct record *c = &step->record;
    struct fast_squares found = {.x = (const float *)(segment + c->in[0]),
                                 .square = squares->reads == 1 ? NULL : (float *)(segment + s->out),
                                 .sum = (float *)(segment + r->out),
                                 .length = s->hi / rows};
    if (centres) {
        /* The mean of row i is number i: one for each row, and for no less than the row. */
        if (c->dtype_in[0] != DT_F32 || step->buffered || !schedule_is_packed(c, 0) || !schedule_is_packed(c, 1) ||
            pitch_of(c, 2, rows) != 1 || found.length < 2)
            return;
        found.mean = (const float *)(segment + c->in[1]);
        found.centred = (float *)(segment + c->out);
    }
    step->square = found;
    step->together = 2 + centres;
}

/* Whether a step is `function` of binary32 on packed rows, whose second operand is one number for each row, made by `made`;
 * its first is made by `first`, if that is not null. */
static int is_by_number(const struct step *step, uint64_t function, const struct step *first, const struct step *made,
                        uint64_t rows)
{
    const struct record *r = &step->record;
    return r->opcode == OP_BINARY && r->imm[0] == function && r->dtype_in[0] == DT_F32 && schedule_is_packed(r, 0) &&
           is_packed_output_of(step, 1, first) && !(step->buffered >> 1 & 3) && schedule_is_made_by(step, 2, made) &&
           pitch_of(r, 2, rows) == 1;
}

/* Whether a step reduces packed rows by `function`, to one number for each, and begins a chain. */
static int is_row_reduction(const struct step *step, uint64_t function, uint64_t rows)
{
    const struct record *r = &step->record;
    return r->opcode == OP_REDUCE && r->imm[0] == function && r->dtype_in[0] == DT_F32 && !step->chained &&
           !step->buffered && schedule_is_packed(r, 1) && pitch_of(r, 0, rows) == 1;
}

/* Sees whether step i of a group begins what every softmax begins with: the greatest of a row, x - that, e to the power of
 * the difference, the sum of it, and perhaps the quotient by the sum. */
static void plan_exponentials(const struct schedule *s, uint64_t i, uint64_t left, uint64_t rows,
                              const uint8_t *segment)
{
    struct step *step = &s->step[i];
    if (left < 4 || !is_row_reduction(step, RED_MAX, rows) || elements(&step->record, 1) < 2 * rows)
        return;
    const struct step *below = step + 1, *power = step + 2, *sum = step + 3, *quotient = step + 4;
    const struct record *x = &step->record, *e = &power->record;
    uint64_t count = elements(x, 1);
    if (below->chained || !is_by_number(below, BIN_SUB, NULL, step, rows) || below->record.in[0] != x->in[0] ||
        below->record.hi != count)
        return;
    int keeps_below = !(below->buffered & 1);
    if (!keeps_below && !schedule_only_for_next(s, i + 1, chain_end(s, i + 1)))
        return;
    if (e->opcode != OP_UNARY || e->imm[0] != UN_EXP || e->dtype_in[0] != DT_F32 || !power->chained ||
        power->buffered & 1 || !schedule_is_packed(e, 0) || !is_packed_output_of(power, 1, below))
        return;
    if (!is_row_reduction(sum, RED_SUM, rows) || !is_packed_output_of(sum, 1, power) ||
        elements(&sum->record, 1) != count)
        return;
    int divides = left > 4 && !quotient->chained && !(quotient->buffered & 1) && quotient->record.hi == count &&
                  is_by_number(quotient, BIN_DIV, power, sum, rows);
    step->exponential =
        (struct fast_exponentials){.x = (const float *)(segment + x->in[0]),
                                   .greatest = (float *)(segment + x->out),
                                   .sum = (float *)(segment + sum->record.out),
                                   .below = keeps_below ? (float *)(segment + below->record.out) : NULL,
                                   .power = power->reads == 1u + (unsigned)divides ? NULL : (float *)(segment + e->out),
                                   .quotient = divides ? (float *)(segment + quotient->record.out) : NULL,
                                   .length = count / rows};
    step->together = 4 + (unsigned)divides;
    step->are_exponentials = 1;
}

uint64_t schedule_plan_rows(struct schedule *s, uint64_t i, const uint8_t *segment)
{
    struct step *head = &s->step[i];
    head->group = 0;
    const struct record *reduces = reduction_from(s, i);
    uint64_t end = i, chains = 0;
    if (!reduces)
        return chain_end(s, i);
    uint64_t rows = elements(reduces, 0), length = elements(reduces, 1) / (rows ? rows : 1);
    if (rows < 2 || length > LONGEST_ROW || rows * length < 2 * AT_ONCE)
        return chain_end(s, i);
    for (; end < s->steps && joins(s, i, end, chain_end(s, end), rows, segment); chains++)
        end = chain_end(s, end);
    if (chains < 2)
        return chain_end(s, i);
    head->group = (uint32_t)(end - i);
    head->rows = rows;
    head->row_length = length;
    for (uint64_t k = i; k < end; k++) {
        s->step[k].together = 0;
        plan_squares(&s->step[k], end - k, rows, segment);
        plan_exponentials(s, k, end - k, rows, segment);
    }
    head->rows_at_once = length < AT_ONCE / TOGETHER ? AT_ONCE / length / TOGETHER * TOGETHER : TOGETHER;
    return end;
}
