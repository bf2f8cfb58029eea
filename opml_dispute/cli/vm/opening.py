"""
From the options of a `vm` command to the run that they select.

`open_source` opens the run of all options; `open_file` opens one file, for commands that compare two. The first bytes
of a file say what it holds. `game_run`, imported only if needed, finds the run of a game on the chain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opml_dispute.actors.faults import Fault
from opml_dispute.cli.inputs import read_inputs
from opml_dispute.cli.vm.selection import RunSelection, expect_none
from opml_dispute.cli.vm.source import BadSource, Source
from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.engine.vm import Machine, Reason, VmError
from opml_dispute.fpvm.state import BadEncoding
from opml_dispute.fpvm.statefile import Subtree, load_state
from opml_dispute.generation.files import open_model
from opml_dispute.models import DIGITS
from opml_dispute.primitives import BASE_VERSION, ML_VERSION, LocalIdent, item_data
from opml_dispute.reading import Unreadable, read_bytes, read_unpacked
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.vm import VmFault

_ELF_MAGIC: Final = b"\x7fELF"
_STATE_VERSIONS: Final = {bytes([BASE_VERSION]), bytes([ML_VERSION])}
_MAX_FILE_BYTES: Final = 4 << 30


@dataclass(frozen=True, slots=True)
class _Node:
    """The inputs of the guest's run of one node."""

    name: str
    locals: dict[bytes, bytes]
    """The data of its local pre-images by key."""
    segment: Subtree
    """The state of the inference before the node."""


def open_source(run: RunSelection) -> Source:
    """The run that the options select. Raises `BadSource`, and the errors of reading its files."""
    given = {"a program": run.file, "--node": run.node, "--game": run.game}
    named = [name for name, value in given.items() if value is not None]
    if not named or (run.game is not None and len(named) > 1):
        raise BadSource(
            f"both {' and '.join(named)} were given" if named else "no program was named",
            hint="give an ELF file or a saved state; or --node I, --model and --input; or --game and --claim",
        )
    if run.file is not None:
        return open_file(run, run.file)
    if run.game is None:
        return _node_source(run)
    from opml_dispute.cli.vm.game_run import game_source  # it imports the chain's library, which is slow

    return game_source(run, run.game)


def open_file(run: RunSelection, path: Path) -> Source:
    """A program, or a saved state; with --node, a state of that node's run."""
    expect_none("--game", {"--claim": run.claim, "--input-image": run.input_image})
    data = _read(path)
    if run.node is not None:
        return _saved_node_source(run, path, data)
    expect_none(
        "--node or --game",
        {
            "--model": run.model,
            "--dim": run.dims,
            "--constant": run.constants,
            "--max-size": run.max_sizes,
            "--seed-input": run.seed_input,
            "--input": run.inputs,
            "--sample": run.sample,
            "--disputed-root": run.disputed,
            "--fault": run.fault,
        },
    )
    source = Source(str(path), _machine(run, path, data))
    _give_preimages(run, source)
    return source


def _saved_node_source(run: RunSelection, path: Path, data: bytes) -> Source:
    """A state that was saved in a node's run, with the pre-images of that run."""
    if data.startswith(_ELF_MAGIC):
        raise BadSource(
            "both a program and --node were given", hint="give one of them; --node goes with a saved state only"
        )
    expect_none("--node without a file", {"--fault": run.fault})
    expect_none("a program", {"--preimage": run.preimages, "--local": run.locals})
    node = _open_node(run)
    source = Source(str(path), _saved_machine(run, path, data, [node.segment]), node.locals)
    for key, value in source.preimages.items():
        source.machine.add_preimage(key, value)
    source.machine.add_subtree(node.segment.root, node.segment.log2_size, node.segment.blocks)
    return source


def _machine(run: RunSelection, path: Path, data: bytes) -> Machine:
    if data.startswith(_ELF_MAGIC):
        return Machine.from_elf(data, ml=run.ml is not False)
    return _saved_machine(run, path, data, [])


def _saved_machine(run: RunSelection, path: Path, data: bytes, contents: Sequence[Subtree]) -> Machine:
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
    if run.ml not in {None, machine.ml}:
        found, asked = ("--ml", "--base") if machine.ml else ("--base", "--ml")
        raise BadSource(f"{asked} was given, but {path} is a state saved with {found}", hint=f"leave {asked} out")
    return machine


