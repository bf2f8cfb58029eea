/* A translator at work: what translate.c, operations.c and a kind of processor share, and what each kind brings. */
#ifndef OPML_TRANSLATE_H
#define OPML_TRANSLATE_H
#include "assembler.h"
#include "jit.h"

struct exit_stub {
    size_t from;           /* the jump to it */
    uint32_t dirty;        /* registers to store */
    unsigned unused_steps; /* counted for the block, but not made */
    struct exit_place place;
};

/* A detour: code that is rarely run, written behind the rest. */
enum detour_kind { DETOUR_READY, DETOUR_NAN, DETOUR_TO_INT };
struct detour {
    enum detour_kind kind;
    size_t from, back; /* the jump to it; where it comes back to */
    int32_t offset;    /* DETOUR_NAN, DETOUR_TO_INT: where the result goes, for host_detour */
    uint8_t argument;  /* DETOUR_READY: to write; DETOUR_TO_INT: rounding */
    unsigned stub;     /* DETOUR_READY: when it fails */
};

enum { MAX_STUBS = 2 * MAX_REGION_INSTRUCTIONS + 4 * MAX_BLOCKS, MAX_FIXUPS = 2 * MAX_BLOCKS };

struct translator {
    struct assembler as;
    const struct region *region;
    struct translation *translation;
    const struct common_code *common;
    const struct code_data *data;

    uint32_t dirty;                /* registers that may differ from the thread's, here */
    unsigned unused_steps;         /* of the block, if it is left here */
    struct exit_place leave_place; /* for an instruction that must be interpreted after all */

    size_t labels[MAX_BLOCKS];
    struct {
        size_t from;
        int block;
    } fixups[MAX_FIXUPS];
    unsigned fixup_count, stub_count, detour_count;
    struct exit_stub stubs[MAX_STUBS];
    struct detour detours[MAX_REGION_INSTRUCTIONS];
};

/* ---- x86.c, arm.c ---- */

/* A jump, if `condition` of the processor's holds, whose target is set later: what host_land takes as `from`. */
size_t host_jump(struct translator *t);
size_t host_jump_if(struct translator *t, unsigned condition);
void host_land(struct translator *t, size_t from, size_t target);

/* Takes steps from those that are left. The jump where there are fewer; they are then taken all the same. */
size_t host_take_steps(struct translator *t, unsigned steps);
/* Gives steps back and leaves by that exit: at once, or (`chain`) to where it is linked. */
void host_leave(struct translator *t, unsigned steps, unsigned exit, bool chain);

/* Between a register of the guest in the thread and its home. */
void host_load_home(struct translator *t, unsigned reg);
void host_store_home(struct translator *t, unsigned reg);
void host_write_constant(struct translator *t, unsigned reg, uint64_t value);

/* What operations.c does not know, but for branches; false if the operation is none of these. */
bool host_instruction(struct translator *t, const struct instruction *it);
/* The condition on which a branch is taken, in the flags; kept while its delay slot is executed. */
unsigned host_condition(struct translator *t, const struct instruction *branch);
void host_keep_condition(struct translator *t, unsigned condition);
unsigned host_kept_condition(struct translator *t);
/* The thread's next_pc := a register; to the code at the thread's next_pc by the table of jumps, or out. */
void host_keep_target(struct translator *t, unsigned reg);
void host_go_to_target(struct translator *t);
/* The code of a detour, with the landing of the jump to it. */
void host_detour(struct translator *t, const struct detour *detour);

/* ---- x86_*.c, arm_*.c: operations of one kind, for operations.c ---- */

/* Between a register and a unit of `bytes` in memory, or (..._part) the left or right part of a word. */
void host_load(struct translator *t, const struct instruction *it, unsigned bytes, bool is_signed);
void host_store(struct translator *t, const struct instruction *it, unsigned bytes);
void host_load_part(struct translator *t, const struct instruction *it, bool wide, bool left);
void host_store_part(struct translator *t, const struct instruction *it, bool wide, bool left);
void host_load_linked(struct translator *t, const struct instruction *it, unsigned bytes);
void host_store_conditional(struct translator *t, const struct instruction *it, unsigned bytes);
/* F[reg] from or to R[b] + immediate, or (`indexed`) R[b] + R[c]. */
void host_load_float(struct translator *t, const struct instruction *it, unsigned reg, bool indexed);
void host_store_float(struct translator *t, const struct instruction *it, unsigned reg, bool indexed);

/* R[a] := R[c] shifted by the immediate, or (`variable`) by the low bits of R[b]. */
void host_shift(struct translator *t, const struct instruction *it, bool wide, enum shift how, bool variable);
/* R[a] := the leading zeros of R[b], or of its complement. */
void host_count_zeros(struct translator *t, const struct instruction *it, bool wide, bool complement);

/* F[a] := F[b] * F[c] + or - F[immediate], rounded once; its sign then changed, if `negates`. */
void host_fused(struct translator *t, const struct instruction *it, bool subtracts, bool negates);
/* F[a] := the integer that F[b] is rounded to. */
void host_to_integer(struct translator *t, const struct instruction *it, enum fpu_rounding rounding);
void host_compare_single(struct translator *t, const struct instruction *it);

/* ---- operations.c ---- */

/* Everything but branches; false if the operation is none of these. */
bool translate_operation(struct translator *t, const struct instruction *it);

/* ---- for a kind of processor ---- */

/* A new stub for the place where we are, reached from `from`. */
static inline unsigned add_stub(struct translator *t, size_t from, struct exit_place place)
{
    t->stubs[t->stub_count] = (struct exit_stub){from, t->dirty, t->unused_steps, place};
    return t->stub_count++;
}

static inline void leave_if(struct translator *t, unsigned condition)
{
    add_stub(t, host_jump_if(t, condition), t->leave_place);
}

static inline void add_detour(struct translator *t, struct detour detour) { t->detours[t->detour_count++] = detour; }
#endif
