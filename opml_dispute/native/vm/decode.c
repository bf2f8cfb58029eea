/* An instruction word becomes an operation and its operands. docs/vm.md, "Instructions" and "ML".
 *
 *  31    26 25   21 20   16 15   11 10    6 5      0
 * | opcode |  rs   |  rt   |  rd   | shamt | funct  |   SPECIAL (00), SPECIAL2 (1C)
 * | opcode |  rs   |  rt   |      immediate         |   arithmetic, loads, stores, branches, REGIMM (01, rt = code)
 * | opcode |                target                  |   j, jal
 * | COP1   |  fmt  |  ft   |  fs   |  fd   | funct  |   add.s fd, fs, ft
 * | COP1X  |  fr   |  ft   |  fs   |  fd   | funct  |   madd.s fd, fr, fs, ft
 *
 * No reserved field is checked: bits that an instruction does not use change nothing. */
#include "export.h"
#include "fpvm.h"

/* Which fields become a, b, c and immediate. `to` is a register that is written: 0 becomes DISCARD. */
enum format {
    NO_OPERANDS,
    RD_RS_RT,      /* a = to rd, b = rs, c = rt                            */
    RD_RT_SHAMT,   /* a = to rd, c = rt, immediate = shamt                 */
    RD_RT_SHAMT32, /* the same, shamt + 32                                 */
    RT_RS_SIMM,    /* a = to rt, b = rs, c = rt, immediate = simm          */
    RT_RS_ZIMM,    /* a = to rt, b = rs, immediate = imm, zero-extended    */
    RT_UPPER,      /* a = to rt, immediate = imm << 16                     */
    BRANCH,        /* a = 31, b = rs, c = rt, immediate = simm << 2        */
    JUMP,          /* a = 31, immediate = target << 2                      */
    FD_FS_FT,      /* a = fd, b = fs, c = ft, immediate = fr               */
    RT_FS,         /* a = to rt, b = fs, c = rt                            */
    FT_RS_SIMM,    /* a = ft, b = rs, immediate = simm                     */
    CODE_BRANCH,   /* b = cc, c = tf, immediate = simm << 2                */
    RD_RS_CODE,    /* a = to rd, b = rs, c = tf, immediate = cc            */
    FD_FS_CODE,    /* a = fd, b = fs, c = tf, immediate = cc               */
    FS_FT_COND,    /* a = cc (bits 10..8), b = fs, c = ft, immediate = funct */
    INDEXED,       /* a = fd, b = rs, c = rt, immediate = fs               */
};

struct pattern {
    uint8_t operation, format;
};

#define IS(name, format) {DO_##name, format}

/* clang-format off */
static const struct pattern OPCODE[64] = {
    [0x02] = IS(J, JUMP), [0x03] = IS(JAL, JUMP),
    [0x04] = IS(BEQ, BRANCH), [0x05] = IS(BNE, BRANCH), [0x06] = IS(BLEZ, BRANCH), [0x07] = IS(BGTZ, BRANCH),
    [0x08] = IS(ADDIU, RT_RS_SIMM), [0x09] = IS(ADDIU, RT_RS_SIMM),
    [0x0A] = IS(SLTI, RT_RS_SIMM), [0x0B] = IS(SLTIU, RT_RS_SIMM),
    [0x0C] = IS(ANDI, RT_RS_ZIMM), [0x0D] = IS(ORI, RT_RS_ZIMM), [0x0E] = IS(XORI, RT_RS_ZIMM),
    [0x0F] = IS(LUI, RT_UPPER),
    [0x18] = IS(DADDIU, RT_RS_SIMM), [0x19] = IS(DADDIU, RT_RS_SIMM),
    [0x1A] = IS(LDL, RT_RS_SIMM), [0x1B] = IS(LDR, RT_RS_SIMM),
    [0x20] = IS(LB, RT_RS_SIMM), [0x21] = IS(LH, RT_RS_SIMM), [0x22] = IS(LWL, RT_RS_SIMM), [0x23] = IS(LW, RT_RS_SIMM),
    [0x24] = IS(LBU, RT_RS_SIMM), [0x25] = IS(LHU, RT_RS_SIMM), [0x26] = IS(LWR, RT_RS_SIMM), [0x27] = IS(LWU, RT_RS_SIMM),
    [0x28] = IS(SB, RT_RS_SIMM), [0x29] = IS(SH, RT_RS_SIMM), [0x2A] = IS(SWL, RT_RS_SIMM), [0x2B] = IS(SW, RT_RS_SIMM),
    [0x2C] = IS(SDL, RT_RS_SIMM), [0x2D] = IS(SDR, RT_RS_SIMM), [0x2E] = IS(SWR, RT_RS_SIMM),
    [0x30] = IS(LL, RT_RS_SIMM), [0x34] = IS(LLD, RT_RS_SIMM), [0x37] = IS(LD, RT_RS_SIMM),
    [0x38] = IS(SC, RT_RS_SIMM), [0x3C] = IS(SCD, RT_RS_SIMM), [0x3F] = IS(SD, RT_RS_SIMM),
};

