/* One step from a witness, and the making of witnesses. docs/vm.md, "One step" and "Proof". Twin: contracts/src/vm/FPVM.sol.
 *
 * A `step` holds what the chain holds: the 188-byte state, the proof, one pre-image part. Its memory is up to three proven
 * leaves (or a subtree), loaded as instructions.h asks for them (proof.c). To make a witness, the same step runs with a
 * whole machine for its source: each proof is then taken from a fork's memory and written down before it is checked. */
#include "export.h"
#include "float_mode.h"
#include "machine.h"
#include "proof.h"

enum { ROOM_BYTES = 8192 };

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
    struct proofs proofs;
    struct preimage_part *part;
    struct machine *source; /* of a witness that is being made; NULL: a witness is checked */
};

/* ---- access ---- */

static enum reason read_word(void *context, uint64_t address, int slot, uint64_t *word)
{
    struct step *step = context;
    return proof_read_word(&step->proofs, slot, address, word);
}

static enum reason write_word(void *context, uint64_t address, int slot, uint64_t word)
{
    struct step *step = context;
    return proof_write_word(&step->proofs, slot, address, word);
}

static enum reason may_write(void *context, uint64_t address)
{
    (void)context;
    (void)address;
    return REASON_NONE; /* any reason ends the step, and nothing of it is kept */
}

static enum reason read_preimage(void *context, const uint8_t key[static 32], uint64_t offset, uint8_t data[static 32],
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
        return REASON_UNKNOWN_PREIMAGE;
    }
    memcpy(data, part->data, 32);
    *count = part->count < 32 ? (size_t)part->count : 32;
    return REASON_NONE;
}

/* Both parts of a tensor call. The leaf lies outside the subtree, so that either can be put and the other still holds. */
static enum reason verify_both(struct step *step, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    enum reason reason = proof_verify(&step->proofs, 1, leaf_address, LEAF_LOG2);
    return reason != REASON_NONE ? reason : proof_verify(&step->proofs, 2, address, log2_size);
}

static enum reason tensor_map(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    struct step *step = context;
    enum reason reason = verify_both(step, address, log2_size, leaf_address);
    if (reason == REASON_NONE)
        proof_put(&step->proofs, 2, step->proofs.proof[1].node);
    return reason;
}

static enum reason tensor_root(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    struct step *step = context;
    enum reason reason = verify_both(step, address, log2_size, leaf_address);
    if (reason == REASON_NONE)
        proof_put(&step->proofs, 1, step->proofs.proof[2].node);
    return reason;
}

/* The root of the active stack. */
static uint8_t *active_stack(struct step *step)
{
    return active_side(&step->vm) ? step->roots.right_stack : step->roots.left_stack;
}

/* The root of the other stack. */
static uint8_t *inactive_stack(struct step *step)
{
    return active_side(&step->vm) ? step->roots.left_stack : step->roots.right_stack;
}

static bool is_empty(const uint8_t root[static HASH_BYTES])
{
    return memcmp(root, zero_root(LEAF_LOG2 + 1), HASH_BYTES) == 0; /* EMPTY = H(64 zero bytes) */
}

static bool is_last_thread(void *context)
{
    struct step *step = context;
    return is_empty(step->inner) && is_empty(inactive_stack(step));
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
        reason = (expression);                                                                                         \
        if (reason != REASON_NONE)                                                                                     \
            goto stopped;                                                                                              \
    } while (0)
#define FETCH(it)                                                                                                      \
    do {                                                                                                               \
        uint64_t word_;                                                                                                \
        if (pc & 3)                                                                                                    \
            STOP(REASON_MISALIGNED_PC);                                                                                \
        TRY(read_word(context, pc & ~(uint64_t)7, 0, &word_));                                                         \
        fetched = decode(half_of(word_, pc), vm->ml);                                                                  \
        it = &fetched;                                                                                                 \
    } while (0)
#define REFETCH()            ((void)0)
#define DECODE_HERE(it)      STOP(REASON_UNSUPPORTED_INSTRUCTION) /* decode answers no such operation */
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
        TRY(write_word(context, (va), 1, merged(word_, unit_, mask_)));                                                \
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

/* ---- the thread and its stacks. Twin: contracts/src/vm/Thread.sol ---- */

/* Takes thread and inner root from the proof, or writes them down, and checks that they are the active stack. */
static enum reason thread_load(struct step *step)
{
    struct proofs *proofs = &step->proofs;
    size_t bytes = proofs->thread_bytes;
    uint8_t witness[ML_THREAD_BYTES + HASH_BYTES];
    if (step->source != NULL) {
        if (proofs->compact) {
            store_big64(proofs->out, COMPACT_MARKER);
            proofs->out_size = COMPACT_MARKER_BYTES;
        }
        thread_encode(&step->thread, step->vm.ml, proofs->out + proofs->out_size);
        memcpy(proofs->out + proofs->out_size + bytes, step->inner, HASH_BYTES);
        proofs->out_size += bytes + HASH_BYTES;
    } else {
        enum reason reason = proof_take(proofs, witness, bytes + HASH_BYTES);
        if (reason != REASON_NONE)
            return reason;
        thread_decode(&step->thread, step->vm.ml, witness);
        memcpy(step->inner, witness + bytes, HASH_BYTES);
    }
    uint8_t root[HASH_BYTES];
    memcpy(root, step->inner, HASH_BYTES);
    onion_push(root, &step->thread, step->vm.ml);
    return memcmp(root, active_stack(step), HASH_BYTES) == 0 ? REASON_NONE : REASON_THREAD_PROOF;
}

