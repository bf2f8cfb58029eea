/* Products with a matrix that never changes, where its rows, the output channels, lie in the lanes of vectors.
 *
 * gemm (gemm.h) has positions in the lanes, so that few positions, or images of few, leave lanes empty. Here they are the
 * rows of a tile, taken across rows and images of the input; the matrix was packed once, before the runs. */
#ifndef OPML_CHANNELS_H
#define OPML_CHANNELS_H
#include "gemm.h"

#if LANES

/* Positions of a register tile, and of a block: as many tiles as pass over a piece of a panel in the nearest cache. */
#if LANES == 16
#define TILE_POSITIONS 14
#else
#define TILE_POSITIONS TILE_M
#endif
#define BLOCK_POSITIONS (16 * TILE_POSITIONS)

struct channels {
    u64 M, K;
    const float *panels; /* [M / TILE_N, rounded up][K][TILE_N], missing channels zero */
    const i64 *terms;    /* [K]: what term k reads lies so far behind a position's place; null: k */
    int one_tap;         /* each term reads another channel */
    const float *bias;   /* [M], or null */
    float *out;          /* channel m of a position lies m * o_m behind its place, counted from here */
    i64 o_m;
    const float *add; /* as fast_finish; lies like out */
    int relu;
};

/* The places of some positions: in the input, and in the output. */
struct block_of_positions {
    unsigned count; /* BLOCK_POSITIONS at most */
    const float *in[BLOCK_POSITIONS];
    i64 out[BLOCK_POSITIONS];
};

/* Makes channels [m, end) of the positions; 0 if there is no memory. Reads up to a vector over the end of the input. */
int channels_run(const struct channels *c, u64 m, u64 end, const struct block_of_positions *b, struct fast_scratch *s);

/* Whether this is faster than tiles with positions in the lanes, of which a channel, or a matrix, has `positions`. `taps`,
 * `row`: of a window, and neighbours in a row of outputs; 1 of a matrix. */
int channels_are_worth(u64 M, u64 K, u64 positions, u64 taps, u64 row);
/* Floats of the panels of M channels. */
static inline u64 channels_panels(u64 M, u64 K) { return (M + TILE_N - 1) / TILE_N * TILE_N * K; }
/* Packs rows of K terms, `apart` floats from one another, term k at k * step. */
void channels_pack(const float *rows, i64 apart, i64 step, u64 M, u64 K, float *to);

#endif
#endif
