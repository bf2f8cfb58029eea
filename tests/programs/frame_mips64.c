/* The frame for MIPS64: entry point and system calls, nothing of an operating system.
 *
 * The stack is our own, every register is cleared first, and fresh memory lies where we say: so at the end all registers
 * and all memory are the program's doing alone, and two machines that ran it can be compared in full
 * (test_programs.py stops both at `exit_syscall`). */
#include "program.h"

enum { SYS_write = 5001, SYS_mmap = 5009 };
enum { PROT_READ_WRITE = 3, MAP_PRIVATE_FIXED_ANONYMOUS = 0x812, PAGE = 4096 };

/* Where fresh memory goes: outside the program, and in reach of qemu's 40-bit addresses. */
#define MAPPED_START 0x1000000000ull

_Alignas(4096) char stack[1 << 18];
char *const stack_top = stack + sizeof stack;
uint64_t mapped_end = MAPPED_START;

__asm__(".set noreorder\n"
        ".set noat\n"
        ".globl __start\n"
        "__start:\n"
        "  .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,30,31\n"
        "  move $\\n, $0\n"
        "  .endr\n"
        "  mthi $0\n"
        "  mtlo $0\n"
        "  lui  $1, %hi(stack_top)\n" /* the program lies in the lowest 2 GB */
        "  ld   $29, %lo(stack_top)($1)\n"
        "  jal  start\n"
        "  move $1, $0\n"
        ".globl exit_with\n"
        "exit_with:\n" /* R[4]: the code */
        "  li   $2, 5205\n"
        ".globl exit_syscall\n"
        "exit_syscall:\n"
        "  syscall\n"
        "  b    exit_syscall\n"
        "  nop\n"
        ".set at\n"
        ".set reorder\n");
_Noreturn void exit_with(uint64_t code);

/* R[2] is the result, or an errno if R[7] is not zero. Never returns with an error. */
static uint64_t system_call(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                            uint64_t a5)
{
    register uint64_t r2 __asm__("$2") = number;
    register uint64_t r4 __asm__("$4") = a0;
    register uint64_t r5 __asm__("$5") = a1;
    register uint64_t r6 __asm__("$6") = a2;
    register uint64_t r7 __asm__("$7") = a3;
    register uint64_t r8 __asm__("$8") = a4;
    register uint64_t r9 __asm__("$9") = a5;
    __asm__ volatile("syscall" : "+r"(r2), "+r"(r7) : "r"(r4), "r"(r5), "r"(r6), "r"(r8), "r"(r9) : "memory");
    if (r7 != 0)
        exit_with(127);
    return r2;
}

void print(const char *text, size_t size)
{
    while (size > 0) {
        uint64_t written = system_call(SYS_write, 1, (uint64_t)text, size, 0, 0, 0);
        text += written;
        size -= written;
    }
}

void *map_memory(size_t size)
{
    uint64_t address = mapped_end;
    mapped_end += (size + PAGE - 1) / PAGE * PAGE;
    return (void *)system_call(SYS_mmap, address, size, PROT_READ_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, ~0ull, 0);
}

/* The compiler may call these; the empty assembly keeps it from making them call themselves. */
void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    char *t = to;
    const char *f = from;
    for (size_t i = 0; i < size; i++) {
        t[i] = f[i];
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    char *t = to;
    for (size_t i = 0; i < size; i++) {
        t[i] = (char)value;
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

_Noreturn void start(void)
{
    uint64_t digest = program();
    char text[17];
    for (unsigned i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[digest >> (60 - 4 * i) & 15];
    text[16] = '\n';
    print(text, sizeof text);
    exit_with(digest & 63);
}
