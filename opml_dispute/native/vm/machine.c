/* Machines: made, forked, freed; their scalars, threads and state; a flipped bit. engine/machine_handle.py is the other side.
 *
 * A machine's parts have files of their own: stacks.c, caches.c, preimages.c, captured.c, machine_memory.c. */
#include "export.h"
#include "machine.h"
#include <stdlib.h>

/* ---- roots ---- */

enum reason machine_roots(struct machine *machine, struct roots *roots)
{
    enum memory_status status = memory_root(&machine->memory, 0, 64, roots->memory_root);
    machine_forget_writes(machine); /* the hashes are valid now; the next write to a page must say so */
    if (status != MEMORY_OK)
        return memory_reason(status);
    stack_root(&machine->stacks[0], machine->vm.ml, machine->stacks[0].count, roots->left_stack);
    stack_root(&machine->stacks[1], machine->vm.ml, machine->stacks[1].count, roots->right_stack);
    return REASON_NONE;
}

void machine_inner_root(struct machine *machine, uint8_t inner[static HASH_BYTES])
{
    struct stack *stack = &machine->stacks[active_side(&machine->vm)];
    stack_root(stack, machine->vm.ml, stack->count - 1, inner);
}

/* ---- life ---- */

EXPORT void opml_machine_free(struct machine *machine)
{
    if (machine == NULL)
        return;
    if (machine->accelerator != NULL)
        machine->accelerator->destroy(machine);
    machine_free_caches(machine);
    for (unsigned which = 0; which < CAPTURES; which++)
        free(machine->captured[which].bytes);
    if (machine->memory.store != NULL) {
        for (unsigned side = 0; side < 2; side++)
            stack_free(&machine->stacks[side], machine->memory.store);
        if (machine->memory.root != NULL)
            memory_free(&machine->memory);
        else
            store_release(machine->memory.store);
    }
    if (machine->oracle != NULL)
        oracle_release(machine->oracle);
    free(machine->vm.counts);
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
        !stack_make_room(&machine->stacks[0], store)) {
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
    fork->vm.counts = NULL;
    memory_fork(&machine->memory, &fork->memory);
    machine_forget_writes(machine); /* its pages are shared from now on */
    fork->oracle = machine->oracle;
    oracle_retain(fork->oracle);
    for (unsigned side = 0; side < 2; side++) {
        if (!stack_copy(&machine->stacks[side], &fork->stacks[side], fork->memory.store)) {
            opml_machine_free(fork);
            return NULL;
        }
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
    uint64_t unknown_address, memory_used_bytes;
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
    out->unknown_address = machine->unknown_address;
    out->memory_used_bytes = store_used_bytes(machine->memory.store);
    memcpy(out->preimage_key, vm->preimage_key, 32);
    out->exited = vm->exited;
    out->exit_code = vm->exit_code;
    out->ll_status = vm->ll_status;
    out->traverse_right = vm->traverse_right;
    out->ml = vm->ml;
}

/* Sets what opml_machine_scalars tells, but for the counts of threads, the reason and the account. */
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
        return REASON_BAD_STATE;
    struct stack *stack = &machine->stacks[side];
    while (stack->count < count) {
        if (!stack_make_room(stack, machine->memory.store))
            return REASON_OUT_OF_MEMORY;
        memset(&stack->threads[stack->count++], 0, sizeof *stack->threads);
    }
    stack->count = (size_t)count;
    if (stack->known > stack->count)
        stack->known = stack->count;
    return REASON_NONE;
}

/* Either output may be NULL. */
EXPORT int opml_machine_state(struct machine *machine, uint8_t witness[static STATE_BYTES],
                              uint8_t hash[static HASH_BYTES])
{
    struct roots roots;
    enum reason reason = machine_roots(machine, &roots);
    if (reason == REASON_NONE) {
        state_encode(&machine->vm, &roots, witness);
        state_hash(&machine->vm, &roots, hash);
    }
    return (int)reason;
}

/* From now on it is counted what struct counts says. False: out of memory. */
EXPORT int opml_machine_count(struct machine *machine)
{
    if (machine->vm.counts == NULL)
        machine->vm.counts = calloc(1, sizeof *machine->vm.counts);
    return machine->vm.counts != NULL;
}

/* The six counts, in their order; zeros if nothing is counted. */
EXPORT void opml_machine_counts(const struct machine *machine, uint64_t out[static 6])
{
    _Static_assert(offsetof(struct counts, links) == 6 * sizeof(uint64_t), "six numbers first");
    memset(out, 0, 6 * sizeof *out);
    if (machine->vm.counts != NULL)
        memcpy(out, machine->vm.counts, 6 * sizeof *out);
}

/* ---- fault injection ---- */

enum { FLIP_REGISTER, FLIP_FLOAT_REGISTER, FLIP_HI, FLIP_LO, FLIP_PC, FLIP_MEMORY };

/* Flips one bit of the active thread, or of the 64-bit word at `index` & ~7. Bit 0 is the least significant. */
EXPORT int opml_machine_flip(struct machine *machine, unsigned kind, uint64_t index, unsigned bit)
{
    struct thread *thread = active_thread(machine);
    uint64_t mask = (uint64_t)1 << (bit & 63);
    if (thread == NULL || bit > 63 || ((kind == FLIP_REGISTER || kind == FLIP_FLOAT_REGISTER) && index > 31))
        return REASON_BAD_STATE;
    struct stack *stack = &machine->stacks[active_side(&machine->vm)];
    if (stack->known > stack->count - 1)
        stack->known = stack->count - 1;
    switch (kind) {
    case FLIP_REGISTER: thread->r[index] ^= mask; return REASON_NONE;
    case FLIP_FLOAT_REGISTER:
        if (bit > 31 || !machine->vm.ml)
            return REASON_BAD_STATE;
        thread->f[index] ^= (uint32_t)mask;
        return REASON_NONE;
    case FLIP_HI: thread->hi ^= mask; return REASON_NONE;
    case FLIP_LO: thread->lo ^= mask; return REASON_NONE;
    case FLIP_PC: thread->pc ^= mask; return REASON_NONE;
    case FLIP_MEMORY: {
        uint8_t bytes[8];
        uint64_t address = index & ~(uint64_t)7;
        int reason = opml_machine_read(machine, address, bytes, 8);
        if (reason != REASON_NONE)
            return reason;
        store_big64(bytes, load_big64(bytes) ^ mask);
        return opml_machine_write(machine, address, bytes, 8);
    }
    default: return REASON_BAD_STATE;
    }
}
