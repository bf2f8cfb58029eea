/* Whole programs, fast: instructions.h over host pointers to pages and decoded code; and the frame of a step
 * (docs/vm.md, "One step") over the machine's own thread stacks. */
#include "float_mode.h"
#include "machine.h"
#include <stdlib.h>

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

static enum reason memory_stop(struct machine *machine, enum memory_status status, uint64_t address)
{
    machine->unknown_address = address;
    return memory_reason(status);
}

static enum reason slow_load(struct machine *machine, uint64_t address, uint64_t *word)
{
    uint64_t page_index = address >> MEMORY_PAGE_LOG2;
    const uint8_t *page;
    bool whole;
    enum memory_status status = memory_page_to_read(&machine->memory, page_index, &page, &whole);
    if (status == MEMORY_OK && !whole)
        status = memory_leaf_known(&machine->memory, address);
    if (status != MEMORY_OK)
        return memory_stop(machine, status, address);
    if (whole)
        machine->caches->read[page_index % LOOKASIDE_ENTRIES] = (struct lookaside){page_index, (uint8_t *)page};
    *word = load_big64(page + (address & (MEMORY_PAGE_BYTES - 8)));
    return REASON_NONE;
}

/* Writes the low size_bytes bytes of x at `address`, a multiple of that. */
static enum reason slow_store(struct machine *machine, uint64_t address, unsigned size_bytes, uint64_t x)
{
    struct caches *caches = machine->caches;
    uint64_t page_index = address >> MEMORY_PAGE_LOG2;
    uint8_t *page;
    bool whole;
    enum memory_status status = memory_leaf_known(&machine->memory, address);
    if (status == MEMORY_OK)
        status = memory_page_to_write(&machine->memory, page_index, &page, &whole);
    if (status != MEMORY_OK)
        return memory_stop(machine, status, address);
    uint8_t bytes[8];
    store_big64(bytes, x);
    memcpy(page + (address & (MEMORY_PAGE_BYTES - 1)), bytes + 8 - size_bytes, size_bytes);

    struct lookaside *read = &caches->read[page_index % LOOKASIDE_ENTRIES];
    if (read->page == page_index)
        read->host = page; /* it may have been copied */
    struct instruction *code = caches->code[page_index % CODE_PAGES].instructions;
    if (caches->code[page_index % CODE_PAGES].page == page_index) {
        unsigned word = (address & (MEMORY_PAGE_BYTES - 8)) / 4;
        /* Only the operation: the instruction being executed may be one of the two, and still reads its operands. */
        code[word].operation = code[word + 1].operation = DO_UNDECODED;
    }
    bool told = machine->accelerator != NULL && machine->accelerator->stored(machine, address, size_bytes);
    if (whole && !told && caches->code[page_index % CODE_PAGES].page != page_index) {
        caches->write[page_index % LOOKASIDE_ENTRIES] = (struct lookaside){page_index, page};
    }
    return REASON_NONE;
}

static struct instruction *code_page(struct machine *machine, uint64_t pc, enum reason *reason)
{
    struct caches *caches = machine->caches;
    uint64_t page_index = pc >> MEMORY_PAGE_LOG2;
    if (pc & 3) {
        *reason = REASON_MISALIGNED_PC;
        return NULL;
    }
    struct instruction **code = &caches->code[page_index % CODE_PAGES].instructions;
    if (caches->code[page_index % CODE_PAGES].page != page_index) {
        if (*code == NULL)
            *code = malloc(PAGE_INSTRUCTIONS * sizeof **code);
        if (*code == NULL) {
            *reason = REASON_OUT_OF_MEMORY;
            return NULL;
        }
        memset(*code, DO_UNDECODED, PAGE_INSTRUCTIONS * sizeof **code);
        caches->code[page_index % CODE_PAGES].page = page_index;
        struct lookaside *write = &caches->write[page_index % LOOKASIDE_ENTRIES];
        if (write->page == page_index)
            write->page = NO_PAGE;
    }
    return *code;
}
_Static_assert(DO_UNDECODED == 0, "code_page clears with zeros");

static enum reason decode_at(struct machine *machine, uint64_t pc, struct instruction *it)
{
    uint64_t word;
    enum reason reason = slow_load(machine, pc & ~(uint64_t)7, &word);
    if (reason == REASON_NONE)
        *it = decode((uint32_t)(pc & 4 ? word : word >> 32), machine->vm.ml);
    return reason;
}

