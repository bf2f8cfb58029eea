/* Machines: made, forked, asked and tampered with. What Python calls is at the end; engine/vm.py is the other side. */
#include "export.h"
#include "machine.h"
#include <stdlib.h>

/* ---- pre-images: shared with forks until one of them adds another ---- */

struct preimage {
    struct preimage *next;
    uint8_t key[32];
    uint64_t size;
    uint8_t data[];
};

enum { ORACLE_BUCKETS = 256 };

struct oracle {
    uint64_t references;
    struct preimage *buckets[ORACLE_BUCKETS];
};

static struct preimage **oracle_find(struct oracle *oracle, const uint8_t key[static 32])
{
    /* Hash keys are spread by any byte, local keys (type 1) by the last. */
    struct preimage **place = &oracle->buckets[key[31]];
    while (*place != NULL && memcmp((*place)->key, key, 32) != 0)
        place = &(*place)->next;
    return place;
}

static struct oracle *oracle_new(void)
{
    struct oracle *oracle = calloc(1, sizeof *oracle);
    if (oracle != NULL)
        oracle->references = 1;
    return oracle;
}

static void oracle_release(struct oracle *oracle)
{
    if (--oracle->references != 0)
        return;
    for (unsigned i = 0; i < ORACLE_BUCKETS; i++)
        while (oracle->buckets[i] != NULL) {
            struct preimage *preimage = oracle->buckets[i];
            oracle->buckets[i] = preimage->next;
            free(preimage);
        }
    free(oracle);
}

/* Up to 32 bytes from `offset` of uint64(size) ++ data. */
enum fault machine_preimage(struct machine *machine, const uint8_t key[static 32], uint64_t offset,
                            uint8_t data[static 32], size_t *count)
{
    const struct preimage *preimage = *oracle_find(machine->oracle, key);
    if (preimage == NULL || offset >= preimage->size + 8)
        return FAULT_UNKNOWN_PREIMAGE;
    uint8_t prefix[8];
    store_big64(prefix, preimage->size);
    uint64_t left = preimage->size + 8 - offset;
    *count = left < 32 ? (size_t)left : 32;
    memset(data, 0, 32);
    for (size_t i = 0; i < *count; i++)
        data[i] = offset + i < 8 ? prefix[offset + i] : preimage->data[offset + i - 8];
    return FAULT_NONE;
}

/* ---- roots ---- */

static void stack_root(struct stack *stack, bool ml, size_t threads, uint8_t out[static HASH_BYTES])
{
    if (stack->room == 0) {
        memcpy(out, zero_root(LEAF_LOG2 + 1), HASH_BYTES);
        return;
    }
    for (; stack->known < threads; stack->known++) {
        memcpy(stack->onion[stack->known + 1], stack->onion[stack->known], HASH_BYTES);
        onion_push(stack->onion[stack->known + 1], &stack->threads[stack->known], ml);
    }
    memcpy(out, stack->onion[threads], HASH_BYTES);
}

enum fault machine_roots(struct machine *machine, struct roots *roots)
{
    enum memory_status status = memory_root(&machine->memory, 0, 64, roots->memory);
    machine_forget_writes(machine); /* the hashes are valid now; the next write to a page must say so */
    if (status != MEMORY_OK)
        return memory_fault(status);
    stack_root(&machine->stacks[0], machine->vm.ml, machine->stacks[0].count, roots->left);
    stack_root(&machine->stacks[1], machine->vm.ml, machine->stacks[1].count, roots->right);
    return FAULT_NONE;
}

void machine_inner_root(struct machine *machine, uint8_t inner[static HASH_BYTES])
{
    struct stack *stack = &machine->stacks[active_side(&machine->vm)];
    stack_root(stack, machine->vm.ml, stack->count - 1, inner);
}

/* ---- what the program wrote ---- */

/* Room for `more` bytes; false if there is no memory for them. */
static bool captured_make_room(struct captured *captured, uint64_t more)
{
    if (captured->size + more <= captured->room)
        return true;
    uint64_t room = 2 * (captured->size + more);
    uint8_t *bytes = realloc(captured->bytes, (size_t)room);
    if (bytes == NULL)
        return false;
    captured->bytes = bytes;
    captured->room = room;
    return true;
}

