/* The primitive kernels and their functions: the numbers that node records carry.
 *
 * One list for host, guest and Python (opml_dispute/model/opcodes.py mirrors it; a test compares them).
 * What each kernel computes is docs/kernels.md; what a record looks like is record.h.
 * Numbers are part of the format: append, never renumber. */
#ifndef OPML_OPCODES_H
#define OPML_OPCODES_H

enum opcode {
    OP_COPY = 1,            /* out[i*so] = in0[i*si]                       any dtype, same width           */
    OP_FILL = 2,            /* out[i*so] = imm[0]                          low bits of imm[0]              */
    OP_UNARY = 3,           /* out = f(in0)                                imm[0] = unary function         */
    OP_BINARY = 4,          /* out = f(in0, in1)                           imm[0] = binary function        */
    OP_SELECT = 5,          /* out = in0 ? in1 : in2                       in0 bool                        */
    OP_CAST = 6,            /* out = (dtype_out) in0                       imm[0] = 0 wrap, 1 saturate     */
    OP_CONTRACT = 7,        /* out[b,m,n] = sum_k in0 * in1 (+ in2)                                        */
    OP_CONV = 8,            /* 1-3 spatial dimensions, groups, dilation                                    */
    OP_POOL = 9,            /* max or average over windows                                                 */
    OP_REDUCE = 10,         /* sum, product, max, min over the last dimensions of the iteration space      */
    OP_ARGREDUCE = 11,      /* index (int64) of the max or min along one axis                              */
    OP_GATHER = 12,         /* out = in0 at places that in1 (int64) names                                  */
    OP_SCATTER = 13,        /* out at places that in1 (int64) names = in0, with a reduction                */
    OP_TOPK = 14,           /* indices (int64) of the k largest or smallest along one axis, in order       */
    OP_SCAN = 15,           /* cumulative sum or product along one axis                                    */
    OP_TREE = 16,           /* decision-tree ensemble                                                      */
    OP_POOL_INDEX = 17,     /* where (int64) in its input OP_POOL found each maximum                     */
    OP_BLOCK_QUANTISE = 18, /* rows as blocks of a scale and int8; imm[0] = elements of a block      */
    OP_BLOCK_CONTRACT = 19, /* those times rows of block-quantised weights; imm[0] = block format    */
    OP_BLOCK_GATHER = 20,   /* rows of block-quantised weights as binary32; imm[0] = block format      */
};

/* Element types: ONNX's own TensorProto numbers. */
/* clang-format off */
enum dtype {
    DT_F32 = 1, DT_U8 = 2, DT_I8 = 3, DT_U16 = 4, DT_I16 = 5, DT_I32 = 6, DT_I64 = 7,
    DT_BOOL = 9, DT_F16 = 10, DT_F64 = 11, DT_U32 = 12, DT_U64 = 13, DT_BF16 = 16,
};

enum unary {
    UN_NEG = 1, UN_ABS, UN_SIGN, UN_RECIPROCAL, UN_SQRT, UN_FLOOR, UN_CEIL, UN_ROUND /* half to even */,
    UN_EXP, UN_LOG, UN_SIN, UN_COS, UN_TAN, UN_ASIN, UN_ACOS, UN_ATAN,
    UN_SINH, UN_COSH, UN_TANH, UN_ASINH, UN_ACOSH, UN_ATANH, UN_ERF, UN_SIGMOID, UN_SOFTPLUS,
    UN_RELU, UN_NOT /* bool */, UN_BITNOT, UN_ISNAN /* -> bool */, UN_ISINF /* -> bool; imm[1] bit 0: -inf counts, bit 1: +inf counts */,
    UN_TRUNC,
};

enum binary {
    BIN_ADD = 1, BIN_SUB, BIN_MUL, BIN_DIV, BIN_MIN, BIN_MAX, BIN_POW,
    BIN_MOD /* sign of the divisor (integers: Python's %) */, BIN_FMOD /* sign of the dividend */,
    BIN_AND, BIN_OR, BIN_XOR /* bool */, BIN_BITAND, BIN_BITOR, BIN_BITXOR, BIN_SHL, BIN_SHR,
    BIN_EQ /* -> bool */, BIN_LT /* -> bool */, BIN_LE /* -> bool */, BIN_PRELU /* x >= 0 ? x : x*slope */,
    BIN_ATAN2,
};
/* clang-format on */

enum reduction { RED_SUM = 1, RED_PROD, RED_MAX, RED_MIN, RED_NONE /* scatter only: plain store */ };

/* Formats of block-quantised weights: GGUF's own numbers where it has the format (kernels/blocks.h). */
enum block_format {
    BLOCK_Q4_0 = 2,
    BLOCK_Q4_1 = 3,
    BLOCK_Q5_0 = 6,
    BLOCK_Q5_1 = 7,
    BLOCK_Q8_0 = 8,
    BLOCK_Q4_K = 12,
    BLOCK_Q5_K = 13,
    BLOCK_Q6_K = 14,
    BLOCK_N4 = 100, /* a binary32 scale and a zero point; 4 bits */
    BLOCK_N8 = 101, /* the same of 8 bits */
};

/* Latched in the segment header's `status` when a node cannot be run. 0 is success. */
enum inference_status {
    ST_OK = 0,
    ST_BAD_PROGRAM = 1,        /* magic, version, node count or step limit of the program header     */
    ST_BAD_OPCODE = 2,         /* opcode, function or a count outside the format                    */
    ST_BAD_DTYPE = 3,          /* a dtype the kernel does not take                                  */
    ST_BAD_SHAPE = 4,          /* rank, dimension, range or overflow                                */
    ST_BAD_OPERAND = 5,        /* an operand outside its section, misaligned, or overlapping output */
    ST_BAD_FREE = 6,           /* a freed block outside ARENA, or not aligned to its size           */
    ST_INDEX_OUT_OF_RANGE = 7, /* an index tensor names an element that is not there                */
    ST_TOO_MANY_STEPS = 8,     /* the node could take more VM steps than the program header allows  */
};
#endif
