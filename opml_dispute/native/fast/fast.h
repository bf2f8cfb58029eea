/* Faster ways to run some nodes on the host. Each gives the bits that the plain kernel gives, or declines.
 *
 * A fast path may change where sums are kept and the order of the outputs, never the order of one output's sum
 * (docs/arithmetic.md). tests/kernels compares fast and plain paths. */
#ifndef OPML_FAST_H
#define OPML_FAST_H
#include <stddef.h>

#include "kernels/kernels.h"

/* Memory that a worker keeps between nodes. */
struct fast_buffer {
    void *memory;
    size_t size;
};
struct fast_scratch {
    struct fast_buffer packed; /* gemm's */
    struct fast_buffer layout; /* the input of a convolution or a pooling */
    struct fast_buffer wide;   /* what was widened to binary32 */
};

/* At least `size` bytes, aligned to 64, for `free`; null if there is no memory (then decline). */
void *fast_allocate(size_t size);
/* The same, kept by the buffer. */
void *fast_buffer_get(struct fast_buffer *buffer, size_t size);
void fast_scratch_free(struct fast_scratch *s);

/* The finishing of output i: canonical(output + add[i]), and +0 instead of a negative number. Saves a pass
 * over the outputs; each is a step of its own otherwise. */
struct fast_finish {
    const float *add; /* null: nothing is added */
    int relu;
};

/* A step's constant operand in a prepared form, made before the runs; null memory: none. Steps may share it: the first
 * owns it. */
struct fast_prepared {
    void *memory;
    u64 bytes;
    int is_shared;
    int is_first; /* it is the first factor that never changes (channel_contraction.c) */
};
/* Above this many bytes a constant is not prepared; binary32, which is prepared beside the original, above this many. */
#define FAST_PREPARED_MOST (64ull << 20)
#define FAST_ROWS_MOST     (4ull << 20)

/* Prepares a contraction one factor of which never changes; 0 if there is nothing to win. */
int fast_prepare_contraction(struct fast_prepared *prepared, const u8 *segment, const struct record *r);
int fast_prepare_integers(struct fast_prepared *prepared, const u8 *segment, const struct record *r);
int fast_prepare_rows(struct fast_prepared *prepared, const u8 *segment, const struct record *r);
int fast_prepare_channels(struct fast_prepared *prepared, const u8 *segment, const struct record *r);
/* The same of a convolution. */
int fast_prepare_convolution(struct fast_prepared *prepared, const u8 *segment, const struct record *r);
/* Whether what is prepared for one contraction serves another. */
int fast_prepares_alike(const struct record *one, const struct record *other);
void fast_prepared_free(struct fast_prepared *prepared);

/* One opcode each, as fast_run. Those with `finish` finish what they make, unless they decline. */
int fast_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                  const struct fast_prepared *prepared, struct fast_scratch *s);
int fast_contract_channels(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s);
int fast_contract_integers(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_prepared *prepared,
                           struct fast_scratch *s);
int fast_conv(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
              const struct fast_prepared *prepared, struct fast_scratch *s);