void machine_wrote(void *context, uint64_t descriptor, uint64_t address, uint64_t size)
{
    struct machine *machine = context;
    struct captured *captured = &machine->captured[descriptor <= 2 ? CAPTURE_OUTPUT : CAPTURE_HINTS];
    uint64_t kept = captured->limit - captured->size;
    if (kept > size)
        kept = size;
    if (kept != 0 && !captured_make_room(captured, kept))
        kept = 0;
    /* Memory that is known by its root only has no bytes to show. */
    if (kept != 0 && memory_read(&machine->memory, address, captured->bytes + captured->size, kept) != MEMORY_OK)
        kept = 0;
    captured->size += kept;
    if (captured->limit != 0)
        captured->lost += size - kept;
}

/* From now on up to `limit` bytes of a capture are kept; what was kept before is forgotten. */
EXPORT void opml_machine_capture(struct machine *machine, uint32_t which, uint64_t limit)
{
    free(machine->captured[which].bytes);
    machine->captured[which] = (struct captured){.limit = limit};
}

/* The bytes kept stay the machine's, until its next run or capture. Returns their number. */
EXPORT uint64_t opml_machine_captured(const struct machine *machine, uint32_t which, const uint8_t **bytes,
                                      uint64_t *lost)
{
    *bytes = machine->captured[which].bytes;
    *lost = machine->captured[which].lost;
    return machine->captured[which].size;
}

/* Forgets the first `count` bytes kept, so that there is room for as many more. */
EXPORT void opml_machine_drop_captured(struct machine *machine, uint32_t which, uint64_t count)
{
    struct captured *captured = &machine->captured[which];
    if (count > captured->size)
        count = captured->size;
    if (count != 0)
        memmove(captured->bytes, captured->bytes + count, captured->size - count);
    captured->size -= count;
}

/* Puts bytes into a capture as if the program had written them; 0 if there is no room. */
EXPORT int opml_machine_put_captured(struct machine *machine, uint32_t which, const uint8_t *bytes, uint64_t count)
{
    struct captured *captured = &machine->captured[which];
    if (count > captured->limit - captured->size || !captured_make_room(captured, count))
        return 0;
    memcpy(captured->bytes + captured->size, bytes, count);
    captured->size += count;
    return 1;
}

/* ---- life ---- */

EXPORT void opml_machine_free(struct machine *machine)
{
    if (machine == NULL)
        return;
    machine_free_caches(machine);
    for (unsigned which = 0; which < CAPTURES; which++)
        free(machine->captured[which].bytes);
    if (machine->memory.store != NULL) {
        for (unsigned side = 0; side < 2; side++) {
            struct stack *stack = &machine->stacks[side];
            store_free(machine->memory.store, stack->threads, stack->room * sizeof *stack->threads);
            if (stack->room != 0)
                store_free(machine->memory.store, stack->onion, (stack->room + 1) * sizeof *stack->onion);
        }
        if (machine->memory.root != NULL)
            memory_free(&machine->memory);
        else
            store_release(machine->memory.store);
    }
    if (machine->oracle != NULL)
        oracle_release(machine->oracle);
    free(machine);
}

/* A machine with zero memory, no pre-images and one thread, all zero but for its stack pointer: the initial state of
 * docs/vm.md with entry point 0 and no segments. NULL: out of memory. */
EXPORT struct machine *opml_machine_new(int ml, uint64_t memory_limit_bytes)
{
    struct machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL)
        return NULL;
    struct store *store = store_new(memory_limit_bytes);
    machine->memory.store = store;
    machine->oracle = oracle_new();
    if (store == NULL || machine->oracle == NULL || !memory_init(&machine->memory, store) ||
        !stack_make_room(machine, 0)) {
        opml_machine_free(machine);
        return NULL;
    }
    machine->vm.ml = ml != 0;
    machine->vm.heap = HEAP_START;
    machine->vm.next_thread_id = 1;
    machine->stacks[0].count = 1;
    machine->stacks[0].threads[0].next_pc = 4;
    machine->stacks[0].threads[0].r[29] = 0x00007FFFFFFFF000ull;
    return machine;
}

/* NULL: out of memory. */
EXPORT struct machine *opml_machine_fork(struct machine *machine)
{
    struct machine *fork = calloc(1, sizeof *fork);
    if (fork == NULL)
        return NULL;
    fork->vm = machine->vm;
    memory_fork(&machine->memory, &fork->memory);
    machine_forget_writes(machine); /* its pages are shared from now on */
    fork->oracle = machine->oracle;
    fork->oracle->references++;
    for (unsigned side = 0; side < 2; side++) {
        struct stack *from = &machine->stacks[side], *to = &fork->stacks[side];
        if (from->room == 0)
            continue;
        struct thread *threads = store_allocate(fork->memory.store, from->room * sizeof *threads);
        uint8_t (*onion)[HASH_BYTES] = store_allocate(fork->memory.store, (from->room + 1) * sizeof *onion);
        if (threads == NULL || onion == NULL) {
            store_free(fork->memory.store, threads, from->room * sizeof *threads);
            store_free(fork->memory.store, onion, (from->room + 1) * sizeof *onion);
            opml_machine_free(fork);
            return NULL;
        }
        memcpy(threads, from->threads, from->count * sizeof *threads);
        memcpy(onion, from->onion, (from->count + 1) * sizeof *onion);
        *to = (struct stack){threads, onion, from->count, from->room, from->known};
    }
    return fork;
}

