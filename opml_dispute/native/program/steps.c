/* How many VM steps a node takes at most, from its record alone. docs/segment.md, "Steps".
 *
 * Host and guest refuse a record whose bound is above the program's limit, so both run this file. The bound is coarse on
 * purpose: iterations, times the longest way through the loop's body. Every constant (step_constants.h) is read from the
 * built guest by scripts/step-constants, and a test compares the two.
 *
 * INVARIANT: nothing here can wrap. record_check bounds a node's inner steps by 2^32 (RECORD_MAX_WORK) and every count by
 * 2^38, and no constant has more than 16 bits: a sum stays below 2^60. */
#include "block_formats.h"
#include "opcodes.h"
#include "record.h"
#include "step_constants.h"

#define CHUNK 64 /* elements that a kernel converts at once (kernels/rows.h) */

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static int is_half(uint8_t dtype) { return dtype == DT_F16 || dtype == DT_BF16; }
static int is_real(uint8_t dtype) { return dtype == DT_F32 || is_half(dtype); }
static int is_wide(uint8_t dtype) { return dtype == DT_I64 || dtype == DT_U64; }
static unsigned log2_width(uint8_t dtype) { return (unsigned)__builtin_ctz(dtype_bytes(dtype)); }

/* Elements in a row of a walk over the dimensions [first, end): the last one that is not 1, and those that join it, in
 * all of `operands` operands from `operand` on (kernels/walk.c). *innermost: that dimension, or `end` if all are 1. */
static uint64_t row_length(const struct record *r, unsigned first, unsigned end, unsigned operand, unsigned operands,
                           unsigned *innermost)
{
    uint64_t length = 1;
    *innermost = end;
    for (unsigned d = end; d-- > first;) {
        if (r->dim[d] == 1)
            continue;
        if (*innermost == end)
            *innermost = d;
        else
            for (unsigned j = operand; j < operand + operands; j++)
                if ((uint64_t)r->stride[j][d] != (uint64_t)r->stride[j][*innermost] * length)
                    return length;
        length *= r->dim[d];
    }
    return length;
}

/* Rows, or parts of them, that hold the outputs [lo, hi). */
static uint64_t rows_of(const struct record *r, unsigned end, unsigned operands, unsigned *innermost)
{
    uint64_t length = row_length(r, 0, end, 0, operands, innermost);
    return (r->hi - 1) / length - r->lo / length + 1;
}

static struct row_steps unary_steps(const struct record *r)
{
    return is_real(r->dtype_in[0]) ? UNARY_REAL[r->imm[0]] : UNARY_INTEGER[r->imm[0]];
}
static struct row_steps binary_steps(const struct record *r)
{
    struct row_steps s = is_real(r->dtype_in[0]) ? BINARY_REAL[r->imm[0]] : BINARY_INTEGER[r->imm[0]];
    if (r->imm[0] == BIN_POW && !is_real(r->dtype_in[0]))
        s.element = (uint16_t)(s.element + INTEGER_POWER_BIT * 8 * dtype_bytes(r->dtype_in[0]));
    return s;
}

/* Elements that go through an inner loop of their own, CHUNK at a time if they are binary16 or bfloat16. */
static uint64_t elementwise(const struct record *r, struct row_steps s, unsigned inputs)
{
    unsigned innermost;
    uint64_t n = r->hi - r->lo, rows = rows_of(r, r->rank, 1 + inputs, &innermost);
    if (!is_half(r->dtype_in[0]))
        return rows * (ROW[r->opcode] + s.row) + n * s.element;
    uint64_t chunk = (inputs == 1 ? UNARY_CHUNK : BINARY_CHUNK) + s.row;
    uint64_t element = s.element + inputs * HALF_LOAD + HALF_STORE;
    return rows * (ROW[r->opcode] + chunk) + n / CHUNK * chunk + n * element;
}

