/* What the processor can do that not every one of its kind can. */
#include "region.h"

#if defined(__x86_64__)
#include <cpuid.h>

bool processor_fuses(void)
{
    static int known = -1;
    if (known < 0) {
        const unsigned needed = 1u << 12 | 1u << 27 | 1u << 28; /* FMA; xgetbv; AVX */
        unsigned a, b, c = 0, d, enabled = 0, high;
        if (__get_cpuid(1, &a, &b, &c, &d) && (c & needed) == needed)
            __asm__("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
        known = (enabled & 6) == 6; /* the system keeps the registers */
    }
    return known;
}
#elif defined(__aarch64__)
bool processor_fuses(void) { return true; }
#else
bool processor_fuses(void) { return false; }
#endif
