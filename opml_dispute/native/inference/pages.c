/* Pages of freed blocks, put aside and moved in under the next block of their size. */
#define _GNU_SOURCE
#include "pages.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7 */
#endif

#define READ_WRITE (PROT_READ | PROT_WRITE)
#define RESERVED   (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* Moves pages, leaving both places mapped: the old one reads as zero. */
static int move(struct pages *p, uint8_t *from, uint8_t *to, uint64_t size)
{
    if (p->cannot_move)
        return 0;
    if (mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) != to) {
        /* EFAULT: the place is mapped in pieces, because part of it was moved before. Another place may do. */
        p->cannot_move = errno != EFAULT;
        return 0;
    }
    /* A fresh mapping joins its neighbours: the number of mappings stays that of the blocks in use. */
    if (mmap(from, size, READ_WRITE, RESERVED | MAP_FIXED, -1, 0) == from)
        madvise(from, size, MADV_HUGEPAGE);
    return 1;
}

void pages_announce(struct pages *p, uint64_t offset, unsigned log2_size, uint64_t lo, uint64_t hi)
{
    if (log2_size < SPARE_LEAST_LOG2 || log2_size > SPARE_MOST_LOG2 || p->known_count == MOST_KNOWN)
        return;
    unsigned *full = &p->full[log2_size];
    p->known[p->known_count].offset = offset;
    p->known[p->known_count].used = hi - offset;
    p->known[p->known_count++].log2_size = log2_size;
    if (*full == 0 || !move(p, p->slot[log2_size][*full - 1], p->base + offset, 1ull << log2_size))
        return;
    --*full;
    p->kept -= 1ull << log2_size;
    uint64_t end = offset + p->used[log2_size][*full];
    memset(p->base + offset, 0, lo - offset);
    if (hi < end)
        memset(p->base + hi, 0, end - hi);
}

void pages_wrote(struct pages *p, uint64_t lo, uint64_t hi)
{
    for (unsigned i = 0; i < p->known_count; i++) {
        uint64_t offset = p->known[i].offset, end = offset + (1ull << p->known[i].log2_size);
        if (lo < end && hi > offset + p->known[i].used)
            p->known[i].used = (hi < end ? hi : end) - offset;
    }
}

/* Puts the announced block at `offset` aside. */
static int put_aside(struct pages *p, uint64_t offset, unsigned i)
{
    unsigned log2_size = p->known[i].log2_size, *full = &p->full[log2_size];
    uint64_t size = 1ull << log2_size, used = p->known[i].used;
    p->known[i] = p->known[--p->known_count];
    if (*full == SPARE_SLOTS || p->kept + size > SPARE_BYTES || p->cannot_move)
        return 0;
    uint8_t **slot = &p->slot[log2_size][*full];
    if (!*slot) {
        /* Aligned as blocks are: large pages would else have to be split. */
        uint8_t *place = mmap(NULL, 2 * size, READ_WRITE, RESERVED, -1, 0);
        if (place == MAP_FAILED)
            return 0;
        uint64_t excess = (0 - (uintptr_t)place) & (size - 1);
        if (excess)
            munmap(place, excess);
        munmap(place + excess + size, size - excess);
        *slot = place + excess;
    }
    if (!move(p, p->base + offset, *slot, size))
        return 0;
    p->used[log2_size][(*full)++] = used;
    p->kept += size;
    return 1;
}

void pages_clear(struct pages *p, uint64_t offset, uint64_t size)
{
    for (unsigned i = 0; i < p->known_count; i++)
        if (p->known[i].offset >= offset && p->known[i].offset < offset + size) {
            unsigned whole = p->known[i].offset == offset && 1ull << p->known[i].log2_size == size;
            if (whole && put_aside(p, offset, i))
                return;
            if (!whole)
                p->known[i] = p->known[--p->known_count];
            i--; /* another stands here now */
        }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = offset + size;
    uint64_t first = (offset + page - 1) / page * page, last = end / page * page;
    if (size >= 1ull << SPARE_LEAST_LOG2 && first < last &&
        madvise(p->base + first, last - first, MADV_DONTNEED) == 0) {
        memset(p->base + offset, 0, first - offset);
        memset(p->base + last, 0, end - last);
    } else {
        memset(p->base + offset, 0, size);
    }
}

void pages_free(struct pages *p)
{
    for (unsigned log2_size = SPARE_LEAST_LOG2; log2_size <= SPARE_MOST_LOG2; log2_size++)
        for (unsigned i = 0; i < SPARE_SLOTS; i++)
            if (p->slot[log2_size][i])
                munmap(p->slot[log2_size][i], 1ull << log2_size);
}