static uint64_t cast(const struct record *r)
{
    uint8_t from = r->dtype_in[0], to = r->dtype_out;
    unsigned innermost;
    uint64_t n = r->hi - r->lo, rows = rows_of(r, r->rank, 2, &innermost);
    uint64_t element = (is_real(from) ? LOAD_REAL[is_half(from)] : LOAD_INTEGER) +
                       (is_real(to) ? STORE_REAL[is_half(to)] : STORE_INTEGER);
    if (is_real(from) != is_real(to) || (!is_real(from) && r->imm[0] == 1))
        element += CONVERT;
    return rows * (ROW[OP_CAST] + CAST_CHUNK) + n / CHUNK * CAST_CHUNK + n * element;
}

static uint64_t moves(const struct record *r, unsigned operands, uint64_t element)
{
    unsigned innermost;
    return rows_of(r, r->rank, operands, &innermost) * ROW[r->opcode] + (r->hi - r->lo) * element;
}

/* OP_GATHER, OP_SCATTER: looking at the indices, then moving; whole rows at once where one place serves a row. */
static uint64_t placed(const struct record *r)
{
    unsigned innermost;
    uint64_t n = r->hi - r->lo, rows = rows_of(r, r->rank, 3, &innermost), more = r->imm[0] - 1;
    uint64_t check = CHECK + CHECK_COMPONENT * more, place = PLACE_COMPONENT * more;
    int moves = innermost < r->rank, one_place = !moves || r->stride[2][innermost] == 0;
    int by_row = one_place &&
                 (r->opcode == OP_GATHER || (r->imm[2] == RED_NONE && moves && r->stride[0][innermost] != 0));
    uint64_t row = ROW[r->opcode] + CHECK_ROW;
    if (by_row)
        return rows * (row + check + place) + n * MOVE[log2_width(r->dtype_out)];
    return rows * row + n * (check + place + (r->opcode == OP_GATHER ? GATHERED : SCATTERED));
}

/* Of `n` outputs, in planes of `plane`, of which `together` belong together: those that are not made by fours of planes,
 * at most. */
static uint64_t not_by_fours(uint64_t lo, uint64_t n, uint64_t plane, uint64_t together)
{
    if (together < 4)
        return n;
    if (together % 4 == 0 && lo % (4 * plane) == 0)
        return n % (4 * plane);
    uint64_t planes = n / plane + 2; /* three are left over in each group, and at both ends some */
    return smaller(n, plane * (3 * (planes / together + 2) + 5));
}

/* Does the range begin or end within a row of that many outputs? Then it has parts of two rows at most. */
static int is_cut(const struct record *r, uint64_t row) { return r->lo % row || r->hi % row; }

static unsigned product_kind(uint8_t dtype)
{
    return dtype == DT_F32 ? 0 : dtype == DT_F16 ? 1 : dtype == DT_BF16 ? 2 : is_wide(dtype) ? 4 : 3;
}

static uint64_t contract(const struct record *r)
{
    const struct block_steps *b = CONTRACT[product_kind(r->dtype_in[0])]; /* 4x4, 4x1, 1x4, 1x1 */
    uint64_t n = r->hi - r->lo, N = r->dim[r->rank - 1], K = r->imm[0], rest = N % 4;
    uint64_t singles = not_by_fours(r->lo, n, N, r->dim[r->rank - 2]);
    uint64_t fours = r->dim[r->rank - 2] < 4 ? 0 : n / N / 4, rows = singles / N;
    uint64_t alone = rows * rest + (is_cut(r, N) ? 6 : 0); /* what is left of a row, of a part of one up to three */
    return (fours + rows + 2) * CONTRACT_GROUP + fours * (N / 4) * (b[0].block + K * b[0].step) +
           fours * rest * (b[1].block + K * b[1].step) + singles / 4 * (b[2].block + K * b[2].step) +
           smaller(alone, singles) * (b[3].block + K * b[3].step);
}

/* A block of windows of one channel, or of four. */
static uint64_t conv_block(const struct window_steps *s, uint64_t depth, uint64_t lines, uint64_t taps)
{
    return CONV_CALL + s->window + depth * (s->channel + lines * (s->line + taps * s->tap));
}

