/* The just-in-time compiler, from the top: jit.c runs a machine and says when code is compiled; region.c finds what is
 * compiled together; translate.c and its parts make machine code of it; code_memory.c keeps that code. */
#ifndef OPML_JIT_H
#define OPML_JIT_H
#include "region.h"
#include <stddef.h>

enum {
    MAX_EXITS = 1 << 16,
    JUMP_ENTRIES = 1 << 12, /* of the table that indirect jumps look in */
    CODE_BYTES = 16 << 20,
    REGION_CODE_BYTES = 1 << 20, /* no region's code has so many */
    MAX_ENTRIES_OF_REGION = MAX_BLOCKS,
};

/* How machine code is left. `left` is what remains of its limit of steps. */
struct departure {
    uint64_t exit; /* which exit, or EXIT_INDIRECT */
    uint64_t left;
};
#define EXIT_INDIRECT ((uint64_t)MAX_EXITS)

enum exit_kind {
    EXIT_CHAIN,            /* at the start of code that may be compiled: next_pc is pc + 4 */
    EXIT_INTERPRET,        /* the interpreter must execute what is at pc; next_pc is pc + 4 */
    EXIT_IN_SLOT,          /* the same, in a delay slot; next_pc is told */
    EXIT_IN_INDIRECT_SLOT, /* the same; next_pc is in the thread already */
};
struct exit_place {
    uint64_t pc, next_pc;
    enum exit_kind kind;
};

struct jump_entry {
    uint64_t pc;
    const void *code;
};

/* What machine code reads and writes beside the machine, addressed relative to itself. */
struct code_data {
    struct machine *machine;
    struct vm *vm;
    uint64_t ll_address; /* of the vm, again */
    uint64_t scratch;
    uint64_t condition;
    bool (*ready)(struct machine *machine, uint64_t address, bool to_write);
    uint32_t (*to_int)(uint32_t bits, enum fpu_rounding rounding);
    struct jump_entry jumps[JUMP_ENTRIES];
    const void *links[MAX_EXITS]; /* where EXIT_CHAIN number i goes */
};

/* Data that is written and never executed, and behind it code: executed and never writable at the same time. */
struct code_memory {
    struct code_data *data;
    uint8_t *code;
    size_t used;
};
bool code_memory_make(struct code_memory *memory);
void code_memory_free(struct code_memory *memory);
/* Appends; false: no room, or the system allows no change of protection. */
bool code_memory_append(struct code_memory *memory, const uint8_t *bytes, size_t count);

/* The entry of machine code from C, and the places it jumps to that are common to all regions. */
struct common_code {
    struct departure (*enter)(struct caches *caches, uint64_t *registers, uint64_t left, const void *code);
    uintptr_t leave, leave_indirect, ready_to_read, ready_to_write, to_int;
};

struct translation {
    const struct region *region;
    struct translator *workspace; /* translate_workspace */
    uint8_t *bytes;               /* room for REGION_CODE_BYTES */
    size_t count;
    struct exit_place *exits; /* numbered from first_exit on */
    unsigned first_exit, exit_count, exit_room;
    struct {
        uint64_t pc;
        size_t offset;
    } entries[MAX_ENTRIES_OF_REGION];
    unsigned entry_count;
};

/* Room for a translator at work, to be given back to free; NULL: out of memory, or no translator for this processor. */
struct translator *translate_workspace(void);
/* The common code, into `bytes`: its size; it will run at `origin`. 0: no room. */
size_t translate_common(struct common_code *common, const struct code_data *data, uint8_t *bytes, size_t room,
                        uintptr_t origin);
/* False: no room for its code or its exits. */
bool translate(struct translation *translation, const struct common_code *common, const struct code_data *data,
               uintptr_t origin);
#endif
