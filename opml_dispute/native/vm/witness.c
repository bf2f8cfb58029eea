/* One step from a witness, and the making of witnesses. docs/vm.md, "One step" and "Proof". Twin: contracts/src/vm/FPVM.sol.
 *
 * A `step` holds what the chain holds: the 188-byte state, the proof, one pre-image part. Its memory is up to three proven
 * leaves (or a subtree), loaded as instructions.h asks for them. To make a witness, the same step runs with a whole machine
 * for its source: each proof is then taken from a fork's memory and written down before it is checked. */
#include "export.h"
#include "float_mode.h"
#include "machine.h"

enum { COMPACT_MARKER_BYTES = 8, LEAF_PROOF_LEVELS = 59, ROOM_BYTES = 8192 };
#define COMPACT_MARKER 0x4F504D4C434D5031ull /* "OPMLCMP1" */

/* A subtree proven to be in memory, and its way up. */
struct proven {
    bool loaded;
    uint64_t address;
    unsigned log2_size;
    uint8_t root[HASH_BYTES]; /* the leaf itself if log2_size is 5 */
    uint8_t siblings[LEAF_PROOF_LEVELS][HASH_BYTES];
};

/* What the step asked the oracle for, and the answer it was given. Mirrored by engine/lib.py, `NativePreimagePart`. */
struct preimage_part {
    uint8_t key[32]; /* as the VM holds it: local keys are not localized */
    uint64_t offset;
    uint64_t count; /* how many of the 32 bytes there are */
    uint8_t data[32];
    uint8_t asked, answered, pad[6];
};

struct step {
    struct vm vm;
    struct roots roots;
    struct thread thread;
    uint8_t inner[HASH_BYTES];
    struct proven proven[3];
    struct preimage_part *part;
    uint64_t fault_address;

    const uint8_t *proof; /* checking: what was sent */
    size_t size, cursor;
    bool compact;

    struct machine *source; /* recording: where proofs come from, and where they go */
    struct memory *memory;
    uint8_t *out;
    size_t out_size;
};

/* ---- memory proofs ---- */

static void root_of(const struct proven *proven, uint8_t node[static HASH_BYTES])
{
    memcpy(node, proven->root, HASH_BYTES);
    for (unsigned level = proven->log2_size; level < 64; level++) {
        const uint8_t *sibling = proven->siblings[level - proven->log2_size];
        if ((proven->address >> level) & 1)
            keccak_pair(sibling, node, node);
        else
            keccak_pair(node, sibling, node);
    }
}

/* Fixed places; the padding of the calldata to 32 bytes reads as zeros. */
static enum fault take_full(struct step *step, struct proven *proven, int slot)
{
    size_t words = 65 - proven->log2_size;
    size_t start = thread_bytes(step->vm.ml) + HASH_BYTES + (size_t)slot * MEMORY_PROOF_BYTES;
    size_t padded = (step->size + 31) & ~(size_t)31;
    if (start + HASH_BYTES * words > padded)
        return FAULT_PROOF_TOO_SHORT;
    uint8_t bytes[MEMORY_PROOF_BYTES] = {0};
    size_t sent = step->size <= start ? 0 : step->size - start;
    memcpy(bytes, step->proof + (sent == 0 ? 0 : start), sent < HASH_BYTES * words ? sent : HASH_BYTES * words);
    memcpy(proven->root, bytes, HASH_BYTES);
    memcpy(proven->siblings, bytes + HASH_BYTES, HASH_BYTES * (words - 1));
    return FAULT_NONE;
}

