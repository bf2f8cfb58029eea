"""
Third parties in games on a local chain: accounts that help the liar, or only cause damage.

Each of `MEDDLERS` gets the game, the honest player's trace, and a function that sends; it makes a few moves, each with
its bond, and ignores refusals by the contract. The honest actor must withstand them: its own moves made first by
another account, other values in their places, false claims made twice, claims at the split depth about made-up state
roots.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeAlias

from opml_dispute.actors.actions import Action, Move, Step
from opml_dispute.actors.honest import consider
from opml_dispute.chain.reverts import Reverted
from opml_dispute.game.bond import required_bond_wei
from opml_dispute.game.claim import Game
from opml_dispute.game.position import DepthError
from opml_dispute.game.rules import IllegalMove, allowed_vm_statuses, check_move
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.play import Table
from opml_dispute.primitives import Hash32

Act: TypeAlias = Callable[[Intent], object]
Meddler: TypeAlias = Callable[[Table, Act, random.Random], int]
"""A meddler's function, which answers the number of its moves."""


def front_runner(table: Table, act: Act, chance: random.Random) -> int:
    """Make the moves and steps that the honest player is about to make."""
    game, now_s = table.snapshot()
    return _do_all(table, act, game, now_s, list(consider(game, table.trace, now_s).actions)[:2])


def freeloader(table: Table, act: Act, chance: random.Random) -> int:
    """Post another value at the position where the honest player is about to answer."""
    game, now_s = table.snapshot()
    owed = [action for action in consider(game, table.trace, now_s).actions if isinstance(action, Move)]
    return _do_all(
        table, act, game, now_s, [_lie(game, move.parent_index, move.is_attack, chance) for move in owed[:1]]
    )


def latecomer(table: Table, act: Act, chance: random.Random) -> int:
    """Post another value at the position of an existing answer."""
    game, now_s = table.snapshot()
    answers = [claim for claim in game.claims if claim.parent_index is not None]
    if not answers:
        return 0
    claim = chance.choice(answers)
    assert claim.parent_index is not None
    return _do_all(table, act, game, now_s, [_lie(game, claim.parent_index, game.is_attack(claim), chance)])


def duplicator(table: Table, act: Act, chance: random.Random) -> int:
    """Repeat a claim: under the same parent, where it is refused, and under another."""
    game, now_s = table.snapshot()
    said, under = chance.choice(game.claims), chance.choice(game.claims)
    moves = [_move(game, under.index, said.value, is_attack=chance.random() < 0.6)]
    if said.parent_index is not None:
        moves.append(_move(game, said.parent_index, said.value, is_attack=game.is_attack(said)))
    return _do_all(table, act, game, now_s, moves)


def decoy(table: Table, act: Act, chance: random.Random) -> int:
    """Post a claim at the split depth about a made-up state root, and an execution root over one: each takes a VM run
    to check."""
    game, now_s = table.snapshot()
    moves = []
    for depth in (game.depths.split - 1, game.depths.split):
        claims = [claim for claim in game.claims if claim.position.depth == depth]
        if claims:
            moves.append(_lie(game, chance.choice(claims).index, True, chance))
    return _do_all(table, act, game, now_s, moves)


def random_attacker(table: Table, act: Act, chance: random.Random) -> int:
    """Make a random move against any claim that can be answered, right or wrong."""
    game, now_s = table.snapshot()
    claims = list(game.claims)
    chance.shuffle(claims)
    for claim in claims:
        is_attack, value = chance.random() < 0.5, bytes([chance.choice([0, 1, 2])]) + chance.randbytes(31)
        if done := _do_all(table, act, game, now_s, [_move(game, claim.index, value, is_attack=is_attack)]):
            return done
    return 0


MEDDLERS: Final[dict[str, Meddler]] = {
    meddler.__name__: meddler for meddler in (front_runner, freeloader, latecomer, duplicator, decoy, random_attacker)
}


def _lie(game: Game, index: int, is_attack: bool, chance: random.Random) -> Move | None:
    """A wrong value that the contract accepts as an answer to a claim."""
    claim, value = game.claims[index], chance.randbytes(32)
    if claim.position.depth == game.depths.split:
        value = bytes([min(allowed_vm_statuses(game, claim, is_attack=is_attack))]) + value[1:]
    return _move(game, index, value, is_attack=is_attack)


def _move(game: Game, index: int, value: bytes, *, is_attack: bool) -> Move | None:
    claim = game.claims[index]
    try:
        position = claim.position.move(is_attack=is_attack)
    except DepthError:
        return None
    if position.depth > game.depths.max:
        return None
    bond_wei = required_bond_wei(position.depth, game.depths.max, game.terms)
    return Move(index, claim.value, is_attack, Hash32(value), position, bond_wei, "to do harm")


def _do_all(table: Table, act: Act, game: Game, now_s: int, actions: list[Move | None] | list[Move | Step]) -> int:
    """Make the moves that the contract accepts, and answer their number."""
    done = 0
    for action in actions:
        if action is None or not _is_legal(game, now_s, action):
            continue
        try:
            for intent in table.intents(game, now_s, [action]):
                act(intent)
        except Reverted:
            continue
        done += 1
    return done


def _is_legal(game: Game, now_s: int, action: Action) -> bool:
    if not isinstance(action, Move):
        return True
    try:
        check_move(game, action.parent_index, action.value, is_attack=action.is_attack, now_s=now_s)
    except IllegalMove:
        return False
    return True
