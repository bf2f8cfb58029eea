/* ARGREDUCE of integers, and of halves by integers in the same order: where the greatest or least elements are.
 * Outputs that lie side by side are made together. Of a row, a piece at a time, first the best is found, and then
 * where in the piece it is if it is better than all before. */
#include "fast.h"
#include "kernels/walk.h"

/* Elements of a row looked through at a time, those of them among which one is sought, and outputs made at a time. */
#define PIECE   1024u
#define BLOCK   64u
#define AT_ONCE 256u
/* Rows of fewer outputs are left to the plain kernel; and more elements than a number here can count. */
#define LEAST_ROW 8u
#define LONGEST   (1ull << 31)

/* Whether x is better than an earlier best. */
#define BEATS(x, best) (least ? last ? (x) <= (best) : (x) < (best) : last ? (x) >= (best) : (x) > (best))

/* A half as an integer: equal zeros, and a NaN the one that is looked for. */
INLINE i16 key_of_half(u32 least, u16 x, i16 infinity)
{
    i16 size = (i16)(x & 0x7fff);
    if (size > infinity)
        return least ? INT16_MIN : INT16_MAX;
    return (i16)(x >> 15 ? -size : size);
}
#define KEY_OF_F16(least, x)  key_of_half(least, x, 0x7c00)
#define KEY_OF_BF16(least, x) key_of_half(least, x, 0x7f80)
#define SAME(least, x)        (x)

/* The place among n elements of type STORED side by side, which compare as T by KEY. */
#define PLACE_IN_ROW(NAME, STORED, T, KEY)                                                                             \
    INLINE i64 place_in_row_##NAME(u32 least, u32 last, const u8 *a, u64 n)                                            \
    {                                                                                                                  \
        const STORED *x = (const STORED *)a;                                                                           \
        T best = KEY(least, *x), key[PIECE];                                                                           \
        u64 found = 0;                                                                                                 \
        for (u64 at = 0; at < n; at += PIECE) {                                                                        \
            u64 now = n - at < PIECE ? n - at : PIECE;                                                                 \
            for (u64 i = 0; i < now; i++)                                                                              \
                key[i] = KEY(least, x[at + i]);                                                                        \
            T most = key[0];                                                                                           \
            for (u64 i = 1; i < now; i++)                                                                              \
                most = (least ? key[i] < most : key[i] > most) ? key[i] : most;                                        \
            if (at && !BEATS(most, best))                                                                              \
                continue;                                                                                              \
            best = most;                                                                                               \
            for (u64 block = 0; block < now; block += BLOCK) {                                                         \
                u64 first = last ? (now - 1) / BLOCK * BLOCK - block : block, any = 0;                                 \
                u64 end = now - first < BLOCK ? now : first + BLOCK;                                                   \
                for (u64 i = first; i < end; i++)                                                                      \
                    any |= key[i] == most;                                                                             \
                if (!any)                                                                                              \
                    continue;                                                                                          \
                u64 i = last ? end - 1 : first;                                                                        \
                while (key[i] != most)                                                                                 \
                    i += last ? ~0ull : 1;                                                                             \
                found = at + i;                                                                                        \
                break;                                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
        return (i64)found;                                                                                             \
    }

/* n outputs side by side, from the elements that `inputs` walks, moved by `moved` bytes. */
#define PLACES_OF_COLUMNS(NAME, STORED, T, KEY)                                                                        \
    INLINE void places_of_columns_##NAME(u32 least, u32 last, i64 *o, struct walk inputs, i64 moved, u64 n)            \
    {                                                                                                                  \
        T best[AT_ONCE];                                                                                               \
        i32 place[AT_ONCE], number = 0;                                                                                \
        for (u64 i = 0; i < n; i++) {                                                                                  \
            best[i] = KEY(least, ((const STORED *)(inputs.at[0] + moved))[i]);                                         \
            place[i] = 0;                                                                                              \
        }                                                                                                              \
        for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1))                                            \
            for (u64 j = 0; j < m; j++, number++) {                                                                    \
                const STORED *x = (const STORED *)(inputs.at[0] + moved + (i64)j * inputs.step[0]);                    \
                for (u64 i = 0; i < n; i++) {                                                                          \
                    T key = KEY(least, x[i]);                                                                          \
                    place[i] = BEATS(key, best[i]) ? number : place[i];                                                \
                    best[i] = BEATS(key, best[i]) ? key : best[i];                                                     \
                }                                                                                                      \
            }                                                                                                          \
        for (u64 i = 0; i < n; i++)                                                                                    \
            o[i] = place[i];                                                                                           \
    }