/* ---- access for system calls ---- */

static enum reason read_word(void *context, uint64_t address, int proof, uint64_t *word)
{
    (void)proof;
    return slow_load(context, address, word);
}

static enum reason write_word(void *context, uint64_t address, int proof, uint64_t word)
{
    (void)proof;
    return slow_store(context, address, 8, word);
}

static enum reason may_write(void *context, uint64_t address)
{
    struct machine *machine = context;
    uint64_t word;
    enum reason reason = slow_load(machine, address, &word);
    return reason != REASON_NONE ? reason : slow_store(machine, address, 8, word);
}

static enum reason read_preimage(void *context, const uint8_t key[static 32], uint64_t offset, uint8_t data[static 32],
                                 size_t *count)
{
    return machine_preimage(context, key, offset, data, count);
}

static enum reason tensor_map(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    struct machine *machine = context;
    uint8_t root[HASH_BYTES];
    enum memory_status status = memory_read(&machine->memory, leaf_address, root, sizeof root);
    if (status != MEMORY_OK)
        return memory_stop(machine, status, leaf_address);
    status = memory_put(&machine->memory, address, log2_size, root);
    machine_forget_all(machine);
    return memory_stop(machine, status, address);
}

static enum reason tensor_root(void *context, uint64_t address, unsigned log2_size, uint64_t leaf_address)
{
    struct machine *machine = context;
    uint8_t root[HASH_BYTES];
    enum memory_status status = memory_leaf_known(&machine->memory, leaf_address);
    if (status != MEMORY_OK)
        return memory_stop(machine, status, leaf_address);
    status = memory_root(&machine->memory, address, log2_size, root);
    machine_forget_writes(machine);
    if (status != MEMORY_OK)
        return memory_stop(machine, status, address);
    status = memory_write(&machine->memory, leaf_address, root, sizeof root);
    machine_forget_all(machine); /* the leaf's page may be code, or may have been copied */
    return memory_stop(machine, status, leaf_address);
}

static bool is_last_thread(void *context)
{
    const struct machine *machine = context;
    return machine->stacks[0].count + machine->stacks[1].count == 1;
}

static const struct access ACCESS_MACHINE = {
    read_word, write_word, may_write, read_preimage, tensor_map, tensor_root, is_last_thread, machine_wrote,
};

/* ---- instructions.h over lookaside tables ---- */

#define INTERPRET run_instructions
#define CONTEXT   struct machine
#define ACCESS    (&ACCESS_MACHINE)
#define ACCESS_LOCALS                                                                                                  \
    struct caches *const caches = context->caches;                                                                     \
    struct instruction *code = NULL;                                                                                   \
    uint64_t code_start = pc + 1 /* no page starts there */

/* The rotation turns a misaligned pc into a large index, so that one comparison serves both. */
#define FETCH(it)                                                                                                      \
    do {                                                                                                               \
        uint64_t offset_ = pc - code_start, index_ = offset_ >> 2 | offset_ << 62;                                     \
        if (UNLIKELY(index_ >= PAGE_INSTRUCTIONS)) {                                                                   \
            code = code_page(context, pc, &reason);                                                                    \
            if (code == NULL)                                                                                          \
                goto stopped;                                                                                          \
            code_start = pc & ~(uint64_t)(MEMORY_PAGE_BYTES - 1);                                                      \
            index_ = (pc - code_start) >> 2;                                                                           \
        }                                                                                                              \
        it = &code[index_];                                                                                            \
    } while (0)
#define REFETCH() (code_start = pc + 1)
#define DECODE_HERE(it)                                                                                                \
    do {                                                                                                               \
        reason = decode_at(context, pc, it);                                                                           \
        if (reason != REASON_NONE)                                                                                     \
            goto stopped;                                                                                              \
    } while (0)

static inline uint64_t load_unit(const uint8_t *p, unsigned size_bytes)
{
    uint16_t x;
    switch (size_bytes) {
    case 1: return *p;
    case 2: memcpy(&x, p, 2);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        x = __builtin_bswap16(x);
#endif
        return x;
    case 4: return load_big32(p);
    default: return load_big64(p);
    }
}

