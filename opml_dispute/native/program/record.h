/* The node record: 512 bytes that say what one node does. docs/segment.md, "Node record".
 *
 * In VM memory (and in PROGRAM, and in the bytes that are hashed) every field is big-endian, so the
 * guest reads a record in place; the host decodes it with record_decode.
 *
 *   0x000 u16 opcode        0x002 u8 rank (0..8)   0x003 u8 n_in (0..6)   0x004 u8 n_free (0..7)
 *   0x005 u8 dtype_out      0x006 u8 dtype_in[6]   0x00C u32 zero
 *   0x010 u64 lo            0x018 u64 hi           the part [lo, hi) of the output's elements made here
 *   0x020 u64 out           0x028 u64 in[6]        byte offsets from the segment's base, element-aligned
 *   0x058 u64 free[7]       log2_size << 56 | offset: blocks that become zero when the node is done
 *   0x090 u64 imm[4]        immediates, meaning by opcode
 *   0x0B0 i64 body[40]      strided kernels: u64 dim[8]; i64 stride[4][8] (0 = out, 1.. = inputs; in elements)
 *                           OP_CONV, OP_POOL, OP_TREE: see docs/kernels.md
 *   0x1F0 16 bytes zero */
#ifndef OPML_RECORD_H
#define OPML_RECORD_H
#include <stdint.h>

#define RECORD_BYTES    512
#define RECORD_MAX_RANK 8
#define RECORD_MAX_IN   6
#define RECORD_MAX_FREE 7

struct record {
    uint16_t opcode;
    uint8_t rank, n_in, n_free, dtype_out, dtype_in[RECORD_MAX_IN];
    uint32_t zero;
    uint64_t lo, hi;
    uint64_t out, in[RECORD_MAX_IN];
    uint64_t free[RECORD_MAX_FREE];
    uint64_t imm[4];
    union {
        int64_t body[40];
        struct {
            uint64_t dim[RECORD_MAX_RANK];
            int64_t stride[4][RECORD_MAX_RANK];
        };
    };
    uint64_t reserved[2];
};
_Static_assert(sizeof(struct record) == RECORD_BYTES, "docs/segment.md: a record has 512 bytes");

/* A node's work is counted in inner steps: output elements times what each takes (products, taps, reduced elements).
 * More than this in one record is refused: it could neither be run in the VM nor be an honest compiler's. */
#define RECORD_MAX_WORK (1ull << 32)

/* PROGRAM starts with one 512-byte header, record i stands at 512 * (1 + i).
 *   0x00 u64 magic "OPMLPROG"   0x08 u64 format version (2)   0x10 u64 node_count   0x18 u64 log2_steps
 *   0x20 u64 input image bytes  0x28 u64 output image bytes   rest zero
 * HEADER section: u64 magic "OPMLSTAT", u64 node_index, u64 status, u64 fault_node, rest zero. */
#define PROGRAM_MAGIC   0x4f504d4c50524f47ull /* "OPMLPROG" */
#define STATE_MAGIC     0x4f504d4c53544154ull /* "OPMLSTAT" */
#define PROGRAM_VERSION 2ull

#define SEGMENT_BASE 0x0000700000000000ull
#define SEGMENT_LOG2 40
#define SEC_PROGRAM  0x0000000000ull
#define SEC_WEIGHTS  0x4000000000ull
#define SEC_HEADER   0x8000000000ull
#define SEC_INPUT    0xA000000000ull
#define SEC_OUTPUT   0xB000000000ull
#define SEC_ARENA    0xC000000000ull
#define SEC_END      0x10000000000ull

/* More node records than this do not fit into PROGRAM. */
#define MAX_NODES ((1ull << 37) / RECORD_BYTES - 1)

/* 2^log2_steps is the most VM steps that a node of the program may take: what decides how deep its games go. Less than the
 * least would not do for a node that makes nothing; more than the most is no game that could be played. */
#define LEAST_LOG2_STEPS 16ull
#define MOST_LOG2_STEPS  40ull

/* Bytes [lo, hi) of the segment that an operand may touch, whatever the node's range, and its elements' width. */
struct extent {
    uint64_t lo, hi;
    uint32_t width;
};

/* Width in bytes of an element of `dtype`; 0 if there is no such dtype. */
unsigned dtype_bytes(uint8_t dtype);

/* The record at `bytes` (512, big-endian) as a struct. On a big-endian machine the bytes are the struct. */
void record_decode(struct record *r, const uint8_t *bytes);

/* The one judge of what a record may be: ST_OK, or the status that the node latches. Looks at the record alone, never
 * at tensors. After ST_OK every kernel stays inside the operands' extents and within RECORD_MAX_WORK.
 * `extent` (of 1 + RECORD_MAX_IN; the output first, then n_in inputs) may be null. */
int record_check(const struct record *r, struct extent *extent);

/* Makes zero the strides and distances of a record that name no second element, and those of operands that are not there.
 * No rule bounds them, and a kernel would multiply with them. The node's answer is the same.
 * ASSUMES record_check(r) said ST_OK. */
void record_settle(struct record *r);

/* VM steps that the node takes at most, whatever its data; record_check(r) must have said ST_OK (steps.c). */
uint64_t record_steps(const struct record *r);
#endif
