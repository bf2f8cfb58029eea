/* The edges of the program for the other machine: what it reads, what it says, how it ends. bare.c stands below them,
 * in the place of a C library. */
#ifndef BARE_H
#define BARE_H
#include <stddef.h>

/* Bytes of standard input; whether all of them were there. At the end of the input nothing is read. */
int bare_get(void *to, size_t size);
/* The same, and the program ends where the input does. */
void bare_need(void *to, size_t size);
/* To standard output, which `bare_flush` and the end of `main` bring out. */
void bare_put(const void *from, size_t size);
void bare_flush(void);
/* Ends the program with status 2 and a reason on standard error. */
_Noreturn void bare_stop(const char *why);

#endif
