/* What each operation becomes, as far as that is the same for all kinds of processor: which of their parts translates it,
 * with which width, sign or rounding. */
#include "translate.h"

#if defined(__x86_64__) || defined(__aarch64__)

/* Its only effect would be a result that goes nowhere. */
static bool has_no_effect(const struct instruction *it)
{
    unsigned traits = operation_traits(it->operation);
    bool only_writes = (traits & WRITES_A) && !(traits & (MAY_LEAVE | IS_BRANCH | INTERPRETED | SETS_HI_LO));
    return it->operation == DO_BNEVER || (only_writes && it->a == DISCARD);
}

static bool memory(struct translator *t, const struct instruction *it)
{
    switch (it->operation) {
    case DO_LB: host_load(t, it, 1, true); return true;
    case DO_LBU: host_load(t, it, 1, false); return true;
    case DO_LH: host_load(t, it, 2, true); return true;
    case DO_LHU: host_load(t, it, 2, false); return true;
    case DO_LW: host_load(t, it, 4, true); return true;
    case DO_LWU: host_load(t, it, 4, false); return true;
    case DO_LD: host_load(t, it, 8, false); return true;
    case DO_LWL: host_load_part(t, it, NARROW, true); return true;
    case DO_LWR: host_load_part(t, it, NARROW, false); return true;
    case DO_LDL: host_load_part(t, it, WIDE, true); return true;
    case DO_LDR: host_load_part(t, it, WIDE, false); return true;
    case DO_SB: host_store(t, it, 1); return true;
    case DO_SH: host_store(t, it, 2); return true;
    case DO_SW: host_store(t, it, 4); return true;
    case DO_SD: host_store(t, it, 8); return true;
    case DO_SWL: host_store_part(t, it, NARROW, true); return true;
    case DO_SWR: host_store_part(t, it, NARROW, false); return true;
    case DO_SDL: host_store_part(t, it, WIDE, true); return true;
    case DO_SDR: host_store_part(t, it, WIDE, false); return true;
    case DO_LL: host_load_linked(t, it, 4); return true;
    case DO_LLD: host_load_linked(t, it, 8); return true;
    case DO_SC: host_store_conditional(t, it, 4); return true;
    case DO_SCD: host_store_conditional(t, it, 8); return true;
    case DO_LWC1: host_load_float(t, it, it->a, false); return true;
    case DO_SWC1: host_store_float(t, it, it->a, false); return true;
    case DO_LWXC1: host_load_float(t, it, it->a, true); return true;
    case DO_SWXC1: host_store_float(t, it, (unsigned)it->immediate, true); return true;
    default: return false;
    }
}

static bool integer(struct translator *t, const struct instruction *it)
{
    switch (it->operation) {
    case DO_SLL: host_shift(t, it, NARROW, SHIFT_LEFT, false); return true;
    case DO_SRL: host_shift(t, it, NARROW, SHIFT_RIGHT, false); return true;
    case DO_SRA: host_shift(t, it, NARROW, SHIFT_ARITHMETIC, false); return true;
    case DO_DSLL: host_shift(t, it, WIDE, SHIFT_LEFT, false); return true;
    case DO_DSRL: host_shift(t, it, WIDE, SHIFT_RIGHT, false); return true;
    case DO_DSRA: host_shift(t, it, WIDE, SHIFT_ARITHMETIC, false); return true;
    case DO_SLLV: host_shift(t, it, NARROW, SHIFT_LEFT, true); return true;
    case DO_SRLV: host_shift(t, it, NARROW, SHIFT_RIGHT, true); return true;
    case DO_SRAV: host_shift(t, it, NARROW, SHIFT_ARITHMETIC, true); return true;
    case DO_DSLLV: host_shift(t, it, WIDE, SHIFT_LEFT, true); return true;
    case DO_DSRLV: host_shift(t, it, WIDE, SHIFT_RIGHT, true); return true;
    case DO_DSRAV: host_shift(t, it, WIDE, SHIFT_ARITHMETIC, true); return true;
    case DO_CLZ: host_count_zeros(t, it, NARROW, false); return true;
    case DO_CLO: host_count_zeros(t, it, NARROW, true); return true;
    case DO_DCLZ: host_count_zeros(t, it, WIDE, false); return true;
    case DO_DCLO: host_count_zeros(t, it, WIDE, true); return true;
    case DO_LUI: host_write_constant(t, it->a, (uint64_t)(int64_t)it->immediate); return true;
    default: return false;
    }
}

static bool single_precision(struct translator *t, const struct instruction *it)
{
    switch (it->operation) {
    case DO_MADD_S: host_fused(t, it, false, false); return true;
    case DO_MSUB_S: host_fused(t, it, true, false); return true;
    case DO_NMADD_S: host_fused(t, it, false, true); return true;
    case DO_NMSUB_S: host_fused(t, it, true, true); return true;
    case DO_ROUND_W: host_to_integer(t, it, FPU_NEAREST); return true;
    case DO_TRUNC_W: host_to_integer(t, it, FPU_TRUNCATE); return true;
    case DO_CEIL_W: host_to_integer(t, it, FPU_CEIL); return true;
    case DO_FLOOR_W: host_to_integer(t, it, FPU_FLOOR); return true;
    case DO_C_COND: host_compare_single(t, it); return true;
    default: return false;
    }
}

bool translate_operation(struct translator *t, const struct instruction *it)
{
    return has_no_effect(it) || memory(t, it) || integer(t, it) || single_precision(t, it) || host_instruction(t, it);
}
#endif
