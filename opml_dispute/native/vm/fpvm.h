/* The fault proof VM: state, threads, and the pieces that a whole machine (machine.c) and a single proven step (witness.c)
 * share. docs/vm.md is the specification.
 *
 *   decode.c         an instruction word -> struct instruction
 *   instructions.h   what each instruction does, over an access layer: included by both of
 *     run.c            whole programs: memory through a lookaside table, decoded code kept per page
 *     witness.c        one step: memory through Merkle proofs (proof.c)
 *   syscalls.c       system calls, over `struct access`
 *   machine.c        machines: threads, forks, pre-images, what Python calls */
#ifndef OPML_FPVM_H
#define OPML_FPVM_H
#include "counts.h"
#include "fpu.h"
#include "memory/memory.h"
#include <stdbool.h>
#include <stdint.h>

enum {
    STATE_BYTES = 188,
    BASE_THREAD_BYTES = 298,
    FPU_BYTES = 4 * 32 + 4,
    ML_THREAD_BYTES = BASE_THREAD_BYTES + FPU_BYTES,
    MEMORY_PROOF_BYTES = 60 * HASH_BYTES,
};
_Static_assert(ML_THREAD_BYTES == 430, "docs/vm.md: thread witness of an ML state");

#define QUANTUM    100000ull
#define HEAP_START 0x0000100000000000ull
#define HEAP_END   0x0000600000000000ull

/* Why there is no next state (or none that we can compute). Python has the same list: engine/values.py, `Reason`. */
enum reason {
    REASON_NONE = 0,
    /* The machine has no successor. */
    REASON_MISALIGNED_PC = 1,
    REASON_UNSUPPORTED_INSTRUCTION = 2,
    REASON_BRANCH_IN_DELAY_SLOT = 3,
    REASON_DIVISION_BY_ZERO = 4,
    REASON_UNSUPPORTED_SYSCALL = 5,
    REASON_FCSR = 6, /* ctc1 sets a bit that is not a condition code */
    REASON_NO_THREAD = 7,
    REASON_BAD_STATE = 8, /* exited is neither 0 nor 1, or the state has not 188 bytes */
    /* The witness does not show what it must. */
    REASON_PROOF_TOO_SHORT = 16,
    REASON_THREAD_PROOF = 17,
    REASON_MEMORY_PROOF = 18,
    REASON_PROOF_BITMAP = 19,
    /* A successor may exist, but not from what is known here. */
    REASON_UNKNOWN_PREIMAGE = 32,
    REASON_UNKNOWN_MEMORY = 33,
    REASON_OUT_OF_MEMORY = 34,
    REASON_WRONG_CONTENT = 35,
};

static inline enum reason memory_reason(enum memory_status status)
{
    static const enum reason reasons[] = {REASON_NONE, REASON_UNKNOWN_MEMORY, REASON_OUT_OF_MEMORY,
                                          REASON_WRONG_CONTENT};
    return reasons[status];
}

enum { DISCARD = 32 /* where writes to register 0 go */ };

struct thread {
    uint64_t id;
    uint64_t pc, next_pc, lo, hi;
    uint64_t r[33]; /* r[DISCARD] is no register: it is written, never read, never hashed */
    uint32_t f[32];
    uint32_t fcsr;
    uint8_t exit_code, exited;
};

/* The state but for memory and thread stacks. */
struct vm {
    uint8_t preimage_key[32];
    uint64_t preimage_offset;
    uint64_t heap;
    uint64_t ll_address, ll_owner;
    uint64_t step, slice; /* slice: steps since the last context switch */
    uint64_t next_thread_id;
    uint8_t ll_status;
    uint8_t exit_code, exited;
    uint8_t traverse_right;
    bool ml;               /* state version ML; not part of the witness */
    struct counts *counts; /* NULL: nothing is counted; not part of it either */
};

static inline size_t thread_bytes(bool ml) { return ml ? ML_THREAD_BYTES : BASE_THREAD_BYTES; }

void thread_encode(const struct thread *thread, bool ml, uint8_t out[static BASE_THREAD_BYTES]);
void thread_decode(struct thread *thread, bool ml, const uint8_t in[static BASE_THREAD_BYTES]);
/* onion := H(onion ++ H(thread)). */
void onion_push(uint8_t onion[static HASH_BYTES], const struct thread *thread, bool ml);

struct roots {
    uint8_t memory_root[HASH_BYTES], left_stack[HASH_BYTES], right_stack[HASH_BYTES];
};
void state_encode(const struct vm *vm, const struct roots *roots, uint8_t out[static STATE_BYTES]);
void state_decode(struct vm *vm, struct roots *roots, const uint8_t in[static STATE_BYTES]);
/* out := H(witness), its first byte replaced by the VM status. */
void state_hash(const struct vm *vm, const struct roots *roots, uint8_t out[static HASH_BYTES]);

/* Ends the VM. */
static inline void state_exit(struct vm *vm, uint8_t code)
{
    vm->exited = 1;
    vm->exit_code = code;
}

/* No load-linked reservation any more. */
static inline void clear_reservation(struct vm *vm)
{
    vm->ll_status = 0;
    vm->ll_address = 0;
    vm->ll_owner = 0;
}

/* What every write to the word that holds `address` does: it ends a reservation in that word, whichever thread holds it
 * and whether or not the word changes. */
static inline void on_write(struct vm *vm, uint64_t address)
{
    if (vm->ll_address >> 3 == address >> 3) {
        clear_reservation(vm);
        if (vm->counts != NULL)
            vm->counts->lost_reservations++;
    }
}

