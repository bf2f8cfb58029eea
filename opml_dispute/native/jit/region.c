/* Finding regions: which addresses a place in the code can reach, in blocks, and which registers matter most there. */
#include "region.h"

/* clang-format off */
static const uint8_t TRAITS[OPERATION_COUNT] = {
#define IS(operation, traits) [DO_##operation] = (traits)
#define RD_RT (READS_C | WRITES_A)
#define RD_RS (READS_B | WRITES_A)
#define RD_RS_RT (READS_B | READS_C | WRITES_A)
#define HI_LO (RD_RS_RT | SETS_HI_LO)
#define LOAD (READS_B | WRITES_A | MAY_LEAVE)
#define STORE (READS_B | READS_C | MAY_LEAVE)
    IS(UNDECODED, INTERPRETED), IS(ILLEGAL, INTERPRETED), IS(SYSCALL, INTERPRETED),
    IS(SLL, RD_RT), IS(SRL, RD_RT), IS(SRA, RD_RT), IS(DSLL, RD_RT), IS(DSRL, RD_RT), IS(DSRA, RD_RT),
    IS(SLLV, RD_RS_RT), IS(SRLV, RD_RS_RT), IS(SRAV, RD_RS_RT), IS(DSLLV, RD_RS_RT), IS(DSRLV, RD_RS_RT), IS(DSRAV, RD_RS_RT),
    IS(JALR, RD_RS | IS_BRANCH), IS(MOVZ, RD_RS_RT | KEEPS_A), IS(MOVN, RD_RS_RT | KEEPS_A), IS(SYNC, RD_RS),
    IS(MFHI, WRITES_A), IS(MTHI, RD_RS | SETS_HI_LO), IS(MFLO, WRITES_A), IS(MTLO, RD_RS | SETS_HI_LO),
    IS(MULT, HI_LO), IS(MULTU, HI_LO), IS(DMULT, HI_LO), IS(DMULTU, HI_LO),
    IS(DIV, HI_LO | MAY_LEAVE), IS(DIVU, HI_LO | MAY_LEAVE), IS(DDIV, HI_LO | MAY_LEAVE), IS(DDIVU, HI_LO | MAY_LEAVE),
    IS(ADDU, RD_RS_RT), IS(SUBU, RD_RS_RT), IS(AND, RD_RS_RT), IS(OR, RD_RS_RT), IS(XOR, RD_RS_RT), IS(NOR, RD_RS_RT),
    IS(SLT, RD_RS_RT), IS(SLTU, RD_RS_RT), IS(DADDU, RD_RS_RT), IS(DSUBU, RD_RS_RT),
    IS(ADDIU, RD_RS), IS(SLTI, RD_RS), IS(SLTIU, RD_RS), IS(ANDI, RD_RS), IS(ORI, RD_RS), IS(XORI, RD_RS), IS(DADDIU, RD_RS),
    IS(LUI, WRITES_A), IS(MUL, RD_RS_RT), IS(CLZ, RD_RS), IS(CLO, RD_RS), IS(DCLZ, RD_RS), IS(DCLO, RD_RS),
    IS(BLTZ, READS_B | IS_BRANCH), IS(BGEZ, READS_B | IS_BRANCH), IS(BLEZ, READS_B | IS_BRANCH), IS(BGTZ, READS_B | IS_BRANCH),
    IS(BLTZAL, IS_BRANCH | INTERPRETED), IS(BGEZAL, IS_BRANCH | INTERPRETED), IS(BNEVER, 0),
    IS(J, IS_BRANCH), IS(JAL, IS_BRANCH | WRITES_A),
    IS(BEQ, READS_B | READS_C | IS_BRANCH), IS(BNE, READS_B | READS_C | IS_BRANCH),
    IS(LB, LOAD), IS(LBU, LOAD), IS(LH, LOAD), IS(LHU, LOAD), IS(LW, LOAD), IS(LWU, LOAD), IS(LD, LOAD),
    IS(LWL, LOAD | READS_C), IS(LWR, LOAD | READS_C), IS(LDL, LOAD | READS_C), IS(LDR, LOAD | READS_C),
    IS(SB, STORE), IS(SH, STORE), IS(SW, STORE), IS(SD, STORE), IS(SWL, STORE), IS(SWR, STORE), IS(SDL, STORE), IS(SDR, STORE),
    IS(LL, LOAD), IS(LLD, LOAD), IS(SC, STORE | WRITES_A), IS(SCD, STORE | WRITES_A),
    IS(MOVCI, RD_RS | KEEPS_A), IS(MFC1, WRITES_A), IS(CFC1, WRITES_A), IS(MTC1, READS_C), IS(CTC1, INTERPRETED),
    IS(BC1, IS_BRANCH), IS(BC1L, IS_BRANCH | INTERPRETED), IS(MOVZ_S, READS_C), IS(MOVN_S, READS_C),
    IS(LWC1, READS_B | MAY_LEAVE), IS(SWC1, READS_B | MAY_LEAVE),
    IS(LWXC1, READS_B | READS_C | MAY_LEAVE), IS(SWXC1, READS_B | READS_C | MAY_LEAVE),
};
/* clang-format on */

