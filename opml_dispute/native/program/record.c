/* The validator of node records. docs/segment.md, "What is refused", lists these rules in this order.
 *
 * A record is untrusted input, and host and guest must refuse exactly the same ones, so both run this file.
 * Numbers are bounded before they are multiplied: no computation here can wrap. */
#include "record.h"
#include "block_formats.h"
#include "opcodes.h"

#define SEGMENT_BYTES (1ull << SEGMENT_LOG2)
#define MAX_COUNT     (1ull << 38) /* elements; more fit in no section */

/* clang-format off */
unsigned dtype_bytes(uint8_t dtype)
{
    switch (dtype) {
    case DT_U8: case DT_I8: case DT_BOOL: return 1;
    case DT_U16: case DT_I16: case DT_F16: case DT_BF16: return 2;
    case DT_U32: case DT_I32: case DT_F32: return 4;
    case DT_U64: case DT_I64: case DT_F64: return 8;
    default: return 0;
    }
}
/* clang-format on */

void record_decode(struct record *r, const uint8_t *bytes)
{
#define BYTES_U64(p)                                                                                                   \
    ((uint64_t)(p)[0] << 56 | (uint64_t)(p)[1] << 48 | (uint64_t)(p)[2] << 40 | (uint64_t)(p)[3] << 32 |               \
     (uint64_t)(p)[4] << 24 | (uint64_t)(p)[5] << 16 | (uint64_t)(p)[6] << 8 | (uint64_t)(p)[7])
    uint64_t word[RECORD_BYTES / 8];
    for (unsigned i = 0; i < RECORD_BYTES / 8; i++)
        word[i] = BYTES_U64(bytes + 8 * i);
    r->opcode = (uint16_t)(word[0] >> 48);
    r->rank = bytes[2];
    r->n_in = bytes[3];
    r->n_free = bytes[4];
    r->dtype_out = bytes[5];
    for (unsigned j = 0; j < RECORD_MAX_IN; j++)
        r->dtype_in[j] = bytes[6 + j];
    r->zero = (uint32_t)word[1];
    r->lo = word[2];
    r->hi = word[3];
    r->out = word[4];
    for (unsigned j = 0; j < RECORD_MAX_IN; j++)
        r->in[j] = word[5 + j];
    for (unsigned j = 0; j < RECORD_MAX_FREE; j++)
        r->free[j] = word[11 + j];
    for (unsigned j = 0; j < 4; j++)
        r->imm[j] = word[18 + j];
    for (unsigned j = 0; j < 40; j++)
        r->body[j] = (int64_t)word[22 + j];
    r->reserved[0] = word[62];
    r->reserved[1] = word[63];
}

/* ---- functions and dtypes ------------------------------------------------------------------------------------ */

enum { REAL = 1, SIGNED = 2, UNSIGNED = 4, BOOLEAN = 8, DOUBLE = 16, INTEGER = SIGNED | UNSIGNED };
#define NUMBER (REAL | INTEGER)
#define ANY    (NUMBER | BOOLEAN | DOUBLE)

/* clang-format off */
static unsigned class_of(uint8_t dtype)
{
    switch (dtype) {
    case DT_F32: case DT_F16: case DT_BF16: return REAL;
    case DT_I8: case DT_I16: case DT_I32: case DT_I64: return SIGNED;
    case DT_U8: case DT_U16: case DT_U32: case DT_U64: return UNSIGNED;
    case DT_BOOL: return BOOLEAN;
    case DT_F64: return DOUBLE;
    default: return 0;
    }
}

/* The classes of dtypes that a unary function takes; 0 if there is no such function. */
static unsigned unary_takes(uint64_t function)
{
    switch (function) {
    case UN_NEG: case UN_ABS: case UN_SIGN: case UN_RELU: return NUMBER;
    case UN_NOT: return BOOLEAN;
    case UN_BITNOT: return INTEGER;
    default: return function >= UN_NEG && function <= UN_TRUNC ? REAL : 0;
    }
}
static unsigned binary_takes(uint64_t function)
{
    switch (function) {
    case BIN_AND: case BIN_OR: case BIN_XOR: return BOOLEAN;
    case BIN_BITAND: case BIN_BITOR: case BIN_BITXOR: case BIN_SHL: case BIN_SHR: return INTEGER;
    case BIN_EQ: return NUMBER | BOOLEAN;
    case BIN_ATAN2: return REAL;
    default: return function >= BIN_ADD && function <= BIN_ATAN2 ? NUMBER : 0;
    }
}
/* clang-format on */

