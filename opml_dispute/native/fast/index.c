/* GATHER: tight loops for what is common; and the check of indices.
 *
 * ASSUMES: indices_check passed. */
#include <string.h>

#include "index.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define GATHERS 1
#else
#define GATHERS 0
#endif

/* Whether n indices that lie side by side are all good. */
static u32 all_inside(const i64 *index, u64 n, i64 size)
{
    u64 outside = 0;
    for (u64 i = 0; i < n; i++)
        outside |= (u64)index[i] + (u64)size >= 2 * (u64)size; /* ASSUMES record_check: size is far below 2^63 */
    return !outside;
}

enum inference_status fast_check_data(const u8 *segment, const struct record *r)
{
    if (r->opcode != OP_GATHER && r->opcode != OP_SCATTER)
        return kernel_check_data(segment, r);
    u64 count = 1, distinct = 1;
    u32 packed = 1; /* each distinct index lies behind the one before it */
    for (unsigned d = r->rank; d-- > 0;) {
        count *= r->dim[d];
        if (r->stride[2][d] == 0 || r->dim[d] == 1)
            continue;
        packed &= r->stride[2][d] == (i64)distinct;
        distinct *= r->dim[d];
    }
    u32 all = distinct <= r->hi - r->lo; /* to look at each is less than to look at what this part shows */
    if (r->imm[0] == 1 && packed && (all || distinct == count)) {
        const i64 *index = (const i64 *)(segment + r->in[1]);
        if (all_inside(index + (all ? 0 : r->lo), all ? distinct : r->hi - r->lo, r->stride[3][4]))
            return ST_OK;
        return kernel_check_data(segment, r);
    }
    if (distinct < r->hi - r->lo) {
        /* A part that shows the same indices again and again: the whole, which shows each once, has no others. */
        struct record whole = *r;
        whole.lo = 0;
        whole.hi = count;
        if (kernel_check_data(segment, &whole) == ST_OK)
            return ST_OK; /* else a bad one may lie outside this part */
    }
    return kernel_check_data(segment, r);
}

#if GATHERS
/* As many of a row's n elements, eight at a time, as can be: the input moves, the output lies side by side. Answers how
 * many that were. */
INLINE u64 gather_eights(u64 components, i64 width, const struct places *p, u8 *o, const u8 *a, i64 sa, const u8 *index,
                         i64 si, u64 n)
{
    const struct places here = *p; /* no store can change it */
    __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    __m512i apart = _mm512_mullo_epi64(lane, _mm512_set1_epi64(si)),
            along = _mm512_mullo_epi64(lane, _mm512_set1_epi64(sa));
    u64 i = 0;
    for (; i + 8 <= n; i += 8, o += 8 * width, a += 8 * sa, index += 8 * si) {
        __m512i moved = along;
        for (u64 c = 0; c < components; c++) {
            const u8 *from = index + (i64)c * here.apart;
            __m512i at = si == 8 ? _mm512_loadu_si512(from) : _mm512_i64gather_epi64(apart, from, 1);
            at = _mm512_mask_add_epi64(at, _mm512_movepi64_mask(at), at, _mm512_set1_epi64(here.size[c]));
            moved = _mm512_add_epi64(moved, _mm512_mullo_epi64(at, _mm512_set1_epi64(here.step[c])));
        }
        if (width == 4)
            _mm256_storeu_si256((__m256i *)o, _mm512_i64gather_epi32(moved, a, 1));
        else
            _mm512_storeu_si512(o, _mm512_i64gather_epi64(moved, a, 1));
    }
    return i;
}
#endif

/* A row of n elements: `o_moves`, the output is what indices move (scatter), else the input. */
#define MOVE_ROW(T)                                                                                                    \
    INLINE void move_##T(u64 components, int o_moves, const struct places *p, u8 *o, i64 so, const u8 *a, i64 sa,      \
                         const u8 *index, i64 si, u64 n)                                                               \
    {                                                                                                                  \
        const struct places here = *p; /* no store can change it */                                                    \
        for (u64 i = 0; i < n; i++, o += so, a += sa, index += si) {                                                   \
            i64 moved = place_of(&here, index, components);                                                            \
            *(T *)(o_moves ? o + moved : o) = *(const T *)(o_moves ? a : a + moved);                                   \
        }                                                                                                              \
    }                                                                                                                  \
    static void move_row_##T(int o_moves, const struct places *p, u8 *o, i64 so, const u8 *a, i64 sa, const u8 *index, \
                             i64 si, u64 n)                                                                            \
    {                                                                                                                  \
        if (p->components == 1 && o_moves)                                                                             \
            move_##T(1, 1, p, o, so, a, sa, index, si, n);                                                             \
        else if (p->components == 1)                                                                                   \
            move_##T(1, 0, p, o, so, a, sa, index, si, n);                                                             \
        else if (p->components == 2 && !o_moves)                                                                       \
            move_##T(2, 0, p, o, so, a, sa, index, si, n);                                                             \
        else                                                                                                           \
            move_##T(p->components, o_moves, p, o, so, a, sa, index, si, n);                                           \
    }
