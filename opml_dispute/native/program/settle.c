/* What a record holds beyond its counts is made zero before it runs. docs/segment.md, "Node record". */
#include "opcodes.h"
#include "record.h"

/* How many dimensions of operand j's stride row are read, 0 being the output. */
static unsigned dimensions_read(const struct record *r, unsigned j)
{
    if (j > r->n_in)
        return 0;
    return j == 0 && (r->opcode == OP_REDUCE || r->opcode == OP_ARGREDUCE) ? r->rank - (unsigned)r->imm[1] : r->rank;
}

void record_settle(struct record *r)
{
    unsigned placed = r->opcode == OP_GATHER || r->opcode == OP_SCATTER, rows = placed ? 3 : 4;
    for (unsigned j = r->n_in; j < RECORD_MAX_IN; j++)
        r->in[j] = 0;
    if (r->opcode == OP_CONV || r->opcode == OP_POOL || r->opcode == OP_POOL_INDEX || r->opcode >= OP_TREE)
        return;
    for (unsigned j = 0; j < rows; j++) {
        unsigned read = dimensions_read(r, j);
        for (unsigned d = 0; d < RECORD_MAX_RANK; d++)
            if (d >= read || r->dim[d] == 1)
                r->stride[j][d] = 0;
    }
    if (r->opcode == OP_TOPK && r->imm[2] == 1)
        r->stride[0][r->rank - 1] = 0;
    if ((r->opcode == OP_CONTRACT || placed) && r->imm[0] == 1)
        r->imm[1] = 0;
    if (r->opcode == OP_CONTRACT && r->imm[0] == 1)
        r->imm[2] = 0;
    for (unsigned c = 0; placed && c < 4; c++)
        if (c >= r->imm[0] || r->stride[3][4 + c] == 1)
            r->stride[3][c] = 0;
}
