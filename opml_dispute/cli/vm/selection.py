"""
The options that select the VM run of a `vm` command.

`run_options` adds the options to a command and passes it a `RunSelection`; `opening` opens the run. A run is one of:

- a program (ELF), with pre-images given as files and local data,
- a state saved by `vm run --save` or `vm state --save` (or by the OP Stack's `cannon`), packed or not,
- with --node, the guest's run of one node of an inference: exactly the run that a dispute about that node examines,
- with --node and a saved state, that run from the saved state on; the options supply the tensors, which the file lacks,
- with --game, the honest run of a claim of a game on the chain; the claim has a step and a value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from opml_dispute.cli.command_line import expect_unused
from opml_dispute.cli.options import ChainOptions, FileName, chain_options, input_options
from opml_dispute.cli.vm.source import BadSource
from opml_dispute.model.files import Binding, parse_binding

F = TypeVar("F", bound=Callable[..., Any])

_PREIMAGE_HELP = "Data that the program may request by Keccak-256 or SHA-256; may be repeated."


@dataclass(frozen=True)
class RunSelection:
    """Command-line options that select a VM run; `opening.open_source` resolves them."""

    file: Path | None
    ml: bool | None
    """None if neither option was given: programs then run with the extension, and a saved state by its version."""
    preimages: tuple[Path, ...]
    locals: tuple[str, ...]
    node: int | None
    model: Path | None
    dims: tuple[str, ...]
    constants: tuple[str, ...]
    max_sizes: tuple[str, ...]
    seed_input: str | None
    inputs: tuple[str, ...]
    sample: int | None
    disputed: str | None
    fault: str | None
    game: str | None
    claim: int | None
    input_image: Path | None
    chain: ChainOptions

    def binding(self) -> Binding:
        """What is decided about the node's model when it is compiled. Raises as `parse_binding`."""
        return parse_binding(self.dims, self.constants, self.max_sizes, self.seed_input)


def run_options(*, files: str = "one") -> Callable[[F], F]:
    """
    The options that select a run; the command gets `run`.

    `files`: "one" for a single file, "two" for up to two (the command gets both as `paths`).
    """

    def decorate(command: F) -> F:
        @click.option("--ml/--base", default=None, help="Run the program with (default) or without the ML extension.")
        @click.option("--preimage", "preimages", multiple=True, type=FileName(), metavar="FILE", help=_PREIMAGE_HELP)
        @click.option("--local", "locals_", multiple=True, metavar="N=HEX", help="Local pre-image N; may be repeated.")
        @click.option(
            "--node",
            type=click.IntRange(0),
            metavar="I",
            help="The guest's run of node I of a model, instead of a file.",
        )
        @click.option(
            "--model", type=FileName(), metavar="FILE", help="With --node: the ONNX file. Default: the sample model."
        )
        @click.option(
            "--dim", "dims", multiple=True, metavar="NAME=N", help="With --node: the size of a symbolic dimension."
        )
        @click.option(
            "--constant",
            "constants",
            multiple=True,
            metavar="NAME=VALUE",
            help="With --node: the value of a fixed input.",
        )
        @click.option(
            "--max-size",
            "max_sizes",
            multiple=True,
            metavar="NAME=N",
            help="With --node: room for a tensor sized by data.",
        )
        @click.option("--seed-input", metavar="NAME", help="With --node: the input that random numbers are drawn from.")
        @input_options
        @click.option(
            "--disputed-root",
            "disputed",
            metavar="HASH",
            help="With --node: the disputed state root. Default: the right one.",
        )
        @click.option(
            "--fault", metavar="I:STEP:PLACE.BIT", help="With --node: a faulty run, with one bit flipped at a step."
        )
        @click.option(
            "--game", metavar="ADDRESS", help="The run that a claim of this game is about, instead of a file."
        )
        @click.option(
            "--claim",
            type=click.IntRange(0),
            metavar="N",
            help="With --game: the claim. Default: the newest about the VM.",
        )
        @click.option(
            "--input-image",
            type=FileName(),
            metavar="FILE",
            help="With --game: the input image, if the request gives its root only.",
        )
        @chain_options
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            ml: bool | None,
            preimages: tuple[Path, ...],
            locals_: tuple[str, ...],
            node: int | None,
            model: Path | None,
            dims: tuple[str, ...],
            constants: tuple[str, ...],
            max_sizes: tuple[str, ...],
            seed_input: str | None,
            inputs: tuple[str, ...],
            sample: int | None,
            disputed: str | None,
            fault: str | None,
            game: str | None,
            claim: int | None,
            input_image: Path | None,
            chain: ChainOptions,
            file: Path | None = None,
            **kwargs: Any,
        ) -> Any:
            if game is None and not kwargs.get("deployed"):
                expect_unused("counts only together with --game or --deployed", ["rpc_url", "deployment"])
            run = RunSelection(
                file=file,
                ml=ml,
                preimages=preimages,
                locals=locals_,
                node=node,
                model=model,
                dims=dims,
                constants=constants,
                max_sizes=max_sizes,
                seed_input=seed_input,
                inputs=inputs,
                sample=sample,
                disputed=disputed,
                fault=fault,
                game=game,
                claim=claim,
                input_image=input_image,
                chain=chain,
            )
            return command(*args, run=run, **kwargs)

        if files == "two":
            return click.argument("paths", nargs=-1, metavar="[FILE [FILE]]", type=FileName())(wrapped)  # type: ignore[return-value]
        return click.argument("file", required=False, type=FileName())(wrapped)  # type: ignore[return-value]

    return decorate


def expect_none(owner: str, options: Mapping[str, object]) -> None:
    """Raises `BadSource` if one of these options, which count only together with `owner`, was given."""
    for name, value in options.items():
        if value not in (None, ()):
            raise BadSource(f"{name} was given, but belongs to {owner}", hint=f"leave {name} out, or give {owner}")
