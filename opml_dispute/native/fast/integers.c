/* Products of small integers in panels: which form they take, packing, and a tile for each instruction set. */
#define _GNU_SOURCE
#include "integers.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef u32 words __attribute__((vector_size(4 * INTEGER_LANES), aligned(4), may_alias));
typedef u16 shorts __attribute__((vector_size(2 * INTEGER_LANES), aligned(2), may_alias));
typedef u8 bytes __attribute__((vector_size(INTEGER_LANES), aligned(1), may_alias));

/* What the processor has */

static atomic_uint hidden;
void integer_features_hide(unsigned mask) { atomic_store(&hidden, mask); }

#if defined(__AVX512BW__)

/* The kernel saves tile registers only for processes that asked for them. */
static int may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    u32 low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low >> 17 & 3) == 3 && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static unsigned find_features(void)
{
    unsigned a, b, c, d, found = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if (c >> 11 & 1)
        found |= INTEGER_VNNI;
    if ((d >> 24 & 3) == 3 && (found & INTEGER_VNNI) && may_use_tiles())
        found |= INTEGER_AMX;
    return found;
}

#elif defined(__AVX2__)

static unsigned find_features(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) ? INTEGER_VNNI : 0;
}

#else

static unsigned find_features(void) { return 0; }

#endif

unsigned integer_features(void)
{
    enum { UNKNOWN = 1u << 31 };
    static atomic_uint found = UNKNOWN;
    unsigned features = atomic_load(&found);
    if (features == UNKNOWN) {
        features = find_features();
        atomic_store(&found, features);
    }
    return features & ~atomic_load(&hidden);
}

/* Ranges */

/* With fewer rows most of a tile of AMX would be idle. */
#define AMX_LEAST_ROWS 8

struct integer_range integer_range_of_dtype(u8 dtype)
{
    switch (dtype) {
    case DT_U8: return (struct integer_range){0, UINT8_MAX};
    case DT_I8: return (struct integer_range){INT8_MIN, INT8_MAX};
    case DT_U16: return (struct integer_range){0, UINT16_MAX};
    case DT_I16: return (struct integer_range){INT16_MIN, INT16_MAX};
    default: return (struct integer_range){INT32_MIN, UINT32_MAX}; /* either sign: sums are right modulo 2^32 */
    }
}

struct integer_range integer_range_of(const void *at, u8 dtype, u64 rows, i64 apart, u64 n)
{
    if (dtype != DT_I16 || rows * n == 0)
        return integer_range_of_dtype(dtype);
    i16 least = INT16_MAX, greatest = INT16_MIN;
    const i16 *row = at;
    for (u64 i = 0; i < rows; i++, row += apart)
        for (u64 j = 0; j < n; j++) {
            least = row[j] < least ? row[j] : least;
            greatest = row[j] > greatest ? row[j] : greatest;
        }
    return (struct integer_range){least, greatest};
}

enum integer_form integer_form_for(struct integer_range a, struct integer_range b, i64 *ca, i64 *cb)
{
    *ca = *cb = 0;
    if ((integer_features() & INTEGER_VNNI) && a.greatest - a.least <= 255 && b.greatest - b.least <= 255) {
        /* No constant where none is needed: each costs a sum. */
        if (a.least < 0 || a.greatest > 255)
            *ca = a.least;
        if (b.least < -128 || b.greatest > 127)
            *cb = b.least + 128;
        return FORM_QUADS;
    }
#if defined(__x86_64__)
    if (a.least >= INT16_MIN && a.greatest <= INT16_MAX && b.least >= INT16_MIN && b.greatest <= INT16_MAX)
        return FORM_PAIRS;
#endif
    return FORM_WORDS;
}

int integer_signs_for(struct integer_range a, struct integer_range b, u64 rows, enum integer_signs *signs)
{
#if defined(__AVX512BW__)
    int a_signed = a.least < 0, b_signed = b.least < 0;
    if (rows < AMX_LEAST_ROWS || !(integer_features() & INTEGER_AMX) || a.least < INT8_MIN || b.least < INT8_MIN ||
        a.greatest > (a_signed ? INT8_MAX : UINT8_MAX) || b.greatest > (b_signed ? INT8_MAX : UINT8_MAX))
        return 0;
    *signs = a_signed ? (b_signed ? SIGNS_SS : SIGNS_SU) : b_signed ? SIGNS_US : SIGNS_UU;
    return 1;
#else
    (void)a, (void)b, (void)rows, (void)signs;
    return 0;
#endif
}

