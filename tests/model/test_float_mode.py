"""The model root does not depend on the floating-point mode that this process has set."""

from __future__ import annotations

import ctypes
import decimal
import mmap
import platform
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest

from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Graph, single

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the mode register of x86-64")

SetMode = Callable[[int], None]
MODES = {"flush to zero": 0x9FC0, "upward": 0x5F80, "downward": 0x3F80, "towards zero": 0x7F80}
NORMAL = 0x1F80


@pytest.fixture(scope="module")
def set_mode() -> Iterator[SetMode]:
    """Sets MXCSR, by a few bytes of machine code: push rdi; ldmxcsr [rsp]; pop rdi; ret."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes([0x57, 0x0F, 0xAE, 0x14, 0x24, 0x5F, 0xC3]))
    buffer = ctypes.c_char.from_buffer(code)
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(ctypes.addressof(buffer))
    yield function
    function(NORMAL)
    del buffer


def _models() -> dict[str, onnx.ModelProto]:
    graph = Graph()
    x = graph.input("x", [2])
    product = graph.node(
        "Mul",
        graph.constant(np.array([1e-38, 2e-38], np.float32)),
        graph.constant(np.array([0.1, 0.3], np.float32)),
    )
    doubles = Graph()
    y = doubles.input("y", [2], 11)
    return {
        "folded": graph.model([graph.node("Add", x, product)]),
        "binary64": doubles.model([doubles.node("Add", y, doubles.constant(np.array([1e-40, 1 / 3])))]),
        "DFT": single("DFT", np.zeros((1, 31, 1), np.float32), onesided=1, axis=1),
        "HannWindow": single("HannWindow", np.array(17, np.int64)),
    }


@pytest.mark.parametrize("name", list(_models()))
def test_the_root_is_the_same_in_every_mode(name: str, set_mode: SetMode) -> None:
    constants = {"x0": np.array(17, np.int64)} if name == "HannWindow" else {}
    model = _models()[name]
    expected = compile_model(model, constants=constants).model_root
    for mode in MODES.values():
        set_mode(mode)
        try:
            root = compile_model(model, constants=constants).model_root
        finally:
            set_mode(NORMAL)
        assert root == expected


def test_the_root_does_not_depend_on_how_errors_or_decimals_are_handled() -> None:
    model = _models()["folded"]
    expected = compile_model(model).model_root
    with np.errstate(all="raise"), decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        assert compile_model(model).model_root == expected
