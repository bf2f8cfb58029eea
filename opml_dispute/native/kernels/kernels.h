/* The kernels: one function an opcode, each making the output elements [lo, hi) of one record.
 *
 * ASSUMES of every function here: record_check(r) said ST_OK, and lo, hi lie within r->lo .. r->hi. The result
 * does not depend on how a range is cut, so the host may run parts on several threads; OP_SCATTER excepted,
 * whose range must be run in one piece.
 * docs/kernels.md says what each computes. `segment` is the address of segment offset 0. */
#ifndef OPML_KERNELS_H
#define OPML_KERNELS_H
#include "program/opcodes.h"
#include "program/record.h"
#include "access.h"

typedef void kernel(u8 *segment, const struct record *r, u64 lo, u64 hi);

kernel KERNEL(kernel_copy), KERNEL(kernel_fill), KERNEL(kernel_select);
kernel KERNEL(kernel_unary), KERNEL(kernel_binary), KERNEL(kernel_cast);
kernel KERNEL(kernel_contract), KERNEL(kernel_conv);
kernel KERNEL(kernel_pool), KERNEL(kernel_pool_index);
kernel KERNEL(kernel_reduce), KERNEL(kernel_argreduce), KERNEL(kernel_topk), KERNEL(kernel_scan);
kernel KERNEL(kernel_gather), KERNEL(kernel_scatter), KERNEL(kernel_tree);
kernel KERNEL(kernel_block_quantise), KERNEL(kernel_block_contract), KERNEL(kernel_block_gather);

/* Looks at what only the data can tell, before anything is written: the indices of OP_GATHER, OP_SCATTER and OP_BLOCK_GATHER.
 * ST_OK or ST_INDEX_OUT_OF_RANGE; then the node must not run. */
enum inference_status KERNEL(kernel_check_data)(const u8 *segment, const struct record *r);
enum inference_status KERNEL(indices_check)(const u8 *segment, const struct record *r);
enum inference_status KERNEL(block_indices_check)(const u8 *segment, const struct record *r);

/* Runs the part [lo, hi) with the function of r's opcode. */
kernel KERNEL(kernel_run);

#endif
