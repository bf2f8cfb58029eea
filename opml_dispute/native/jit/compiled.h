/* What was compiled for one machine: where each address of the guest has its code, and from which words it was made. */
#ifndef OPML_COMPILED_H
#define OPML_COMPILED_H
#include "jit.h"

enum {
    MAX_COMPILED = 1 << 13, /* entries */
    ENTRY_PLACES = 1 << 14,
    MAX_COVERED = 1 << 10, /* pages */
    COVERED_PLACES = 1 << 11,
};

/* A page of the guest with the words that code was made from. */
struct covered_page {
    uint64_t page;
    uint64_t made_from[PAGE_INSTRUCTIONS / 64]; /* a bit for each word */
    uint8_t words[MEMORY_PAGE_BYTES];
};

struct compiled {
    struct code_memory memory;
    struct common_code common;
    struct translator *workspace;
    uint8_t *bytes;
    size_t common_bytes;
    unsigned entry_count, exit_count, page_count;
    uint64_t times_forgotten;                /* numbers of exits hold as long as this does */
    struct jump_entry entries[ENTRY_PLACES]; /* code NULL: empty */
    uint16_t page_places[COVERED_PLACES];    /* 0: empty; else the page's number + 1 */
    struct covered_page *pages[MAX_COVERED]; /* made as they are needed, kept */
    struct exit_place exits[MAX_EXITS];
    struct region region;
};

/* NULL: out of memory, no translator for this processor, or the system lets nothing become executable. */
struct compiled *compiled_make(struct machine *machine);
void compiled_free(struct compiled *compiled);
/* Forgets all code. */
void compiled_forget(struct compiled *compiled);
/* The code at pc, or NULL. */
const void *compiled_find(const struct compiled *compiled, uint64_t pc);
/* Compiles the region at pc (region_find); forgets all that was before, if there is no room. NULL: nothing there can be
 * compiled, or the system lets nothing become executable any more (*broken). */
const void *compiled_add(struct compiled *compiled, struct machine *machine, uint64_t pc, struct heat *heat,
                         bool *broken);
/* The page, if code was made from it. */
struct covered_page *compiled_page(const struct compiled *compiled, uint64_t page);
/* Whether code was made of any of the bytes, which do not reach beyond the page. */
bool compiled_from(const struct covered_page *page, uint64_t address, unsigned size);
/* Whether memory still holds the words that the code was made from. */
bool compiled_holds(const struct compiled *compiled, struct machine *machine);
#endif
