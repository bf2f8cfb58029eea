/* What every instruction does, once. Included by run.c and witness.c, each of which first defines its access layer:
 *
 *   INTERPRET, CONTEXT       the name of the function made here and the type behind its first argument
 *   ACCESS_LOCALS            what the access macros below keep in local variables
 *   FETCH(it)                struct instruction *it := the instruction at pc, or STOP(reason)
 *   REFETCH()                memory may have changed under the code: forget what FETCH remembers
 *   DECODE_HERE(it)          UNDECODED only: decode the word at pc into *it, or STOP(reason)
 *   LOAD8/16/32/64(va, x)    uint64_t x := the naturally aligned unit that holds va, zero-extended, or STOP(reason)
 *   STORE8/16/32/64(va, x)   that unit := the low bits of x, or STOP(reason)
 *   ACCESS                   the struct access for system calls
 *
 * Twins: contracts/src/vm/Instructions.sol and FloatInstructions.sol. docs/vm.md: "Instructions", "Branches",
 * "Load linked", "ML".
 *
 * Executes up to `limit` >= 1 instructions of `thread`. Counts those that were completed in vm->step and vm->slice. With a
 * reason other than REASON_NONE, the instruction at thread->pc has had no effect.
 *
 * One instruction a line where it fits, so clang-format leaves this file alone. */
/* clang-format off */

#define RS r[it->b]
#define RT r[it->c]
#define SET(value) (r[it->a] = (value))
#define FS f[it->b]
#define FT f[it->c]
#define FR f[it->immediate]
#define SET_F(value) (f[it->a] = (value))
#define SIMM ((uint64_t)(int64_t)it->immediate)

#define STOP(why)           \
    do {                    \
        reason = (why);      \
        goto stopped;       \
    } while (0)

#define ADVANCE()           \
    do {                    \
        pc = next_pc;       \
        next_pc = pc + 4;   \
    } while (0)

#define DISPATCH()                        \
    do {                                  \
        if (--left == 0)                  \
            goto stopped;                 \
        FETCH(it);                        \
        goto *operations[it->operation];  \
    } while (0)

#define NEXT         \
    do {             \
        ADVANCE();   \
        DISPATCH();  \
    } while (0)

/* An instruction is in a delay slot when next_pc is not pc + 4; branches may not be. */
#define NOT_IN_DELAY_SLOT()                     \
    do {                                        \
        if (next_pc != pc + 4)                  \
            STOP(REASON_BRANCH_IN_DELAY_SLOT);   \
    } while (0)

#define JUMP_TO(target)                         \
    do {                                        \
        uint64_t jump_target = (target);        \
        pc = next_pc;                           \
        next_pc = jump_target;                  \
        DISPATCH();                             \
    } while (0)

#define BRANCH_IF(condition) JUMP_TO((condition) ? pc + 4 + SIMM : next_pc + 4)

/* The memory-write rule. */
#define ON_WRITE(va) on_write(vm, (va))

#define SIGNED(x) ((int64_t)(x))
#define SIGNED32(x) ((int32_t)(uint32_t)(x))
#define LOW32(x) ((uint32_t)(x))

static enum reason INTERPRET(CONTEXT *context, struct vm *vm, struct thread *thread, uint64_t limit, enum then *then,
                            struct thread *child)
{
    static const void *const operations[OPERATION_COUNT] = {
#define X(name) &&do_##name,
        OPERATIONS(X)
#undef X
    };
    enum reason reason = REASON_NONE;
    uint64_t *const r = thread->r;
    uint32_t *const f = thread->f;
    uint64_t pc = thread->pc, next_pc = thread->next_pc, left = limit;
    const uint64_t first_step = vm->step, first_slice = vm->slice;
    struct instruction *it;
    ACCESS_LOCALS;

