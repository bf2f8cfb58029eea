/* Mapped files that may be cut short while they are read. */
#define _GNU_SOURCE
#include "guarded.h"
#include "export.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* The handler may look at these at any time: `end` is written last, and is 0 for a free place. */
static struct {
    _Atomic(uintptr_t) start, end;
    atomic_int is_lost;
} guarded[MOST_GUARDED];

static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before; /* what handles all other bus errors */
static atomic_int passed_on;
static uintptr_t page_bytes; /* 0 until there is a handler */

/* Puts zeros in the place of what cannot be read, from the page of `at` on: each page would come here by itself. */
static int replace(uintptr_t at, unsigned i)
{
    uintptr_t start = guarded[i].start, end = guarded[i].end, page = at & ~(page_bytes - 1);
    if (at < start || at >= end)
        return 0;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    guarded[i].is_lost = 1;
    return mmap((void *)page, end - page, PROT_READ, flags, -1, 0) == (void *)page;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    for (unsigned i = 0; i < MOST_GUARDED; i++)
        if (replace((uintptr_t)info->si_addr, i))
            return;
    int is_first = atomic_exchange(&passed_on, 1) == 0;
    if (is_first && before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (is_first && before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else { /* no other, or another handler that came back here: the access is made again, and ends the process */
        struct sigaction end = {.sa_handler = SIG_DFL};
        sigaction(number, &end, 0);
    }
    passed_on = 0;
}

/* Another library may have put its handler in our place since the last file was mapped: ours is called first again. */
static void expect_bus_errors(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK}, now;
    if (sigaction(SIGBUS, 0, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_bus_error)
        return;
    sigemptyset(&action.sa_mask);
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigaction(SIGBUS, &action, &before);
}

EXPORT int opml_guard(void *start, uint64_t size)
{
    int number = -1;
    pthread_mutex_lock(&changing);
    expect_bus_errors();
    for (int i = 0; i < MOST_GUARDED && number < 0; i++)
        if (!guarded[i].end) {
            guarded[i].is_lost = 0;
            guarded[i].start = (uintptr_t)start;
            guarded[i].end = ((uintptr_t)start + size + page_bytes - 1) & ~(page_bytes - 1);
            number = i;
        }
    pthread_mutex_unlock(&changing);
    return number;
}

EXPORT int opml_is_lost(int number) { return guarded[number].is_lost; }

EXPORT void opml_unguard(int number)
{
    pthread_mutex_lock(&changing);
    guarded[number].end = 0;
    pthread_mutex_unlock(&changing);
}
