/* x86-64 instructions as bytes: operands are registers, places in the thread, or the data beside the code. */
#ifndef OPML_X86_ASSEMBLER_H
#define OPML_X86_ASSEMBLER_H
#include "assembler.h"
#include <string.h>

enum host_register { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum { XMM0, XMM1 };

/* As they stand in the encoding. */
enum condition {
    CC_BELOW = 2,
    CC_ABOVE_EQUAL = 3,
    CC_EQUAL = 4,
    CC_NOT_EQUAL = 5,
    CC_BELOW_EQUAL = 6,
    CC_ABOVE = 7,
    CC_PARITY = 10,
    CC_NOT_PARITY = 11,
    CC_LESS = 12,
    CC_GREATER_EQUAL = 13,
    CC_LESS_EQUAL = 14,
    CC_GREATER = 15,
};
enum alu { ALU_ADD, ALU_OR, ALU_AND = 4, ALU_SUB, ALU_XOR, ALU_CMP };
enum { ROTATE_LEFT = 0 };
static const uint8_t SHIFT_FIELDS[] = {[SHIFT_LEFT] = 4, [SHIFT_RIGHT] = 5, [SHIFT_ARITHMETIC] = 7};
enum unary { UNARY_NOT = 2, UNARY_NEG, UNARY_MUL, UNARY_IMUL, UNARY_DIV, UNARY_IDIV };

enum operand_kind { IN_REGISTER, AT_BASE, AT_BASE_INDEX, AT_ADDRESS };
struct operand {
    enum operand_kind kind;
    uint8_t reg, index; /* the register, or the base */
    int32_t offset;
    uintptr_t address;
};

static inline struct operand in(unsigned reg) { return (struct operand){.kind = IN_REGISTER, .reg = (uint8_t)reg}; }
static inline struct operand at_base(unsigned base, int32_t offset)
{
    return (struct operand){.kind = AT_BASE, .reg = (uint8_t)base, .offset = offset};
}
static inline struct operand at_index(unsigned base, unsigned index, int32_t offset)
{
    return (struct operand){.kind = AT_BASE_INDEX, .reg = (uint8_t)base, .index = (uint8_t)index, .offset = offset};
}
/* Within 2 GiB of the code. */
static inline struct operand at_address(uintptr_t address)
{
    return (struct operand){.kind = AT_ADDRESS, .address = address};
}

/* prefix (0: none), REX if needed, opcode bytes (the most significant first), ModRM. `immediate_bytes` follow it: an
 * operand by address counts from behind them. */
static inline void encode(struct assembler *as, unsigned prefix, bool wide, unsigned opcode, unsigned field,
                          struct operand operand, unsigned immediate_bytes)
{
    bool indexed = operand.kind == AT_BASE_INDEX;
    unsigned rex = (wide ? 8u : 0) | (field >> 3) << 2 | (indexed ? (unsigned)(operand.index >> 3) << 1 : 0) |
                   (operand.kind == AT_ADDRESS ? 0 : operand.reg >> 3);
    if (prefix != 0)
        put(as, prefix, 1);
    if (rex != 0)
        put(as, 0x40 | rex, 1);
    if (opcode > 0xffff)
        put(as, opcode >> 16, 1);
    if (opcode > 0xff)
        put(as, opcode >> 8 & 0xff, 1);
    put(as, opcode & 0xff, 1);
    unsigned low = operand.reg & 7, reg = (field & 7) << 3;
    if (operand.kind == IN_REGISTER) {
        put(as, 0xc0 | reg | low, 1);
    } else if (operand.kind == AT_ADDRESS) {
        put(as, 0x05 | reg, 1);
        put(as, (uint32_t)(operand.address - (here(as) + 4 + immediate_bytes)), 4);
    } else {
        bool small = operand.offset >= -128 && operand.offset <= 127;
        unsigned mode = small ? 0x40 : 0x80;
        if (indexed) {
            put(as, mode | reg | 4, 1);
            put(as, (operand.index & 7u) << 3 | low, 1);
        } else {
            put(as, mode | reg | low, 1);
            if (low == 4)
                put(as, 0x24, 1);
        }
        put(as, (uint32_t)operand.offset, small ? 1 : 4);
    }
}

static inline void move_to(struct assembler *as, bool wide, unsigned reg, struct operand from)
{
    if (from.kind != IN_REGISTER || from.reg != reg || !wide)
        encode(as, 0, wide, 0x8b, reg, from, 0);
}

static inline void move_from(struct assembler *as, bool wide, struct operand to, unsigned reg)
{
    if (to.kind != IN_REGISTER || to.reg != reg || !wide)
        encode(as, 0, wide, 0x89, reg, to, 0);
}

/* reg := value, flags kept. */
static inline void move_constant(struct assembler *as, unsigned reg, uint64_t value)
{
    if (value <= 0xffffffff) {
        if (reg >= 8)
            put(as, 0x41, 1);
        put(as, 0xb8 | (reg & 7), 1);
        put(as, value, 4);
    } else if ((int64_t)value == (int32_t)value) {
        encode(as, 0, WIDE, 0xc7, 0, in(reg), 4);
        put(as, value, 4);
    } else {
        put(as, 0x48 | reg >> 3, 1);
        put(as, 0xb8 | (reg & 7), 1);
        put(as, value, 8);
    }
}

/* The 64 bits there := value, sign-extended. */
static inline void store_constant(struct assembler *as, bool wide, struct operand to, int32_t value)
{
    encode(as, 0, wide, 0xc7, 0, to, 4);
    put(as, (uint32_t)value, 4);
}

static inline void calculate(struct assembler *as, bool wide, enum alu what, unsigned reg, struct operand with)
{
    encode(as, 0, wide, 0x03 | (unsigned)what << 3, reg, with, 0);
}

static inline void calculate_constant(struct assembler *as, bool wide, enum alu what, struct operand at, int32_t value)
{
    bool small = value >= -128 && value <= 127;
    encode(as, 0, wide, small ? 0x83 : 0x81, what, at, small ? 1 : 4);
    put(as, (uint32_t)value, small ? 1 : 4);
}

static inline void test_registers(struct assembler *as, bool wide, unsigned reg)
{
    encode(as, 0, wide, 0x85, reg, in(reg), 0);
}

static inline void extend32(struct assembler *as, unsigned reg, struct operand from)
{
    encode(as, 0, WIDE, 0x63, reg, from, 0);
}

static inline void shift_constant(struct assembler *as, bool wide, enum shift how, unsigned reg, unsigned count)
{
    if (count != 0) {
        encode(as, 0, wide, 0xc1, SHIFT_FIELDS[how], in(reg), 1);
        put(as, count, 1);
    }
}

static inline void shift_by_cl(struct assembler *as, bool wide, enum shift how, unsigned reg)
{
    encode(as, 0, wide, 0xd3, SHIFT_FIELDS[how], in(reg), 0);
}

static inline void unary(struct assembler *as, bool wide, enum unary what, struct operand operand)
{
    encode(as, 0, wide, 0xf7, what, operand, 0);
}

static inline void set_if(struct assembler *as, enum condition when, unsigned low_register)
{
    encode(as, 0, NARROW, 0x0f90 | when, 0, in(low_register), 0);
}

static inline void move_if(struct assembler *as, bool wide, enum condition when, unsigned reg, struct operand from)
{
    encode(as, 0, wide, 0x0f40 | when, reg, from, 0);
}

static inline void swap_bytes(struct assembler *as, bool wide, unsigned reg)
{
    unsigned rex = (wide ? 8u : 0) | reg >> 3;
    if (rex != 0)
        put(as, 0x40 | rex, 1);
    put(as, 0x0f, 1);
    put(as, 0xc8 | (reg & 7), 1);
}

/* A jump whose target is set later, by land(as, what this answers). */
static inline size_t jump_if(struct assembler *as, enum condition when)
{
    put(as, 0x0f, 1);
    put(as, 0x80 | when, 1);
    put(as, 0, 4);
    return position(as) - 4;
}

static inline size_t jump(struct assembler *as)
{
    put(as, 0xe9, 1);
    put(as, 0, 4);
    return position(as) - 4;
}

static inline void land_at(struct assembler *as, size_t from, size_t target)
{
    uint32_t distance = (uint32_t)(target - (from + 4));
    if (!as->full)
        memcpy(as->start + from, &distance, 4);
}

static inline void land(struct assembler *as, size_t from) { land_at(as, from, position(as)); }

static inline void jump_through(struct assembler *as, struct operand pointer)
{
    encode(as, 0, NARROW, 0xff, 4, pointer, 0);
}

static inline void call_through(struct assembler *as, struct operand pointer)
{
    encode(as, 0, NARROW, 0xff, 2, pointer, 0);
}

static inline void call_address(struct assembler *as, uintptr_t target)
{
    put(as, 0xe8, 1);
    put(as, (uint32_t)(target - (here(as) + 4)), 4);
}

static inline void jump_address(struct assembler *as, uintptr_t target)
{
    put(as, 0xe9, 1);
    put(as, (uint32_t)(target - (here(as) + 4)), 4);
}

static inline void push(struct assembler *as, unsigned reg)
{
    if (reg >= 8)
        put(as, 0x41, 1);
    put(as, 0x50 | (reg & 7), 1);
}

static inline void pop(struct assembler *as, unsigned reg)
{
    if (reg >= 8)
        put(as, 0x41, 1);
    put(as, 0x58 | (reg & 7), 1);
}

/* Single-precision operations: xmm field, operand. */
static inline void single(struct assembler *as, unsigned opcode, unsigned xmm, struct operand with)
{
    encode(as, 0xf3, NARROW, opcode, xmm, with, 0);
}
#endif
