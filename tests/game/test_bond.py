"""Bonds: the published values, to the gas unit; and what the default terms cost and pay."""

import json
import re

import pytest

from opml_dispute.game.bond import (
    BURN_ADDRESS,
    ML,
    ML_ROOT_BOND_WEI,
    OP_STACK,
    WAD,
    BondTerms,
    exp_wad,
    forfeited_wei,
    ln_wad,
    required_bond_wei,
)
from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import (
    CREATE_GAS,
    MOVE_GAS,
    SETTLE_CLAIM_GAS,
    STEP_GAS,
    dispute_bonds_wei,
)
from opml_dispute.game.position import DepthError
from opml_dispute.toolchain.solidity import CONTRACTS_DIR

SNAPSHOT = {name: int(gas) for name, gas in json.loads((CONTRACTS_DIR / "snapshots" / "game.json").read_text()).items()}
"""What each call costs, as the contracts' tests last measured it."""

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
    """The published game's bonds are reproduced."""
    assert [required_bond_wei(depth, 8, OP_STACK) // OP_STACK.assumed_base_fee_wei for depth in range(9)] == GAS_OF_8
    assert {
        depth: required_bond_wei(depth, 73, OP_STACK) // OP_STACK.assumed_base_fee_wei for depth in GAS_OF_73
    } == GAS_OF_73


def test_published_logarithm_and_bases() -> None:
    growth = ln_wad(750 * WAD)
    assert growth == 6620073206530356124
    assert exp_wad(growth * (WAD // 8) // WAD) == 2287613537501587651
    assert exp_wad(growth * (WAD * WAD // (73 * WAD)) // WAD) == 1094925072882607666


def test_the_approximations_have_the_numbers_that_the_contract_has() -> None:
    """The last digit of a coefficient changes no bond that is tried above, and some bond."""
    source = (CONTRACTS_DIR / "node_modules/solady/src/utils/FixedPointMathLib.sol").read_text()
    in_contract = {int(number, 0) for number in re.findall(r"\b(?:0x[0-9a-fA-F]+|[1-9]\d*)\b", source)}
    coefficients = {
        abs(number)
        for function in (ln_wad, exp_wad)
        for constant in function.__code__.co_consts
        for number in (constant if isinstance(constant, tuple) else [constant])
        if isinstance(number, int) and abs(number) > 2**64 and number & (number - 1)
    }
    assert len(coefficients) >= 25
    assert coefficients <= in_contract


def test_the_default_terms_are_those_that_the_study_chose() -> None:
    assert (ML.assumed_base_fee_wei, ML.gas_at_root, ML.gas_at_max_depth) == (30 * 10**9, 1_581_000, 2_055_300)
    assert (ML.forfeited_bps, ML.forfeited_to) == (2_000, BURN_ADDRESS)
    assert ML_ROOT_BOND_WEI == 105_570 * 10**12


@pytest.mark.parametrize("max_depth", [4, 8, 26, 73, 125])
def test_bonds_grow_with_depth(max_depth: int) -> None:
    """And are multiples of the gas price they assume."""
    bonds = [required_bond_wei(depth, max_depth, OP_STACK) for depth in range(max_depth + 1)]
    assert bonds == sorted(set(bonds))
    assert all(bond % OP_STACK.assumed_base_fee_wei == 0 for bond in bonds)


def test_no_bond_below_the_leaves() -> None:
    with pytest.raises(DepthError):
        required_bond_wei(9, 8, OP_STACK)


@pytest.mark.parametrize(("depths", "most_eth"), [(Depths(4, 26), 1.0), (Depths(8, 42), 2.0)])
def test_a_whole_dispute_under_the_default_terms_stakes_little(depths: Depths, most_eth: float) -> None:
    """At most 1 ETH a side for a model of the digit reader's class, at most 2 for one of ResNet-50's."""
    assert max(dispute_bonds_wei(depths)) < most_eth * WAD


@pytest.mark.parametrize("max_depth", [8, 26, 42, 64])
def test_honest_play_pays_at_200_gwei_under_the_default_terms(max_depth: int) -> None:
    """
    Whatever depth the liar gives up at, the challenger's awards cover its gas; so does each counter on its own.

    The challenger does everything itself: it settles, closes the game, and takes its money. If the liar never answers,
    all that is paid for by the root bond alone, up to 183 gwei.
    """
    fee_wei = 200 * 10**9
    award_wei = ML_ROOT_BOND_WEI - forfeited_wei(ML_ROOT_BOND_WEI, ML)
    sent = "attack, depth 1", "settle 2 claims and the game", "claim credit, first call, closing the game"
    gas = sum(SNAPSHOT[name] for name in (*sent, "claim credit, second call"))
    assert award_wei // gas // 10**9 == 183
    for depth in range(2, max_depth + 1, 2):
        bond_wei = required_bond_wei(depth, max_depth, ML)
        counter_gas = 2 * SETTLE_CLAIM_GAS + MOVE_GAS if depth < max_depth else SETTLE_CLAIM_GAS + STEP_GAS
        assert bond_wei - forfeited_wei(bond_wei, ML) > counter_gas * fee_wei * 0.99
        award_wei += bond_wei - forfeited_wei(bond_wei, ML)
        gas += counter_gas
        assert award_wei > gas * fee_wei
    assert CREATE_GAS * fee_wei < ML_ROOT_BOND_WEI


def test_the_forfeited_part_and_the_winners_are_the_whole_bond() -> None:
    for bps in (0, 1, 2_000, 4_999, 5_000):
        terms = BondTerms(10**9, 1, 2, bps)
        for bond_wei in (0, 1, 9_999, 10_000, ML_ROOT_BOND_WEI):
            assert 0 <= forfeited_wei(bond_wei, terms) <= bond_wei / 2
            assert forfeited_wei(bond_wei, terms) == bond_wei * bps // 10_000
    assert OP_STACK.forfeited_bps == 0
    assert ML.forfeited_to == BURN_ADDRESS


@pytest.mark.parametrize("x", [0, -1])
def test_what_is_not_positive_has_no_logarithm(x: int) -> None:
    with pytest.raises(ValueError, match="no logarithm"):
        ln_wad(x)


def test_logarithm_and_power_reach_to_the_ends_of_their_ranges() -> None:
    """The least wad has a logarithm; the least exponent whose power does not fit 255 bits has none."""
    assert ln_wad(1) == -41446531673892822313
    assert exp_wad(135305999368893231588) < 2**255
    with pytest.raises(ValueError, match="exponent 135305999368893231589"):
        exp_wad(135305999368893231589)


def test_only_the_published_terms_deposit_with_each_claim() -> None:
    assert OP_STACK.deposited_at_once
    assert not ML.deposited_at_once
