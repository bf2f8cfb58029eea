/* BINARY of one integer, or bool, and others side by side: what the plain kernels have loops for only the other way around. */
#include "fast.h"
#include "kernels/walk.h"

#define LOOP(TO, EXPR)                                                                                                 \
    for (u64 i = 0; i < n; i++) {                                                                                      \
        y = b[i];                                                                                                      \
        ((TO *)o)[i] = (TO)(EXPR);                                                                                     \
    }                                                                                                                  \
    return
#define ROW_OF(T)                                                                                                      \
    static void row_of_##T(u64 function, void *restrict o, const void *first, const void *others, u64 n)               \
    {                                                                                                                  \
        const T *restrict b = others;                                                                                  \
        T x = *(const T *)first, y;                                                                                    \
        switch (function) {                                                                                            \
        case BIN_ADD: LOOP(T, (u64)x + (u64)y);                                                                        \
        case BIN_SUB: LOOP(T, (u64)x - (u64)y);                                                                        \
        case BIN_MUL: LOOP(T, (u64)x * (u64)y);                                                                        \
        case BIN_MIN: LOOP(T, x < y ? x : y);                                                                          \
        case BIN_MAX: LOOP(T, x > y ? x : y);                                                                          \
        case BIN_BITAND: LOOP(T, x & y);                                                                               \
        case BIN_BITOR: LOOP(T, x | y);                                                                                \
        case BIN_BITXOR: LOOP(T, x ^ y);                                                                               \
        case BIN_EQ: LOOP(u8, x == y);                                                                                 \
        case BIN_LT: LOOP(u8, x < y);                                                                                  \
        default: LOOP(u8, x <= y);                                                                                     \
        }                                                                                                              \
    }
ROW_OF(u8)
ROW_OF(i8)
ROW_OF(u16)
ROW_OF(i16)
ROW_OF(u32)
ROW_OF(i32)
ROW_OF(u64)
ROW_OF(i64)

/* Any byte but 0 is true. */
static void row_of_bool(u64 function, void *restrict o, const void *first, const void *others, u64 n)
{
    const u8 *restrict b = others;
    u8 x = *(const u8 *)first != 0, y;
    switch (function) {
    case BIN_AND: LOOP(u8, x & (y != 0));
    case BIN_OR: LOOP(u8, x | (y != 0));
    case BIN_XOR: LOOP(u8, x ^ (y != 0));
    default: LOOP(u8, x == (y != 0));
    }
}

typedef void integers_row(u64 function, void *restrict o, const void *first, const void *others, u64 n);

static integers_row *find_row(u8 dtype, u64 function)
{
    int is_logic = function == BIN_AND || function == BIN_OR || function == BIN_XOR;
    if (dtype == DT_BOOL)
        return is_logic || function == BIN_EQ ? row_of_bool : NULL;
    switch (function) {
    case BIN_ADD:
    case BIN_SUB:
    case BIN_MUL:
    case BIN_MIN:
    case BIN_MAX:
    case BIN_BITAND:
    case BIN_BITOR:
    case BIN_BITXOR:
    case BIN_EQ:
    case BIN_LT:
    case BIN_LE: break;
    default: return NULL;
    }
    switch (dtype) {
    case DT_U8: return row_of_u8;
    case DT_I8: return row_of_i8;
    case DT_U16: return row_of_u16;
    case DT_I16: return row_of_i16;
    case DT_U32: return row_of_u32;
    case DT_I32: return row_of_i32;
    case DT_U64: return row_of_u64;
    case DT_I64: return row_of_i64;
    default: return NULL;
    }
}

int fast_single_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    integers_row *row = find_row(r->dtype_in[0], r->imm[0]);
    if (!row)
        return 0;
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    if (w.step[0] != (i64)operand[0].width || w.step[1] != 0 || w.step[2] != (i64)operand[2].width)
        return 0;
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3))
        row(r->imm[0], w.at[0], w.at[1], w.at[2], n);
    return 1;
}
