/* Made by scripts/step-constants from the guest's machine code; tests/guest/test_step_constants.py compares the two.
 * How they are derived: tests/guest/step_constants.py. How they are used: steps.c. */
#ifndef OPML_STEP_CONSTANTS_H
#define OPML_STEP_CONSTANTS_H
#include "opcodes.h"
#include <stdint.h>
/* clang-format off */

struct row_steps { uint16_t row, element; };
struct block_steps { uint16_t block, step; };
struct window_steps { uint16_t window, channel, line, tap; };
struct reduce_steps { uint16_t output, row, chunk, element; };

#define NODE_STEPS 28672u
static const uint16_t ROW[] = {
    [OP_COPY] = 496, [OP_FILL] = 272, [OP_UNARY] = 410, [OP_BINARY] = 445, [OP_SELECT] = 283, [OP_CAST] = 466,
    [OP_REDUCE] = 643, [OP_ARGREDUCE] = 610, [OP_GATHER] = 536, [OP_SCATTER] = 606, [OP_TOPK] = 1900, [OP_SCAN] = 283,
};
static const struct row_steps UNARY_REAL[] = {
    [UN_NEG] = {101, 9}, [UN_ABS] = {113, 10}, [UN_SIGN] = {163, 14}, [UN_RECIPROCAL] = {85, 7}, [UN_SQRT] = {73, 7},
    [UN_FLOOR] = {291, 28}, [UN_CEIL] = {291, 28}, [UN_ROUND] = {231, 22}, [UN_EXP] = {238, 37}, [UN_LOG] = {305, 46},
    [UN_SIN] = {843, 180}, [UN_COS] = {828, 177}, [UN_TAN] = {849, 182}, [UN_ASIN] = {267, 45}, [UN_ACOS] = {268, 43},
    [UN_ATAN] = {218, 33}, [UN_SINH] = {322, 51}, [UN_COSH] = {267, 42}, [UN_TANH] = {387, 60},
    [UN_ASINH] = {446, 75}, [UN_ACOSH] = {432, 72}, [UN_ATANH] = {447, 72}, [UN_ERF] = {545, 75},
    [UN_SIGMOID] = {287, 46}, [UN_SOFTPLUS] = {651, 101}, [UN_RELU] = {111, 10}, [UN_ISNAN] = {88, 9},
    [UN_ISINF] = {124, 11}, [UN_TRUNC] = {299, 29},
};
static const struct row_steps UNARY_INTEGER[] = {
    [UN_NEG] = {32, 7}, [UN_ABS] = {44, 10}, [UN_SIGN] = {40, 9}, [UN_RELU] = {36, 8}, [UN_NOT] = {70, 7},
    [UN_BITNOT] = {33, 7},
};
static const struct row_steps BINARY_REAL[] = {
    [BIN_ADD] = {89, 9}, [BIN_SUB] = {89, 9}, [BIN_MUL] = {89, 9}, [BIN_DIV] = {89, 9}, [BIN_MIN] = {144, 14},
    [BIN_MAX] = {144, 14}, [BIN_POW] = {1193, 239}, [BIN_MOD] = {399, 160}, [BIN_FMOD] = {348, 148},
    [BIN_EQ] = {104, 11}, [BIN_LT] = {104, 11}, [BIN_LE] = {104, 11}, [BIN_PRELU] = {135, 13},
    [BIN_ATAN2] = {354, 61},
};
static const struct row_steps BINARY_INTEGER[] = {
    [BIN_ADD] = {40, 9}, [BIN_SUB] = {40, 9}, [BIN_MUL] = {44, 10}, [BIN_DIV] = {82, 19}, [BIN_MIN] = {44, 10},
    [BIN_MAX] = {44, 10}, [BIN_POW] = {171, 40}, [BIN_MOD] = {100, 24}, [BIN_FMOD] = {80, 19}, [BIN_AND] = {48, 11},
    [BIN_OR] = {44, 10}, [BIN_XOR] = {48, 11}, [BIN_BITAND] = {48, 11}, [BIN_BITOR] = {44, 10},
    [BIN_BITXOR] = {48, 11}, [BIN_SHL] = {52, 12}, [BIN_SHR] = {52, 12}, [BIN_EQ] = {48, 11}, [BIN_LT] = {40, 9},
    [BIN_LE] = {44, 10}, [BIN_PRELU] = {56, 13},
};
#define INTEGER_POWER_BIT 16u
#define UNARY_CHUNK 141u
#define BINARY_CHUNK 171u
#define HALF_LOAD 25u
#define HALF_STORE 30u
static const uint16_t LOAD_REAL[] = {6, 20};
static const uint16_t STORE_REAL[] = {15, 25};
#define LOAD_INTEGER 8u
#define STORE_INTEGER 6u
#define CAST_CHUNK 195u
#define CONVERT 70u
static const uint16_t MOVE[] = {6, 10, 6, 6};
#define FILLED 4u
#define SELECTED 11u
#define CHECK_ROW 285u
#define CHECK 26u
#define CHECK_COMPONENT 13u
#define PLACE_COMPONENT 14u
#define GATHERED 176u
#define SCATTERED 239u
static const struct block_steps CONTRACT[][4] = {
    {{960, 29}, {288, 13}, {288, 13}, {94, 7}}, /* f32 */
    {{941, 198}, {300, 87}, {306, 87}, {102, 36}}, /* f16 */
    {{960, 51}, {288, 26}, {288, 26}, {94, 11}}, /* bf16 */
    {{195, 80}, {65, 21}, {67, 21}, {34, 9}}, /* small integers */
    {{191, 118}, {65, 24}, {67, 24}, {34, 9}}, /* i64 */
};
#define CONTRACT_GROUP 389u
static const struct window_steps CONV_EDGE[][2] = {
    {{994, 18, 62, 64}, {373, 14, 53, 35}}, /* f32 */
    {{1045, 17, 53, 222}, {460, 15, 63, 106}}, /* f16 */
    {{999, 16, 66, 84}, {381, 14, 53, 46}}, /* bf16 */
    {{471, 17, 81, 105}, {232, 17, 68, 43}}, /* small integers */
    {{810, 17, 80, 123}, {539, 17, 68, 47}}, /* i64 */
};
static const struct window_steps CONV_INSIDE[] = {{994, 12, 24, 44}, {373, 10, 21, 16}};
static const struct window_steps CONV_POINT[] = {{994, 29, 0, 0}, {373, 12, 0, 0}};
#define CONV_GROUP 292u
#define CONV_ROW 132u
#define CONV_CALL 48u
static const struct window_steps POOL[] = {
    {250, 0, 29, 11}, /* pool_f32 */
    {289, 0, 34, 26}, /* pool_half */
    {214, 0, 43, 49}, /* pool_integer */
    {217, 0, 47, 100}, /* kernel_pool_index */
};
static const struct reduce_steps REDUCE[] = {
    {702, 676, 0, 8}, /* f32 */
    {702, 1093, 0, 26}, /* f16 */
    {702, 742, 0, 10}, /* bf16 */
    {702, 330, 68, 26}, /* integers */
};
static const struct reduce_steps ARGREDUCE[] = {
    {670, 384, 126, 55}, /* f32 */
    {670, 384, 126, 59}, /* f16 */
    {670, 384, 126, 55}, /* bf16 */
    {670, 384, 126, 47}, /* integers */
};
#define TOPK_LINE 1642u
#define TOPK_INDEX 4u
#define TOPK_ELEMENT 198u
#define TOPK_SIFT 465u
#define TOPK_LEVEL 412u
#define SCAN_LINE 196u
#define SCAN_CHUNK 122u
#define SCAN_ELEMENT 10u
#define TREE_ROW 144u
#define TREE_TARGET 4u
#define TREE 117u
#define TREE_NODE 50u
#define TREE_WEIGHT 30u
#define QUANTISE_BLOCK 74u
#define QUANTISE_ELEMENT 12u
static const struct block_steps BLOCK_CONTRACT[] = {
    {249, 210}, /* Q4_0 */
    {305, 265}, /* Q4_1 */
    {381, 342}, /* Q5_0 */
    {417, 377}, /* Q5_1 */
    {199, 160}, /* Q8_0 */
    {523, 1752}, /* Q4_K */
    {1018, 3534}, /* Q5_K */
    {795, 2922}, /* Q6_K */
    {240, 208}, /* N4 */
    {222, 190}, /* N8 */
};
#define BLOCK_CONTRACT_OUTPUT 18u
#define BLOCK_CONTRACT_ROW 68u
#define GATHER_BLOCK 148u
#define GATHER_ELEMENT 105u
#define GATHER_CHECK 11u
#endif
