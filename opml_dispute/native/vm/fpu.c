/* Conversions of binary32 to integers, and floating-point operations for Python's tests. */
#include "fpu.h"
#include "export.h"
#include "float_mode.h"

uint32_t fpu_to_int(uint32_t a, enum fpu_rounding rounding)
{
    float x = fpu_float(a);
    /* Every float of 2^24 or more is an integer, so rounding cannot carry x over these bounds. */
    if (!(x >= -2147483648.0f && x < 2147483648.0f))
        return FPU_INTEGER_INVALID;
    int32_t integer = (int32_t)x;
    float rest = x - (float)integer; /* exact: not zero only where |x| < 2^23 */
    switch (rounding) {
    case FPU_NEAREST:
        if (rest > 0.5f || (rest == 0.5f && (integer & 1)))
            integer++;
        else if (rest < -0.5f || (rest == -0.5f && (integer & 1)))
            integer--;
        break;
    case FPU_CEIL: integer += rest > 0.0f; break;
    case FPU_FLOOR: integer -= rest < 0.0f; break;
    case FPU_TRUNCATE: break;
    }
    return (uint32_t)integer;
}

/* out[i] := operation `funct` on a[i], b[i], c[i]; what the tests hold against exact arithmetic. Functs as in docs/vm.md:
 * COP1's own, 0x40 + COP1X's, 0x80 for cvt.s.w. False: no such operation. */
EXPORT int opml_fpu(unsigned funct, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out,
                    size_t count)
{
    uint64_t mode = float_mode_begin();
    int known = 1;
    for (size_t i = 0; i < count && known; i++) {
        switch (funct) {
        case 0x00: out[i] = fpu_add(a[i], b[i]); break;
        case 0x01: out[i] = fpu_sub(a[i], b[i]); break;
        case 0x02: out[i] = fpu_mul(a[i], b[i]); break;
        case 0x03: out[i] = fpu_div(a[i], b[i]); break;
        case 0x04: out[i] = fpu_sqrt(a[i]); break;
        case 0x0c:
        case 0x24: out[i] = fpu_to_int(a[i], FPU_NEAREST); break;
        case 0x0d: out[i] = fpu_to_int(a[i], FPU_TRUNCATE); break;
        case 0x0e: out[i] = fpu_to_int(a[i], FPU_CEIL); break;
        case 0x0f: out[i] = fpu_to_int(a[i], FPU_FLOOR); break;
        case 0x40 + 0x20: out[i] = fpu_fused_multiply_add(a[i], b[i], c[i]); break;
        case 0x40 + 0x28: out[i] = fpu_fused_multiply_add(a[i], b[i], c[i] ^ FPU_SIGN); break;
        case 0x40 + 0x30: out[i] = fpu_negate_number(fpu_fused_multiply_add(a[i], b[i], c[i])); break;
        case 0x40 + 0x38: out[i] = fpu_negate_number(fpu_fused_multiply_add(a[i], b[i], c[i] ^ FPU_SIGN)); break;
        case 0x80: out[i] = fpu_from_int(a[i]); break;
        default: known = funct >= 0x30 && funct <= 0x3f; out[i] = known && fpu_compare(a[i], b[i], funct);
        }
    }
    float_mode_end(mode);
    return known;
}
