/* How kernels reach tensor elements: typed loads and stores on byte pointers.
 *
 * Three builds share one source:
 *   guest               the machine is big-endian, so an element in memory is its own value;
 *   host, native order  the same loads; the segment holds each element in the host's byte order;
 *   host, byte order    OPML_STORAGE_BIG_ENDIAN: the segment holds exactly the bytes that the VM would hold,
 *                       and every load and store swaps. Slower; for programs whose bytes change their element
 *                       width during the run (opml_dispute/engine/inference.py, "typed").
 *
 * ASSUMES: every address is a multiple of the element's width (checked by record_check), and the build says
 * -fno-strict-aliasing: bytes become elements by a cast. */
#ifndef OPML_ACCESS_H
#define OPML_ACCESS_H
#include <stdint.h>

typedef float f32;
typedef uint8_t u8;
typedef int8_t i8;
typedef uint16_t u16;
typedef int16_t i16;
typedef uint32_t u32;
typedef int32_t i32;
typedef uint64_t u64;
typedef int64_t i64;

#if defined(__mips__)
#define OPML_GUEST 1
#else
#define OPML_GUEST 0
#endif

/* Kernels are compiled once per storage order; each build's functions carry its own suffix. */
#if defined(OPML_STORAGE_BIG_ENDIAN)
#define KERNEL(name) name##_bytes
#else
#define KERNEL(name) name
#endif

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(OPML_STORAGE_BIG_ENDIAN) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SWAP_1(x) (x)
#define SWAP_2(x) __builtin_bswap16(x)
#define SWAP_4(x) __builtin_bswap32(x)
#define SWAP_8(x) __builtin_bswap64(x)
#else
#define SWAP_1(x) (x)
#define SWAP_2(x) (x)
#define SWAP_4(x) (x)
#define SWAP_8(x) (x)
#endif

/* ld_T(p): the element of type T at p.   st_T(p, v): makes it v. */
typedef u8 unsigned_1;
typedef u16 unsigned_2;
typedef u32 unsigned_4;
typedef u64 unsigned_8;
#define ACCESSORS(T, BYTES)                                                                                            \
    INLINE T ld_##T(const u8 *p) { return (T)SWAP_##BYTES(*(const unsigned_##BYTES *)p); }                             \
    INLINE void st_##T(u8 *p, T v) { *(unsigned_##BYTES *)p = SWAP_##BYTES((unsigned_##BYTES)v); }
ACCESSORS(u8, 1)
ACCESSORS(i8, 1)
ACCESSORS(u16, 2)
ACCESSORS(i16, 2)
ACCESSORS(u32, 4)
ACCESSORS(i32, 4)
ACCESSORS(u64, 8)
ACCESSORS(i64, 8)
#undef ACCESSORS

/* The bits of a float, and the float that has them. Compiles to a register move. */
INLINE u32 f32_bits(f32 x)
{
    union {
        f32 f;
        u32 u;
    } v = {.f = x};
    return v.u;
}

INLINE f32 f32_from_bits(u32 bits)
{
    union {
        u32 u;
        f32 f;
    } v = {.u = bits};
    return v.f;
}

#if defined(OPML_STORAGE_BIG_ENDIAN)
INLINE f32 ld_f32(const u8 *p) { return f32_from_bits(ld_u32(p)); }
INLINE void st_f32(u8 *p, f32 v) { st_u32(p, f32_bits(v)); }
#else
/* WHY NOT through ld_u32: the guest's lwc1 brings a float straight into its register. */
INLINE f32 ld_f32(const u8 *p) { return *(const f32 *)p; }
INLINE void st_f32(u8 *p, f32 v) { *(f32 *)p = v; }
#endif

#endif
