"""Sybils against four games: what the honest side must stake, and how late the truth is."""

from __future__ import annotations

from opml_dispute.game.bond import OP_STACK, required_bond_wei
from opml_dispute.simulation.accounts import ETHER
from opml_dispute.simulation.document import Block, Figure, Heading, Paragraph, Table
from opml_dispute.simulation.figures import Panel, Series, draw
from opml_dispute.simulation.peers import bold, op_stack, tournament
from opml_dispute.simulation.studies.bonds import DEFAULT

LOG2_SYBILS = (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
DEPTH, SPLIT = 26, 4
REACTION_DAYS = 1 / 144
TOURNAMENT_BOND_ETH = 1.0


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
    sybils = [float(2**log2) for log2 in LOG2_SYBILS]
    games = {"this project": ours, "OP Stack": published, "BoLD": arbitrum, "plain tournament": knockout}
    capital = [Series(name, [a for a, _ in found], [h for _, h in found]) for name, found in games.items()]
    delay = [
        Series("this project", sybils, [clocks_days] * len(sybils)),
        Series("OP Stack", sybils, [op_days] * len(sybils)),
        Series("BoLD", sybils, bold_days),
        Series("plain tournament", sybils, knockout_days),
        Series("Dave, as published", [2.0**k for k in (4, 8, 16)], [tournament.DAVE_DAYS[k] for k in (4, 8, 16)]),
    ]
    rows = []
    for place, log2 in enumerate(LOG2_SYBILS):
        stakes = [f"{found[place][0]:,.4g} / {found[place][1]:,.4g}" for found in games.values()]
        rows.append([f"2^{log2}", *stakes, f"{knockout_days[place]:.0f}"])
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
            "wins if the "
            "honest side can lock 1.02 times what the attacker locks**, all of it returned with four fifths of the "
            "attacker's. "
            "In the OP Stack's game the factor is 1.095 a claim.\n\n"
            "BoLD needs a sixth of the attacker's stake beyond its first 3,600 ETH, at nearly constant delay. A "
            "tournament needs "
            "one bond, at a delay that grows with the logarithm: from two Sybils on a plain one is later than "
            "this game, Dave "
            "as published from 16 on.\n\n"
            "**Recommendation.** A tournament game type is worth building next for requests whose value exceeds what "
            "honest "
            "parties can be expected to own together: there the choice is between a later truth and none. For "
            "answers worth less "
            "than that, the present game is sooner. The bound above says which case a request is."
        ),
        Figure(
            "sybils-side-by-side", "Honest stake over the attacker's, and worst delay over the number of Sybils", figure
        ),
        Heading("Stakes"),
        Paragraph("Attacker's and honest stake in ETH; one claim a Sybil, against a true root claim."),
        Table(["Sybils", *games, "tournament, days"], rows),
    ]