/* Can a and b be multiplied and summed into `out`? kernels/types.h has the loops. */
static int product_ok(uint8_t a, uint8_t b, uint8_t out)
{
    unsigned width = dtype_bytes(a);
    if (class_of(a) == REAL)
        return a == b && (out == a || out == DT_F32);
    if (!(class_of(a) & INTEGER) || !(class_of(b) & INTEGER) || dtype_bytes(b) != width)
        return 0;
    if (width == 2 && a != b)
        return 0;
    return width == 8 ? out == DT_I64 || out == DT_U64 : out == DT_I32 || out == DT_U32;
}

static int counts_ok(const struct record *r)
{
    static const uint8_t inputs[] = {
        [OP_COPY] = 1,     [OP_FILL] = 0, [OP_UNARY] = 1,          [OP_BINARY] = 2,         [OP_SELECT] = 3,
        [OP_CAST] = 1,     [OP_POOL] = 1, [OP_REDUCE] = 1,         [OP_ARGREDUCE] = 1,      [OP_GATHER] = 2,
        [OP_SCATTER] = 2,  [OP_TOPK] = 1, [OP_SCAN] = 1,           [OP_TREE] = 6,           [OP_POOL_INDEX] = 1,
        [OP_CONTRACT] = 2, [OP_CONV] = 2, [OP_BLOCK_QUANTISE] = 1, [OP_BLOCK_CONTRACT] = 2, [OP_BLOCK_GATHER] = 1,
    };
    if (r->opcode < OP_COPY || r->opcode > OP_BLOCK_GATHER)
        return 0;
    unsigned bias = (r->opcode == OP_CONTRACT || r->opcode == OP_CONV || r->opcode == OP_BLOCK_CONTRACT) &&
                    r->n_in == 3;
    unsigned rows = r->opcode == OP_BLOCK_GATHER && r->n_in == 2;
    return r->rank <= RECORD_MAX_RANK && r->n_in == inputs[r->opcode] + bias + rows && r->n_free <= RECORD_MAX_FREE &&
           r->zero == 0 && r->reserved[0] == 0 && r->reserved[1] == 0;
}

static int function_ok(const struct record *r)
{
    const uint64_t *imm = r->imm;
    switch (r->opcode) {
    case OP_UNARY: return unary_takes(imm[0]) && (imm[0] != UN_ISINF || imm[1] <= 3);
    case OP_BINARY: return binary_takes(imm[0]) != 0;
    case OP_CAST: return imm[0] <= 1;
    case OP_POOL: return imm[0] <= 3;
    case OP_POOL_INDEX: return imm[1] <= 1;
    case OP_REDUCE: return imm[0] >= RED_SUM && imm[0] <= RED_MIN;
    case OP_ARGREDUCE: return (imm[0] == RED_MAX || imm[0] == RED_MIN) && imm[2] <= 1;
    case OP_TOPK: return imm[0] <= 1;
    case OP_SCAN: return (imm[0] == RED_SUM || imm[0] == RED_PROD) && imm[2] <= 3;
    case OP_SCATTER: return imm[2] >= RED_SUM && imm[2] <= RED_NONE;
    case OP_BLOCK_QUANTISE: return imm[0] == 32 || imm[0] == 256;
    case OP_BLOCK_CONTRACT:
    case OP_BLOCK_GATHER: return block_elements(imm[0]) != 0;
    case OP_TREE: return imm[0] == RED_SUM || imm[0] == RED_MAX || imm[0] == RED_MIN;
    default: return 1;
    }
}

