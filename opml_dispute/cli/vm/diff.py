"""`opml-dispute vm diff`: show the differences between two states."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import click
from rich.text import Text

from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import json_option
from opml_dispute.cli.output import Output
from opml_dispute.cli.vm.opening import open_file, open_source
from opml_dispute.cli.vm.selection import RunSelection, run_options
from opml_dispute.cli.vm.source import BadSource, Source
from opml_dispute.cli.vm.words import difference_fact
from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.explain import compare

_DIFFERENCES: Final = 100


@click.command(cls=Command)
@run_options(files="two")
@click.option(
    "--step",
    "steps",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="K",
    help="The step of each state; given twice.",
)
@click.option("--all", "show_all", is_flag=True, help=f"Show all differences, not {_DIFFERENCES} at most.")
@json_option
def diff(run: RunSelection, paths: Sequence[Path], steps: tuple[int, ...], show_all: bool, output: Output) -> int:
    """
    Show what differs between two states; exits with 1 if anything does.

    It compares two steps of one run, two files (at --step, or their first states), or with --fault a faulty run with
    the honest one. Example: opml-dispute vm diff before.state after.state
    """
    one, other = _two_states(run, paths, steps)
    found = compare(one, other)
    limit = None if show_all else _DIFFERENCES
    count = 0
    for difference in islice(found, limit):
        count += 1
        output.show(Text(str(difference)))
        output.fact(**difference_fact(difference))
    more = next(found, None) is not None
    hashes = [machine.state_hash() for machine in (one, other)]
    if count == 0:
        same = hashes[0] == hashes[1]
        output.say("The states are the same." if same else "The states differ in their version only.")
    else:
        output.say(
            f"{count:,} {'difference' if count == 1 else 'differences'}" + (", and more (--all)" if more else "")
        )
    output.fact(differences=count, more=more, state_hashes=hashes)
    return int(hashes[0] != hashes[1])


def _two_states(run: RunSelection, paths: Sequence[Path], steps: tuple[int, ...]) -> tuple[Machine, Machine]:
    if len(paths) > 2:
        raise BadSource(f"{len(paths)} files were given", hint="give one or two")
    if paths and run.game is not None:
        raise BadSource("both a file and --game were given", hint="give one of them")
    if len(paths) == 2:
        if len(steps) not in {0, 1, 2}:
            raise BadSource(
                f"--step was given {len(steps)} times", hint="give it once for both files, or once for each"
            )
        sources = [open_file(run, path) for path in paths]
        wanted = steps if len(steps) == 2 else steps * 2
        if not wanted:
            return sources[0].machine, sources[1].machine
        return sources[0].at(wanted[0]), sources[1].at(wanted[1])
    source = open_file(run, paths[0]) if paths else open_source(run)
    if source.fault is not None and len(steps) == 1:
        honest = Source(source.name, source.machine, source.preimages)
        return honest.at(steps[0]), source.at(steps[0])
    if len(steps) != 2:
        raise BadSource(
            f"--step was given {len(steps)} times; two states are compared",
            hint="give --step twice, or two files, or --fault and --step once",
        )
    return source.at(steps[0]), source.at(steps[1])
