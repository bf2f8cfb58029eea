/* Translation to x86-64 of loads, stores, load linked and store conditional: through the tables of pages, and where a page
 * is not in its table, after asking for it; if that fails the interpreter meets the instruction. */
#if defined(__x86_64__)
#include "x86.h"

enum { PAGE_MASK = MEMORY_PAGE_BYTES - 1 };

#define VM(member) at_base(RDX, (int32_t)offsetof(struct vm, member))

/* rax := R[b] + immediate. */
static void address(struct translator *t, const struct instruction *it)
{
    if (it->b == 0) {
        move_constant(&t->as, RAX, (uint64_t)(int64_t)it->immediate);
    } else if (has_home(t, it->b) && it->immediate != 0) {
        encode(&t->as, 0, WIDE, 0x8d, RAX, at_base(fetch_guest(t, RAX, it->b), it->immediate), 0); /* lea */
    } else {
        read_guest(t, WIDE, RAX, it->b);
        if (it->immediate != 0)
            calculate_constant(&t->as, WIDE, ALU_ADD, in(RAX), it->immediate);
    }
}

/* rax := R[b] + R[c]. */
static void indexed_address(struct translator *t, const struct instruction *it)
{
    read_guest(t, WIDE, RAX, it->b);
    if (it->c != 0)
        calculate_guest(t, WIDE, ALU_ADD, RAX, it->c);
}

/* rcx := what the host has at the page of address rax. Changes rdx. */
static void find_page(struct translator *t, bool to_write)
{
    struct assembler *as = &t->as;
    _Static_assert(sizeof(struct lookaside) == 16 && LOOKASIDE_ENTRIES == 1 << 10, "shifts and masks below");
    int32_t table = (int32_t)(to_write ? offsetof(struct caches, write) : offsetof(struct caches, read));
    size_t again = position(as);
    move_to(as, WIDE, RCX, in(RAX));
    encode(as, 0, NARROW, 0x8b, RDX, in(RAX), 0);
    shift_constant(as, WIDE, SHIFT_RIGHT, RCX, MEMORY_PAGE_LOG2);
    shift_constant(as, NARROW, SHIFT_RIGHT, RDX, MEMORY_PAGE_LOG2 - 4);
    calculate_constant(as, NARROW, ALU_AND, in(RDX), (LOOKASIDE_ENTRIES - 1) * 16);
    encode(as, 0, WIDE, 0x3b, RCX, at_index(R14, RDX, table + (int32_t)offsetof(struct lookaside, page)), 0); /* cmp */
    size_t missing = jump_if(as, CC_NOT_EQUAL);
    move_to(as, WIDE, RCX, at_index(R14, RDX, table + (int32_t)offsetof(struct lookaside, host)));
    unsigned stub = add_stub(t, 0, t->leave_place);
    add_detour(t, (struct detour){DETOUR_READY, missing, again, 0, to_write, stub});
}

/* The unit of memory that address rax (page: rcx) is in. */
static struct operand unit(struct translator *t, unsigned size)
{
    calculate_constant(&t->as, NARROW, ALU_AND, in(RAX), (int32_t)(PAGE_MASK & ~(size - 1)));
    return at_index(RCX, RAX, 0);
}

/* to := the unit, extended to 64 bits. */
static void load_unit_to(struct translator *t, unsigned to, unsigned size, bool is_signed)
{
    struct assembler *as = &t->as;
    struct operand from = unit(t, size);
    switch (size) {
    case 1: encode(as, 0, is_signed, is_signed ? 0x0fbe : 0x0fb6, to, from, 0); break;
    case 2:
        encode(as, 0, NARROW, 0x0fb7, RAX, from, 0); /* movzx */
        encode(as, 0x66, NARROW, 0xc1, ROTATE_LEFT, in(RAX), 1);
        put(as, 8, 1);
        encode(as, 0, is_signed, is_signed ? 0x0fbf : 0x0fb7, to, in(RAX), 0);
        break;
    case 4:
        move_to(as, NARROW, RAX, from);
        swap_bytes(as, NARROW, RAX);
        if (is_signed)
            extend32(as, to, in(RAX));
        else
            encode(as, 0, NARROW, 0x8b, to, in(RAX), 0);
        break;
    default: move_to(as, WIDE, to, from); swap_bytes(as, WIDE, to);
    }
}

