/* The little of a C library that the engine asks for, on AArch64 under Linux, straight over system calls.
 *
 * The program for the other machine needs no library built for that machine: building musl from its sources took two
 * thirds of the time that the whole program took. What the engine's results depend on is not here but in the engine:
 * these are memory, threads, locks, input and output. bare_bytes.c has the functions over bytes. Declarations are
 * the C library's own. */
#define _GNU_SOURCE
#include "bare.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **words);

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

/* --- memory as the system gives it --- */

static int last_error; /* no thread but the first calls what can fail */
int *__errno_location(void) { return &last_error; }

static long checked(long answer)
{
    if ((unsigned long)answer <= -4096ul)
        return answer;
    last_error = (int)-answer;
    return -1;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    return (void *)checked(call(SYS_mmap, (long)address, (long)size, protection, flags, file, offset));
}
int munmap(void *address, size_t size) { return (int)checked(call(SYS_munmap, (long)address, (long)size, 0, 0, 0, 0)); }
int madvise(void *address, size_t size, int advice)
{
    return (int)checked(call(SYS_madvise, (long)address, (long)size, advice, 0, 0, 0));
}
int mprotect(void *address, size_t size, int protection)
{
    return (int)checked(call(SYS_mprotect, (long)address, (long)size, protection, 0, 0, 0));
}
void *mremap(void *from, size_t size, size_t new_size, int flags, ...)
{
    __builtin_va_list more;
    __builtin_va_start(more, flags);
    void *to = flags & MREMAP_FIXED ? __builtin_va_arg(more, void *) : NULL;
    __builtin_va_end(more);
    return (void *)checked(call(SYS_mremap, (long)from, (long)size, (long)new_size, flags, (long)to, 0));
}

static uint64_t page_bytes = 4096;
long sysconf(int name)
{
    if (name != _SC_PAGESIZE)
        bare_stop("sysconf knows the page alone");
    return (long)page_bytes;
}

void __clear_cache(void *begin, void *end)
{
    uint64_t sizes;
    __asm__("mrs %0, ctr_el0" : "=r"(sizes));
    uint64_t data = 4ull << (sizes >> 16 & 15), code = 4ull << (sizes & 15);
    for (uint64_t at = (uint64_t)begin & -data; at < (uint64_t)end; at += data)
        __asm__ volatile("dc cvau, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb ish" ::: "memory");
    for (uint64_t at = (uint64_t)begin & -code; at < (uint64_t)end; at += code)
        __asm__ volatile("ic ivau, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb ish\n\tisb" ::: "memory");
}

/* --- locks and threads --- */

static void wait_while(int *word, int value) { call(SYS_futex, (long)word, FUTEX_WAIT, value, 0, 0, 0); }
static void wake(int *word, int count) { call(SYS_futex, (long)word, FUTEX_WAKE, count, 0, 0, 0); }

/* A lock is 0 if free, 1 if held, 2 if held and waited for. */
static void lock(int *word)
{
    int seen = 0;
    if (__atomic_compare_exchange_n(word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
        wait_while(word, 2);
}
static void unlock(int *word)
{
    if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
        wake(word, 1);
}

/* No signal is handled here: nothing of what is replayed lies in a mapped file. */
int sigemptyset(sigset_t *set)
{
    (void)set;
    return 0;
}
int sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict before)
{
    (void)number, (void)action, (void)before;
    bare_stop("no signal is handled");
}

int pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    (void)mutex;
    return 0;
}

int pthread_mutex_init(pthread_mutex_t *restrict mutex, const pthread_mutexattr_t *restrict unused)
{
    (void)unused;
    memset(mutex, 0, sizeof *mutex);
    return 0;
}
int pthread_mutex_lock(pthread_mutex_t *mutex) { return lock((int *)mutex), 0; }
int pthread_mutex_unlock(pthread_mutex_t *mutex) { return unlock((int *)mutex), 0; }

