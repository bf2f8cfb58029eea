"""
The model files behind registered models, on this computer.

The chain knows a model by its root; to compute with it one needs the file. `ModelStore.program` finds it: the file the
operator names, the copy kept from an earlier use, or the sample model of the package; compiles it; and accepts it only if
its root is the registered one. A file named by the operator is kept for the next time. `describe` is what a registration
says about a program.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opml_dispute.chain.contracts import Model, RegisteredModel
from opml_dispute.chain.devnet import home, write_json
from opml_dispute.errors import OpmlError
from opml_dispute.model import Program, compile_model
from opml_dispute.models import DIGITS
from opml_dispute.primitives import Hash32, ModelId


class ModelFileMissing(OpmlError):
    """The file of a registered model is not on this computer."""


class WrongModelFile(OpmlError):
    """A model file compiles to another root than the registered one."""


class CorruptedCache(OpmlError):
    """The store's copy of a model file is not what was put there."""


class BadDimension(OpmlError):
    """A --dim option that cannot be read."""

    hint = "write it like --dim batch=1"


def parse_dims(texts: tuple[str, ...]) -> dict[str, int]:
    """Sizes of symbolic dimensions as the operator wrote them: NAME=N. Raises `BadDimension`."""
    dims: dict[str, int] = {}
    for text in texts:
        name, _, size = text.partition("=")
        if not name or not size.isdigit() or int(size) == 0:
            raise BadDimension(f"{text!r} does not give a dimension a positive size")
        dims[name] = int(size)
    return dims


def describe(program: Program, uri: str) -> Model:
    """What a registration says about a program."""

    def tensors(specs: object) -> str:
        return json.dumps(
            [
                {"name": spec.name, "dtype": str(spec.dtype), "shape": list(spec.shape), "offset": spec.offset}
                for spec in specs  # type: ignore[attr-defined]
            ],
            separators=(",", ":"),
        )

    return Model(
        model_root=Hash32(program.model_root),
        step_bound=program.step_bound,
        inputs=tensors(program.inputs),
        outputs=tensors(program.outputs),
        uri=uri,
    )


@dataclass(frozen=True)
class ModelStore:
    """A folder with one sub-folder a model."""

    folder: Path

    @classmethod
    def default(cls) -> ModelStore:
        """The user's own."""
        return cls(home() / "models")

    def keep(self, model_id: bytes, file: Path, dims: Mapping[str, int]) -> Path:
        """Copy a model's file into the store; the copy's path."""
        place = self.folder / model_id.hex()
        place.mkdir(parents=True, exist_ok=True)
        kept = place / "model.onnx"
        temporary = place / ".model.onnx.new"
        shutil.copyfile(file, temporary)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        # INVARIANT: the note is written last, so that a copy without one, left by a kill, counts as absent.
        (place / "model.json").unlink(missing_ok=True)
        temporary.replace(kept)
        write_json(place / "model.json", {"sha256": digest, "dims": dict(dims)})
        return kept

    def find(self, model_id: bytes) -> tuple[Path, dict[str, int]] | None:
        """The kept file and its dimensions, None if there is none. Raises `CorruptedCache`."""
        place = self.folder / model_id.hex()
        note_path = place / "model.json"
        if not note_path.exists():
            return None
        try:
            note = json.loads(note_path.read_text())
            digest, dims = str(note["sha256"]), {str(name): int(size) for name, size in note["dims"].items()}
            content = (place / "model.onnx").read_bytes()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise self._corrupted(place, "cannot be read") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise self._corrupted(place, "changed since it was put there")
        return place / "model.onnx", dims

    def _corrupted(self, place: Path, how: str) -> CorruptedCache:
        return CorruptedCache(
            f"the local copy of a model in {place} {how}",
            hint=f"delete the folder {place} and give the model's file with --model",
        )

    def program(
        self, model_id: ModelId, registered: RegisteredModel, *, file: Path | None, dims: Mapping[str, int]
    ) -> Program:
        """
        The program of a registered model.

        Raises `ModelFileMissing`, `WrongModelFile` or `CorruptedCache`, and what compiling a model raises.
        """
        if file is not None:
            program = compile_model(file, dims=dims)
            _expect_root(program, registered, str(file))
            self.keep(model_id, file, dims)
            return program
        kept = self.find(model_id)
        if kept is not None:
            program = compile_model(kept[0], dims=kept[1])
            _expect_root(program, registered, str(kept[0]))
            return program
        sample = compile_model(DIGITS)
        if sample.model_root == registered.model_root:
            return sample
        where = f"it is said to be at {registered.uri}" if registered.uri else "ask who registered it"
        raise ModelFileMissing(
            f"the file of model 0x{model_id.hex()} is not on this computer", hint=f"give it with --model FILE; {where}"
        )


def _expect_root(program: Program, registered: RegisteredModel, where: str) -> None:
    if program.model_root != registered.model_root:
        raise WrongModelFile(
            f"{where} compiles to model root 0x{program.model_root.hex()}, "
            f"but the registered model's is 0x{registered.model_root.hex()}",
            hint="give the file, and the --dim sizes, that the model was registered with",
        )
