"""
Bonds: what a claim at a given depth must stake, exactly as the contract computes it.

A bond buys gas at an assumed price of 200 gwei: 400,000 gas at depth 0, growing geometrically to 300,000,000 at
the maximum depth. The contract works in 18-digit fixed point ("wad"), with the logarithm and the exponential of the
Solady library; `ln_wad` and `exp_wad` are those, so that `required_bond_wei` agrees to the wei.

What the chain demands is what the chain says (`getRequiredBond`); this is for planning without one, and for tests.
Source: docs/game.md, "Bonds".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from opml_dispute.game.position import DepthError

WAD: Final = 10**18
ASSUMED_GAS_PRICE_WEI: Final = 200 * 10**9
ROOT_GAS: Final = 400_000
DEEPEST_GAS: Final = 300_000_000


@lru_cache(maxsize=256)
def required_bond_wei(depth: int, max_depth: int) -> int:
    """
    The stake of a claim at `depth`, in wei.

    >>> required_bond_wei(0, 8) / 10**18, required_bond_wei(8, 8) / 10**18
    (0.08, 59.9999998)

    Raises `DepthError` if `depth` is more than `max_depth`.
    """
    if not 0 <= depth <= max_depth:
        raise DepthError(depth, f"at most {max_depth}")
    growth = ln_wad(DEEPEST_GAS * WAD // ROOT_GAS)
    base = exp_wad(growth * (WAD * WAD // (max_depth * WAD)) // WAD)
    factor = exp_wad(ln_wad(base) * (depth * WAD) // WAD)
    return ASSUMED_GAS_PRICE_WEI * (ROOT_GAS * factor // WAD)


def ln_wad(x: int) -> int:
    """The natural logarithm of a positive wad, as a wad: Solady's (8, 8)-term rational approximation, bit for bit."""
    if x <= 0:
        raise ValueError(f"no logarithm of {x}")
    shift = 256 - x.bit_length()
    x = (x << shift) >> 159  # in (1, 2), with 96 fractional bits
    p = 3273285459638523848632254066296 + x
    p = (p * x >> 96) + 24828157081833163892658089445524
    p = (p * x >> 96) + 43456485725739037958740375743393
    p = (p * x >> 96) - 11111509109440967052023855526967
    p = (p * x >> 96) - 45023709667254063763336534515857
    p = (p * x >> 96) - 14706773417378608786704636184526
    p = p * x - (795164235651350426258249787498 << 96)
    q = 5573035233440673466300451813936 + x
    for term in (
        71694874799317883764090561454958,
        283447036172924575727196451306956,
        401686690394027663651624208769553,
        204048457590392012362485061816622,
        31853899698501571402653359427138,
        909429971244387300277376558375,
    ):
        q = (x * q >> 96) + term
    result = 1677202110996718588342820967067443963516166 * _divide_towards_zero(p, q)
    result += 16597577552685614221487285958193947469193820559219878177908093499208371 * (159 - shift)
    result += 600920179829731861736702779321621459595472258049074101567377883020018308
    return result >> 174


def exp_wad(x: int) -> int:
    """e to the power of a non-negative wad, as a wad: Solady's (6, 7)-term rational approximation, bit for bit."""
    if not 0 <= x < 135305999368893231589:
        raise ValueError(f"exponent {x} found, expected 0 to 135 (as a wad)")
    x = (x << 78) // 5**18  # to 96 fractional bits
    k = ((x << 96) // 54916777467707473351141471128 + 2**95) >> 96
    x -= k * 54916777467707473351141471128  # in (-ln 2 / 2, ln 2 / 2)
    y = x + 1346386616545796478920950773328
    y = (y * x >> 96) + 57155421227552351082224309758442
    p = y + x - 94201549194550492254356042504812
    p = (p * y >> 96) + 28719021644029726153956944680412240
    p = p * x + (4385272521454847904659076985693276 << 96)
    q = x - 2855989394907223263936484059900
    for term in (
        50020603652535783019961831881945,
        -533845033583426703283633433725380,
        3604857256930695427073651918091429,
        -14423608567350463180887372962807573,
        26449188498355588339934803723976023,
    ):
        q = (q * x >> 96) + term
    result = _divide_towards_zero(p, q)
    return result * 3822833074963236453042738258902158003155416615667 >> (195 - k)


def _divide_towards_zero(dividend: int, divisor: int) -> int:
    """Division as the EVM does it: rounded towards zero."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient
