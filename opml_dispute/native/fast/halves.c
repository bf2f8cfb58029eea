/* CONTRACT, CONV and POOL of binary16 and bfloat16: operands are widened, the paths for binary32 run, results are rounded.
 *
 * That is what the plain kernels do, element by element: a half is widened exactly, all between is binary32, and a result
 * is rounded once. Only as much is widened at a time as stays in the second-level cache, where there is a choice. */
#include "gemm.h"
#include "kernels/rows.h"
#include "kernels/window.h"
#include "pieces.h"

/* Below this many products or taps widening costs more than it saves. */
#define WORTH_WIDENING 2048
/* Elements of a contraction's second factor that are widened at a time, and rows of the first. */
#define ELEMENTS_AT_ONCE (1u << 18)
#define ROWS_AT_ONCE     512
/* Above this many elements a widened copy is not worth its memory. */
#define WIDENED_MOST (1ull << 27)

static int is_half(u8 dtype) { return dtype == DT_F16 || dtype == DT_BF16; }

/* n elements, `apart` elements from one another, side by side. */
static void widen(float *to, const u8 *from, u8 dtype, i64 apart, u64 n)
{
    load_f32_chunk(to, from, apart * (i64)dtype_bytes(dtype), dtype, n);
}
static void narrow(u8 *to, const float *from, u8 dtype, i64 apart, u64 n)
{
    store_f32_chunk(to, apart * (i64)dtype_bytes(dtype), dtype, from, n);
}

#if LANES

/* A contraction of one piece under way. */
struct product {
    const struct record *r;
    const u8 *a, *b, *bias; /* bias: null if there is none */
    u8 *out;
    u64 rows, columns; /* at a time */
    float *wide_a, *wide_b, *wide_bias, *wide_out;
};

/* Rows of `length` elements side by side, `pitch` apart: from rows that are `across` apart, of elements `along` apart. */
static void widen_rows(float *to, i64 pitch, const u8 *from, u8 dtype, i64 across, i64 along, u64 rows, u64 length)
{
    for (u64 i = 0; i < rows; i++, to += pitch, from += across * (i64)dtype_bytes(dtype))
        widen(to, from, dtype, along, length);
}

/* Rows [m, m + rows) by columns [n, n + columns) of the piece, whose second factor is widened already. */
static int multiply(const struct product *p, u64 m, u64 rows, u64 n, u64 columns, const struct matrix *b,
                    struct fast_scratch *s)
{
    const struct record *r = p->r;
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 K = r->imm[0];
    i64 width = (i64)dtype_bytes(r->dtype_in[0]), o_width = (i64)dtype_bytes(r->dtype_out);
    i64 o_m = r->stride[0][m_at], o_n = r->stride[0][n_at], bias_m = r->stride[3][m_at], bias_n = r->stride[3][n_at];
    const u8 *a = p->a + (i64)m * r->stride[1][m_at] * width;
    widen_rows(p->wide_a, (i64)K, a, r->dtype_in[0], r->stride[1][m_at], (i64)r->imm[1], rows, K);
    if (p->bias) {
        const u8 *bias = p->bias + ((i64)m * bias_m + (i64)n * bias_n) * o_width;
        u64 distinct = bias_m ? rows : 1;
        widen_rows(p->wide_bias, (i64)columns, bias, r->dtype_out, bias_m, bias_n, distinct, columns);
    }
    struct gemm g = {
        .M = rows,
        .N = columns,
        .K = K,
        .a = p->wide_a,
        .a_m = (i64)K,
        .a_k = 1,
        .b = b,
        .pack = pack_matrix,
        .out = p->wide_out,
        .o_m = (i64)columns,
        .bias = p->bias ? p->wide_bias : NULL,
        .bias_m = bias_m ? (i64)columns : 0,
        .bias_n = 1,
    };
    if (!gemm(&g, s))
        return 0;
    u8 *out = p->out + ((i64)m * o_m + (i64)n * o_n) * o_width;
    for (u64 i = 0; i < rows; i++, out += o_m * o_width)
        narrow(out, p->wide_out + i * columns, r->dtype_out, o_n, columns);
    return 1;
}

static u64 least(u64 x, u64 y) { return x < y ? x : y; }

