/* A whole machine, and the files that its parts are in, each using only those before it:
 *
 *   stacks.c, caches.c, preimages.c, captured.c   its parts
 *   run.c                                         runs it
 *   machine_memory.c, machine.c                   Python's questions; making and forking
 *   witness.c                                     proves its next step */
#ifndef OPML_MACHINE_H
#define OPML_MACHINE_H
#include "fpvm.h"

/* One thread stack, bottom first. onion[i] is the onion root of the lowest i threads, right for i <= known. */
struct stack {
    struct thread *threads;
    uint8_t (*onion)[HASH_BYTES];
    size_t count, room, known;
};

struct oracle; /* pre-images by key */
struct machine;

/* Host pointers to pages, by the low bits of the page index; a page index that cannot be marks an empty place. */
enum { LOOKASIDE_ENTRIES = 1024, CODE_PAGES = 1024, PAGE_INSTRUCTIONS = MEMORY_PAGE_BYTES / 4 };
#define NO_PAGE (~(uint64_t)0)

struct lookaside {
    uint64_t page;
    uint8_t *host;
};

/* What running needs and a fork at rest does not: made at the first run.
 * INVARIANT: a page in `write` is ours alone and its hashes are already forgotten; a page in `code` is not in `write`, so
 * that every store to it passes slow_store, which drops the decoded instruction. */
struct caches {
    struct lookaside read[LOOKASIDE_ENTRIES], write[LOOKASIDE_ENTRIES];
    struct {
        uint64_t page;
        struct instruction *instructions;
    } code[CODE_PAGES];
};

/* Bytes that the program wrote to descriptors since capture began: no part of the state. A forked machine starts with an
 * empty buffer and with capture off (limit 0). What does not fit `limit` is not kept, but counted. */
struct captured {
    uint8_t *bytes;
    uint64_t size, room, limit, lost;
};
enum { CAPTURE_OUTPUT, CAPTURE_HINTS, CAPTURES }; /* descriptors 1 and 2; descriptor 4 */

/* Something that runs instructions faster than run.c, to the same states (jit/). It is told of every change of memory. */
struct accelerator {
    /* As machine_interpret. */
    enum reason (*run)(struct machine *machine, struct thread *thread, uint64_t limit, enum then *then,
                       struct thread *child);
    /* `size` bytes were stored. True: stores to that page must go on being told, so it may not be in `write`. */
    bool (*stored)(struct machine *machine, uint64_t address, unsigned size);
    /* Memory was changed by other means than stores. */
    void (*changed)(struct machine *machine);
    void (*destroy)(struct machine *machine);
};

struct machine {
    struct vm vm;
    struct memory memory;
    struct stack stacks[2]; /* left, right */
    struct oracle *oracle;
    struct caches *caches;
    uint64_t unknown_address; /* the address for which content or memory was missing last */
    struct captured captured[CAPTURES];
    const struct accelerator *accelerator; /* NULL: run.c alone */
    void *acceleration;                    /* what it keeps for this machine */
};

static inline unsigned active_side(const struct vm *vm) { return vm->traverse_right != 0; }

static inline struct thread *active_thread(struct machine *machine)
{
    struct stack *stack = &machine->stacks[active_side(&machine->vm)];
    return stack->count == 0 ? NULL : &stack->threads[stack->count - 1];
}

/* stacks.c. Room for one more thread; false: out of memory. */
bool stack_make_room(struct stack *stack, struct store *store);
void stack_drop(struct stack *stack);
void stack_free(struct stack *stack, struct store *store);
/* *to, which is empty, becomes a copy; false: out of memory. */
bool stack_copy(const struct stack *from, struct stack *to, struct store *store);
/* out := the onion root of the lowest `threads` threads. */
void stack_root(struct stack *stack, bool ml, size_t threads, uint8_t out[static HASH_BYTES]);

/* caches.c. Forget host pointers: to write (hashes were taken, or a fork), or all and the decoded code (memory was
 * changed). */
bool machine_make_caches(struct machine *machine);
void machine_forget_writes(struct machine *machine);
void machine_forget_all(struct machine *machine);
void machine_free_caches(struct machine *machine);

/* preimages.c. A new oracle has one owner; the last that releases it frees it. */
struct oracle *oracle_new(void);
void oracle_retain(struct oracle *oracle);
void oracle_release(struct oracle *oracle);
enum reason machine_preimage(struct machine *machine, const uint8_t key[static 32], uint64_t offset,
                             uint8_t data[static 32], size_t *count);

/* captured.c. Keeps what the program wrote to a descriptor, if capture is on for it. */
void machine_wrote(void *machine, uint64_t descriptor, uint64_t address, uint64_t size);

/* run.c. Runs until the machine exits, max_steps steps are done, or there is no next state: then the reason. */
enum reason machine_run(struct machine *machine, uint64_t max_steps);
/* For an accelerator; caches must be made. Executes up to `limit` >= 1 instructions of `thread`, the active one; counts
 * those completed in vm.step and vm.slice. Unless it answers REASON_NONE, the instruction at thread->pc has had no
 * effect. */
enum reason machine_interpret(struct machine *machine, struct thread *thread, uint64_t limit, enum then *then,
                              struct thread *child);
/* The decoded instruction, the word, at pc. The machine does not change. */
enum reason machine_fetch(struct machine *machine, uint64_t pc, struct instruction *it);
enum reason machine_word(struct machine *machine, uint64_t pc, uint32_t *word);
/* Puts the page of `address` into the table of pages to read or to write. False: it is unknown, cannot be copied, or may
 * not be in that table. */
bool machine_ready(struct machine *machine, uint64_t address, bool to_write);

/* machine_memory.c */
int opml_machine_read(struct machine *machine, uint64_t address, uint8_t *out, uint64_t size);
int opml_machine_write(struct machine *machine, uint64_t address, const uint8_t *data, uint64_t size);

/* machine.c. roots := the three roots of the present state. */
enum reason machine_roots(struct machine *machine, struct roots *roots);
/* inner := onion root of the active stack without its top. */
void machine_inner_root(struct machine *machine, uint8_t inner[static HASH_BYTES]);

#endif
