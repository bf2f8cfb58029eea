/* A chain that quantises, in one pass: what may be an integer and may be multiplied first is divided by a scale, rounded to an
 * integer, a zero point is added, and the sum is held in a byte.
 *
 * Steps of a schedule that each go through memory take longer than what they compute. */
#include "divide.h"
#include "vectors.h"

#if LANES == 16 || LANES == 8
#include <immintrin.h>
#elif LANES == 4
#include <arm_neon.h>
#endif

int fast_is_single(const struct record *r, unsigned j)
{
    for (unsigned d = 0; d < r->rank; d++)
        if (r->dim[d] != 1 && r->stride[j][d] != 0)
            return 0;
    return 1;
}

#if LANES

/* The steps; null: there is none. */
struct chain {
    const struct record *widens, *scales, *divides, *rounds, *adds, *casts;
    unsigned steps;
};

static int is_binary(const struct record *r, u64 function)
{
    return r->opcode == OP_BINARY && r->imm[0] == function && r->dtype_in[0] == DT_F32;
}

/* `steps` is 0 if it is no such chain. */
static struct chain chain_of(const struct record *const step[], unsigned steps)
{
    struct chain c = {0}, none = {0};
    unsigned i = 0;
    if (i < steps && step[i]->opcode == OP_CAST && step[i]->dtype_in[0] == DT_I32 && step[i]->dtype_out == DT_F32)
        c.widens = step[i++];
    if (i < steps && is_binary(step[i], BIN_MUL))
        c.scales = step[i++];
    if (i == steps || !is_binary(step[i], BIN_DIV) || !fast_is_single(step[i], 2))
        return none;
    c.divides = step[i++];
    if (i == steps || step[i]->opcode != OP_UNARY || step[i]->imm[0] != UN_ROUND)
        return none;
    c.rounds = step[i++];
    if (i < steps && is_binary(step[i], BIN_ADD) && fast_is_single(step[i], 2))
        c.adds = step[i++];
    if (i == steps || step[i]->opcode != OP_CAST || step[i]->dtype_in[0] != DT_F32 ||
        (step[i]->dtype_out != DT_U8 && step[i]->dtype_out != DT_I8))
        return none;
    c.casts = step[i++];
    c.steps = i;
    return c;
}

unsigned fast_quantises(const struct record *const step[], unsigned steps, unsigned *scales)
{
    struct chain c = chain_of(step, steps);
    *scales = c.scales ? c.widens != NULL : FAST_QUANTISES_MOST;
    return c.steps;
}

typedef divide_vec vec;
typedef divide_veci veci;
typedef u8 bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

INLINE vec choose(veci mask, vec x, vec y) { return (vec)((mask & (veci)x) | (~mask & (veci)y)); }

/* The low bytes are those of the result, whatever its sign. */
INLINE veci quantised(vec q, vec zero, vec least, vec greatest)
{
    q = __builtin_elementwise_roundeven(q) + zero;
    q = choose(q == q, q, (vec){0});
    q = choose(q < least, least, q);
    q = choose(q > greatest, greatest, q);
    return __builtin_convertvector(q, veci);
}

/* What is the same for all elements. */
struct target {
    struct short_divisor divisor;
    f32 zero; /* -0 if nothing is added: x + -0 is x */
    f32 least, greatest;
};

