"""
The command line: `opml-dispute COMMAND`.

A file a command group. `output` is how commands talk, `options` what they share, `session` turns those options into a
connected system. Commands are thin: what they do is in the package `operator`, which the demo uses in the same way.

`main` is the entry point. It turns an `OpmlError` into one sentence and a hint, and any other exception, which is a
bug of ours, into a short report with the traceback in a file.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from opml_dispute.cli.output import Output
from opml_dispute.errors import OpmlError

COMMANDS = {
    "challenge": ("dispute:challenge", "Attack a root claim if it is wrong."),
    "demo": ("demo.command:demo", "Watch two disputes on a fresh local chain."),
    "deploy": ("deploy:deploy", "Deploy the whole system on any chain."),
    "devnet": ("devnet:devnet", "A local chain with everything deployed."),
    "doctor": ("doctor:doctor", "Check tools, chain, deployment and key."),
    "finalize": ("request:finalize", "Deliver the output of a request."),
    "list": ("show:list_games", "List the games, newest first."),
    "model": ("model:model", "Inspect, register and list models."),
    "move": ("dispute:move", "Make one move by hand."),
    "propose": ("request:propose", "Answer a request, with a bond."),
    "request": ("request:request", "Ask for an inference."),
    "resolve": ("dispute:resolve", "Settle claims, a game and its bonds."),
    "respond": ("dispute:respond", "Make every move owed in a game."),
    "run": ("run:run", "Run a model here."),
    "show": ("show:show", "Show a game."),
    "simulate": ("simulate:simulate", "Play a scenario many times, and report."),
    "vm": ("vm.commands:vm", "Look into the machine that disputes end in."),
}
"""Where each command is, and what it does; it is loaded when it is called, so that help does not wait for libraries."""

EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group that imports a command when somebody asks for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"opml_dispute.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="opml-dispute", prog_name="opml-dispute")
@click.option("--debug", is_flag=True, envvar="OPML_DEBUG", help="Show the traceback of an unexpected error.")
def cli(debug: bool) -> None:
    """
    Dispute machine-learning results on a blockchain.

    A proposer posts what a model answers; whoever computes something else challenges it, and the chain finds the
    one machine instruction on which they part. Try: opml-dispute demo
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    # Whoever ends us politely gets what Ctrl-C gets: a local chain that we started is stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:] if arguments is None else list(arguments)))


def execute(arguments: list[str]) -> int:
    """Run one command; the exit code. Errors are on stderr, and with --json also an object on stdout."""
    output = Output(as_json="--json" in arguments)
    try:
        result = cli.main(arguments, prog_name="opml-dispute", standalone_mode=False)
    except OpmlError as error:
        output.error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.say("Stopped. Nothing is lost: the chain has all that was done; run the command again to go on.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our stdout has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        _report_bug(error, output, show="--debug" in arguments or bool(os.environ.get("OPML_DEBUG")))
        return EXIT_BUG
    return result if isinstance(result, int) else 0


def _report_bug(error: Exception, output: Output, *, show: bool) -> None:
    """An exception that nobody foresaw: keep its traceback where it does not frighten anyone."""
    from opml_dispute.home import home

    text = "".join(traceback.format_exception(error))
    if show:
        print(text, file=sys.stderr)
    path = home() / "crash.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        where = f"the traceback is in {path}"
    except OSError:
        where = "run it again with --debug for the traceback"
    output.error(OpmlError(f"unexpected {type(error).__name__}: {error}", hint=f"this is a bug of ours: {where}"))
