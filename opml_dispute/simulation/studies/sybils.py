"""Sybils against four games: what the honest side must stake, and how late the truth is."""

from __future__ import annotations

from opml_dispute.game.bond import OP_STACK, required_bond_wei
from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import dispute_gas
from opml_dispute.simulation.accounts import ETHER
from opml_dispute.simulation.document import Block, Figure, Heading, Paragraph, Table
from opml_dispute.simulation.fees import GWEI
from opml_dispute.simulation.figures import Panel, Series, draw
from opml_dispute.simulation.gas_table import MEASURED
from opml_dispute.simulation.peers import bold, dave, op_stack, tournament
from opml_dispute.simulation.studies.bonds import DEFAULT

LOG2_SYBILS = (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
DEPTH, SPLIT = 26, 4
REACTION_DAYS = 1 / 144
TOURNAMENT_BOND_ETH = 1.0
ASSUMED_FEE_WEI = 30 * GWEI


def report() -> list[Block]:
    """The document."""
    ours, published = [], []
    for log2 in LOG2_SYBILS:
        ours.append((2**log2 * DEFAULT.bond_wei(1, DEPTH) / ETHER, 2**log2 * DEFAULT.bond_wei(2, DEPTH) / ETHER))
        published.append(
            tuple(2**log2 * required_bond_wei(depth, op_stack.MAX_DEPTH, OP_STACK) / ETHER for depth in (1, 2))
        )
    arbitrum = [bold.stakes_eth(2**log2) for log2 in LOG2_SYBILS]
    knockout = [(2**log2 * TOURNAMENT_BOND_ETH, TOURNAMENT_BOND_ETH) for log2 in LOG2_SYBILS]
    clocks_days = op_stack.longest_game_h(split_depth=SPLIT, max_depth=DEPTH) / 24
    op_days = op_stack.longest_game_h() / 24
    bold_days = [bold.worst_delay(2**log2, REACTION_DAYS, tries=10).days for log2 in LOG2_SYBILS]
    knockout_days = [tournament.worst_delay_days(2**log2) for log2 in LOG2_SYBILS]
    dave_days = [dave.longest_days(2**log2 + 1) for log2 in LOG2_SYBILS]
    sybils = [float(2**log2) for log2 in LOG2_SYBILS]
    games = {"this project": ours, "OP Stack": published, "BoLD": arbitrum, "plain tournament": knockout}
    capital = [Series(name, [a for a, _ in found], [h for _, h in found]) for name, found in games.items()]
    delay = [
        Series("this project", sybils, [clocks_days] * len(sybils)),
        Series("OP Stack", sybils, [op_days] * len(sybils)),
        Series("BoLD", sybils, bold_days),
        Series("plain tournament", sybils, knockout_days),
        Series("Dave", sybils, dave_days),
    ]
    rows = []
    for place, log2 in enumerate(LOG2_SYBILS):
        stakes = [f"{found[place][0]:,.4g} / {found[place][1]:,.4g}" for found in games.values()]
        rows.append([f"2^{log2}", *stakes, f"{knockout_days[place]:.0f}", f"{dave_days[place]:.4g}"])
    figure = draw(
        [
            Panel("Honest stake", "attacker's stake, ETH", "ETH", capital, log_x=True, log_y=True),
            Panel("Worst delay", "Sybils", "days", delay, log_x=True, log_y=True),
        ]
    )
    return [
        Heading("Sybils side by side", 1),
        Paragraph(
            "**Question.** So many false claims against one true one: what must the honest side stake, and how late "
            "is the truth, "
            "in this project's game, in the OP Stack's, in BoLD and in a tournament?"
        ),
        Heading("What follows"),
        Paragraph(
            f"In this game the delay does not grow with the number of Sybils: {clocks_days:.1f} days at worst, by "
            "clocks and "
            "extensions, at any budget. What grows is the honest stake, one for one: an attacker who locks more than "
            "the honest "
            "side owns wins, whatever the bonds are; larger bonds only change the unit. So the bound is: **the truth "
            f"wins if the honest side can lock {ours[0][1] / ours[0][0]:.2f} times what the attacker locks**, all of "
            f"it returned with four fifths of the attacker's, and pay gas for another {100 * _gas_eth(1):.0f} % of it "
            "at 30 gwei. "
            "In the OP Stack's game the factor is 1.095 a claim.\n\n"
            "BoLD needs a sixth of the attacker's stake beyond its first 3,600 ETH, at nearly constant delay. A "
            "tournament needs one bond, at a delay that grows with the logarithm. A plain one is later than this game "
            "from two Sybils on. Dave's costs two weeks even against a single Sybil that loses every round by its "
            "clock, and hardly more against many: five weeks against a million.\n\n"
            f"**Recommendation.** {_recommendation()}"
        ),
        Figure(
            "sybils-side-by-side", "Honest stake over the attacker's, and worst delay over the number of Sybils", figure
        ),
        Heading("Stakes"),
        Paragraph("Attacker's and honest stake in ETH; one claim a Sybil, against a true root claim."),
        Table(["Sybils", *games, "tournament, days", "Dave, days"], rows),
        Heading("The bound, by what the attacker locks"),
        Paragraph(
            "In this game, at the default bonds: one claim for each bond, every one of which is answered. Stakes come "
            "back; the gas is paid at 30 gwei, and the attacker's bonds repay it with the truth's victory. Beside it a "
            f"tournament by Dave's rules with a bond of {TOURNAMENT_BOND_ETH:g} ETH, in which a player's part of a "
            "match takes half the gas of a whole dispute."
        ),
        Table(
            [
                "attacker locks, ETH",
                "honest stake",
                "honest gas",
                "delay, days",
                "tournament: stake",
                "gas",
                "delay, days",
            ],
            [_bound_row(10**power, clocks_days) for power in range(7)],
        ),
    ]


def _bound_row(attack_eth: int, delay_days: float) -> list[str]:
    """Honest stake, gas and delay against an attacker that locks so much: in this game, and in a tournament."""
    first_eth, answer_eth = (DEFAULT.bond_wei(depth, DEPTH) / ETHER for depth in (1, 2))
    claims = attack_eth / first_eth
    entries = int(attack_eth / TOURNAMENT_BOND_ETH) + 1
    return [
        f"{attack_eth:,}",
        f"{claims * answer_eth:,.2f}",
        f"{_gas_eth(attack_eth):,.2f}",
        f"{delay_days:.1f}",
        f"{TOURNAMENT_BOND_ETH:g}",
        f"{_tournament_gas_eth(entries):,.1f}",
        f"{dave.longest_days(entries):.4g}",
    ]


def _gas_eth(attack_eth: int) -> float:
    """What answering so much in this game costs the honest side in gas."""
    claims = attack_eth / DEFAULT.bond_wei(1, DEPTH) * ETHER
    return claims * MEASURED.countering(newcomer=False) * ASSUMED_FEE_WEI / ETHER


def _tournament_gas_eth(entries: int) -> float:
    """What the honest side pays for gas in a tournament of so many claims."""
    match_eth = dispute_gas(Depths(split=SPLIT, max=DEPTH)) / 2 * ASSUMED_FEE_WEI / ETHER
    return dave.rounds(entries) * (dave.GROUP - 1) * match_eth


def _recommendation() -> str:
    """What to build next."""
    return (
        "A tournament by Dave's rules is worth building as a second game type, for requests whose value exceeds what "
        "honest parties can be expected to own together: against an attacker of a million ether it asks them for one "
        f"bond and some {_tournament_gas_eth(10**6):.0f} ETH of gas, and this game for more than a million. It does "
        "not replace this game. Its "
        "answer comes after 16 days against one liar and 35 against a million ether, here after 8.5; and a claim in it "
        "is a commitment to the whole computation, which costs more than the state roots that a claim needs here. The "
        "line between them is the honest side's purse: what can be won by a false answer, against what its defenders "
        "can lock."
    )