/* Root, bitmap, and the siblings that are not zero subtrees. */
static enum fault take_compact(struct step *step, struct proven *proven)
{
    unsigned levels = 64 - proven->log2_size;
    if (step->size - step->cursor < HASH_BYTES + 8)
        return FAULT_PROOF_TOO_SHORT;
    const uint8_t *at = step->proof + step->cursor;
    memcpy(proven->root, at, HASH_BYTES);
    uint64_t bitmap = load_big64(at + HASH_BYTES);
    if (bitmap >> levels != 0)
        return FAULT_PROOF_BITMAP;
    size_t need = HASH_BYTES + 8 + HASH_BYTES * (size_t)__builtin_popcountll(bitmap);
    if (step->size - step->cursor < need)
        return FAULT_PROOF_TOO_SHORT;
    at += HASH_BYTES + 8;
    for (unsigned i = 0; i < levels; i++) {
        bool sent = (bitmap >> i) & 1;
        memcpy(proven->siblings[i], sent ? at : zero_root(proven->log2_size + i), HASH_BYTES);
        at += sent ? HASH_BYTES : 0;
    }
    step->cursor += need;
    return FAULT_NONE;
}

static enum fault record(struct step *step, struct proven *proven, int slot)
{
    enum memory_status status = memory_root(step->memory, proven->address, proven->log2_size, proven->root);
    if (status == MEMORY_OK)
        status = memory_siblings(step->memory, proven->address, proven->log2_size, proven->siblings[0]);
    if (status != MEMORY_OK)
        return memory_fault(status);
    unsigned levels = 64 - proven->log2_size;
    if (!step->compact) {
        uint8_t *at = step->out + thread_bytes(step->vm.ml) + HASH_BYTES + (size_t)slot * MEMORY_PROOF_BYTES;
        memcpy(at, proven->root, HASH_BYTES);
        memcpy(at + HASH_BYTES, proven->siblings, HASH_BYTES * levels);
        return FAULT_NONE;
    }
    uint8_t *at = step->out + step->out_size;
    memcpy(at, proven->root, HASH_BYTES);
    uint64_t bitmap = 0;
    size_t size = HASH_BYTES + 8;
    for (unsigned i = 0; i < levels; i++) {
        if (memcmp(proven->siblings[i], zero_root(proven->log2_size + i), HASH_BYTES) == 0)
            continue;
        bitmap |= (uint64_t)1 << i;
        memcpy(at + size, proven->siblings[i], HASH_BYTES);
        size += HASH_BYTES;
    }
    store_big64(at + HASH_BYTES, bitmap);
    step->out_size += size;
    return FAULT_NONE;
}

/* Memory proof `slot` shows the 2^log2_size bytes at `address` under the present memory root. */
static enum fault prove(struct step *step, int slot, uint64_t address, unsigned log2_size)
{
    struct proven *proven = &step->proven[slot];
    address = address >> log2_size << log2_size;
    if (proven->loaded && proven->address == address && proven->log2_size == log2_size)
        return FAULT_NONE;
    step->fault_address = address;
    proven->address = address;
    proven->log2_size = log2_size;
    enum fault fault = step->source != NULL ? record(step, proven, slot)
                       : step->compact      ? take_compact(step, proven)
                                            : take_full(step, proven, slot);
    if (fault != FAULT_NONE)
        return fault;
    uint8_t root[HASH_BYTES];
    root_of(proven, root);
    if (memcmp(root, step->roots.memory, HASH_BYTES) != 0)
        return FAULT_MEMORY_PROOF;
    proven->loaded = true;
    return FAULT_NONE;
}

/* ---- access ---- */

static enum fault read_word(void *context, uint64_t address, int slot, uint64_t *word)
{
    struct step *step = context;
    enum fault fault = prove(step, slot, address, LEAF_LOG2);
    if (fault == FAULT_NONE)
        *word = load_big64(step->proven[slot].root + (address & 24));
    return fault;
}

static enum fault write_word(void *context, uint64_t address, int slot, uint64_t word)
{
    struct step *step = context;
    enum fault fault = prove(step, slot, address, LEAF_LOG2);
    if (fault != FAULT_NONE)
        return fault;
    store_big64(step->proven[slot].root + (address & 24), word);
    root_of(&step->proven[slot], step->roots.memory);
    if (step->source != NULL) {
        uint8_t bytes[8];
        store_big64(bytes, word);
        fault = memory_fault(memory_write(step->memory, address & ~(uint64_t)7, bytes, 8));
    }
    return fault;
}

