/* Operations of binary64, which no record has: engine/doubles.py puts one in the place of the records that compute it with
 * integers, and only a schedule runs it. Its record is that of an elementwise kernel otherwise. */
#ifndef OPML_DOUBLES_H
#define OPML_DOUBLES_H
#include "fast.h"

#define OP_DOUBLES 0x100u /* imm[0]: the operation */
#define OP_DOUBLE_SUMS                                                                                                 \
    0x101u              /* imm[0]: D_ADD or D_MUL; imm[1] is 1, as REDUCE over its last dimension; imm[2]: in order */
#define OP_RANKS 0x102u /* of keys (input 1) among numbers (input 0, the last dimension), both i64 */
#define OP_DOUBLE_SCANS                                                                                                \
    0x103u /* imm[0]: D_ADD or D_MUL; imm[1] is 1, as SCAN along its last dimension; outputs are lines */
#define OP_DOUBLE_EXTREMES 0x104u /* imm[0]: D_MIN or D_MAX; imm[1], as REDUCE */

/* clang-format off */
enum double_operation {
    D_ADD = 1, D_SUB, D_MUL, D_DIV, D_MIN, D_MAX, D_EQ /* -> bool */, D_LT /* -> bool */, D_LE /* -> bool */,
    D_SQRT, D_FLOOR, D_CEIL, D_TRUNC, D_ROUND, D_NEG, D_ABS, D_RELU, D_SIGN, D_ISNAN /* -> bool */,
    D_OF /* from f32, i64 or u64 */, D_TO /* to another type: u32 by the low bits of i64, less by those of i32 */,
    D_RISING_KEY /* -> i64 */, D_FALLING_KEY /* -> i64 */, D_OF_KEY /* from i64 */, D_RECIPROCAL,
    D_TO_NEAREST /* to u32 or an integer of fewer bits: the nearest of the type */,
};
/* clang-format on */

typedef double f64;

/* Of NaNs only one is made. */
INLINE f64 one_nan(f64 x)
{
    union {
        u64 bits;
        f64 x;
    } nan = {0x7ff8000000000000ull};
    return x == x ? x : nan.x;
}

/* Makes outputs [lo, hi). An operand of a comparison may be an i64: the key of a number. */
void fast_doubles(u8 *segment, const struct record *r, u64 lo, u64 hi);
/* The same of sums or products along the last dimension, by pairs; with two operands, of sums of their products. */
void fast_double_sums(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
/* The same of cumulative sums or products along the last dimension, in rounds. */
void fast_double_scans(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
/* The greatest or least of numbers, by their keys: a NaN if there is one, and +0 for -0. */
void fast_double_extremes(u8 *segment, const struct record *r, u64 lo, u64 hi);
/* How many numbers are below each key, and how many are not above it; the sum of the two as binary32. */
void fast_ranks(u8 *segment, const struct record *r, u64 lo, u64 hi);

#endif
