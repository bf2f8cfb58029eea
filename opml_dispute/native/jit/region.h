/* A region: a few hundred instructions around one address, cut into blocks and with the registers chosen that its machine
 * code keeps in the host's. Of the host's kind of processor only the number of those counts. */
#ifndef OPML_REGION_H
#define OPML_REGION_H
#include "vm/machine.h"

enum {
    MAX_BLOCKS = 64,
    MAX_BLOCK_STEPS = 64,
    MAX_REGION_INSTRUCTIONS = MAX_BLOCKS * MAX_BLOCK_STEPS,
#if defined(__aarch64__)
    MAX_HOMES = 16, /* guest registers that a region keeps in host registers */
#else
    MAX_HOMES = 9,
#endif
    NOWHERE = -1,
};

/* What an operation reads and writes of the general registers (a, b, c: decode.c), and how it ends. */
enum trait {
    READS_B = 1,
    READS_C = 2,
    WRITES_A = 4,
    KEEPS_A = 8,      /* may leave `a` as it was, or uses it */
    IS_BRANCH = 16,   /* has a delay slot */
    INTERPRETED = 32, /* never compiled */
    MAY_LEAVE = 64,   /* may have to be handed to the interpreter when it runs */
    SETS_HI_LO = 128, /* writes HI or LO, too */
};
unsigned operation_traits(unsigned operation);

/* processor.c. Whether it has fused multiply-add. */
bool processor_fuses(void);

/* How a block ends. `next` is what follows it, `taken` what its branch leads to; both as addresses in the guest. */
enum block_end {
    END_FALL,      /* goes on at next */
    END_BRANCH,    /* conditional, with its delay slot */
    END_JUMP,      /* to taken, with its delay slot */
    END_CALL,      /* the same, linking; next is where it returns to */
    END_INDIRECT,  /* to a register */
    END_INTERPRET, /* the interpreter executes what follows */
};

struct code_block {
    uint64_t pc, next, taken;
    unsigned first, count; /* in the region's instructions: the branch and its delay slot too */
    enum block_end end;
    bool entry;                   /* may be entered from elsewhere */
    bool resumes;                 /* END_INTERPRET: what follows is one instruction, and then the code goes on */
    int next_block, taken_block;  /* NOWHERE: outside of the region */
    uint32_t reads, writes;       /* registers read before they are written; written */
    uint32_t dirty_in, needed_in; /* may differ from the thread's own; must be in their host registers */
    uint64_t weight;              /* how often it runs, as guessed from loops */
};

struct region {
    unsigned block_count, instruction_count;
    struct code_block blocks[MAX_BLOCKS]; /* by ascending address */
    struct instruction instructions[MAX_REGION_INSTRUCTIONS];
    int8_t home[33]; /* which of the MAX_HOMES keeps a register; NOWHERE: the thread itself */
};

/* How often the interpreter was at an address where a block starts, by a hash of the address. */
struct heat {
    uint8_t visits[1 << 14];
};
static inline uint8_t *heat_of(struct heat *heat, uint64_t pc)
{
    return &heat->visits[(pc >> 2) * 0x9e3779b97f4a7c15ull >> 50];
}

/* The region that starts at pc, of blocks that were met before; of all that it can reach, if `heat` is NULL. It may be
 * empty of instructions: then the interpreter has to go on there. */
void region_find(struct region *region, struct machine *machine, uint64_t pc, struct heat *heat);

/* Registers of `mask` that an instruction reads and writes. */
uint32_t instruction_reads(const struct instruction *it);
uint32_t instruction_writes(const struct instruction *it);
#endif
