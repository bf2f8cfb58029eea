/* Translation to x86-64 of arithmetic, logic, shifts, products, quotients and moves. */
#if defined(__x86_64__)
#include "x86.h"

static void commutative(struct translator *t, const struct instruction *it, enum alu what)
{
    unsigned b = it->b, c = it->c;
    if (c == it->a || b == 0) {
        b = it->c;
        c = it->b;
    }
    unsigned to = home_or(t, RAX, it->a);
    read_guest(t, WIDE, to, b);
    if (c != 0 || what == ALU_AND)
        calculate_guest(t, WIDE, what, to, c);
    write_guest(t, it->a, to);
}

static void subtract(struct translator *t, const struct instruction *it)
{
    unsigned to = it->a == it->c && it->a != it->b ? RAX : home_or(t, RAX, it->a);
    read_guest(t, WIDE, to, it->b);
    if (it->c != 0)
        calculate_guest(t, WIDE, ALU_SUB, to, it->c);
    write_guest(t, it->a, to);
}

/* The low 32 bits of `from`, sign-extended, into register `reg`. */
static void write_extended(struct translator *t, unsigned reg, unsigned from)
{
    unsigned to = home_or(t, RAX, reg);
    extend32(&t->as, to, in(from));
    write_guest(t, reg, to);
}

static void narrow(struct translator *t, const struct instruction *it, enum alu what)
{
    read_guest(t, NARROW, RAX, it->b);
    if (it->c != 0)
        calculate_guest(t, NARROW, what, RAX, it->c);
    write_extended(t, it->a, RAX);
}

static void with_constant(struct translator *t, const struct instruction *it, enum alu what)
{
    unsigned to = home_or(t, RAX, it->a);
    if (it->b == 0 && what != ALU_AND) {
        write_guest_constant(t, it->a, (uint64_t)(int64_t)it->immediate);
        return;
    }
    if (what == ALU_ADD && to != RAX && has_home(t, it->b) && it->a != it->b) {
        encode(&t->as, 0, WIDE, 0x8d, to, at_base(fetch_guest(t, RAX, it->b), it->immediate), 0); /* lea */
    } else if (it->a == it->b && to == RAX) {
        calculate_constant(&t->as, WIDE, what, guest(t, it->a), it->immediate);
        return;
    } else {
        read_guest(t, WIDE, to, it->b);
        if (it->immediate != 0 || what == ALU_AND)
            calculate_constant(&t->as, WIDE, what, in(to), it->immediate);
    }
    write_guest(t, it->a, to);
}

static void compare(struct translator *t, const struct instruction *it, bool constant, enum condition when)
{
    unsigned b = fetch_guest(t, RAX, it->b);
    if (constant)
        calculate_constant(&t->as, WIDE, ALU_CMP, in(b), it->immediate);
    else
        calculate_guest(t, WIDE, ALU_CMP, b, it->c);
    unsigned to = home_or(t, RAX, it->a);
    set_if(&t->as, when, RAX);
    encode(&t->as, 0, NARROW, 0x0fb6, to, in(RAX), 0); /* movzx */
    write_guest(t, it->a, to);
}

void host_shift(struct translator *t, const struct instruction *it, bool wide, enum shift how, bool variable)
{
    if (variable)
        read_guest(t, NARROW, RCX, it->b);
    unsigned to = wide ? home_or(t, RAX, it->a) : RAX;
    read_guest(t, wide, to, it->c);
    if (variable)
        shift_by_cl(&t->as, wide, how, to);
    else
        shift_constant(&t->as, wide, how, to, (unsigned)it->immediate);
    if (wide)
        write_guest(t, it->a, to);
    else
        write_extended(t, it->a, to);
}

static void move_conditionally(struct translator *t, const struct instruction *it, enum condition when)
{
    unsigned to = fetch_guest(t, RAX, it->a);
    unsigned from = it->b == 0 ? RCX : fetch_guest(t, RCX, it->b);
    if (it->b == 0)
        move_constant(&t->as, RCX, 0);
    if (it->c == 0) {
        move_constant(&t->as, RDX, 0);
        test_registers(&t->as, NARROW, RDX);
    } else {
        compare_with_zero(t, it->c);
    }
    move_if(&t->as, WIDE, when, to, in(from));
    write_guest(t, it->a, to);
}