static int dtypes_ok(const struct record *r)
{
    uint8_t out = r->dtype_out;
    const uint8_t *in = r->dtype_in;
    unsigned class = class_of(in[0]);
    if (!class_of(out))
        return 0;
    for (unsigned j = 0; j < r->n_in; j++)
        if (!class_of(in[j]))
            return 0;
    switch (r->opcode) {
    case OP_COPY: return dtype_bytes(in[0]) == dtype_bytes(out);
    case OP_FILL: return 1;
    case OP_UNARY: {
        unsigned predicate = r->imm[0] == UN_ISNAN || r->imm[0] == UN_ISINF;
        return unary_takes(r->imm[0]) & class && out == (predicate ? DT_BOOL : in[0]);
    }
    case OP_BINARY: {
        unsigned predicate = r->imm[0] == BIN_EQ || r->imm[0] == BIN_LT || r->imm[0] == BIN_LE;
        return binary_takes(r->imm[0]) & class && in[1] == in[0] && out == (predicate ? DT_BOOL : in[0]);
    }
    case OP_SELECT: return in[0] == DT_BOOL && in[1] == out && in[2] == out;
    case OP_CAST: return class != DOUBLE && class_of(out) != DOUBLE;
    case OP_CONTRACT:
    case OP_CONV: return product_ok(in[0], in[1], out) && (r->n_in == 2 || in[2] == out);
    case OP_POOL: return class & (r->imm[0] == 0 ? NUMBER : REAL) && in[0] == out;
    case OP_REDUCE:
    case OP_SCAN: return class & NUMBER && in[0] == out;
    case OP_ARGREDUCE:
    case OP_TOPK:
    case OP_POOL_INDEX: return class & NUMBER && out == DT_I64;
    case OP_GATHER: return in[0] == out && in[1] == DT_I64;
    case OP_SCATTER: return in[0] == out && in[1] == DT_I64 && class & (r->imm[2] == RED_NONE ? ANY : NUMBER);
    case OP_BLOCK_QUANTISE: return in[0] == DT_F32 && out == DT_U8;
    case OP_BLOCK_CONTRACT:
        return in[0] == DT_U8 && in[1] == DT_U8 && out == DT_F32 && (r->n_in == 2 || in[2] == DT_F32);
    case OP_BLOCK_GATHER: return in[0] == DT_U8 && out == DT_F32 && (r->n_in == 1 || in[1] == DT_I64);
    default: /* OP_TREE */
        return out == DT_F32 && in[0] == DT_F32 && in[1] == DT_I32 && in[2] == DT_F32 && in[3] == DT_I32 &&
               in[4] == DT_I32 && in[5] == DT_F32;
    }
}

/* ---- shapes: how many elements, how much work, which bytes ---------------------------------------------------- */

static uint64_t magnitude(int64_t x) { return x < 0 ? 0 - (uint64_t)x : (uint64_t)x; }

/* *product *= factor, if both are at least 1 and the result at most `limit`. */
static int times(uint64_t *product, uint64_t factor, uint64_t limit)
{
    if (factor == 0 || factor > limit / *product)
        return 0;
    *product *= factor;
    return 1;
}

/* Widens e, so far in elements relative to the operand's element 0, by count steps of `stride`. */
struct reach {
    uint64_t below, above;
};
static int reach_add(struct reach *e, uint64_t count, int64_t stride)
{
    if (count <= 1 || stride == 0)
        return 1;
    if (magnitude(stride) > SEGMENT_BYTES / (count - 1))
        return 0;
    uint64_t far = magnitude(stride) * (count - 1);
    *(stride < 0 ? &e->below : &e->above) += far;
    return (stride < 0 ? e->below : e->above) <= SEGMENT_BYTES;
}

/* Do the output's elements lie apart? Sufficient, and what every compiler makes: ordered by stride, each dimension
 * steps over all that the smaller ones reach. Without it the answer would depend on the order of writing. */
static int elements_apart(const uint64_t *dim, const int64_t *stride, unsigned rank)
{
    uint64_t reached = 0;
    uint32_t done = 0;
    for (unsigned step = 0; step < rank; step++) {
        unsigned least = RECORD_MAX_RANK;
        for (unsigned d = 0; d < rank; d++)
            if (!(done >> d & 1) && (least == RECORD_MAX_RANK || magnitude(stride[d]) < magnitude(stride[least])))
                least = d;
        done |= 1u << least;
        if (dim[least] == 1)
            continue;
        if (magnitude(stride[least]) <= reached)
            return 0;
        reached += magnitude(stride[least]) * (dim[least] - 1); /* ASSUMES reach_add accepted the operand */
    }
    return 1;
}

/* One operand's extent, from its offset, reach and dtype. */
static void place(struct extent *e, uint64_t offset, const struct reach *reach, uint8_t dtype)
{
    uint64_t width = dtype_bytes(dtype);
    e->width = (uint32_t)width;
    e->lo = offset - reach->below * width; /* may wrap; `inside` refuses what it then names */
    e->hi = offset + (reach->above + 1) * width;
    if (reach->below * width > offset || offset > SEGMENT_BYTES)
        e->lo = e->hi = 0;
}

