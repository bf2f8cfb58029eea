"""
The interfaces through which an actor reads a trace, honest or faulty.

`TraceProvider` is a single trace: a value at a position, and the witness of one step. `GameTrace` is the actors'
interface: the same for the claims of a game, where a claim below the split depth is about the one node that its
ancestors chose. An answer never changes: two calls, two processes, two machines give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.position import Position
from opml_dispute.primitives import Hash32

if TYPE_CHECKING:
    from opml_dispute.engine.vm import StepWitness

ValueT_co = TypeVar("ValueT_co", covariant=True)
AnswerT = TypeVar("AnswerT")


class TraceError(OpmlError):
    """A value cannot be determined here. An actor stops at it, since anything further would be a guess."""


class WrongInference(TraceError):
    """The game is about another inference than this trace."""

    hint = "check that model file, input and request belong together"


class TraceProvider(Protocol[ValueT_co]):
    """One trace: `StateTrace` speaks state roots, `VmTrace` speaks state hashes."""

    def claim_at(self, position: Position) -> ValueT_co:
        """The value at `position` of the trace's own tree; raises `TraceError` if it cannot be determined."""
        ...

    def step_witness(self, position: Position) -> StepWitness:
        """The witness of the instruction that leads to the state at `position`, a leaf."""
        ...


@dataclass(frozen=True, slots=True)
class LocalRead:
    """A local pre-image that a step reads: `addLocalData(ident, claim, offset)` must come first."""

    ident: int
    """The ident: 2 starting root, 3 disputed root, …"""

    offset: int
    """The first byte of the stream (8 bytes of length, then the data) that the step reads."""


@dataclass(frozen=True, slots=True)
class StepData:
    """The data of a step on chain."""

    witness: StepWitness
    """State and proofs, for the instruction about to run."""

    local_read: LocalRead | None
    """The local pre-image that it reads, if it reads one."""


class GameTrace(Protocol):
    """The honest or a faulty trace over the claims of one game."""

    def root_claim(self) -> Hash32:
        """S_n: what a proposer claims."""
        ...

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        """The right value where `claim` stands; raises `TraceError` if it cannot be determined."""
        ...

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        """The right value where an answer to `claim` would stand; raises `TraceError` likewise."""
        ...

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        """The data of a step against the leaf claim `claim`; raises `TraceError` likewise."""
        ...


@runtime_checkable
class RunsAhead(Protocol):
    """A trace that can make several VM runs at a time, once it knows which are needed."""

    def ahead(self, judge: Callable[[], AnswerT]) -> AnswerT:
        """The final result of `judge`, which reads this trace and may be called twice."""
        ...
