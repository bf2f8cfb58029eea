/* OP_TOPK: of elements up to 32 bits the order of (key, number) pairs as 64-bit words, of longer ones that of the pairs.
 *
 * A word is the key (kernels/rows.h), which fits 32 bits, above the element's number counted down, so that words descend as
 * the result does. Few of many: a heap of words, and of the others only those are looked at that beat its least, sixteen
 * at a time. Many: all are sorted, by a byte of the key at a time. */
#include "fast.h"
#include "kernels/rows.h"
#include "kernels/walk.h"

/* A heap, rather than sorting, for at most one in so many. */
#define HEAP_AT_LEAST_ONE_IN 8
/* Lines longer than this are left to the plain kernel. */
#define LENGTH_MOST (1ull << 26)
#define TOGETHER    16u

/* The words of a line of n elements. */
static void make_words(u64 *word, const u8 *a, i64 sa, u8 dtype, u64 n, u32 flip)
{
    int is_float = dtype == DT_F32 || dtype == DT_F16 || dtype == DT_BF16;
    u64 lift = dtype == DT_I8 || dtype == DT_I16 || dtype == DT_I32 ? 1ull << 31 : 0;
    for (u64 at = 0; at < n; at += CHUNK, a += (i64)CHUNK * sa) {
        u64 key[CHUNK], now = n - at < CHUNK ? n - at : CHUNK;
        load_key_chunk(key, a, sa, dtype, now, ~0ull);
        /* Of floats a key has 32 bits, and that of NaN is greater than all of them; of integers bit 63 is flipped. */
        for (u64 i = 0; i < now; i++) {
            u32 low = is_float ? (u32)key[i] : (u32)((key[i] ^ 1ull << 63) + lift);
            word[at + i] = (u64)(low ^ flip) << 32 | (~(u32)(at + i));
        }
    }
}

/* The least word on top. */
static void sift_down(u64 *heap, u64 hole, u64 size, u64 word)
{
    for (u64 child; (child = 2 * hole + 1) < size; hole = child) {
        child += child + 1 < size && heap[child + 1] < heap[child];
        if (word <= heap[child])
            break;
        heap[hole] = heap[child];
    }
    heap[hole] = word;
}

/* The k greatest words come to the front, in descending order. */
static void select_few(u64 *word, u64 n, u64 k)
{
    for (u64 i = k / 2; i-- > 0;)
        sift_down(word, i, k, word[i]);
    u64 i = k;
    while (i < n) {
        if (i + TOGETHER <= n) {
            u64 least = word[0];
            u32 any = 0;
            for (unsigned j = 0; j < TOGETHER; j++)
                any |= word[i + j] > least;
            if (!any) {
                i += TOGETHER;
                continue;
            }
        }
        u64 end = i + TOGETHER < n ? i + TOGETHER : n;
        for (; i < end; i++)
            if (word[i] > word[0])
                sift_down(word, 0, k, word[i]);
    }
    for (u64 size = k; size-- > 1;) {
        u64 moved = word[size];
        word[size] = word[0];
        sift_down(word, 0, size, moved);
    }
}

/* Sorts by the key, greatest first; of equals the order stays, and numbers ascend already. `other`: as much memory. */
static void sort_all(u64 *word, u64 *other, u64 n)
{
    u32 count[4][256] = {{0}};
    for (u64 i = 0; i < n; i++)
        for (unsigned b = 0; b < 4; b++)
            count[b][255 - (word[i] >> (32 + 8 * b) & 255)]++;
    for (unsigned b = 0; b < 4; b++) {
        u32 place = 0;
        for (unsigned v = 0; v < 256; v++) {
            u32 here = count[b][v];
            count[b][v] = place;
            place += here;
        }
        for (u64 i = 0; i < n; i++)
            other[count[b][255 - (word[i] >> (32 + 8 * b) & 255)]++] = word[i];
        u64 *swapped = word;
        word = other;
        other = swapped;
    }
}

/* An element of 64 bits. */
struct pair {
    u64 key, number;
};

