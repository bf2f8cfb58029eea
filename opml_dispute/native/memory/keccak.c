/* Keccak-256 and roots of zeros. The permutation is written once over `lane`, a vector of 64-bit words, and used for one or
 * many inputs. */
#include "keccak.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define KECCAK_LANES 8
#elif defined(__AVX2__)
#define KECCAK_LANES 4
#else
#define KECCAK_LANES 1
#endif

#define RATE_BYTES 136 /* 1600 bits of state less twice the 256 bits of the digest */

static const uint64_t ROUND[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000a, 0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))

/* One round: theta, rho and pi together, chi, iota. Lane (x, y) is A[5 y + x], E is the next state. LANE is the type;
 * XOR3 is the exclusive or of three, MIX that of `a` and d = c ^ r, CHI x ^ (~y & z). */
#define ROUND_STEP(A, E, constant)                                                                                     \
    do {                                                                                                               \
        LANE c0 = XOR3(XOR3(A[0], A[5], A[10]), A[15], A[20]), c1 = XOR3(XOR3(A[1], A[6], A[11]), A[16], A[21]);       \
        LANE c2 = XOR3(XOR3(A[2], A[7], A[12]), A[17], A[22]), c3 = XOR3(XOR3(A[3], A[8], A[13]), A[18], A[23]);       \
        LANE c4 = XOR3(XOR3(A[4], A[9], A[14]), A[19], A[24]);                                                         \
        LANE r0 = ROTATE(c0, 1), r1 = ROTATE(c1, 1), r2 = ROTATE(c2, 1), r3 = ROTATE(c3, 1), r4 = ROTATE(c4, 1);       \
        LANE d0 = c4 ^ r1, d1 = c0 ^ r2, d2 = c1 ^ r3, d3 = c2 ^ r4, d4 = c3 ^ r0, b0, b1, b2, b3, b4;                 \
        b0 = MIX(A[0], d0, c4, r1), b1 = ROTATE(MIX(A[6], d1, c0, r2), 44);                                            \
        b2 = ROTATE(MIX(A[12], d2, c1, r3), 43), b3 = ROTATE(MIX(A[18], d3, c2, r4), 21);                              \
        b4 = ROTATE(MIX(A[24], d4, c3, r0), 14);                                                                       \
        E[0] = CHI(b0, b1, b2) ^ (constant), E[1] = CHI(b1, b2, b3), E[2] = CHI(b2, b3, b4);                           \
        E[3] = CHI(b3, b4, b0), E[4] = CHI(b4, b0, b1);                                                                \
        b0 = ROTATE(MIX(A[3], d3, c2, r4), 28), b1 = ROTATE(MIX(A[9], d4, c3, r0), 20);                                \
        b2 = ROTATE(MIX(A[10], d0, c4, r1), 3), b3 = ROTATE(MIX(A[16], d1, c0, r2), 45);                               \
        b4 = ROTATE(MIX(A[22], d2, c1, r3), 61);                                                                       \
        E[5] = CHI(b0, b1, b2), E[6] = CHI(b1, b2, b3), E[7] = CHI(b2, b3, b4);                                        \
        E[8] = CHI(b3, b4, b0), E[9] = CHI(b4, b0, b1);                                                                \
        b0 = ROTATE(MIX(A[1], d1, c0, r2), 1), b1 = ROTATE(MIX(A[7], d2, c1, r3), 6);                                  \
        b2 = ROTATE(MIX(A[13], d3, c2, r4), 25), b3 = ROTATE(MIX(A[19], d4, c3, r0), 8);                               \
        b4 = ROTATE(MIX(A[20], d0, c4, r1), 18);                                                                       \
        E[10] = CHI(b0, b1, b2), E[11] = CHI(b1, b2, b3), E[12] = CHI(b2, b3, b4);                                     \
        E[13] = CHI(b3, b4, b0), E[14] = CHI(b4, b0, b1);                                                              \
        b0 = ROTATE(MIX(A[4], d4, c3, r0), 27), b1 = ROTATE(MIX(A[5], d0, c4, r1), 36);                                \
        b2 = ROTATE(MIX(A[11], d1, c0, r2), 10), b3 = ROTATE(MIX(A[17], d2, c1, r3), 15);                              \
        b4 = ROTATE(MIX(A[23], d3, c2, r4), 56);                                                                       \
        E[15] = CHI(b0, b1, b2), E[16] = CHI(b1, b2, b3), E[17] = CHI(b2, b3, b4);                                     \
        E[18] = CHI(b3, b4, b0), E[19] = CHI(b4, b0, b1);                                                              \
        b0 = ROTATE(MIX(A[2], d2, c1, r3), 62), b1 = ROTATE(MIX(A[8], d3, c2, r4), 55);                                \
        b2 = ROTATE(MIX(A[14], d4, c3, r0), 39), b3 = ROTATE(MIX(A[15], d0, c4, r1), 41);                              \
        b4 = ROTATE(MIX(A[21], d1, c0, r2), 2);                                                                        \
        E[20] = CHI(b0, b1, b2), E[21] = CHI(b1, b2, b3), E[22] = CHI(b2, b3, b4);                                     \
        E[23] = CHI(b3, b4, b0), E[24] = CHI(b4, b0, b1);                                                              \
    } while (0)