/* What replacing 2^log2_size bytes at `address` does: it ends a reservation among them. */
static inline void on_replace(struct vm *vm, uint64_t address, unsigned log2_size)
{
    if (vm->ll_address >> log2_size == address >> log2_size)
        clear_reservation(vm);
}

/* ---- decoded instructions ---- */

/* clang-format off */
#define OPERATIONS(X)                                                                                                 \
    X(UNDECODED) X(ILLEGAL)                                                                                           \
    X(SLL) X(SRL) X(SRA) X(DSLL) X(DSRL) X(DSRA) X(SLLV) X(SRLV) X(SRAV) X(DSLLV) X(DSRLV) X(DSRAV)                   \
    X(JALR) X(MOVZ) X(MOVN) X(SYSCALL) X(SYNC) X(MFHI) X(MTHI) X(MFLO) X(MTLO)                                        \
    X(MULT) X(MULTU) X(DIV) X(DIVU) X(DMULT) X(DMULTU) X(DDIV) X(DDIVU)                                               \
    X(ADDU) X(SUBU) X(AND) X(OR) X(XOR) X(NOR) X(SLT) X(SLTU) X(DADDU) X(DSUBU)                                       \
    X(ADDIU) X(SLTI) X(SLTIU) X(ANDI) X(ORI) X(XORI) X(LUI) X(DADDIU)                                                 \
    X(MUL) X(CLZ) X(CLO) X(DCLZ) X(DCLO)                                                                              \
    X(BLTZ) X(BGEZ) X(BLTZAL) X(BGEZAL) X(BNEVER) X(J) X(JAL) X(BEQ) X(BNE) X(BLEZ) X(BGTZ)                           \
    X(LB) X(LBU) X(LH) X(LHU) X(LW) X(LWU) X(LD) X(LWL) X(LWR) X(LDL) X(LDR)                                          \
    X(SB) X(SH) X(SW) X(SD) X(SWL) X(SWR) X(SDL) X(SDR) X(LL) X(LLD) X(SC) X(SCD)                                     \
    X(MOVCI) X(MFC1) X(CFC1) X(MTC1) X(CTC1) X(BC1) X(BC1L)                                                           \
    X(ADD_S) X(SUB_S) X(MUL_S) X(DIV_S) X(SQRT_S) X(ABS_S) X(MOV_S) X(NEG_S)                                          \
    X(ROUND_W) X(TRUNC_W) X(CEIL_W) X(FLOOR_W) X(CVT_S_W) X(MOVCF_S) X(MOVZ_S) X(MOVN_S) X(C_COND)                    \
    X(LWC1) X(SWC1) X(LWXC1) X(SWXC1) X(MADD_S) X(MSUB_S) X(NMADD_S) X(NMSUB_S)
/* clang-format on */

enum operation {
#define X(name) DO_##name,
    OPERATIONS(X)
#undef X
        OPERATION_COUNT
};
_Static_assert(OPERATION_COUNT <= 256, "an operation fits a byte");

/* What a, b, c and immediate mean is the format of the operation: decode.c. */
struct instruction {
    uint8_t operation;
    uint8_t a, b, c;
    int32_t immediate;
};

struct instruction decode(uint32_t word, bool ml);

/* ---- system calls ---- */

/* How a system call reaches beyond the thread. `proof` says which memory proof of a witness shows the word. */
struct access {
    enum reason (*read_word)(void *context, uint64_t address, int proof, uint64_t *word);
    enum reason (*write_word)(void *context, uint64_t address, int proof, uint64_t word);
    /* REASON_NONE if write_word there cannot fail for lack of known content or of memory. */
    enum reason (*may_write)(void *context, uint64_t address);
    enum reason (*read_preimage)(void *context, const uint8_t key[static 32], uint64_t offset, uint8_t data[static 32],
                                 size_t *count);
    enum reason (*tensor_map)(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address);
    enum reason (*tensor_root)(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address);
    /* Whether no thread but the active one is left on either stack. */
    bool (*is_last_thread)(void *context);
    /* The program wrote these bytes to descriptor 1, 2 (output) or 4 (hints). The state does not contain them; NULL if
     * nothing is captured. */
    void (*wrote)(void *context, uint64_t descriptor, uint64_t address, uint64_t size);
};

/* What the frame of the step has to do when an instruction is done. */
enum then { THEN_GO_ON, THEN_PREEMPT, THEN_PUSH_CHILD, THEN_EXIT };

/* Executes the system call in r[2]; vm->step counts this step already. With a reason other than
 * REASON_NONE nothing has changed. */
enum reason system_call(struct vm *vm, struct thread *thread, const struct access *access, void *context,
                        enum then *then, struct thread *child);

static inline uint64_t load_big64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static inline void store_big64(uint8_t *p, uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    memcpy(p, &x, 8);
}

static inline uint32_t load_big32(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap32(x);
#endif
    return x;
}

static inline void store_big32(uint8_t *p, uint32_t x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap32(x);
#endif
    memcpy(p, &x, 4);
}

/* The 32-bit half of `word` that contains `address`: the upper one for an even multiple of 4. */
static inline uint32_t half_of(uint64_t word, uint64_t address) { return (uint32_t)(address & 4 ? word : word >> 32); }

/* Bits of `value` where `mask` is 1, of `old` elsewhere. */
static inline uint64_t merged(uint64_t old, uint64_t value, uint64_t mask) { return (old & ~mask) | (value & mask); }

static inline uint64_t sign_extend32(uint64_t x) { return (uint64_t)(int64_t)(int32_t)(uint32_t)x; }
#endif