/* Elements of a form */

#define CONVERT(FROM, TO)                                                                                              \
    static void convert_##FROM##_##TO(TO *restrict to, const FROM *restrict from, i64 apart, i64 offset, u64 n)        \
    {                                                                                                                  \
        i32 less = (i32)offset;                                                                                        \
        if (apart == 1)                                                                                                \
            for (u64 i = 0; i < n; i++)                                                                                \
                to[i] = (TO)((u32)from[i] - (u32)less);                                                                \
        else                                                                                                           \
            for (u64 i = 0; i < n; i++, from += apart)                                                                 \
                to[i] = (TO)((u32)from[0] - (u32)less);                                                                \
    }
#define CONVERT_FROM(FROM) CONVERT(FROM, u8) CONVERT(FROM, u16) CONVERT(FROM, u32)
CONVERT_FROM(u8)
CONVERT_FROM(i8)
CONVERT_FROM(u16)
CONVERT_FROM(i16)
CONVERT_FROM(u32)

#define CONVERT_TO(FROM)                                                                                               \
    if (f == FORM_QUADS)                                                                                               \
        convert_##FROM##_u8(to, from, apart, offset, n);                                                               \
    else if (f == FORM_PAIRS)                                                                                          \
        convert_##FROM##_u16(to, from, apart, offset, n);                                                              \
    else                                                                                                               \
        convert_##FROM##_u32(to, from, apart, offset, n);                                                              \
    return

void integer_convert(enum integer_form f, void *to, const void *from, u8 dtype, i64 apart, i64 offset, u64 n)
{
    switch (dtype) {
    case DT_U8: CONVERT_TO(u8);
    case DT_I8: CONVERT_TO(i8);
    case DT_U16: CONVERT_TO(u16);
    case DT_I16: CONVERT_TO(i16);
    default: CONVERT_TO(u32);
    }
}

/* Panels of b */

INLINE words load_bytes(const u8 *from) { return __builtin_convertvector(*(const bytes *)from, words); }
INLINE words load_shorts(const u16 *from) { return __builtin_convertvector(*(const shorts *)from, words); }

/* One group: `row[i]` bytes lie between row 0 and the i-th row of the group. */
INLINE void pack_group(enum integer_form f, u32 *to, const struct integer_runs *runs, const i64 row[4])
{
    for (unsigned i = 0; i < runs->count; i++) {
        const u8 *from = runs->from[i];
        u32 *out = to + runs->start[i];
        for (unsigned v = 0; v < runs->vectors[i]; v++, out += INTEGER_LANES, from += INTEGER_LANES * form_width(f)) {
            if (f == FORM_QUADS)
                *(words *)out = load_bytes(from + row[0]) | load_bytes(from + row[1]) << 8 |
                                load_bytes(from + row[2]) << 16 | load_bytes(from + row[3]) << 24;
            else if (f == FORM_PAIRS)
                *(words *)out = load_shorts((const u16 *)(from + row[0])) | load_shorts((const u16 *)(from + row[1]))
                                                                                << 16;
            else
                *(words *)out = *(const words *)(from + row[0]);
        }
    }
}

INLINE void pack_groups(enum integer_form f, u32 *panel, const struct integer_runs *runs, const i64 *rows, u64 K)
{
    u64 group = 4 / form_width(f);
    for (u64 k = 0; k < K; k += group, panel += PANEL) {
        i64 row[4];
        for (u64 i = 0; i < group; i++) /* beyond K: anything, a is 0 there */
            row[i] = rows[k + i < K ? k + i : k] * (i64)form_width(f);
        pack_group(f, panel, runs, row);
    }
}

void integer_pack(enum integer_form f, u32 *panel, const struct integer_runs *runs, const i64 *rows, u64 K)
{
    switch (f) {
    case FORM_QUADS: pack_groups(FORM_QUADS, panel, runs, rows, K); return;
    case FORM_PAIRS: pack_groups(FORM_PAIRS, panel, runs, rows, K); return;
    case FORM_WORDS: pack_groups(FORM_WORDS, panel, runs, rows, K); return;
    }
}

/* Tiles */

#define TARGET
#define TILE(NAME)     words_##NAME
#define DOT(sum, a, b) ((sum) + (a) * (b))
#include "integer_tile.inc"
#undef TILE
#undef DOT

