"""
Conformance cases broken at random: each compiles or is refused with a reason.

None ends in a traceback, nor in the refusal that stands for a fault of the compiler itself.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import CompilerFault, InputNotFixed, ModelError
from opml_dispute.model.tensor import Array
from tests.onnx.backend import cases
from tests.onnx.microsoft_cases import CASES as MICROSOFT_CASES
from tests.onnx.microsoft_cases import model_of

CASES = 450
FIXES = 12
"""Inputs of one case that are fixed, one after another, at most."""


def _broken(rng: random.Random) -> Iterator[tuple[str, onnx.ModelProto, dict[str, Array]]]:
    """A sample of cases, each with one shape, attribute or operand changed, and the values of its inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = [case for case in cases() if case.kind != "real" and "_expanded" not in case.name]
    for case in rng.sample(known, CASES):
        assert case.model is not None
        assert case.data_sets is not None
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        names = [value.name for value in model.graph.input]
        values = dict(zip(names, case.data_sets[0][0], strict=False))
        if _break(model, values, rng):
            yield case.name, model, values


EXTREMES = (-(2**63), -(2**31), -2, 0, 2**31 - 1, 2**40, 2**63 - 1)


def _break(model: onnx.ModelProto, values: dict[str, Any], rng: random.Random) -> bool:
    """Changes one thing; whether there was anything of the chosen kind to change."""
    kind = rng.choice(["size", "rank", "attribute", "operand", "list", "value"])
    if kind == "value":
        return _break_value(model, values, rng)
    if kind == "list":
        lists = [a for node in model.graph.node for a in node.attribute if a.ints or a.floats]
        if lists:
            attribute = rng.choice(lists)
            entries: Any = attribute.ints or attribute.floats
            entries[:] = rng.choice([list(entries)[1:], [*entries, entries[0]]])
        return bool(lists)
    tensors = [value for value in model.graph.input if value.type.HasField("tensor_type")]
    if kind in ("size", "rank"):
        if not tensors:
            return False
        shape = rng.choice(tensors).type.tensor_type.shape
        if kind == "rank" and (not shape.dim or rng.random() < 0.5):
            shape.dim.add().dim_value = 2
        elif kind == "rank":
            del shape.dim[-1]
        elif shape.dim:
            dim = rng.choice(list(shape.dim))
            dim.dim_value = rng.choice([0, 1, dim.dim_value + 1, 2 * dim.dim_value])
        return True
    if kind == "attribute":
        numbers = [a for node in model.graph.node for a in node.attribute if a.HasField("i") or a.ints]
        if numbers:
            attribute = rng.choice(numbers)
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice([-3, -1, 0, 1, 5])
            else:
                attribute.i = rng.choice([-5, -1, 0, 1, 2, 7])
        return bool(numbers)
    inputs = model.graph.node[0].input
    if len(inputs) > 1:
        inputs[rng.randrange(1, len(inputs))] = ""
    return len(inputs) > 1


def _break_value(model: onnx.ModelProto, values: dict[str, Any], rng: random.Random) -> bool:
    """Puts a number at the ends of its type into an input of integers, or gives it one dimension more."""
    shapes = {value.name: value.type.tensor_type.shape for value in model.graph.input}
    names = [
        name
        for name, value in values.items()
        if isinstance(value, np.ndarray) and value.dtype in (np.int64, np.int32) and 0 < value.size < 100
    ]
    if not names:
        return False
    name = rng.choice(names)
    if rng.random() < 0.3:
        values[name] = values[name][None]
        shapes[name].dim.add().dim_value = 1
        sizes = values[name].shape
        for dim, size in zip(shapes[name].dim, sizes, strict=False):
            dim.dim_value = size
        return True
    limits = np.iinfo(values[name].dtype)
    values[name] = values[name].copy()
    values[name].reshape(-1)[rng.randrange(values[name].size)] = min(max(rng.choice(EXTREMES), limits.min), limits.max)
    return True


@pytest.mark.parametrize("seed", [1, 2])
def test_a_broken_model_compiles_or_is_refused(seed: int) -> None:
    """Whatever compiles satisfies every rule, or compiling would have raised `BrokenRule`."""
    refused = 0
    for name, model, values in _broken(random.Random(seed)):
        fixed: dict[str, Array] = {}
        for _ in range(FIXES):
            try:
                compile_model(model, constants=fixed)
            except InputNotFixed as need:
                fixed |= {given: np.asarray(values[given]) for given in need.inputs}
                continue
            except CompilerFault as fault:
                raise AssertionError(f"{name}, seed {seed}") from fault
            except ModelError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}") from error
            break
    assert refused > CASES // 10, "the changes are too harmless to show anything"


BREAKS: tuple[Callable[[Array], Array], ...] = (
    lambda x: x[None],
    lambda x: x[..., None],
    lambda x: x[0] if x.ndim and x.shape[0] else x[None],
    lambda x: x[:0] if x.ndim else x[None],
    lambda x: x[..., :-1] if x.ndim else x[None],
    lambda x: np.concatenate([x, x[:1]]) if x.ndim else x[None],
    lambda x: x.reshape(-1)[:1].reshape(()) if x.size else x[None],
)
"""Shapes that an input does not have."""


@pytest.mark.parametrize("kind", MICROSOFT_CASES)
def test_a_broken_node_of_onnx_runtimes_own_set_compiles_or_is_refused(kind: str) -> None:
    """ONNX's checker knows none of these operators: their lowerings find out for themselves."""
    rng, random_numbers = random.Random(kind), np.random.default_rng(5)
    for _ in range(6):
        case = MICROSOFT_CASES[kind](random_numbers)
        inputs = list(case.inputs)
        at = rng.choice([i for i, value in enumerate(inputs) if value is not None])
        value = inputs[at]
        assert value is not None
        inputs[at] = rng.choice(BREAKS)(value)
        model, given = model_of(replace(case, inputs=inputs))
        try:
            compile_model(
                model,
                constants={key: given[key] for key in given if (case.op_type, key) == ("GroupQueryAttention", "x6")},
            )
        except CompilerFault as fault:
            raise AssertionError(f"{kind}, {[None if x is None else x.shape for x in inputs]}") from fault
        except ModelError:
            continue
