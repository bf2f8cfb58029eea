"""Bonds: the published values, to the gas unit."""

import pytest

from opml_dispute.game.bond import ASSUMED_GAS_PRICE_WEI, WAD, exp_wad, ln_wad, required_bond_wei
from opml_dispute.game.position import DepthError

GAS_OF_8 = [400000, 915045, 2093270, 4788593, 10954451, 25059550, 57326567, 131141031, 299999999]
GAS_OF_73 = {
    0: 400000,
    1: 437970,
    2: 479544,
    10: 990612,
    30: 6075639,
    31: 6652370,
    50: 37263190,
    72: 273991351,
    73: 299999999,
}


def test_published_bonds() -> None:
    assert [required_bond_wei(depth, 8) // ASSUMED_GAS_PRICE_WEI for depth in range(9)] == GAS_OF_8
    assert {depth: required_bond_wei(depth, 73) // ASSUMED_GAS_PRICE_WEI for depth in GAS_OF_73} == GAS_OF_73


def test_published_logarithm_and_bases() -> None:
    growth = ln_wad(750 * WAD)
    assert growth == 6620073206530356124
    assert exp_wad(growth * (WAD // 8) // WAD) == 2287613537501587651
    assert exp_wad(growth * (WAD * WAD // (73 * WAD)) // WAD) == 1094925072882607666


@pytest.mark.parametrize("max_depth", [4, 8, 26, 73, 125])
def test_bonds_grow_with_depth(max_depth: int) -> None:
    """And are multiples of the gas price they assume."""
    bonds = [required_bond_wei(depth, max_depth) for depth in range(max_depth + 1)]
    assert bonds == sorted(set(bonds))
    assert all(bond % ASSUMED_GAS_PRICE_WEI == 0 for bond in bonds)


def test_no_bond_below_the_leaves() -> None:
    with pytest.raises(DepthError):
        required_bond_wei(9, 8)
