/* What Python may call: all else in the library is hidden. */
#ifndef OPML_EXPORT_H
#define OPML_EXPORT_H
#include <stddef.h>
#define EXPORT __attribute__((visibility("default")))
#endif
