"""A small model with its input in a store, and what is computed about it here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opml_dispute.compute.messages import CaseFiles
from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.operator.model_store import ModelStore


@dataclass(frozen=True)
class KnownCase:
    """A case and the right answers."""

    files: CaseFiles
    program: Program
    inference: Inference


def known_case(folder: Path, sample: int = 0) -> KnownCase:
    """The sample model on one of its samples; its program is in the store in `folder`."""
    program = compile_model(DIGITS)
    ModelStore(folder).keep(program)
    digit = np.asarray(digit_samples()[0][sample : sample + 1])
    inference = Inference(program, {program.inputs[0].name: digit})
    image = inference.input_image
    files = CaseFiles(f"{sample:064x}", bytes(program.model_root), lambda: image)
    return KnownCase(files, program, inference)