EXPORT int opml_machine_run(struct machine *machine, uint64_t max_steps)
{
    return (int)machine_run(machine, max_steps);
}

/* ---- questions ---- */

/* What Python reads in one call. Mirrored by engine/lib.py, `NativeScalars`. */
struct scalars {
    uint64_t step, slice, heap, next_thread_id, preimage_offset, ll_address, ll_owner;
    uint64_t left_threads, right_threads;
    uint64_t fault_address, memory_used_bytes;
    uint8_t preimage_key[32];
    uint8_t exited, exit_code, ll_status, traverse_right, ml, pad[3];
};

EXPORT void opml_machine_scalars(const struct machine *machine, struct scalars *out)
{
    const struct vm *vm = &machine->vm;
    memset(out, 0, sizeof *out);
    out->step = vm->step;
    out->slice = vm->slice;
    out->heap = vm->heap;
    out->next_thread_id = vm->next_thread_id;
    out->preimage_offset = vm->preimage_offset;
    out->ll_address = vm->ll_address;
    out->ll_owner = vm->ll_owner;
    out->left_threads = machine->stacks[0].count;
    out->right_threads = machine->stacks[1].count;
    out->fault_address = machine->fault_address;
    out->memory_used_bytes = store_used_bytes(machine->memory.store);
    memcpy(out->preimage_key, vm->preimage_key, 32);
    out->exited = vm->exited;
    out->exit_code = vm->exit_code;
    out->ll_status = vm->ll_status;
    out->traverse_right = vm->traverse_right;
    out->ml = vm->ml;
}

/* Sets what opml_machine_scalars tells, but for the counts of threads, the fault and the account. */
EXPORT void opml_machine_set_scalars(struct machine *machine, const struct scalars *in)
{
    struct vm *vm = &machine->vm;
    vm->step = in->step;
    vm->slice = in->slice;
    vm->heap = in->heap;
    vm->next_thread_id = in->next_thread_id;
    vm->preimage_offset = in->preimage_offset;
    vm->ll_address = in->ll_address;
    vm->ll_owner = in->ll_owner;
    memcpy(vm->preimage_key, in->preimage_key, 32);
    vm->exited = in->exited;
    vm->exit_code = in->exit_code;
    vm->ll_status = in->ll_status;
    vm->traverse_right = in->traverse_right;
}

/* Thread `index` (0 is the bottom) of the left (0) or right (1) stack: its 298- or 430-byte witness. False: not there. */
EXPORT int opml_machine_thread(const struct machine *machine, unsigned side, uint64_t index, uint8_t *out)
{
    if (side > 1 || index >= machine->stacks[side].count)
        return 0;
    thread_encode(&machine->stacks[side].threads[index], machine->vm.ml, out);
    return 1;
}

EXPORT int opml_machine_set_thread(struct machine *machine, unsigned side, uint64_t index, const uint8_t *in)
{
    if (side > 1 || index >= machine->stacks[side].count)
        return 0;
    struct stack *stack = &machine->stacks[side];
    thread_decode(&stack->threads[index], machine->vm.ml, in);
    if (stack->known > index)
        stack->known = index;
    return 1;
}

/* Makes a stack have `count` threads, new ones all zero. */
EXPORT int opml_machine_resize_stack(struct machine *machine, unsigned side, uint64_t count)
{
    if (side > 1)
        return FAULT_BAD_STATE;
    struct stack *stack = &machine->stacks[side];
    while (stack->count < count) {
        if (!stack_make_room(machine, side))
            return FAULT_OUT_OF_MEMORY;
        memset(&stack->threads[stack->count++], 0, sizeof *stack->threads);
    }
    stack->count = (size_t)count;
    if (stack->known > stack->count)
        stack->known = stack->count;
    return FAULT_NONE;
}