static uint64_t conv(const struct record *r)
{
    const int64_t *body = r->body;
    unsigned spatial = (unsigned)body[0], inside = r->dtype_in[0] == DT_F32, kind = product_kind(r->dtype_in[0]);
    uint64_t depth = (uint64_t)(body[2] / body[4]), together = (uint64_t)(body[3] / body[4]), lines = 1, taps = 1;
    uint64_t plane = 1, row = 1;
    for (unsigned d = 0; d < spatial; d++) {
        uint64_t size = (uint64_t)body[5 + d], kernel = (uint64_t)body[8 + d], step = (uint64_t)body[11 + d];
        uint64_t dilation = (uint64_t)body[14 + d];
        int64_t pad = body[17 + d];
        row = (uint64_t)body[20 + d];
        plane *= row;
        lines *= taps;
        taps = kernel;
        /* Do all windows lie inside, here? Sizes are at most 2^31. */
        if (pad > 0 || (row - 1) * step + (uint64_t)-pad + (kernel - 1) * dilation >= size)
            inside = 0;
    }
    const struct window_steps *edge = CONV_EDGE[kind];
    const struct window_steps *within = !inside ? edge : lines * taps == 1 ? CONV_POINT : CONV_INSIDE;
    uint64_t n = r->hi - r->lo, total = 0, single = not_by_fours(r->lo, n, plane, together);
    for (unsigned i = 0; i < 2; i++) { /* channels by fours, then one by one */
        uint64_t planes = i ? single / plane + 2 : together < 4 ? 0 : n / plane / 4;
        uint64_t outputs = i ? single : planes * plane, cut = i && is_cut(r, row) ? 2 : 0, rows = outputs / row + cut;
        if (!outputs)
            continue;
        /* The last two or three windows of a row are made as four, which may reach over the edge; a range cuts rows too. */
        uint64_t ends = smaller(row % 4 > 1 ? rows : cut, outputs), whole = outputs / 4 + (row % 4 == 1 ? rows : 0);
        total += planes * CONV_GROUP + rows * CONV_ROW + whole * conv_block(within + i, depth, lines, taps) +
                 ends * conv_block(edge + i, depth, lines, taps);
    }
    return total;
}

static uint64_t pool(const struct record *r)
{
    uint64_t lines = 1, taps = 1;
    uint8_t dtype = r->dtype_in[0];
    for (unsigned d = 0; d < (unsigned)r->body[0]; d++) {
        lines *= taps;
        taps = (uint64_t)r->body[8 + d];
    }
    const struct window_steps *s = &POOL[r->opcode == OP_POOL_INDEX ? 3 : dtype == DT_F32 ? 0 : is_real(dtype) ? 1 : 2];
    return (r->hi - r->lo) * (s->window + lines * (s->line + taps * s->tap));
}

/* OP_REDUCE, OP_ARGREDUCE: the reduced elements' own walk, below every output. */
static uint64_t reduce(const struct record *r)
{
    unsigned kept = r->rank - (unsigned)r->imm[1], innermost;
    uint64_t count = 1, rows = rows_of(r, kept, 2, &innermost);
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    uint64_t below = count / row_length(r, kept, r->rank, 1, 1, &innermost);
    uint8_t dtype = r->dtype_in[0];
    unsigned kind = dtype == DT_F32 ? 0 : dtype == DT_F16 ? 1 : dtype == DT_BF16 ? 2 : 3;
    const struct reduce_steps *s = &(r->opcode == OP_REDUCE ? REDUCE : ARGREDUCE)[kind];
    return rows * ROW[r->opcode] +
           (r->hi - r->lo) * (s->output + below * s->row + count / CHUNK * s->chunk + count * s->element);
}

static uint64_t topk(const struct record *r)
{
    unsigned innermost;
    uint64_t k = r->imm[2], length = r->dim[r->rank - 1], levels = 63u - (unsigned)__builtin_clzll(k);
    uint64_t sift = TOPK_SIFT + levels * TOPK_LEVEL;
    uint64_t line = TOPK_LINE + k * TOPK_INDEX + (k + k / 2) * sift + (length - k) * (TOPK_ELEMENT + sift);
    return rows_of(r, r->rank - 1u, 2, &innermost) * ROW[OP_TOPK] + (r->hi - r->lo) * line;
}

