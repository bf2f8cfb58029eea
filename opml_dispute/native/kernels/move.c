/* OP_COPY, OP_FILL, OP_SELECT: elements move as bits, whatever they mean. */
#include "kernels.h"
#include "walk.h"

/* n elements of WIDTH bytes. Side by side they are one run of bytes. */
#define COPY_ROW(WIDTH)                                                                                                \
    static void copy_row_##WIDTH(u8 *restrict o, i64 so, const u8 *restrict a, i64 sa, u64 n)                          \
    {                                                                                                                  \
        if (so == WIDTH && sa == WIDTH)                                                                                \
            __builtin_memcpy(o, a, n * WIDTH);                                                                         \
        else                                                                                                           \
            for (u64 i = 0; i < n; i++) {                                                                              \
                *(unsigned_##WIDTH *)o = *(const unsigned_##WIDTH *)a;                                                 \
                o += so;                                                                                               \
                a += sa;                                                                                               \
            }                                                                                                          \
    }
COPY_ROW(1)
COPY_ROW(2)
COPY_ROW(4)
COPY_ROW(8)

void KERNEL(copy_row)(u8 *o, i64 so, const u8 *a, i64 sa, u64 n, u64 width)
{
    switch (width) {
    case 1: copy_row_1(o, so, a, sa, n); return;
    case 2: copy_row_2(o, so, a, sa, n); return;
    case 4: copy_row_4(o, so, a, sa, n); return;
    default: copy_row_8(o, so, a, sa, n); return;
    }
}

void KERNEL(kernel_copy)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
        KERNEL(copy_row)(w.at[0], w.step[0], w.at[1], w.step[1], n, operand[0].width);
}

#define FILL_ROW(T)                                                                                                    \
    static void fill_row_##T(u8 *o, i64 so, T value, u64 n)                                                            \
    {                                                                                                                  \
        if (so == sizeof(T))                                                                                           \
            for (u64 i = 0; i < n; i++)                                                                                \
                st_##T(o + i * sizeof(T), value);                                                                      \
        else                                                                                                           \
            for (; n; n--, o += so)                                                                                    \
                st_##T(o, value);                                                                                      \
    }
FILL_ROW(u8)
FILL_ROW(u16)
FILL_ROW(u32)
FILL_ROW(u64)

void KERNEL(kernel_fill)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[1] = {walk_out(segment, r)};
    u64 value = r->imm[0];
    walk_begin(&w, operand, 1, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 1))
        switch (operand[0].width) {
        case 1: fill_row_u8(w.at[0], w.step[0], (u8)value, n); break;
        case 2: fill_row_u16(w.at[0], w.step[0], (u16)value, n); break;
        case 4: fill_row_u32(w.at[0], w.step[0], (u32)value, n); break;
        default: fill_row_u64(w.at[0], w.step[0], value, n); break;
        }
}

#define SELECT_ROW(WIDTH)                                                                                              \
    static void select_row_##WIDTH(const struct walk *w, u64 n)                                                        \
    {                                                                                                                  \
        u8 *o = w->at[0];                                                                                              \
        const u8 *c = w->at[1], *a = w->at[2], *b = w->at[3];                                                          \
        i64 so = w->step[0], sc = w->step[1], sa = w->step[2], sb = w->step[3];                                        \
        for (; n; n--, o += so, c += sc, a += sa, b += sb)                                                             \
            *(unsigned_##WIDTH *)o = *(const unsigned_##WIDTH *)(*c ? a : b);                                          \
    }
SELECT_ROW(1)
SELECT_ROW(2)
SELECT_ROW(4)
SELECT_ROW(8)

void KERNEL(kernel_select)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[4] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1),
                                      walk_in(segment, r, 2)};
    walk_begin(&w, operand, 4, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 4))
        switch (operand[0].width) {
        case 1: select_row_1(&w, n); break;
        case 2: select_row_2(&w, n); break;
        case 4: select_row_4(&w, n); break;
        default: select_row_8(&w, n); break;
        }
}
