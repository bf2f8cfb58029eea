"""
What a claim of a game is about, in either phase: the common part of every trace of a whole game.

Down to the split depth a claim is about a state root, wherever it stands. Below, it is about the run of one node, and
its ancestors say which: `game.rules.subgame_roots_of`. `PhasedTrace` answers an actor's questions from three that a
computation answers: a state root, the state hash at a place of a `NodeRun`, and the witness of a step in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import Position
from opml_dispute.game.rules import SubgameRoots, local_data, subgame_roots_below, subgame_roots_of
from opml_dispute.primitives import Hash32, StateHash, StateRoot
from opml_dispute.trace.provider import StepData, WrongInference
from opml_dispute.trace.states import StateTrace

RunKey: TypeAlias = tuple[str, bytes]
"""The game's address, and the subgame's local context."""


@dataclass(frozen=True)
class NodeRun:
    """One node's run in the VM, as a subgame is about it: all that fixes its states."""

    game: str
    local_context: bytes
    node_index: int
    starting_root: bytes
    local: Mapping[int, bytes]
    """Local pre-images by ident."""
    depth: int
    """Of the subgame: the run has room for 2**depth instructions."""

    @classmethod
    def of(cls, game: Game, outputs: SubgameRoots) -> NodeRun:
        """The run that an execution subgame is about."""
        return cls(
            game=game.address,
            local_context=bytes(outputs.local_context),
            node_index=outputs.node_index(game),
            starting_root=bytes(outputs.starting.root),
            local={int(ident): data for ident, data in local_data(game, outputs).items()},
            depth=game.depths.execution,
        )

    @property
    def key(self) -> RunKey:
        """What tells it from other runs."""
        return self.game, self.local_context


class PhasedTrace(ABC):
    """A `GameTrace` over a computation of one inference."""

    def __init__(self, node_count: int, depths: Depths | None = None) -> None:
        """`depths`: those that every game of the inference has, if they are known."""
        self.node_count, self._depths = node_count, depths
        self._checked: set[str] = set()

    @abstractmethod
    def state_root(self, t: int) -> StateRoot:
        """S_t."""

    @abstractmethod
    def run_hash(self, run: NodeRun, place: Position) -> StateHash:
        """The state hash at a position of a run's own tree; raises `TraceError` if it cannot be determined."""

    @abstractmethod
    def run_step(self, run: NodeRun, place: Position) -> StepData:
        """The witness of the instruction that leads to the state at `place`, a leaf; raises `TraceError` likewise."""

    @abstractmethod
    def prestate(self) -> StateHash:
        """Where the VM starts here."""

    def root_claim(self) -> Hash32:
        """S_n."""
        return Hash32(self.state_root(self.node_count))

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        """The right value where `claim` stands."""
        if claim.position.depth <= game.depths.split:
            return self._state_root_at(game, claim.position)
        return self._state_hash_at(game, subgame_roots_of(game, claim.index), claim.position)

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        """The right value where an answer to `claim` would stand."""
        position = claim.position.move(is_attack=is_attack)
        if position.depth <= game.depths.split:
            return self._state_root_at(game, position)
        if claim.position.depth == game.depths.split:
            return self._state_hash_at(game, subgame_roots_below(game, claim.index, is_attack=is_attack), position)
        return self._state_hash_at(game, subgame_roots_of(game, claim.index), position)

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        """What a step against the leaf `claim` needs: an attack runs the instruction before it, a defence after."""
        self.check(game)
        leaf = claim.position.within_subtree(game.depths.execution_root)
        place = leaf if is_attack else leaf.right_neighbour()
        return self.run_step(NodeRun.of(game, subgame_roots_of(game, claim.index)), place)

    def _state_root_at(self, game: Game, position: Position) -> Hash32:
        self.check(game)
        trace = StateTrace(self, node_count=self.node_count, split_depth=game.depths.split)
        return Hash32(trace.claim_at(position))

    def _state_hash_at(self, game: Game, outputs: SubgameRoots, position: Position) -> Hash32:
        self.check(game)
        place = position.within_subtree(game.depths.execution_root)
        return Hash32(self.run_hash(NodeRun.of(game, outputs), place))

    def check(self, game: Game) -> None:
        """Refuses a game about another program, another input or another guest. Raises `WrongInference`."""
        # Before every answer: a place in a tree of another depth is another place, and a move there is lost.
        if self._depths is not None and game.depths != self._depths:
            raise WrongInference(f"the game has {game.depths}, games of this program have {self._depths}")
        if game.address in self._checked:  # none of this changes during a game
            return
        if game.node_count != self.node_count:
            raise WrongInference(f"the game is about {game.node_count} nodes, this program has {self.node_count}")
        first = self.state_root(0)
        if game.starting_root != first:
            raise WrongInference(f"the game starts at 0x{game.starting_root.hex()}, this run at 0x{first.hex()}")
        prestate = self.prestate()
        if game.absolute_prestate != prestate:
            raise WrongInference(
                f"the game's VM starts at 0x{game.absolute_prestate.hex()}, this release's guest at 0x{prestate.hex()}",
                hint="the contracts belong to another release of the guest",
            )
        self._checked.add(game.address)