static inline void store_unit(uint8_t *p, unsigned size_bytes, uint64_t x)
{
    switch (size_bytes) {
    case 1: *p = (uint8_t)x; break;
    case 2: p[0] = (uint8_t)(x >> 8), p[1] = (uint8_t)x; break;
    case 4: store_big32(p, (uint32_t)x); break;
    default: store_big64(p, x);
    }
}

#define LOAD_UNIT(size, va, x)                                                                                         \
    do {                                                                                                               \
        uint64_t page_ = (va) >> MEMORY_PAGE_LOG2;                                                                     \
        const struct lookaside *entry_ = &caches->read[page_ % LOOKASIDE_ENTRIES];                                     \
        if (UNLIKELY(entry_->page != page_)) {                                                                         \
            uint64_t word_;                                                                                            \
            reason = slow_load(context, (va) & ~(uint64_t)7, &word_);                                                  \
            if (reason != REASON_NONE)                                                                                 \
                goto stopped;                                                                                          \
            unsigned shift_ = 64 - 8 * (size) - 8 * ((va) & 7 & ~(uint64_t)((size) - 1));                              \
            x = (size) == 8 ? word_ : (word_ >> shift_) & (((uint64_t)1 << (8 * (size) % 64)) - 1);                    \
        } else {                                                                                                       \
            x = load_unit(entry_->host + ((va) & (MEMORY_PAGE_BYTES - (size))), size);                                 \
        }                                                                                                              \
    } while (0)
