"""`opml-dispute demo`: two disputes on a local chain."""

from __future__ import annotations

import time

import click
from rich.console import Console

from opml_dispute.cli.command_line import Command, Number, expect_unused
from opml_dispute.cli.demo.stage import Stage
from opml_dispute.cli.demo.stories import DemoPlayer, result_facts
from opml_dispute.cli.demo.view import LiveView, PlainView
from opml_dispute.cli.options import json_option
from opml_dispute.cli.output import Output

QUESTION = "Is the bridge open?"
"""The sample language model knows the answer by heart."""
SAMPLES = 360
"""The number of held-out digits in the package."""


@click.command(cls=Command)
@click.option(
    "--sample",
    type=click.IntRange(0, SAMPLES - 1),
    default=7,
    show_default=True,
    help="The held-out digit of the first dispute; the second takes the next one.",
)
@click.option(
    "--story",
    type=click.Choice(["digits", "language"]),
    default="digits",
    show_default=True,
    help="What is disputed: a digit that is read, twice, or a language model's answer.",
)
@click.option("--seed", type=click.IntRange(0), default=2, show_default=True, help="Which bit flips.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The local chain's port. Default: a free one.")
@click.option("--plain", is_flag=True, help="Print sentences instead of the live picture.")
@click.option(
    "--pace", type=Number(0, 3_600), metavar="S", help="Pause after each transaction. Default: 0.1 live, else 0."
)
@json_option
def demo(sample: int, story: str, seed: int, port: int, plain: bool, pace: float | None, output: Output) -> None:
    """
    Watch two disputes on a fresh local chain: a lying proposer is caught, a lying challenger fails.

    With --story language it is one dispute, about an answer in which a liar flips one bit; scripts/llm-dispute plays
    it with other models and prompts. With --json, the last lines are one JSON object for each dispute.

    Example: opml-dispute demo --sample 12
    """
    if story == "language":
        expect_unused("belongs to the story about digits", ["sample", "plain", "pace"])
        _language(seed, port, output)
        return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    live = console.is_terminal and not plain
    view = LiveView(console) if live else PlainView(console)
    started = time.perf_counter()
    results = []
    with Stage.open(port=port) as stage, view:
        player = DemoPlayer(stage, view, seed=seed, pace_s=(0.1 if live else 0.0) if pace is None else pace)
        results.append(player.lying_proposer(sample))
        results.append(player.lying_challenger((sample + 1) % SAMPLES))
    output.say(f"Both disputes took {time.perf_counter() - started:.1f} s, chain and contracts included.")
    for result in results:
        output.fact(**result_facts(result))


def _language(seed: int, port: int, output: Output) -> None:
    """A liar's answer of the sample language model is taken down to one instruction."""
    # Not above: it takes the readers of language models, which the other story does without.
    from opml_dispute.cli.demo.language import dispute_an_answer
    from opml_dispute.models import LETTERS

    output.say(f"{LETTERS.stem} is asked: {QUESTION}")
    with Stage.open(port=port) as stage:
        result = dispute_an_answer(
            stage, LETTERS, QUESTION, chat=False, tokens=32, lie_at=17, seed=seed, tell=output.say
        )
    output.say(f"The {result.winner} wins after {result.moves} moves; {sum(result.gas.values()):,} gas in all.")
    output.fact(story="language", **vars(result))
