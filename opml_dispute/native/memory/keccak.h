/* Keccak-256 (the pre-NIST padding that Ethereum uses), and the Merkle trees made of it.
 *
 * One permutation hashes KECCAK_LANES pairs at a time in the compiler's vector types: 8 lanes with AVX-512, 4 with
 * AVX2, else 1. The result never depends on the number of lanes.
 *
 * A tree's leaves are raw 32-byte words, an inner node is H(left ++ right), and level k is the node over 2^k bytes
 * (so leaves are level 5). docs/vm.md, "Memory". */
#ifndef OPML_KECCAK_H
#define OPML_KECCAK_H
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32
#define LEAF_LOG2  5

/* out := H(data[0..size)). */
void keccak256(const uint8_t *data, size_t size, uint8_t out[static HASH_BYTES]);

/* out[i] := H(in[64 i .. 64 i + 64)), for i < count. `out` may be `in`: a level shrinks in place. */
void keccak_pairs(const uint8_t *in, uint8_t *out, size_t count);

/* *out[i] := H(the 64 bytes at in[i]), for i < count. No output may be another job's input. */
void keccak_pairs_gather(const uint8_t *const *in, uint8_t *const *out, size_t count);

/* out := H(left ++ right). */
void keccak_pair(const uint8_t left[static HASH_BYTES], const uint8_t right[static HASH_BYTES],
                 uint8_t out[static HASH_BYTES]);

/* Z[k], the root of 2^k zero bytes, 5 <= log2_size <= 64. */
const uint8_t *zero_root(unsigned log2_size);

/* The root of 2^log2_size bytes: data[0..size), then zeros. word_bytes is 1, 2, 4 or 8: the data is made of host-order
 * words of that size, and what is hashed is their big-endian form. Needs size <= 2^log2_size, size a multiple of
 * word_bytes, 5 <= log2_size <= 64. Runs on `threads` threads (0 and 1 mean the caller's). False: out of memory. */
int merkle_root(const uint8_t *data, uint64_t size, unsigned log2_size, unsigned word_bytes, unsigned threads,
                uint8_t out[static HASH_BYTES]);

/* out[0..size) := data[0..size) with every word of word_bytes bytes turned from host order to big-endian. */
void copy_big_endian(uint8_t *out, const uint8_t *data, size_t size, unsigned word_bytes);

#endif
