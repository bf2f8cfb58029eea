"""
A result computed again by another build of the engine, in a process of its own.

The builds for different processors hold different fast paths; the plainest one (`candidates`, last) has none that need
fused instructions. A wrong bit of memory, a miscompiled path or a damaged library shows as two different roots, and an
agent that is about to stake money finds out before it does. `python -m opml_dispute.agent.second_opinion` is the other
process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.lib import candidates
from opml_dispute.errors import OpmlError
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import read_program, write_program
from opml_dispute.primitives import StateRoot

TIMEOUT_S = 3_600.0


class SecondOpinionMissing(OpmlError):
    """The other process gave no root."""

    hint = "nothing was staked; try `opml-dispute doctor`, or switch agent.second_opinion off"


def second_opinion(program: Program, image: bytes) -> StateRoot:
    """S_n as the plainest build of the engine computes it. Raises `SecondOpinionMissing`."""
    with tempfile.TemporaryDirectory(prefix="opml-opinion-") as folder:
        program_file, image_file = Path(folder) / "program", Path(folder) / "image"
        write_program(program, program_file)
        image_file.write_bytes(image)
        environment = dict(os.environ, OPML_ENGINE_ISA=candidates()[-1])
        environment.pop("OPML_ENGINE_LIBRARY", None)
        command = [sys.executable, "-m", "opml_dispute.agent.second_opinion", str(program_file), str(image_file)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SecondOpinionMissing(f"the second computation gave no answer: {error}") from None
    text = done.stdout.strip()
    if done.returncode != 0 or len(text) != 64:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SecondOpinionMissing(f"the second computation failed: {last}")
    return StateRoot(bytes.fromhex(text))


def main(program_file: str, image_file: str) -> None:
    """Prints S_n of a program on an input image, in hexadecimal."""
    program = read_program(Path(program_file))
    inference = Inference(program, Path(image_file).read_bytes())
    print(inference.state_root(program.node_count).hex())


if __name__ == "__main__":
    main(*sys.argv[1:3])
