"""
The models and inputs of requests, on this computer.

The chain stores the roots of a model and an input; an operator that computes with them needs their content.
`ModelStore.program` finds a model: the file that the operator names, the program kept from an earlier use, the sample
model of the package, or what the registration's URI gives. `ModelStore.image` finds an input likewise. Only what has
the root is accepted, each time that it is read; what was fetched or compiled is kept for the next time, and a damaged
copy is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from opml_dispute.availability.fetching import CannotFetch, Fetcher, FetchPolicy
from opml_dispute.availability.store import QUOTA_BYTES, ContentStore, input_name, program_name
from opml_dispute.chain.contracts.oracle import Model, ModelRegistry, RegisteredModel
from opml_dispute.chain.input_parts import INPUT_LOG2_SIZE
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.transport import public_url
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.segment import MODEL_LOG2
from opml_dispute.errors import OpmlError
from opml_dispute.generation.files import language_of, open_model, takes_text
from opml_dispute.generation.refusals import NoTokenizer, UnsupportedLanguageModel
from opml_dispute.generation.vocabulary import Vocabulary, vocabulary_from_json
from opml_dispute.home import home, write_whole
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.files import Binding
from opml_dispute.model.graph_ends import graph_ends
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import ProgramFileError, read_program, write_program
from opml_dispute.models import DIGITS
from opml_dispute.operator.model_description import binding_as_registered, named_as_registered
from opml_dispute.primitives import ModelId
from opml_dispute.reading import Unreadable, read_bytes, read_text

_MAX_VOCABULARY_BYTES: Final = 1 << 28
_MAX_ANSWER_BYTES: Final = 1 << 20
"""Larger outputs are not kept: they are no answers in words."""

HEADER_LOG2_SIZE: Final = 6
"""The two leaves of the program header that a registration proves."""

T = TypeVar("T")


class ModelFileMissing(OpmlError):
    """The file of a registered model is not on this computer, and cannot be fetched."""

    is_told_by_node = True


class WrongModelFile(OpmlError):
    """A model file compiles to another root than the registered one."""


class InputMissing(OpmlError):
    """The input of a request that gives its root only is missing, and cannot be fetched."""

    hint = "give the requester's image with --input-image FILE"


@dataclass(frozen=True)
class ModelStore:
    """A folder with one compiled program per model and one image per input, by their roots."""

    folder: Path
    fetcher: Fetcher = field(default_factory=lambda: Fetcher(FetchPolicy(allow="nothing")))
    """Fetches URIs; by default none."""
    quota_bytes: int = QUOTA_BYTES
    """The limit of fetched files, in bytes."""
    tell: Callable[[str], object] = field(default=lambda _: None)
    """Receives sentences about fetched and damaged files."""

    @classmethod
    def default(cls, tell: Callable[[str], object] = lambda _: None) -> ModelStore:
        """The user's own store, which fetches what the environment allows. Raises `BadPolicy`."""
        return cls(home() / "models", Fetcher.of_environment(), tell=tell)

    @property
    def contents(self) -> ContentStore:
        """The files."""
        return ContentStore(self.folder, quota_bytes=self.quota_bytes)

    def keep(self, program: Program) -> None:
        """Keep a program for later use; the file is written completely or not at all. Raises `CannotWrite`."""
        self.contents.put(program_name(program.model_root), lambda temporary: write_program(program, temporary))

    def keep_vocabulary(self, model_id: bytes, file: Path) -> None:
        """Keep the vocabulary of a language model's file, if it has one. Raises `CannotWrite`."""
        try:
            vocabulary = language_of(file) if takes_text(file) else None
        except (NoTokenizer, UnsupportedLanguageModel):  # a graph of one, that was registered as it is
            vocabulary = None
        if vocabulary is not None:
            text = vocabulary.to_json()
            write_whole(self._vocabulary_path(model_id), lambda temporary: temporary.write_text(text, "utf-8"))

    def vocabulary(self, model_id: bytes) -> Vocabulary | None:
        """The vocabulary of a model, if it was kept. It only serves display: no result depends on it."""
        try:
            text = read_text(self._vocabulary_path(model_id), max_bytes=_MAX_VOCABULARY_BYTES)
            return vocabulary_from_json(text)
        except (Unreadable, NoTokenizer):
            return None

    def keep_answer(self, root_claim: bytes, output_image: bytes) -> None:
        """Keep the output that was proposed with a root claim. Raises `CannotWrite`."""
        if len(output_image) <= _MAX_ANSWER_BYTES:
            write_whole(self._answer_path(root_claim), lambda temporary: temporary.write_bytes(output_image))

    def answer(self, root_claim: bytes) -> bytes | None:
        """The output that was proposed from here with a root claim. It only serves display, and is not checked."""
        try:
            return read_bytes(self._answer_path(root_claim), max_bytes=_MAX_ANSWER_BYTES)
        except Unreadable:
            return None

    def _answer_path(self, root_claim: bytes) -> Path:
        return self.folder / f"{root_claim.hex()}.answer"

    def _vocabulary_path(self, model_id: bytes) -> Path:
        return self.folder / f"{model_id.hex()}.vocabulary.json"

    # ---- models ----

    def program(
        self, model_id: ModelId, registered: RegisteredModel, *, file: Path | None, binding: Binding
    ) -> Program:
        """
        The program of a registered model, its inputs and outputs named as the registration names them.

        Raises `ModelFileMissing` or `WrongModelFile`, and what compiling a model raises.
        """
        return named_as_registered(self._find(model_id, registered, file, binding), registered)

    def _find(self, model_id: ModelId, registered: RegisteredModel, file: Path | None, binding: Binding) -> Program:
        if file is not None:
            program = _expect_registered(open_model(file, binding), registered, str(file))
            self.keep(program)
            self.keep_vocabulary(model_id, file)
            return program
        kept, damage = self._read(program_name(registered.model_root), lambda path: _read_program(path, registered))
        if kept is not None:
            return kept
        if self.is_sample(registered):
            return compile_model(DIGITS)
        try:
            return self.fetch_program(model_id, registered)
        except CannotFetch as error:
            told = f"the file of model 0x{model_id.hex()} is not on this computer"
            told += f" (the copy that was kept {damage}, and was removed)" if damage else ""
            where = f"it is said to be at {registered.uri}" if registered.uri else "ask who registered it"
            raise ModelFileMissing(f"{told}; {error}", hint=f"give it with --model FILE; {where}") from None

    def ensure_program(self, model_id: ModelId, registered: RegisteredModel) -> None:
        """Has the program in the store, for those who find it there by its root. Raises as `program`."""
        program = self._find(model_id, registered, None, Binding())
        if not self.contents.path(program_name(registered.model_root)).exists():
            self.keep(program)  # the package's sample

    def is_sample(self, registered: RegisteredModel) -> bool:
        """Whether it is the model that comes with the package: there everyone has it."""
        return compile_model(DIGITS).model_root == registered.model_root

    def fetch_program(self, model_id: ModelId, registered: RegisteredModel) -> Program:
        """
        The model as the registration's URI gives it, now, whatever is kept; it is kept from then on.

        A compiled program serves as it is; another model file is compiled for the shapes that the registration tells.
        Raises `CannotFetch`, `WrongModelFile`, `StoreFull`, and what compiling raises.
        """
        uri, name = registered.uri, program_name(registered.model_root)
        with self.contents.incoming() as folder:
            fetched = folder / f"model{_suffix(uri)}"
            self._tell_of("model", uri)
            self.fetcher.fetch(uri, fetched)
            ends = graph_ends(fetched)
            told = binding_as_registered(
                registered, is_language=takes_text(fetched), graph_inputs=None if ends is None else ends.inputs
            )
            program = open_model(fetched, told)
            _expect_registered(program, registered, uri)
            self.keep_vocabulary(model_id, fetched)
            compiled = folder / "program"
            write_program(program, compiled)
            self._adopt(name, compiled, uri)
        return program

    # ---- inputs ----

    def image(self, input_root: bytes, uri: str, size_bytes: int) -> bytes:
        """An input's image, from here or from its URI. Raises `InputMissing`."""
        kept = self.kept_image(input_root, size_bytes)
        if kept is not None:
            return kept
        try:
            return self.fetch_image(input_root, uri, size_bytes)
        except CannotFetch as error:
            raise InputMissing(str(error)) from None

    def kept_image(self, input_root: bytes, size_bytes: int) -> bytes | None:
        """An input's image, if it is here."""
        kept, _ = self._read(input_name(input_root), lambda path: _read_image(path, input_root, size_bytes))
        return kept

    def fetch_image(self, input_root: bytes, uri: str, size_bytes: int) -> bytes:
        """The image as its URI gives it, now; kept from then on. Raises `CannotFetch`, `InputMissing`, `StoreFull`."""
        with self.contents.incoming() as folder:
            fetched = folder / "image"
            self._tell_of("input", uri)
            self.fetcher.fetch(uri, fetched, max_bytes=size_bytes)
            try:
                image = _read_image(fetched, input_root, size_bytes)
            except _Damaged as damage:
                raise InputMissing(f"what {uri} gives is not the input 0x{input_root.hex()}: it {damage}") from None
            self._adopt(input_name(input_root), fetched, uri)
        return image

    # ---- files ----

    def _read(self, name: str, read: Callable[[Path], T]) -> tuple[T | None, str | None]:
        """A kept file's content, or what was wrong with it: a dispute must not be lost to a bad disk."""
        path = self.contents.use(name)
        if path is None:
            return None, None
        try:
            return read(path), None
        except _Damaged as damage:
            self.contents.drop(name)
            self.tell(f"The kept copy {path} {damage}: it was removed.")
            return None, str(damage)

    def _tell_of(self, what: str, uri: str) -> None:
        if self.fetcher.obstacle(uri) is None:
            self.tell(f"Fetching the {what} from {public_url(uri)} …")

    def _adopt(self, name: str, file: Path, uri: str) -> None:
        """What the operator brought stays the operator's, and takes nothing of the quota."""
        seen = self.contents.origin(name)
        if self.contents.path(name).exists() and (seen is None or seen.is_own):
            self.contents.note_origin(name, uri, is_own=True)
            return
        self.contents.adopt(name, file, uri)


