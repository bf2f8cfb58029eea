/* How kernels read blocks of quantised numbers: tensors of bytes, which lie in the segment as they lie in a file. */
#ifndef OPML_BLOCKS_H
#define OPML_BLOCKS_H
#include "access.h"
#include "program/block_formats.h"

/* Numbers whose bytes have an order of their own, whatever the machine's. The guest wants p of the first two to be a
 * multiple of 4. */
INLINE u32 load_big_u32(const u8 *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    u32 x;
    __builtin_memcpy(&x, p, 4);
    return __builtin_bswap32(x);
#else
    return *(const u32 *)p;
#endif
}
INLINE void store_big_u32(u8 *p, u32 x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap32(x);
    __builtin_memcpy(p, &x, 4);
#else
    *(u32 *)p = x;
#endif
}
INLINE u16 load_little_u16(const u8 *p) { return (u16)(p[0] | p[1] << 8); }
INLINE u32 load_little_u32(const u8 *p) { return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24; }

/* Of the 12 bytes at p, which hold eight pairs of 6 bits: scale and minimum of run j. */
INLINE void scale_and_minimum(const u8 *p, unsigned j, i32 *scale, i32 *minimum)
{
    if (j < 4) {
        *scale = p[j] & 63;
        *minimum = p[j + 4] & 63;
    } else {
        *scale = (p[j + 4] & 15) | (p[j - 4] >> 6) << 4;
        *minimum = p[j + 4] >> 4 | (p[j] >> 6) << 4;
    }
}

#endif
