"""The verifier's dilemma with and without attention tests."""

from __future__ import annotations

from opml_dispute.simulation import attention
from opml_dispute.simulation.document import Block, Figure, Heading, Paragraph, Table
from opml_dispute.simulation.figures import Panel, Series, draw

STAKES = attention.Stakes(check_cost=0.001, catch_reward=0.08, lie_gain=1.0, lie_loss=0.106)
"""A check costs 0.001 ETH; a caught lie pays the root bond less the burnt fifth; the liar loses its root bond."""

TEST_SHARES = (0.0, 0.005, 0.0125, 0.025, 0.05, 0.1)
CHECKERS = (1, 3)
PROPOSALS, SEEDS = 20_000, 4


def report() -> list[Block]:
    """The document."""
    threshold = attention.threshold(STAKES)
    rows, lines = [], []
    for checkers in CHECKERS:
        undetected = []
        for share in TEST_SHARES:
            seasons = [
                attention.play(STAKES, proposals=PROPOSALS, checkers=checkers, test_share=share, seed=seed)
                for seed in range(SEEDS)
            ]
            through = sum(season.undetected_share for season in seasons) / SEEDS
            undetected.append(through)
            lies = sum(season.lies for season in seasons) / (SEEDS * PROPOSALS)
            checks = sum(season.checks for season in seasons) / (SEEDS * PROPOSALS * checkers)
            paid = sum(season.tests_paid for season in seasons) / (SEEDS * PROPOSALS)
            shares = [f"{100 * share:g} %", f"{100 * lies:.2f} %", f"{100 * through:.2f} %", f"{100 * checks:.0f} %"]
            rows.append([f"{checkers}", *shares, f"{paid:.5f}"])
        label = "one checker" if checkers == 1 else f"{checkers} checkers"
        lines.append(Series(label, [100 * share for share in TEST_SHARES], [100 * each for each in undetected]))
    lies, checked = attention.equilibrium(STAKES)
    figure = draw([Panel("Lies delivered", "tests, % of proposals", "% of proposals", lines)], columns=1)
    return [
        Heading("Attention tests", 1),
        Paragraph(
            "**Question.** Checking costs, and finds nothing while all are honest. Do known-wrong proposals, "
            "made at random "
            "and rewarded when caught, keep checkers at work, and what do they cost?"
        ),
        Heading("What follows"),
        Paragraph(
            f"A lone checker that counts its money checks if more than {100 * threshold:.2f} % of the proposals are "
            "wrong, lies "
            f"and tests together. Without tests the balance is at {100 * lies:.2f} % lies, of which "
            f"{100 * checked:.0f} % are "
            "caught; learners do not hold that balance but swing around it, and let through far more.\n\n"
            f"With tests at some four times the threshold, lying ends: it is caught before it pays. The price is about "
            f"{4 * threshold * STAKES.catch_reward:.4f} ETH a proposal, four times the cost of one check. Three "
            "checkers "
            "share the rewards, so each of them checks half of the proposals, which together is enough; below that "
            "share "
            "of tests, more checkers let through nearly as many lies as one.\n\n"
            "**Recommendation.** Pay it where a request is worth more than some hundred times a check; below, let "
            "the requester, "
            "who knows what the answer is worth, check by itself or not at all. Tests are an option of a deployment, "
            "not a default: `propose --attention-test` makes one, and the bond of its claim is the reward."
        ),
        Figure("attention-tests", "Wrong answers delivered, over the share of tests", figure),
        Heading("Results"),
        Table(
            ["checkers", "tests", "lies", "lies delivered", "proposals checked, each", "tests paid, ETH a proposal"],
            rows,
        ),
    ]
