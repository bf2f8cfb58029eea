/* Translation to AArch64 of loads, stores, load linked and store conditional: through the tables of pages, and where a page
 * is not in its table, after asking for it; if that fails the interpreter meets the instruction. */
#if defined(__aarch64__)
#include "arm.h"

enum { PAGE = X4 }; /* what the host has at the page of address x0 */

#define VM(member) offsetof(struct vm, member)

/* x0 := R[b] + immediate. */
static void address(struct translator *t, const struct instruction *it)
{
    if (it->b == 0)
        constant(&t->as, X0, (uint64_t)(int64_t)it->immediate);
    else
        add_constant(&t->as, WIDE, X0, fetch(t, X0, it->b), it->immediate, X1);
}

/* x0 := R[b] + R[c]. */
static void indexed_address(struct translator *t, const struct instruction *it)
{
    unsigned b = fetch(t, X0, it->b), c = fetch(t, X1, it->c);
    calculate(&t->as, WIDE, ALU_ADD, X0, b, c);
}

/* Changes x1 to x3. */
static void find_page(struct translator *t, bool to_write)
{
    struct assembler *as = &t->as;
    _Static_assert(sizeof(struct lookaside) == 16 && offsetof(struct lookaside, host) == 8, "pairs");
    _Static_assert(LOOKASIDE_ENTRIES == 1 << 10 && MEMORY_PAGE_LOG2 == 12, "bits below");
    _Static_assert(offsetof(struct caches, read) == 0 && offsetof(struct caches, write) == 4 << 12, "tables below");
    size_t again = position(as);
    take_bits(as, X1, X0, MEMORY_PAGE_LOG2, 10);
    shift_constant(as, WIDE, SHIFT_RIGHT, X2, X0, MEMORY_PAGE_LOG2);
    add_shifted(as, X1, CACHES, X1, 4);
    if (to_write)
        word(as, 0x91400000 | 4 << 10 | X1 << 5 | X1); /* add x1, x1, 4 << 12 */
    pair(as, LOAD_PAIR, X3, PAGE, X1, 0);
    compare(as, WIDE, X3, X2);
    size_t missing = jump_if(as, CC_NOT_EQUAL);
    unsigned stub = add_stub(t, 0, t->leave_place);
    add_detour(t, (struct detour){DETOUR_READY, missing, again, 0, to_write, stub});
}

/* x1 := where in its page the unit is that address x0 is in. */
static void unit(struct translator *t, unsigned bytes)
{
    unsigned zeros = (unsigned)__builtin_ctz(bytes);
    and_ones(&t->as, X1, X0, MEMORY_PAGE_LOG2 - zeros, zeros);
}

/* to := the unit, extended to 64 bits. */
static void load_unit(struct translator *t, unsigned to, unsigned bytes, bool is_signed)
{
    struct assembler *as = &t->as;
    unit(t, bytes);
    load_indexed(as, bytes, to, PAGE, X1);
    if (bytes != 1)
        swap_bytes(as, bytes, to, to);
    if (is_signed && bytes != 8)
        extend(as, to, to, bytes);
}

/* The unit := the low bits of `from`. */
static void store_unit(struct translator *t, unsigned from, unsigned bytes)
{
    struct assembler *as = &t->as;
    unit(t, bytes);
    if (bytes != 1)
        swap_bytes(as, bytes, X2, from);
    store_indexed(as, bytes, bytes == 1 ? from : X2, PAGE, X1);
}

void host_load(struct translator *t, const struct instruction *it, unsigned bytes, bool is_signed)
{
    address(t, it);
    find_page(t, false);
    if (it->a == DISCARD)
        return; /* that the page is there was all it took */
    unsigned to = home_or(t, X0, it->a);
    load_unit(t, to, bytes, is_signed);
    write_guest(t, it->a, to);
}

/* The memory-write rule: a store to the reserved word is the interpreter's. */
static void leave_if_reserved(struct translator *t)
{
    load(&t->as, WIDE, X1, DATA_BASE, DATA(ll_address));
    calculate(&t->as, WIDE, ALU_XOR, X1, X1, X0);
    compare_constant(&t->as, WIDE, X1, 8);
    leave_if(t, CC_BELOW);
}

void host_store(struct translator *t, const struct instruction *it, unsigned bytes)
{
    address(t, it);
    leave_if_reserved(t);
    find_page(t, true);
    store_unit(t, fetch(t, X2, it->c), bytes);
}

/* ---- parts of a word ---- */

/* x1 := where its unit is; x2 := what it holds; x3 := the shift of a left or right part at address x0. */
static void part(struct translator *t, unsigned bytes, bool left)
{
    struct assembler *as = &t->as;
    load_unit(t, X2, bytes, false);
    if (!left)
        calculate(as, WIDE, ALU_OR_NOT, X0, ZERO, X0);
    field(as, WIDE, false, X3, X0, 64 - 3, bytes == 8 ? 2 : 1); /* its low bits, times 8 */
}

