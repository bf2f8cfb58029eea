"""The names of a graph's values, and which of these values are padded."""

from __future__ import annotations

from opml_dispute.model.lower import Value
from opml_dispute.model.padding import Padding
from opml_dispute.model.refusals import InvalidModel
from opml_dispute.model.tensor import Tensor


class Scope:
    """Names and their values; a subgraph sees those around it."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.values: dict[str, Value] = {}
        self.paddings: dict[str, Padding] = {}
        """Of the values whose size depends on data."""
        self.outer = outer

    def __getitem__(self, name: str) -> Value:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise InvalidModel(f"tensor {name!r} is used before anything makes it")

    def padding(self, name: str) -> Padding | None:
        """The padding of the value that `name` stands for; None if all of it is there."""
        scope: Scope | None = self
        while scope is not None and name not in scope.values:
            scope = scope.outer
        return None if scope is None else scope.paddings.get(name)

    def expect_own(self, name: str, value: Tensor) -> None:
        """Raises `InvalidModel` if a constant's name stands for something else around its graph: which one is meant?"""
        scope = self.outer
        while scope is not None and name not in scope.values:
            scope = scope.outer
        if scope is not None and not _are_same(scope.values[name], value):
            raise InvalidModel(f"tensor {name!r} is a constant of a graph inside of one that has another of that name")

    def put(self, name: str, value: Value, padding: Padding | None) -> None:
        """Gives a value its name."""
        self.values[name] = value
        self.paddings.pop(name, None)
        if padding is not None:
            self.paddings[name] = padding


def _are_same(around: Value, constant: Tensor) -> bool:
    """Whether a value is a constant with the same elements."""
    if around is constant or not isinstance(around, Tensor) or not around.is_constant:
        return around is constant
    kinds = [(each.dtype, each.narrow, each.shape) for each in (around, constant)]
    return kinds[0] == kinds[1] and around.values().tobytes() == constant.values().tobytes()
