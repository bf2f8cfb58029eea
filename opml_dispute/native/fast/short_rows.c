/* Rows of a few numbers, a vector of rows at a time: one lane is one row, so that rows as short as three elements cost as
 * little an element as long ones. Each row keeps its own order, and every number is what the plain kernels make it. */
#include "exponential.h"
#include "fast.h"
#include "kernels/elementary.h"

#if LANES

#define PARTIALS 8u
/* Elements of the longest rows that are taken so. */
#define LONGEST 32u
_Static_assert(LONGEST == FAST_SHORT_ROW, "fast.h tells the others");

/* So short that the compiler, which knows the length, unrolls what is done to a row. */
#define KNOWN 8u

/* Elements 0..n-1 of `rows` rows, LANES at most, `pitch` floats apart; in lanes beyond the rows are zeros. */
INLINE void load_columns(vec *column, const f32 *x, i64 pitch, u64 rows, u64 n)
{
    if (n <= KNOWN && rows == LANES && pitch == (i64)n) {
        f32 *lane = (f32 *)column;
        for (u64 i = 0; i < LANES; i++)
            for (u64 j = 0; j < n; j++)
                lane[j * LANES + i] = x[i * n + j];
        return;
    }
    for (u64 at = 0; at < n; at += LANES) {
        vec row[LANES];
        for (u64 i = 0; i < LANES; i++)
            row[i] = i < rows ? load_some(x + (i64)i * pitch + (i64)at, (i64)(n - at)) : (vec){0};
        transpose(row);
        for (u64 i = 0; i < LANES; i++)
            column[at + i] = row[i];
    }
}

INLINE void store_columns(f32 *x, const vec *column, u64 rows, u64 n)
{
    if (n <= KNOWN && rows == LANES) {
        const f32 *lane = (const f32 *)column;
        for (u64 i = 0; i < LANES; i++)
            for (u64 j = 0; j < n; j++)
                x[i * n + j] = lane[j * LANES + i];
        return;
    }
    for (u64 at = 0; at < n; at += LANES) {
        vec row[LANES];
        for (u64 i = 0; i < LANES; i++)
            row[i] = column[at + i];
        transpose(row);
        for (u64 i = 0; i < rows; i++)
            store_some(x + i * n + at, row[i], (i64)(n - at));
    }
}

INLINE vec combined_vec(u64 function, vec x, vec y)
{
    switch (function) {
    case RED_SUM: return x + y;
    case RED_PROD: return x * y;
    case RED_MAX: return choose((x > y) | (x != x), x, y);
    default: return choose((x < y) | (x != x), x, y);
    }
}

/* As REDUCE: element j goes to partial result j mod 8; those that no element goes to change no number. */
INLINE vec reduced(u64 function, const vec *column, u64 n)
{
    vec partial[PARTIALS], neutral = splat(function == RED_SUM    ? 0.0f
                                           : function == RED_PROD ? 1.0f
                                           : function == RED_MAX  ? -f32_inf()
                                                                  : f32_inf());
    for (u64 j = 0; j < PARTIALS; j++)
        partial[j] = neutral;
    for (u64 j = 0; j < n; j++)
        partial[j % PARTIALS] = combined_vec(function, partial[j % PARTIALS], column[j]);
    for (unsigned width = PARTIALS / 2; width; width /= 2)
        for (unsigned j = 0; j < width && j + width < n; j++)
            partial[j] = combined_vec(function, partial[j], partial[j + width]);
    return canonical_vec(partial[0]);
}

INLINE void reduce_short(u64 function, f32 *o, const f32 *x, i64 pitch, u64 count, u64 n)
{
    vec column[LONGEST];
    for (; count >= LANES; count -= LANES, o += LANES, x += LANES * pitch) {
        load_columns(column, x, pitch, LANES, n);
        *(vec *)o = reduced(function, column, n);
    }
    if (count) {
        load_columns(column, x, pitch, count, n);
        store_some(o, reduced(function, column, n), (i64)count);
    }
}

/* Calls F with a length, which the compiler knows if it is short. */
#define BY_LENGTH(F, ...)                                                                                              \
    switch (n) {                                                                                                       \
    case 2: F(__VA_ARGS__, 2); break;                                                                                  \
    case 3: F(__VA_ARGS__, 3); break;                                                                                  \
    case 4: F(__VA_ARGS__, 4); break;                                                                                  \
    case 5: F(__VA_ARGS__, 5); break;                                                                                  \
    case 6: F(__VA_ARGS__, 6); break;                                                                                  \
    case 7: F(__VA_ARGS__, 7); break;                                                                                  \
    case 8: F(__VA_ARGS__, 8); break;                                                                                  \
    case 16: F(__VA_ARGS__, 16); break;                                                                                \
    case 32: F(__VA_ARGS__, 32); break;                                                                                \
    default: F(__VA_ARGS__, n); break;                                                                                 \
    }

int fast_reduce_short_rows(u64 function, f32 *o, const f32 *x, i64 pitch, u64 count, u64 n)
{
    if (n > LONGEST)
        return 0;
    switch (function) {
    case RED_SUM: BY_LENGTH(reduce_short, RED_SUM, o, x, pitch, count) break;
    case RED_PROD: BY_LENGTH(reduce_short, RED_PROD, o, x, pitch, count) break;
    case RED_MAX: BY_LENGTH(reduce_short, RED_MAX, o, x, pitch, count) break;
    default: BY_LENGTH(reduce_short, RED_MIN, o, x, pitch, count) break;
    }
    return 1;
}

/* `rows` rows from number i on. */
INLINE void exponential_rows(const struct fast_exponentials *e, u64 i, u64 rows, u64 n)
{
    vec column[LONGEST];
    load_columns(column, e->x + i * n, (i64)n, rows, n);
    vec greatest = reduced(RED_MAX, column, n);
    store_some(e->greatest + i, greatest, (i64)rows);
    for (u64 j = 0; j < n; j++)
        column[j] = canonical_vec(column[j] - greatest);
    if (e->below)
        store_columns(e->below + i * n, column, rows, n);
    for (u64 j = 0; j < n; j++)
        column[j] = canonical_vec(exp_vec(column[j]));
    if (e->power)
        store_columns(e->power + i * n, column, rows, n);
    vec sum = reduced(RED_SUM, column, n);
    store_some(e->sum + i, sum, (i64)rows);
    if (!e->quotient)
        return;
    for (u64 j = 0; j < n; j++)
        column[j] = canonical_vec(column[j] / sum);
    store_columns(e->quotient + i * n, column, rows, n);
}

int fast_exponential_short_rows(const struct fast_exponentials *e, u64 first, u64 end)
{
    u64 n = e->length;
    if (n > LONGEST)
        return 0;
    for (u64 rows; first < end; first += rows) {
        rows = end - first < LANES ? end - first : LANES;
        if (rows == LANES)
            BY_LENGTH(exponential_rows, e, first, LANES)
        else
            exponential_rows(e, first, rows, n);
    }
    return 1;
}

#else

int fast_reduce_short_rows(u64 function, f32 *o, const f32 *x, i64 pitch, u64 count, u64 n)
{
    (void)function, (void)o, (void)x, (void)pitch, (void)count, (void)n;
    return 0;
}

int fast_exponential_short_rows(const struct fast_exponentials *e, u64 first, u64 end)
{
    (void)e, (void)first, (void)end;
    return 0;
}

#endif
