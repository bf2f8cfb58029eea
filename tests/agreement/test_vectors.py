"""The engine and the contract reproduce every committed vector: results observed elsewhere, and bugs once found."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from opml_dispute.engine.vm import step_from_witness
from opml_dispute.primitives import StateHash
from opml_dispute.testing.evm_verifier import StepVerdict
from opml_dispute.testing.fuzz import ml_sample
from opml_dispute.testing.made_up_state import MadeUpState
from opml_dispute.testing.vectors import EngineStepper, Load, Stepper, VectorFileError, read_vectors, replay
from tests.agreement.harness import verifier

FILES = sorted((Path(__file__).parents[1] / "vectors").glob("*.jsonl.gz"))
ADD = 0x00430820


def steppers(ml: bool) -> dict[str, Stepper]:
    return {"engine": EngineStepper(), "contract": verifier(ml=ml)}


def test_there_are_vectors() -> None:
    """The folder of vectors is not empty."""
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("ml", [False, True], ids=["base", "ml"])
def test_engine_and_contract_reproduce_the_vectors(file: Path, ml: bool) -> None:
    vectors = [vector for vector in read_vectors(file) if vector.ml == ml]
    count, tallies = replay(vectors, steppers(ml))
    assert count == len(vectors)
    for name, tally in tallies.items():
        assert not tally.disagreements, f"{name}: {tally.disagreements[:5]}"
        assert tally.agree + tally.stricter == count


def test_the_ml_vectors_are_what_their_script_makes() -> None:
    """scripts/renew writes them anew after a change on purpose."""
    (path,) = (file for file in FILES if file.name == "ml-steps.jsonl.gz")
    committed, made = list(read_vectors(path)), ml_sample(EngineStepper())
    assert committed == made
    assert len({vector.name.split("/")[1] for vector in committed if vector.post is not None}) >= 45


def test_base_and_ml_agree_where_the_extension_is_not_used() -> None:
    """The same instruction on the same registers leads to the same memory, scalars and registers."""
    for case in (
        MadeUpState(insn=ADD, registers=tuple(range(32))),
        MadeUpState(insn=0x8C410004, registers=(0, 0, 64) + (9,) * 29),
    ):
        base, ml = (replace(case, ml=is_ml).vector() for is_ml in (False, True))
        states = [step_from_witness(v.state, v.proof, ml=v.ml).post_state for v in (base, ml)]
        left, right = (state or b"" for state in states)
        assert left[:116] == right[:116]  # all but the thread stacks
        assert left[148:] == right[148:]


def test_a_wrong_result_is_a_disagreement() -> None:
    vector = replace(MadeUpState(insn=ADD).vector(), post=StateHash(bytes(32)))
    count, tallies = replay([vector], steppers(ml=False))
    assert (count, tallies["engine"].disagree, tallies["contract"].disagree) == (1, 1, 1)


def test_a_refusal_is_no_disagreement_only_in_the_quirk_group() -> None:
    vector = replace(MadeUpState(insn=ADD, cut=10).vector("quirk/cut/000"), post=StateHash(bytes(32)))
    assert replay([vector], steppers(ml=False))[1]["contract"].stricter == 1
    elsewhere = replace(vector, name="insn/cut/000")
    assert replay([elsewhere], steppers(ml=False))[1]["contract"].disagree == 1


def test_vectors_survive_a_round_trip(tmp_path: Path) -> None:
    loads = (Load("keccak", 3, b"abc"), Load("local", 0, bytes(32), 8, 2, bytes(32)))
    vectors = [
        replace(MadeUpState(ml=True, insn=ADD, compact=True).vector("a/b/0"), loads=loads),
        MadeUpState().vector("a/b/1"),
    ]
    path = tmp_path / "vectors.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(vector.to_json() + "\n" for vector in vectors)
    assert list(read_vectors(path)) == vectors


@pytest.mark.parametrize(
    "content",
    [
        *(b"no gzip", b"\x1f\x8b\x08", b""),
        *(gzip.compress(text, mtime=0) for text in (b"no json", b"{}", b"", b"\xff\xfe", b"[]")),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(VectorFileError):
        list(read_vectors(path))
    with pytest.raises(VectorFileError):
        list(read_vectors(tmp_path))


def test_an_unknown_state_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(json.loads(MadeUpState().vector().to_json()) | {"version": 9}).encode()))
    with pytest.raises(VectorFileError, match="version 9"):
        list(read_vectors(path))


def test_the_contract_says_why_it_refuses() -> None:
    vector = MadeUpState(insn=0x74000000).vector()
    verdict: StepVerdict = verifier(ml=False).step(vector.state, vector.proof)
    assert verdict.post is None
    assert verdict.refusal is not None
    assert verdict.refusal.text == "MIPS64: invalid instruction"
