/* OP_CONTRACT of integers up to 32 bits, as products of panels (integers.h). */
#include <stdlib.h>
#include <string.h>

#include "integers.h"
#include "pieces.h"

/* Below this many products packing costs more than it saves. */
#define WORTH_PACKING 2048

/* One factor b, ready: panels of all columns, and the sums of their columns. */
struct matrix {
    enum integer_form form;
    i64 cb;
    u64 K, N;
    u32 *panels, *sums; /* sums: null if they were not asked for */
};

static u64 panels_of(u64 N) { return (N + PANEL - 1) / PANEL; }

/* A matrix with any strides, in elements of `dtype`. */
struct source {
    const u8 *at;
    u8 dtype;
    i64 k, n;
};

static const u8 *element(const struct source *s, u64 k, u64 n)
{
    return s->at + ((i64)k * s->k + (i64)n * s->n) * (i64)dtype_bytes(s->dtype);
}

/* Rows of `length` elements, if they lie in runs one way or the other; else what their dtype can hold. */
static struct integer_range range_of(const u8 *at, u8 dtype, u64 rows, i64 apart, u64 length, i64 step)
{
    if (step == 1 || length == 1)
        return integer_range_of(at, dtype, rows, apart, length);
    if (apart == 1 || rows == 1)
        return integer_range_of(at, dtype, length, step, rows);
    return integer_range_of_dtype(dtype);
}

/* What packing needs beside the panels: rows of b as elements of the form, the places of those rows, a row of ones. */
static u64 workshop_bytes(enum integer_form f, u64 K, u64 N)
{
    return K * ((N + PANEL - 1) / PANEL * PANEL) * form_width(f) + PANEL * 4 + K * sizeof(i64) + form_pitch(f, K) +
           64 * 3;
}

/* Packs all of b. `workshop`: as many bytes as workshop_bytes says, aligned to 64. */
static void pack_matrix(const struct matrix *m, const struct source *b, u8 *workshop)
{
    u64 width = form_width(m->form), padded = panels_of(m->N) * PANEL, K = m->K;
    i64 *rows = (i64 *)workshop;
    u8 *ones = workshop + (K * sizeof(i64) + 63) / 64 * 64, *copy = ones + form_pitch(m->form, K);
    /* Rows may be read as they lie, but not beyond their end: the last panel's columns are copied. */
    u32 as_it_lies = b->n == 1 && m->cb == 0 && dtype_bytes(b->dtype) == width;
    u64 whole = as_it_lies ? m->N / PANEL * PANEL : 0, rest = m->N - whole;
    for (u64 k = 0; k < K && rest; k++) {
        u8 *to = copy + k * (padded - whole) * width;
        integer_convert(m->form, to, element(b, k, whole), b->dtype, b->n, m->cb, rest);
        memset(to + rest * width, 0, (padded - whole - rest) * width);
    }
    u64 panel = form_panel(m->form, K);
    for (unsigned copied = 0; copied < 2; copied++) {
        for (u64 k = 0; k < K; k++)
            rows[k] = copied ? (i64)(k * (padded - whole)) : (i64)k * b->k;
        for (u64 n = copied ? whole : 0; n < (copied ? padded : whole); n += PANEL) {
            u32 *to = m->panels + n / PANEL * panel;
            struct integer_runs runs = integer_one_run(copied ? copy + (n - whole) * width : element(b, 0, n));
            integer_pack(m->form, to, &runs, rows, K);
            if (m->sums)
                integer_column_sums(m->form, to, K, m->sums + n, ones);
        }
    }
}