unsigned operation_traits(unsigned operation)
{
    switch (operation) {
    case DO_MADD_S:
    case DO_MSUB_S:
    case DO_NMADD_S:
    case DO_NMSUB_S: return processor_fuses() ? 0 : INTERPRETED;
    default: return TRAITS[operation];
    }
}

/* Neither register 0, which is no variable, nor DISCARD. */
static uint32_t variable(unsigned reg) { return reg == 0 || reg == DISCARD ? 0 : (uint32_t)1 << reg; }

uint32_t instruction_reads(const struct instruction *it)
{
    unsigned traits = operation_traits(it->operation);
    return (traits & READS_B ? variable(it->b) : 0) | (traits & READS_C ? variable(it->c) : 0) |
           (traits & KEEPS_A ? variable(it->a) : 0);
}

uint32_t instruction_writes(const struct instruction *it)
{
    return operation_traits(it->operation) & WRITES_A ? variable(it->a) : 0;
}

/* ---- where blocks start ---- */

struct leaders {
    struct heat *heat;
    unsigned count;
    uint64_t pc[MAX_BLOCKS];
    bool entry[MAX_BLOCKS];
};

/* Unless nothing was met there, which does not count where the code is certain to go on (`certain`). */
static void add_leader(struct leaders *leaders, uint64_t pc, bool entry, bool certain)
{
    for (unsigned i = 0; i < leaders->count; i++) {
        if (leaders->pc[i] == pc) {
            leaders->entry[i] |= entry;
            return;
        }
    }
    bool met = certain || leaders->heat == NULL || *heat_of(leaders->heat, pc) != 0;
    if (met && leaders->count < MAX_BLOCKS) {
        leaders->pc[leaders->count] = pc;
        leaders->entry[leaders->count++] = entry;
    }
}

static bool is_leader(const struct leaders *leaders, uint64_t pc)
{
    for (unsigned i = 0; i < leaders->count; i++)
        if (leaders->pc[i] == pc)
            return true;
    return false;
}

static uint64_t branch_target(uint64_t pc, const struct instruction *it)
{
    if (it->operation == DO_J || it->operation == DO_JAL)
        return ((pc + 4) & 0xfffffffff0000000) | (uint32_t)it->immediate;
    return pc + 4 + (uint64_t)(int64_t)it->immediate;
}

/* Where load linked and store conditional are counted, they are the interpreter's. */
static bool is_interpreted(const struct machine *machine, const struct instruction *it)
{
    switch (it->operation) {
    case DO_LL:
    case DO_LLD:
    case DO_SC:
    case DO_SCD: return machine->vm.counts != NULL;
    default: return operation_traits(it->operation) & INTERPRETED;
    }
}

