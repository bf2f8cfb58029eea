/* The kernels once more, for a segment that holds the VM's own bytes: every load and store swaps.
 *
 * The host runs these for programs whose bytes change their element width during the run (inference.py, "typed"),
 * and tests hold both builds together. */
#define OPML_STORAGE_BIG_ENDIAN 1
#include "kernels/chunk.c"
#include "kernels/move.c"
#include "kernels/unary.c"
#include "kernels/binary.c"
#include "kernels/cast.c"
#include "kernels/contract.c"
#include "kernels/conv.c"
#include "kernels/pool.c"
#include "kernels/reduce.c"
#include "kernels/order.c"
#include "kernels/scan.c"
#include "kernels/index.c"
#include "kernels/tree.c"
#include "kernels/run.c"
