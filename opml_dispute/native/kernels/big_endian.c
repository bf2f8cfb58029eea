/* The kernels once more, for a segment that holds the VM's own bytes: every load and store swaps.
 *
 * The host runs these for programs whose bytes change their element width during the run (inference.py, "typed"),
 * and tests hold both builds together. */
#define OPML_STORAGE_BIG_ENDIAN 1
#include "chunk.c"
#include "move.c"
#include "unary.c"
#include "binary.c"
#include "cast.c"
#include "contraction.c"
#include "convolution.c"
#include "pooling.c"
#include "reduce.c"
#include "order.c"
#include "scan.c"
#include "index.c"
#include "tree.c"
#include "blocks.c"
#include "run.c"
