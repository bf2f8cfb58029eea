/* System calls, over `struct access`. docs/vm.md, "System calls" and ML.11. Twin: contracts/src/vm/Syscalls.sol. */
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

enum { EBADF = 9, EAGAIN = 11, EINVAL = 22 };
enum { A0 = 4, A1 = 5, A2 = 6, V0 = 2, V1 = 7, SP = 29 };
enum {
    FD_STDIN,
    FD_STDOUT,
    FD_STDERR,
    FD_HINT_READ,
    FD_HINT_WRITE,
    FD_PREIMAGE_READ,
    FD_PREIMAGE_WRITE,
    FD_EVENT = 100
};

#define PROGRAM_BREAK 0x0000400000000000ull
#define CLOCK_HZ      10000000ull
#define CLONE_FLAGS   0x00050F00ull

#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        enum fault f_ = (expression);                                                                                  \
        if (f_ != FAULT_NONE)                                                                                          \
            return f_;                                                                                                 \
    } while (0)

static enum fault finish(struct thread *thread, uint64_t v0, uint64_t v1)
{
    thread->r[V0] = v0;
    thread->r[V1] = v1;
    thread->pc = thread->next_pc;
    thread->next_pc = thread->pc + 4;
    return FAULT_NONE;
}

static enum fault succeed(struct thread *thread, uint64_t result) { return finish(thread, result, 0); }

static enum fault fail(struct thread *thread, uint64_t errno_value)
{
    return finish(thread, errno_value, ~(uint64_t)0);
}

static enum fault yield(struct thread *thread, enum then *then)
{
    *then = THEN_PREEMPT;
    return succeed(thread, 0);
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The word with its bytes first .. first + count - 1 (0 is the most significant) taken from `bytes`. */
static uint64_t replace_bytes(uint64_t word, unsigned first, unsigned count, const uint8_t *bytes)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned shift = 56 - 8 * (first + i);
        word = (word & ~((uint64_t)0xff << shift)) | (uint64_t)bytes[i] << shift;
    }
    return word;
}

static enum fault read_preimage(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t buffer = thread->r[A1], address = buffer & ~(uint64_t)7, word;
    uint8_t data[32];
    size_t available;
    TRY(access->read_word(context, address, 1, &word));
    TRY(access->read_preimage(context, vm->preimage_key, vm->preimage_offset, data, &available));
    uint64_t count = least(available, least(8 - (buffer & 7), thread->r[A2]));
    word = replace_bytes(word, buffer & 7, (unsigned)count, data);
    TRY(access->write_word(context, address, 1, word));
    clear_reservation(vm, address, 3);
    vm->preimage_offset += count;
    return succeed(thread, count);
}

static enum fault system_read(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    switch (thread->r[A0]) {
    case FD_STDIN: return succeed(thread, 0);
    case FD_HINT_READ: return succeed(thread, thread->r[A2]);
    case FD_PREIMAGE_READ: return read_preimage(vm, thread, access, context);
    case FD_EVENT: return fail(thread, EAGAIN);
    default: return fail(thread, EBADF);
    }
}

static enum fault write_preimage_key(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t buffer = thread->r[A1], word;
    TRY(access->read_word(context, buffer & ~(uint64_t)7, 1, &word));
    unsigned count = (unsigned)least(thread->r[A2], 8 - (buffer & 7));
    uint8_t bytes[8];
    store_big64(bytes, word);
    memmove(vm->preimage_key, vm->preimage_key + count, 32 - count);
    memcpy(vm->preimage_key + 32 - count, bytes + (buffer & 7), count);
    vm->preimage_offset = 0;
    return succeed(thread, count);
}

static enum fault system_write(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    switch (thread->r[A0]) {
    case FD_STDOUT:
    case FD_STDERR:
    case FD_HINT_WRITE:
        if (access->wrote != NULL)
            access->wrote(context, thread->r[A0], thread->r[A1], thread->r[A2]);
        return succeed(thread, thread->r[A2]);
    case FD_PREIMAGE_WRITE: return write_preimage_key(vm, thread, access, context);
    case FD_EVENT: return fail(thread, EAGAIN);
    default: return fail(thread, EBADF);
    }
}

static enum fault system_mmap(struct vm *vm, struct thread *thread)
{
    uint64_t length = thread->r[A1];
    uint64_t size = (length + 4095) & ~(uint64_t)4095; /* wraps for the last page's worth of lengths */
    if (thread->r[A0] != 0)
        return succeed(thread, thread->r[A0]);
    uint64_t old_heap = vm->heap, new_heap = old_heap + size;
    if (new_heap > HEAP_END || new_heap < old_heap || size < length)
        return fail(thread, EINVAL);
    vm->heap = new_heap;
    return succeed(thread, old_heap);
}

static enum fault system_clone(struct vm *vm, struct thread *thread, enum then *then, struct thread *child)
{
    if (thread->r[A0] != CLONE_FLAGS) {
        vm->exited = 1;
        vm->exit_code = 2;
        *then = THEN_EXIT;
        return FAULT_NONE;
    }
    *child = *thread;
    child->id = vm->next_thread_id++;
    child->exit_code = child->exited = 0;
    child->pc = thread->next_pc;
    child->next_pc = thread->next_pc + 4;
    child->r[SP] = thread->r[A1];
    child->r[V0] = child->r[V1] = 0;
    *then = THEN_PUSH_CHILD;
    return succeed(thread, child->id);
}