static enum fault may_write(void *context, uint64_t address)
{
    (void)context;
    (void)address;
    return FAULT_NONE; /* a fault ends the step, and nothing of it is kept */
}

static enum fault read_preimage(void *context, const uint8_t key[static 32], uint64_t offset, uint8_t data[static 32],
                                size_t *count)
{
    struct step *step = context;
    struct preimage_part *part = step->part;
    if (step->source != NULL) {
        memcpy(part->key, key, 32);
        part->offset = offset;
        part->asked = 1;
        return machine_preimage(step->source, key, offset, data, count);
    }
    if (!part->answered || memcmp(part->key, key, 32) != 0 || part->offset != offset) {
        memcpy(part->key, key, 32);
        part->offset = offset;
        part->asked = 1;
        return FAULT_UNKNOWN_PREIMAGE;
    }
    memcpy(data, part->data, 32);
    *count = part->count < 32 ? (size_t)part->count : 32;
    return FAULT_NONE;
}

static enum fault tensor_map(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    struct step *step = context;
    enum fault fault = prove(step, 1, leaf_address, LEAF_LOG2);
    if (fault == FAULT_NONE)
        fault = prove(step, 2, address, log2_size);
    if (fault != FAULT_NONE)
        return fault;
    memcpy(step->proven[2].root, step->proven[1].root, HASH_BYTES);
    root_of(&step->proven[2], step->roots.memory);
    return FAULT_NONE;
}

static enum fault tensor_root(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    struct step *step = context;
    enum fault fault = prove(step, 1, leaf_address, LEAF_LOG2);
    if (fault == FAULT_NONE)
        fault = prove(step, 2, address, log2_size);
    if (fault != FAULT_NONE)
        return fault;
    /* The leaf lies outside the subtree, so proof 1's siblings still hold. */
    memcpy(step->proven[1].root, step->proven[2].root, HASH_BYTES);
    root_of(&step->proven[1], step->roots.memory);
    return FAULT_NONE;
}

static uint8_t *active_root(struct step *step) { return active_side(&step->vm) ? step->roots.right : step->roots.left; }

static uint8_t *inactive_root(struct step *step)
{
    return active_side(&step->vm) ? step->roots.left : step->roots.right;
}

static bool is_empty(const uint8_t root[static HASH_BYTES])
{
    return memcmp(root, zero_root(LEAF_LOG2 + 1), HASH_BYTES) == 0; /* EMPTY = H(64 zero bytes) */
}

static bool is_last_thread(void *context)
{
    struct step *step = context;
    return is_empty(step->inner) && is_empty(inactive_root(step));
}

static const struct access ACCESS_STEP = {
    read_word,  write_word,  may_write,      read_preimage,
    tensor_map, tensor_root, is_last_thread, NULL, /* wrote: a single step captures nothing */
};

#define INTERPRET     run_instruction
#define CONTEXT       struct step
#define ACCESS        (&ACCESS_STEP)
#define ACCESS_LOCALS struct instruction fetched
#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        fault = (expression);                                                                                          \
        if (fault != FAULT_NONE)                                                                                       \
            goto stopped;                                                                                              \
    } while (0)
#define FETCH(it)                                                                                                      \
    do {                                                                                                               \
        uint64_t word_;                                                                                                \
        if (pc & 3)                                                                                                    \
            STOP(FAULT_MISALIGNED_PC);                                                                                 \
        TRY(read_word(context, pc & ~(uint64_t)7, 0, &word_));                                                         \
        fetched = decode((uint32_t)(pc & 4 ? word_ : word_ >> 32), vm->ml);                                            \
        it = &fetched;                                                                                                 \
    } while (0)
#define REFETCH()            ((void)0)
#define DECODE_HERE(it)      STOP(FAULT_UNSUPPORTED_INSTRUCTION) /* decode answers no such operation */
#define UNIT_SHIFT(size, va) (64 - 8 * (size) - 8 * ((va) & 7 & ~(uint64_t)((size) - 1)))
#define UNIT_MASK(size)      (~(uint64_t)0 >> (64 - 8 * (size)))
#define LOAD_UNIT(size, va, x)                                                                                         \
    do {                                                                                                               \
        uint64_t word_;                                                                                                \
        TRY(read_word(context, (va), 1, &word_));                                                                      \
        x = word_ >> UNIT_SHIFT(size, va) & UNIT_MASK(size);                                                           \
    } while (0)