static void clear(struct translator *t, const struct instruction *it) { write_guest_constant(t, it->a, 0); }

static void multiply(struct translator *t, const struct instruction *it, bool is_signed)
{
    struct assembler *as = &t->as;
    if (is_signed) {
        read_guest(t, NARROW, RAX, it->b);
        extend32(as, RAX, in(RAX));
        read_guest(t, NARROW, RCX, it->c);
        extend32(as, RCX, in(RCX));
    } else {
        read_guest(t, NARROW, RAX, it->b);
        read_guest(t, NARROW, RCX, it->c);
    }
    encode(as, 0, WIDE, 0x0faf, RAX, in(RCX), 0); /* imul */
    extend32(as, RCX, in(RAX));
    move_from(as, WIDE, thread_at(THREAD(lo)), RCX);
    shift_constant(as, WIDE, SHIFT_ARITHMETIC, RAX, 32);
    move_from(as, WIDE, thread_at(THREAD(hi)), RAX);
    clear(t, it);
}

static void multiply_wide(struct translator *t, const struct instruction *it, enum unary what)
{
    read_guest(t, WIDE, RAX, it->b);
    unsigned c = fetch_guest(t, RCX, it->c);
    unary(&t->as, WIDE, what, in(c));
    move_from(&t->as, WIDE, thread_at(THREAD(lo)), RAX);
    move_from(&t->as, WIDE, thread_at(THREAD(hi)), RDX);
    clear(t, it);
}

static void divide(struct translator *t, const struct instruction *it, bool is_signed)
{
    struct assembler *as = &t->as;
    read_guest(t, NARROW, RCX, it->c);
    test_registers(as, NARROW, RCX);
    leave_if(t, CC_EQUAL);
    read_guest(t, NARROW, RAX, it->b);
    if (is_signed) { /* in 64 bits, so that -2^31 / -1 does not overflow */
        extend32(as, RCX, in(RCX));
        extend32(as, RAX, in(RAX));
        put(as, 0x9948, 2); /* cqo */
        unary(as, WIDE, UNARY_IDIV, in(RCX));
    } else {
        move_constant(as, RDX, 0);
        unary(as, NARROW, UNARY_DIV, in(RCX));
    }
    extend32(as, RAX, in(RAX));
    extend32(as, RDX, in(RDX));
    move_from(as, WIDE, thread_at(THREAD(lo)), RAX);
    move_from(as, WIDE, thread_at(THREAD(hi)), RDX);
    clear(t, it);
}

static void divide_wide(struct translator *t, const struct instruction *it, bool is_signed)
{
    struct assembler *as = &t->as;
    read_guest(t, WIDE, RCX, it->c);
    test_registers(as, WIDE, RCX);
    leave_if(t, CC_EQUAL);
    read_guest(t, WIDE, RAX, it->b);
    if (is_signed) {
        calculate_constant(as, WIDE, ALU_CMP, in(RCX), -1);
        size_t other = jump_if(as, CC_NOT_EQUAL);
        unary(as, WIDE, UNARY_NEG, in(RAX)); /* the processor would trap on -2^63 / -1 */
        move_constant(as, RDX, 0);
        size_t done = jump(as);
        land(as, other);
        put(as, 0x9948, 2); /* cqo */
        unary(as, WIDE, UNARY_IDIV, in(RCX));
        land(as, done);
    } else {
        move_constant(as, RDX, 0);
        unary(as, WIDE, UNARY_DIV, in(RCX));
    }
    move_from(as, WIDE, thread_at(THREAD(lo)), RAX);
    move_from(as, WIDE, thread_at(THREAD(hi)), RDX);
    clear(t, it);
}

void host_count_zeros(struct translator *t, const struct instruction *it, bool wide, bool complement)
{
    struct assembler *as = &t->as;
    read_guest(t, wide, RAX, it->b);
    if (complement)
        unary(as, wide, UNARY_NOT, in(RAX));
    move_constant(as, RDX, wide ? 127 : 63);
    encode(as, 0, wide, 0x0fbd, RCX, in(RAX), 0); /* bsr: undefined for 0, and says so */
    move_if(as, NARROW, CC_EQUAL, RCX, in(RDX));
    calculate_constant(as, NARROW, ALU_XOR, in(RCX), wide ? 63 : 31);
    write_guest(t, it->a, RCX);
}