MOVE_ROW(u8)
MOVE_ROW(u16)
MOVE_ROW(u32)
MOVE_ROW(u64)

void index_move_row(i64 width, int o_moves, const struct places *p, const struct walk *w, u64 n)
{
    u8 *o = w->at[0];
    const u8 *a = w->at[1], *index = w->at[2];
#if GATHERS
    if (!o_moves && w->step[0] == width && width >= 4 && p->components <= 2) {
        u64 done = p->components == 1 ? (width == 4 ? gather_eights(1, 4, p, o, a, w->step[1], index, w->step[2], n)
                                                    : gather_eights(1, 8, p, o, a, w->step[1], index, w->step[2], n))
                                      : (width == 4 ? gather_eights(2, 4, p, o, a, w->step[1], index, w->step[2], n)
                                                    : gather_eights(2, 8, p, o, a, w->step[1], index, w->step[2], n));
        o += (i64)done * w->step[0];
        a += (i64)done * w->step[1];
        index += (i64)done * w->step[2];
        n -= done;
    }
#endif
    switch (width) {
    case 1: move_row_u8(o_moves, p, o, w->step[0], a, w->step[1], index, w->step[2], n); return;
    case 2: move_row_u16(o_moves, p, o, w->step[0], a, w->step[1], index, w->step[2], n); return;
    case 4: move_row_u32(o_moves, p, o, w->step[0], a, w->step[1], index, w->step[2], n); return;
    default: move_row_u64(o_moves, p, o, w->step[0], a, w->step[1], index, w->step[2], n); return;
    }
}

/* Rows of at most so many elements that meet the same indices one after another: where those lead is found once. */
#define KEPT 4096

/* Whether no place of a row, in bytes from its input's first, needs more than 31 bits. */
static int places_are_near(const struct places *p, i64 sa, u64 n)
{
    u64 reach = (u64)(sa < 0 ? -sa : sa) * n;
    for (u64 c = 0; c < p->components; c++)
        reach += (u64)(p->step[c] < 0 ? -p->step[c] : p->step[c]) * (u64)p->size[c];
    return reach <= INT32_MAX; /* ASSUMES record_check: an operand's extent is far below 2^63 */
}

INLINE void find_some(const struct places *p, u64 components, i64 sa, const u8 *index, i64 si, u64 n, i32 *place)
{
    const struct places here = *p;
    for (u64 i = 0; i < n; i++)
        place[i] = (i32)((i64)i * sa + place_of(&here, index + (i64)i * si, components));
}

static void find_places(const struct places *p, i64 sa, const u8 *index, i64 si, u64 n, i32 *place)
{
    if (p->components == 1)
        find_some(p, 1, sa, index, si, n, place);
    else if (p->components == 2)
        find_some(p, 2, sa, index, si, n, place);
    else
        find_some(p, p->components, sa, index, si, n, place);
}

#define FETCH(T)                                                                                                       \
    static void fetch_##T(u8 *o, i64 so, const u8 *a, const i32 *place, u64 n)                                         \
    {                                                                                                                  \
        for (u64 i = 0; i < n; i++, o += so)                                                                           \
            *(T *)o = *(const T *)(a + place[i]);                                                                      \
    }
FETCH(u8)
FETCH(u16)
FETCH(u32)
FETCH(u64)

static void fetch_row(i64 width, u8 *o, i64 so, const u8 *a, const i32 *place, u64 n)
{
    switch (width) {
    case 1: fetch_u8(o, so, a, place, n); return;
    case 2: fetch_u16(o, so, a, place, n); return;
    case 8: fetch_u64(o, so, a, place, n); return;
    default: break;
    }
#if GATHERS
    if (so == 4)
        for (; n >= 16; n -= 16, o += 64, place += 16)
            _mm512_storeu_si512(o, _mm512_i32gather_epi32(_mm512_loadu_si512(place), a, 1));
#endif
    fetch_u32(o, so, a, place, n);
}