static uint64_t scan(const struct record *r)
{
    unsigned innermost, integer = !is_real(r->dtype_in[0]);
    uint64_t length = r->dim[r->rank - 1];
    uint64_t element = SCAN_ELEMENT + (integer
                                           ? LOAD_INTEGER + STORE_INTEGER
                                           : LOAD_REAL[is_half(r->dtype_in[0])] + STORE_REAL[is_half(r->dtype_in[0])]);
    return rows_of(r, r->rank - 1u, 2, &innermost) * ROW[OP_SCAN] +
           (r->hi - r->lo) * (SCAN_LINE + length / CHUNK * SCAN_CHUNK + length * element);
}

static uint64_t tree(const struct record *r)
{
    uint64_t trees = (uint64_t)r->body[3], targets = (uint64_t)r->body[5], depth = (uint64_t)r->body[6];
    uint64_t leaf = (uint64_t)r->body[7];
    return (r->hi - r->lo) *
           (TREE_ROW + targets * TREE_TARGET + trees * (TREE + (1 + depth) * TREE_NODE + leaf * TREE_WEIGHT));
}

static unsigned block_kind(uint64_t format)
{
    unsigned kind = 0;
#define BLOCK_KIND(NAME, ELEMENTS, BYTES)                                                                              \
    if (format == BLOCK_##NAME)                                                                                        \
        return kind;                                                                                                   \
    kind++;
    FOR_EACH_BLOCK_FORMAT(BLOCK_KIND)
    return 0;
}

/* The kernels of blocks.c: so many blocks below each output, or made of elements themselves. */
static uint64_t blocks(const struct record *r)
{
    uint64_t n = r->hi - r->lo, elements = r->imm[0];
    if (r->opcode == OP_BLOCK_QUANTISE)
        return n * (QUANTISE_BLOCK + elements * QUANTISE_ELEMENT);
    elements = block_elements(r->imm[0]);
    uint64_t below = (uint64_t)r->body[2] / elements;
    if (r->opcode == OP_BLOCK_GATHER)
        return n * (GATHER_BLOCK + elements * GATHER_ELEMENT) +
               ((r->hi - 1) / below - r->lo / below + 1) * GATHER_CHECK;
    const struct block_steps *s = &BLOCK_CONTRACT[block_kind(r->imm[0])];
    uint64_t N = (uint64_t)r->body[1], rows = (r->hi - 1) / N - r->lo / N + 1;
    return rows * BLOCK_CONTRACT_ROW + n * (BLOCK_CONTRACT_OUTPUT + s->block + below * s->step);
}

static uint64_t inner_steps(const struct record *r)
{
    switch (r->opcode) {
    case OP_COPY: return moves(r, 2, MOVE[log2_width(r->dtype_out)]);
    case OP_FILL: return moves(r, 1, FILLED);
    case OP_SELECT: return moves(r, 4, SELECTED);
    case OP_UNARY: return elementwise(r, unary_steps(r), 1);
    case OP_BINARY: return elementwise(r, binary_steps(r), 2);
    case OP_CAST: return cast(r);
    case OP_CONTRACT: return contract(r);
    case OP_CONV: return conv(r);
    case OP_POOL:
    case OP_POOL_INDEX: return pool(r);
    case OP_REDUCE:
    case OP_ARGREDUCE: return reduce(r);
    case OP_GATHER:
    case OP_SCATTER: return placed(r);
    case OP_TOPK: return topk(r);
    case OP_SCAN: return scan(r);
    case OP_BLOCK_QUANTISE:
    case OP_BLOCK_CONTRACT:
    case OP_BLOCK_GATHER: return blocks(r);
    default: return tree(r);
    }
}

/* The machine takes a step to give every other thread its turn, after each QUANTUM = 100,000 instructions (docs/vm.md), though
 * the guest has no other thread. */
#define SLICE (1u << 16)

uint64_t record_steps(const struct record *r)
{
    uint64_t inner = r->lo < r->hi ? inner_steps(r) : 0;
    return NODE_STEPS + inner + inner / SLICE;
}
