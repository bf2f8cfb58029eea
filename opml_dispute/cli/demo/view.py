"""
The views of the demo: `LiveView` in a terminal, `PlainView` as sentences.

Both have the same content. The live view keeps a picture up to date: the digit, the two answers, the range still in
dispute, the last events, and each party's transactions and bonds.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from opml_dispute.actors.disputed_range import DisputedRange, disputed_range, frontier
from opml_dispute.chain.amounts import ether
from opml_dispute.cli.demo.digit import best_digit, draw_digit, draw_scores
from opml_dispute.cli.demo.stage import Party
from opml_dispute.cli.demo.stories import DecidedStep, StoryResult
from opml_dispute.cli.output import short
from opml_dispute.game.claim import Game
from opml_dispute.operator.intents import Done, Intent
from opml_dispute.printable import lines

BAR_WIDTHS = range(8, 57)
SCORE_WIDTHS = range(2, 17)
"""Widths of bars, which depend on the screen's width."""
TEXT_BESIDE_BAR = 48
"""Columns beside a bar: its name, a range of instructions, and gaps."""
NARROW = 80
"""Screens with fewer columns get shorter texts."""
LOG_LINES = range(2, 9)
"""Lines of the log, which depend on the screen's height."""
PICTURE_LINES = 23
"""Lines of the picture without the log."""
COLOURS = {"proposer": "magenta", "challenger": "cyan", "requester": "yellow", "deployer": "white"}


class PlainView:
    """A line for every event, for logs and where standard output is not a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last_range: DisputedRange | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(Text(lines(text)), style=style)

    def story_began(self, title: str, image: npt.NDArray[np.float32], label: int) -> None:
        self.last_range = None
        self._print("")
        self._print(f"== {title} ==", "bold")
        for line in draw_digit(image):
            self._print("   " + line)
        self._print(f"An image whose label is {label}.")

    def message(self, sentence: str) -> None:
        self._print(sentence)

    def answers_known(self, right: npt.NDArray[np.float32], told: npt.NDArray[np.float32], liar: str) -> None:
        self._print(f"The model answers {best_digit(right)}; the {liar} says {best_digit(told)}.")

    def transaction_announced(self, party: Party, intent: Intent) -> None:
        bond = f"   bond {ether(intent.value_wei)}" if intent.value_wei and intent.kind != "request" else ""
        self._print(f"{party.role}: {intent.will}{bond}", COLOURS[party.role])

    def transaction_mined(self, party: Party, done: Done) -> None:
        self._print(f"    {done_words(done)}", "dim")

    def game_changed(self, game: Game, node_steps: int) -> None:
        disputed = disputed_range(game, frontier(game))
        if game.in_progress and disputed != self.last_range:
            self._print(f"    in dispute: {disputed.sentence}")
        self.last_range = disputed

    def instruction_found(self, judged: DecidedStep) -> None:
        self._print(judged_words(judged), "bold")

    def story_ended(self, result: StoryResult) -> None:
        self.console.print(summary(result))


def done_words(done: Done) -> str:
    """The result of a transaction, in a line."""
    if done.receipt is None:
        return done.sentence
    return f"{done.sentence}   tx {short(done.receipt.hash)}   {done.receipt.gas_used:,} gas"


def judged_words(judged: DecidedStep) -> str:
    """The disputed instruction, in a line."""
    place = f"node {judged.node_index} ({judged.op}), instruction {judged.step:,}"
    return f"The dispute has reached {place}: {judged.instruction}"


def summary(result: StoryResult, *, measured: bool = True) -> RenderableType:
    """The outcome of a story; with `measured`, also its time and each party's gas."""
    table = RichTable.grid(padding=(0, 2))
    table.add_row("winner", Text.assemble((result.winner, "bold"), f" ({result.status})"))
    table.add_row("the lie", f"{result.told_digit} instead of {result.right_digit}; --fault {result.fault}")
    table.add_row("judged", Text(f"node {result.node} ({result.op}), step {result.step:,}: {result.instruction}"))
    moves = f"{result.moves} moves in {result.transactions} transactions"
    table.add_row("moves", f"{moves}, {result.seconds:.1f} s" if measured else moves)
    if measured:
        table.add_row("gas", ", ".join(f"{role} {amount:,}" for role, amount in result.gas.items()))
    for role, staked_wei in result.bonds_wei.items():
        back_wei = result.paid_out_wei.get(role, 0)
        change = f"{'won' if back_wei >= staked_wei else 'lost'} {ether(abs(back_wei - staked_wei))}"
        table.add_row("bonds", f"{role} staked {ether(staked_wei)}, got {ether(back_wei)} back: {change}")
    if result.delivered is not None:
        table.add_row("delivered", f"the consumer contract holds the digit {result.delivered}")
    return Panel(table, title=f"{result.story}", title_align="left", border_style="green")