/* The 24 rounds from S to S, by way of T. The first and the last two are not in the loop: of a state that is mostly zeros
 * at first, and of which the digest alone is used at last, the compiler leaves out what does not count. */
#define PERMUTE(S, T)                                                                                                  \
    do {                                                                                                               \
        ROUND_STEP(S, T, ROUND[0]);                                                                                    \
        ROUND_STEP(T, S, ROUND[1]);                                                                                    \
        for (int round = 2; round < 22; round += 2) {                                                                  \
            ROUND_STEP(S, T, ROUND[round]);                                                                            \
            ROUND_STEP(T, S, ROUND[round + 1]);                                                                        \
        }                                                                                                              \
        ROUND_STEP(S, T, ROUND[22]);                                                                                   \
        ROUND_STEP(T, S, ROUND[23]);                                                                                   \
    } while (0)

#define LANE            uint64_t
#define XOR3(x, y, z)   ((x) ^ (y) ^ (z))
#define MIX(a, d, c, r) ((a) ^ (d))
#define CHI(x, y, z)    ((x) ^ (~(y) & (z)))
static void permute(uint64_t s[25])
{
    uint64_t e[25];
    PERMUTE(s, e);
}

static uint64_t load_little(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static void store_little(uint8_t *p, uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    memcpy(p, &x, 8);
}

void keccak256(const uint8_t *data, size_t size, uint8_t out[static HASH_BYTES])
{
    uint64_t s[25] = {0};
    for (; size >= RATE_BYTES; data += RATE_BYTES, size -= RATE_BYTES) {
        for (int i = 0; i < RATE_BYTES / 8; i++)
            s[i] ^= load_little(data + 8 * i);
        permute(s);
    }
    uint8_t last[RATE_BYTES] = {0};
    if (size != 0)
        memcpy(last, data, size);
    last[size] = 0x01;
    last[RATE_BYTES - 1] |= 0x80;
    for (int i = 0; i < RATE_BYTES / 8; i++)
        s[i] ^= load_little(last + 8 * i);
    permute(s);
    for (int i = 0; i < 4; i++)
        store_little(out + 8 * i, s[i]);
}

static void hash_one_pair(const uint8_t *in, uint8_t *out)
{
    uint64_t s[25] = {0}, e[25];
    for (int i = 0; i < 8; i++)
        s[i] = load_little(in + 8 * i);
    s[8] = 0x01;
    s[16] = 0x8000000000000000;
    PERMUTE(s, e);
    for (int i = 0; i < 4; i++)
        store_little(out + 8 * i, s[i]);
}
#undef LANE

#if KECCAK_LANES > 1
typedef uint64_t lanes __attribute__((vector_size(8 * KECCAK_LANES)));
typedef uint64_t words __attribute__((vector_size(HASH_BYTES)));
#define LANE lanes
#define PICK __builtin_shufflevector

static words load_words(const uint8_t *p)
{
    words x;
    memcpy(&x, p, sizeof x);
    return x;
}

static void store_words(uint8_t *p, words x) { memcpy(p, &x, sizeof x); }

#if KECCAK_LANES == 8
#undef XOR3
#undef MIX
#undef CHI
#define LOGIC(x, y, z, table) ((lanes)_mm512_ternarylogic_epi64((__m512i)(x), (__m512i)(y), (__m512i)(z), table))
#define XOR3(x, y, z)         LOGIC(x, y, z, 0x96)
#define MIX(a, d, c, r)       ((void)(d), XOR3(a, c, r))
#define CHI(x, y, z)          LOGIC(x, y, z, 0xd2)

#define EVENS 0, 8, 2, 10, 4, 12, 6, 14
#define ODDS  1, 9, 3, 11, 5, 13, 7, 15

/* s[i] := words i of 32 bytes each, of inputs 0, 1, 4, 5, 2, 3, 6, 7 in this order. */
static inline void transpose_in(lanes s[4], const uint8_t *const *in, size_t at)
{
    lanes row[4];
    for (int i = 0; i < 4; i++)
        row[i] = PICK(load_words(in[i] + at), load_words(in[i + 4] + at), 0, 1, 2, 3, 4, 5, 6, 7);
    lanes a = PICK(row[0], row[1], EVENS), b = PICK(row[0], row[1], ODDS);
    lanes c = PICK(row[2], row[3], EVENS), d = PICK(row[2], row[3], ODDS);
    s[0] = PICK(a, c, 0, 1, 4, 5, 8, 9, 12, 13), s[2] = PICK(a, c, 2, 3, 6, 7, 10, 11, 14, 15);
    s[1] = PICK(b, d, 0, 1, 4, 5, 8, 9, 12, 13), s[3] = PICK(b, d, 2, 3, 6, 7, 10, 11, 14, 15);
}

static inline void store_two(uint8_t *first, uint8_t *second, lanes x)
{
    store_words(first, PICK(x, x, 0, 1, 2, 3));
    store_words(second, PICK(x, x, 4, 5, 6, 7));
}

/* The way back. */
static inline void transpose_out(const lanes s[4], uint8_t *const *out)
{
    lanes a = PICK(s[0], s[1], EVENS), b = PICK(s[0], s[1], ODDS);
    lanes c = PICK(s[2], s[3], EVENS), d = PICK(s[2], s[3], ODDS);
    store_two(out[0], out[4], PICK(a, c, 0, 1, 8, 9, 2, 3, 10, 11));
    store_two(out[2], out[6], PICK(a, c, 4, 5, 12, 13, 6, 7, 14, 15));
    store_two(out[1], out[5], PICK(b, d, 0, 1, 8, 9, 2, 3, 10, 11));
    store_two(out[3], out[7], PICK(b, d, 4, 5, 12, 13, 6, 7, 14, 15));
}
#else
/* to[i] := words i of the rows. It is its own inverse. */
static inline void transpose(lanes to[4], const lanes row[4])
{
    lanes a = PICK(row[0], row[1], 0, 4, 2, 6), b = PICK(row[0], row[1], 1, 5, 3, 7);
    lanes c = PICK(row[2], row[3], 0, 4, 2, 6), d = PICK(row[2], row[3], 1, 5, 3, 7);
    to[0] = PICK(a, c, 0, 1, 4, 5), to[1] = PICK(b, d, 0, 1, 4, 5);
    to[2] = PICK(a, c, 2, 3, 6, 7), to[3] = PICK(b, d, 2, 3, 6, 7);
}

static inline void transpose_in(lanes s[4], const uint8_t *const *in, size_t at)
{
    lanes row[4];
    for (int i = 0; i < 4; i++)
        row[i] = load_words(in[i] + at);
    transpose(s, row);
}

static inline void transpose_out(const lanes s[4], uint8_t *const *out)
{
    lanes row[4];
    transpose(row, s);
    for (int i = 0; i < 4; i++)
        store_words(out[i], row[i]);
}
#endif

/* Hashes KECCAK_LANES pairs, all of which are read before any output is written. */
static void hash_many_pairs(const uint8_t *const *in, uint8_t *const *out)
{
    lanes s[25] = {0}, e[25];
    transpose_in(s, in, 0);
    transpose_in(s + 4, in, HASH_BYTES);
    s[8] = (lanes){0} + 0x01;
    s[16] = (lanes){0} + 0x8000000000000000;
    PERMUTE(s, e);
    transpose_out(s, out);
}
#undef LANE
#endif

void keccak_pairs_gather(const uint8_t *const *in, uint8_t *const *out, size_t count)
{
    size_t i = 0;
#if KECCAK_LANES > 1
    for (; i + KECCAK_LANES <= count; i += KECCAK_LANES)
        hash_many_pairs(in + i, out + i);
    /* WHY NOT one by one: a whole vector costs about as much as two single hashes. */
    if (count - i > 2) {
        uint8_t spare[HASH_BYTES];
        const uint8_t *from[KECCAK_LANES];
        uint8_t *to[KECCAK_LANES];
        for (size_t lane = 0; lane < KECCAK_LANES; lane++) {
            from[lane] = in[i + lane < count ? i + lane : i];
            to[lane] = i + lane < count ? out[i + lane] : spare;
        }
        hash_many_pairs(from, to);
        return;
    }
#endif
    for (; i < count; i++)
        hash_one_pair(in[i], out[i]);
}

void keccak_pairs(const uint8_t *in, uint8_t *out, size_t count)
{
    enum { BATCH = 8 };
    for (size_t i = 0; i < count; i += BATCH) {
        const uint8_t *from[BATCH];
        uint8_t *to[BATCH];
        size_t n = count - i < BATCH ? count - i : BATCH;
        for (size_t j = 0; j < n; j++) {
            from[j] = in + 64 * (i + j);
            to[j] = out + HASH_BYTES * (i + j);
        }
        /* In place: outputs i.. lie before inputs i.. or on them, and a vector reads before it writes. With several
         * vectors (or single hashes) a batch, output j overwrites input j/2, which was read already. */
        keccak_pairs_gather(from, to, n);
    }
}

void keccak_pair(const uint8_t left[static HASH_BYTES], const uint8_t right[static HASH_BYTES],
                 uint8_t out[static HASH_BYTES])
{
    uint8_t both[2 * HASH_BYTES];
    memcpy(both, left, HASH_BYTES);
    memcpy(both + HASH_BYTES, right, HASH_BYTES);
    hash_one_pair(both, out);
}

static uint8_t zero_roots[65][HASH_BYTES];

/* WHY NOT lazily: the table would need a lock; it takes 59 hashes once per process. */
__attribute__((constructor)) static void fill_zero_roots(void)
{
    for (unsigned level = LEAF_LOG2; level < 64; level++)
        keccak_pair(zero_roots[level], zero_roots[level], zero_roots[level + 1]);
}

const uint8_t *zero_root(unsigned log2_size) { return zero_roots[log2_size]; }

void copy_big_endian(uint8_t *out, const uint8_t *data, size_t size, unsigned word_bytes)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word_bytes = 1;
#endif
    switch (word_bytes) {
    case 2:
        for (size_t i = 0; i + 2 <= size; i += 2) {
            uint16_t x;
            memcpy(&x, data + i, 2);
            x = __builtin_bswap16(x);
            memcpy(out + i, &x, 2);
        }
        break;
    case 4:
        for (size_t i = 0; i + 4 <= size; i += 4) {
            uint32_t x;
            memcpy(&x, data + i, 4);
            x = __builtin_bswap32(x);
            memcpy(out + i, &x, 4);
        }
        break;
    case 8:
        for (size_t i = 0; i + 8 <= size; i += 8) {
            uint64_t x;
            memcpy(&x, data + i, 8);
            x = __builtin_bswap64(x);
            memcpy(out + i, &x, 8);
        }
        break;
    default: memcpy(out, data, size);
    }
}

