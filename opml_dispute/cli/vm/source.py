"""
Which run of the VM a `vm` command is about.

`run_options` decorates a command with a source and what belongs to it, and hands it a `VmRun`, which opens to a
`Source`: a machine at its first state, the pre-images it may ask for, and its states by number (`at`). A source is

- a program (ELF), with pre-images given as files and local data,
- a state saved by `vm run --save` or `vm state --save` (or by the OP Stack's `cannon`), maybe gzip'd,
- with --node, the guest on one node of an inference: exactly the run that a dispute about that node examines,
- with --node and a saved state, that run from the saved state on: the node gives it the tensors that a file leaves out,
- or, with --game, the honest run that a claim of a game on chain is about; the claim then has a step and a value.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from opml_dispute.actors.liars import Fault
from opml_dispute.chain.games import parse_address
from opml_dispute.cli.inputs import input_options, read_inputs
from opml_dispute.cli.options import ChainOptions, ModelOptions, chain_options
from opml_dispute.cli.session import open_case_of, open_system
from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.vm import Machine, Reason, VmError
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.state import BASE_VERSION, ML_VERSION, BadEncoding
from opml_dispute.fpvm.statefile import Subtree, load_state
from opml_dispute.game.rules import local_data, outputs_of
from opml_dispute.model.files import parse_dims, read_model
from opml_dispute.models import DIGITS
from opml_dispute.primitives import LocalIdent
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.split import SEGMENT_LOG2_SIZE
from opml_dispute.trace.vm import VmFault, VmStopped, VmTrace

F = TypeVar("F", bound=Callable[..., Any])

DEPTH: Final = 63
"""Of the tree over a run's steps: room for any run."""

"""Local pre-images of the guest."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ELF_MAGIC: Final = b"\x7fELF"
_STATE_VERSIONS: Final = {bytes([BASE_VERSION]), bytes([ML_VERSION])}
_MAX_FILE_BYTES: Final = 4 << 30


class BadSource(OpmlError):
    """It is not clear which run is meant, or a file of it cannot be read."""

    hint = "see: opml-dispute vm run --help"


class NoSuchStep(OpmlError):
    """A step that the run does not have."""


def way_out(reason: Reason, *, ml: bool) -> str:
    """What to do about a run that cannot go on, as a hint."""
    match reason:
        case Reason.UNKNOWN_PREIMAGE:
            return "give the data with --preimage FILE, or --local N=HEX"
        case Reason.UNKNOWN_MEMORY | Reason.WRONG_CONTENT:
            return "give the run's own --node I, --model FILE and --input: the tensors are not in a saved state"
        case Reason.UNSUPPORTED_INSTRUCTION | Reason.UNSUPPORTED_SYSCALL if not ml:
            return "if the program needs floating point or tensor calls, run it without --base"
        case Reason.OUT_OF_MEMORY:
            return "the program needs more memory than a machine is given here"
        case _:
            return "there is no next state, for anybody: docs/vm.md, No successor"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim on chain says about a run."""

    index: int
    step: int
    """The state it is about, by the number of steps; of a program that exits before, its last."""
    state_hash: bytes


@dataclass(frozen=True)
class Source:
    """One run of the VM."""

    name: str
    machine: Machine
    """At its first state; fork it, never run it."""
    preimages: dict[bytes, bytes] = field(default_factory=dict)
    """key -> data, of all that the machine was given."""
    fault: VmFault | None = None
    claimed: Claimed | None = None

    @cached_property
    def trace(self) -> VmTrace[Machine]:
        """The run's states; found once, then any is near."""
        return VmTrace(self.machine, depth=DEPTH, fault=self.fault)

    def at(self, step: int) -> Machine:
        """
        The machine after `step` steps, the caller's to run.

        Raises `NoSuchStep` before the first and past the last state, `VmStopped` where there is no next state.
        """
        first = self.machine.step
        if step < first:
            raise NoSuchStep(
                f"step {step:,} lies before the saved state, which is at step {first:,}",
                hint="give a later step, or the program instead of the saved state",
            )
        if step >= 1 << DEPTH:
            raise NoSuchStep(f"step {step:,} found, expected less than 2^{DEPTH}", hint="no run is that long")
        try:
            machine = self.trace.machine_at(step)
        except VmStopped as stopped:
            reason = getattr(stopped.cause, "reason", Reason.NONE)
            stopped.hint = f"{way_out(reason, ml=self.machine.ml)}; the last state is --step {stopped.step}"
            raise
        if machine.step != step:
            raise NoSuchStep(
                f"step {step:,} lies past the end: the program exits at step {machine.step:,}",
                hint=f"the last state is --step {machine.step}; {machine.step - 1} leads to it",
            )
        return machine