static enum fault system_exit(struct vm *vm, struct thread *thread, const struct access *access, void *context,
                              enum then *then)
{
    thread->exited = 1;
    thread->exit_code = (uint8_t)thread->r[A0];
    if (access->is_last_thread(context)) {
        vm->exited = 1;
        vm->exit_code = thread->exit_code;
    }
    *then = THEN_EXIT;
    return FAULT_NONE;
}

static enum fault system_fcntl(struct thread *thread)
{
    uint64_t fd = thread->r[A0], command = thread->r[A1];
    if (command == 1)
        return fd <= FD_PREIMAGE_WRITE ? succeed(thread, 0) : fail(thread, EBADF);
    if (command != 3)
        return fail(thread, EINVAL);
    switch (fd) {
    case FD_STDIN:
    case FD_HINT_READ:
    case FD_PREIMAGE_READ: return succeed(thread, 0); /* read only */
    case FD_STDOUT:
    case FD_STDERR:
    case FD_HINT_WRITE:
    case FD_PREIMAGE_WRITE: return succeed(thread, 1); /* write only */
    default: return fail(thread, EBADF);
    }
}

static enum fault system_futex(struct thread *thread, const struct access *access, void *context, enum then *then)
{
    uint64_t address = thread->r[A0], word;
    switch (thread->r[A1]) {
    case 128: /* wait, private */
        TRY(access->read_word(context, address & ~(uint64_t)7, 1, &word));
        if ((uint32_t)(address & 4 ? word : word >> 32) != (uint32_t)thread->r[A2])
            return fail(thread, EAGAIN);
        return yield(thread, then);
    case 129: /* wake, private */ return yield(thread, then);
    default: return fail(thread, EINVAL);
    }
}

static enum fault system_clock(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t clock = thread->r[A0], address = thread->r[A1] & ~(uint64_t)7, word;
    if (clock > 1)
        return fail(thread, EINVAL);
    uint64_t seconds = clock == 0 ? 0 : vm->step / CLOCK_HZ;
    uint64_t nanoseconds = clock == 0 ? 0 : vm->step % CLOCK_HZ * (1000000000 / CLOCK_HZ);
    TRY(access->may_write(context, address));
    TRY(access->may_write(context, address + 8));
    TRY(access->read_word(context, address, 1, &word));
    TRY(access->write_word(context, address, 1, seconds));
    /* The second word is proven against the memory that holds the first. */
    TRY(access->read_word(context, address + 8, 2, &word));
    TRY(access->write_word(context, address + 8, 2, nanoseconds));
    clear_reservation(vm, address, 3);
    clear_reservation(vm, address + 8, 3);
    return succeed(thread, 0);
}

static uint64_t splitmix64(uint64_t x)
{
    uint64_t z = x + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static enum fault system_getrandom(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t buffer = thread->r[A0], address = buffer & ~(uint64_t)7, word;
    TRY(access->read_word(context, address, 1, &word));
    unsigned first = buffer & 7, count = (unsigned)least(thread->r[A1], 8 - first);
    uint8_t random[8];
    store_big64(random, splitmix64(vm->step));
    word = replace_bytes(word, first, count, random + first);
    TRY(access->write_word(context, address, 1, word));
    clear_reservation(vm, address, 3);
    return succeed(thread, count);
}

static enum fault system_tensor(struct vm *vm, struct thread *thread, const struct access *access, void *context)
{
    uint64_t address = thread->r[A0], log2_size = thread->r[A1], leaf = thread->r[A2];
    if (log2_size < 5 || log2_size > 63 || (address & (((uint64_t)1 << log2_size) - 1)) != 0 || (leaf & 31) != 0 ||
        leaf >> log2_size == address >> log2_size)
        return fail(thread, EINVAL);
    if (thread->r[V0] == SYS_TENSOR_MAP) {
        TRY(access->tensor_map(context, address, (unsigned)log2_size, leaf));
        clear_reservation(vm, address, (unsigned)log2_size);
    } else {
        TRY(access->tensor_root(context, address, (unsigned)log2_size, leaf));
        clear_reservation(vm, leaf, LEAF_LOG2);
    }
    return succeed(thread, 0);
}

enum fault system_call(struct vm *vm, struct thread *thread, const struct access *access, void *context,
                       enum then *then, struct thread *child)
{
    switch (thread->r[V0]) {
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
        vm->exited = 1;
        vm->exit_code = (uint8_t)thread->r[A0];
        *then = THEN_EXIT;
        return FAULT_NONE;
    case SYS_CLOCK_GETTIME: return system_clock(vm, thread, access, context);
    case SYS_EVENTFD2: /* only the non-blocking kind */
        return thread->r[A1] & 0x80 ? succeed(thread, FD_EVENT) : fail(thread, EINVAL);
    case SYS_GETRANDOM: return system_getrandom(vm, thread, access, context);
    case SYS_TENSOR_MAP:
    case SYS_TENSOR_ROOT: return vm->ml ? system_tensor(vm, thread, access, context) : FAULT_UNSUPPORTED_SYSCALL;

    /* These do nothing and succeed with 0. */
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
    case SYS_PRLIMIT64: return succeed(thread, 0);
    default: return FAULT_UNSUPPORTED_SYSCALL;
    }
}
