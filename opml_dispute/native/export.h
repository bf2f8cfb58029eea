/* Marks the functions that Python calls; all others of the library are hidden. */
#ifndef OPML_EXPORT_H
#define OPML_EXPORT_H
#include <stddef.h>
#define EXPORT __attribute__((visibility("default")))
#endif
