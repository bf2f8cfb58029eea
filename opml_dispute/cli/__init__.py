"""
The command line: `opml-dispute COMMAND`.

Each module holds one command or command group. `output` prints, `options` holds the options that commands share,
`session` turns those options into a connected system. Commands are thin: the actions are in the package `operator`,
which the demo uses in the same way.

`main` is the entry point. It turns an `OpmlError` into one sentence and a hint, an invalid command line likewise (exit
code 2), and any other exception, which is a bug of this package, into a short report with the traceback in a file.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from opml_dispute.cli.command_line import LazyGroup
from opml_dispute.cli.output import CannotPrint, Output
from opml_dispute.errors import OpmlError
from opml_dispute.printable import lines, use_substitutes

COMMANDS = {
    "admin": ("admin:admin", "Act as guardian or owner of a deployment."),
    "agent": ("agent:agent", "Propose, dispute, settle and deliver unattended."),
    "cannon": ("cannon:cannon", "Run the OP Stack's cannon commands on this engine."),
    "challenge": ("dispute:challenge", "Attack a root claim if it is wrong."),
    "demo": ("demo.command:demo", "Watch two disputes on a fresh local chain."),
    "deploy": ("deploy:deploy", "Deploy the whole system on any chain."),
    "deposit": ("deposit:deposit", "Show or take back what was deposited for demanded bonds."),
    "devnet": ("devnet:devnet", "Start a local chain with everything deployed."),
    "doctor": ("doctor:doctor", "Check tools, chain, deployment and key."),
    "explore": ("explore:explore", "Look at games in a browser, live."),
    "finalize": ("delivery:finalize", "Deliver the output of a request."),
    "input": ("input:input_group", "Refute wrong inputs in blobs, and take bonds on right ones back."),
    "list": ("show:list_games", "List the games, newest first."),
    "model": ("model:model", "Inspect, register and list models."),
    "monitor": ("monitor:monitor", "Watch all games of a deployment, without a key."),
    "move": ("dispute:move", "Make one chosen move."),
    "output": ("delivery:prove_output", "Prove a part of an output by its root."),
    "preflight": ("preflight:preflight_command", "Check that a game can be defended from this computer."),
    "propose": ("propose:propose", "Compute and post a request's answer, with a bond."),
    "request": ("request:request", "Ask for an inference."),
    "resolve": ("resolve:resolve", "Settle claims, a game and its bonds."),
    "respond": ("dispute:respond", "Make every move that is due in a game."),
    "run": ("run:run", "Run a model on this computer."),
    "serve-rollup": ("serve_rollup:serve_rollup", "Answer op-challenger about one request."),
    "show": ("show:show", "Show a game."),
    "simulate": ("simulate:simulate", "Play a scenario many times, and report."),
    "vm": ("vm.command:vm", "Run, inspect and prove steps of the fault proof VM."),
}
"""Each command's module and help; the module is loaded when the command is called, so that help does not wait for
it."""

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
_STDERR = 2
"""The last of the standard streams' numbers."""


@click.group(
    cls=LazyGroup,
    commands_at=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="opml-dispute", prog_name="opml-dispute")
@click.option("--debug", is_flag=True, envvar="OPML_DEBUG", help="Show the traceback of an unexpected error.")
def cli(debug: bool) -> None:
    """
    Dispute machine-learning results on a blockchain.

    A proposer posts the answer of a model. A challenger who computes another answer disputes it, and the contracts
    execute the one machine instruction at which the two computations differ. Try: opml-dispute demo
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        use_substitutes(stream)
    # SIGTERM is handled like Ctrl-C, so that a local chain which this process started is stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = execute(sys.argv[1:] if arguments is None else list(arguments))
    sys.exit(_flush() or code)


def execute(arguments: list[str]) -> int:
    """Run one command; the exit code. Errors are on stderr, and with --json also an object on stdout."""
    output = Output(as_json="--json" in arguments)
    try:
        result = cli.main(arguments, prog_name="opml-dispute", standalone_mode=False)
    except BrokenPipeError:
        return 1  # the reader of stdout has closed it, so an error could not be reported there
    except CannotPrint as error:
        Output(as_json=False).error(error)
        return error.exit_code
    except OpmlError as error:
        return _refuse(output, error)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _refuse(output, _as_refusal(error))
    except (KeyboardInterrupt, click.Abort):
        output.say("Stopped. The chain has all that was done: run the command again to go on.")
        return EXIT_INTERRUPTED
    except OSError as error:
        if "No usable temporary directory" in str(error.strerror):
            hint = "free some space, or name a folder that can be written to in the variable TMPDIR"
            return _refuse(output, OpmlError("no folder for temporary files can be written to", hint=hint))
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EBADF):
            _report_bug(error, output, show=_is_debugging(arguments))
            return EXIT_BUG
        return _refuse(
            output, OpmlError(f"cannot write: {error.strerror}", hint="check the disk, and where output goes")
        )
    except MemoryError:
        return _refuse(output, OpmlError("this takes more memory than there is", hint="use a smaller model or input"))
    except Exception as error:
        _report_bug(error, output, show=_is_debugging(arguments))
        return EXIT_BUG
    return result if isinstance(result, int) else 0


def _is_debugging(arguments: list[str]) -> bool:
    return "--debug" in arguments or bool(os.environ.get("OPML_DEBUG"))


def _refuse(output: Output, error: OpmlError) -> int:
    """Print an error and answer its exit code."""
    try:
        output.error(error)
    except (OSError, CannotPrint):
        return error.exit_code  # the error is on stderr
    return error.exit_code


def _as_refusal(error: click.ClickException) -> OpmlError:
    """Click's usage error in the form of this package's errors."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "opml-dispute"
    refusal = OpmlError(error.format_message(), hint=f"see: {command} --help")
    refusal.exit_code = error.exit_code
    return refusal


def _open_closed_streams() -> None:
    """
    Give a process that was started without standard streams (`>&-`) the null device in their place.

    Otherwise the next file that is opened takes the number of the missing stream, and receives the output.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        continue
    os.close(opened)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding="utf-8", line_buffering=True))


def _flush() -> int:
    """Flush stdout; 1 if that fails, and then Python prints nothing about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _report_bug(error: Exception, output: Output, *, show: bool) -> None:
    """Report an unexpected exception: its traceback goes into a file."""
    from opml_dispute.home import home

    text = "".join(traceback.format_exception(error))
    if show:
        print(lines(text), file=sys.stderr)
    try:
        path = home() / "crash.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        where = f"the traceback is in {path}"
    except (OSError, OpmlError):
        where = "run it again with --debug for the traceback"
    refusal = OpmlError(f"unexpected {type(error).__name__}: {error}", hint=f"this is a bug of opml-dispute: {where}")
    _refuse(output, refusal)
