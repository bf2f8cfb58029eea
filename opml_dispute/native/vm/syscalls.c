/* System calls, over `struct access`: number in R[2], arguments in R[4], R[5], R[6]; results in R[2] (value or errno) and
 * R[7] (0, or all ones after an error). docs/vm.md, "System calls" and ML.11.
 *
 * Twin: contracts/src/vm/Syscalls.sol, with the same names in the same order. */
#include "fpvm.h"

/* The system calls of the machine, by number. Python has the same list: fpvm/explain.py, `SYSCALLS`. */
enum {
    SYS_READ = 5000,
    SYS_WRITE = 5001,
    SYS_OPEN = 5002,
    SYS_CLOSE = 5003,
    SYS_STAT = 5004,
    SYS_FSTAT = 5005,
    SYS_LSEEK = 5008,
    SYS_MMAP = 5009,
    SYS_MPROTECT = 5010,
    SYS_MUNMAP = 5011,
    SYS_BRK = 5012,
    SYS_RT_SIGACTION = 5013,
    SYS_RT_SIGPROCMASK = 5014,
    SYS_IOCTL = 5015,
    SYS_PREAD64 = 5016,
    SYS_SCHED_YIELD = 5023,
    SYS_MINCORE = 5026,
    SYS_MADVISE = 5027,
    SYS_NANOSLEEP = 5034,
    SYS_SETITIMER = 5036,
    SYS_GETPID = 5038,
    SYS_CLONE = 5055,
    SYS_EXIT = 5058,
    SYS_UNAME = 5061,
    SYS_FCNTL = 5070,
    SYS_READLINK = 5087,
    SYS_GETRLIMIT = 5095,
    SYS_GETUID = 5100,
    SYS_GETGID = 5102,
    SYS_SIGALTSTACK = 5129,
    SYS_GETTID = 5178,
    SYS_FUTEX = 5194,
    SYS_SCHED_GETAFFINITY = 5196,
    SYS_EXIT_GROUP = 5205,
    SYS_EPOLL_CTL = 5208,
    SYS_TIMER_CREATE = 5216,
    SYS_TIMER_SETTIME = 5217,
    SYS_TIMER_DELETE = 5220,
    SYS_CLOCK_GETTIME = 5222,
    SYS_TGKILL = 5225,
    SYS_OPENAT = 5247,
    SYS_READLINKAT = 5257,
    SYS_EPOLL_PWAIT = 5272,
    SYS_EVENTFD2 = 5284,
    SYS_EPOLL_CREATE1 = 5285,
    SYS_PIPE2 = 5287,
    SYS_PRLIMIT64 = 5297,
    SYS_GETRANDOM = 5313,
    SYS_TENSOR_MAP = 7001,
    SYS_TENSOR_ROOT = 7002,
};

enum { V0 = 2, A0 = 4, A1 = 5, A2 = 6, A3 = 7, SP = 29 }; /* registers */

enum { EBADF = 9, EAGAIN = 11, EINVAL = 22 };

#define PROGRAM_BREAK        0x0000400000000000ull
#define PAGE_MASK            4095ull
#define STEPS_PER_SECOND     10000000ull
#define NANOSECONDS_PER_STEP 100ull
#define CLONE_FLAGS          0x00050F00ull
enum {
    BAD_CLONE_EXIT_CODE = 2,
    F_GETFD = 1,
    F_GETFL = 3,
    FUTEX_WAIT_PRIVATE = 128,
    FUTEX_WAKE_PRIVATE = 129,
    CLOCK_MONOTONIC = 1,
    EFD_NONBLOCK = 0x80,
};
enum {
    FD_STDIN = 0,
    FD_STDOUT = 1,
    FD_STDERR = 2,
    FD_HINT_READ = 3,
    FD_HINT_WRITE = 4,
    FD_PREIMAGE_READ = 5,
    FD_PREIMAGE_WRITE = 6,
    FD_EVENT = 100,
};

#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        enum reason f_ = (expression);                                                                                 \
        if (f_ != REASON_NONE)                                                                                         \
            return f_;                                                                                                 \
    } while (0)

static enum reason finish(struct thread *thread, uint64_t v0, uint64_t a3)
{
    thread->r[V0] = v0;
    thread->r[A3] = a3;
    thread->pc = thread->next_pc;
    thread->next_pc = thread->pc + 4;
    return REASON_NONE;
}

/* Ends a call with `value`. */
static enum reason succeed(struct thread *thread, uint64_t value) { return finish(thread, value, 0); }