/* The unit := the low bits of rdx. */
static void store_unit_from_rdx(struct translator *t, unsigned size)
{
    struct assembler *as = &t->as;
    struct operand to = unit(t, size);
    switch (size) {
    case 1: encode(as, 0, NARROW, 0x88, RDX, to, 0); break;
    case 2:
        encode(as, 0x66, NARROW, 0xc1, ROTATE_LEFT, in(RDX), 1);
        put(as, 8, 1);
        encode(as, 0x66, NARROW, 0x89, RDX, to, 0);
        break;
    case 4:
        swap_bytes(as, NARROW, RDX);
        move_from(as, NARROW, to, RDX);
        break;
    default: swap_bytes(as, WIDE, RDX); move_from(as, WIDE, to, RDX);
    }
}

void host_load(struct translator *t, const struct instruction *it, unsigned size, bool is_signed)
{
    address(t, it);
    find_page(t, false);
    if (it->a == DISCARD)
        return; /* that the page is there was all it took */
    unsigned to = home_or(t, RAX, it->a);
    load_unit_to(t, to, size, is_signed);
    write_guest(t, it->a, to);
}

/* The memory-write rule: a store to the reserved word is the interpreter's. */
static void leave_if_reserved(struct translator *t)
{
    struct assembler *as = &t->as;
    move_to(as, WIDE, RCX, DATA(t, ll_address));
    calculate(as, WIDE, ALU_XOR, RCX, in(RAX));
    calculate_constant(as, WIDE, ALU_CMP, in(RCX), 8);
    leave_if(t, CC_BELOW);
}

void host_store(struct translator *t, const struct instruction *it, unsigned size)
{
    address(t, it);
    leave_if_reserved(t);
    find_page(t, true);
    read_guest(t, WIDE, RDX, it->c);
    store_unit_from_rdx(t, size);
}

/* ---- parts of a word ---- */

/* ecx := the shift of a left or right part at address rax; then rdx := where its unit is. */
static void part(struct translator *t, unsigned size, bool left)
{
    struct assembler *as = &t->as;
    encode(as, 0, NARROW, 0x8b, RDX, in(RAX), 0);
    calculate_constant(as, NARROW, ALU_AND, in(RDX), (int32_t)(PAGE_MASK & ~(size - 1)));
    calculate(as, WIDE, ALU_ADD, RDX, in(RCX));
    encode(as, 0, NARROW, 0x8b, RCX, in(RAX), 0);
    if (!left)
        unary(as, NARROW, UNARY_NOT, in(RCX));
    calculate_constant(as, NARROW, ALU_AND, in(RCX), (int32_t)size - 1);
    shift_constant(as, NARROW, SHIFT_LEFT, RCX, 3);
}

/* rax := of all ones, those that `how` by ecx leaves zero. */
static void mask(struct translator *t, bool wide, enum shift how, unsigned reg)
{
    move_constant(&t->as, reg, ~(uint64_t)0);
    shift_by_cl(&t->as, wide, how, reg);
    unary(&t->as, wide, UNARY_NOT, in(reg));
}

void host_load_part(struct translator *t, const struct instruction *it, bool wide, bool left)
{
    struct assembler *as = &t->as;
    address(t, it);
    find_page(t, false);
    if (it->a == DISCARD)
        return;
    enum shift how = left ? SHIFT_LEFT : SHIFT_RIGHT;
    part(t, wide ? 8 : 4, left);
    move_to(as, wide, RDX, at_base(RDX, 0));
    swap_bytes(as, wide, RDX);
    shift_by_cl(as, wide, how, RDX);
    mask(t, wide, how, RAX);
    calculate_guest(t, wide, ALU_AND, RAX, it->c);
    calculate(as, wide, ALU_OR, RAX, in(RDX));
    if (!wide && left) {
        extend32(as, RAX, in(RAX));
    } else if (!wide) {
        /* A whole word is extended; a part of one keeps the register's upper half. */
        test_registers(as, NARROW, RCX);
        size_t whole = jump_if(as, CC_EQUAL);
        read_guest(t, WIDE, RDX, it->c);
        shift_constant(as, WIDE, SHIFT_RIGHT, RDX, 32);
        shift_constant(as, WIDE, SHIFT_LEFT, RDX, 32);
        calculate(as, WIDE, ALU_OR, RAX, in(RDX));
        size_t done = jump(as);
        land(as, whole);
        extend32(as, RAX, in(RAX));
        land(as, done);
    }
    write_guest(t, it->a, RAX);
}

