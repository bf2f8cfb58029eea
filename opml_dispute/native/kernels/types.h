/* Which element types kernels multiply together, as one list.
 *
 * FOR_EACH_PRODUCT(X) calls X(name, ACC, A, B, MAC): the accumulator's C type, two loaders, and the
 * multiply-add. Integers multiply in the accumulator's width and wrap; 32-bit sums are right for both signs. */
#ifndef OPML_TYPES_H
#define OPML_TYPES_H
#include "program/opcodes.h"
#include "float32.h"
#include "program/record.h"

INLINE f32 ld_f16(const u8 *p) { return f32_from_f16(ld_u16(p)); }
INLINE f32 ld_bf16(const u8 *p) { return f32_from_bf16(ld_u16(p)); }

/* What an element is in memory. */
typedef f32 stored_f32;
typedef u16 stored_f16, stored_bf16, stored_u16;
typedef i16 stored_i16;
typedef u8 stored_u8;
typedef i8 stored_i8;
typedef u32 stored_u32;
typedef u64 stored_u64;

#define MAC_FLOAT(a, b, sum) fma32(a, b, sum)
#define MAC_U32(a, b, sum)   ((sum) + (u32)(a) * (u32)(b))
#define MAC_U64(a, b, sum)   ((sum) + (u64)(a) * (u64)(b))

#define FOR_EACH_PRODUCT(X)                                                                                            \
    X(f32, f32, f32, f32, MAC_FLOAT)                                                                                   \
    FOR_EACH_OTHER_PRODUCT(X)
#define FOR_EACH_OTHER_PRODUCT(X)                                                                                      \
    X(f16, f32, f16, f16, MAC_FLOAT)                                                                                   \
    X(bf16, f32, bf16, bf16, MAC_FLOAT)                                                                                \
    X(u8u8, u32, u8, u8, MAC_U32)                                                                                      \
    X(u8i8, u32, u8, i8, MAC_U32)                                                                                      \
    X(i8u8, u32, i8, u8, MAC_U32)                                                                                      \
    X(i8i8, u32, i8, i8, MAC_U32)                                                                                      \
    X(u16, u32, u16, u16, MAC_U32)                                                                                     \
    X(i16, u32, i16, i16, MAC_U32)                                                                                     \
    X(u32, u32, u32, u32, MAC_U32)                                                                                     \
    X(u64, u64, u64, u64, MAC_U64)

enum product {
#define PRODUCT(NAME, ACC, A, B, MAC) PRODUCT_##NAME,
    FOR_EACH_PRODUCT(PRODUCT)
#undef PRODUCT
};

/* ASSUMES: record_check admitted the pair (record.c, "product_ok"). */
static inline enum product product_of(const struct record *r)
{
    u8 a = r->dtype_in[0], b = r->dtype_in[1];
    switch (a) {
    case DT_F32: return PRODUCT_f32;
    case DT_F16: return PRODUCT_f16;
    case DT_BF16: return PRODUCT_bf16;
    case DT_U8: return b == DT_U8 ? PRODUCT_u8u8 : PRODUCT_u8i8;
    case DT_I8: return b == DT_U8 ? PRODUCT_i8u8 : PRODUCT_i8i8;
    case DT_U16: return PRODUCT_u16;
    case DT_I16: return PRODUCT_i16;
    case DT_U32:
    case DT_I32: return PRODUCT_u32;
    default: return PRODUCT_u64;
    }
}

/* A finished sum goes to its place; a bias is an element of the output's dtype. binary32 first: it is what models are
 * made of, and on the guest every test counts. */
INLINE void store_f32(u8 *o, u8 dtype, f32 sum)
{
    if (dtype == DT_F32)
        st_f32(o, arith(sum));
    else
        st_u16(o, dtype == DT_F16 ? f16_from_f32(sum) : bf16_from_f32(sum));
}
INLINE f32 load_bias_f32(const u8 *bias, u8 dtype)
{
    return dtype == DT_F32 ? ld_f32(bias) : dtype == DT_F16 ? ld_f16(bias) : ld_bf16(bias);
}
INLINE void store_u32(u8 *o, u8 dtype, u32 sum)
{
    (void)dtype;
    st_u32(o, sum);
}
INLINE u32 load_bias_u32(const u8 *bias, u8 dtype)
{
    (void)dtype;
    return ld_u32(bias);
}
INLINE void store_u64(u8 *o, u8 dtype, u64 sum)
{
    (void)dtype;
    st_u64(o, sum);
}
INLINE u64 load_bias_u64(const u8 *bias, u8 dtype)
{
    (void)dtype;
    return ld_u64(bias);
}

#endif