def _give_preimages(run: RunSelection, source: Source) -> None:
    for path in run.preimages:
        data = _read_plain(path)
        # It is not known which of its two keys the program will use, so both are given.
        source.preimages[b"\x02" + keccak256(data)[1:]] = data
        source.preimages[b"\x04" + hashlib.sha256(data).digest()[1:]] = data
    for text in run.locals:
        match = re.fullmatch(r"([0-9]{1,75})=(?:0x)?((?:[0-9a-fA-F]{2})+)", text)
        if match is None or len(match[2]) > 64 or int(match[1]) >> 8 * 31:
            raise BadSource(f"cannot read --local {text!r}", hint="write NUMBER=HEX: 31 bytes at most, and 32")
        local = unlocalized_key(int(match[1]))
        if local in source.preimages:
            raise BadSource(f"--local {int(match[1])} was given twice", hint="give each local pre-image once")
        source.preimages[local] = bytes.fromhex(match[2])
    for key, data in source.preimages.items():
        source.machine.add_preimage(key, data)


def _open_node(run: RunSelection) -> _Node:
    assert run.node is not None
    if run.ml is False:
        raise BadSource("--base was given, but the guest runs with the ML extension", hint="leave --base out")
    model = run.model or DIGITS
    program = open_model(model, run.binding())
    if not 0 <= run.node < program.node_count:
        raise BadSource(
            f"the model has no node {run.node}: it has {program.node_count}",
            hint=f"give --node 0 to --node {program.node_count - 1}",
        )
    inference = Inference(program, read_inputs(program.inputs, run.inputs, run.sample))
    start = inference.state_root(run.node)
    disputed = inference.state_root(run.node + 1) if run.disputed is None else _hash32(run.disputed)
    locals_: dict[bytes, bytes] = {
        unlocalized_key(LocalIdent.STARTING_ROOT): bytes(start),
        unlocalized_key(LocalIdent.DISPUTED_ROOT): bytes(disputed),
        unlocalized_key(LocalIdent.ITEM): item_data(),
    }
    segment = Subtree(bytes(start), SEGMENT_LOG2, inference.blocks_at(run.node))
    return _Node(f"node {run.node} of {model.name}", locals_, segment)


def _node_source(run: RunSelection) -> Source:
    expect_none("a program", {"--preimage": run.preimages, "--local": run.locals})
    expect_none("--game", {"--claim": run.claim, "--input-image": run.input_image})
    fault, node = _vm_fault(run), _open_node(run)
    source = Source(node.name, guest_machine(), node.locals, fault)
    for key, data in source.preimages.items():
        source.machine.add_preimage(key, data)
    source.machine.add_subtree(node.segment.root, node.segment.log2_size, node.segment.blocks)
    return source


def _vm_fault(run: RunSelection) -> VmFault | None:
    if run.fault is None:
        return None
    fault = Fault.parse(run.fault)
    if fault.node_index != run.node:
        raise BadSource(
            f"the fault is in node {fault.node_index}, but --node is {run.node}", hint="give both the same node"
        )
    if fault.after_step == 0:
        raise BadSource(
            "a fault before the first step would change the absolute prestate", hint="give step 1 or a later one"
        )
    return VmFault(fault.after_step, fault.target)


def _hash32(text: str) -> bytes:
    match = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{64})", text)
    if match is None:
        raise BadSource(f"cannot read the hash {text!r}", hint="write it as 0x and 64 hexadecimal digits")
    return bytes.fromhex(match[1])


def _read_plain(path: Path) -> bytes:
    try:
        return read_bytes(path, max_bytes=_MAX_FILE_BYTES)
    except Unreadable as error:
        raise BadSource(f"cannot read {path}: {error.reason}", hint="check the path") from None


def _read(path: Path) -> bytes:
    try:
        return read_unpacked(path, max_bytes=_MAX_FILE_BYTES)
    except Unreadable as error:
        raise BadSource(f"cannot read {path}: {error.reason}", hint="give a whole file, packed or not") from None