void host_store_part(struct translator *t, const struct instruction *it, bool wide, bool left)
{
    struct assembler *as = &t->as;
    address(t, it);
    leave_if_reserved(t);
    find_page(t, true);
    /* What is stored is the register shifted the other way than a load of the same part. */
    enum shift how = left ? SHIFT_RIGHT : SHIFT_LEFT;
    part(t, wide ? 8 : 4, left);
    move_from(as, WIDE, DATA(t, scratch), RDX);
    move_to(as, wide, RAX, at_base(RDX, 0));
    swap_bytes(as, wide, RAX);
    mask(t, wide, how, RDX);
    calculate(as, wide, ALU_AND, RAX, in(RDX));
    read_guest(t, wide, RDX, it->c);
    shift_by_cl(as, wide, how, RDX);
    calculate(as, wide, ALU_OR, RAX, in(RDX));
    swap_bytes(as, wide, RAX);
    move_to(as, WIDE, RDX, DATA(t, scratch));
    move_from(as, wide, at_base(RDX, 0), RAX);
}

/* ---- load linked, store conditional ---- */

void host_load_linked(struct translator *t, const struct instruction *it, unsigned size)
{
    struct assembler *as = &t->as;
    address(t, it);
    find_page(t, false);
    move_to(as, WIDE, RDX, DATA(t, vm));
    move_from(as, WIDE, DATA(t, ll_address), RAX);
    move_from(as, WIDE, VM(ll_address), RAX);
    encode(as, 0, NARROW, 0xc6, 0, VM(ll_status), 1); /* mov byte */
    put(as, size == 4 ? 1 : 2, 1);
    load_unit_to(t, RAX, size, true);
    move_to(as, WIDE, RCX, thread_at(THREAD(id)));
    move_from(as, WIDE, VM(ll_owner), RCX);
    write_guest(t, it->a, RAX);
}

void host_store_conditional(struct translator *t, const struct instruction *it, unsigned size)
{
    struct assembler *as = &t->as;
    size_t failures[3];
    address(t, it);
    move_to(as, WIDE, RDX, DATA(t, vm));
    encode(as, 0, WIDE, 0x3b, RAX, VM(ll_address), 0); /* cmp */
    failures[0] = jump_if(as, CC_NOT_EQUAL);
    encode(as, 0, NARROW, 0x80, ALU_CMP, VM(ll_status), 1); /* cmp byte */
    put(as, size == 4 ? 1 : 2, 1);
    failures[1] = jump_if(as, CC_NOT_EQUAL);
    move_to(as, WIDE, RCX, thread_at(THREAD(id)));
    encode(as, 0, WIDE, 0x3b, RCX, VM(ll_owner), 0); /* cmp */
    failures[2] = jump_if(as, CC_NOT_EQUAL);
    find_page(t, true);
    read_guest(t, WIDE, RDX, it->c);
    store_unit_from_rdx(t, size);
    move_to(as, WIDE, RDX, DATA(t, vm));
    move_constant(as, RCX, 0);
    move_from(as, WIDE, DATA(t, ll_address), RCX);
    move_from(as, WIDE, VM(ll_address), RCX);
    move_from(as, WIDE, VM(ll_owner), RCX);
    encode(as, 0, NARROW, 0x88, RCX, VM(ll_status), 0); /* mov byte */
    move_constant(as, RAX, 1);
    size_t done = jump(as);
    for (unsigned i = 0; i < 3; i++)
        land(as, failures[i]);
    move_constant(as, RAX, 0);
    land(as, done);
    write_guest(t, it->a, RAX);
}

/* ---- registers of the floating-point unit ---- */

static void float_address(struct translator *t, const struct instruction *it, bool indexed)
{
    if (indexed)
        indexed_address(t, it);
    else
        address(t, it);
}

void host_load_float(struct translator *t, const struct instruction *it, unsigned reg, bool indexed)
{
    float_address(t, it, indexed);
    find_page(t, false);
    load_unit_to(t, RAX, 4, false);
    move_from(&t->as, NARROW, thread_at(float_offset(reg)), RAX);
}

void host_store_float(struct translator *t, const struct instruction *it, unsigned reg, bool indexed)
{
    float_address(t, it, indexed);
    leave_if_reserved(t);
    find_page(t, true);
    move_to(&t->as, NARROW, RDX, thread_at(float_offset(reg)));
    store_unit_from_rdx(t, 4);
}
#endif
