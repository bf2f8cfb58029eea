"""The laboratory held against numbers that are known: its own measurements, and what others have published."""

from __future__ import annotations

from opml_dispute.game.bond import OP_STACK, required_bond_wei
from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import dispute_gas
from opml_dispute.simulation import attention
from opml_dispute.simulation.accounts import ETHER
from opml_dispute.simulation.document import Block, Heading, Paragraph, Table
from opml_dispute.simulation.fees import GWEI
from opml_dispute.simulation.peers import bold, dave, op_stack, tournament
from opml_dispute.simulation.scenario import parse
from opml_dispute.simulation.trial import play


def report() -> list[Block]:
    """The document."""
    return [
        Heading("Validation", 1),
        Paragraph("**Question.** Does the laboratory give the numbers that are known from elsewhere?"),
        Heading("What follows"),
        Paragraph(
            "All of it does. Gas, bonds and the longest game agree. Dave's published delays are reproduced exactly, "
            "all sixteen, by the matching rule of its paper; its authors count claims, the true one among them: "
            "with as many Sybils and one claim more only the first row changes, to 22.5 days. BoLD's delay does not "
            "depend on the number of Sybils, as published. Its stakes follow, to a tenth of a percent, from the gas "
            "of its levels, if the adversary is to lose 6.4 times what the honest side spends at a gas price of 500 "
            "gwei; those two numbers are fitted to three stakes, so one stake is a check. That the rules level is "
            "the contract is held by a test that plays random scenarios on both."
        ),
        Heading("Known numbers"),
        Table(["quantity", "known", "here", "agrees"], rows()),
        Heading("Dave"),
        Paragraph(
            "Worst delay in days, with groups of 4 and a grace period of 8 hours. A round of the standard protocol "
            "lasts 18 hours, of the continuous variant 10. The last column is a plain tournament's, with a clock of a "
            "week."
        ),
        Table(
            ["claims", "rounds", "published", "here", "continuous, published", "here", "plain tournament"],
            [
                [
                    f"2^{log2}",
                    str(dave.rounds(2**log2)),
                    f"{days:.2f}",
                    f"{dave.longest_days(2**log2):.2f}",
                    f"{dave.PUBLISHED_CONTINUOUS_DAYS[log2]:.2f}",
                    f"{dave.longest_days(2**log2, continuous=True):.2f}",
                    f"{tournament.worst_delay_days(2**log2):.0f}",
                ]
                for log2, days in dave.PUBLISHED_DAYS.items()
            ],
        ),
        Heading("An attack of a million ether"),
        Paragraph(
            "Dave's authors compare four protocols under an attack that burns a million ether. Their figures are "
            "rounded; their delay of Dave is that of the continuous variant."
        ),
        Table(["protocol", "bond, ETH", "honest expenses, ETH", "delay, weeks"], million_ether()),
    ]


def million_ether() -> list[list[str]]:
    """For each protocol, "published / here": bond, what the honest side needs, delay."""
    attack = 10**6
    op_bonds = [required_bond_wei(depth, op_stack.MAX_DEPTH, OP_STACK) / ETHER for depth in (0, 1, 2)]
    assertions = attack // int(sum(bold.STAKES_ETH))
    op_days = op_stack.longest_game_h() / 24 - 3.5
    bold_days = bold.worst_delay(assertions, 1 / 1_440, tries=10).days
    claims = int(attack / dave.BOND_ETH)
    return [
        ["OP Stack", f"0.08 / {op_bonds[0]:.2f}", f"1,000,000 / {attack * op_bonds[2] / op_bonds[1]:,.0f}",
         f"1 / {op_days / 7:.1f}"],
        ["BoLD", f"3,600 / {bold.stakes_for()[0]:,.0f}", f"150,000 / {bold.stakes_eth(assertions)[1]:,.0f}",
         f"1 / {bold_days / 7:.1f}"],
        ["PRT, one level", "1 / 1", "1 / 1", f"20 / {tournament.worst_delay_days(attack) / 7:.0f}"],
        ["Dave", f"3 / {dave.BOND_ETH:.0f}", f"7 / {dave.honest_gas_eth(claims):.1f}",
         f"3 / {dave.longest_days(claims, continuous=True) / 7:.1f}"],
    ]  # fmt: skip


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
    for level, (stake, derived) in enumerate(zip(bold.STAKES_ETH, bold.stakes_for(), strict=True)):
        agrees = "yes" if abs(derived / stake - 1) < 0.003 else "no"
        found.append([f"BoLD, stake at level {level}, ETH", f"{stake:,.0f}", f"{derived:,.1f}", agrees])
    exact = [dave.longest_days(2**log2) == days for log2, days in dave.PUBLISHED_DAYS.items()]
    found.append(["Dave, worst delays of 2^4 to 2^32 claims", "8 figures, below", f"{sum(exact)} the same", "yes"])
    if not all(exact):
        found[-1][-1] = "no"
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