    *then = THEN_GO_ON;
    FETCH(it);
    goto *operations[it->operation];

do_UNDECODED:
    DECODE_HERE(it);
    goto *operations[it->operation];
do_ILLEGAL:
    STOP(REASON_UNSUPPORTED_INSTRUCTION);

/* ---- shifts ---- */
do_SLL: SET(sign_extend32(RT << it->immediate)); NEXT;
do_SRL: SET(sign_extend32(LOW32(RT) >> it->immediate)); NEXT;
do_SRA: SET((uint64_t)(int64_t)(SIGNED32(RT) >> it->immediate)); NEXT;
do_DSLL: SET(RT << it->immediate); NEXT;
do_DSRL: SET(RT >> it->immediate); NEXT;
do_DSRA: SET((uint64_t)(SIGNED(RT) >> it->immediate)); NEXT;
do_SLLV: SET(sign_extend32(RT << (RS & 31))); NEXT;
do_SRLV: SET(sign_extend32(LOW32(RT) >> (RS & 31))); NEXT;
do_SRAV: SET((uint64_t)(int64_t)(SIGNED32(RT) >> (RS & 31))); NEXT;
do_DSLLV: SET(RT << (RS & 63)); NEXT;
do_DSRLV: SET(RT >> (RS & 63)); NEXT;
do_DSRAV: SET((uint64_t)(SIGNED(RT) >> (RS & 63))); NEXT;

/* ---- jumps, moves, HI and LO ---- */
do_JALR: {
    NOT_IN_DELAY_SLOT();
    uint64_t target = RS;
    SET(pc + 8);
    JUMP_TO(target);
}
do_MOVZ: if (RT == 0) SET(RS); NEXT;
do_MOVN: if (RT != 0) SET(RS); NEXT;
do_SYNC: SET(RS); NEXT;
do_MFHI: SET(thread->hi); NEXT;
do_MTHI: thread->hi = RS; SET(0); NEXT;
do_MFLO: SET(thread->lo); NEXT;
do_MTLO: thread->lo = RS; SET(0); NEXT;
do_MULT: {
    int64_t product = (int64_t)SIGNED32(RS) * SIGNED32(RT);
    thread->hi = sign_extend32((uint64_t)product >> 32);
    thread->lo = sign_extend32((uint64_t)product);
    SET(0);
    NEXT;
}
do_MULTU: {
    uint64_t product = (uint64_t)LOW32(RS) * LOW32(RT);
    thread->hi = sign_extend32(product >> 32);
    thread->lo = sign_extend32(product);
    SET(0);
    NEXT;
}
do_DIV: {
    int64_t a = SIGNED32(RS), b = SIGNED32(RT); /* 64 bits wide, so -2^31 / -1 does not overflow */
    if (b == 0)
        STOP(REASON_DIVISION_BY_ZERO);
    thread->lo = sign_extend32((uint64_t)(a / b));
    thread->hi = sign_extend32((uint64_t)(a % b));
    SET(0);
    NEXT;
}
do_DIVU: {
    uint32_t a = LOW32(RS), b = LOW32(RT);
    if (b == 0)
        STOP(REASON_DIVISION_BY_ZERO);
    thread->lo = sign_extend32(a / b);
    thread->hi = sign_extend32(a % b);
    SET(0);
    NEXT;
}
do_DMULT: {
    __int128 product = (__int128)SIGNED(RS) * SIGNED(RT);
    thread->hi = (uint64_t)(product >> 64);
    thread->lo = (uint64_t)product;
    SET(0);
    NEXT;
}
do_DMULTU: {
    unsigned __int128 product = (unsigned __int128)RS * RT;
    thread->hi = (uint64_t)(product >> 64);
    thread->lo = (uint64_t)product;
    SET(0);
    NEXT;
}
do_DDIV: {
    uint64_t a = RS, b = RT;
    if (b == 0)
        STOP(REASON_DIVISION_BY_ZERO);
    if (b == ~(uint64_t)0) { /* the host would trap on -2^63 / -1 */
        thread->lo = 0 - a;
        thread->hi = 0;
    } else {
        thread->lo = (uint64_t)(SIGNED(a) / SIGNED(b));
        thread->hi = (uint64_t)(SIGNED(a) % SIGNED(b));
    }
    SET(0);
    NEXT;
}
do_DDIVU: {
    uint64_t a = RS, b = RT;
    if (b == 0)
        STOP(REASON_DIVISION_BY_ZERO);
    thread->lo = a / b;
    thread->hi = a % b;
    SET(0);
    NEXT;
}

/* ---- arithmetic and logic; nothing traps on overflow ---- */
do_ADDU: SET(sign_extend32(RS + RT)); NEXT;
do_SUBU: SET(sign_extend32(RS - RT)); NEXT;
do_AND: SET(RS & RT); NEXT;
do_OR: SET(RS | RT); NEXT;
do_XOR: SET(RS ^ RT); NEXT;
do_NOR: SET(~(RS | RT)); NEXT;
do_SLT: SET(SIGNED(RS) < SIGNED(RT)); NEXT;
do_SLTU: SET(RS < RT); NEXT;
do_DADDU: SET(RS + RT); NEXT;
do_DSUBU: SET(RS - RT); NEXT;
do_ADDIU: SET(sign_extend32(RS + SIMM)); NEXT;
do_SLTI: SET(SIGNED(RS) < it->immediate); NEXT;
do_SLTIU: SET(RS < SIMM); NEXT;
do_ANDI: SET(RS & SIMM); NEXT;
do_ORI: SET(RS | SIMM); NEXT;
do_XORI: SET(RS ^ SIMM); NEXT;
do_LUI: SET(SIMM); NEXT;
do_DADDIU: SET(RS + SIMM); NEXT;
do_MUL: SET(sign_extend32((uint64_t)LOW32(RS) * LOW32(RT))); NEXT;
do_CLZ: SET(LOW32(RS) == 0 ? 32 : (uint64_t)__builtin_clz(LOW32(RS))); NEXT;
do_CLO: SET(LOW32(~RS) == 0 ? 32 : (uint64_t)__builtin_clz(LOW32(~RS))); NEXT;
do_DCLZ: SET(RS == 0 ? 64 : (uint64_t)__builtin_clzll(RS)); NEXT;
do_DCLO: SET(~RS == 0 ? 64 : (uint64_t)__builtin_clzll(~RS)); NEXT;

/* ---- branches ---- */
do_BLTZ: NOT_IN_DELAY_SLOT(); BRANCH_IF(SIGNED(RS) < 0);
do_BGEZ: NOT_IN_DELAY_SLOT(); BRANCH_IF(SIGNED(RS) >= 0);
do_BLTZAL: {
    NOT_IN_DELAY_SLOT();
    bool condition = SIGNED(RS) < 0; /* before the link: rs may be 31 */
    SET(pc + 8);
    BRANCH_IF(condition);
}
do_BGEZAL: {
    NOT_IN_DELAY_SLOT();
    bool condition = SIGNED(RS) >= 0;
    SET(pc + 8);
    BRANCH_IF(condition);
}
do_BNEVER: NOT_IN_DELAY_SLOT(); NEXT;
do_J: NOT_IN_DELAY_SLOT(); JUMP_TO((next_pc & 0xfffffffff0000000) | (uint32_t)it->immediate);
do_JAL:
    NOT_IN_DELAY_SLOT();
    SET(pc + 8);
    JUMP_TO((next_pc & 0xfffffffff0000000) | (uint32_t)it->immediate);
do_BEQ: NOT_IN_DELAY_SLOT(); BRANCH_IF(RS == RT);
do_BNE: NOT_IN_DELAY_SLOT(); BRANCH_IF(RS != RT);
do_BLEZ: NOT_IN_DELAY_SLOT(); BRANCH_IF(SIGNED(RS) <= 0);
do_BGTZ: NOT_IN_DELAY_SLOT(); BRANCH_IF(SIGNED(RS) > 0);

/* ---- loads: address bits below the unit's size are ignored ---- */
#define ADDRESS uint64_t va = RS + SIMM, x
do_LB: { ADDRESS; LOAD8(va, x); SET((uint64_t)(int64_t)(int8_t)x); NEXT; }
do_LBU: { ADDRESS; LOAD8(va, x); SET(x); NEXT; }
do_LH: { ADDRESS; LOAD16(va, x); SET((uint64_t)(int64_t)(int16_t)x); NEXT; }
do_LHU: { ADDRESS; LOAD16(va, x); SET(x); NEXT; }
do_LW: { ADDRESS; LOAD32(va, x); SET(sign_extend32(x)); NEXT; }
do_LWU: { ADDRESS; LOAD32(va, x); SET(x); NEXT; }
do_LD: { ADDRESS; LOAD64(va, x); SET(x); NEXT; }
do_LWL: {
    ADDRESS;
    LOAD32(va, x);
    unsigned shift = 8 * (va & 3);
    SET(sign_extend32(x << shift | (RT & (((uint64_t)1 << shift) - 1))));
    NEXT;
}
do_LWR: {
    ADDRESS;
    LOAD32(va, x);
    unsigned shift = 24 - 8 * (va & 3);
    uint32_t low = (LOW32(RT) & ~(0xffffffffu >> shift)) | (uint32_t)x >> shift;
    SET(shift == 0 ? sign_extend32(low) : (RT >> 32 << 32) | low); /* a partial lwr keeps the upper half */
    NEXT;
}
do_LDL: {
    ADDRESS;
    LOAD64(va, x);
    unsigned shift = 8 * (va & 7);
    SET(x << shift | (RT & (((uint64_t)1 << shift) - 1)));
    NEXT;
}
do_LDR: {
    ADDRESS;
    LOAD64(va, x);
    unsigned shift = 56 - 8 * (va & 7);
    SET(x >> shift | (RT & ~(~(uint64_t)0 >> shift)));
    NEXT;
}

/* ---- stores ---- */
do_SB: { ADDRESS = RT; STORE8(va, x); ON_WRITE(va); NEXT; }
do_SH: { ADDRESS = RT; STORE16(va, x); ON_WRITE(va); NEXT; }
do_SW: { ADDRESS = RT; STORE32(va, x); ON_WRITE(va); NEXT; }
do_SD: { ADDRESS = RT; STORE64(va, x); ON_WRITE(va); NEXT; }
do_SWL: {
    ADDRESS;
    LOAD32(va, x);
    unsigned shift = 8 * (va & 3);
    STORE32(va, (x & ~(uint64_t)(0xffffffffu >> shift)) | LOW32(RT) >> shift);
    ON_WRITE(va);
    NEXT;
}
do_SWR: {
    ADDRESS;
    LOAD32(va, x);
    unsigned shift = 24 - 8 * (va & 3);
    STORE32(va, (x & (((uint64_t)1 << shift) - 1)) | LOW32(RT) << shift);
    ON_WRITE(va);
    NEXT;
}
do_SDL: {
    ADDRESS;
    LOAD64(va, x);
    unsigned shift = 8 * (va & 7);
    STORE64(va, (x & ~(~(uint64_t)0 >> shift)) | RT >> shift);
    ON_WRITE(va);
    NEXT;
}
do_SDR: {
    ADDRESS;
    LOAD64(va, x);
    unsigned shift = 56 - 8 * (va & 7);
    STORE64(va, (x & (((uint64_t)1 << shift) - 1)) | RT << shift);
    ON_WRITE(va);
    NEXT;
}

/* ---- load linked, store conditional: the address is compared as computed, unaligned ---- */
#define RESERVE(tag)                       \
    do {                                   \
        vm->ll_status = (tag);             \
        vm->ll_address = va;               \
        vm->ll_owner = thread->id;         \
        if (vm->counts != NULL)            \
            counts_linked(vm->counts, thread->id, first_step + (limit - left)); \
    } while (0)
#define STORED(success)                                                                  \
    do {                                                                                 \
        if (vm->counts != NULL)                                                          \
            counts_stored(vm->counts, thread->id, first_step + (limit - left), success); \
    } while (0)
#define RESERVED(tag) (vm->ll_status == (tag) && vm->ll_owner == thread->id && vm->ll_address == va)
do_LL: { ADDRESS; LOAD32(va, x); RESERVE(1); SET(sign_extend32(x)); NEXT; }
do_LLD: { ADDRESS; LOAD64(va, x); RESERVE(2); SET(x); NEXT; }
do_SC: {
    ADDRESS = RT;
    bool success = RESERVED(1);
    if (success) {
        STORE32(va, x);
        clear_reservation(vm);
    }
    STORED(success);
    SET(success);
    NEXT;
}
do_SCD: {
    ADDRESS = RT;
    bool success = RESERVED(2);
    if (success) {
        STORE64(va, x);
        clear_reservation(vm);
    }
    STORED(success);
    SET(success);
    NEXT;
}

/* ---- ML: moves and branches on condition codes ---- */
#define CODE_IS(code, value) (fcc(thread->fcsr, (unsigned)(code)) == ((value) != 0))
do_MOVCI: if (CODE_IS(it->immediate, it->c)) SET(RS); NEXT;
do_MFC1: SET(sign_extend32(FS)); NEXT;
do_CFC1: SET(sign_extend32(thread->fcsr)); NEXT;
do_MTC1: f[it->b] = LOW32(RT); NEXT;
do_CTC1:
    if (LOW32(RT) & ~FCSR_MASK)
        STOP(REASON_FCSR);
    thread->fcsr = LOW32(RT);
    NEXT;
do_BC1: NOT_IN_DELAY_SLOT(); BRANCH_IF(CODE_IS(it->b, it->c));
do_BC1L:
    NOT_IN_DELAY_SLOT();
    if (CODE_IS(it->b, it->c))
        JUMP_TO(pc + 4 + SIMM);
    next_pc += 4; /* not taken: the delay slot is skipped */
    NEXT;

/* ---- ML: arithmetic ---- */
do_ADD_S: SET_F(fpu_add(FS, FT)); NEXT;
do_SUB_S: SET_F(fpu_sub(FS, FT)); NEXT;
do_MUL_S: SET_F(fpu_mul(FS, FT)); NEXT;
do_DIV_S: SET_F(fpu_div(FS, FT)); NEXT;
do_SQRT_S: SET_F(fpu_sqrt(FS)); NEXT;
do_ABS_S: SET_F(FS & ~FPU_SIGN); NEXT;
do_MOV_S: SET_F(FS); NEXT;
do_NEG_S: SET_F(FS ^ FPU_SIGN); NEXT;
do_ROUND_W: SET_F(fpu_to_int(FS, FPU_NEAREST)); NEXT;
do_TRUNC_W: SET_F(fpu_to_int(FS, FPU_TRUNCATE)); NEXT;
do_CEIL_W: SET_F(fpu_to_int(FS, FPU_CEIL)); NEXT;
do_FLOOR_W: SET_F(fpu_to_int(FS, FPU_FLOOR)); NEXT;
do_CVT_S_W: SET_F(fpu_from_int(FS)); NEXT;
do_MOVCF_S: if (CODE_IS(it->immediate, it->c)) SET_F(FS); NEXT;
do_MOVZ_S: if (RT == 0) SET_F(FS); NEXT;
do_MOVN_S: if (RT != 0) SET_F(FS); NEXT;
do_C_COND:
    thread->fcsr = fcc_set(thread->fcsr, it->a, fpu_compare(FS, FT, (unsigned)it->immediate));
    NEXT;
do_MADD_S: SET_F(fpu_fused_multiply_add(FS, FT, FR)); NEXT;
do_MSUB_S: SET_F(fpu_fused_multiply_add(FS, FT, FR ^ FPU_SIGN)); NEXT;
do_NMADD_S: SET_F(fpu_negate_number(fpu_fused_multiply_add(FS, FT, FR))); NEXT;
do_NMSUB_S: SET_F(fpu_negate_number(fpu_fused_multiply_add(FS, FT, FR ^ FPU_SIGN))); NEXT;

/* ---- ML: loads and stores of floating-point registers ---- */
do_LWC1: { ADDRESS; LOAD32(va, x); SET_F(LOW32(x)); NEXT; }
do_SWC1: { ADDRESS = f[it->a]; STORE32(va, x); ON_WRITE(va); NEXT; }
do_LWXC1: { uint64_t va = RS + RT, x; LOAD32(va, x); SET_F(LOW32(x)); NEXT; }
do_SWXC1: { uint64_t va = RS + RT, x = FR; STORE32(va, x); ON_WRITE(va); NEXT; }

/* ---- system calls ---- */
do_SYSCALL:
    thread->pc = pc;
    thread->next_pc = next_pc;
    vm->step = first_step + (limit - left) + 1; /* calls see the step they are part of */
    reason = system_call(vm, thread, ACCESS, context, then, child);
    if (reason != REASON_NONE)
        goto stopped;
    pc = thread->pc;
    next_pc = thread->next_pc;
    REFETCH();
    if (*then != THEN_GO_ON) {
        left--;
        goto stopped;
    }
    DISPATCH();

stopped:
    thread->pc = pc;
    thread->next_pc = next_pc;
    vm->step = first_step + (limit - left);
    vm->slice = first_slice + (limit - left);
    return reason;
}