static void gather_alike(struct walk *w, const struct places *p, i64 width)
{
    i32 place[KEPT];
    const u8 *found = NULL;
    u64 found_n = 0;
    for (u64 n; (n = walk_row(w)) != 0; walk_next(w, n, 3)) {
        if (found != w->at[2] || found_n < n)
            find_places(p, w->step[1], w->at[2], w->step[2], n, place);
        found = w->at[2];
        found_n = n;
        fetch_row(width, w->at[0], w->step[0], w->at[1], place, n);
    }
}

/* Rows of at most so many bytes: a call for each would take longer than to copy it. */
#define SHORT_ROW 32u

/* n bytes, SHORT_ROW at most, by two words that may overlap, or four. */
INLINE void copy_short(u8 *o, const u8 *a, u64 n)
{
#define TWO(T)                                                                                                         \
    do {                                                                                                               \
        T low, high;                                                                                                   \
        memcpy(&low, a, sizeof low);                                                                                   \
        memcpy(&high, a + n - sizeof high, sizeof high);                                                               \
        memcpy(o, &low, sizeof low);                                                                                   \
        memcpy(o + n - sizeof high, &high, sizeof high);                                                               \
    } while (0)
    if (n > 16) {
        memcpy(o, a, 16);
        memcpy(o + n - 16, a + n - 16, 16);
    } else if (n >= 8)
        TWO(u64);
    else if (n >= 4)
        TWO(u32);
    else if (n >= 2)
        TWO(u16);
    else
        *o = *a;
#undef TWO
}

INLINE void copy_long(u8 *o, const u8 *a, u64 n) { memcpy(o, a, n); }

/* `rows` rows of `bytes` from the walk's place on, along the dimension above them. */
#define GATHER_SOME(NAME, COPY)                                                                                        \
    INLINE void NAME(const struct walk *w, const struct places *p, u64 components, u64 bytes, u64 rows)                \
    {                                                                                                                  \
        const struct places here = *p;                                                                                 \
        u8 *o = w->at[0];                                                                                              \
        const u8 *a = w->at[1], *index = w->at[2];                                                                     \
        for (u64 i = 0; i < rows; i++, o += w->stride[0][0], a += w->stride[0][1], index += w->stride[0][2])           \
            COPY(o, a + place_of(&here, index, components), bytes);                                                    \
    }
GATHER_SOME(gather_short, copy_short)
GATHER_SOME(gather_long, copy_long)

/* Rows that have one index each; 0 if they do not lie side by side. */
static int gather_rows(struct walk *w, const struct places *p, i64 width)
{
    u64 bytes = w->row * (u64)width;
    if (w->step[0] != width || w->step[1] != width)
        return 0;
    for (u64 n, rows; (n = walk_row(w)) != 0; walk_next(w, n, 3)) {
        if (n < w->row || !w->outer) { /* what a range begins or ends with */
            memcpy(w->at[0], w->at[1] + place_of(p, w->at[2], p->components), n * (u64)width);
            continue;
        }
        rows = w->size[0] - w->index[0] < w->left / n ? w->size[0] - w->index[0] : w->left / n;
        if (bytes > SHORT_ROW)
            gather_long(w, p, p->components, bytes, rows);
        else if (p->components == 1 && bytes == 12) /* points */
            gather_short(w, p, 1, 12, rows);
        else if (p->components == 1)
            gather_short(w, p, 1, bytes, rows);
        else
            gather_short(w, p, p->components, bytes, rows);
        for (unsigned j = 0; j < 3; j++) /* to the last of them, from which the walk goes on */
            w->at[j] += (i64)(rows - 1) * w->stride[0][j];
        w->index[0] += rows - 1;
        w->left -= (rows - 1) * n;
    }
    return 1;
}

int fast_gather(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[3] = {walk_out(segment, r), walk_in(segment, r, 0), walk_in(segment, r, 1)};
    i64 width = (i64)operand[0].width;
    struct places p = places_of(r, width);
    walk_begin(&w, operand, 3, r->dim, r->rank, lo, hi);
    if (p.components > 4)
        return 0;
    if (w.step[2] == 0)
        return gather_rows(&w, &p, width);
    if (w.outer && w.stride[0][2] == 0 && w.row <= KEPT && places_are_near(&p, w.step[1], w.row)) {
        gather_alike(&w, &p, width);
        return 1;
    }
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 3))
        index_move_row(width, 0, &p, &w, n);
    return 1;
}
