"""
The model files behind registered models, on this computer.

The chain knows a model by its root; to compute with it one needs the file. `ModelStore.program` finds it: the file
that the operator names, the program kept from an earlier use, or the sample model of the package. It accepts only
what has the registered root. What a file compiled to is kept for the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opml_dispute.chain.contracts.oracle import Model, ModelRegistry, RegisteredModel
from opml_dispute.chain.rpc import Call
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.segment import MODEL_LOG2
from opml_dispute.errors import OpmlError
from opml_dispute.generation.files import is_language_model, open_model, read_checkpoint
from opml_dispute.generation.refusals import NoTokenizer
from opml_dispute.generation.vocabulary import Vocabulary, vocabulary_from_json
from opml_dispute.home import home, write_whole
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import ProgramFileError, read_program, write_program
from opml_dispute.models import DIGITS
from opml_dispute.operator.model_description import named_as_registered
from opml_dispute.primitives import ModelId
from opml_dispute.reading import Unreadable, read_text

_MAX_VOCABULARY_BYTES = 1 << 28

HEADER_LOG2_SIZE = 6
"""The two leaves of the program header that a registration proves."""


class ModelFileMissing(OpmlError):
    """The file of a registered model is not on this computer."""


class WrongModelFile(OpmlError):
    """A model file compiles to another root than the registered one."""


class CorruptedCache(OpmlError):
    """The store's copy of a model file is not what was put there."""


@dataclass(frozen=True)
class ModelStore:
    """A folder with one compiled program a model."""

    folder: Path

    @classmethod
    def default(cls) -> ModelStore:
        """The user's own."""
        return cls(home() / "models")

    def path(self, model_id: bytes) -> Path:
        """Where a model's program lies, or would lie."""
        return self.folder / f"{model_id.hex()}.program"

    def keep(self, model_id: bytes, program: Program) -> None:
        """Keep a program for the next time; whole or not at all. Raises `CannotWrite`."""
        write_whole(self.path(model_id), lambda temporary: write_program(program, temporary))

    def keep_vocabulary(self, model_id: bytes, file: Path) -> None:
        """Keep the words of a language model's file, if it is one that has any. Raises `CannotWrite`."""
        vocabulary = read_checkpoint(file).vocabulary if is_language_model(file) else None
        if vocabulary is not None:
            text = vocabulary.to_json()
            write_whole(self._vocabulary_path(model_id), lambda temporary: temporary.write_text(text, "utf-8"))

    def vocabulary(self, model_id: bytes) -> Vocabulary | None:
        """The words of a model, if they were kept. They are for people: nothing depends on their being right."""
        try:
            text = read_text(self._vocabulary_path(model_id), max_bytes=_MAX_VOCABULARY_BYTES)
            return vocabulary_from_json(text)
        except (Unreadable, NoTokenizer):
            return None

    def _vocabulary_path(self, model_id: bytes) -> Path:
        return self.folder / f"{model_id.hex()}.vocabulary.json"

    def program(
        self, model_id: ModelId, registered: RegisteredModel, *, file: Path | None, binding: Binding
    ) -> Program:
        """
        The program of a registered model, its inputs and outputs named as the registration names them.

        Raises `ModelFileMissing`, `WrongModelFile` or `CorruptedCache`, and what compiling a model raises.
        """
        return named_as_registered(self._find(model_id, registered, file, binding), registered)

    def _find(self, model_id: ModelId, registered: RegisteredModel, file: Path | None, binding: Binding) -> Program:
        if file is not None:
            program = open_model(file, binding)
            if program.model_root != registered.model_root:
                raise WrongModelFile(
                    f"{file} compiles to model root 0x{program.model_root.hex()}, "
                    f"but the registered model's is 0x{registered.model_root.hex()}",
                    hint="give the file, and the --dim sizes and --constant values, that the model was registered with",
                )
            self.keep(model_id, program)
            self.keep_vocabulary(model_id, file)
            return program
        if self.path(model_id).exists():
            return self._load(model_id, registered)
        sample = compile_model(DIGITS)
        if sample.model_root == registered.model_root:
            return sample
        where = f"it is said to be at {registered.uri}" if registered.uri else "ask who registered it"
        raise ModelFileMissing(
            f"the file of model 0x{model_id.hex()} is not on this computer", hint=f"give it with --model FILE; {where}"
        )

    def _load(self, model_id: ModelId, registered: RegisteredModel) -> Program:
        """The kept program, if it still is what was registered: a dispute must not be lost to a bad disk."""
        path = self.path(model_id)
        try:
            program = read_program(path)
            damage = None if program.model_root == registered.model_root else "changed since it was put there"
        except ProgramFileError as error:
            damage = f"cannot be read ({error})"
        if damage is not None:
            raise CorruptedCache(
                f"the local copy of a model in {path} {damage}",
                hint="delete that file, and give the model's own with --model",
            )
        return program


def registration(registry: ModelRegistry, program: Program, description: Model) -> Call[ModelId]:
    """The registration of a program, its header proven against its root."""
    tree = SparseTree(MODEL_LOG2)
    for block in program.model_blocks:
        tree.put(block)
    header = program.header_bytes[: 1 << HEADER_LOG2_SIZE]
    return registry.register(description, [header[:32], header[32:]], list(tree.proof(0, HEADER_LOG2_SIZE)))
