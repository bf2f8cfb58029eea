"""What a model's file says beside the content that its root covers is not believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from opml_dispute.chain.contracts.oracle import RegisteredModel
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.lib import Buffer
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS
from opml_dispute.operator.inspection import made_up_inputs
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Hash32, ModelId

MODEL_ID = ModelId(bytes(31) + b"\x07")


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_model(DIGITS)


def registered(program: Program, **changes: str) -> RegisteredModel:
    told = describe_model(program, "ipfs://there")
    facts = RegisteredModel(
        told.model_root, program.node_count, program.log2_steps, 0, 0, 4, 26, told.inputs, told.outputs, told.uri
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


def kept(program: Program, folder: Path) -> ModelStore:
    store = ModelStore(folder)
    store.keep(program)
    return store


def found(store: ModelStore, told: RegisteredModel) -> Program:
    return store.program(MODEL_ID, told, file=None, binding=Binding())


def test_weights_are_hashed_once_for_all_that_opens_a_model(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking the root, naming inputs and outputs, and running: gigabytes would be hashed for each."""
    made, hashed = registered(program), list[int]()

    def counted(data: Buffer, log2_size: int, word_bytes: int) -> Hash32:
        hashed.append(id(data))
        return merkle_root(data, log2_size, word_bytes)

    path = kept(program, tmp_path)
    monkeypatch.setattr("opml_dispute.engine.analysis.merkle_root", counted)
    opened = found(path, made)
    assert opened.model_root == made.model_root
    Inference(opened, made_up_inputs(opened)).state_root(1)
    of_records = len(opened.model_blocks) - len(opened.weights)
    images = 2  # the program as it was read, and as it is named
    assert len(hashed) == len(opened.weights) + images * of_records


def test_names_are_those_of_the_registration_whatever_a_file_calls_them(program: Program, tmp_path: Path) -> None:
    doctored = replace(
        program,
        inputs=tuple(replace(spec, name="something else") for spec in program.inputs),
        outputs=tuple(replace(spec, name="another") for spec in program.outputs),
    )
    assert doctored.model_root == program.model_root
    back = found(kept(doctored, tmp_path), registered(program))
    assert [spec.name for spec in back.inputs] == [spec.name for spec in program.inputs]
    assert [spec.name for spec in back.outputs] == [spec.name for spec in program.outputs]


@pytest.mark.parametrize("told", ["", "{", "[]", '[{"name":"x"}]', "[" * 5_000, '[{"name":1,"dtype":"F32"}]'])
def test_a_registration_that_describes_nothing_keeps_nobody_from_disputing(
    program: Program, tmp_path: Path, told: str
) -> None:
    back = found(kept(program, tmp_path), registered(program, inputs=told, outputs=told))
    assert back.model_root == program.model_root
    assert [spec.name for spec in back.inputs] == [spec.name for spec in program.inputs]