/* ---- merkle_root: chunks of 64 KiB, each to its root; then the tree over the chunks' roots. ---- */

enum { CHUNK_LOG2 = 16, CHUNK_BYTES = 1 << CHUNK_LOG2 };

static int all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* out := root of 2^log2_size bytes (log2_size <= CHUNK_LOG2): data[0..size), then zeros. */
static void chunk_root(const uint8_t *data, size_t size, unsigned log2_size, unsigned word_bytes, uint8_t *out)
{
    _Alignas(64) uint8_t buffer[CHUNK_BYTES];
    if (all_zero(data, size)) {
        memcpy(out, zero_root(log2_size), HASH_BYTES);
        return;
    }
    /* Only the smallest subtree that holds the data is hashed; above it every right sibling is zero. */
    unsigned level = LEAF_LOG2;
    while (((size_t)1 << level) < size)
        level++;
    size_t used = (size_t)1 << level;
    size_t pairs = used / 64;
    if (word_bytes == 1 && size == used && pairs != 0) {
        keccak_pairs(data, buffer, pairs);
        pairs /= 2;
    } else {
        copy_big_endian(buffer, data, size, word_bytes);
        memset(buffer + size, 0, used - size);
    }
    for (; pairs != 0; pairs /= 2)
        keccak_pairs(buffer, buffer, pairs);
    for (; level < log2_size; level++)
        keccak_pair(buffer, zero_root(level), buffer);
    memcpy(out, buffer, HASH_BYTES);
}

