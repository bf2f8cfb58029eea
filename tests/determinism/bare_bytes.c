/* Functions over bytes, in the place of a C library's: bare.c.
 *
 * Compiled with -fno-builtin, so that the compiler makes no loop here into a call of the function that it stands in. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    for (size_t i = 0; i < size; i++)
        t[i] = f[i];
    return to;
}
void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= size)
        for (size_t i = 0; i < size; i++)
            t[i] = f[i];
    else
        for (size_t i = size; i-- > 0;)
            t[i] = f[i];
    return to;
}
void *memset(void *to, int byte, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}
int memcmp(const void *a, const void *b, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)a)[i] != ((const uint8_t *)b)[i])
            return ((const uint8_t *)a)[i] - ((const uint8_t *)b)[i];
    return 0;
}
int bcmp(const void *a, const void *b, size_t size) { return memcmp(a, b, size); }
size_t strlen(const char *text)
{
    size_t size = 0;
    while (text[size] != 0)
        size++;
    return size;
}
int strcmp(const char *a, const char *b)
{
    size_t size = strlen(a), other = strlen(b);
    return memcmp(a, b, (size < other ? size : other) + 1);
}
char *strchr(const char *text, int wanted)
{
    for (; *text != (char)wanted; text++)
        if (*text == 0)
            return NULL;
    return (char *)(uintptr_t)text;
}

/* Heapsort: equal elements may change places, as C allows. */
static void exchange(uint8_t *a, uint8_t *b, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        uint8_t kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}
static void sink(uint8_t *base, size_t at, size_t count, size_t width, int (*order)(const void *, const void *))
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && order(base + child * width, base + (child + 1) * width) < 0)
            child++;
        if (order(base + at * width, base + child * width) >= 0)
            return;
        exchange(base + at * width, base + child * width, width);
    }
}
void qsort(void *base, size_t count, size_t width, int (*order)(const void *, const void *))
{
    for (size_t i = count / 2; i-- > 0;)
        sink(base, i, count, width, order);
    for (size_t left = count; left > 1; left--) {
        exchange(base, (uint8_t *)base + (left - 1) * width, width);
        sink(base, 0, left - 1, width, order);
    }
}
