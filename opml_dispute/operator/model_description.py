"""
The description of a model's inputs and outputs in its registration, as JSON: written and read here.

`describe_model` writes the description of a program. `slots_from_json` reads it, so that an input image can be made
(`segment.input_image`) without the model's file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.chain.contracts.oracle import Model, RegisteredModel
from opml_dispute.engine.segment import INPUT, BadInput, Section
from opml_dispute.model.files import Binding
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program, TensorSpec
from opml_dispute.primitives import Hash32

_MAX_INPUTS: Final = 1_000
_MAX_RANK: Final = 64


@dataclass(frozen=True)
class Slot:
    """One input: a `segment.Placed`."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    """Bytes from the segment's base."""


def slots_from_json(text: str, size_bytes: int, section: Section = INPUT) -> list[Slot]:
    """
    The tensors of INPUT, or of OUTPUT, as a registration describes them.

    `size_bytes` is the length of the section's image, which the chain knows.

    A registrant can write anything there, so every value is validated. Raises `BadInput`.
    """
    try:
        slots = [_slot(raw) for raw in _listed(plain_json.loads(text))]
        end = 0
        for slot in sorted(slots, key=lambda slot: slot.offset):
            _expect(slot.offset >= end, "inputs overlap")
            end = slot.offset + math.prod(slot.shape) * slot.dtype.width
        _expect(end <= size_bytes, f"they end at byte {end:,} of {size_bytes:,}")
        _expect(len({slot.name for slot in slots}) == len(slots), "two inputs have one name")
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"the registered model does not describe its {'inputs' if section is INPUT else 'outputs'} in a way that "
            f"can be read: {error}",
            hint="give a ready input image with --input-image FILE" if section is INPUT else None,
        ) from None
    return [replace(slot, offset=section.offset + slot.offset) for slot in slots]


def _listed(value: Any) -> list[Any]:
    _expect(isinstance(value, list) and len(value) <= _MAX_INPUTS, f"expected a list of at most {_MAX_INPUTS} inputs")
    return list(value)


def _slot(raw: Any) -> Slot:
    """One input, its offset counted from the start of the section."""
    _expect(isinstance(raw, dict), "expected an object for each input")
    name, dtype, shape, offset = (raw.get(key) for key in ("name", "dtype", "shape", "offset"))
    _expect(isinstance(name, str), "an input has no name")
    _expect(isinstance(dtype, str) and dtype in DType.__members__, "an input has no known element type")
    _expect(_is_size(offset), "an input has no offset")
    _expect(isinstance(shape, list) and len(shape) <= _MAX_RANK and all(map(_is_size, shape)), "an input has no shape")
    return Slot(name, DType[dtype], tuple(shape), offset)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1 << 40


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def named_as_registered(program: Program, registered: RegisteredModel) -> Program:
    """
    The program with the names that its registration gives to inputs and outputs.

    Names are not under the model root, so a program file can carry others than those that requests were made by. A
    tensor that the registration describes at another place, or not readably, keeps the name of the file.
    """
    return replace(
        program,
        weights=program.rooted_weights,  # what was hashed is not hashed again
        inputs=_renamed(program.inputs, registered.inputs),
        outputs=_renamed(program.outputs, registered.outputs),
    )


def _renamed(specs: Sequence[TensorSpec], text: str) -> tuple[TensorSpec, ...]:
    base = min((spec.offset for spec in specs), default=0)
    try:
        slots = [_slot(raw) for raw in _listed(plain_json.loads(text))]
    except (ValueError, KeyError, TypeError):
        return tuple(specs)
    ours = [(spec.dtype, tuple(spec.shape), spec.offset - base) for spec in specs]
    is_clear = len({slot.name for slot in slots}) == len(slots)
    if not is_clear or [(slot.dtype, slot.shape, slot.offset) for slot in slots] != ours:
        return tuple(specs)
    return tuple(replace(spec, name=slot.name) for spec, slot in zip(specs, slots, strict=True))


def binding_as_registered(
    registered: RegisteredModel, *, is_language: bool, graph_inputs: Collection[str] | None = None
) -> Binding:
    """
    What a model file left open, as the registration's shapes tell it; nothing of what they do not tell.

    `graph_inputs` are the inputs of an ONNX file's graph: a single further one is the seed of its random numbers.

    Inputs that were fixed when the model was registered are no inputs any more, so their values cannot be told.
    """
    # Not above: the compiler takes half a second to import.
    from opml_dispute.generation.talk import EmbeddingProgram, prompt_program

    try:
        inputs = [_slot(raw) for raw in _listed(plain_json.loads(registered.inputs))]
        outputs = [_slot(raw) for raw in _listed(plain_json.loads(registered.outputs))]
    except (ValueError, KeyError, TypeError):
        return Binding()
    answers = prompt_program(inputs, outputs) if is_language else None
    if isinstance(answers, EmbeddingProgram):
        return Binding(prompt_tokens=answers.prompt_tokens)
    if answers is None:  # of a language model's graph, too, that was registered as it is
        further = [slot.name for slot in inputs if graph_inputs is not None and slot.name not in graph_inputs]
        seed = further[0] if len(further) == 1 else None
        shaped = [slot for slot in inputs if slot.name != seed]
        return Binding(
            dims={f"{slot.name}.{at}": size for slot in shaped for at, size in enumerate(slot.shape)}, seed_input=seed
        )
    return Binding(prompt_tokens=answers.prompt_tokens or None, tokens=answers.tokens, sampling=answers.sampled)


def facts_to_be(program: Program, uri: str) -> RegisteredModel:
    """What the chain would know of a program registered with this URI; depths are the chain's, and 0 here."""
    told = describe_model(program, uri)
    return RegisteredModel(
        model_root=told.model_root,
        node_count=program.node_count,
        log2_steps=program.log2_steps,
        input_bytes=0,
        output_bytes=program.output_bytes,
        split_depth=0,
        max_depth=0,
        inputs=told.inputs,
        outputs=told.outputs,
        uri=uri,
    )


def describe_model(program: Program, uri: str) -> Model:
    """The description of a program in a registration."""

    def tensors(specs: Sequence[TensorSpec]) -> str:
        base = min((spec.offset for spec in specs), default=0)
        facts = [
            {"name": s.name, "dtype": s.dtype.name, "shape": list(s.shape), "offset": s.offset - base} for s in specs
        ]
        return json.dumps(facts, separators=(",", ":"))

    return Model(
        model_root=Hash32(program.model_root),
        inputs=tensors(program.inputs),
        outputs=tensors(program.outputs),
        uri=uri,
    )