/* The nearest integer of numbers below 2^31; of those half way, the even one. */
INLINE veci nearest(vec x)
{
#if LANES == 16
    return (veci)_mm512_cvt_roundps_epi32((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif LANES == 8
    return (veci)_mm256_cvtps_epi32((__m256)x);
#else
    return (veci)vcvtnq_s32_f32((float32x4_t)x);
#endif
}

/* Dividends are held within 2^30 divisors, whose quotients are far beyond every byte: what comes then is exact. */
#define QUOTIENT_MOST 0x1p+30f
#define ZERO_MOST     0x1p+20f

/* n elements that meet one factor. */
INLINE void usual_run(const void *x, f32 factor, const struct target *t, u8 *o, u64 n, int widens, int scales,
                      int is_short)
{
    vec most = t->divisor.y * QUOTIENT_MOST;
    veci zero = (i32)t->zero - (veci){0}, least = (i32)t->least - (veci){0}, greatest = (i32)t->greatest - (veci){0};
    for (u64 i = 0; i < n; i += LANES) {
        u64 left = n - i;
        veci bits;
        if (left >= LANES)
            bits = *(const veci *)((const i32 *)x + i);
        else
            bits = (veci)load_some((const f32 *)x + i, (i64)left);
        vec value = widens ? __builtin_convertvector(bits, vec) : (vec)bits;
        if (scales)
            value = value * factor;
        veci is_number = value == value;
        value = choose(value < -most, -most, value);
        value = choose(value > most, most, value);
        veci q = nearest(divide_short(value, &t->divisor, is_short)) + zero;
        if (!widens) /* an integer times a finite number is a number */
            q &= is_number;
        q = __builtin_elementwise_min(__builtin_elementwise_max(q, least), greatest);
        bytes low = __builtin_convertvector(q, bytes);
        if (left >= LANES)
            *(bytes *)(o + i) = low;
        else
            for (u64 j = 0; j < left; j++)
                o[i + j] = low[j];
    }
}

/* The same for any divisor, factor and zero point. */
static void any_run(const void *x, f32 factor, const struct target *t, u8 *o, u64 n, int widens, int scales)
{
    vec zero = t->zero + (vec){0}, least = t->least - (vec){0}, greatest = t->greatest - (vec){0};
    if (f32_bits(t->zero) == SIGN_BIT)
        zero = (vec)(INT32_MIN - (veci){0});
    for (u64 i = 0; i < n; i++) {
        f32 value = widens ? (f32)((const i32 *)x)[i] : ((const f32 *)x)[i];
        value = scales ? value * factor : value;
        o[i] = (u8)quantised((value / t->divisor.y[0]) - (vec){0}, zero, least, greatest)[0];
    }
}

static void run(const void *x, f32 factor, const struct target *t, u8 *o, u64 n, int widens, int scales)
{
    f32 y = t->divisor.y[0], zero = t->zero;
    int usual = y > 0.0f && divides_well(y) && f32_abs(zero) <= ZERO_MOST && (f32)(i32)zero == zero &&
                f32_abs(factor) < f32_inf();
    if (!usual)
        any_run(x, factor, t, o, n, widens, scales);
    else if (widens && t->divisor.is_short)
        usual_run(x, factor, t, o, n, 1, 1, 1);
    else if (widens)
        usual_run(x, factor, t, o, n, 1, 1, 0);
    else if (scales)
        usual_run(x, factor, t, o, n, 0, 1, 0);
    else if (t->divisor.is_short)
        usual_run(x, factor, t, o, n, 0, 0, 1);
    else
        usual_run(x, factor, t, o, n, 0, 0, 0);
}

void fast_quantise(u8 *segment, const struct record *const step[], unsigned steps, const struct fast_operands *factors,
                   u64 lo, u64 hi)
{
    struct chain c = chain_of(step, steps);
    int is_signed = c.casts->dtype_out == DT_I8;
    struct target t = {.divisor = short_divisor(*(const f32 *)(segment + c.divides->in[1])),
                       .zero = c.adds ? *(const f32 *)(segment + c.adds->in[1]) : -0.0f,
                       .least = is_signed ? -128.0f : 0.0f,
                       .greatest = is_signed ? 127.0f : 255.0f};
    const f32 *factor = c.scales ? (const f32 *)(segment + c.scales->in[1]) : NULL;
    while (lo < hi) {
        u64 n = hi - lo, left = factor && factors->count > 1 ? factors->each - lo % factors->each : n;
        n = left < n ? left : n;
        f32 number = factor ? factor[lo / factors->each % factors->count] : 1.0f;
        run(segment + step[0]->in[0] + 4 * lo, number, &t, segment + c.casts->out + lo, n, c.widens != NULL,
            factor != NULL);
        lo += n;
    }
}

#else

unsigned fast_quantises(const struct record *const step[], unsigned steps, unsigned *scales)
{
    (void)step, (void)steps;
    *scales = 0;
    return 0;
}

void fast_quantise(u8 *segment, const struct record *const step[], unsigned steps, const struct fast_operands *factors,
                   u64 lo, u64 hi)
{
    (void)segment, (void)step, (void)steps, (void)factors, (void)lo, (void)hi; /* never asked for */
}

#endif
