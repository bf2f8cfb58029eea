/* The steps of a schedule, packed when they are planned: those of one kind differ in a few addresses.
 *
 * A language model's tokens take the same thousand steps each, and a step as the planner sees it has hundreds of bytes. So
 * a step is kept as the number of its kind, and the words in which it is not like the first step of that kind. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "packed.h"

#define WORDS (sizeof(struct step) / sizeof(uint64_t))
_Static_assert(sizeof(struct step) % sizeof(uint64_t) == 0 && WORDS < 256, "a word's number is a byte");

struct difference {
    uint64_t value;
    uint64_t word;
};

struct packed_steps {
    uint64_t steps, kinds, differences;
    struct step *kind;
    uint32_t *kind_of; /* of each step */
    uint64_t *first;   /* of each step, and one more: its first difference */
    struct difference *different;
    struct step *open; /* as many as run together at most */
};

/* Whether a word may differ within a kind: the places of operands. */
static int is_address(size_t word)
{
    size_t at = word * sizeof(uint64_t);
    return (at >= offsetof(struct step, record.out) && at < offsetof(struct step, record.in) + 8 * RECORD_MAX_IN) ||
           (at >= offsetof(struct step, square) && at < offsetof(struct step, finishes)) ||
           at == offsetof(struct step, finish.add) || at == offsetof(struct step, prepared.memory);
}

static uint64_t kind_hash(const struct step *step)
{
    const uint64_t *word = (const uint64_t *)step;
    uint64_t hash = 0;
    for (size_t w = 0; w < WORDS; w++)
        if (!is_address(w))
            hash = (hash ^ word[w]) * 0x9e3779b97f4a7c15ull, hash ^= hash >> 29;
    return hash;
}

static int is_of_kind(const struct step *step, const struct step *kind)
{
    const uint64_t *word = (const uint64_t *)step, *other = (const uint64_t *)kind;
    for (size_t w = 0; w < WORDS; w++)
        if (word[w] != other[w] && !is_address(w))
            return 0;
    return 1;
}

/* Room for `count` elements of `size` bytes, at least twice what there is; the old memory stays if there is none. */
static void *grown(void *memory, uint64_t *room, uint64_t count, size_t size)
{
    if (count <= *room)
        return memory;
    uint64_t more = 2 * *room > count ? 2 * *room : count;
    void *larger = realloc(memory, more * size);
    if (larger)
        *room = more;
    return larger;
}

/* The steps that run together from step i on: a group, or a chain. */
static uint64_t together(const struct step *step, uint64_t i, uint64_t steps)
{
    uint64_t end = i + 1;
    while (end < steps && step[end].chained)
        end++;
    return step[i].group > end - i ? step[i].group : end - i;
}

/* Finds or makes the kind of each step; 0 if there is no memory. `table`: kinds plus one by their hash. */
static int find_kinds(struct packed_steps *p, const struct step *step, uint32_t *table, uint64_t mask)
{
    uint64_t room_kinds = 0, room_differences = 0;
    for (uint64_t i = 0; i < p->steps; i++) {
        uint64_t slot = kind_hash(&step[i]) & mask;
        while (table[slot] && !is_of_kind(&step[i], &p->kind[table[slot] - 1]))
            slot = (slot + 1) & mask;
        if (!table[slot]) {
            struct step *kind = grown(p->kind, &room_kinds, p->kinds + 1, sizeof *kind);
            if (!kind)
                return 0;
            p->kind = kind;
            kind[p->kinds++] = step[i];
            table[slot] = (uint32_t)p->kinds;
        }
        p->kind_of[i] = table[slot] - 1;
        p->first[i] = p->differences;
        struct difference *different =
            grown(p->different, &room_differences, p->differences + WORDS, sizeof *different);
        if (!different)
            return 0;
        p->different = different;
        const uint64_t *word = (const uint64_t *)&step[i], *kind = (const uint64_t *)&p->kind[p->kind_of[i]];
        for (size_t w = 0; w < WORDS; w++)
            if (word[w] != kind[w])
                different[p->differences++] = (struct difference){word[w], w};
    }
    p->first[p->steps] = p->differences;
    return 1;
}

struct packed_steps *steps_pack(const struct step *step, uint64_t steps)
{
    struct packed_steps *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    uint64_t most = 1, size = 1024;
    for (uint64_t i = 0, count; i < steps; i += count) {
        count = together(step, i, steps);
        most = count > most ? count : most;
    }
    while (size < 2 * steps)
        size *= 2;
    uint32_t *table = calloc(size, sizeof *table);
    p->steps = steps;
    p->kind_of = malloc((steps + 1) * sizeof *p->kind_of);
    p->first = malloc((steps + 1) * sizeof *p->first);
    p->open = malloc(most * sizeof *p->open);
    int made = table && p->kind_of && p->first && p->open && find_kinds(p, step, table, size - 1);
    free(table);
    if (made)
        return p;
    steps_free(p);
    return NULL;
}

static void unpack(const struct packed_steps *p, struct step *to, uint64_t i)
{
    memcpy(to, &p->kind[p->kind_of[i]], sizeof *to);
    for (uint64_t d = p->first[i]; d < p->first[i + 1]; d++)
        ((uint64_t *)to)[p->different[d].word] = p->different[d].value;
}

const struct step *steps_open(const struct packed_steps *p, uint64_t i, uint64_t *next)
{
    unpack(p, p->open, i);
    uint64_t count = p->open->group, end = i + 1;
    if (count) {
        for (; end < i + count; end++)
            unpack(p, p->open + (end - i), end);
    } else {
        for (; end < p->steps && p->kind[p->kind_of[end]].chained; end++)
            unpack(p, p->open + (end - i), end);
    }
    *next = end;
    return p->open;
}

void steps_free(struct packed_steps *p)
{
    if (!p)
        return;
    free(p->kind);
    free(p->kind_of);
    free(p->first);
    free(p->different);
    free(p->open);
    free(p);
}
