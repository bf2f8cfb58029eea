/* OP_CAST: out = (dtype_out) in0. Between integers: the low bits (imm[0] = 0) or the nearest number (1). */
#include "float32.h"
#include "kernels.h"
#include "rows.h"
#include "walk.h"

INLINE u32 is_float(u8 dtype) { return dtype == DT_F32 || dtype == DT_F16 || dtype == DT_BF16; }

/* Least and greatest number of an integer dtype of at most 32 bits, or i64. */
static i64 least(u8 dtype)
{
    switch (dtype) {
    case DT_I8: return INT8_MIN;
    case DT_I16: return INT16_MIN;
    case DT_I32: return INT32_MIN;
    case DT_I64: return INT64_MIN;
    default: return 0;
    }
}
static i64 greatest(u8 dtype)
{
    switch (dtype) {
    case DT_U8: return UINT8_MAX;
    case DT_I8: return INT8_MAX;
    case DT_U16: return UINT16_MAX;
    case DT_I16: return INT16_MAX;
    case DT_U32: return UINT32_MAX;
    case DT_I32: return INT32_MAX;
    default: return INT64_MAX;
    }
}

/* value, an element of dtype `from` as load_i64_chunk gives it, becomes the nearest number of dtype `to`. */
INLINE i64 saturate(i64 value, u8 from, u8 to)
{
    if (from == DT_U64) {
        if (to == DT_U64)
            return value;
        return value < 0 || value > greatest(to) ? greatest(to) : value;
    }
    if (to == DT_U64)
        return value < 0 ? 0 : value;
    return value < least(to) ? least(to) : value > greatest(to) ? greatest(to) : value;
}

/* A row, a chunk at a time: everything passes through binary32 or through 64-bit integers. */
static void cast_row(const struct record *r, u8 *o, i64 so, const u8 *a, i64 sa, u64 n)
{
    u8 from = r->dtype_in[0], to = r->dtype_out;
    union {
        f32 real[CHUNK];
        i64 integer[CHUNK];
    } in, out;
    for (; n;) {
        u64 now = n < CHUNK ? n : CHUNK;
        if (is_float(from)) {
            KERNEL(load_f32_chunk)(in.real, a, sa, from, now);
            if (is_float(to)) {
                KERNEL(store_f32_chunk)(o, so, to, in.real, now);
            } else {
                if (to == DT_BOOL)
                    for (u64 i = 0; i < now; i++)
                        out.integer[i] = in.real[i] != 0.0f;
                else if (to == DT_U64)
                    for (u64 i = 0; i < now; i++)
                        out.integer[i] = (i64)u64_from_f32(in.real[i]);
                else
                    for (u64 i = 0; i < now; i++)
                        out.integer[i] = saturate(i64_from_f32(in.real[i]), DT_I64, to);
                KERNEL(store_i64_chunk)(o, so, to, out.integer, now);
            }
        } else {
            KERNEL(load_i64_chunk)(in.integer, a, sa, from, now);
            if (is_float(to)) {
                if (from == DT_U64)
                    for (u64 i = 0; i < now; i++)
                        out.real[i] = f32_from_u64((u64)in.integer[i]);
                else
                    for (u64 i = 0; i < now; i++)
                        out.real[i] = f32_from_i64(in.integer[i]);
                KERNEL(store_f32_chunk)(o, so, to, out.real, now);
            } else {
                if (r->imm[0] == 1 && to != DT_BOOL)
                    for (u64 i = 0; i < now; i++)
                        in.integer[i] = saturate(in.integer[i], from, to);
                KERNEL(store_i64_chunk)(o, so, to, in.integer, now);
            }
        }
        o += (i64)now * so;
        a += (i64)now * sa;
        n -= now;
    }
}

void KERNEL(kernel_cast)(u8 *segment, const struct record *r, u64 lo, u64 hi)
{
    struct walk w;
    struct walk_operand operand[2] = {walk_out(segment, r), walk_in(segment, r, 0)};
    walk_begin(&w, operand, 2, r->dim, r->rank, lo, hi);
    for (u64 n; (n = walk_row(&w)) != 0; walk_next(&w, n, 2))
        cast_row(r, w.at[0], w.step[0], w.at[1], w.step[1], n);
}
