/* memcpy and memset: the compiler calls them, and a freestanding program brings its own.
 *
 * Copies go in the widest words that both ends allow: a kernel that moves tensors spends its steps here. */
#include <stddef.h>
#include <stdint.h>

#define COPY_WORDS(T)                                                                                                  \
    for (; size >= 4 * sizeof(T); size -= 4 * sizeof(T), to += 4 * sizeof(T), from += 4 * sizeof(T)) {                 \
        T a = ((const T *)from)[0], b = ((const T *)from)[1], c = ((const T *)from)[2], d = ((const T *)from)[3];      \
        ((T *)to)[0] = a;                                                                                              \
        ((T *)to)[1] = b;                                                                                              \
        ((T *)to)[2] = c;                                                                                              \
        ((T *)to)[3] = d;                                                                                              \
    }                                                                                                                  \
    for (; size >= sizeof(T); size -= sizeof(T), to += sizeof(T), from += sizeof(T))                                   \
        *(T *)to = *(const T *)from;

void *memcpy(void *restrict destination, const void *restrict source, size_t size)
{
    unsigned char *to = destination;
    const unsigned char *from = source;
    uint64_t misfit = ((uint64_t)to ^ (uint64_t)from) & 7;
    if ((misfit & 3) == 0) {
        for (; size && (uint64_t)to & 3; size--)
            *to++ = *from++;
        if (misfit == 0 && (uint64_t)to & 4 && size >= 4) {
            *(uint32_t *)to = *(const uint32_t *)from;
            to += 4;
            from += 4;
            size -= 4;
        }
        if (misfit == 0) {
            COPY_WORDS(uint64_t)
        }
        COPY_WORDS(uint32_t)
    }
    for (; size; size--)
        *to++ = *from++;
    return destination;
}

void *memset(void *destination, int value, size_t size)
{
    unsigned char *to = destination;
    uint64_t word = (unsigned char)value * 0x0101010101010101ull;
    for (; size && (uint64_t)to & 7; size--)
        *to++ = (unsigned char)value;
    for (; size >= 8; size -= 8, to += 8)
        *(uint64_t *)to = word;
    for (; size; size--)
        *to++ = (unsigned char)value;
    return destination;
}