/* Whether x comes after y in the result. */
INLINE u32 is_after(struct pair x, struct pair y) { return x.key < y.key || (x.key == y.key && x.number > y.number); }

/* The last in the result on top. */
static void sift_pair_down(struct pair *heap, u64 hole, u64 size, struct pair pair)
{
    for (u64 child; (child = 2 * hole + 1) < size; hole = child) {
        child += child + 1 < size && is_after(heap[child + 1], heap[child]);
        if (is_after(pair, heap[child]))
            break;
        heap[hole] = heap[child];
    }
    heap[hole] = pair;
}

/* The first k of n pairs of a key and its place, in the result's order. */
static void select_pairs(struct pair *heap, const u64 *key, u64 n, u64 k)
{
    for (u64 i = 0; i < k; i++)
        heap[i] = (struct pair){key[i], i};
    for (u64 i = k / 2; i-- > 0;)
        sift_pair_down(heap, i, k, heap[i]);
    for (u64 i = k, end; i < n; i = end) {
        u64 least = heap[0].key;
        u32 any = 0;
        end = i + TOGETHER < n ? i + TOGETHER : n;
        for (u64 j = i; j < end; j++)
            any |= key[j] > least; /* of equals the earlier is there already */
        for (u64 j = i; any && j < end; j++)
            if (key[j] > heap[0].key)
                sift_pair_down(heap, 0, k, (struct pair){key[j], j});
    }
    for (u64 size = k; size-- > 1;) {
        struct pair moved = heap[size];
        heap[size] = heap[0];
        sift_pair_down(heap, 0, size, moved);
    }
}

/* One line of elements of 64 bits; `memory` for its keys and k pairs. */
static void top_of_long(u8 *o, i64 so, const u8 *a, i64 sa, const struct record *r, u64 *memory)
{
    u64 n = r->dim[r->rank - 1u], k = r->imm[2], flip = r->imm[0] & 1 ? 0 : ~0ull;
    struct pair *heap = (struct pair *)(memory + n);
    for (u64 at = 0; at < n; at += CHUNK)
        load_key_chunk(memory + at, a + (i64)at * sa, sa, r->dtype_in[0], n - at < CHUNK ? n - at : CHUNK, ~0ull);
    for (u64 i = 0; i < n; i++)
        memory[i] ^= flip;
    select_pairs(heap, memory, n, k);
    for (u64 j = 0; j < k; j++)
        st_i64(o + (i64)j * so, (i64)heap[j].number);
}

int fast_topk(u8 *segment, const struct record *r, u64 lo, u64 hi, struct fast_scratch *s)
{
    unsigned axis = r->rank - 1u;
    u64 length = r->dim[axis], k = r->imm[2];
    int is_long = dtype_bytes(r->dtype_in[0]) > 4;
    if (length > LENGTH_MOST || k == 0)
        return 0;
    u64 *word = fast_buffer_get(&s->layout, 3 * length * sizeof(u64));
    if (!word)
        return 0;
    struct walk lines;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    i64 so = r->stride[0][axis] * 8, sa = r->stride[1][axis] * (i64)operand[1].width;
    u32 flip = r->imm[0] & 1 ? 0 : ~0u;
    walk_begin(&lines, operand, 2, r->dim, axis, lo, hi);
    for (u64 n; (n = walk_row(&lines)) != 0; walk_next(&lines, n, 2))
        for (u64 i = 0; i < n; i++) {
            u8 *o = lines.at[0] + (i64)i * lines.step[0];
            if (is_long) {
                top_of_long(o, so, lines.at[1] + (i64)i * lines.step[1], sa, r, word);
                continue;
            }
            make_words(word, lines.at[1] + (i64)i * lines.step[1], sa, r->dtype_in[0], length, flip);
            if (k <= length / HEAP_AT_LEAST_ONE_IN)
                select_few(word, length, k);
            else
                sort_all(word, word + length, length);
            for (u64 j = 0; j < k; j++)
                st_i64(o + (i64)j * so, (i64)(~(u32)word[j]));
        }
    return 1;
}