/* Either output may be NULL. */
EXPORT int opml_machine_state(struct machine *machine, uint8_t witness[static STATE_BYTES],
                              uint8_t hash[static HASH_BYTES])
{
    struct roots roots;
    enum fault fault = machine_roots(machine, &roots);
    if (fault == FAULT_NONE) {
        state_encode(&machine->vm, &roots, witness);
        state_hash(&machine->vm, &roots, hash);
    }
    return (int)fault;
}

static int remember(struct machine *machine, enum memory_status status, uint64_t address)
{
    machine->fault_address = address;
    return (int)memory_fault(status);
}

EXPORT int opml_machine_read(struct machine *machine, uint64_t address, uint8_t *out, uint64_t size)
{
    return remember(machine, memory_read(&machine->memory, address, out, size), address);
}

EXPORT int opml_machine_write(struct machine *machine, uint64_t address, const uint8_t *data, uint64_t size)
{
    enum memory_status status = memory_write(&machine->memory, address, data, size);
    machine_forget_all(machine);
    return remember(machine, status, address);
}

EXPORT int opml_machine_zero(struct machine *machine, uint64_t address, uint64_t size)
{
    enum memory_status status = memory_zero(&machine->memory, address, size);
    machine_forget_all(machine);
    return remember(machine, status, address);
}

static int misplaced(uint64_t address, unsigned log2_size)
{
    return log2_size < LEAF_LOG2 || log2_size > 63 || (address & (((uint64_t)1 << log2_size) - 1)) != 0;
}

EXPORT int opml_machine_subtree_root(struct machine *machine, uint64_t address, unsigned log2_size,
                                     uint8_t out[static HASH_BYTES])
{
    if (misplaced(address, log2_size))
        return FAULT_BAD_STATE;
    enum memory_status status = memory_root(&machine->memory, address, log2_size, out);
    machine_forget_writes(machine);
    return remember(machine, status, address);
}

EXPORT int opml_machine_put_subtree(struct machine *machine, uint64_t address, unsigned log2_size,
                                    const uint8_t root[static HASH_BYTES])
{
    if (misplaced(address, log2_size))
        return FAULT_BAD_STATE;
    enum memory_status status = memory_put(&machine->memory, address, log2_size, root);
    machine_forget_all(machine);
    return remember(machine, status, address);
}

/* siblings: room for 59 hashes. */
EXPORT int opml_machine_siblings(struct machine *machine, uint64_t address, unsigned log2_size, uint8_t *siblings)
{
    if (misplaced(address, log2_size))
        return FAULT_BAD_STATE;
    enum memory_status status = memory_siblings(&machine->memory, address, log2_size, siblings);
    machine_forget_writes(machine);
    return remember(machine, status, address);
}

/* ---- what is known from outside ---- */

static bool oracle_put(struct oracle *oracle, const uint8_t key[static 32], const uint8_t *data, uint64_t size)
{
    if (size > SIZE_MAX - sizeof(struct preimage))
        return false;
    struct preimage *preimage = malloc(sizeof *preimage + (size_t)size);
    if (preimage == NULL)
        return false;
    struct preimage **place = oracle_find(oracle, key), *old = *place;
    preimage->next = old == NULL ? NULL : old->next;
    memcpy(preimage->key, key, 32);
    preimage->size = size;
    if (size != 0)
        memcpy(preimage->data, data, (size_t)size);
    *place = preimage;
    free(old);
    return true;
}

/* Replaces what was there under that key, for this machine alone. 0: out of memory. */
EXPORT int opml_machine_add_preimage(struct machine *machine, const uint8_t key[static 32], const uint8_t *data,
                                     uint64_t size)
{
    if (machine->oracle->references > 1) {
        struct oracle *own = oracle_new();
        if (own == NULL)
            return 0;
        for (unsigned i = 0; i < ORACLE_BUCKETS; i++)
            for (const struct preimage *old = machine->oracle->buckets[i]; old != NULL; old = old->next)
                if (!oracle_put(own, old->key, old->data, old->size)) {
                    oracle_release(own);
                    return 0;
                }
        oracle_release(machine->oracle);
        machine->oracle = own;
    }
    return oracle_put(machine->oracle, key, data, size);
}

/* See content_add. *problem is a constant string or NULL. */
EXPORT int opml_machine_add_subtree(struct machine *machine, const uint8_t root[static HASH_BYTES], unsigned log2_size,
                                    const struct block *blocks, uint64_t count, unsigned threads, const char **problem,
                                    uint64_t *problem_block)
{
    size_t at = 0;
    *problem = NULL;
    if (log2_size < LEAF_LOG2 || log2_size > 63)
        return FAULT_BAD_STATE;
    enum memory_status status = content_add(machine->memory.store, &machine->memory.contents, root, log2_size, blocks,
                                            (size_t)count, threads, problem, &at);
    *problem_block = at;
    return (int)memory_fault(status);
}

