/* Mapped files that may be cut short, or whose disk may fail, while they are read.
 *
 * Reading a page of a mapped file that is not there any more raises SIGBUS, which ends the process without a word.
 * In a place that was guarded, the page and all behind it read as zero from then on, and `opml_is_lost` says so: a
 * reader of mapped files asks before it believes what it read. */
#ifndef OPML_GUARDED_H
#define OPML_GUARDED_H
#include <stdint.h>

#define MOST_GUARDED 4096

/* Guards `size` bytes from a page's start on. The number of the place, or -1 if there is no more room. */
int opml_guard(void *start, uint64_t size);

/* Is a part of what was guarded under this number gone? */
int opml_is_lost(int number);

/* Ends guarding; to be called before the file is unmapped. */
void opml_unguard(int number);

#endif