/* Ends a call with an error. */
static enum reason fail(struct thread *thread, uint64_t errno_value)
{
    return finish(thread, errno_value, ~(uint64_t)0);
}

/* Ends a call with 0; the other threads' turn has come. */
static enum reason yield(struct thread *thread, enum then *then)
{
    *then = THEN_PREEMPT;
    return succeed(thread, 0);
}

/* How many of `count` bytes from `address` on lie in its aligned 8-byte word. */
static uint64_t bytes_in_word(uint64_t address, uint64_t count)
{
    uint64_t room = 8 - (address & 7);
    return count < room ? count : room;
}

/* Where `count` bytes from `address` on stand in its word: as a mask, and how far from the word's top, in bits. */
static uint64_t bytes_at(uint64_t address, uint64_t count, unsigned *shift)
{
    *shift = 8 * (address & 7);
    return (count == 8 ? ~(uint64_t)0 : ~(~(uint64_t)0 >> (8 * count))) >> *shift;
}

/* The SplitMix64 generator's output for state `x`. */
static uint64_t splitmix64(uint64_t x)
{
    uint64_t z = x + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* read(fd, buffer, count): at most up to the end of an 8-byte word when it is the pre-image that is read. */
static enum reason system_read(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t fd = thread->r[A0], buffer = thread->r[A1], address = buffer & ~(uint64_t)7, word;
    if (fd == FD_STDIN)
        return succeed(thread, 0);
    if (fd == FD_HINT_READ)
        return succeed(thread, thread->r[A2]);
    if (fd == FD_EVENT)
        return fail(thread, EAGAIN);
    if (fd != FD_PREIMAGE_READ)
        return fail(thread, EBADF);

    uint8_t data[32] = {0};
    size_t length;
    TRY(access->read_word(context, address, 1, &word));
    TRY(access->read_preimage(context, vm->preimage_key, vm->preimage_offset, data, &length));
    uint64_t count = bytes_in_word(buffer, thread->r[A2]);
    if (length < count)
        count = length;
    unsigned shift;
    uint64_t mask = bytes_at(buffer, count, &shift);
    TRY(access->write_word(context, address, 1, merged(word, load_big64(data) >> shift, mask)));
    on_write(vm, address);
    vm->preimage_offset += count;
    return succeed(thread, count);
}

/* write(fd, buffer, count): to descriptor 6, bytes of a pre-image key, up to the end of an 8-byte word. */
static enum reason system_write(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t fd = thread->r[A0], buffer = thread->r[A1], count = thread->r[A2], word;
    if (fd == FD_STDOUT || fd == FD_STDERR || fd == FD_HINT_WRITE) {
        if (access->wrote != NULL)
            access->wrote(context, fd, buffer, count);
        return succeed(thread, count);
    }
    if (fd == FD_EVENT)
        return fail(thread, EAGAIN);
    if (fd != FD_PREIMAGE_WRITE)
        return fail(thread, EBADF);

    TRY(access->read_word(context, buffer & ~(uint64_t)7, 1, &word));
    count = bytes_in_word(buffer, count);
    uint8_t bytes[8];
    store_big64(bytes, word);
    memmove(vm->preimage_key, vm->preimage_key + count, 32 - count);
    memcpy(vm->preimage_key + 32 - count, bytes + (buffer & 7), count);
    vm->preimage_offset = 0;
    return succeed(thread, count);
}

/* mmap(address, length): fresh zeroed addresses; memory itself needs no preparation. */
static enum reason system_mmap(struct vm *vm, struct thread *thread)
{
    uint64_t hint = thread->r[A0];
    if (hint != 0)
        return succeed(thread, hint);
    uint64_t length = thread->r[A1];
    uint64_t size = (length + PAGE_MASK) & ~PAGE_MASK; /* wraps for the last page's worth of lengths */
    uint64_t heap = vm->heap, new_heap = heap + size;
    if (new_heap > HEAP_END || new_heap < heap || size < length)
        return fail(thread, EINVAL);
    vm->heap = new_heap;
    return succeed(thread, heap);
}

/* clone(flags, stack): the child starts behind the call, with its own stack, and runs next. */
static enum reason system_clone(struct vm *vm, struct thread *thread, enum then *then, struct thread *child)
{
    if (thread->r[A0] != CLONE_FLAGS) {
        state_exit(vm, BAD_CLONE_EXIT_CODE); /* the thread stays as it is */
        *then = THEN_EXIT;
        return REASON_NONE;
    }
    uint64_t id = vm->next_thread_id++, stack = thread->r[A1];
    succeed(thread, id);
    /* The child is the parent as it now is, but for these fields. */
    *child = *thread;
    child->id = id;
    child->exit_code = 0;
    child->exited = 0;
    child->r[SP] = stack;
    child->r[V0] = 0;
    *then = THEN_PUSH_CHILD;
    return REASON_NONE;
}

/* exit(code): of the thread; with the last thread the VM exits too. */
static enum reason system_exit(struct vm *vm, struct thread *thread, const struct access *access, void *context,
                               enum then *then)
{
    uint8_t code = (uint8_t)thread->r[A0];
    thread->exited = 1;
    thread->exit_code = code;
    if (access->is_last_thread(context))
        state_exit(vm, code);
    *then = THEN_EXIT;
    return REASON_NONE;
}

static enum reason system_fcntl(struct thread *thread)
{
    uint64_t fd = thread->r[A0], command = thread->r[A1];
    if (command != F_GETFD && command != F_GETFL)
        return fail(thread, EINVAL);
    if (fd > FD_PREIMAGE_WRITE)
        return fail(thread, EBADF);
    if (command == F_GETFD)
        return succeed(thread, 0);
    bool is_written = fd == FD_STDOUT || fd == FD_STDERR || fd == FD_HINT_WRITE || fd == FD_PREIMAGE_WRITE;
    return succeed(thread, is_written ? 1 : 0);
}

/* futex(address, operation, value): a waiting thread is scheduled again and asks anew. */
static enum reason system_futex(struct thread *thread, const struct access *access, void *context, enum then *then)
{
    uint64_t operation = thread->r[A1];
    if (operation == FUTEX_WAKE_PRIVATE)
        return yield(thread, then);
    if (operation != FUTEX_WAIT_PRIVATE)
        return fail(thread, EINVAL);
    uint64_t address = thread->r[A0], word;
    TRY(access->read_word(context, address & ~(uint64_t)7, 1, &word));
    if (half_of(word, address) != (uint32_t)thread->r[A2])
        return fail(thread, EAGAIN);
    return yield(thread, then);
}

/* clock_gettime(clock, buffer): two words; monotonic time is the step counter. */
static enum reason system_clock_gettime(struct vm *vm, struct thread *thread, const struct access *access,
                                        void *context)
{
    uint64_t clock = thread->r[A0], address = thread->r[A1] & ~(uint64_t)7, word;
    if (clock > CLOCK_MONOTONIC)
        return fail(thread, EINVAL);
    uint64_t step = clock == CLOCK_MONOTONIC ? vm->step : 0;
    TRY(access->may_write(context, address));
    TRY(access->may_write(context, address + 8));
    TRY(access->read_word(context, address, 1, &word));
    TRY(access->write_word(context, address, 1, step / STEPS_PER_SECOND));
    /* The second word is proven against the memory that holds the first. */
    TRY(access->read_word(context, address + 8, 2, &word));
    TRY(access->write_word(context, address + 8, 2, step % STEPS_PER_SECOND * NANOSECONDS_PER_STEP));
    on_write(vm, address);
    on_write(vm, address + 8);
    return succeed(thread, 0);
}

/* eventfd2(value, flags): only non-blocking ones, as a read of it would have to block otherwise. */
static enum reason system_eventfd2(struct thread *thread)
{
    if ((thread->r[A1] & EFD_NONBLOCK) == 0)
        return fail(thread, EINVAL);
    return succeed(thread, FD_EVENT);
}

/* getrandom(buffer, count): bytes that depend on the step counter alone. */
static enum reason system_getrandom(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t buffer = thread->r[A0], address = buffer & ~(uint64_t)7, word;
    uint64_t count = bytes_in_word(buffer, thread->r[A1]);
    TRY(access->read_word(context, address, 1, &word));
    unsigned shift;
    uint64_t mask = bytes_at(buffer, count, &shift);
    TRY(access->write_word(context, address, 1, merged(word, splitmix64(vm->step), mask)));
    on_write(vm, address);
    return succeed(thread, count);
}

/* The arguments of a tensor call, and whether they make sense: a size of 2^5 to 2^63 bytes, both addresses aligned, and the
 * leaf outside the subtree, so that neither's proof depends on the other's content. */
static bool tensor_arguments(const struct thread *thread, uint64_t *address, unsigned *log2_size,
                             uint64_t *leaf_address)
{
    uint64_t k = thread->r[A1];
    *address = thread->r[A0];
    *leaf_address = thread->r[A2];
    if (k < LEAF_LOG2 || k >= 64)
        return false;
    *log2_size = (unsigned)k;
    return (*address & (((uint64_t)1 << k) - 1)) == 0 && (*leaf_address & (HASH_BYTES - 1)) == 0 &&
           *leaf_address >> k != *address >> k;
}

/* tensor_map: the subtree becomes the one whose root the leaf holds. */
static enum reason system_tensor_map(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t address, leaf_address;
    unsigned log2_size;
    if (!tensor_arguments(thread, &address, &log2_size, &leaf_address))
        return fail(thread, EINVAL);
    TRY(access->tensor_map(context, address, log2_size, leaf_address));
    on_replace(vm, address, log2_size);
    return succeed(thread, 0);
}

/* tensor_root: the leaf becomes the root of the subtree. */
static enum reason system_tensor_root(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t address, leaf_address;
    unsigned log2_size;
    if (!tensor_arguments(thread, &address, &log2_size, &leaf_address))
        return fail(thread, EINVAL);
    TRY(access->tensor_root(context, address, log2_size, leaf_address));
    on_replace(vm, leaf_address, LEAF_LOG2);
    return succeed(thread, 0);
}

/* Calls that do nothing and succeed with 0. */
static bool is_no_op(uint64_t n)
{
    switch (n) {
    case SYS_CLOSE:
    case SYS_STAT:
    case SYS_FSTAT:
    case SYS_LSEEK:
    case SYS_MPROTECT:
    case SYS_MUNMAP:
    case SYS_RT_SIGACTION:
    case SYS_RT_SIGPROCMASK:
    case SYS_IOCTL:
    case SYS_PREAD64:
    case SYS_MINCORE:
    case SYS_MADVISE:
    case SYS_SETITIMER:
    case SYS_GETPID:
    case SYS_UNAME:
    case SYS_READLINK:
    case SYS_GETRLIMIT:
    case SYS_GETUID:
    case SYS_GETGID:
    case SYS_SIGALTSTACK:
    case SYS_SCHED_GETAFFINITY:
    case SYS_EPOLL_CTL:
    case SYS_TIMER_CREATE:
    case SYS_TIMER_SETTIME:
    case SYS_TIMER_DELETE:
    case SYS_TGKILL:
    case SYS_OPENAT:
    case SYS_READLINKAT:
    case SYS_EPOLL_PWAIT:
    case SYS_EPOLL_CREATE1:
    case SYS_PIPE2:
    case SYS_PRLIMIT64: return true;
    default: return false;
    }
}

enum reason system_call(struct vm *vm, struct thread *thread, const struct access *access, void *context,
                        enum then *then, struct thread *child)
{
    uint64_t n = thread->r[V0];
    switch (n) {
    case SYS_READ: return system_read(vm, thread, access, context);
    case SYS_WRITE: return system_write(vm, thread, access, context);
    case SYS_OPEN: return fail(thread, EBADF);
    case SYS_MMAP: return system_mmap(vm, thread);
    case SYS_BRK: return succeed(thread, PROGRAM_BREAK);
    case SYS_SCHED_YIELD:
    case SYS_NANOSLEEP: return yield(thread, then);
    case SYS_CLONE: return system_clone(vm, thread, then, child);
    case SYS_EXIT: return system_exit(vm, thread, access, context, then);
    case SYS_FCNTL: return system_fcntl(thread);
    case SYS_GETTID: return succeed(thread, thread->id);
    case SYS_FUTEX: return system_futex(thread, access, context, then);
    case SYS_EXIT_GROUP:
        state_exit(vm, (uint8_t)thread->r[A0]); /* the thread stays as it is */
        *then = THEN_EXIT;
        return REASON_NONE;
    case SYS_CLOCK_GETTIME: return system_clock_gettime(vm, thread, access, context);
    case SYS_EVENTFD2: return system_eventfd2(thread);
    case SYS_GETRANDOM: return system_getrandom(vm, thread, access, context);
    case SYS_TENSOR_MAP: return vm->ml ? system_tensor_map(vm, thread, access, context) : REASON_UNSUPPORTED_SYSCALL;
    case SYS_TENSOR_ROOT: return vm->ml ? system_tensor_root(vm, thread, access, context) : REASON_UNSUPPORTED_SYSCALL;
    default: return is_no_op(n) ? succeed(thread, 0) : REASON_UNSUPPORTED_SYSCALL;
    }
}
