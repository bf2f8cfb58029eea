/* One transition of the segment: the next node runs, or an error is latched. docs/segment.md, "The transition". */
#include "transition.h"
#include "opcodes.h"

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BIG_ENDIAN_64(x) (x)
#else
#define BIG_ENDIAN_64(x) __builtin_bswap64(x)
#endif

/* Word number i of a section. */
static uint64_t get(const uint8_t *section, unsigned i) { return BIG_ENDIAN_64(((const uint64_t *)section)[i]); }
static void set(uint8_t *section, unsigned i, uint64_t value) { ((uint64_t *)section)[i] = BIG_ENDIAN_64(value); }

enum { PROGRAM_MAGIC_WORD = 0, VERSION_WORD = 1, NODE_COUNT_WORD = 2, LOG2_STEPS_WORD = 3 };
enum { NODE_INDEX_WORD = 1, STATUS_WORD = 2, FAULT_NODE_WORD = 3 };

static int run_node(const uint8_t *bytes, uint64_t most_steps, const struct transition_host *host)
{
    struct record own, *r = &own;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    own = *(const struct record *)bytes;
#else
    record_decode(r, bytes);
#endif
    int status = record_check(r, 0);
    if (status == ST_OK && record_steps(r) > most_steps)
        status = ST_TOO_MANY_STEPS;
    if (status == ST_OK) {
        record_settle(r);
        status = host->run(host->self, r);
    }
    if (status == ST_OK)
        for (unsigned i = 0; i < r->n_free; i++)
            host->zero(host->self, r->free[i] & ((1ull << 56) - 1), (unsigned)(r->free[i] >> 56));
    return status;
}

void transition(const uint8_t *program, uint8_t *header, const struct transition_host *host)
{
    uint64_t index = get(header, NODE_INDEX_WORD), count = get(program, NODE_COUNT_WORD);
    if (index >= count)
        return;
    if (get(header, STATUS_WORD) == ST_OK) {
        int status = ST_BAD_PROGRAM;
        uint64_t log2_steps = get(program, LOG2_STEPS_WORD);
        if (get(program, PROGRAM_MAGIC_WORD) == PROGRAM_MAGIC && get(program, VERSION_WORD) == PROGRAM_VERSION &&
            count <= MAX_NODES && log2_steps >= LEAST_LOG2_STEPS && log2_steps <= MOST_LOG2_STEPS)
            status = run_node(program + RECORD_BYTES * (1 + index), 1ull << log2_steps, host);
        if (status != ST_OK) {
            /* INVARIANT: a node that fails leaves nothing behind but this. */
            set(header, STATUS_WORD, (uint64_t)status);
            set(header, FAULT_NODE_WORD, index);
        }
    }
    set(header, NODE_INDEX_WORD, index + 1);
}
