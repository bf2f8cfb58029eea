/* A chain that quantises, in one pass: x / scale, rounded to an integer, plus a zero point, held in a byte.
 *
 * Four steps of a schedule that each go through memory take longer than what they compute. */
#include "divide.h"

int fast_is_single(const struct record *r, unsigned j)
{
    for (unsigned d = 0; d < r->rank; d++)
        if (r->dim[d] != 1 && r->stride[j][d] != 0)
            return 0;
    return 1;
}

unsigned fast_quantises(const struct record *const step[], unsigned steps)
{
#if LANES
    if (steps < 3)
        return 0;
    const struct record *divides = step[0], *rounds = step[1], *adds = step[2], *casts = step[steps > 3 ? 3 : 2];
    unsigned made = 4;
    if (adds->opcode != OP_BINARY) {
        casts = adds;
        adds = NULL;
        made = 3;
    }
    if (made > steps || divides->opcode != OP_BINARY || divides->imm[0] != BIN_DIV || divides->dtype_in[0] != DT_F32 ||
        !fast_is_single(divides, 2) || rounds->opcode != OP_UNARY || rounds->imm[0] != UN_ROUND ||
        casts->opcode != OP_CAST || casts->dtype_in[0] != DT_F32 ||
        (casts->dtype_out != DT_U8 && casts->dtype_out != DT_I8))
        return 0;
    if (adds && (adds->imm[0] != BIN_ADD || adds->dtype_in[0] != DT_F32 || !fast_is_single(adds, 2)))
        return 0;
    return made;
#else
    (void)step, (void)steps;
    return 0;
#endif
}

#if LANES

typedef divide_vec vec;
typedef divide_veci veci;
typedef u8 bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

INLINE vec choose(veci mask, vec x, vec y) { return (vec)((mask & (veci)x) | (~mask & (veci)y)); }

/* The low bytes are those of the result, whatever its sign. */
INLINE veci quantised(vec q, vec zero, u32 adds, vec least, vec greatest)
{
    q = __builtin_elementwise_roundeven(q);
    q = adds ? q + zero : q;
    q = choose(q == q, q, (vec){0});
    q = choose(q < least, least, q);
    q = choose(q > greatest, greatest, q);
    return __builtin_convertvector(q, veci);
}

void fast_quantise(u8 *segment, const struct record *const step[], unsigned steps, u64 lo, u64 hi)
{
    const struct record *casts = step[steps - 1];
    u32 adds = steps == 4;
    f32 scale = *(const f32 *)(segment + step[0]->in[1]),
        zero_point = adds ? *(const f32 *)(segment + step[2]->in[1]) : 0.0f;
    const f32 *x = (const f32 *)(segment + step[0]->in[0]) + lo;
    u8 *o = segment + casts->out + lo;
    u32 is_signed = casts->dtype_out == DT_I8, well = (u32)divides_well(scale);
    vec y = scale - (vec){0}, r = 1.0f / y, zero = zero_point - (vec){0};
    vec least = (is_signed ? -128.0f : 0.0f) - (vec){0}, greatest = (is_signed ? 127.0f : 255.0f) - (vec){0};
    u64 n = hi - lo, i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec value = *(const vec *)(x + i);
        vec q = well ? divide(value, y, r) : value / y;
        *(bytes *)(o + i) = __builtin_convertvector(quantised(q, zero, adds, least, greatest), bytes);
    }
    for (; i < n; i++)
        o[i] = (u8)quantised((x[i] / scale) - (vec){0}, zero, adds, least, greatest)[0];
}

#else

void fast_quantise(u8 *segment, const struct record *const step[], unsigned steps, u64 lo, u64 hi)
{
    (void)segment, (void)step, (void)steps, (void)lo, (void)hi; /* never asked for */
}

#endif
