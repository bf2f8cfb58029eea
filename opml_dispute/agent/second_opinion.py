"""
A result computed again by another build of the engine, in a process of its own.

The builds for different processors hold different fast paths; the plainest one (`candidates`, last) has none that need
fused instructions. A memory error, a miscompiled path or a damaged library shows as two different roots, before the
agent stakes money. `python -m opml_dispute.agent.second_opinion` is the other process.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from opml_dispute.agent.processes import run_process
from opml_dispute.engine.batch import native_run
from opml_dispute.engine.lib import candidates
from opml_dispute.errors import OpmlError
from opml_dispute.model.program_file import read_program
from opml_dispute.primitives import StateRoot

TIMEOUT_S = 3_600.0


class SecondOpinionMissing(OpmlError):
    """The other process did not answer with a root."""

    hint = "nothing was staked; try `opml-dispute doctor`, or switch agent.second_opinion off"


def second_opinion(
    program_file: Path, image: bytes, item_count: int = 1, *, ending: threading.Event | None = None
) -> StateRoot:
    """S_n as the plainest build computes it; given up when `ending` is set. Raises `SecondOpinionMissing`."""
    # WHY NOT a file: on a full disk no game could be entered.
    with os.fdopen(os.memfd_create("image"), "wb") as file:
        file.write(image)
        file.flush()
        image_file = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        environment = dict(os.environ, OPML_ENGINE_ISA=candidates()[-1])
        environment.pop("OPML_ENGINE_LIBRARY", None)
        command = [sys.executable, "-m", "opml_dispute.agent.second_opinion", str(program_file), image_file]
        command.append(str(item_count))
        try:
            done = run_process(command, environment=environment, timeout_s=TIMEOUT_S, ending=ending)
        except (OSError, TimeoutError) as error:
            raise SecondOpinionMissing(
                f"the second computation gave no answer: {error or 'it took too long'}"
            ) from None
    text = done.out.strip()
    if done.code != 0 or len(text) != 64:
        last = (done.err.strip().splitlines() or ["no message"])[-1]
        raise SecondOpinionMissing(f"the second computation failed: {last}")
    return StateRoot(bytes.fromhex(text))


def main(program_file: str, image_file: str, item_count: str) -> None:
    """Print S_n of a program on an input image, or on a batch of images, in hexadecimal."""
    program, items = read_program(Path(program_file)), int(item_count)
    run = native_run(program, Path(image_file).read_bytes(), items)
    print(run.state_root(program.node_count * items).hex())


if __name__ == "__main__":
    main(*sys.argv[1:4])
