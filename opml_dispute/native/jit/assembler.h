/* Room for machine code, and what is written there. */
#ifndef OPML_ASSEMBLER_H
#define OPML_ASSEMBLER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NARROW, WIDE }; /* 32 or 64 bits */
enum shift { SHIFT_LEFT, SHIFT_RIGHT, SHIFT_ARITHMETIC };

/* Bytes written at `at` that will run at `origin` + their offset. Once there is no room, nothing more is written. */
struct assembler {
    uint8_t *start, *at, *end;
    uintptr_t origin;
    bool full;
};

static inline uintptr_t here(const struct assembler *as) { return as->origin + (uintptr_t)(as->at - as->start); }
static inline size_t position(const struct assembler *as) { return (size_t)(as->at - as->start); }

static inline void put(struct assembler *as, uint64_t bytes, unsigned count)
{
    if ((size_t)(as->end - as->at) < count) {
        as->full = true;
        return;
    }
    for (unsigned i = 0; i < count; i++)
        *as->at++ = (uint8_t)(bytes >> 8 * i);
}
#endif