static void place_flat(struct extent *e, uint64_t offset, uint64_t count, uint8_t dtype)
{
    struct reach reach = {0, count - 1};
    place(e, offset, &reach, dtype);
}

static int strided_ok(const struct record *r, struct extent *e)
{
    uint64_t count = 1, outputs = 1;
    unsigned trailing = 0, kept;
    switch (r->opcode) {
    case OP_REDUCE:
    case OP_ARGREDUCE:
        if (r->imm[1] > r->rank)
            return 0;
        trailing = (unsigned)r->imm[1];
        break;
    case OP_TOPK:
    case OP_SCAN:
        if (r->rank == 0 || r->imm[1] != 1)
            return 0;
        trailing = 1;
        break;
    case OP_CONTRACT:
        if (r->rank < 2)
            return 0;
        break;
    }
    kept = r->rank - trailing;
    for (unsigned d = 0; d < r->rank; d++) {
        if (!times(&count, r->dim[d], MAX_COUNT))
            return 0;
        if (d < kept)
            outputs = count;
    }
    if (r->lo > r->hi || r->hi > outputs)
        return 0;
    uint64_t work = r->hi - r->lo;
    if (work && !times(&work, count / outputs, RECORD_MAX_WORK))
        return 0;

    /* The output: all dimensions, but for reductions the kept ones, for OP_TOPK its k along the last. */
    uint64_t dim[RECORD_MAX_RANK];
    unsigned rank = r->opcode == OP_REDUCE || r->opcode == OP_ARGREDUCE ? kept : r->rank;
    struct reach reach = {0, 0};
    for (unsigned d = 0; d < rank; d++)
        dim[d] = r->dim[d];
    if (r->opcode == OP_TOPK) {
        if (r->imm[2] == 0 || r->imm[2] > r->dim[kept])
            return 0;
        dim[kept] = r->imm[2];
    }
    for (unsigned d = 0; d < rank; d++)
        if (!reach_add(&reach, dim[d], r->stride[0][d]))
            return 0;
    if (r->opcode != OP_SCATTER && !elements_apart(dim, r->stride[0], rank))
        return 0;

    struct reach in[3] = {{0, 0}, {0, 0}, {0, 0}};
    for (unsigned j = 0; j < r->n_in && j < 3; j++)
        for (unsigned d = 0; d < r->rank; d++)
            if (!reach_add(&in[j], r->dim[d], r->stride[1 + j][d]))
                return 0;
    if (r->opcode == OP_CONTRACT) {
        uint64_t K = r->imm[0];
        if ((work && !times(&work, K, RECORD_MAX_WORK)) || K == 0 || K > MAX_COUNT ||
            !reach_add(&in[0], K, (int64_t)r->imm[1]) || !reach_add(&in[1], K, (int64_t)r->imm[2]))
            return 0;
    }
    if (r->opcode == OP_GATHER || r->opcode == OP_SCATTER) {
        struct reach *moved = r->opcode == OP_GATHER ? &in[0] : &reach;
        uint64_t q = r->imm[0];
        if (q < 1 || q > 4 || !reach_add(&in[1], q, (int64_t)r->imm[1]))
            return 0;
        for (unsigned c = 0; c < q; c++) {
            uint64_t size = (uint64_t)r->stride[3][4 + c];
            if (size == 0 || size > MAX_COUNT || !reach_add(moved, size, r->stride[3][c]))
                return 0;
        }
    }
    place(&e[0], r->out, &reach, r->dtype_out);
    for (unsigned j = 0; j < r->n_in && j < 3; j++)
        place(&e[1 + j], r->in[j], &in[j], r->dtype_in[j]);
    return 1;
}

