/* Matrix products of integers, exact modulo 2^32: out[m][n] = sum over k of a[m][k] * b[k][n].
 *
 * Exact sums may be made in any order, so terms share 32-bit words: a word of a and a word of b hold the same few k, and
 * one instruction adds all of their products to a sum. How many depends on what the processor has and the numbers need:
 *
 *     FORM_QUADS   4 terms   a unsigned, b signed bytes        AMX, VNNI
 *     FORM_PAIRS   2 terms   int16                             pmaddwd (every x86-64)
 *     FORM_WORDS   1 term    32 bits, either sign              any vector unit
 *
 * Numbers that do not lie in a form's range may do so less a constant: with a = a' + ca and b = b' + cb,
 *
 *     sum a b = sum a' b' + cb * sum a' + ca * sum b' + K ca cb
 *
 * a is held as rows of `pitch` bytes; b as panels of PANEL columns: [group of k][PANEL] words. Where K is no whole number
 * of groups, a' is 0. */
#ifndef OPML_INTEGERS_H
#define OPML_INTEGERS_H
#include <stddef.h>

#include "fast.h"

#if defined(__AVX512BW__)
#define INTEGER_LANES 16 /* words in a vector register */
#define INTEGER_ROWS  12 /* rows of a register tile */
#elif defined(__AVX2__)
#define INTEGER_LANES 8
#define INTEGER_ROWS  6
#elif defined(__aarch64__)
#define INTEGER_LANES 4
#define INTEGER_ROWS  8
#else
#define INTEGER_LANES 4
#define INTEGER_ROWS  4
#endif
#define PANEL (2 * INTEGER_LANES)

/* So many rows behind those of a may be read: the tallest tile. */
#define INTEGER_ROWS_BEHIND 32

enum integer_form { FORM_WORDS, FORM_PAIRS, FORM_QUADS };

/* Which instructions may be used beyond those that this build was compiled for. */
enum { INTEGER_VNNI = 1, INTEGER_AMX = 2 };
unsigned integer_features(void);
/* For tests: those in `mask` are not used from now on. */
void integer_features_hide(unsigned mask);

/* Whether a contraction or convolution is of integers that are summed in 32 bits. */
static inline int integer_takes(const struct record *r)
{
    u8 a = r->dtype_in[0];
    return a == DT_U8 || a == DT_I8 || a == DT_U16 || a == DT_I16 || a == DT_U32 || a == DT_I32;
}

/* Where numbers lie: the least and the greatest. */
struct integer_range {
    i64 least, greatest;
};
struct integer_range integer_range_of_dtype(u8 dtype);
/* Of `rows` rows of n elements side by side, `apart` elements from one row to the next. */
struct integer_range integer_range_of(const void *at, u8 dtype, u64 rows, i64 apart, u64 n);

/* The form for numbers in these ranges, and the constants to take off them. */
enum integer_form integer_form_for(struct integer_range a, struct integer_range b, i64 *ca, i64 *cb);

/* Which factors of FORM_QUADS have a sign, a's first. Without AMX there is the first only. */
enum integer_signs { SIGNS_US, SIGNS_SU, SIGNS_SS, SIGNS_UU };
/* Whether bytes in these ranges can be multiplied as they are, FORM_QUADS with no constants, for so many rows of a. */
int integer_signs_for(struct integer_range a, struct integer_range b, u64 rows, enum integer_signs *signs);

/* Bytes of an element, and elements in a word. */
static inline u64 form_width(enum integer_form f) { return f == FORM_QUADS ? 1 : f == FORM_PAIRS ? 2 : 4; }
/* Bytes from one row of a to the next, for K terms: whole tiles of the widest instruction. */
static inline u64 form_pitch(enum integer_form f, u64 K) { return (K * form_width(f) + 63) / 64 * 64; }
static inline u64 form_groups(enum integer_form f, u64 K) { return (K * form_width(f) + 3) / 4; }
/* Words of a panel: it has the groups of a whole row, beyond K they hold anything. */
static inline u64 form_panel(enum integer_form f, u64 K) { return form_pitch(f, K) / 4 * PANEL; }

/* n elements, `apart` elements from one another, less `offset`, as elements of the form, side by side. */
void integer_convert(enum integer_form f, void *to, const void *from, u8 dtype, i64 apart, i64 offset, u64 n);

/* Columns of a panel, as runs that lie side by side in memory: whole vectors are copied, what goes over is written again by
 * the next run or group. */
struct integer_runs {
    unsigned count;
    const u8 *from[PANEL]; /* the run's first column in row 0 of b */
    unsigned start[PANEL], vectors[PANEL];
};
static inline struct integer_runs integer_one_run(const void *from)
{
    return (struct integer_runs){1, {from}, {0}, {2}};
}

/* Interleaves rows of b, elements of the form: row k lies `rows[k]` elements behind row 0. A vector is written behind the
 * panel, and up to INTEGER_LANES elements are read behind each run. */
void integer_pack(enum integer_form f, u32 *panel, const struct integer_runs *runs, const i64 *rows, u64 K);

struct integer_product {
    enum integer_form form;
    enum integer_signs signs; /* others than the first: as integer_signs_for found */
    u64 rows, first, columns; /* columns [first, first + columns) of the panel */
    u64 K;
    const u8 *a; /* [rows][form_pitch], and INTEGER_ROWS_BEHIND rows behind */
    const u32 *panel;
    u32 *out; /* of column `first` */
    i64 o_m, o_n;
    const u32 *row_add;    /* [rows]; null: nothing */
    const u32 *column_add; /* [PANEL]; null: nothing */
    const u32 *bias;       /* null: none; of column `first` */
    i64 bias_m, bias_n;
};
void integer_product(const struct integer_product *p);

/* The sums of a panel's columns, K terms each. */
void integer_column_sums(enum integer_form f, const u32 *panel, u64 K, u32 sums[PANEL], u8 *ones);

#endif