/* x2 := x2 shifted `how` by x3, and of `other` those bits that came in. The mask in x5. */
static void merge(struct translator *t, bool is_wide, enum shift how, unsigned shifted, unsigned other)
{
    struct assembler *as = &t->as;
    calculate(as, is_wide, ALU_OR_NOT, X5, ZERO, ZERO);
    shift_by(as, is_wide, how, X5, X5, X3);
    calculate(as, is_wide, ALU_CLEAR, X5, other, X5);
    shift_by(as, is_wide, how, X2, shifted, X3);
    calculate(as, is_wide, ALU_OR, X2, X2, X5);
}

void host_load_part(struct translator *t, const struct instruction *it, bool is_wide, bool left)
{
    struct assembler *as = &t->as;
    address(t, it);
    find_page(t, false);
    if (it->a == DISCARD)
        return;
    part(t, is_wide ? 8 : 4, left);
    unsigned c = fetch(t, X1, it->c);
    merge(t, is_wide, left ? SHIFT_LEFT : SHIFT_RIGHT, X2, c);
    if (is_wide) {
        write_guest(t, it->a, X2);
    } else if (left) {
        write_extended(t, it->a, X2);
    } else {
        /* A whole word is extended; a part of one keeps the register's upper half. */
        shift_constant(as, WIDE, SHIFT_RIGHT, X5, c, 32);
        calculate(as, WIDE, ALU_OR, X0, ZERO, X2);
        word(as, 0xaa000000 | X5 << 16 | 32 << 10 | X0 << 5 | X0); /* orr x0, x0, x5, lsl 32 */
        extend(as, X2, X2, 4);
        compare(as, WIDE, X3, ZERO);
        choose(as, CC_EQUAL, X0, X2, X0);
        write_guest(t, it->a, X0);
    }
}

void host_store_part(struct translator *t, const struct instruction *it, bool is_wide, bool left)
{
    struct assembler *as = &t->as;
    unsigned bytes = is_wide ? 8 : 4;
    address(t, it);
    leave_if_reserved(t);
    find_page(t, true);
    part(t, bytes, left);
    /* What is stored is the register shifted the other way than a load of the same part. */
    merge(t, is_wide, left ? SHIFT_RIGHT : SHIFT_LEFT, fetch(t, X0, it->c), X2);
    swap_bytes(as, bytes, X2, X2);
    store_indexed(as, bytes, X2, PAGE, X1);
}

/* ---- load linked, store conditional ---- */

void host_load_linked(struct translator *t, const struct instruction *it, unsigned bytes)
{
    struct assembler *as = &t->as;
    address(t, it);
    find_page(t, false);
    load(as, WIDE, X2, DATA_BASE, DATA(vm));
    store(as, WIDE, X0, DATA_BASE, DATA(ll_address));
    store(as, WIDE, X0, X2, VM(ll_address));
    constant(as, X3, bytes == 4 ? 1 : 2);
    store_byte(as, X3, X2, VM(ll_status));
    load(as, WIDE, X3, THREAD_BASE, THREAD(id));
    store(as, WIDE, X3, X2, VM(ll_owner));
    load_unit(t, X0, bytes, true);
    write_guest(t, it->a, X0);
}

void host_store_conditional(struct translator *t, const struct instruction *it, unsigned bytes)
{
    struct assembler *as = &t->as;
    size_t failures[3];
    address(t, it);
    load(as, WIDE, X2, DATA_BASE, DATA(vm));
    load(as, WIDE, X3, X2, VM(ll_address));
    compare(as, WIDE, X3, X0);
    failures[0] = jump_if(as, CC_NOT_EQUAL);
    load_byte(as, X3, X2, VM(ll_status));
    compare_constant(as, NARROW, X3, bytes == 4 ? 1 : 2);
    failures[1] = jump_if(as, CC_NOT_EQUAL);
    load(as, WIDE, X3, X2, VM(ll_owner));
    load(as, WIDE, X1, THREAD_BASE, THREAD(id));
    compare(as, WIDE, X3, X1);
    failures[2] = jump_if(as, CC_NOT_EQUAL);
    find_page(t, true);
    store_unit(t, fetch(t, X2, it->c), bytes);
    load(as, WIDE, X2, DATA_BASE, DATA(vm));
    store(as, WIDE, ZERO, DATA_BASE, DATA(ll_address));
    store(as, WIDE, ZERO, X2, VM(ll_address));
    store(as, WIDE, ZERO, X2, VM(ll_owner));
    store_byte(as, ZERO, X2, VM(ll_status));
    constant(as, X0, 1);
    size_t done = jump(as);
    for (unsigned i = 0; i < 3; i++)
        land(as, failures[i]);
    constant(as, X0, 0);
    land(as, done);
    write_guest(t, it->a, X0);
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
    load_unit(t, X0, 4, false);
    store(&t->as, NARROW, X0, THREAD_BASE, float_offset(reg));
}

void host_store_float(struct translator *t, const struct instruction *it, unsigned reg, bool indexed)
{
    float_address(t, it, indexed);
    leave_if_reserved(t);
    find_page(t, true);
    load(&t->as, NARROW, X2, THREAD_BASE, float_offset(reg));
    store_unit(t, X2, 4);
}
#endif
