/* The program that a dispute runs in the VM: does one node lead from the starting root to the disputed root?
 *
 * It maps the starting root into memory, runs the node that the segment's header names, reads the new root, and
 * exits with 0 if that is the disputed one, else 1. The same program serves every model: what a node does comes
 * from the segment, so ABSOLUTE_PRESTATE is one constant.
 *
 * A state of a batch is the root of its items' segments side by side; a single inference is a batch with room for one.
 * The item whose turn it is moves to where a segment always lies, and back. */
#include "kernels/kernels.h"
#include "program/opcodes.h"
#include "program/transition.h"
#include "system.h"

enum { LOCAL_STARTING_ROOT = 2, LOCAL_DISPUTED_ROOT = 3, LOCAL_ITEM = 6 };
/* The words of pre-image 6. */
enum { LOG2_ITEMS_WORD = 2, ITEM_WORD = 3 };

/* Memory that is never written, so its subtrees are the zero roots: aligned for every size a block can have. */
#define NEVER_WRITTEN 0x0000600000000000ull

/* Where a batch lies: aligned for every size it can have. */
#define BATCH_BASE 0x0100000000000000ull

static u8 *const segment = (u8 *)SEGMENT_BASE;

static int run(void *self, const struct record *r)
{
    (void)self;
    int status = (int)kernel_check_data(segment, r);
    if (status == ST_OK)
        kernel_run(segment, r, r->lo, r->hi);
    return status;
}

static void zero(void *self, uint64_t offset, unsigned log2_size)
{
    static struct leaf root;
    (void)self;
    tensor_root(NEVER_WRITTEN, log2_size, &root);
    tensor_map(SEGMENT_BASE + offset, log2_size, &root);
}

int guest_main(void)
{
    static struct leaf root, disputed, place, item_root;
    static const struct transition_host host = {run, zero, 0};
    oracle_local(LOCAL_STARTING_ROOT, &root);
    oracle_local(LOCAL_DISPUTED_ROOT, &disputed);
    oracle_local(LOCAL_ITEM, &place);
    uint64_t item = BATCH_BASE + (place.word[ITEM_WORD] << SEGMENT_LOG2);
    unsigned batch_log2 = SEGMENT_LOG2 + (unsigned)place.word[LOG2_ITEMS_WORD];
    tensor_map(BATCH_BASE, batch_log2, &root);
    tensor_root(item, SEGMENT_LOG2, &item_root);
    tensor_map(SEGMENT_BASE, SEGMENT_LOG2, &item_root);
    transition(segment + SEC_PROGRAM, segment + SEC_HEADER, &host);
    tensor_root(SEGMENT_BASE, SEGMENT_LOG2, &item_root);
    tensor_map(item, SEGMENT_LOG2, &item_root);
    tensor_root(BATCH_BASE, batch_log2, &root);
    for (unsigned i = 0; i < 4; i++)
        if (root.word[i] != disputed.word[i])
            return EXIT_DIFFERENT;
    return EXIT_EQUAL;
}