static int run_piece(struct product *p, const struct piece *piece, struct fast_scratch *s)
{
    const struct record *r = p->r;
    unsigned n_at = r->rank - 1u;
    u64 K = r->imm[0], M = piece->rows, N = piece->columns, most = ELEMENTS_AT_ONCE / K / TILE_N * TILE_N;
    i64 b_k = (i64)r->imm[2], b_n = r->stride[2][n_at], width = (i64)dtype_bytes(r->dtype_in[1]);
    p->rows = least(M, ROWS_AT_ONCE);
    p->columns = least(N, most < 2 * TILE_N ? 2 * TILE_N : most);
    u64 all = p->rows * K + p->columns * K + 2 * p->rows * p->columns + 4 * TILE_N;
    if (all > WIDENED_MOST || !(p->wide_a = fast_buffer_get(&s->wide, all * sizeof(float))))
        return 0;
    p->wide_b = p->wide_a + p->rows * K;
    p->wide_bias = p->wide_b + p->columns * K + TILE_N; /* behind b vectors may be loaded */
    p->wide_out = p->wide_bias + p->rows * p->columns + TILE_N;
    for (u64 n = 0; n < N; n += p->columns) {
        u64 columns = least(N - n, p->columns);
        struct matrix b = {p->wide_b, (i64)columns, 1};
        const u8 *from = p->b + (i64)n * b_n * width;
        if (b_k == 1 && b_n != 1) { /* columns are what lies side by side */
            b = (struct matrix){p->wide_b, 1, (i64)K};
            widen_rows(p->wide_b, (i64)K, from, r->dtype_in[1], b_n, 1, columns, K);
        } else {
            widen_rows(p->wide_b, (i64)columns, from, r->dtype_in[1], b_k, b_n, K, columns);
        }
        for (u64 m = 0; m < M; m += p->rows)
            if (!multiply(p, m, least(M - m, p->rows), n, columns, &b, s))
                return 0;
    }
    return 1;
}

static int contract(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    i64 width = (i64)dtype_bytes(r->dtype_in[0]), o_width = (i64)dtype_bytes(r->dtype_out);
    if ((hi - lo) * r->imm[0] < WORTH_WIDENING)
        return 0;
    while (lo < hi) {
        struct piece piece = next_piece(r, &lo, hi);
        struct product p = {
            .r = r,
            .a = segment + r->in[0] + piece.a * width,
            .b = segment + r->in[1] + piece.b * width,
            .bias = r->n_in == 3 ? segment + r->in[2] + piece.bias * o_width : NULL,
            .out = segment + r->out + piece.out * o_width,
        };
        if (!run_piece(&p, &piece, s))
            return 0;
    }
    return 1;
}

#else

static int contract(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    (void)segment, (void)r, (void)lo, (void)hi, (void)s;
    return 0;
}

#endif

/* CONV and POOL: the record over widened copies of what the range looks at. */
static int run_windows(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    struct window g;
    window_decode(&g, r);
    int is_conv = r->opcode == OP_CONV;
    u64 width = dtype_bytes(r->dtype_in[0]), o_width = dtype_bytes(r->dtype_out);
    u64 terms = is_conv ? g.kernel_size * (g.C / g.groups) : g.kernel_size;
    /* Input channels [first, end): of the images that a convolution's range is in, or just those of a pooling's. */
    u64 first = lo / g.out_size, end = (hi - 1) / g.out_size + 1;
    if (is_conv) {
        first = first / g.M * g.C;
        end = ((end - 1) / g.M + 1) * g.C;
    }
    u64 inputs = (end - first) * g.in_size, weights = is_conv ? g.M * terms : 0, biases = r->n_in == 3 ? g.M : 0;
    u64 all = inputs + weights + biases + (hi - lo) + 256;
    if ((hi - lo) * terms < WORTH_WIDENING || all > WIDENED_MOST)
        return 0;
    float *x = fast_buffer_get(&s->wide, all * sizeof(float));
    if (!x)
        return 0;
    /* Vectors may be loaded from behind the input and the weights. */
    float *w = x + inputs + 64, *bias = w + weights + 64, *out = bias + biases;
    widen(x, segment + r->in[0] + first * g.in_size * width, r->dtype_in[0], 1, inputs);
    struct record wide = *r;
    wide.dtype_out = wide.dtype_in[0] = DT_F32;
    wide.in[0] = (u64)((u8 *)x - segment) - first * g.in_size * sizeof(float);
    if (is_conv) {
        widen(w, segment + r->in[1], r->dtype_in[1], 1, weights);
        wide.dtype_in[1] = DT_F32;
        wide.in[1] = (u64)((u8 *)w - segment);
    }
    if (biases) {
        widen(bias, segment + r->in[2], r->dtype_out, 1, biases);
        wide.dtype_in[2] = DT_F32;
        wide.in[2] = (u64)((u8 *)bias - segment);
    }
    wide.out = (u64)((u8 *)out - segment) - lo * sizeof(float);
    static const struct fast_finish as_it_is = {0};
    int made = wide.opcode == OP_CONV ? fast_conv(segment, &wide, lo, hi, &as_it_is, NULL, s)
                                      : fast_pool(segment, &wide, lo, hi, s);
    if (!made)
        kernel_run(segment, &wide, lo, hi);
    narrow(segment + r->out + lo * o_width, out, r->dtype_out, 1, hi - lo);
    return 1;
}

int fast_halves(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    if (lo == hi || !is_half(r->dtype_in[0]))
        return 0;
    return r->opcode == OP_CONTRACT ? contract(segment, r, lo, hi, s) : run_windows(segment, r, lo, hi, s);
}