/* Writes the thread, as it now is, back onto the active stack. */
static void thread_commit(struct step *step)
{
    memcpy(active_stack(step), step->inner, HASH_BYTES);
    onion_push(active_stack(step), &step->thread, step->vm.ml);
}

/* Removes the (exited) thread from the active stack. */
static void thread_pop(struct step *step)
{
    memcpy(active_stack(step), step->inner, HASH_BYTES);
    if (is_empty(step->inner))
        step->vm.traverse_right = step->vm.traverse_right == 0;
    step->vm.slice = 0;
}

/* Moves the thread, as it now is, to the other stack; the next thread's turn has come. */
static void thread_preempt(struct step *step)
{
    onion_push(inactive_stack(step), &step->thread, step->vm.ml);
    thread_pop(step);
}

/* Pushes `child` as a new thread onto the active stack: it runs next. */
static void thread_push(struct step *step, const struct thread *child)
{
    onion_push(active_stack(step), child, step->vm.ml);
    step->vm.slice = 0;
}

/* ---- the frame of a step ---- */

/* One step of a VM that has not exited. */
static enum reason run(struct step *step)
{
    struct vm *vm = &step->vm;
    if (is_empty(active_stack(step)))
        return REASON_NO_THREAD;
    enum reason reason = thread_load(step);
    if (reason != REASON_NONE)
        return reason;
    if (step->thread.exited) {
        vm->step++;
        thread_pop(step);
        return REASON_NONE;
    }
    if (vm->slice >= QUANTUM) {
        vm->step++;
        thread_preempt(step);
        return REASON_NONE;
    }
    enum then then;
    struct thread child;
    reason = run_instruction(step, vm, &step->thread, 1, &then, &child);
    if (reason != REASON_NONE)
        return reason;
    if (then == THEN_PREEMPT)
        thread_preempt(step);
    else
        thread_commit(step);
    if (then == THEN_PUSH_CHILD)
        thread_push(step, &child);
    return REASON_NONE;
}

static enum reason run_step(struct step *step)
{
    step->proofs.memory_root = step->roots.memory_root;
    step->proofs.thread_bytes = thread_bytes(step->vm.ml);
    if (step->vm.exited > 1)
        return REASON_BAD_STATE;
    uint64_t host_mode = float_mode_begin();
    enum reason reason = step->vm.exited == 0 ? run(step) : REASON_NONE;
    float_mode_end(host_mode);
    if (reason != REASON_NONE)
        return reason;
    /* The stack that is active now must have a thread, also if the VM had exited before. */
    return is_empty(active_stack(step)) ? REASON_NO_THREAD : REASON_NONE;
}

/* The step after `state` as `proof` (either encoding) shows it. `part`: in, an answer (answered != 0) or none; out, what
 * was asked for (asked != 0). On REASON_NONE the post-state and its hash are in post_state, post_hash. */
EXPORT int opml_step(int ml, const uint8_t *state, uint64_t state_size, const uint8_t *proof, uint64_t proof_size,
                     struct preimage_part *part, uint8_t post_state[static STATE_BYTES],
                     uint8_t post_hash[static HASH_BYTES], uint64_t *unknown_address)
{
    if (state_size != STATE_BYTES)
        return REASON_BAD_STATE;
    struct step step = {.part = part};
    state_decode(&step.vm, &step.roots, state);
    step.vm.ml = ml != 0;
    proof_open(&step.proofs, proof, (size_t)proof_size);
    enum reason reason = run_step(&step);
    *unknown_address = step.proofs.unknown_address;
    if (reason == REASON_NONE) {
        state_encode(&step.vm, &step.roots, post_state);
        state_hash(&step.vm, &step.roots, post_hash);
    }
    return (int)reason;
}

/* The witness of the machine's next step: its state, and a proof of at most 8192 bytes. The machine stays as it is. part says
 * which pre-image part the step reads, if any. post_hash: the hash of the state after the step. */
EXPORT int opml_machine_step_witness(struct machine *machine, int compact, uint8_t state[static STATE_BYTES],
                                     uint8_t proof[static ROOM_BYTES], uint64_t *proof_size, struct preimage_part *part,
                                     uint8_t post_hash[static HASH_BYTES])
{
    struct step step = {.vm = machine->vm, .part = part, .source = machine};
    step.vm.counts = NULL; /* the step is not made */
    enum reason reason = machine_roots(machine, &step.roots);
    if (reason != REASON_NONE)
        return (int)reason;
    state_encode(&step.vm, &step.roots, state);
    struct thread *thread = active_thread(machine);
    if (thread != NULL) {
        step.thread = *thread;
        machine_inner_root(machine, step.inner);
    }
    struct memory fork;
    memory_fork(&machine->memory, &fork);
    machine_forget_writes(machine);
    memset(proof, 0, ROOM_BYTES);
    step.proofs.compact = compact != 0;
    step.proofs.memory = &fork;
    step.proofs.out = proof;
    reason = run_step(&step);
    memory_free(&fork);
    machine->unknown_address = step.proofs.unknown_address;
    if (reason != REASON_NONE)
        return (int)reason;
    *proof_size = step.proofs.out_size;
    /* The full encoding has a place for every proof, used or not, once an instruction is executed. */
    if (!step.proofs.compact && step.proofs.proof[0].loaded)
        *proof_size = step.proofs.thread_bytes + HASH_BYTES + PROOF_COUNT * MEMORY_PROOF_BYTES;
    state_hash(&step.vm, &step.roots, post_hash);
    return REASON_NONE;
}