static int windows_ok(const struct record *r, struct extent *e)
{
    /* INVARIANT: with this limit no coordinate of a tap, three windows behind the last included, reaches 2^63. */
    const int64_t *body = r->body, limit = (1ll << 31) - 1;
    uint64_t spatial = (uint64_t)body[0], input = 1, kernel = 1, output = 1;
    if (spatial < 1 || spatial > 3)
        return 0;
    for (unsigned d = 0; d < spatial; d++) {
        /* 0 input, 3 kernel, 6 stride, 9 dilation, 12 pad, 15 output, 18 pad end */
        const int64_t *field = body + 5 + d;
        for (unsigned k = 0; k <= 18; k += 3) {
            int64_t least = k == 12 || k == 18 ? -limit : 1;
            if (field[k] < least || field[k] > limit)
                return 0;
        }
        if (!times(&input, (uint64_t)field[0], MAX_COUNT) || !times(&kernel, (uint64_t)field[3], MAX_COUNT) ||
            !times(&output, (uint64_t)field[15], MAX_COUNT))
            return 0;
    }
    uint64_t channels = (uint64_t)body[2], images = 1, x = input, out = output, taps = kernel;
    if (!times(&images, (uint64_t)body[1], MAX_COUNT) || !times(&x, channels, MAX_COUNT) ||
        !times(&x, images, MAX_COUNT))
        return 0;
    if (r->opcode == OP_CONV) {
        uint64_t M = (uint64_t)body[3], groups = (uint64_t)body[4], w = kernel;
        if (groups == 0 || M == 0 || M > MAX_COUNT || channels % groups || M % groups)
            return 0;
        if (!times(&taps, channels / groups, MAX_COUNT) || !times(&w, channels / groups, MAX_COUNT) ||
            !times(&w, M, MAX_COUNT) || !times(&out, M, MAX_COUNT))
            return 0;
        place_flat(&e[2], r->in[1], w, r->dtype_in[1]);
        if (r->n_in == 3)
            place_flat(&e[3], r->in[2], M, r->dtype_in[2]);
    } else if (!times(&out, channels, MAX_COUNT)) {
        return 0;
    }
    if (!times(&out, images, MAX_COUNT) || r->lo > r->hi || r->hi > out)
        return 0;
    uint64_t work = r->hi - r->lo;
    if (work && !times(&work, taps, RECORD_MAX_WORK))
        return 0;
    place_flat(&e[0], r->out, out, r->dtype_out);
    place_flat(&e[1], r->in[0], x, r->dtype_in[0]);
    return 1;
}

static int tree_ok(const struct record *r, struct extent *e)
{
    uint64_t rows = (uint64_t)r->body[0], features = (uint64_t)r->body[1], nodes = (uint64_t)r->body[2];
    uint64_t trees = (uint64_t)r->body[3], weights = (uint64_t)r->body[4], targets = (uint64_t)r->body[5];
    uint64_t depth = (uint64_t)r->body[6], leaf_weights = (uint64_t)r->body[7], limit = 1ull << 31;
    uint64_t x = 1, out = 1;
    if (!nodes || nodes > limit || !trees || trees > limit || !weights || weights > limit || depth > limit ||
        leaf_weights > limit || !times(&x, rows, MAX_COUNT) || !times(&x, features, MAX_COUNT) ||
        !times(&out, rows, MAX_COUNT) || !times(&out, targets, MAX_COUNT))
        return 0;
    if (r->lo > r->hi || r->hi > rows)
        return 0;
    uint64_t work = r->hi - r->lo, walk = trees;
    if (!times(&walk, 1 + depth + leaf_weights, RECORD_MAX_WORK) ||
        (work && !times(&work, walk + targets, RECORD_MAX_WORK)))
        return 0;
    place_flat(&e[0], r->out, out, r->dtype_out);
    place_flat(&e[1], r->in[0], x, r->dtype_in[0]);
    place_flat(&e[2], r->in[1], 4 * nodes, r->dtype_in[1]);
    place_flat(&e[3], r->in[2], nodes, r->dtype_in[2]);
    place_flat(&e[4], r->in[3], trees, r->dtype_in[3]);
    place_flat(&e[5], r->in[4], weights, r->dtype_in[4]);
    place_flat(&e[6], r->in[5], weights, r->dtype_in[5]);
    return 1;
}