/* In fast_prepared: the matrix, its sums, its panels. */
int fast_prepare_integers(struct fast_prepared *prepared, const u8 *segment, const struct record *r)
{
    unsigned n_at = r->rank - 1u;
    u64 K = r->imm[0], N = r->dim[n_at];
    struct source b = {segment + r->in[1], r->dtype_in[1], (i64)r->imm[2], r->stride[2][n_at]};
    struct integer_range range = range_of(b.at, b.dtype, K, b.k, N, b.n);
    i64 ca;
    struct matrix m = {.K = K, .N = N};
    m.form = integer_form_for((struct integer_range){0, 255}, range, &ca, &m.cb);
    u64 sums = panels_of(N) * PANEL * sizeof(u32), panels = panels_of(N) * form_panel(m.form, K) * sizeof(u32);
    u64 all = sizeof m + 64 + sums + panels;
    if (m.form != FORM_QUADS || K * N < WORTH_PACKING || all > FAST_PREPARED_MOST)
        return 0;
    struct fast_buffer workshop = {0};
    u8 *memory = fast_allocate(all);
    if (!memory || !fast_buffer_get(&workshop, workshop_bytes(m.form, K, N))) {
        free(memory);
        free(workshop.memory);
        return 0;
    }
    m.sums = (u32 *)(memory + (sizeof m + 63) / 64 * 64);
    m.panels = (u32 *)((u8 *)m.sums + (sums + 63) / 64 * 64);
    pack_matrix(&m, &b, workshop.memory);
    *(struct matrix *)memory = m;
    free(workshop.memory);
    prepared->memory = memory;
    prepared->bytes = all;
    return 1;
}

/* Rows of a as elements of the form, less ca; and, if b has a constant, what that adds to each row. */
static void pack_rows(enum integer_form f, u8 *to, u32 *row_add, const struct source *a, u64 M, u64 K, i64 ca, i64 cb)
{
    u64 pitch = form_pitch(f, K), width = form_width(f);
    for (u64 m = 0; m < M; m++, to += pitch) {
        integer_convert(f, to, element(a, 0, m), a->dtype, a->k, ca, K);
        memset(to + K * width, 0, pitch - K * width);
        if (row_add) {
            u32 sum = 0;
            for (u64 k = 0; k < K; k++)
                sum += to[k]; /* FORM_QUADS: there is no constant else */
            row_add[m] = (u32)cb * sum + (u32)K * (u32)ca * (u32)cb;
        }
    }
}

/* How much of a piece is packed at a time: so many rows, so many elements of b. */
#define ROWS_AT_ONCE     512
#define ELEMENTS_AT_ONCE (1ull << 20)

/* A piece under way. */
struct work {
    const struct record *r;
    const struct piece *piece;
    struct source a, b;
    enum integer_form form;
    i64 ca, cb;
    const struct matrix *ready; /* null: b is packed here, a few panels at a time */
    u64 columns_at_once;
    u8 *rows;     /* of a, packed */
    u32 *row_add; /* [ROWS_AT_ONCE] */
    u32 *panels, *sums;
    u8 *workshop;
    u32 *out;
    const u32 *bias;
};

/* Sees which form serves, and where everything lies; 0 if there is no memory. */
static int begin(struct work *w, struct fast_scratch *s)
{
    u64 K = w->r->imm[0], M = w->piece->rows, N = w->piece->columns;
    struct integer_range range = range_of(w->a.at, w->a.dtype, M, w->a.n, K, w->a.k);
    i64 none;
    w->form = FORM_WORDS;
    if (w->ready) {
        w->form = integer_form_for(range, (struct integer_range){INT8_MIN, INT8_MAX}, &w->ca, &none);
        w->cb = w->ready->cb;
    }
    if (w->form != FORM_QUADS) {
        w->ready = NULL;
        w->form = integer_form_for(range, range_of(w->b.at, w->b.dtype, K, w->b.k, N, w->b.n), &w->ca, &w->cb);
    }
    u64 most = ELEMENTS_AT_ONCE / K / PANEL * PANEL, padded = panels_of(N) * PANEL;
    most = most < PANEL ? PANEL : most;
    w->columns_at_once = w->ready || padded < most ? padded : most;
    u64 rows = ((M < ROWS_AT_ONCE ? M : ROWS_AT_ONCE) + INTEGER_ROWS_BEHIND) * form_pitch(w->form, K);
    u64 sums = (w->columns_at_once * sizeof(u32) + 63) / 64 * 64, panels = 0, workshop = 0;
    if (!w->ready) {
        panels = panels_of(w->columns_at_once) * form_panel(w->form, K) * sizeof(u32);
        workshop = workshop_bytes(w->form, K, w->columns_at_once);
    }
    w->rows = fast_buffer_get(&s->packed, rows + ROWS_AT_ONCE * sizeof(u32) + sums + panels + workshop);
    w->row_add = (u32 *)(w->rows + rows);
    w->sums = w->row_add + ROWS_AT_ONCE;
    w->panels = (u32 *)((u8 *)w->sums + sums);
    w->workshop = (u8 *)w->panels + panels;
    return w->rows != NULL;
}