@dataclass(frozen=True, slots=True)
class _Node:
    """What the guest's run of one node begins with."""

    name: str
    locals: dict[bytes, bytes]
    """key -> data of its local pre-images."""
    segment: Subtree
    """The state of the inference before the node."""


@dataclass(frozen=True)
class VmRun:
    """The options of one command, unread."""

    file: Path | None
    ml: bool | None
    """None: nothing was said. Programs then run with the extension, a saved state as what it is."""
    preimages: tuple[Path, ...]
    locals: tuple[str, ...]
    node: int | None
    model: Path | None
    dims: tuple[str, ...]
    inputs: tuple[str, ...]
    sample: int | None
    disputed: str | None
    fault: str | None
    game: str | None
    claim: int | None
    input_image: Path | None
    chain: ChainOptions

    def open(self) -> Source:
        """The source that the options describe. Raises `BadSource`, and what reading its files raises."""
        given = {"a program": self.file, "--node": self.node, "--game": self.game}
        named = [name for name, value in given.items() if value is not None]
        if not named or (self.game is not None and len(named) > 1):
            raise BadSource(
                f"both {' and '.join(named)} were given" if named else "no program was named",
                hint="give an ELF file or a saved state; or --node I, --model and --input; or --game and --claim",
            )
        if self.file is not None:
            return self.open_file(self.file)
        return self._node_source() if self.game is None else self._game_source(self.game)

    def open_file(self, path: Path) -> Source:
        """A program, or a saved state; with --node, a state of that node's run."""
        self._expect_none("--game", {"--claim": self.claim, "--input-image": self.input_image})
        data = _read(path)
        if self.node is not None:
            return self._saved_node_source(path, data)
        self._expect_none(
            "--node or --game",
            {
                "--model": self.model,
                "--dim": self.dims,
                "--input": self.inputs,
                "--sample": self.sample,
                "--disputed-root": self.disputed,
                "--fault": self.fault,
            },
        )
        source = Source(str(path), self._machine(path, data))
        self._give_preimages(source)
        return source

    def _saved_node_source(self, path: Path, data: bytes) -> Source:
        """A state that was saved in a node's run, with what the node's run may ask for."""
        if data.startswith(_ELF_MAGIC):
            raise BadSource(
                "both a program and --node were given", hint="give one of them; --node goes with a saved state only"
            )
        self._expect_none("--node without a file", {"--fault": self.fault})
        self._expect_none("a program", {"--preimage": self.preimages, "--local": self.locals})
        node = self._open_node()
        source = Source(str(path), self._saved_machine(path, data, [node.segment]), node.locals)
        for key, value in source.preimages.items():
            source.machine.add_preimage(key, value)
        source.machine.add_subtree(node.segment.root, node.segment.log2_size, node.segment.blocks)
        return source

    @staticmethod
    def _expect_none(owner: str, options: Mapping[str, object]) -> None:
        for name, value in options.items():
            if value not in (None, ()):
                raise BadSource(f"{name} was given, but belongs to {owner}", hint=f"leave {name} out, or give {owner}")

    def _machine(self, path: Path, data: bytes) -> Machine:
        if data.startswith(_ELF_MAGIC):
            return Machine.from_elf(data, ml=self.ml is not False)
        return self._saved_machine(path, data, [])

    def _saved_machine(self, path: Path, data: bytes, contents: Sequence[Subtree]) -> Machine:
        if data[:1] not in _STATE_VERSIONS:
            raise BadSource(
                f"{path} starts with {data[:4].hex() or 'nothing'}: neither an ELF file nor a saved state",
                hint="give a 64-bit big-endian MIPS executable, or what vm run --save wrote",
            )
        try:
            machine = load_state(data, contents)
        except BadEncoding as error:
            raise BadSource(f"{path} is no whole state: {error}", hint="save it again with vm state --save") from None
        except VmError as error:
            if error.reason not in {Reason.UNKNOWN_MEMORY, Reason.WRONG_CONTENT}:
                raise
            raise BadSource(
                f"{path} is a state in a node's run, and the tensors of that node are not in the file",
                hint="give the run's own --node I, --model FILE and --input with it"
                if not contents
                else "it belongs to another node, model or input than those given",
            ) from None
        if self.ml not in {None, machine.ml}:
            found, asked = ("--ml", "--base") if machine.ml else ("--base", "--ml")
            raise BadSource(f"{asked} was given, but {path} is a state saved with {found}", hint=f"leave {asked} out")
        return machine

    def _give_preimages(self, source: Source) -> None:
        for path in self.preimages:
            data = _read_plain(path)
            # Which of its two names the program will use is not known here, so it gets both.
            source.preimages[b"\x02" + keccak256(data)[1:]] = data
            source.preimages[b"\x04" + hashlib.sha256(data).digest()[1:]] = data
        for text in self.locals:
            match = re.fullmatch(r"(\d+)=(?:0x)?((?:[0-9a-fA-F]{2})+)", text)
            if match is None or len(match[2]) > 64 or int(match[1]) >> 8 * 31:
                raise BadSource(f"cannot read --local {text!r}", hint="write NUMBER=HEX: 31 bytes at most, and 32")
            source.preimages[unlocalized_key(int(match[1]))] = bytes.fromhex(match[2])
        for key, data in source.preimages.items():
            source.machine.add_preimage(key, data)

    def _open_node(self) -> _Node:
        assert self.node is not None
        if self.ml is False:
            raise BadSource("--base was given, but the guest runs with the ML extension", hint="leave --base out")
        model = self.model or DIGITS
        program = read_model(model, parse_dims(self.dims))
        if not 0 <= self.node < program.node_count:
            raise BadSource(
                f"the model has no node {self.node}: it has {program.node_count}",
                hint=f"give --node 0 to --node {program.node_count - 1}",
            )
        inference = Inference(program, read_inputs(program.inputs, self.inputs, self.sample))
        start = inference.state_root(self.node)
        disputed = inference.state_root(self.node + 1) if self.disputed is None else _hash32(self.disputed)
        locals_: dict[bytes, bytes] = {
            unlocalized_key(LocalIdent.STARTING_ROOT): bytes(start),
            unlocalized_key(LocalIdent.DISPUTED_ROOT): bytes(disputed),
        }
        segment = Subtree(bytes(start), SEGMENT_LOG2_SIZE, inference.blocks_at(self.node))
        return _Node(f"node {self.node} of {model.name}", locals_, segment)

    def _node_source(self) -> Source:
        self._expect_none("a program", {"--preimage": self.preimages, "--local": self.locals})
        self._expect_none("--game", {"--claim": self.claim, "--input-image": self.input_image})
        fault, node = self._vm_fault(), self._open_node()
        source = Source(node.name, guest_machine(), node.locals, fault)
        for key, data in source.preimages.items():
            source.machine.add_preimage(key, data)
        source.machine.add_subtree(node.segment.root, node.segment.log2_size, node.segment.blocks)
        return source

    def _game_source(self, address: str) -> Source:
        if self.ml is False:
            raise BadSource("--base was given, but the guest runs with the ML extension", hint="leave --base out")
        self._expect_none("a program", {"--preimage": self.preimages, "--local": self.locals})
        of_node = {"--input": self.inputs, "--sample": self.sample, "--disputed-root": self.disputed}
        self._expect_none("--node", of_node | {"--fault": self.fault})
        system = open_system(self.chain)
        game = system.games.read(parse_address(address, "the address of a game"))
        below = [claim for claim in game.claims if claim.position.depth > game.depths.split]
        if self.claim is None and not below:
            raise BadSource(
                f"the game has {len(game.claims)} claims, none of them about the VM yet",
                hint="look at a node of the model with --node",
            )
        claim = below[-1] if self.claim is None else game.claim(self.claim)
        if claim.position.depth <= game.depths.split:
            raise BadSource(
                f"claim {claim.index} is about a state root, not about the VM: "
                f"its depth is {claim.position.depth}, and the VM begins below {game.depths.split}",
                hint="look at a node of the model with --node",
            )
        outputs = outputs_of(game, claim.index)
        case = open_case_of(system, game.request_id, ModelOptions(self.model, self.dims, self.input_image))
        trace = case.trace().vm_trace(game, outputs)
        position = claim.position.within_subtree(game.depths.execution_root)
        step = trace.machine_at(position.trace_index(game.depths.execution) + 1).step
        machine = trace.machine_at(0)
        assert isinstance(machine, Machine)
        return Source(
            f"node {outputs.node_index(game)} in game {game.address}",
            machine,
            {unlocalized_key(ident): data for ident, data in local_data(game, outputs).items()},
            claimed=Claimed(claim.index, step, bytes(claim.value)),
        )

    def _vm_fault(self) -> VmFault | None:
        if self.fault is None:
            return None
        fault = Fault.parse(self.fault)
        if fault.node_index != self.node:
            raise BadSource(
                f"the fault is in node {fault.node_index}, but --node is {self.node}", hint="give both the same node"
            )
        if fault.after_step == 0:
            raise BadSource("a fault before the first step would change the absolute prestate", hint="let it be step 1")
        return VmFault(fault.after_step, fault.target)