/* A condition is a count of broadcasts. */
int pthread_cond_init(pthread_cond_t *restrict condition, const pthread_condattr_t *restrict unused)
{
    (void)unused;
    memset(condition, 0, sizeof *condition);
    return 0;
}
int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
    int *count = (int *)condition, seen = __atomic_load_n(count, __ATOMIC_RELAXED);
    pthread_mutex_unlock(mutex);
    wait_while(count, seen);
    pthread_mutex_lock(mutex);
    return 0;
}
int pthread_cond_broadcast(pthread_cond_t *condition)
{
    __atomic_add_fetch((int *)condition, 1, __ATOMIC_RELEASE);
    wake((int *)condition, INT32_MAX);
    return 0;
}
int sched_yield(void) { return (int)call(SYS_sched_yield, 0, 0, 0, 0, 0, 0); }

struct started {
    int is_alive; /* the thread's number, which the system clears when it has ended */
    void *stack;
};
enum { STACK_BYTES = 1 << 20 };

/* As the system call, and the new thread calls what lies on its stack: the function, then its argument. */
long bare_clone(unsigned long flags, void *stack, int *number, void *unused, int *cleared);
__asm__(".text\n.globl bare_clone\nbare_clone:\n"
        "mov x8, #220\nsvc #0\ncbnz x0, 1f\n"
        "mov x29, #0\nldp x1, x0, [sp]\nblr x1\n"
        "mov x0, #0\nmov x8, #93\nsvc #0\n"
        "1: ret\n");

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict unused, void *(*run)(void *),
                   void *restrict argument)
{
    (void)unused;
    struct started *started = malloc(sizeof *started);
    uint8_t *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (started == NULL || stack == MAP_FAILED)
        return EAGAIN;
    *started = (struct started){1, stack};
    uint64_t *top = (uint64_t *)(stack + STACK_BYTES) - 2;
    top[0] = (uint64_t)run;
    top[1] = (uint64_t)argument;
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    flags |= CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    if (bare_clone(flags, top, &started->is_alive, NULL, &started->is_alive) < 0)
        return EAGAIN;
    *thread = (pthread_t)started;
    return 0;
}
int pthread_join(pthread_t thread, void **unused)
{
    (void)unused;
    struct started *started = (struct started *)thread;
    for (int number; (number = __atomic_load_n(&started->is_alive, __ATOMIC_ACQUIRE)) != 0;)
        wait_while(&started->is_alive, number);
    munmap(started->stack, STACK_BYTES);
    free(started);
    return 0;
}

/* --- the heap: small blocks have the size of a power of two and are kept when they are freed --- */

struct block {
    uint64_t size;  /* with this header, from `start` */
    uint64_t start; /* where the block begins, which is before the header where it had to be aligned */
};
enum { SMALL_LOG2 = 16, CHUNK_BYTES = 1 << 20 };
static struct block *freed[SMALL_LOG2 + 1]; /* by the size's logarithm; `start` leads to the next */
static uint8_t *chunk;
static size_t chunk_left;
static int heap_lock;

static uint8_t *from_system(size_t size)
{
    uint8_t *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}

static struct block *small(unsigned log2)
{
    lock(&heap_lock);
    struct block *block = freed[log2];
    if (block != NULL) {
        freed[log2] = (struct block *)block->start;
    } else {
        if (chunk_left < 1ull << log2) {
            chunk = from_system(CHUNK_BYTES);
            chunk_left = chunk == NULL ? 0 : CHUNK_BYTES;
        }
        block = (struct block *)chunk;
        if (block != NULL) {
            chunk += 1ull << log2;
            chunk_left -= 1ull << log2;
        }
    }
    unlock(&heap_lock);
    return block;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (size >= 1ull << 46)
        return NULL;
    size_t needed = size + sizeof(struct block) + (alignment > 16 ? alignment : 0);
    unsigned log2 = 5;
    while (log2 <= SMALL_LOG2 && 1ull << log2 < needed)
        log2++;
    needed = log2 <= SMALL_LOG2 ? 1ull << log2 : (needed + page_bytes - 1) & -page_bytes;
    uint8_t *start = log2 <= SMALL_LOG2 ? (uint8_t *)small(log2) : from_system(needed);
    if (start == NULL)
        return NULL;
    uint64_t place = (uint64_t)start + sizeof(struct block);
    if (alignment > 16)
        place = (place + alignment - 1) & -(uint64_t)alignment;
    ((struct block *)place)[-1] = (struct block){needed, (uint64_t)start};
    return (void *)place;
}
void *malloc(size_t size) { return aligned_alloc(16, size); }
void free(void *place)
{
    if (place == NULL)
        return;
    struct block header = ((struct block *)place)[-1], *block = (struct block *)header.start;
    if (header.size > 1ull << SMALL_LOG2) {
        munmap(block, header.size);
        return;
    }
    unsigned log2 = (unsigned)__builtin_ctzll(header.size);
    lock(&heap_lock);
    block->start = (uint64_t)freed[log2];
    freed[log2] = block;
    unlock(&heap_lock);
}
void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *place = malloc(bytes);
    if (place != NULL)
        memset(place, 0, bytes);
    return place;
}
void *realloc(void *place, size_t size)
{
    if (place == NULL)
        return malloc(size);
    struct block header = ((struct block *)place)[-1];
    size_t held = header.start + header.size - (uint64_t)place;
    if (size <= held)
        return place;
    void *larger = malloc(size);
    if (larger != NULL) {
        memcpy(larger, place, held);
        free(place);
    }
    return larger;
}

