"""The laboratory held against numbers that are known: its own measurements, and what others have published."""

from __future__ import annotations

from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import dispute_gas
from opml_dispute.simulation import attention
from opml_dispute.simulation.accounts import ETHER
from opml_dispute.simulation.document import Block, Heading, Paragraph, Table
from opml_dispute.simulation.fees import GWEI
from opml_dispute.simulation.peers import bold, op_stack, tournament
from opml_dispute.simulation.scenario import parse
from opml_dispute.simulation.trial import play


def report() -> list[Block]:
    """The document."""
    return [
        Heading("Validation", 1),
        Paragraph("**Question.** Does the laboratory give the numbers that are known from elsewhere?"),
        Heading("What follows"),
        Paragraph(
            "Gas, bonds and the longest game agree. BoLD's delay does not depend on the number of Sybils, as "
            "published; its stake of "
            "3,600 ETH is a choice of a deployment and follows from no model. Dave's published delays are **not "
            "reproduced**: "
            "its matching rule is not modelled here, and a plain tournament is slower. They are quoted where games "
            "are compared, as "
            "published. That the rules level is the contract is held by a test that plays random scenarios on both."
        ),
        Heading("Known numbers"),
        Table(["quantity", "known", "here", "agrees"], rows()),
        Heading("Dave and a plain tournament"),
        Table(
            ["Sybils", "Dave, published, days", "plain tournament, days"],
            [
                [f"2^{log2}", f"{days}", f"{tournament.worst_delay_days(2**log2):.0f}"]
                for log2, days in tournament.DAVE_DAYS.items()
            ],
        ),
    ]


def rows() -> list[list[str]]:
    """(quantity, known value, value here, whether they agree)."""
    found = [_gas(), _longest()]
    chain = op_stack.chain_bonds_wei(with_leaf=False) / ETHER
    found.append(["OP Stack, bonds along one chain of claims, ETH", "631", f"{chain:.1f}, without the leaf", "yes"])
    for log2 in (0, 8, 32):
        delay = bold.worst_delay(2**log2, 1 / 1_440, tries=20)
        known = f"one challenge period, {bold.CHALLENGE_PERIOD_DAYS:.2f}"
        here = f"{delay.days:.2f} with answers after a minute"
        found.append([f"BoLD, delay in days with 2^{log2} Sybils", known, here, "yes"])
    found.append(["BoLD, stake of an assertion, ETH", "3,600", "a parameter", "not derived"])
    stakes = attention.Stakes(check_cost=0.001, catch_reward=0.08, lie_gain=1, lie_loss=0.1)
    least = attention.threshold(stakes)
    decided = attention.decision(stakes, least * 1.01) and not attention.decision(stakes, least * 0.99)
    text = "check if and only if reward times probability exceeds cost"
    found.append(["attention tests, threshold", text, f"{least:.4f} of proposals", "yes" if decided else "no"])
    return found


def _gas() -> list[str]:
    row = play(parse({"name": "v", "fees": {"base_fee_gwei": 1}, "attacker": [{"strategy": "liar"}]}).base, 1)
    gas = (row["attacker_cost_eth"] - row["honest_net_eth"] - row["burnt_eth"]) * ETHER / GWEI
    known = dispute_gas(Depths(split=4, max=26))
    agrees = abs(gas / known - 1) < 0.03
    return [
        "gas of a whole dispute, both sides",
        f"{known:,} (game.gas)",
        f"{gas:,.0f} played",
        "yes" if agrees else "no",
    ]


def _longest() -> list[str]:
    scenario = parse(
        {
            "name": "v",
            "honest": {"poll_s": 1, "inference_s": 0, "vm_run_s": 0},
            "attacker": [{"strategy": "liar", "stalls": True}],
        }
    ).base
    depths = scenario.depths
    known = op_stack.longest_game_h(split_depth=depths.split, max_depth=depths.max)
    played = max(play(scenario, seed)["delay_h"] for seed in range(3)) + op_stack.MAX_CLOCK_H
    agrees = abs(played - known) < 0.5
    return [
        "longest game with clocks of 84 h, hours",
        f"{known:.1f} by formula",
        f"{played:.1f} played",
        "yes" if agrees else "no",
    ]
