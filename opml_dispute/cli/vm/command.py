"""
`opml-dispute vm`: look into the machine that disputes end in.

    vm run     a program, to its end
    vm trace   what each step did, from one step to another
    vm state   everything about one state; may save it
    vm prove   the witness of one step, and what the contract says to it
    vm diff    what differs between two states

Each is a file of its own. Which run a command is about: `selection` has the options, `opening` finds the run, and
`source` is what it finds. Step k is the state after k steps; the program starts in step 0.
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
