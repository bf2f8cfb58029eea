/* The frame for the machine that tests run on: see program.h. */
#include "program.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void print(const char *text, size_t size)
{
    if (fwrite(text, 1, size, stdout) != size)
        exit(127);
}

void *map_memory(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        exit(127);
    return memory;
}

int main(void)
{
    uint64_t digest = program();
    printf("%016" PRIx64 "\n", digest);
    return (int)(digest & 63);
}