static const struct pattern SPECIAL[64] = {
    [0x00] = IS(SLL, RD_RT_SHAMT), [0x02] = IS(SRL, RD_RT_SHAMT), [0x03] = IS(SRA, RD_RT_SHAMT),
    [0x04] = IS(SLLV, RD_RS_RT), [0x06] = IS(SRLV, RD_RS_RT), [0x07] = IS(SRAV, RD_RS_RT),
    [0x08] = IS(JALR, RD_RS_RT), [0x09] = IS(JALR, RD_RS_RT),
    [0x0A] = IS(MOVZ, RD_RS_RT), [0x0B] = IS(MOVN, RD_RS_RT),
    [0x0C] = IS(SYSCALL, NO_OPERANDS), [0x0F] = IS(SYNC, RD_RS_RT),
    [0x10] = IS(MFHI, RD_RS_RT), [0x11] = IS(MTHI, RD_RS_RT), [0x12] = IS(MFLO, RD_RS_RT), [0x13] = IS(MTLO, RD_RS_RT),
    [0x14] = IS(DSLLV, RD_RS_RT), [0x16] = IS(DSRLV, RD_RS_RT), [0x17] = IS(DSRAV, RD_RS_RT),
    [0x18] = IS(MULT, RD_RS_RT), [0x19] = IS(MULTU, RD_RS_RT), [0x1A] = IS(DIV, RD_RS_RT), [0x1B] = IS(DIVU, RD_RS_RT),
    [0x1C] = IS(DMULT, RD_RS_RT), [0x1D] = IS(DMULTU, RD_RS_RT), [0x1E] = IS(DDIV, RD_RS_RT), [0x1F] = IS(DDIVU, RD_RS_RT),
    [0x20] = IS(ADDU, RD_RS_RT), [0x21] = IS(ADDU, RD_RS_RT), [0x22] = IS(SUBU, RD_RS_RT), [0x23] = IS(SUBU, RD_RS_RT),
    [0x24] = IS(AND, RD_RS_RT), [0x25] = IS(OR, RD_RS_RT), [0x26] = IS(XOR, RD_RS_RT), [0x27] = IS(NOR, RD_RS_RT),
    [0x2A] = IS(SLT, RD_RS_RT), [0x2B] = IS(SLTU, RD_RS_RT),
    [0x2C] = IS(DADDU, RD_RS_RT), [0x2D] = IS(DADDU, RD_RS_RT), [0x2E] = IS(DSUBU, RD_RS_RT), [0x2F] = IS(DSUBU, RD_RS_RT),
    [0x38] = IS(DSLL, RD_RT_SHAMT), [0x3A] = IS(DSRL, RD_RT_SHAMT), [0x3B] = IS(DSRA, RD_RT_SHAMT),
    [0x3C] = IS(DSLL, RD_RT_SHAMT32), [0x3E] = IS(DSRL, RD_RT_SHAMT32), [0x3F] = IS(DSRA, RD_RT_SHAMT32),
};

