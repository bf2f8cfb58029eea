/* The host's floating-point mode. */
#ifndef OPML_FLOAT_MODE_H
#define OPML_FLOAT_MODE_H
#include <stdint.h>

/* Rounding to nearest even, subnormals kept, on this thread: the host program, or a numeric library in it, may have set
 * another mode, and no answer may depend on that. Answers what to restore. */
uint64_t float_mode_begin(void);
void float_mode_end(uint64_t before);

#endif
