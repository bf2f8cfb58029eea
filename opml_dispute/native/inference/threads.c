/* The thread pool: workers that take the parts of one piece of work at a time. */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "float_mode.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* How often a thread looks again before it sleeps, or lets others run: some 100 microseconds. */
#define PATIENCE 5000

struct worker {
    struct pool *pool;
    unsigned number;
    pthread_t thread;
    struct fast_scratch scratch;
};

struct pool {
    /*  63       32 31    16 15     0
     * |   round   | parts  |  next  |   the part to take next; one word, so that a part is of the round it is taken in */
    _Atomic uint64_t ticket;
    _Atomic unsigned done; /* parts of this round */
    pool_work *work;       /* of this round; it cannot end before every part that was taken is done */
    void *self;
    unsigned workers;
    struct worker *worker; /* the caller is number 0 */
    pthread_mutex_t lock;
    pthread_cond_t begin;
    _Atomic unsigned asleep;
    int quit; /* under the lock */
};

static unsigned ticket_parts(uint64_t ticket) { return (unsigned)(ticket >> 16) & POOL_MOST_PARTS; }
static unsigned ticket_next(uint64_t ticket) { return (unsigned)ticket & POOL_MOST_PARTS; }
static int ticket_left(uint64_t ticket) { return ticket_next(ticket) < ticket_parts(ticket); }

static void pause_briefly(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes parts and makes them while there are any. */
static void take_parts(struct pool *p, struct worker *w)
{
    uint64_t ticket = atomic_load(&p->ticket);
    while (ticket_left(ticket)) {
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1))
            continue;
        p->work(p->self, ticket_next(ticket), w->number, &w->scratch);
        atomic_fetch_add(&p->done, 1);
        ticket = atomic_load(&p->ticket);
    }
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    struct pool *p = w->pool;
    float_mode_begin();
    for (;;) {
        for (unsigned i = 0; i < PATIENCE && !ticket_left(atomic_load(&p->ticket)); i++)
            pause_briefly();
        if (!ticket_left(atomic_load(&p->ticket))) {
            pthread_mutex_lock(&p->lock);
            /* INVARIANT: this thread sees the new ticket here, or the thread that wrote it sees this one asleep. */
            atomic_fetch_add(&p->asleep, 1);
            while (!ticket_left(atomic_load(&p->ticket)) && !p->quit)
                pthread_cond_wait(&p->begin, &p->lock);
            atomic_fetch_sub(&p->asleep, 1);
            int quit = p->quit;
            pthread_mutex_unlock(&p->lock);
            if (quit)
                return NULL;
        }
        take_parts(p, w);
    }
}

void pool_run(struct pool *p, unsigned parts, pool_work *work, void *self)
{
    if (p->workers == 1 || parts <= 1) {
        for (unsigned part = 0; part < parts; part++)
            work(self, part, 0, &p->worker[0].scratch);
        return;
    }
    p->work = work;
    p->self = self;
    atomic_store(&p->done, 0);
    uint64_t round = (atomic_load(&p->ticket) >> 32) + 1;
    atomic_store(&p->ticket, round << 32 | (uint64_t)parts << 16);
    if (atomic_load(&p->asleep)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->begin);
        pthread_mutex_unlock(&p->lock);
    }
    take_parts(p, &p->worker[0]);
    for (unsigned i = 0; atomic_load(&p->done) < parts; i++) {
        if (i < PATIENCE)
            pause_briefly();
        else
            sched_yield();
    }
}

unsigned pool_workers(const struct pool *p) { return p->workers; }

struct pool *pool_new(unsigned threads)
{
    if (threads < 1)
        threads = 1;
    struct pool *p = calloc(1, sizeof *p);
    struct worker *worker = calloc(threads, sizeof *worker);
    if (!p || !worker) {
        free(p);
        free(worker);
        return NULL;
    }
    p->worker = worker;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->begin, NULL);
    for (unsigned i = 0; i < threads; i++) {
        worker[i].pool = p;
        worker[i].number = i;
        if (i && pthread_create(&worker[i].thread, NULL, worker_main, &worker[i]) != 0)
            break;
        p->workers = i + 1;
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->quit = 1;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->workers; i++) {
        if (i)
            pthread_join(p->worker[i].thread, NULL);
        fast_scratch_free(&p->worker[i].scratch);
    }
    free(p->worker);
    free(p);
}
