/* The kernel of each opcode. */
#include "kernels.h"

enum inference_status KERNEL(kernel_check_data)(const u8 *segment, const struct record *r)
{
    if (r->opcode == OP_GATHER || r->opcode == OP_SCATTER)
        return KERNEL(indices_check)(segment, r);
    if (r->opcode == OP_BLOCK_GATHER)
        return KERNEL(block_indices_check)(segment, r);
    return ST_OK;
}

void KERNEL(kernel_run)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    static kernel *const table[] = {
        [OP_COPY] = KERNEL(kernel_copy),
        [OP_FILL] = KERNEL(kernel_fill),
        [OP_UNARY] = KERNEL(kernel_unary),
        [OP_BINARY] = KERNEL(kernel_binary),
        [OP_SELECT] = KERNEL(kernel_select),
        [OP_CAST] = KERNEL(kernel_cast),
        [OP_CONTRACT] = KERNEL(kernel_contract),
        [OP_CONV] = KERNEL(kernel_conv),
        [OP_POOL] = KERNEL(kernel_pool),
        [OP_REDUCE] = KERNEL(kernel_reduce),
        [OP_ARGREDUCE] = KERNEL(kernel_argreduce),
        [OP_GATHER] = KERNEL(kernel_gather),
        [OP_SCATTER] = KERNEL(kernel_scatter),
        [OP_TOPK] = KERNEL(kernel_topk),
        [OP_SCAN] = KERNEL(kernel_scan),
        [OP_TREE] = KERNEL(kernel_tree),
        [OP_POOL_INDEX] = KERNEL(kernel_pool_index),
        [OP_BLOCK_QUANTISE] = KERNEL(kernel_block_quantise),
        [OP_BLOCK_CONTRACT] = KERNEL(kernel_block_contract),
        [OP_BLOCK_GATHER] = KERNEL(kernel_block_gather),
    };
    if (lo < hi)
        table[r->opcode](segment, r, lo, hi);
}
