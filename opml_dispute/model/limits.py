"""
Limits on the resources that the compiler may use for an untrusted model.

A few bytes of ONNX can describe any amount of work: an `Expand` and a `MatMul` become millions of nodes, a `Loop` as
many operations as its count says, or none at all though its body is lowered again and again. A `Meter` counts what one
compilation makes, and refuses what goes beyond its limits before it is made, with `ModelTooDear`. Limits do not change
the compiled program; an operator that trusts a larger model raises them, by the environment variable `OPML_LIMITS`, as
in `OPML_LIMITS=nodes=4000000,seconds=3600`, or from Python.

How much memory an inference may take is bounded by `engine.inference`, and the steps of a node by the segment.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields, replace
from typing import Final

from opml_dispute import working
from opml_dispute.model.refusals import ModelError

VARIABLE: Final = "OPML_LIMITS"


class ModelTooDear(ModelError):
    """Compiling the model takes more than is allowed."""

    def __init__(self, what: str, name: str, limit: float, *, at: str = "") -> None:
        super().__init__(f"the model needs more than {limit:,} {what}{at}, the most that is allowed here")
        self.hint = f"if you trust the model, allow more: {VARIABLE}={name}=N (or from Python: limits=Limits({name}=N))"
        self.name, self.limit = name, limit


class BadLimit(ModelError):
    """A limit that cannot be read."""

    hint = f"write it like {VARIABLE}=nodes=4000000,seconds=3600"


@dataclass(frozen=True)
class Limits:
    """The most that one compilation may take."""

    nodes: int = 1 << 19
    """Records of the program; each takes 512 bytes, and some two kilobytes while it is made."""
    operations: int = 1 << 18
    """Operations before they are cut into nodes."""
    lowered: int = 1 << 20
    """Nodes of ONNX graphs that are lowered, those in a loop once per iteration."""
    constant_bytes: int = 1 << 33
    """Weights, and what is computed of them now."""
    seconds: float = 900.0
    """Of time."""

    @classmethod
    def of_environment(cls) -> Limits:
        """The defaults, changed by `OPML_LIMITS`. Raises `BadLimit`."""
        limits = cls()
        kinds = {field.name: type(getattr(limits, field.name)) for field in fields(cls)}
        for part in filter(None, os.environ.get(VARIABLE, "").split(",")):
            name, _, text = part.strip().partition("=")
            try:
                value = kinds[name](text)
            except (KeyError, ValueError):
                raise BadLimit(f"{part!r} is no limit; there are {', '.join(kinds)}") from None
            if not 0 < value < float("inf"):
                raise BadLimit(f"{part!r} is no limit: expected a number above 0")
            limits = replace(limits, **{name: value})
        return limits


class Meter:
    """The resources that one compilation has used so far."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._nodes = self._operations = self._lowered = self._constant_bytes = 0
        self._deadline = time.monotonic() + limits.seconds

    def operation(self) -> None:
        """Count an operation. Raises `ModelTooDear`."""
        self._operations += 1
        if self._operations > self.limits.operations:
            raise ModelTooDear("operations", "operations", self.limits.operations)
        self.check_time()

    def lowered(self) -> None:
        """Count a node of an ONNX graph that is about to be lowered. Raises `ModelTooDear`."""
        self._lowered += 1
        if self._lowered > self.limits.lowered:
            raise ModelTooDear("nodes of its graphs lowered", "lowered", self.limits.lowered)
        self.check_time()

    def foreseen(self, count: int) -> None:
        """Refuse `count` nodes of ONNX graphs before the first of them is lowered. Raises `ModelTooDear`."""
        if self._lowered + count > self.limits.lowered:
            at = f" ({count:,} at least)"
            raise ModelTooDear("nodes of its graphs lowered", "lowered", self.limits.lowered, at=at)

    def rounds(self, count: int, operations: int) -> None:
        """Refuse `count` more rounds of `operations` each before the first is made. Raises `ModelTooDear`."""
        if self._operations + count * operations > self.limits.operations:
            raise ModelTooDear("operations", "operations", self.limits.operations, at=f" for {count:,} more iterations")

    def nodes(self, count: int, operation: str = "") -> None:
        """Count nodes that are about to be made. Raises `ModelTooDear`."""
        self._nodes += count
        if self._nodes > self.limits.nodes:
            at = f", {count:,} of them for {operation}" if operation else ""
            raise ModelTooDear("nodes", "nodes", self.limits.nodes, at=at)
        self.check_time()

    def constant(self, size_bytes: int) -> None:
        """Count bytes of constants that are about to be computed. Raises `ModelTooDear`."""
        self.afford(size_bytes)
        self._constant_bytes += size_bytes

    def afford(self, size_bytes: int) -> None:
        """Refuse a constant of so many bytes before it takes memory. Raises `ModelTooDear`."""
        if self._constant_bytes + size_bytes > self.limits.constant_bytes:
            raise ModelTooDear("bytes of constants", "constant_bytes", self.limits.constant_bytes)

    def _so_far(self) -> str:
        seconds = time.monotonic() - self._deadline + self.limits.seconds
        made = (
            f"{self._nodes:,} nodes made of them" if self._nodes else f"{self._constant_bytes >> 20:,} MiB of constants"
        )
        return f"compiling the model, {seconds:.0f} s: {self._operations:,} operations, {made}"

    def check_time(self) -> None:
        """Raises `ModelTooDear` if the time is over."""
        working.tell(self._so_far)
        if time.monotonic() > self._deadline:
            raise ModelTooDear("seconds to compile", "seconds", self.limits.seconds)
