/* The range of a contraction, in pieces: whole rows of one batch, or a part of one row. */
#ifndef OPML_PIECES_H
#define OPML_PIECES_H
#include "program/record.h"
#include "kernels/access.h"

struct piece {
    u64 rows, columns;
    u64 column;          /* the first one's number in its row */
    i64 out, a, b, bias; /* elements between an operand's start and the piece's first one */
};

/* The next piece of [*lo, hi), and *lo behind it. */
static inline struct piece next_piece(const struct record *r, u64 *lo, u64 hi)
{
    unsigned m_at = r->rank - 2u, n_at = r->rank - 1u;
    u64 M = r->dim[m_at], N = r->dim[n_at], left = hi - *lo;
    u64 row = *lo / N, n = *lo - row * N, batch = row / M, m = row - batch * M;
    /* The rest of a row, or as many whole rows as the range and this batch have. */
    u64 rows = n || left < N ? 1 : left / N < M - m ? left / N : M - m;
    u64 columns = rows > 1 || (n == 0 && left >= N) ? N : N - n < left ? N - n : left;
    struct piece p = {.rows = rows, .columns = columns, .column = n};
    i64 *at[4] = {&p.out, &p.a, &p.b, &p.bias};
    for (unsigned j = 0; j < 4; j++)
        *at[j] = (i64)m * r->stride[j][m_at] + (i64)n * r->stride[j][n_at];
    for (unsigned d = m_at; d-- > 0;) {
        i64 index = (i64)(batch % r->dim[d]);
        batch /= r->dim[d];
        for (unsigned j = 0; j < 4; j++)
            *at[j] += index * r->stride[j][d];
    }
    *lo += rows * columns;
    return p;
}

#endif
