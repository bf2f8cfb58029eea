/* Elements by the chunk: loaded from any dtype into one that kernels compute in, and stored back. */
#include "program/opcodes.h"
#include "float32.h"
#include "rows.h"

/* On the host elements that lie side by side get a loop of their own, which the compiler vectorises. */
#define SIDE_BY_SIDE(STEP, T) (!OPML_GUEST && (STEP) == (i64)sizeof(T))

#define LOAD_CHUNK(T, V)                                                                                               \
    if (SIDE_BY_SIDE(sa, T)) {                                                                                         \
        for (u64 i = 0; i < n; i++)                                                                                    \
            out[i] = V(ld_##T(a + i * sizeof(T)));                                                                     \
        return;                                                                                                        \
    }                                                                                                                  \
    for (u64 i = 0; i < n; i++)                                                                                        \
        out[i] = V(ld_##T(a + (i64)i * sa));                                                                           \
    return
#define STORE_CHUNK(T, V)                                                                                              \
    if (SIDE_BY_SIDE(so, T)) {                                                                                         \
        for (u64 i = 0; i < n; i++)                                                                                    \
            st_##T(o + i * sizeof(T), (T)V(in[i]));                                                                    \
        return;                                                                                                        \
    }                                                                                                                  \
    for (u64 i = 0; i < n; i++)                                                                                        \
        st_##T(o + (i64)i * so, (T)V(in[i]));                                                                          \
    return

void KERNEL(load_f32_chunk)(f32 *out, const u8 *a, i64 sa, u8 dtype, u64 n)
{
    switch (dtype) {
    case DT_F16: LOAD_CHUNK(u16, f32_from_f16);
    case DT_BF16: LOAD_CHUNK(u16, f32_from_bf16);
    default: LOAD_CHUNK(f32, );
    }
}

void KERNEL(store_f32_chunk)(u8 *o, i64 so, u8 dtype, const f32 *in, u64 n)
{
    switch (dtype) {
    case DT_F16: STORE_CHUNK(u16, f16_from_f32);
    case DT_BF16: STORE_CHUNK(u16, bf16_from_f32);
    default: STORE_CHUNK(f32, canonical);
    }
}

void KERNEL(load_i64_chunk)(i64 *out, const u8 *a, i64 sa, u8 dtype, u64 n)
{
    switch (dtype) {
    case DT_U8: LOAD_CHUNK(u8, );
    case DT_I8: LOAD_CHUNK(i8, );
    case DT_U16: LOAD_CHUNK(u16, );
    case DT_I16: LOAD_CHUNK(i16, );
    case DT_U32: LOAD_CHUNK(u32, );
    case DT_I32: LOAD_CHUNK(i32, );
    case DT_BOOL: LOAD_CHUNK(boolean, );
    default: LOAD_CHUNK(i64, );
    }
}

void KERNEL(store_i64_chunk)(u8 *o, i64 so, u8 dtype, const i64 *in, u64 n)
{
    switch (dtype) {
    case DT_U8:
    case DT_I8: STORE_CHUNK(u8, );
    case DT_U16:
    case DT_I16: STORE_CHUNK(u16, );
    case DT_U32:
    case DT_I32: STORE_CHUNK(u32, );
    case DT_BOOL: STORE_CHUNK(boolean, 0 !=);
    default: STORE_CHUNK(i64, );
    }
}

void KERNEL(load_key_chunk)(u64 *out, const u8 *a, i64 sa, u8 dtype, u64 n, u64 nan_key)
{
    if (dtype == DT_F32 || dtype == DT_F16 || dtype == DT_BF16) {
        f32 value[CHUNK];
        KERNEL(load_f32_chunk)(value, a, sa, dtype, n);
        for (u64 i = 0; i < n; i++) {
            f32 x = value[i] + 0.0f; /* -0 becomes +0 */
            u32 bits = f32_bits(x);
            u32 key = bits & SIGN_BIT ? ~bits : bits | SIGN_BIT;
            out[i] = x != x ? nan_key : key;
        }
        return;
    }
    KERNEL(load_i64_chunk)((i64 *)out, a, sa, dtype, n);
    u64 flip = dtype == DT_U64 ? 0 : 1ull << 63;
    for (u64 i = 0; i < n; i++)
        out[i] ^= flip;
}
