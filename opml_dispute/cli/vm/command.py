"""
`opml-dispute vm`: run, inspect and prove steps of the fault proof VM.

    vm run     run a program to its end
    vm trace   show each step from one state to another
    vm state   show a state; save it
    vm prove   show the witness of a step; let the contract verify it
    vm diff    what differs between two states

Each command has a module. `selection` has the options that select a run, `opening` opens the run, and `source` is an
opened run. Step k is the state after k steps; the program starts in step 0.
"""

from __future__ import annotations

import click

from opml_dispute.cli.command_line import LazyGroup

COMMANDS = {
    "diff": ("vm.diff:diff", "Show what differs between two states."),
    "prove": ("vm.prove:prove", "Show the witness of a step."),
    "run": ("vm.run:run", "Run a program until it exits."),
    "state": ("vm.state:state", "Show a state."),
    "trace": ("vm.trace:trace", "Show each step from one state to another."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
def vm() -> None:
    """Run, trace, prove and compare programs in the fault proof VM."""