/* --- input, output, begin and end --- */

static uint8_t incoming[1 << 16], outgoing[1 << 16];
static size_t in_at, in_end, out_end;

static _Noreturn void leave(int status)
{
    for (;;)
        call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}
static void write_all(int file, const uint8_t *from, size_t size)
{
    while (size != 0) {
        long done = call(SYS_write, file, (long)from, (long)size, 0, 0, 0);
        if (done <= 0 && done != -EINTR)
            leave(2);
        from += done > 0 ? done : 0;
        size -= done > 0 ? (size_t)done : 0;
    }
}
void bare_stop(const char *why)
{
    write_all(2, (const uint8_t *)why, strlen(why));
    write_all(2, (const uint8_t *)"\n", 1);
    leave(2);
}
void abort(void) { bare_stop("aborted"); }

int bare_get(void *to, size_t size)
{
    for (uint8_t *place = to; size != 0;) {
        if (in_at == in_end) {
            long got = call(SYS_read, 0, (long)incoming, sizeof incoming, 0, 0, 0);
            if (got < 0 && got != -EINTR)
                bare_stop("the input cannot be read");
            if (got == 0)
                return 0;
            in_at = 0;
            in_end = got < 0 ? 0 : (size_t)got;
            continue;
        }
        size_t part = size < in_end - in_at ? size : in_end - in_at;
        memcpy(place, incoming + in_at, part);
        place += part;
        in_at += part;
        size -= part;
    }
    return 1;
}
void bare_need(void *to, size_t size)
{
    if (!bare_get(to, size))
        bare_stop("the job is cut short");
}
void bare_put(const void *from, size_t size)
{
    for (const uint8_t *place = from; size != 0;) {
        if (out_end == sizeof outgoing)
            bare_flush();
        size_t part = size < sizeof outgoing - out_end ? size : sizeof outgoing - out_end;
        memcpy(outgoing + out_end, place, part);
        out_end += part;
        place += part;
        size -= part;
    }
}
void bare_flush(void)
{
    write_all(1, outgoing, out_end);
    out_end = 0;
}

typedef void constructor(void);
extern constructor *__init_array_start[], *__init_array_end[];

_Noreturn void bare_start(uint64_t *stack);
void bare_start(uint64_t *stack)
{
    enum { PAGE_SIZE = 6 }; /* AT_PAGESZ */
    uint64_t *word = stack + 1 + stack[0] + 1;
    while (*word != 0) /* the environment */
        word++;
    for (word++; word[0] != 0; word += 2)
        if (word[0] == PAGE_SIZE)
            page_bytes = word[1];
    for (constructor **each = __init_array_start; each != __init_array_end; each++)
        (*each)();
    int status = main((int)stack[0], (char **)(stack + 1));
    bare_flush();
    leave(status);
}
__asm__(".text\n.globl _start\n_start:\nmov x29, #0\nmov x30, #0\nmov x0, sp\nand sp, x0, #-16\nbl bare_start\n");
