"""
Cannon's files: states, proofs, metadata and debugging output.

A name that ends in .gz is packed. Every file is written whole or not at all: a killed run leaves no half of one. States
have the binary form only, whatever the file is called: multi-threaded states never had a JSON form.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from opml_dispute.engine.vm import Machine, StepWitness
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.statefile import save_state
from opml_dispute.primitives import ML_VERSION
from opml_dispute.reading import Unreadable, read_unpacked
from opml_dispute.writing import Unwritable, write_result

MAX_STATE_BYTES: Final = 4 << 30
STANDARD_OUTPUT: Final = Path("-")
_FASTEST: Final = 1


class BadFile(OpmlError):
    """A file cannot be read or written, or is not what it should be."""


def is_ml_state(data: bytes) -> bool:
    """Whether a state file's content is of a state with the ML extension."""
    return data[:1] == bytes([ML_VERSION])


def read_state_bytes(path: Path) -> bytes:
    """A state file's content, unpacked. Raises `BadFile`."""
    try:
        data = read_unpacked(path, max_bytes=MAX_STATE_BYTES)
    except Unreadable as error:
        raise BadFile(f"cannot read the state {path}: {error.reason}", hint="give a whole state file") from None
    if data[:1] in (b"{", b"["):
        raise BadFile(
            f"{path} holds JSON; multi-threaded states are binary",
            hint="make the state with: opml-dispute cannon load-elf --type multithreaded64-5 --out state.bin.gz …",
        )
    return data


def write_state(path: Path, machine: Machine) -> None:
    """Raises `BadFile`."""
    write(path, save_state(machine))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Raises `BadFile`."""
    write(path, json.dumps(content, separators=(",", ":")).encode())


def write(path: Path, data: bytes) -> None:
    """The file, packed if its name ends in .gz, whole or not at all; "-" is standard output. Raises `BadFile`."""
    if path == STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if path.suffix == ".gz":
        data = gzip.compress(data, _FASTEST, mtime=0)
    try:
        write_result(path, data)
    except Unwritable as error:
        raise BadFile(str(error), hint=error.hint) from None


def numbered(template: str, step: int) -> Path:
    """A file name from a template with one %d for the step."""
    return Path(template.replace("%d", str(step)))


def proof_content(machine: Machine, witness: StepWitness, preimage: bytes) -> dict[str, object]:
    """
    The proof of the machine's next step, in the form that op-challenger reads.

    `preimage` is the data that the step reads from, if it reads any. The key is the one that the program wrote: that of
    local data is not yet bound to a game.
    """
    content: dict[str, object] = {
        "step": machine.step,
        "pre": _hex(machine.state_hash()),
        "post": _hex(witness.post_hash),
        "state-data": _hex(witness.state_data),
        "proof-data": _hex(witness.proof),
    }
    if witness.preimage is not None:
        content["oracle-key"] = _hex(witness.preimage.key)
        content["oracle-value"] = _hex(len(preimage).to_bytes(8, "big") + preimage)
        if witness.preimage.offset:  # Cannon leaves 0 out
            content["oracle-offset"] = witness.preimage.offset
    return content


def _hex(data: bytes) -> str:
    return "0x" + bytes(data).hex()