struct chunk_job {
    const uint8_t *data;
    uint64_t size;
    uint64_t first, end; /* chunks */
    unsigned word_bytes;
    uint8_t *roots;
};

static void *hash_chunks(void *argument)
{
    struct chunk_job *job = argument;
    for (uint64_t i = job->first; i < job->end; i++) {
        uint64_t at = i << CHUNK_LOG2;
        size_t size = job->size - at < CHUNK_BYTES ? (size_t)(job->size - at) : CHUNK_BYTES;
        chunk_root(job->data + at, size, CHUNK_LOG2, job->word_bytes, job->roots + HASH_BYTES * i);
    }
    return NULL;
}

int merkle_root(const uint8_t *data, uint64_t size, unsigned log2_size, unsigned word_bytes, unsigned threads,
                uint8_t out[static HASH_BYTES])
{
    enum { MAX_THREADS = 16 };
    if (log2_size <= CHUNK_LOG2) {
        chunk_root(data, (size_t)size, log2_size, word_bytes, out);
        return 1;
    }
    uint64_t chunks = (size >> CHUNK_LOG2) + ((size & (CHUNK_BYTES - 1)) != 0);
    if (chunks == 0) {
        memcpy(out, zero_root(log2_size), HASH_BYTES);
        return 1;
    }
    /* One spare place, so that a level of odd length can be closed by a zero root. */
    uint8_t *roots = malloc(HASH_BYTES * (size_t)(chunks + 1));
    if (roots == NULL)
        return 0;
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    if (threads == 0 || chunks < 2 * (uint64_t)threads)
        threads = 1;
    struct chunk_job jobs[MAX_THREADS];
    pthread_t handles[MAX_THREADS];
    int started[MAX_THREADS] = {0};
    for (unsigned t = 0; t < threads; t++) {
        jobs[t] = (struct chunk_job){data, size, chunks * t / threads, chunks * (t + 1) / threads, word_bytes, roots};
        if (t != 0)
            started[t] = pthread_create(&handles[t], NULL, hash_chunks, &jobs[t]) == 0;
    }
    hash_chunks(&jobs[0]);
    for (unsigned t = 1; t < threads; t++) {
        if (started[t])
            pthread_join(handles[t], NULL);
        else
            hash_chunks(&jobs[t]);
    }
    unsigned level = CHUNK_LOG2;
    for (; chunks > 1; chunks = (chunks + 1) / 2, level++) {
        if (chunks & 1)
            memcpy(roots + HASH_BYTES * chunks, zero_root(level), HASH_BYTES);
        keccak_pairs(roots, roots, (size_t)(chunks + 1) / 2);
    }
    for (; level < log2_size; level++)
        keccak_pair(roots, zero_root(level), roots);
    memcpy(out, roots, HASH_BYTES);
    free(roots);
    return 1;
}
