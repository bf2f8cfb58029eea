/* What the parts of the translator to x86-64 share.
 *
 *   rbx   the thread, at its register 16          r14   the caches: tables of pages
 *   r15   steps left                              rsi, rdi, rbp, r8 .. r13   registers of the guest
 *   rax, rcx, rdx                                 for the moment */
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
    int32_t offset;    /* DETOUR_NAN, DETOUR_TO_INT: where the result goes, from rbx */
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

/* Where a field of the thread is, from rbx. */
#define THREAD_BIAS    ((int32_t)offsetof(struct thread, r) + 16 * 8)
#define THREAD(member) ((int32_t)offsetof(struct thread, member) - THREAD_BIAS)

static inline int32_t float_offset(unsigned reg) { return THREAD(f) + 4 * (int32_t)reg; }
static inline struct operand thread_at(int32_t offset) { return at_base(RBX, offset); }

#define DATA(t, member) at_address((uintptr_t)&(t)->data->member)

static const uint8_t HOMES[MAX_HOMES] = {RSI, RDI, RBP, R8, R9, R10, R11, R12, R13};

static inline bool has_home(const struct translator *t, unsigned reg) { return t->region->home[reg] != NOWHERE; }

/* Register `reg` of the guest; not register 0, which is no variable. */
static inline struct operand guest(const struct translator *t, unsigned reg)
{
    if (has_home(t, reg))
        return in(HOMES[t->region->home[reg]]);
    return thread_at(THREAD(r) + 8 * (int32_t)reg);
}

/* Host register := register of the guest. */
static inline void read_guest(struct translator *t, bool wide, unsigned host, unsigned reg)
{
    if (reg == 0)
        move_constant(&t->as, host, 0);
    else
        move_to(&t->as, wide, host, guest(t, reg));
}

/* A host register that holds it: its home, or `scratch`. */
static inline unsigned fetch_guest(struct translator *t, unsigned scratch, unsigned reg)
{
    if (has_home(t, reg))
        return HOMES[t->region->home[reg]];
    read_guest(t, WIDE, scratch, reg);
    return scratch;
}

/* The host register to compute register `reg` in: its home, or `scratch`. write_guest then puts it there. */
static inline unsigned home_or(const struct translator *t, unsigned scratch, unsigned reg)
{
    return has_home(t, reg) ? HOMES[t->region->home[reg]] : scratch;
}

static inline void write_guest(struct translator *t, unsigned reg, unsigned host)
{
    if (reg == DISCARD)
        return;
    move_from(&t->as, WIDE, guest(t, reg), host);
    if (has_home(t, reg))
        t->dirty |= (uint32_t)1 << reg;
}

static inline void write_guest_constant(struct translator *t, unsigned reg, uint64_t value)
{
    if (reg == DISCARD)
        return;
    if (has_home(t, reg)) {
        move_constant(&t->as, HOMES[t->region->home[reg]], value);
        t->dirty |= (uint32_t)1 << reg;
    } else if ((int64_t)value == (int32_t)value) {
        store_constant(&t->as, WIDE, guest(t, reg), (int32_t)value);
    } else {
        move_constant(&t->as, RAX, value);
        write_guest(t, reg, RAX);
    }
}

/* Host := host op register of the guest. */
static inline void calculate_guest(struct translator *t, bool wide, enum alu what, unsigned host, unsigned reg)
{
    if (reg == 0)
        calculate_constant(&t->as, wide, what, in(host), 0);
    else
        calculate(&t->as, wide, what, host, guest(t, reg));
}

/* Flags of a comparison of a register of the guest with 0. */
static inline void compare_with_zero(struct translator *t, unsigned reg)
{
    if (reg == 0) {
        move_constant(&t->as, RAX, 0);
        test_registers(&t->as, NARROW, RAX);
    } else if (has_home(t, reg)) {
        test_registers(&t->as, WIDE, HOMES[t->region->home[reg]]);
    } else {
        calculate_constant(&t->as, WIDE, ALU_CMP, guest(t, reg), 0);
    }
}

/* Flags: whether a condition code of the floating-point unit is not 0. */
static inline void test_condition_code(struct translator *t, unsigned code)
{
    encode(&t->as, 0, NARROW, 0xf7, 0, thread_at(THREAD(fcsr)), 4); /* test */
    put(&t->as, condition_bit(code), 4);
}

/* A new stub for the place where we are, reached from `from`. */
static inline unsigned add_stub(struct translator *t, size_t from, struct exit_place place)
{
    t->stubs[t->stub_count] = (struct exit_stub){from, t->dirty, t->unused_steps, place};
    return t->stub_count++;
}

static inline void leave_if(struct translator *t, enum condition when)
{
    add_stub(t, jump_if(&t->as, when), t->leave_place);
}

static inline void add_detour(struct translator *t, struct detour detour) { t->detours[t->detour_count++] = detour; }

/* translate_integer.c, translate_memory.c, translate_float.c: false if the operation is none of theirs. */
bool translate_integer(struct translator *t, const struct instruction *it);
bool translate_memory(struct translator *t, const struct instruction *it);
bool translate_float(struct translator *t, const struct instruction *it);
#endif