/* Reads the instructions from block->pc up to its end, or to where another block starts; sets all but the blocks that
 * follow it. */
static void read_block(struct code_block *block, struct instruction *into, struct machine *machine,
                       const struct leaders *leaders)
{
    block->count = 0;
    for (uint64_t pc = block->pc;; pc += 4) {
        struct instruction *it = &into[block->count], slot;
        block->next = pc;
        block->end = END_FALL;
        if (pc != block->pc && (is_leader(leaders, pc) || block->count >= MAX_BLOCK_STEPS - 2))
            return;
        block->end = END_INTERPRET;
        if (machine_fetch(machine, pc, it) != REASON_NONE)
            return;
        if (is_interpreted(machine, it)) {
            block->resumes = it->operation != DO_ILLEGAL && !(operation_traits(it->operation) & IS_BRANCH);
            return;
        }
        if (!(operation_traits(it->operation) & IS_BRANCH)) {
            block->count++;
            continue;
        }
        if (machine_fetch(machine, pc + 4, &slot) != REASON_NONE || is_interpreted(machine, &slot) ||
            operation_traits(slot.operation) & IS_BRANCH || slot.operation == DO_BNEVER)
            return;
        into[block->count + 1] = slot;
        block->count += 2;
        block->next = pc + 8;
        block->taken = branch_target(pc, it);
        switch (it->operation) {
        case DO_J: block->end = END_JUMP; break;
        case DO_JAL: block->end = END_CALL; break;
        case DO_JALR: block->end = END_INDIRECT; break;
        case DO_BEQ: block->end = it->b == it->c ? END_JUMP : END_BRANCH; break;
        default: block->end = END_BRANCH;
        }
        return;
    }
}

static void find_leaders(struct leaders *leaders, struct machine *machine, uint64_t pc)
{
    static const struct leaders NONE;
    struct instruction unused[MAX_BLOCK_STEPS];
    leaders->count = 0;
    add_leader(leaders, pc, true, true);
    for (unsigned i = 0; i < leaders->count; i++) {
        struct code_block block = {.pc = leaders->pc[i]};
        read_block(&block, unused, machine, &NONE);
        switch (block.end) {
        case END_FALL: add_leader(leaders, block.next, false, true); break;
        case END_BRANCH:
            add_leader(leaders, block.taken, false, false);
            add_leader(leaders, block.next, false, false);
            break;
        case END_JUMP: add_leader(leaders, block.taken, false, false); break;
        case END_CALL: add_leader(leaders, block.next, true, false); break;
        case END_INDIRECT:
            if (unused[block.count - 2].a != DISCARD)
                add_leader(leaders, block.next, true, false);
            break;
        case END_INTERPRET:
            if (block.resumes)
                add_leader(leaders, block.next + 4, true, false);
            break;
        }
    }
}

/* ---- what is kept where ---- */

static int block_at(const struct region *region, uint64_t pc)
{
    for (unsigned i = 0; i < region->block_count; i++)
        if (region->blocks[i].pc == pc)
            return (int)i;
    return NOWHERE;
}

static void weigh(struct region *region)
{
    for (unsigned i = 0; i < region->block_count; i++) {
        const struct code_block *end = &region->blocks[i];
        if ((end->end != END_BRANCH && end->end != END_JUMP) || end->taken_block == NOWHERE || end->taken > end->pc)
            continue;
        for (unsigned in = (unsigned)end->taken_block; in <= i; in++)
            if (region->blocks[in].weight < 1u << 20)
                region->blocks[in].weight *= 8;
    }
}

