"""Linear layers on weights in blocks, from the builder to a run: their bits, their tiles, and their memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.block_formats import BlockFormat, dequantised
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from tests.kernels.block_cases import weights
from tests.kernels.maker import Array, Maker
from tests.model import blocks
from tests.model.built import built


def made(fmt: BlockFormat, rows: int, k: int, seed: int = 0) -> Array:
    return weights(Maker(np.random.default_rng(seed), awkward=False), fmt, rows, k).copy()


def numbers(*shape: int) -> Array:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("fmt", BlockFormat)
@pytest.mark.parametrize("rows", [1, 5])
def test_a_layer_is_what_its_bytes_say_however_it_is_run(fmt: BlockFormat, rows: int) -> None:
    w, x, bias = made(fmt, 70, 512), numbers(rows, 512), numbers(70)
    expected = blocks.product(blocks.quantised(x, fmt.elements), w, fmt, bias)
    program = built(lambda b, x: b.block_linear(x, b.constant(w), fmt, b.constant(bias)), x.shape)
    tiled = built(lambda b, x: b.block_linear(x, b.constant(w), fmt, b.constant(bias)), x.shape, budget=1 << 17)
    assert tiled.node_count > program.node_count == 2
    for each in (program, tiled):
        for threads in (1, 2):
            at_once, by_nodes = (Inference(each, {"x": x}, threads=threads) for _ in range(2))
            for node in range(each.node_count + 1):
                by_nodes.run_to(node)
            for found in (at_once.outputs()["y"], by_nodes.outputs()["y"]):
                assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("fmt", BlockFormat)
def test_a_layer_is_close_to_the_same_in_real_numbers(fmt: BlockFormat) -> None:
    w, x = made(fmt, 33, 512), numbers(3, 512)
    program = built(lambda b, x: b.block_linear(x, b.constant(w), fmt), x.shape)
    found = Inference(program, {"x": x}).outputs()["y"]
    exact = x.astype(np.float64) @ dequantised(w, fmt).astype(np.float64).T
    assert np.abs(found - exact).max() < 0.01 * np.abs(exact).max()


def test_rows_of_a_table_are_its_elements() -> None:
    w = made(BlockFormat.Q8_0, 9, 64)
    index = np.array([3, -1, 0, 3], np.int64)
    looked_up = built(lambda b, x: b.block_gather(b.constant(w), x, BlockFormat.Q8_0), (4,), DType.I64)
    assert (Inference(looked_up, {"x": index}).outputs()["y"] == dequantised(w, BlockFormat.Q8_0)[index]).all()


def test_weights_in_a_mapped_file_are_not_copied(tmp_path: Path) -> None:
    made(BlockFormat.Q4_1, 300, 64).tofile(tmp_path / "weights")
    mapped = np.memmap(tmp_path / "weights", np.uint8, "r", shape=(300, 40))
    program = built(lambda b, x: b.block_linear(x, b.constant(mapped), BlockFormat.Q4_1), (1, 64))
    assert any(np.shares_memory(np.frombuffer(block.data, np.uint8), mapped) for block in program.weights)


@pytest.mark.parametrize(
    ("shape", "rows"), [((1, 48), (5, 20)), ((1, 64), (5, 41)), ((1, 96), (5, 40)), ((), (5, 40)), ((1, 64), (0, 40))]
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], rows: tuple[int, int]) -> None:
    builder = Builder()
    with pytest.raises(Refuse, match=r"Q4_1|activations"):
        builder.block_linear(
            builder.constant(numbers(*shape)), builder.constant(np.zeros(rows, np.uint8)), BlockFormat.Q4_1
        )
