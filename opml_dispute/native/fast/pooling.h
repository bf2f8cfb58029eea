/* What the fast paths of OP_POOL share: how many taps count, and the greater of two numbers. */
#ifndef OPML_POOLING_H
#define OPML_POOLING_H
#include "kernels/window.h"
#include "lanes.h"

/* The second of equals; NaN if one is. */
INLINE vec greater(vec x, vec y) { return choose((x > y) | (x != x), x, y); }

enum { POOL_MAX = 0, POOL_AVERAGE = 1, POOL_AVERAGE_PADDED = 2, POOL_SUM = 3 };

/* The taps along dimension d of a window that begins at coordinate `at` which count: those inside the input, or inside it
 * and its padding. */
i64 pool_taps(const struct window *g, int d, i64 at, int padded);
/* By how many taps each sum of a row is divided: `outer` rows of taps, and those along the row. */
void pool_count_taps(float *count, const struct window *g, i64 outer, int padded);

/* One way each; 0 where it does not serve (fast_pool). */
int fast_pool_sums(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi, struct fast_scratch *s);
int fast_pool_integers(u8 *segment, const struct record *r, const struct window *g, u64 lo, u64 hi,
                       struct fast_scratch *s);

#endif
