/* SCATTER: what is stored, or combined with what is there, by rows, by runs of neighbours, or element by element.
 *
 * ASSUMES: indices_check passed. Updates are taken in ascending order. */
#include "index.h"
#include "kernels/float32.h"
#include "lanes.h"

/* A row of updates. o and a do not overlap: record_check sees to that. */
struct updates {
    u64 function;
    const struct places *places;
    u8 *o;
    const u8 *a, *index;
    i64 so, sa, si; /* bytes from one to the next */
};

INLINE f32 combined_f32(u64 function, f32 x, f32 y)
{
    f32 value = function == RED_SUM    ? x + y
                : function == RED_PROD ? x * y
                : function == RED_MAX  ? (x > y || x != x ? x : y)
                                       : (x < y || x != x ? x : y);
    return canonical(value);
}

#define COMBINED(T)                                                                                                    \
    INLINE T combined_##T(u64 function, T x, T y)                                                                      \
    {                                                                                                                  \
        return function == RED_SUM    ? (T)((u64)x + (u64)y)                                                           \
               : function == RED_PROD ? (T)((u64)x * (u64)y)                                                           \
               : function == RED_MAX  ? (x > y ? x : y)                                                                \
                                      : (x < y ? x : y);                                                               \
    }
COMBINED(u8)
COMBINED(i8)
COMBINED(u16)
COMBINED(i16)
COMBINED(u32)
COMBINED(i32)
COMBINED(u64)
COMBINED(i64)