#define STORE_UNIT(size, va, x)                                                                                        \
    do {                                                                                                               \
        uint64_t page_ = (va) >> MEMORY_PAGE_LOG2;                                                                     \
        const struct lookaside *entry_ = &caches->write[page_ % LOOKASIDE_ENTRIES];                                    \
        if (UNLIKELY(entry_->page != page_)) {                                                                         \
            reason = slow_store(context, (va) & ~(uint64_t)((size) - 1), size, x);                                     \
            if (reason != REASON_NONE)                                                                                 \
                goto stopped;                                                                                          \
        } else {                                                                                                       \
            store_unit(entry_->host + ((va) & (MEMORY_PAGE_BYTES - (size))), size, x);                                 \
        }                                                                                                              \
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

/* ---- for an accelerator ---- */

enum reason machine_interpret(struct machine *machine, struct thread *thread, uint64_t limit, enum then *then,
                              struct thread *child)
{
    return run_instructions(machine, &machine->vm, thread, limit, then, child);
}

enum reason machine_fetch(struct machine *machine, uint64_t pc, struct instruction *it)
{
    enum reason reason = REASON_NONE;
    uint64_t unknown_address = machine->unknown_address;
    struct instruction *code = code_page(machine, pc, &reason);
    if (code == NULL)
        return reason;
    code += (pc & (MEMORY_PAGE_BYTES - 1)) / 4;
    if (code->operation == DO_UNDECODED)
        reason = decode_at(machine, pc, code);
    *it = *code;
    machine->unknown_address = unknown_address;
    return reason;
}

enum reason machine_word(struct machine *machine, uint64_t pc, uint32_t *word)
{
    uint64_t both = 0, unknown_address = machine->unknown_address;
    const struct lookaside *known = &machine->caches->read[(pc >> MEMORY_PAGE_LOG2) % LOOKASIDE_ENTRIES];
    enum reason reason = REASON_NONE;
    if (known->page == pc >> MEMORY_PAGE_LOG2)
        both = load_big64(known->host + (pc & (MEMORY_PAGE_BYTES - 8)));
    else
        reason = slow_load(machine, pc & ~(uint64_t)7, &both);
    *word = (uint32_t)(pc & 4 ? both : both >> 32);
    machine->unknown_address = unknown_address;
    return reason;
}

bool machine_ready(struct machine *machine, uint64_t address, bool to_write)
{
    struct caches *caches = machine->caches;
    uint64_t page_index = address >> MEMORY_PAGE_LOG2, unknown_address = machine->unknown_address, word;
    if (!to_write) {
        enum reason reason = slow_load(machine, address & ~(uint64_t)7, &word);
        machine->unknown_address = unknown_address;
        return reason == REASON_NONE && caches->read[page_index % LOOKASIDE_ENTRIES].page == page_index;
    }
    if (caches->code[page_index % CODE_PAGES].page == page_index || machine->accelerator->stored(machine, address, 0))
        return false;
    uint8_t *page;
    bool whole;
    if (memory_leaf_known(&machine->memory, address) != MEMORY_OK ||
        memory_page_to_write(&machine->memory, page_index, &page, &whole) != MEMORY_OK)
        return false;
    struct lookaside *read = &caches->read[page_index % LOOKASIDE_ENTRIES];
    if (read->page == page_index)
        read->host = page; /* it may have been copied */
    if (whole)
        caches->write[page_index % LOOKASIDE_ENTRIES] = (struct lookaside){page_index, page};
    return whole;
}

/* ---- the frame of a step ---- */

/* The active thread is done: its stack loses it. */
static enum reason pop(struct machine *machine)
{
    struct stack *active = &machine->stacks[active_side(&machine->vm)];
    if (machine->stacks[0].count + machine->stacks[1].count == 1)
        return REASON_NO_THREAD;
    stack_drop(active);
    if (active->count == 0)
        machine->vm.traverse_right = machine->vm.traverse_right == 0;
    machine->vm.slice = 0;
    return REASON_NONE;
}

/* The active thread moves to the other stack. */
static enum reason preempt(struct machine *machine)
{
    unsigned side = active_side(&machine->vm);
    struct stack *active = &machine->stacks[side], *other = &machine->stacks[side ^ 1];
    if (!stack_make_room(other, machine->memory.store))
        return REASON_OUT_OF_MEMORY;
    other->threads[other->count++] = active->threads[active->count - 1];
    stack_drop(active);
    if (active->count == 0)
        machine->vm.traverse_right = machine->vm.traverse_right == 0;
    machine->vm.slice = 0;
    return REASON_NONE;
}

enum reason machine_run(struct machine *machine, uint64_t max_steps)
{
    struct vm *vm = &machine->vm;
    if (vm->exited > 1)
        return REASON_BAD_STATE;
    if (!machine_make_caches(machine))
        return REASON_OUT_OF_MEMORY;
    enum reason reason = REASON_NONE;
    uint64_t host_mode = float_mode_begin();
    uint64_t left = max_steps;
    while (left != 0 && !vm->exited && reason == REASON_NONE) {
        unsigned side = active_side(vm);
        struct thread *thread = active_thread(machine);
        if (thread == NULL) {
            reason = REASON_NO_THREAD;
            break;
        }
        if (thread->exited || vm->slice >= QUANTUM) {
            bool was_done = thread->exited;
            reason = was_done ? pop(machine) : preempt(machine);
            if (reason == REASON_NONE) {
                vm->step++;
                left--;
                if (!was_done && vm->counts != NULL)
                    counts_preempted(vm->counts, active_thread(machine)->id, vm->step, true);
            }
            continue;
        }
        /* Room for a preempted thread or a child, so that no system call fails after it took effect. */
        if (!stack_make_room(&machine->stacks[0], machine->memory.store) ||
            !stack_make_room(&machine->stacks[1], machine->memory.store)) {
            reason = REASON_OUT_OF_MEMORY;
            break;
        }
        thread = active_thread(machine);
        struct stack *stack = &machine->stacks[side];
        if (stack->known > stack->count - 1)
            stack->known = stack->count - 1;
        uint64_t slice_left = QUANTUM - vm->slice, first_step = vm->step;
        struct thread child;
        enum then then;
        uint64_t limit = left < slice_left ? left : slice_left;
        if (machine->accelerator != NULL)
            reason = machine->accelerator->run(machine, thread, limit, &then, &child);
        else
            reason = machine_interpret(machine, thread, limit, &then, &child);
        left -= vm->step - first_step;
        if (reason != REASON_NONE)
            break;
        if (then == THEN_PREEMPT) {
            reason = preempt(machine);
            if (reason == REASON_NONE && vm->counts != NULL)
                counts_preempted(vm->counts, active_thread(machine)->id, vm->step, false);
        } else if (then == THEN_PUSH_CHILD) {
            stack->threads[stack->count++] = child;
            vm->slice = 0;
        }
    }
    float_mode_end(host_mode);
    return reason;
}
