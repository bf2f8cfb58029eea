/* Threads that share out the parts of one piece of work at a time.
 *
 * Parts are taken, not handed out: the caller works too, and never waits for a thread that has not begun. So other load
 * on the machine costs speed only; and which thread makes which part changes no bit (kernels.h). */
#ifndef OPML_POOL_H
#define OPML_POOL_H
#include "fast/fast.h"

struct pool;

/* Makes part number `part`, 0 <= part < parts; `worker` says whose scratch memory this is, 0 <= worker < pool_workers. */
typedef void pool_work(void *self, unsigned part, unsigned worker, struct fast_scratch *scratch);

/* `threads` workers, the caller among them; fewer if the system gives no more. Null if there is no memory. */
struct pool *pool_new(unsigned threads);
void pool_free(struct pool *p);
unsigned pool_workers(const struct pool *p);

#define POOL_MOST_PARTS 0xffffu

/* Runs all parts, each once, and returns when all are done. Workers run in the mode of float_mode.h; the caller has to
 * see to its own. */
void pool_run(struct pool *p, unsigned parts, pool_work *work, void *self);

#endif