#define STORE_UNIT(size, va, x)                                                                                        \
    do {                                                                                                               \
        uint64_t word_, mask_ = UNIT_MASK(size) << UNIT_SHIFT(size, va);                                               \
        uint64_t unit_ = (uint64_t)(x) << UNIT_SHIFT(size, va);                                                        \
        TRY(read_word(context, (va), 1, &word_));                                                                      \
        TRY(write_word(context, (va), 1, (word_ & ~mask_) | (unit_ & mask_)));                                         \
    } while (0)
#define LOAD8(va, x)   LOAD_UNIT(1, va, x)
#define LOAD16(va, x)  LOAD_UNIT(2, va, x)
#define LOAD32(va, x)  LOAD_UNIT(4, va, x)
#define LOAD64(va, x)  LOAD_UNIT(8, va, x)
#define STORE8(va, x)  STORE_UNIT(1, va, x)
#define STORE16(va, x) STORE_UNIT(2, va, x)
#define STORE32(va, x) STORE_UNIT(4, va, x)
#define STORE64(va, x) STORE_UNIT(8, va, x)

#include "instructions.h"

/* ---- the frame of a step ---- */

static void flip_if_empty(struct step *step)
{
    if (is_empty(active_root(step)))
        step->vm.traverse_right = step->vm.traverse_right == 0;
}

static enum fault take_thread(struct step *step)
{
    size_t bytes = thread_bytes(step->vm.ml), padded = (step->size + 31) & ~(size_t)31;
    uint8_t taken[ML_THREAD_BYTES + HASH_BYTES] = {0};
    if (step->compact) {
        if (step->size - step->cursor < bytes + HASH_BYTES)
            return FAULT_PROOF_TOO_SHORT;
        memcpy(taken, step->proof + step->cursor, bytes + HASH_BYTES);
        step->cursor += bytes + HASH_BYTES;
    } else {
        if (padded < bytes + HASH_BYTES)
            return FAULT_PROOF_TOO_SHORT;
        memcpy(taken, step->proof, step->size < bytes + HASH_BYTES ? step->size : bytes + HASH_BYTES);
    }
    thread_decode(&step->thread, step->vm.ml, taken);
    memcpy(step->inner, taken + bytes, HASH_BYTES);
    return FAULT_NONE;
}

static void give_thread(struct step *step)
{
    size_t bytes = thread_bytes(step->vm.ml);
    if (step->compact) {
        store_big64(step->out, COMPACT_MARKER);
        step->out_size = COMPACT_MARKER_BYTES;
    }
    thread_encode(&step->thread, step->vm.ml, step->out + step->out_size);
    memcpy(step->out + step->out_size + bytes, step->inner, HASH_BYTES);
    step->out_size += bytes + HASH_BYTES;
}

static enum fault run_step(struct step *step)
{
    struct vm *vm = &step->vm;
    uint8_t *active = active_root(step), *inactive = inactive_root(step);
    if (vm->exited > 1)
        return FAULT_BAD_STATE;
    if (vm->exited == 0) {
        if (is_empty(active))
            return FAULT_NO_THREAD;
        enum fault fault = FAULT_NONE;
        if (step->source != NULL)
            give_thread(step);
        else
            fault = take_thread(step);
        if (fault != FAULT_NONE)
            return fault;
        uint8_t root[HASH_BYTES];
        memcpy(root, step->inner, HASH_BYTES);
        onion_push(root, &step->thread, vm->ml);
        if (memcmp(root, active, HASH_BYTES) != 0)
            return FAULT_THREAD_PROOF;
        if (step->thread.exited) {
            vm->step++;
            memcpy(active, step->inner, HASH_BYTES);
            flip_if_empty(step);
            vm->slice = 0;
        } else if (vm->slice >= QUANTUM) {
            vm->step++;
            memcpy(active, step->inner, HASH_BYTES);
            onion_push(inactive, &step->thread, vm->ml);
            flip_if_empty(step);
            vm->slice = 0;
        } else {
            enum then then;
            struct thread child;
            fault = run_instruction(step, vm, &step->thread, 1, &then, &child);
            if (fault != FAULT_NONE)
                return fault;
            memcpy(active, step->inner, HASH_BYTES);
            if (then == THEN_PREEMPT) {
                onion_push(inactive, &step->thread, vm->ml);
                flip_if_empty(step);
                vm->slice = 0;
            } else {
                onion_push(active, &step->thread, vm->ml);
            }
            if (then == THEN_PUSH_CHILD) {
                onion_push(active, &child, vm->ml);
                vm->slice = 0;
            }
        }
    }
    /* The stack that is active now must have a thread, also if the VM had exited before. */
    return is_empty(active_root(step)) ? FAULT_NO_THREAD : FAULT_NONE;
}

