/* Deep and wide recursion, and calls through pointers: Ackermann, Fibonacci, eight queens, mutual recursion. */
#include "program.h"

static uint64_t ackermann(uint64_t m, uint64_t n)
{
    if (m == 0)
        return n + 1;
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static uint64_t fibonacci(unsigned n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static uint64_t queens(unsigned row, uint32_t columns, uint32_t left, uint32_t right)
{
    if (row == 8)
        return 1;
    uint64_t found = 0;
    for (uint32_t free = ~(columns | left | right) & 0xff; free != 0; free &= free - 1) {
        uint32_t place = free & -free;
        found += queens(row + 1, columns | place, (left | place) << 1, (right | place) >> 1);
    }
    return found;
}

static uint64_t hofstadter_male(unsigned n);

static uint64_t hofstadter_female(unsigned n)
{
    return n == 0 ? 1 : n - hofstadter_male((unsigned)hofstadter_female(n - 1));
}

static uint64_t hofstadter_male(unsigned n)
{
    return n == 0 ? 0 : n - hofstadter_female((unsigned)hofstadter_male(n - 1));
}

uint64_t program(void)
{
    /* Volatile, so that the calls through it stay calls. */
    static uint64_t (*volatile const calls[])(unsigned) = {fibonacci, hofstadter_female, hofstadter_male};
    static const unsigned arguments[] = {18, 30, 31};
    uint64_t digest = ackermann(2, 299);
    for (unsigned i = 0; i < 3; i++)
        digest = fold(digest, calls[i](arguments[i]));
    return fold(digest, queens(0, 0, 0, 0));
}