#if defined(__x86_64__)
#define TILE(NAME) pairs_##NAME
#if defined(__AVX512BW__)
#define DOT(sum, a, b) ((sum) + (words)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#elif defined(__AVX2__)
#define DOT(sum, a, b) ((sum) + (words)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#else
#define DOT(sum, a, b) ((sum) + (words)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))
#endif
#include "integer_tile.inc"
#undef TILE
#undef DOT
#endif
#undef TARGET

#if defined(__AVX2__)
#define TILE(NAME) quads_##NAME
#if defined(__AVX512BW__)
#define TARGET         __attribute__((target("avx512vnni")))
#define DOT(sum, a, b) ((words)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#else
#define TARGET         __attribute__((target("avxvnni")))
#define DOT(sum, a, b) ((words)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#endif
#include "integer_tile.inc"
#undef TILE
#undef DOT
#undef TARGET
#endif

static void make_tile(enum integer_form f, const u8 *a, u64 pitch, const u32 *b, u64 groups, u32 *sums, unsigned rows)
{
#if defined(__AVX2__)
    if (f == FORM_QUADS) {
        quads_tile(a, pitch, b, groups, sums, rows);
        return;
    }
#endif
#if defined(__x86_64__)
    if (f == FORM_PAIRS) {
        pairs_tile(a, pitch, b, groups, sums, rows);
        return;
    }
#endif
    words_tile(a, pitch, b, groups, sums, rows);
    (void)f;
}

#if defined(__AVX512BW__)

#define AMX_ROWS 32

#define AMX __attribute__((target("amx-tile,amx-int8")))