/* Rows [m, m + rows), packed, with the columns [n, end) of the piece; m of the matrix begins at its column `start`. */
static void multiply(const struct work *w, const struct matrix *m, u64 start, u64 first_row, u64 rows, u64 n, u64 end)
{
    const struct record *r = w->r;
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 panel = form_panel(w->form, m->K);
    struct integer_product product = {
        .form = w->form,
        .rows = rows,
        .K = m->K,
        .a = w->rows,
        .o_m = r->stride[0][m_at],
        .o_n = r->stride[0][n_at],
        .row_add = w->cb ? w->row_add : NULL,
        .bias_m = r->stride[3][m_at],
        .bias_n = r->stride[3][n_at],
    };
    while (n < end) {
        u32 column_add[PANEL];
        u64 column = n - start, number = column / PANEL;
        product.first = column % PANEL;
        product.columns = PANEL - product.first < end - n ? PANEL - product.first : end - n;
        product.panel = m->panels + number * panel;
        product.out = w->out + (i64)first_row * product.o_m + (i64)n * product.o_n;
        product.bias = w->bias ? w->bias + (i64)first_row * product.bias_m + (i64)n * product.bias_n : NULL;
        if (w->ca) {
            for (unsigned j = 0; j < PANEL; j++)
                column_add[j] = (u32)w->ca * m->sums[number * PANEL + j];
            product.column_add = column_add;
        }
        integer_product(&product);
        n += product.columns;
    }
}

static void run_piece(const struct work *w)
{
    u64 K = w->r->imm[0], M = w->piece->rows, N = w->piece->columns;
    for (u64 n = 0; n < N; n += w->columns_at_once) {
        u64 end = N - n < w->columns_at_once || w->ready ? N : n + w->columns_at_once;
        struct matrix packed = {w->form, w->cb, K, end - n, w->panels, w->ca ? w->sums : NULL};
        if (!w->ready) {
            struct source part = w->b;
            part.at = element(&w->b, 0, n);
            pack_matrix(&packed, &part, w->workshop);
        }
        for (u64 m = 0; m < M; m += ROWS_AT_ONCE) {
            u64 rows = M - m < ROWS_AT_ONCE ? M - m : ROWS_AT_ONCE;
            struct source part = w->a;
            part.at = element(&w->a, 0, m);
            if (n == 0 || M > ROWS_AT_ONCE)
                pack_rows(w->form, w->rows, w->cb ? w->row_add : NULL, &part, rows, K, w->ca, w->cb);
            /* Column 0 of a matrix that is ready is column 0 of the row, not of the piece. */
            if (w->ready)
                multiply(w, w->ready, 0 - w->piece->column, m, rows, 0, N);
            else
                multiply(w, &packed, n, m, rows, n, end);
        }
    }
}

int fast_contract_integers(u8 *segment, const struct record *r, u64 lo, u64 hi, const struct fast_prepared *prepared,
                           struct fast_scratch *s)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    i64 a_width = (i64)dtype_bytes(r->dtype_in[0]), b_width = (i64)dtype_bytes(r->dtype_in[1]);
    if (!integer_takes(r) || (hi - lo) * r->imm[0] < WORTH_PACKING)
        return 0;
    const struct matrix *ready = prepared ? prepared->memory : NULL;
    while (lo < hi) {
        struct piece p = next_piece(r, &lo, hi);
        struct source a = {segment + r->in[0] + p.a * a_width, r->dtype_in[0], (i64)r->imm[1], r->stride[1][m_at]};
        struct source b = {segment + r->in[1] + p.b * b_width, r->dtype_in[1], (i64)r->imm[2], r->stride[2][n_at]};
        const u32 *bias = r->n_in == 3 ? (const u32 *)(segment + r->in[2]) + p.bias : NULL;
        struct work w = {.r = r,
                         .piece = &p,
                         .a = a,
                         .b = b,
                         .ready = ready,
                         .out = (u32 *)(segment + r->out) + p.out,
                         .bias = bias};
        if (!begin(&w, s))
            return 0;
        run_piece(&w);
    }
    return 1;
}