class _Damaged(Exception):
    """A kept file is not what was put there."""


def _suffix(uri: str) -> str:
    found = Path(uri.partition("?")[0].partition("#")[0]).suffix
    return found if found in (".onnx", ".gguf", ".program") else ""


def _expect_registered(program: Program, registered: RegisteredModel, where: str) -> Program:
    if program.model_root != registered.model_root:
        raise WrongModelFile(
            f"{where} compiles to model root 0x{program.model_root.hex()}, "
            f"but the registered model's is 0x{registered.model_root.hex()}",
            hint="give the file, and the --dim, --constant, --max-size and --seed-input options, of its registration",
        )
    return program


def _read_program(path: Path, registered: RegisteredModel) -> Program:
    try:
        program = read_program(path)
    except ProgramFileError as error:
        raise _Damaged(f"cannot be read: {error}") from None
    if program.model_root != registered.model_root:
        raise _Damaged("has changed since it was put there")
    return program


def _read_image(path: Path, input_root: bytes, size_bytes: int) -> bytes:
    try:
        image = read_bytes(path, max_bytes=size_bytes)
    except Unreadable as error:
        raise _Damaged(f"cannot be read: {error.reason}") from None
    found = merkle_root(image, INPUT_LOG2_SIZE)
    if found != input_root:
        raise _Damaged(f"has the root 0x{found.hex()}")
    return image


def registration(registry: ModelRegistry, program: Program, description: Model) -> Call[ModelId]:
    """The registration of a program, with the proof of its header against the model root."""
    tree = SparseTree(MODEL_LOG2)
    for block in program.model_blocks:
        tree.put(block)
    header = program.header_bytes[: 1 << HEADER_LOG2_SIZE]
    return registry.register(description, [header[:32], header[32:]], list(tree.proof(0, HEADER_LOG2_SIZE)))