static void move_special(struct translator *t, const struct instruction *it, int32_t offset, bool to_special)
{
    if (to_special) {
        unsigned from = fetch_guest(t, RAX, it->b);
        move_from(&t->as, WIDE, thread_at(offset), from);
        clear(t, it);
    } else {
        unsigned to = home_or(t, RAX, it->a);
        move_to(&t->as, WIDE, to, thread_at(offset));
        write_guest(t, it->a, to);
    }
}

static bool translate_multiply(struct translator *t, const struct instruction *it)
{
    switch (it->operation) {
    case DO_MULT: multiply(t, it, true); return true;
    case DO_MULTU: multiply(t, it, false); return true;
    case DO_DMULT: multiply_wide(t, it, UNARY_IMUL); return true;
    case DO_DMULTU: multiply_wide(t, it, UNARY_MUL); return true;
    case DO_DIV: divide(t, it, true); return true;
    case DO_DIVU: divide(t, it, false); return true;
    case DO_DDIV: divide_wide(t, it, true); return true;
    case DO_DDIVU: divide_wide(t, it, false); return true;
    case DO_MTHI: move_special(t, it, THREAD(hi), true); return true;
    case DO_MTLO: move_special(t, it, THREAD(lo), true); return true;
    case DO_MFHI: move_special(t, it, THREAD(hi), false); return true;
    case DO_MFLO: move_special(t, it, THREAD(lo), false); return true;
    default: return false;
    }
}

bool x86_integer(struct translator *t, const struct instruction *it)
{
    struct assembler *as = &t->as;
    if (translate_multiply(t, it))
        return true;
    switch (it->operation) {
    case DO_MOVZ: move_conditionally(t, it, CC_EQUAL); return true;
    case DO_MOVN: move_conditionally(t, it, CC_NOT_EQUAL); return true;
    case DO_SYNC: {
        unsigned from = fetch_guest(t, RAX, it->b);
        write_guest(t, it->a, from);
        return true;
    }
    case DO_ADDU: narrow(t, it, ALU_ADD); return true;
    case DO_SUBU: narrow(t, it, ALU_SUB); return true;
    case DO_AND: commutative(t, it, ALU_AND); return true;
    case DO_OR: commutative(t, it, ALU_OR); return true;
    case DO_XOR: commutative(t, it, ALU_XOR); return true;
    case DO_DADDU: commutative(t, it, ALU_ADD); return true;
    case DO_DSUBU: subtract(t, it); return true;
    case DO_NOR:
        read_guest(t, WIDE, RAX, it->b);
        if (it->c != 0)
            calculate_guest(t, WIDE, ALU_OR, RAX, it->c);
        unary(as, WIDE, UNARY_NOT, in(RAX));
        write_guest(t, it->a, RAX);
        return true;
    case DO_SLT: compare(t, it, false, CC_LESS); return true;
    case DO_SLTU: compare(t, it, false, CC_BELOW); return true;
    case DO_SLTI: compare(t, it, true, CC_LESS); return true;
    case DO_SLTIU: compare(t, it, true, CC_BELOW); return true;
    case DO_ANDI: with_constant(t, it, ALU_AND); return true;
    case DO_ORI: with_constant(t, it, ALU_OR); return true;
    case DO_XORI: with_constant(t, it, ALU_XOR); return true;
    case DO_DADDIU: with_constant(t, it, ALU_ADD); return true;
    case DO_ADDIU:
        if (it->b == 0) {
            write_guest_constant(t, it->a, (uint64_t)(int64_t)it->immediate);
        } else {
            read_guest(t, NARROW, RAX, it->b);
            if (it->immediate != 0)
                calculate_constant(as, NARROW, ALU_ADD, in(RAX), it->immediate);
            write_extended(t, it->a, RAX);
        }
        return true;
    case DO_MUL:
        read_guest(t, NARROW, RAX, it->b);
        read_guest(t, NARROW, RCX, it->c);
        encode(as, 0, NARROW, 0x0faf, RAX, in(RCX), 0); /* imul */
        write_extended(t, it->a, RAX);
        return true;
    default: return false;
    }
}
#endif