/* ---- fault injection ---- */

enum { FLIP_REGISTER, FLIP_FLOAT_REGISTER, FLIP_HI, FLIP_LO, FLIP_PC, FLIP_MEMORY };

/* Flips one bit of the active thread, or of the 64-bit word at `index` & ~7. Bit 0 is the least significant. */
EXPORT int opml_machine_flip(struct machine *machine, unsigned kind, uint64_t index, unsigned bit)
{
    struct thread *thread = active_thread(machine);
    uint64_t mask = (uint64_t)1 << (bit & 63);
    if (thread == NULL || bit > 63 || ((kind == FLIP_REGISTER || kind == FLIP_FLOAT_REGISTER) && index > 31))
        return FAULT_BAD_STATE;
    struct stack *stack = &machine->stacks[active_side(&machine->vm)];
    if (stack->known > stack->count - 1)
        stack->known = stack->count - 1;
    switch (kind) {
    case FLIP_REGISTER: thread->r[index] ^= mask; return FAULT_NONE;
    case FLIP_FLOAT_REGISTER:
        if (bit > 31 || !machine->vm.ml)
            return FAULT_BAD_STATE;
        thread->f[index] ^= (uint32_t)mask;
        return FAULT_NONE;
    case FLIP_HI: thread->hi ^= mask; return FAULT_NONE;
    case FLIP_LO: thread->lo ^= mask; return FAULT_NONE;
    case FLIP_PC: thread->pc ^= mask; return FAULT_NONE;
    case FLIP_MEMORY: {
        uint8_t bytes[8];
        uint64_t address = index & ~(uint64_t)7;
        int fault = opml_machine_read(machine, address, bytes, 8);
        if (fault != FAULT_NONE)
            return fault;
        store_big64(bytes, load_big64(bytes) ^ mask);
        return opml_machine_write(machine, address, bytes, 8);
    }
    default: return FAULT_BAD_STATE;
    }
}

/* ---- plain functions ---- */

EXPORT void opml_keccak256(const uint8_t *data, uint64_t size, uint8_t out[static HASH_BYTES])
{
    keccak256(data, (size_t)size, out);
}

EXPORT void opml_zero_root(unsigned log2_size, uint8_t out[static HASH_BYTES])
{
    memcpy(out, zero_root(log2_size), HASH_BYTES);
}

/* 0: out of memory. */
EXPORT int opml_merkle_root(const uint8_t *data, uint64_t size, unsigned log2_size, unsigned word_bytes,
                            unsigned threads, uint8_t out[static HASH_BYTES])
{
    return merkle_root(data, size, log2_size, word_bytes, threads, out);
}

/* out[i] := H(in[64 i ..]), so that Python builds levels of trees fast. */
EXPORT void opml_keccak_pairs(const uint8_t *in, uint8_t *out, uint64_t count) { keccak_pairs(in, out, (size_t)count); }

/* What decode makes of an instruction word: "DADDIU", "ILLEGAL", ... A constant string. */
EXPORT const char *opml_operation_name(uint32_t word, int ml)
{
    static const char *const names[OPERATION_COUNT] = {
#define X(name) #name,
        OPERATIONS(X)
#undef X
    };
    return names[decode(word, ml != 0).operation];
}

/* ---- for saving ---- */

typedef int visit_subtree(uint64_t address, unsigned log2_size, const uint8_t *root);
typedef int visit_page(uint64_t address, const uint8_t *page);

struct visit_context {
    visit_subtree *subtree;
    visit_page *page;
};

static bool call_subtree(void *context, uint64_t address, unsigned log2_size, const uint8_t root[static HASH_BYTES])
{
    return ((struct visit_context *)context)->subtree(address, log2_size, root) != 0;
}

static bool call_page(void *context, uint64_t address, const uint8_t *page)
{
    return ((struct visit_context *)context)->page(address, page) != 0;
}

/* See memory_visit. 0: a call answered 0. */
EXPORT int opml_machine_visit(struct machine *machine, visit_subtree *subtree, visit_page *page)
{
    struct visit_context context = {subtree, page};
    struct memory_visitor visitor = {&context, call_subtree, call_page};
    return memory_visit(&machine->memory, &visitor);
}