static const struct pattern SPECIAL2[64] = {
    [0x02] = IS(MUL, RD_RS_RT), [0x20] = IS(CLZ, RD_RS_RT), [0x21] = IS(CLO, RD_RS_RT),
    [0x24] = IS(DCLZ, RD_RS_RT), [0x25] = IS(DCLO, RD_RS_RT),
};

static const struct pattern COP1_SINGLE[64] = {
    [0x00] = IS(ADD_S, FD_FS_FT), [0x01] = IS(SUB_S, FD_FS_FT), [0x02] = IS(MUL_S, FD_FS_FT), [0x03] = IS(DIV_S, FD_FS_FT),
    [0x04] = IS(SQRT_S, FD_FS_FT), [0x05] = IS(ABS_S, FD_FS_FT), [0x06] = IS(MOV_S, FD_FS_FT), [0x07] = IS(NEG_S, FD_FS_FT),
    [0x0C] = IS(ROUND_W, FD_FS_FT), [0x0D] = IS(TRUNC_W, FD_FS_FT), [0x0E] = IS(CEIL_W, FD_FS_FT), [0x0F] = IS(FLOOR_W, FD_FS_FT),
    [0x11] = IS(MOVCF_S, FD_FS_CODE), [0x12] = IS(MOVZ_S, FD_FS_FT), [0x13] = IS(MOVN_S, FD_FS_FT),
    [0x24] = IS(ROUND_W, FD_FS_FT),
#define C(i) [0x30 + i] = IS(C_COND, FS_FT_COND)
    C(0), C(1), C(2), C(3), C(4), C(5), C(6), C(7), C(8), C(9), C(10), C(11), C(12), C(13), C(14), C(15),
#undef C
};

static const struct pattern COP1X[64] = {
    [0x00] = IS(LWXC1, INDEXED), [0x08] = IS(SWXC1, INDEXED),
    [0x20] = IS(MADD_S, FD_FS_FT), [0x28] = IS(MSUB_S, FD_FS_FT), [0x30] = IS(NMADD_S, FD_FS_FT), [0x38] = IS(NMSUB_S, FD_FS_FT),
};
/* clang-format on */

static struct pattern regimm(unsigned code)
{
    switch (code) {
    case 0x00: return (struct pattern)IS(BLTZ, BRANCH);
    case 0x01: return (struct pattern)IS(BGEZ, BRANCH);
    case 0x10: return (struct pattern)IS(BLTZAL, BRANCH);
    case 0x11: return (struct pattern)IS(BGEZAL, BRANCH);
    default: return (struct pattern)IS(BNEVER, BRANCH); /* traps, synci, likely forms: branches not taken */
    }
}

static struct pattern cop1(uint32_t word)
{
    unsigned fmt = (word >> 21) & 31, fs = (word >> 11) & 31, funct = word & 63;
    switch (fmt) {
    case 0x00: return (struct pattern)IS(MFC1, RT_FS);
    case 0x02: return fs == 31 ? (struct pattern)IS(CFC1, RT_FS) : (struct pattern)IS(ILLEGAL, NO_OPERANDS);
    case 0x04: return (struct pattern)IS(MTC1, RT_FS);
    case 0x06: return fs == 31 ? (struct pattern)IS(CTC1, RT_FS) : (struct pattern)IS(ILLEGAL, NO_OPERANDS);
    case 0x08: return word & 0x20000 ? (struct pattern)IS(BC1L, CODE_BRANCH) : (struct pattern)IS(BC1, CODE_BRANCH);
    case 0x10: return COP1_SINGLE[funct];
    case 0x14: return funct == 0x20 ? (struct pattern)IS(CVT_S_W, FD_FS_FT) : (struct pattern)IS(ILLEGAL, NO_OPERANDS);
    default: return (struct pattern)IS(ILLEGAL, NO_OPERANDS);
    }
}

