/* REDUCE and SCAN of integers. Both wrap, so the low bits of a result follow from the low bits of what it is made of: all is
 * computed in the elements' own width, many side by side, and a row in whatever order is fastest. */
#include "fast.h"
#include "kernels/walk.h"

/* Bytes of the outputs that are made side by side: they stay in the nearest cache. */
#define BYTES_AT_ONCE 2048u
/* Rows of fewer outputs are left to the plain kernel. */
#define LEAST_ROW 8u

#define COMBINED(T)                                                                                                    \
    INLINE T combined_##T(u64 function, T x, T y)                                                                      \
    {                                                                                                                  \
        switch (function) {                                                                                            \
        case RED_SUM: return (T)((u64)x + (u64)y);                                                                     \
        case RED_PROD: return (T)((u64)x * (u64)y);                                                                    \
        case RED_MAX: return x > y ? x : y;                                                                            \
        default: return x < y ? x : y;                                                                                 \
        }                                                                                                              \
    }
/* The first element stands for the neutral one, so there is one at least. */
#define REDUCE_ROW(T)                                                                                                  \
    INLINE void reduce_row_##T(u64 function, T *restrict o, const T *restrict x, u64 n)                                \
    {                                                                                                                  \
        T value = *x;                                                                                                  \
        for (u64 i = 1; i < n; i++)                                                                                    \
            value = combined_##T(function, value, x[i]);                                                               \
        *o = value;                                                                                                    \
    }
#define REDUCE_COLUMNS(T)                                                                                              \
    INLINE void reduce_columns_##T(u64 function, T *restrict o, struct walk inputs, i64 moved, u64 n)                  \
    {                                                                                                                  \
        u64 first = 1;                                                                                                 \
        for (u64 m; (m = walk_row(&inputs)) != 0; walk_next(&inputs, m, 1)) {                                          \
            const u8 *at = inputs.at[0] + moved;                                                                       \
            for (u64 j = 0; j < m; j++, at += inputs.step[0], first = 0) {                                             \
                const T *restrict x = (const T *)at;                                                                   \
                for (u64 i = 0; i < n; i++)                                                                            \
                    o[i] = first ? x[i] : combined_##T(function, o[i], x[i]);                                          \
            }                                                                                                          \
        }                                                                                                              \
    }
#define SCAN_LINES(T)                                                                                                  \
    INLINE void scan_lines_##T(u64 function, u64 exclusive, u8 *o, i64 so, const u8 *a, i64 sa, u64 steps, u64 n)      \
    {                                                                                                                  \
        T value[BYTES_AT_ONCE / sizeof(T)];                                                                            \
        for (u64 i = 0; i < n; i++)                                                                                    \
            value[i] = function == RED_PROD;                                                                           \
        for (; steps; steps--, o += so, a += sa) {                                                                     \
            const T *restrict x = (const T *)a;                                                                        \
            T *restrict out = (T *)o;                                                                                  \
            for (u64 i = 0; i < n; i++) {                                                                              \
                T next = combined_##T(function, value[i], x[i]);                                                       \
                out[i] = exclusive ? value[i] : next;                                                                  \
                value[i] = next;                                                                                       \
            }                                                                                                          \
        }                                                                                                              \
    }
/* Calls F of the function, which the compiler then knows. */
#define BY_FUNCTION(F, ...)                                                                                            \
    switch (function) {                                                                                                \
    case RED_SUM: F(RED_SUM, __VA_ARGS__); break;                                                                      \
    case RED_PROD: F(RED_PROD, __VA_ARGS__); break;                                                                    \
    case RED_MAX: F(RED_MAX, __VA_ARGS__); break;                                                                      \
    default: F(RED_MIN, __VA_ARGS__); break;                                                                           \
    }