/* Calls F with what is looked for, which the compiler then knows. */
#define BY_KIND(F, ...)                                                                                                \
    (least ? last ? F(1, 1, __VA_ARGS__) : F(1, 0, __VA_ARGS__) : last ? F(0, 1, __VA_ARGS__) : F(0, 0, __VA_ARGS__))
#define PLACES(NAME, STORED, T, KEY)                                                                                   \
    PLACE_IN_ROW(NAME, STORED, T, KEY)                                                                                 \
    PLACES_OF_COLUMNS(NAME, STORED, T, KEY)                                                                            \
    static i64 place_of_##NAME(u32 least, u32 last, const u8 *a, u64 n) { return BY_KIND(place_in_row_##NAME, a, n); } \
    static void places_of_##NAME(u32 least, u32 last, i64 *o, const struct walk *inputs, i64 moved, u64 n)             \
    {                                                                                                                  \
        BY_KIND(places_of_columns_##NAME, o, *inputs, moved, n);                                                       \
    }
/* clang-format off */
PLACES(u8, u8, u8, SAME)
PLACES(i8, i8, i8, SAME)
PLACES(u16, u16, u16, SAME)
PLACES(i16, i16, i16, SAME)
PLACES(u32, u32, u32, SAME)
PLACES(i32, i32, i32, SAME)
PLACES(u64, u64, u64, SAME)
PLACES(i64, i64, i64, SAME)
PLACES(f16, u16, i16, KEY_OF_F16)
PLACES(bf16, u16, i16, KEY_OF_BF16)
/* clang-format on */

typedef i64 row_place(u32 least, u32 last, const u8 *a, u64 n);
typedef void column_places(u32 least, u32 last, i64 *o, const struct walk *inputs, i64 moved, u64 n);

static const struct {
    row_place *row;
    column_places *columns;
} BY_TYPE[] = {
#define TYPE(DTYPE, NAME) [DTYPE] = {place_of_##NAME, places_of_##NAME}
    TYPE(DT_U8, u8),   TYPE(DT_I8, i8),   TYPE(DT_U16, u16), TYPE(DT_I16, i16), TYPE(DT_U32, u32),
    TYPE(DT_I32, i32), TYPE(DT_U64, u64), TYPE(DT_I64, i64), TYPE(DT_F16, f16), TYPE(DT_BF16, bf16),
};

int fast_argreduce_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned reduced = (unsigned)r->imm[1], kept = r->rank - reduced;
    u32 least = r->imm[0] != RED_MAX, last = r->imm[2] & 1;
    u64 count = 1, now;
    i64 width = (i64)dtype_bytes(r->dtype_in[0]);
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    if (r->dtype_in[0] >= sizeof BY_TYPE / sizeof *BY_TYPE || !BY_TYPE[r->dtype_in[0]].row || !count || count > LONGEST)
        return 0;
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    struct walk_operand below = {segment, r->stride[1] + kept, (u64)width};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    walk_begin(&inputs, &below, 1, r->dim + kept, reduced, 0, count);
    int by_rows = inputs.outer == 0 && inputs.step[0] == width;
    if (!by_rows && (outputs.step[0] != 8 || outputs.step[1] != width || outputs.row < LEAST_ROW))
        return 0;
    for (u64 n; (n = walk_row(&outputs)) != 0; walk_next(&outputs, n, 2))
        for (u64 i = 0; i < n; i += now) {
            i64 *o = (i64 *)(outputs.at[0] + (i64)i * outputs.step[0]);
            i64 moved = outputs.at[1] + (i64)i * outputs.step[1] - segment;
            now = by_rows ? 1 : n - i < AT_ONCE ? n - i : AT_ONCE;
            if (by_rows)
                *o = BY_TYPE[r->dtype_in[0]].row(least, last, inputs.at[0] + moved, count);
            else
                BY_TYPE[r->dtype_in[0]].columns(least, last, o, &inputs, moved, now);
        }
    return 1;
}