/* combine_T: n neighbours with n updates. scatter_T: n updates, each where its index says. */
#define COMBINE(T)                                                                                                     \
    INLINE void some_##T(u64 function, u8 *place, const u8 *update, u64 n)                                             \
    {                                                                                                                  \
        T *restrict o = (T *)place;                                                                                    \
        const T *restrict a = (const T *)update;                                                                       \
        for (u64 i = 0; i < n; i++)                                                                                    \
            o[i] = combined_##T(function, o[i], a[i]);                                                                 \
    }                                                                                                                  \
    static void combine_##T(u64 function, u8 *place, const u8 *update, u64 n)                                          \
    {                                                                                                                  \
        switch (function) {                                                                                            \
        case RED_SUM: some_##T(RED_SUM, place, update, n); return;                                                     \
        case RED_PROD: some_##T(RED_PROD, place, update, n); return;                                                   \
        case RED_MAX: some_##T(RED_MAX, place, update, n); return;                                                     \
        default: some_##T(RED_MIN, place, update, n); return;                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void each_##T(const struct updates *u, u64 function, u64 components, u64 n)                                 \
    {                                                                                                                  \
        const struct places here = *u->places; /* no store can change it */                                            \
        u8 *o = u->o;                                                                                                  \
        const u8 *a = u->a, *index = u->index;                                                                         \
        for (u64 i = 0; i < n; i++, o += u->so, a += u->sa, index += u->si) {                                          \
            T *to = (T *)(o + place_of(&here, index, components));                                                     \
            *to = combined_##T(function, *to, *(const T *)a);                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void scatter_##T(const struct updates *u, u64 n)                                                            \
    {                                                                                                                  \
        if (u->places->components != 1)                                                                                \
            each_##T(u, u->function, u->places->components, n);                                                        \
        else if (u->function == RED_SUM)                                                                               \
            each_##T(u, RED_SUM, 1, n);                                                                                \
        else                                                                                                           \
            each_##T(u, u->function, 1, n);                                                                            \
    }
COMBINE(f32)
COMBINE(u8)
COMBINE(i8)
COMBINE(u16)
COMBINE(i16)
COMBINE(u32)
COMBINE(i32)
COMBINE(u64)
COMBINE(i64)

/* ASSUMES: the memory behind a tensor may be read (ml.c, schedule.c); vectors go over its end. */
static void add_f32(u64 function, u8 *place, const u8 *update, u64 n)
{
    if (function != RED_SUM) {
        combine_f32(function, place, update, n);
        return;
    }
    float *o = (float *)place;
    const float *a = (const float *)update;
    u64 i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        *(vec *)(o + i) = canonical_vec(*(const vec *)(o + i) + *(const vec *)(a + i));
    if (i < n)
        store_first(o + i, canonical_vec(*(const vec *)(o + i) + *(const vec *)(a + i)), (i64)(n - i));
}

struct combination {
    void (*some)(u64 function, u8 *place, const u8 *update, u64 n);
    void (*each)(const struct updates *u, u64 n);
};

static int find_combination(u8 dtype, struct combination *c)
{
#define TYPE(NAME, T)                                                                                                  \
    case NAME: *c = (struct combination){combine_##T, scatter_##T}; return 1
    switch (dtype) {
    case DT_F32:
        *c = (struct combination){add_f32, scatter_f32};
        return 1;
        TYPE(DT_U8, u8);
        TYPE(DT_I8, i8);
        TYPE(DT_U16, u16);
        TYPE(DT_I16, i16);
        TYPE(DT_U32, u32);
        TYPE(DT_I32, i32);
        TYPE(DT_U64, u64);
        TYPE(DT_I64, i64);
    default: return 0;
    }
}

/* ---- runs: neighbours in the row whose places are neighbours, too ---- */

#define RUNS_MOST  512
#define WORTH_RUNS 6 /* elements of a run, on average */

/* The runs of a row of indices, found once for all rows that meet the same. */
struct runs {
    const u8 *of;
    u64 n, count; /* count 0: they are not worth it */
    u32 end[RUNS_MOST];
};

/* Whether index i leads to the place behind that of the one before it. */
INLINE int goes_on(const i64 *at, u64 i) { return (at[i] == at[i - 1] + 1) & (at[i] != 0); }

/* ASSUMES indices that lie side by side, of one axis whose elements do, too. */
static void find_runs(struct runs *runs, const u8 *index, u64 n)
{
    if (runs->of == index && runs->n == n)
        return;
    const i64 *at = (const i64 *)index;
    *runs = (struct runs){.of = index, .n = n};
    if (n > UINT32_MAX)
        return;
    u64 count = 0, most = n / WORTH_RUNS < RUNS_MOST ? n / WORTH_RUNS : RUNS_MOST;
    for (u64 i = 1; i <= n;) {
        u64 some = n - i < 8 ? n - i : 8, on = some == 8;
        for (u64 k = 0; some == 8 && k < 8; k++)
            on &= (u64)goes_on(at, i + k);
        if (on) {
            i += 8;
            continue;
        }
        for (u64 end = i + (some ? some : 1); i < end; i++) {
            if (i < n && goes_on(at, i))
                continue;
            if (count == most)
                return;
            runs->end[count++] = (u32)i;
        }
    }
    runs->count = count;
}

static void combine_runs(const struct runs *runs, const struct combination *c, const struct updates *u, i64 width)
{
    u64 from = 0;
    for (u64 i = 0; i < runs->count; from = runs->end[i++]) {
        u8 *place = u->o + place_of(u->places, u->index + from * sizeof(i64), 1);
        c->some(u->function, place, u->a + from * (u64)width, runs->end[i] - from);
    }
}

int fast_scatter(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    i64 width = (i64)operand[0].width;
    struct places p = places_of(r, width);
    int stores = r->imm[2] == RED_NONE;
    struct combination c = {0};
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    if (p.components > 4 || (stores ? w.step[2] == 0 : !find_combination(r->dtype_out, &c)))
        return 0;
    int rows = w.step[2] == 0 && w.step[0] == width && w.step[1] == width,
        may_run = p.components == 1 && p.step[0] == width && w.step[0] == 0 && w.step[1] == width && w.step[2] == 8;
    struct runs runs = {0};
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3)) {
        struct updates u = {r->imm[2], &p, w.at[0], w.at[1], w.at[2], w.step[0], w.step[1], w.step[2]};
        if (stores) {
            index_move_row(width, 1, &p, &w, n);
            continue;
        }
        if (may_run)
            find_runs(&runs, u.index, n);
        if (rows)
            c.some(u.function, u.o + place_of(&p, u.index, p.components), u.a, n);
        else if (may_run && runs.count)
            combine_runs(&runs, &c, &u, width);
        else
            c.each(&u, n);
    }
    return 1;
}