/* Reduces what `outputs` and `inputs` walk, the second below every output; 0 if it lies in another way. */
#define REDUCE_ALL(T)                                                                                                  \
    static int reduce_all_##T(u64 function, struct walk *outputs, const struct walk *inputs, const u8 *segment)        \
    {                                                                                                                  \
        i64 width = sizeof(T);                                                                                         \
        int by_rows = inputs->outer == 0 && (inputs->step[0] == width || inputs->row == 1);                            \
        if (!by_rows && (outputs->step[0] != width || outputs->step[1] != width || outputs->row < LEAST_ROW))          \
            return 0;                                                                                                  \
        for (u64 n; (n = walk_row(outputs)) != 0; walk_next(outputs, n, 2)) {                                          \
            i64 moved = outputs->at[1] - segment;                                                                      \
            u64 now = by_rows ? 1 : BYTES_AT_ONCE / sizeof(T);                                                         \
            for (u64 i = 0; i < n; i += now) {                                                                         \
                T *o = (T *)(outputs->at[0] + (i64)i * outputs->step[0]);                                              \
                i64 at = moved + (i64)i * outputs->step[1];                                                            \
                if (by_rows) {                                                                                         \
                    BY_FUNCTION(reduce_row_##T, o, (const T *)(inputs->at[0] + at), inputs->row)                       \
                } else {                                                                                               \
                    now = n - i < now ? n - i : now;                                                                   \
                    BY_FUNCTION(reduce_columns_##T, o, *inputs, at, now)                                               \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        return 1;                                                                                                      \
    }
/* Scans lines that lie side by side; their `steps` elements are so and sa bytes apart. */
#define SCAN_ALL(T)                                                                                                    \
    static int scan_all_##T(u64 function, u64 exclusive, struct walk *lines, i64 so, i64 sa, i64 skips, u64 steps)     \
    {                                                                                                                  \
        u64 most = BYTES_AT_ONCE / sizeof(T), now;                                                                     \
        if (lines->step[0] != sizeof(T) || lines->step[1] != sizeof(T) || lines->row < LEAST_ROW)                      \
            return 0;                                                                                                  \
        for (u64 n; (n = walk_row(lines)) != 0; walk_next(lines, n, 2))                                                \
            for (u64 at = 0; at < n; at += now) {                                                                      \
                u8 *o = lines->at[0] + (i64)(at * sizeof(T)) - skips * so;                                             \
                const u8 *a = lines->at[1] + (i64)(at * sizeof(T)) - skips * sa;                                       \
                now = n - at < most ? n - at : most;                                                                   \
                if (function == RED_PROD)                                                                              \
                    scan_lines_##T(RED_PROD, exclusive, o, so, a, sa, steps, now);                                     \
                else                                                                                                   \
                    scan_lines_##T(RED_SUM, exclusive, o, so, a, sa, steps, now);                                      \
            }                                                                                                          \
        return 1;                                                                                                      \
    }
#define OF_TYPE(T) COMBINED(T) REDUCE_ROW(T) REDUCE_COLUMNS(T) SCAN_LINES(T) REDUCE_ALL(T) SCAN_ALL(T)
OF_TYPE(u8)
OF_TYPE(i8)
OF_TYPE(u16)
OF_TYPE(i16)
OF_TYPE(u32)
OF_TYPE(i32)
OF_TYPE(u64)
OF_TYPE(i64)

/* Calls F_T for an integer type; 0 for another. */
#define BY_TYPE(DTYPE, F, ...)                                                                                         \
    switch (DTYPE) {                                                                                                   \
    case DT_U8: return F##_u8(__VA_ARGS__);                                                                            \
    case DT_I8: return F##_i8(__VA_ARGS__);                                                                            \
    case DT_U16: return F##_u16(__VA_ARGS__);                                                                          \
    case DT_I16: return F##_i16(__VA_ARGS__);                                                                          \
    case DT_U32: return F##_u32(__VA_ARGS__);                                                                          \
    case DT_I32: return F##_i32(__VA_ARGS__);                                                                          \
    case DT_U64: return F##_u64(__VA_ARGS__);                                                                          \
    case DT_I64: return F##_i64(__VA_ARGS__);                                                                          \
    default: return 0;                                                                                                 \
    }

int fast_reduce_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned reduced = (unsigned)r->imm[1], kept = r->rank - reduced;
    u64 count = 1;
    for (unsigned d = kept; d < r->rank; d++)
        count *= r->dim[d];
    if (r->dtype_in[0] != r->dtype_out || count == 0)
        return 0;
    struct walk outputs, inputs;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    struct walk_operand below = {segment, r->stride[1] + kept, operand[1].width};
    walk_begin(&outputs, operand, 2, r->dim, kept, lo, hi);
    walk_begin(&inputs, &below, 1, r->dim + kept, reduced, 0, count);
    BY_TYPE(r->dtype_out, reduce_all, r->imm[0], &outputs, &inputs, segment)
}

int fast_scan_integers(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    unsigned axis = r->rank - 1u;
    struct walk lines;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    i64 so = r->stride[0][axis] * (i64)operand[0].width, sa = r->stride[1][axis] * (i64)operand[1].width, skips = 0;
    walk_begin(&lines, operand, 2, r->dim, axis, lo, hi);
    if (r->dtype_in[0] != r->dtype_out)
        return 0;
    if (r->imm[2] >> 1 & 1) { /* from the end */
        so = -so;
        sa = -sa;
        skips = (i64)r->dim[axis] - 1;
    }
    BY_TYPE(r->dtype_out, scan_all, r->imm[0], r->imm[2] & 1, &lines, so, sa, skips, r->dim[axis])
}