/* Tiles 0 to 3: sums, two by two; 4 and 5: rows of a; 6 and 7: columns of b. All 16 rows of 64 bytes. */
static AMX void amx_begin(void)
{
    struct {
        u8 palette, start_row, zero[14];
        u16 row_bytes[16];
        u8 rows[16];
    } config = {.palette = 1};
    for (unsigned i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
}
static AMX void amx_end(void) { _tile_release(); }

/* AMX_ROWS rows, the panel's 32 columns, onto `start`; `pitch` is a whole number of tiles. */
#define AMX_TILE(NAME, DOT)                                                                                            \
    static AMX void NAME(const u8 *a, u64 pitch, const u32 *b, const u32 *start, u32 *out, i64 out_pitch)              \
    {                                                                                                                  \
        _tile_loadd(0, start, 4 * PANEL);                                                                              \
        _tile_loadd(1, start + 16, 4 * PANEL);                                                                         \
        _tile_loadd(2, start + 16 * PANEL, 4 * PANEL);                                                                 \
        _tile_loadd(3, start + 16 * PANEL + 16, 4 * PANEL);                                                            \
        for (u64 k = 0; k < pitch; k += 64, b += 16 * PANEL) {                                                         \
            _tile_loadd(4, a + k, (int)pitch);                                                                         \
            _tile_loadd(6, b, 4 * PANEL);                                                                              \
            _tile_loadd(7, b + 16, 4 * PANEL);                                                                         \
            DOT(0, 4, 6);                                                                                              \
            DOT(1, 4, 7);                                                                                              \
            _tile_loadd(5, a + 16 * pitch + k, (int)pitch);                                                            \
            DOT(2, 5, 6);                                                                                              \
            DOT(3, 5, 7);                                                                                              \
        }                                                                                                              \
        _tile_stored(0, out, 4 * out_pitch);                                                                           \
        _tile_stored(1, out + 16, 4 * out_pitch);                                                                      \
        _tile_stored(2, out + 16 * out_pitch, 4 * out_pitch);                                                          \
        _tile_stored(3, out + 16 * out_pitch + 16, 4 * out_pitch);                                                     \
    }
AMX_TILE(amx_tile_us, _tile_dpbusd)
AMX_TILE(amx_tile_su, _tile_dpbsud)
AMX_TILE(amx_tile_ss, _tile_dpbssd)
AMX_TILE(amx_tile_uu, _tile_dpbuud)

/* What is added to the sums of rows [first, first + rows). */
static void make_start(const struct integer_product *p, u64 first, u64 rows, u32 *start)
{
    u32 line[PANEL] = {0};
    if (p->column_add)
        memcpy(line, p->column_add, sizeof line);
    for (u64 i = 0; i < rows; i++, start += PANEL) {
        u64 m = first + i;
        const u32 *bias = p->bias ? p->bias + (i64)m * p->bias_m : NULL;
        u32 add = p->row_add ? p->row_add[m] : 0;
        if (bias && p->bias_n == 0)
            add += *bias;
        for (unsigned j = 0; j < PANEL; j++)
            start[j] = line[j] + add;
        if (bias && p->bias_n == 1 && p->columns == PANEL)
            for (unsigned j = 0; j < PANEL; j++)
                start[j] += bias[j];
        else if (bias && p->bias_n)
            for (u64 j = 0; j < p->columns; j++)
                start[p->first + j] += bias[(i64)j * p->bias_n];
    }
}

static void amx_product(const struct integer_product *p)
{
    u64 pitch = form_pitch(p->form, p->K);
    u32 start[AMX_ROWS * PANEL], sums[AMX_ROWS * PANEL];
    int adds = p->column_add || p->bias || p->row_add;
    memset(start, 0, sizeof start);
    amx_begin();
    for (u64 m = 0; m < p->rows; m += AMX_ROWS) {
        u64 rows = p->rows - m < AMX_ROWS ? p->rows - m : AMX_ROWS;
        int in_place = rows == AMX_ROWS && p->columns == PANEL && p->o_n == 1;
        const u8 *a = p->a + m * pitch;
        u32 *out = in_place ? p->out + (i64)m * p->o_m : sums;
        i64 apart = in_place ? p->o_m : PANEL;
        if (adds)
            make_start(p, m, rows, start);
        switch (p->signs) {
        case SIGNS_US: amx_tile_us(a, pitch, p->panel, start, out, apart); break;
        case SIGNS_SU: amx_tile_su(a, pitch, p->panel, start, out, apart); break;
        case SIGNS_SS: amx_tile_ss(a, pitch, p->panel, start, out, apart); break;
        case SIGNS_UU: amx_tile_uu(a, pitch, p->panel, start, out, apart); break;
        }
        for (u64 i = 0; i < rows && !in_place; i++) {
            u32 *to = p->out + (i64)(m + i) * p->o_m;
            for (u64 j = 0; j < p->columns; j++)
                to[(i64)j * p->o_n] = sums[i * PANEL + p->first + j];
        }
    }
    amx_end();
}

#endif

/* Sums go to their places, with all that is added to them. */
static void finish_tile(const struct integer_product *p, const u32 *sums, u64 first, u64 rows)
{
    for (u64 i = 0; i < rows; i++, sums += PANEL) {
        u64 m = first + i;
        u32 *out = p->out + (i64)m * p->o_m, line[PANEL], add = p->row_add ? p->row_add[m] : 0;
        const u32 *bias = p->bias ? p->bias + (i64)m * p->bias_m : NULL;
        if (bias && p->bias_n == 0)
            add += *bias;
        for (unsigned j = 0; j < PANEL; j++)
            line[j] = sums[j] + add;
        if (p->column_add)
            for (unsigned j = 0; j < PANEL; j++)
                line[j] += p->column_add[j];
        if (bias && p->bias_n)
            for (u64 j = 0; j < p->columns; j++)
                line[p->first + j] += bias[(i64)j * p->bias_n];
        if (p->o_n == 1 && p->columns == PANEL)
            memcpy(out, line, sizeof line);
        else
            for (u64 j = 0; j < p->columns; j++)
                out[(i64)j * p->o_n] = line[p->first + j];
    }
}

void integer_product(const struct integer_product *p)
{
    u64 pitch = form_pitch(p->form, p->K), groups = form_groups(p->form, p->K), m = 0;
#if defined(__AVX512BW__)
    if (p->form == FORM_QUADS &&
        (p->signs != SIGNS_US || (p->rows >= AMX_LEAST_ROWS && (integer_features() & INTEGER_AMX)))) {
        amx_product(p);
        return;
    }
#endif
    u32 sums[INTEGER_ROWS * PANEL];
    while (m < p->rows) {
        u64 left = p->rows - m, rows = left < INTEGER_ROWS ? left : INTEGER_ROWS;
        make_tile(p->form, p->a + m * pitch, pitch, p->panel, groups, sums, (unsigned)rows);
        finish_tile(p, sums, m, rows);
        m += rows;
    }
}

void integer_column_sums(enum integer_form f, const u32 *panel, u64 K, u32 sums[PANEL], u8 *ones)
{
    u64 pitch = form_pitch(f, K), width = form_width(f);
    memset(ones, 0, pitch);
    for (u64 k = 0; k < K; k++)
        ones[k * width] = 1;
    make_tile(f, ones, pitch, panel, form_groups(f, K), sums, 1);
}