/* The step after `state` as `proof` (either encoding) shows it. `part`: in, an answer (answered != 0) or none; out, what
 * was asked for (asked != 0). On FAULT_NONE the post-state and its hash are in post_state, post_hash. */
EXPORT int opml_step(int ml, const uint8_t *state, uint64_t state_size, const uint8_t *proof, uint64_t proof_size,
                     struct preimage_part *part, uint8_t post_state[static STATE_BYTES],
                     uint8_t post_hash[static HASH_BYTES], uint64_t *fault_address)
{
    if (state_size != STATE_BYTES)
        return FAULT_BAD_STATE;
    struct step step = {.part = part, .proof = proof, .size = (size_t)proof_size};
    state_decode(&step.vm, &step.roots, state);
    step.vm.ml = ml != 0;
    step.compact = proof_size >= COMPACT_MARKER_BYTES && load_big64(proof) == COMPACT_MARKER;
    if (step.compact)
        step.cursor = COMPACT_MARKER_BYTES;
    uint64_t host_mode = float_mode_begin();
    enum fault fault = run_step(&step);
    float_mode_end(host_mode);
    *fault_address = step.fault_address;
    if (fault == FAULT_NONE) {
        state_encode(&step.vm, &step.roots, post_state);
        state_hash(&step.vm, &step.roots, post_hash);
    }
    return (int)fault;
}

/* The witness of the machine's next step: its state, and a proof of at most 8192 bytes. The machine stays as it is. part says
 * which pre-image part the step reads, if any. post_hash: the hash of the state after the step. */
EXPORT int opml_machine_step_witness(struct machine *machine, int compact, uint8_t state[static STATE_BYTES],
                                     uint8_t proof[static ROOM_BYTES], uint64_t *proof_size, struct preimage_part *part,
                                     uint8_t post_hash[static HASH_BYTES])
{
    struct step step = {.vm = machine->vm, .part = part, .source = machine, .out = proof, .compact = compact != 0};
    enum fault fault = machine_roots(machine, &step.roots);
    if (fault != FAULT_NONE)
        return (int)fault;
    state_encode(&step.vm, &step.roots, state);
    struct thread *thread = active_thread(machine);
    if (thread != NULL) {
        step.thread = *thread;
        machine_inner_root(machine, step.inner);
    }
    struct memory fork;
    memory_fork(&machine->memory, &fork);
    machine_forget_writes(machine);
    step.memory = &fork;
    memset(proof, 0, ROOM_BYTES);
    uint64_t host_mode = float_mode_begin();
    fault = run_step(&step);
    float_mode_end(host_mode);
    memory_free(&fork);
    machine->fault_address = step.fault_address;
    if (fault != FAULT_NONE)
        return (int)fault;
    *proof_size = step.out_size;
    /* The full encoding has a place for every proof, used or not, once an instruction is executed. */
    if (!step.compact && step.proven[0].loaded)
        *proof_size = thread_bytes(step.vm.ml) + HASH_BYTES + 3 * MEMORY_PROOF_BYTES;
    state_hash(&step.vm, &step.roots, post_hash);
    return FAULT_NONE;
}
