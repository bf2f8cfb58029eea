/* Quotients and remainders of integers up to 32 bits, by division in binary64: the processor divides several of those at a
 * time, and of integers only one.
 *
 * The quotient's integer part is right: one that is no integer is at least 1 / |y| away from the next, which is more than
 * what rounding moves it by, since neither operand has more than 32 bits. */
#include "fast.h"
#include "kernels/walk.h"

/* As kernels/binary.c has it: nothing divided by 0 is anything but 0, and the least number by -1 is itself. */
#define QUOTIENT_SIGNED(T)                                                                                             \
    INLINE T quotient_##T(T x, T y)                                                                                    \
    {                                                                                                                  \
        T by = y == 0 || y == -1 ? 1 : y;                                                                              \
        i32 whole = (i32)((double)x / (double)by);                                                                     \
        return y == 0 ? 0 : y == -1 ? (T)(0 - (u32)x) : (T)whole;                                                      \
    }                                                                                                                  \
    INLINE T rest_##T(T x, T y) { return y == 0 ? 0 : (T)((u32)x - (u32)quotient_##T(x, y) * (u32)y); }                \
    INLINE T modulo_##T(T x, T y)                                                                                      \
    {                                                                                                                  \
        T rest = rest_##T(x, y);                                                                                       \
        return rest != 0 && (rest < 0) != (y < 0) ? (T)(rest + y) : rest;                                              \
    }
#define QUOTIENT_UNSIGNED(T)                                                                                           \
    INLINE T quotient_##T(T x, T y)                                                                                    \
    {                                                                                                                  \
        T whole = (T)(u32)((double)x / (double)(y == 0 ? 1 : y));                                                      \
        return y == 0 ? 0 : whole;                                                                                     \
    }                                                                                                                  \
    INLINE T rest_##T(T x, T y) { return y == 0 ? 0 : (T)((u32)x - (u32)quotient_##T(x, y) * (u32)y); }                \
    INLINE T modulo_##T(T x, T y) { return rest_##T(x, y); }

/* A row: both operands side by side, or one of them one number for all. */
#define ROW(NAME, T)                                                                                                   \
    static void NAME##_##T##_row(void *out, const void *a, i64 a_step, const void *b, i64 b_step, u64 n)               \
    {                                                                                                                  \
        T *restrict o = out;                                                                                           \
        const T *x = a, *y = b;                                                                                        \
        if (b_step == 0)                                                                                               \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[i] = NAME##_##T(x[i], *y);                                                                           \
        else if (a_step == 0)                                                                                          \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[i] = NAME##_##T(*x, y[i]);                                                                           \
        else                                                                                                           \
            for (u64 i = 0; i < n; i++)                                                                                \
                o[i] = NAME##_##T(x[i], y[i]);                                                                         \
    }
#define ROWS(T) ROW(quotient, T) ROW(rest, T) ROW(modulo, T)

QUOTIENT_SIGNED(i8)
QUOTIENT_SIGNED(i16)
QUOTIENT_SIGNED(i32)
QUOTIENT_UNSIGNED(u8)
QUOTIENT_UNSIGNED(u16)
QUOTIENT_UNSIGNED(u32)
ROWS(i8)
ROWS(i16)
ROWS(i32)
ROWS(u8)
ROWS(u16)
ROWS(u32)

typedef void row(void *out, const void *a, i64 a_step, const void *b, i64 b_step, u64 n);

static row *row_of(const struct record *r)
{
    if (r->opcode != OP_BINARY)
        return NULL;
#define OF_TYPE(T)                                                                                                     \
    (r->imm[0] == BIN_DIV    ? quotient_##T##_row                                                                      \
     : r->imm[0] == BIN_MOD  ? modulo_##T##_row                                                                        \
     : r->imm[0] == BIN_FMOD ? rest_##T##_row                                                                          \
                             : NULL)
    switch (r->dtype_in[0]) {
    case DT_I8: return OF_TYPE(i8);
    case DT_U8: return OF_TYPE(u8);
    case DT_I16: return OF_TYPE(i16);
    case DT_U16: return OF_TYPE(u16);
    case DT_I32: return OF_TYPE(i32);
    case DT_U32: return OF_TYPE(u32);
    default: return NULL;
    }
#undef OF_TYPE
}

int fast_divide_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    row *run = row_of(r);
    if (!run)
        return 0;
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    i64 width = (i64)operand[0].width;
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    if (w.step[0] != width || (w.step[1] != width && (w.step[1] != 0 || w.step[2] == 0)) ||
        (w.step[2] != width && w.step[2] != 0))
        return 0;
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3))
        run(w.at[0], w.at[1], w.step[1], w.at[2], w.step[2], n);
    return 1;
}
