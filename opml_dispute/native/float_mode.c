/* The processor's floating-point mode: round to nearest, nothing flushed to zero; set for a run, then restored. */
#include "float_mode.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#error "say here how this machine's rounding mode and flush-to-zero are set"
#endif

uint64_t float_mode_begin(void)
{
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(0x1f80); /* round to nearest, no flushing, every exception masked */
    return before;
#else
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return before;
#endif
}

void float_mode_end(uint64_t before)
{
#if defined(__SSE__)
    _mm_setcsr((unsigned)before);
#else
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#endif
}