class LiveView(PlainView):
    """A picture that is redrawn at every event."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.width = console.width - 4  # the frame takes the other columns
        self.bar_width = _within(BAR_WIDTHS, self.width - TEXT_BESIDE_BAR)
        self.log_lines = min(max(console.height - PICTURE_LINES, LOG_LINES[0]), LOG_LINES[-1])
        self.log: deque[Text] = deque(maxlen=self.log_lines)
        self.title = ""
        self.digit: list[str] = []
        self.label = 0
        self.scores: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], str] | None = None
        self.game: Game | None = None
        self.node_steps = 0
        self.judged: DecidedStep | None = None
        self.parties: dict[str, Party] = {}
        self.live: Live | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _update(self) -> None:
        if self.live is not None:
            self.live.update(self._picture(), refresh=True)

    def _log(self, text: str, style: str = "") -> None:
        self.log.append(Text(text, style=style, overflow="ellipsis", no_wrap=True))
        self._update()

    def story_began(self, title: str, image: npt.NDArray[np.float32], label: int) -> None:
        self.title, self.digit, self.label = title, draw_digit(image), label
        self.scores = self.game = self.judged = None
        self.node_steps = 0
        self.parties.clear()
        self.log.clear()
        self.live = Live(console=self.console, auto_refresh=False, transient=False)
        self.live.start()
        self._update()

    def message(self, sentence: str) -> None:
        self._log(sentence)

    def answers_known(self, right: npt.NDArray[np.float32], told: npt.NDArray[np.float32], liar: str) -> None:
        self.scores = (right, told, liar)
        self._update()

    def transaction_announced(self, party: Party, intent: Intent) -> None:
        self.parties[party.role] = party
        self._log(f"{party.role}: {intent.will}", COLOURS[party.role])

    def transaction_mined(self, party: Party, done: Done) -> None:
        self._log(f"    {done_words(done)}", "dim")

    def game_changed(self, game: Game, node_steps: int) -> None:
        self.game, self.node_steps = game, node_steps or self.node_steps
        self._update()

    def instruction_found(self, judged: DecidedStep) -> None:
        self.judged = judged
        self._log(judged_words(judged), "bold")

    def story_ended(self, result: StoryResult) -> None:
        self._stop()
        self.console.print(summary(result))

    # ---- the picture ----

    def _picture(self) -> RenderableType:
        top = RichTable.grid(padding=(0, 3))
        top.add_row(Text("\n".join(self.digit)), *self._score_columns())
        parts: list[RenderableType] = [top, Text(""), self._brackets(), self._ledger()]
        shown: list[RenderableType] = list(self.log)
        shown += [Text("")] * (self.log_lines - len(shown))
        return Panel(Group(*parts, *shown), title=Text(self.title, style="bold"), border_style="blue")

    def _score_columns(self) -> list[Text]:
        if self.scores is None:
            return [Text(f"its label is {self.label}")]
        right, told, liar = self.scores
        is_narrow = self.width < NARROW
        names = ("model:", f"{liar}:") if is_narrow else ("the model answers", f"the {liar} says")
        # Beside the digit, two columns share the width; a line also has the digit's number and a percentage.
        bar_width = _within(SCORE_WIDTHS, (self.width - len(self.digit[0]) - 6) // 2 - 9)
        return [
            Text.assemble((f"{name} {best_digit(scores)}", "bold"), "\n", "\n".join(draw_scores(scores, bar_width)))
            for name, scores in zip(names, (right, told), strict=True)
        ]

    def _brackets(self) -> RenderableType:
        grid = RichTable.grid(padding=(0, 2))
        disputed = None if self.game is None else disputed_range(self.game, frontier(self.game))
        if self.judged is not None:
            node, step = self.judged.node_index, self.judged.step
            disputed = DisputedRange("FPVM", node, node + 1, step, step + 1)
        count = 1 if self.game is None else self.game.node_count
        low, high = (0, count) if disputed is None else (disputed.node_low, disputed.node_high)
        stretch = "" if self.game is None else _stretch("node", low, high, count)
        grid.add_row("graph", bracket_bar(low, high, count, self.bar_width), stretch)
        steps = 1 if self.game is None else self.game.depths.steps
        if disputed is not None and disputed.step_high is not None and disputed.step_high <= self.node_steps:
            steps = self.node_steps  # past the program's end there is no range to show
        if disputed is None or disputed.step_low is None or disputed.step_high is None:
            grid.add_row("machine", Text("·" * self.bar_width, style="dim"), "")
        else:
            bar = bracket_bar(disputed.step_low, disputed.step_high, steps, self.bar_width)
            grid.add_row("machine", bar, _stretch("instruction", disputed.step_low, disputed.step_high, steps))
        if self.judged is None:
            return Group(grid, Text(""))
        return Group(grid, Text.assemble("judged   ", (self.judged.instruction, "bold"), f" in {self.judged.op}"))

    def _ledger(self) -> RenderableType:
        gap = 1 if self.width < NARROW else 2
        grid = RichTable("", "transactions", "gas", "staked", box=None, padding=(0, gap), header_style="dim")
        for role in ("requester", "proposer", "challenger"):
            party = self.parties.get(role)
            if party is None:
                grid.add_row(Text(role, style=COLOURS[role]), "", "", "")
            else:
                tally = party.tally
                numbers = (str(tally.transactions), f"{tally.gas:,}", ether(tally.bonds_wei))
                grid.add_row(Text(role, style=COLOURS[role]), *numbers)
        return grid


def _within(limits: range, wanted: int) -> int:
    """The number in `limits` that is nearest to `wanted`."""
    return min(max(wanted, limits[0]), limits[-1])


def bracket_bar(low: int, high: int, whole: int, width: int = BAR_WIDTHS[-1]) -> Text:
    """
    A bar that marks the range low to high within the whole, with at least one mark.

    >>> bracket_bar(4, 8, 16, width=8).plain
    '--██----'
    """
    start = min(width - 1, low * width // whole)
    end = min(width, max(start + 1, -(-high * width // whole)))
    bar = Text("-" * start, style="dim")
    bar.append("█" * (end - start), style="bold red")
    bar.append("-" * (width - end), style="dim")
    return bar


def _stretch(noun: str, low: int, high: int, whole: int) -> str:
    if high - low == 1:
        return f"{noun} {low:,} of {whole:,}"
    return f"{high - low:,} of {whole:,} {noun}s"
