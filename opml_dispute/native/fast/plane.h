/* Products whose columns are output positions of one plane, in the lanes of vectors, read where they lie. */
#ifndef OPML_PLANE_H
#define OPML_PLANE_H
#include "gemm.h"
#include "layout.h"

#if LANES

struct plane {
    const struct layout *layout; /* of one plane: `output[0]` is 1 */
    const float *at;             /* the input as it is laid out */
    u64 M, K;
    int one_tap;          /* each term reads another channel */
    const float *weights; /* [M][K] */
    const float *bias;    /* [M], or null */
    float *out;           /* position p of channel m is out[m * o_m + p] */
    i64 o_m;
    const float *add; /* as fast_finish; lies like out */
    int relu;
};

/* Whether this is faster than gemm, which packs what it reads. */
int plane_is_worth(const struct layout *l, u64 M, u64 K, int one_tap);
/* Makes positions [p, end) of all channels; 0 if there is no memory. Reads up to TILE_N floats over the input's end. */
int plane_run(const struct plane *c, u64 p, u64 end, struct fast_scratch *s);

#endif
#endif