int fast_conv_channels(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                       const struct fast_prepared *prepared, struct fast_scratch *s);
int fast_conv_depthwise(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                        struct fast_scratch *s);
int fast_conv_integers(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_conv_depthwise_integers(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_pool(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
void fast_tree(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_pool_index(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_half_rows(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_halves(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
/* `run`: fast_run. */
typedef int fast_runner(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_prepared *prepared,
                        struct fast_scratch *s);
int fast_half_elements(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s, fast_runner *run);
int fast_copy(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_select(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_gather(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_scatter(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_reduce(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_reduce_integers(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_argreduce(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_argreduce_integers(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_scan_integers(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_scan(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_topk(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_block_contract(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s);
int fast_cast(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_unary(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_binary(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_single_integers(u8 *segment, const struct record *r, u64 lo, u64 hi);
int fast_divide_integers(u8 *segment, const struct record *r, u64 lo, u64 hi);

/* As kernel_check_data. */
enum inference_status fast_check_data(const u8 *segment, const struct record *r);

/* Whether operand j is one number for all outputs. */
int fast_is_single(const struct record *r, unsigned j);
/* A step of a chain of arithmetic. One operand is the chained value, which the step before made. Of the other, element i of
 * the chain meets number (i / each) mod count: its own, one for all, one for a row or a channel, or one for a column. */
struct fast_operands {
    unsigned chained; /* 1 or 2 */
    u64 each, count;  /* 0: there is no other operand */
};
#define FAST_STEPS_MOST 16
/* Whether r can be a step of such a chain, by its function and types. */
int fast_is_arithmetic(const struct record *r);
/* Elements [lo, hi) of the last step, from those of the first one's chained operand; nothing is written between. */
void fast_arithmetic(u8 *segment, const struct record *const step[], const struct fast_operands *operands,
                     unsigned steps, u64 lo, u64 hi);

/* How many of a chain's first steps are a quantisation that fast_quantise makes in one pass; 0: none. Sees to functions and
 * types only: that each step makes element i from element i of the one before is checked by the caller. `*scales`: the step
 * that multiplies, FAST_QUANTISES_MOST if none does; whole runs of elements have to meet one factor. */
#define FAST_QUANTISES_MOST 6
unsigned fast_quantises(const struct record *const step[], unsigned steps, unsigned *scales);
/* Elements [lo, hi) of the last of those steps, from those of the first one's input; nothing is written between. `factors`:
 * of the step that multiplies. */
void fast_quantise(u8 *segment, const struct record *const step[], unsigned steps, const struct fast_operands *factors,
                   u64 lo, u64 hi);

/* The sums of a row's squares, or of the squares of its differences from a mean, and what is made on the way there. */
struct fast_squares {
    const float *x;                /* rows, one behind the other */
    const float *mean;             /* of each row; null: there are no differences */
    float *centred, *square, *sum; /* `square` is null if nothing reads it but the sum */
    u64 length;                    /* of a row */
};
/* Rows [first, end). */
void fast_square_rows(const struct fast_squares *s, u64 first, u64 end);

/* A row's greatest number, e to the power of the differences from it, their sum, and their quotients by that. */
struct fast_exponentials {
    const float *x;                  /* rows, one behind the other, as are `below`, `power` and `quotient` */
    float *greatest, *sum;           /* of each row */
    float *below, *power, *quotient; /* null if nothing reads the differences or powers, or none is divided */
    u64 length;                      /* of a row */
};
/* Rows [first, end). */
void fast_exponential_rows(const struct fast_exponentials *e, u64 first, u64 end);

/* The same for short rows, and REDUCE of `count` rows of n elements, `pitch` floats apart, to outputs side by side; 0 where
 * rows are longer than this, or there are no vectors. */
#define FAST_SHORT_ROW 32u
int fast_exponential_short_rows(const struct fast_exponentials *e, u64 first, u64 end);
int fast_reduce_short_rows(u64 function, float *o, const float *x, i64 pitch, u64 count, u64 n);

/* Makes outputs [lo, hi) of r, whose elements lie in the host's byte order; 0 if no fast path takes it. `prepared`: null
 * where nothing is. */
int fast_run(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_prepared *prepared,
             struct fast_scratch *s);

/* Makes and finishes outputs [lo, hi) of r, binary32 that lie packed, in whatever way is fastest. */
void fast_run_finished(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                       const struct fast_prepared *prepared, struct fast_scratch *s);

/* A convolution's outputs may be shared out by positions: [first, end) of every channel of every image. How many parts are
 * best for `workers` threads, each of `*each` positions but the last; 0 if it is better cut as a range. */
unsigned fast_conv_columns(const struct record *r, const struct fast_prepared *prepared, unsigned workers, u64 *each);
void fast_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                      const struct fast_prepared *prepared, struct fast_scratch *s);
int fast_conv_channels_columns(u8 *segment, const struct record *r, u64 first, u64 end,
                               const struct fast_finish *finish, const struct fast_prepared *prepared,
                               struct fast_scratch *s);
/* The same; `otherwise` makes what this way cannot. */
typedef void fast_finished(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s);
void fast_conv_run_columns(u8 *segment, const struct record *r, u64 first, u64 end, const struct fast_finish *finish,
                           const struct fast_prepared *prepared, struct fast_scratch *s, fast_finished *otherwise);

#endif
