"""
Bonds: the stake of a claim at a given depth, exactly as the contract computes it.

A bond buys gas at an assumed price. The gas grows geometrically from depth 0 to the maximum depth; price and both ends
are a deployment's choice (`BondTerms`), and so is the part of each lost bond that no winner gets. `OP_STACK` are the
terms of the published game, `ML` the default of our own: docs/game.md, "Bonds", says where its numbers come from.
`required_bond_wei` and `forfeited_wei` apply them. The contract works in 18-digit fixed point ("wad"), with the
logarithm and the exponential of the Solady library; `ln_wad` and `exp_wad` are those, so bonds agree to the wei.

The chain's own answer (`getRequiredBond`) decides; this module serves planning without a chain, and tests.
Source: docs/game.md, "Bonds".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from opml_dispute.game.position import DepthError
from opml_dispute.primitives import Address

WAD: Final = 10**18
GWEI: Final = 10**9
ALL_BPS: Final = 10_000
"""100 %, in ten-thousandths."""

MAX_FORFEITED_BPS: Final = 5_000
"""The contract refuses terms that keep more than half of a lost bond from the winner."""

BURN_ADDRESS: Final = Address("0x000000000000000000000000000000000000dEaD")
"""An address without a known key: payments to it are lost."""


@dataclass(frozen=True, slots=True)
class BondTerms:
    """The terms of bonds in one deployment; the contract has a struct of the same name."""

    assumed_base_fee_wei: int
    """Wei per gas that a bond pays for."""

    gas_at_root: int
    """Gas that the bond of a claim at depth 0 pays for; at least 1."""

    gas_at_max_depth: int
    """Gas that the bond of a claim at the maximum depth pays for; at least `gas_at_root`."""

    forfeited_bps: int = 0
    """Part of each lost bond, in ten-thousandths, that does not go to the winner: at most `MAX_FORFEITED_BPS`."""

    forfeited_to: Address = BURN_ADDRESS
    """The treasury that gets that part, or `BURN_ADDRESS`."""

    deposited_at_once: bool = False
    """
    Whether each bond goes into the vault with its claim, as in the published game. Else a game keeps its bonds until it
    is closed, which makes a move cheaper.
    """


OP_STACK: Final = BondTerms(
    assumed_base_fee_wei=200 * GWEI, gas_at_root=400_000, gas_at_max_depth=300_000_000, deposited_at_once=True
)
"""
The published game's: 0.08 ETH at the root, almost 60 ETH at the maximum depth; the winner gets all. The vault has the
bonds of open games as well, which op-dispute-mon adds up.
"""

_SAFETY: Final = (17, 2)
"""8.5: each single counter pays for itself up to a base fee of 200 gwei, after a fifth of the bond was forfeited."""

ML: Final = BondTerms(
    assumed_base_fee_wei=30 * GWEI,
    gas_at_root=186_000 * _SAFETY[0] // _SAFETY[1],  # a move, and settling two claims
    gas_at_max_depth=241_800 * _SAFETY[0] // _SAFETY[1],  # a step costs more gas than a move: 1.3 times in all
    forfeited_bps=2_000,
)
"""The default for our games. See docs/game.md, "Bonds"."""

ML_ROOT_BOND_WEI: Final = 414_000 * _SAFETY[0] // _SAFETY[1] * 30 * GWEI
"""The default root bond: a new player that counters a root claim also pays for its first move, for settling and for its
payout."""


def required_bond_wei(depth: int, max_depth: int, terms: BondTerms) -> int:
    """
    The bond of a claim at `depth`, in wei. The bond of a root claim is set in the factory.

    >>> required_bond_wei(0, 8, OP_STACK) / 10**18, required_bond_wei(8, 8, OP_STACK) / 10**18
    (0.08, 59.9999998)

    Raises `DepthError` if `depth` is more than `max_depth`.
    """
    if not 0 <= depth <= max_depth:
        raise DepthError(depth, f"at most {max_depth}")
    return _bond_wei(depth, max_depth, terms)


@lru_cache(maxsize=4096)
def _bond_wei(depth: int, max_depth: int, terms: BondTerms) -> int:
    growth = ln_wad(terms.gas_at_max_depth * WAD // terms.gas_at_root)
    exponent = growth * (WAD * WAD // (max_depth * WAD)) // WAD
    return terms.assumed_base_fee_wei * (terms.gas_at_root * exp_wad(exponent * depth) // WAD)


def forfeited_wei(bond_wei: int, terms: BondTerms) -> int:
    """
    The part of a lost bond that goes to `terms.forfeited_to`, in wei; the winner gets the rest.

    >>> forfeited_wei(10**18, ML) / 10**18
    0.2
    """
    return bond_wei * terms.forfeited_bps // ALL_BPS


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
