/* The windows of a convolution or a pooling: decoded from a record. */
#include "window.h"

void window_decode(struct window *g, const struct record *r)
{
    const i64 *body = r->body;
    unsigned missing = 3 - (unsigned)body[0];
    g->N = (u64)body[1];
    g->C = (u64)body[2];
    g->M = (u64)body[3];
    g->groups = (u64)body[4];
    g->in_size = g->out_size = g->kernel_size = 1;
    for (unsigned d = 0; d < 3; d++) {
        const i64 *field = body + 5 + (d >= missing ? d - missing : 0);
        u32 real = d >= missing;
        g->input[d] = real ? field[0] : 1;
        g->kernel[d] = real ? field[3] : 1;
        g->stride[d] = real ? field[6] : 1;
        g->dilation[d] = real ? field[9] : 1;
        g->pad[d] = real ? field[12] : 0;
        g->output[d] = real ? field[15] : 1;
        g->pad_end[d] = real ? field[18] : 0;
        g->in_size *= (u64)g->input[d];
        g->out_size *= (u64)g->output[d];
        g->kernel_size *= (u64)g->kernel[d];
    }
}

void place_begin(struct place *p, const struct window *g, u64 position)
{
    for (int d = 2; d >= 0; d--) {
        p->output[d] = (i64)(position % (u64)g->output[d]);
        position /= (u64)g->output[d];
        p->at[d] = p->output[d] * g->stride[d] - g->pad[d];
    }
}