static struct pattern match(uint32_t word, bool ml)
{
    unsigned opcode = word >> 26, funct = word & 63;
    switch (opcode) {
    case 0x00:
        if (ml && funct == 0x01)
            return (struct pattern)IS(MOVCI, RD_RS_CODE);
        return SPECIAL[funct];
    case 0x01: return regimm((word >> 16) & 31);
    case 0x1C: return SPECIAL2[funct];
    case 0x11: return ml ? cop1(word) : OPCODE[opcode];
    case 0x13: return ml ? COP1X[funct] : OPCODE[opcode];
    case 0x31: return ml ? (struct pattern)IS(LWC1, FT_RS_SIMM) : OPCODE[opcode];
    case 0x39: return ml ? (struct pattern)IS(SWC1, FT_RS_SIMM) : OPCODE[opcode];
    default: return OPCODE[opcode];
    }
}

static uint8_t written(unsigned reg) { return (uint8_t)(reg == 0 ? DISCARD : reg); }

struct instruction decode(uint32_t word, bool ml)
{
    struct pattern pattern = match(word, ml);
    struct instruction it = {.operation = pattern.operation};
    uint8_t rs = (word >> 21) & 31, rt = (word >> 16) & 31, rd = (word >> 11) & 31, shamt = (word >> 6) & 31;
    int32_t simm = (int16_t)(word & 0xffff);
    uint8_t code = (word >> 18) & 7, true_or_false = (word >> 16) & 1;
    if (it.operation == DO_UNDECODED) /* what the tables leave out */
        it.operation = DO_ILLEGAL;
    switch ((enum format)pattern.format) {
    case NO_OPERANDS: break;
    case RD_RS_RT: it.a = written(rd), it.b = rs, it.c = rt; break;
    case RD_RT_SHAMT: it.a = written(rd), it.c = rt, it.immediate = shamt; break;
    case RD_RT_SHAMT32: it.a = written(rd), it.c = rt, it.immediate = shamt + 32; break;
    case RT_RS_SIMM: it.a = written(rt), it.b = rs, it.c = rt, it.immediate = simm; break;
    case RT_RS_ZIMM: it.a = written(rt), it.b = rs, it.immediate = (int32_t)(word & 0xffff); break;
    case RT_UPPER: it.a = written(rt), it.immediate = (int32_t)(word << 16); break;
    case BRANCH: it.a = 31, it.b = rs, it.c = rt, it.immediate = simm * 4; break;
    case JUMP: it.a = 31, it.immediate = (int32_t)((word & 0x03ffffff) << 2); break;
    case FD_FS_FT: it.a = shamt, it.b = rd, it.c = rt, it.immediate = rs; break;
    case RT_FS: it.a = written(rt), it.b = rd, it.c = rt; break;
    case FT_RS_SIMM: it.a = rt, it.b = rs, it.immediate = simm; break;
    case CODE_BRANCH: it.b = code, it.c = true_or_false, it.immediate = simm * 4; break;
    case RD_RS_CODE: it.a = written(rd), it.b = rs, it.c = true_or_false, it.immediate = code; break;
    case FD_FS_CODE: it.a = shamt, it.b = rd, it.c = true_or_false, it.immediate = code; break;
    case FS_FT_COND: it.a = (word >> 8) & 7, it.b = rd, it.c = rt, it.immediate = (int32_t)(word & 63); break;
    case INDEXED: it.a = shamt, it.b = rs, it.c = rt, it.immediate = rd; break;
    }
    /* jr has no link; the tables give it jalr's operation. */
    if (it.operation == DO_JALR && (word & 63) == 0x08)
        it.a = DISCARD;
    return it;
}

/* What decode makes of an instruction word: "DADDIU", "ILLEGAL", ... A constant string. */
EXPORT const char *opml_operation_name(uint32_t word, int ml)
{
    static const char *const names[OPERATION_COUNT] = {
#define X(name) #name,
        OPERATIONS(X)
#undef X
    };
    return names[decode(word, ml != 0).operation];
}