def run_options(*, files: str = "one") -> Callable[[F], F]:
    """
    The options that say which run; the command gets `run`.

    `files`: "one" for a single file, "two" for up to two (the command gets both as `paths`).
    """

    def decorate(command: F) -> F:
        @click.option("--ml/--base", default=None, help="Run the program with (default) or without the ML extension.")
        @click.option("--preimage", "preimages", multiple=True, type=_path(), metavar="FILE", help=_PREIMAGE_HELP)
        @click.option("--local", "locals_", multiple=True, metavar="N=HEX", help="Local pre-image N; may be repeated.")
        @click.option("--node", type=int, metavar="I", help="Instead of a file: the guest's run of node I of a model.")
        @click.option("--model", type=_path(), metavar="FILE", help="--node: the ONNX file. Default: the sample model.")
        @click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="--node: size of a symbolic dimension.")
        @input_options
        @click.option(
            "--disputed-root", "disputed", metavar="HASH", help="--node: the claim to check. Default: the right one."
        )
        @click.option("--fault", metavar="I:STEP:PLACE.BIT", help="--node: a liar's run, one bit flipped at a step.")
        @click.option("--game", metavar="ADDRESS", help="Instead of a file: the run that a claim of a game is about.")
        @click.option("--claim", type=int, metavar="N", help="--game: the claim. Default: the newest about the VM.")
        @click.option(
            "--input-image", type=_path(), metavar="FILE", help="--game: the input, if given by its root only."
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
            run = VmRun(
                file=file,
                ml=ml,
                preimages=preimages,
                locals=locals_,
                node=node,
                model=model,
                dims=dims,
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
            return click.argument("paths", nargs=-1, metavar="[FILE [FILE]]", type=_path())(wrapped)  # type: ignore[return-value]
        return click.argument("file", required=False, type=_path())(wrapped)  # type: ignore[return-value]

    return decorate


_PREIMAGE_HELP = "Data that the program may ask for by Keccak-256 or SHA-256; may be repeated."


def _path() -> click.Path:
    return click.Path(path_type=Path)


def _hash32(text: str) -> bytes:
    match = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{64})", text)
    if match is None:
        raise BadSource(f"cannot read the hash {text!r}", hint="write it as 0x and 64 hexadecimal digits")
    return bytes.fromhex(match[1])


def _read_plain(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadSource(
                f"{path} has {path.stat().st_size:,} bytes; expected {_MAX_FILE_BYTES:,} at most",
                hint="give another file",
            )
        return path.read_bytes()
    except OSError as error:
        raise BadSource(f"cannot read {path}: {error.strerror}", hint="check the path") from None


def _read(path: Path) -> bytes:
    data = _read_plain(path)
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        with gzip.open(path) as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadSource(
            f"{path} is not a whole gzip file: {error}", hint="pack it again, or give it unpacked"
        ) from None
    if len(data) > _MAX_FILE_BYTES:
        raise BadSource(f"{path} unpacks to more than {_MAX_FILE_BYTES:,} bytes", hint="give another file")
    return data