static int blocks_ok(const struct record *r, struct extent *e)
{
    uint64_t rows = (uint64_t)r->body[0], columns = (uint64_t)r->body[1], K = (uint64_t)r->body[2];
    uint64_t elements = r->opcode == OP_BLOCK_QUANTISE ? r->imm[0] : block_elements(r->imm[0]);
    uint64_t blocks = K / elements, x = 1, activations = 1, weights = 1, outputs = 1;
    if (K == 0 || K > MAX_COUNT || K % elements || !times(&x, rows, MAX_COUNT) || !times(&x, K, MAX_COUNT) ||
        !times(&activations, rows, MAX_COUNT) || !times(&activations, blocks, MAX_COUNT))
        return 0;
    uint64_t work_each = elements;
    outputs = activations; /* blocks of them */
    if (!times(&activations, ACTIVATION_HEAD + elements, MAX_COUNT))
        return 0;
    if (r->opcode != OP_BLOCK_QUANTISE) {
        if (!times(&weights, columns, MAX_COUNT) || !times(&weights, blocks, MAX_COUNT) ||
            !times(&weights, block_bytes(r->imm[0]), MAX_COUNT))
            return 0;
        place_flat(&e[r->opcode == OP_BLOCK_CONTRACT ? 2 : 1], r->in[r->opcode == OP_BLOCK_CONTRACT], weights, DT_U8);
    }
    switch (r->opcode) {
    case OP_BLOCK_QUANTISE:
        place_flat(&e[0], r->out, activations, DT_U8);
        place_flat(&e[1], r->in[0], x, DT_F32);
        break;
    case OP_BLOCK_CONTRACT:
        outputs = rows;
        work_each = K;
        if (!times(&outputs, columns, MAX_COUNT))
            return 0;
        place_flat(&e[0], r->out, outputs, DT_F32);
        place_flat(&e[1], r->in[0], activations, DT_U8);
        if (r->n_in == 3)
            place_flat(&e[3], r->in[2], columns, DT_F32);
        break;
    default:
        if (r->n_in == 1 && rows != columns)
            return 0;
        place_flat(&e[0], r->out, x, DT_F32);
        if (r->n_in == 2)
            place_flat(&e[2], r->in[1], rows, DT_I64);
    }
    if (r->lo > r->hi || r->hi > outputs)
        return 0;
    uint64_t work = r->hi - r->lo;
    return !work || times(&work, work_each, RECORD_MAX_WORK);
}

/* ---- places --------------------------------------------------------------------------------------------------- */

static int inside(const struct extent *e, uint64_t lo, uint64_t hi)
{
    return e->lo < e->hi && e->lo >= lo && e->hi <= hi;
}

static int operands_ok(const struct record *r, const struct extent *e)
{
    if (r->out % e[0].width || (!inside(&e[0], SEC_OUTPUT, SEC_ARENA) && !inside(&e[0], SEC_ARENA, SEC_END)))
        return 0;
    for (unsigned j = 0; j < r->n_in; j++) {
        const struct extent *in = &e[1 + j];
        if (r->in[j] % in->width || (!inside(in, SEC_WEIGHTS, SEC_HEADER) && !inside(in, SEC_INPUT, SEC_OUTPUT) &&
                                     !inside(in, SEC_OUTPUT, SEC_ARENA) && !inside(in, SEC_ARENA, SEC_END)))
            return 0;
        if (in->lo < e[0].hi && e[0].lo < in->hi)
            return 0;
    }
    /* A block of activations begins with a binary32. */
    return (r->opcode != OP_BLOCK_QUANTISE || r->out % 4 == 0) && (r->opcode != OP_BLOCK_CONTRACT || r->in[0] % 4 == 0);
}

static int frees_ok(const struct record *r)
{
    for (unsigned i = 0; i < r->n_free; i++) {
        uint64_t log2_size = r->free[i] >> 56, offset = r->free[i] & ((1ull << 56) - 1);
        if (log2_size < 6 || log2_size > 38 || offset & ((1ull << log2_size) - 1) || offset < SEC_ARENA ||
            offset >= SEC_END)
            return 0;
    }
    return 1;
}

int record_check(const struct record *r, struct extent *extent)
{
    struct extent measured[1 + RECORD_MAX_IN];
    struct extent *e = extent ? extent : measured;
    if (!counts_ok(r) || !function_ok(r))
        return ST_BAD_OPCODE;
    if (!dtypes_ok(r))
        return ST_BAD_DTYPE;
    int shape_ok = r->opcode == OP_CONV || r->opcode == OP_POOL || r->opcode == OP_POOL_INDEX ? windows_ok(r, e)
                   : r->opcode == OP_TREE                                                     ? tree_ok(r, e)
                   : r->opcode >= OP_BLOCK_QUANTISE                                           ? blocks_ok(r, e)
                                                                                              : strided_ok(r, e);
    if (!shape_ok)
        return ST_BAD_SHAPE;
    if (!operands_ok(r, e))
        return ST_BAD_OPERAND;
    return frees_ok(r) ? ST_OK : ST_BAD_FREE;
}