static void choose_homes(struct region *region)
{
    uint64_t score[32] = {0};
    for (unsigned i = 0; i < region->block_count; i++) {
        const struct code_block *block = &region->blocks[i];
        for (unsigned at = block->first; at < block->first + block->count; at++) {
            uint32_t reads = instruction_reads(&region->instructions[at]);
            uint32_t writes = instruction_writes(&region->instructions[at]);
            for (unsigned reg = 1; reg < 32; reg++)
                score[reg] += block->weight * ((reads >> reg & 1) + (writes >> reg & 1));
        }
    }
    memset(region->home, NOWHERE, sizeof region->home);
    for (int home = 0; home < MAX_HOMES; home++) {
        unsigned best = 0;
        for (unsigned reg = 1; reg < 32; reg++)
            if (score[reg] > score[best])
                best = reg;
        if (best == 0)
            return;
        region->home[best] = (int8_t)home;
        score[best] = 0;
    }
}

/* Which registers may be dirty on the way into a block, and which must have been loaded: two flows to their fixed points.
 * Whatever may be dirty is stored where the region is left, so it must have been loaded on every way there. */
static void flow(struct region *region)
{
    uint32_t kept = 0;
    for (unsigned reg = 1; reg < 32; reg++)
        kept |= region->home[reg] == NOWHERE ? 0 : (uint32_t)1 << reg;
    for (unsigned i = 0; i < region->block_count; i++) {
        struct code_block *block = &region->blocks[i];
        block->reads = block->writes = 0;
        for (unsigned at = block->first; at < block->first + block->count; at++) {
            block->reads |= instruction_reads(&region->instructions[at]) & kept & ~block->writes;
            block->writes |= instruction_writes(&region->instructions[at]) & kept;
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (unsigned i = 0; i < region->block_count; i++) {
            const struct code_block *block = &region->blocks[i];
            const int followers[2] = {block->next_block, block->taken_block};
            for (unsigned which = 0; which < 2; which++) {
                if (followers[which] == NOWHERE)
                    continue;
                struct code_block *follower = &region->blocks[followers[which]];
                uint32_t dirty = follower->dirty_in | block->dirty_in | block->writes;
                changed |= dirty != follower->dirty_in;
                follower->dirty_in = dirty;
            }
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (unsigned i = region->block_count; i-- != 0;) {
            struct code_block *block = &region->blocks[i];
            uint32_t out = (block->next_block == NOWHERE ? 0 : region->blocks[block->next_block].needed_in) |
                           (block->taken_block == NOWHERE ? 0 : region->blocks[block->taken_block].needed_in);
            uint32_t needed = block->dirty_in | block->reads | (out & ~block->writes);
            changed |= needed != block->needed_in;
            block->needed_in = needed;
        }
    }
}

void region_find(struct region *region, struct machine *machine, uint64_t pc, struct heat *heat)
{
    struct leaders leaders = {.heat = heat};
    find_leaders(&leaders, machine, pc);
    region->block_count = leaders.count;
    region->instruction_count = 0;
    memset(region->blocks, 0, sizeof region->blocks);
    for (unsigned i = 0; i < leaders.count; i++) { /* by address */
        unsigned at = i;
        for (; at > 0 && region->blocks[at - 1].pc > leaders.pc[i]; at--)
            region->blocks[at] = region->blocks[at - 1];
        region->blocks[at] = (struct code_block){.pc = leaders.pc[i], .entry = leaders.entry[i], .weight = 1};
    }
    for (unsigned i = 0; i < region->block_count; i++) {
        struct code_block *block = &region->blocks[i];
        block->first = region->instruction_count;
        read_block(block, &region->instructions[block->first], machine, &leaders);
        region->instruction_count += block->count;
    }
    for (unsigned i = 0; i < region->block_count; i++) {
        struct code_block *block = &region->blocks[i];
        bool goes_on = block->end == END_FALL || block->end == END_BRANCH;
        bool branches = block->end == END_BRANCH || block->end == END_JUMP;
        block->next_block = goes_on ? block_at(region, block->next) : NOWHERE;
        block->taken_block = branches ? block_at(region, block->taken) : NOWHERE;
    }
    weigh(region);
    choose_homes(region);
    flow(region);
}
