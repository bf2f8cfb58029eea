"""A watcher ends when its game is over, or when its configuration cannot work, and for no other reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from opml_dispute.actors.actions import Action, Step
from opml_dispute.actors.player import play_round
from opml_dispute.chain.deployment import BadDeployment
from opml_dispute.chain.fees import FeeTooHigh
from opml_dispute.chain.games import UnknownGame
from opml_dispute.chain.requests import InputUnavailable
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import ChainReorganised, NoCode, UnexpectedAnswer, WrongChain
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid, RpcError, RpcFailed, RpcUnreachable
from opml_dispute.chain.transactions import NonceTaken, NotEnoughFunds, NotMined
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.operator.case import WrongStart
from opml_dispute.operator.watch import LONGEST_PAUSE_S, TRIES, persistently, watch
from opml_dispute.trace.provider import WrongInference
from opml_dispute.trace.split import SplitTrace
from tests.support.alphabet import ToyInference, ToyMachine
from tests.support.builders import FAULTY, HONEST, MALLORY, Seat, ToyTable

PASSING: tuple[Callable[[], OpmlError], ...] = (
    lambda: RpcUnreachable("http://x", "nothing listens there", at_once=True),
    lambda: RpcUnreachable("http://x", "HTTP 401 Unauthorized", passes=False),
    lambda: RpcAnswerInvalid("eth_getBlockByNumber", None, "a block"),
    lambda: RpcFailed("eth_call", -32005, "rate limit exceeded"),
    lambda: RpcFailed("eth_call", -32000, "header not found"),
    lambda: RpcFailed("eth_getTransactionReceipt", -32000, "transaction indexing is in progress"),
    lambda: RpcFailed("eth_sendRawTransaction", -32003, "nonce too low"),
    lambda: RpcFailed("eth_sendRawTransaction", -32000, "replacement transaction underpriced"),
    lambda: RpcFailed("eth_call", -1, "something that no list of ours knows"),
    lambda: ChainReorganised("block 5 is no longer 0x12"),
    lambda: UnexpectedAnswer("FaultDisputeGame.status at 0x0 answered 0 bytes"),
    lambda: NotMined("a step", 360.0),
    lambda: NonceTaken("nonce 5 went to another transaction"),
    lambda: NotEnoughFunds("0x0", 1, 2, "a move"),
    lambda: FeeTooHigh(10**12, 10**11),
    lambda: Reverted("FaultDisputeGame.attack", b""),
)


class BadDays(Seat):
    """A seat at which looking and sending fail in turn with every error, and the other player moves in between."""

    def __init__(self, table: ToyTable, errors: Sequence[Callable[[], OpmlError]]) -> None:
        super().__init__(table.reference, HONEST)
        self.table, self.errors, self.looks, self.sends = table, list(errors), 0, 0

    def snapshot(self) -> tuple[Game, int]:
        self.looks += 1
        if self.looks % 3 == 1 and self.errors:
            raise self.errors[self.looks // 3 % len(self.errors)]()
        return super().snapshot()

    def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
        outcomes: list[OpmlError | None] = []
        for action in actions:
            self.sends += 1
            if self.sends % 2 and self.errors:
                outcomes.append(self.errors[self.sends // 2 % len(self.errors)]())
            else:
                outcomes += super().send_all([action])
        return outcomes


@pytest.mark.parametrize("index", range(len(PASSING)))
def test_it_goes_on_after_everything_that_can_pass(index: int) -> None:
    """Whole games, each through one kind of error at every third look and every second transaction."""
    table = ToyTable()
    table.root(FAULTY)
    seat, liar = BadDays(table, [PASSING[index]]), Seat(table.reference, MALLORY)
    told: list[str] = []

    def pause(seconds: float) -> None:
        assert seconds <= LONGEST_PAUSE_S
        table.reference.now += 1_500
        if table.reference.status == 0:
            play_round(liar, table.faulty)

    ended = watch(seat, table.truth, interval_s=12.0, tell=told.append, pause=pause)
    assert ended.status == GameStatus.CHALLENGER_WINS
    assert table.reference.credits[HONEST] > table.reference.deposits[HONEST]
    assert told, "the operator hears of it"


def test_a_game_whose_end_is_taken_back_is_played_on() -> None:
    """The other player moves in the blocks that took the place of those with the end: the watcher is still there."""
    table = ToyTable()
    table.root(FAULTY)
    before = table.game()
    looks: list[GameStatus] = []

    class TakenBack(Seat):
        def snapshot(self) -> tuple[Game, int]:
            game, now_s = super().snapshot()
            # The first readings are of a chain in which the game had ended.
            if len(looks) < 2:
                ended = tuple(replace(claim, is_resolved=True) for claim in before.claims)
                game = replace(before, claims=ended, status=GameStatus.DEFENDER_WINS, resolved_at_s=now_s)
            return game, now_s

    def is_settled(game: Game) -> bool:
        looks.append(game.status)
        return len(looks) > 2

    def pause(seconds: float) -> None:
        table.reference.now += 50_000

    ended = watch(
        TakenBack(table.reference, HONEST),
        table.truth,
        interval_s=1.0,
        tell=lambda sentence: None,
        is_settled=is_settled,
        pause=pause,
    )
    assert looks[:2] == [GameStatus.DEFENDER_WINS] * 2
    assert ended.status == GameStatus.CHALLENGER_WINS


def test_one_trouble_is_told_once_as_long_as_it_lasts() -> None:
    table = ToyTable()
    table.root(FAULTY)
    told: list[str] = []
    pauses: list[float] = []

    class Down(Seat):
        def snapshot(self) -> tuple[Game, int]:
            if len(pauses) < 20:
                raise RpcUnreachable("http://x", "the connection failed")
            return super().snapshot()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        table.reference.now += 50_000 if len(pauses) > 20 else 0

    watch(Down(table.reference, HONEST), table.truth, interval_s=1.0, tell=told.append, pause=pause)
    assert sum("the connection failed" in sentence for sentence in told) == 1
    assert "All is well again" in told
    assert pauses[:20] == sorted(pauses[:20]), "pauses grow"
    assert pauses[19] > 10 * pauses[0]


def test_what_is_done_already_is_not_done_again_without_a_pause() -> None:
    """A node that hides a claim has it made anew in every round; the claim is there, so nothing is sent."""
    table = ToyTable()
    table.root(FAULTY)
    hidden = table.game()
    rounds: list[int] = []

    class Hiding(Seat):
        def snapshot(self) -> tuple[Game, int]:
            return super().snapshot() if len(rounds) > 2 else (hidden, table.reference.now)

        def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
            sent[0] += 1
            assert sent[0] < 20
            return super().send_all(actions) if len(rounds) > 2 or sent[0] == 1 else [None for _ in actions]

    def pause(seconds: float) -> None:
        rounds.append(sent[0])
        table.reference.now += 50_000 if len(rounds) > 2 else 0

    sent = [0]
    watch(Hiding(table.reference, HONEST), table.truth, interval_s=1.0, tell=lambda _: None, pause=pause)
    assert rounds[:3] == [2, 3, 4], "what was just done may be seen only a little later; then one try a pause"


def test_a_wrong_configuration_ends_it() -> None:
    """Waiting does not make another model's trace the right one."""
    table = ToyTable()
    table.root(FAULTY)
    other = SplitTrace(ToyInference(1, table.node_count), ToyMachine(table.node_count), node_count=table.node_count)
    with pytest.raises(WrongInference):
        watch(Seat(table.reference, HONEST), other, interval_s=1.0, tell=lambda _: None, pause=lambda _: None)


def test_an_empty_purse_stops_neither_steps_nor_settling() -> None:
    """Down to the last leaf the honest player paid; then it has nothing left, and wins all the same."""
    table = ToyTable()
    table.root(FAULTY)
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    while not any(claim.position.depth == table.rules.max_depth for claim in table.game().claims):
        play_round(honest, table.truth)
        play_round(liar, table.faulty)
    first_answer = table.reference.claims[1]
    table.reference.move(  # older claims cannot be forestalled any more: this one is beside the point, and not bought
        MALLORY, table.reference.claims[0].claim, 0, b"\x55" * 32, True, table.reference.required_bond(2)
    )
    top = len(table.reference.claims) - 1
    table.reference.move(
        MALLORY,
        first_answer.claim,
        1,
        b"\x66" * 32,
        False,
        table.reference.required_bond(first_answer.position * 2 + 2),
    )

    class Poor(Seat):
        def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
            return [
                super(Poor, self).send_all([action])[0]
                if not hasattr(action, "bond_wei")
                else NotEnoughFunds(HONEST, 0, 1, "a move")
                for action in actions
            ]

    round_ = play_round(Poor(table.reference, HONEST), table.truth)
    assert any(isinstance(action, Step) for action in round_.done)
    assert [type(error) for _, error in round_.failed] == [NotEnoughFunds]
    assert all(getattr(action, "parent_index", None) != top for action, _ in round_.failed)


def test_what_comes_before_the_first_round_is_tried_again() -> None:
    tries: list[int] = []

    def connect() -> str:
        tries.append(1)
        if len(tries) < 5:
            raise RpcFailed("eth_chainId", -32005, "slow down")
        return "connected"

    assert persistently(connect, lambda _: None, interval_s=0.1, pause=lambda _: None) == "connected"

    def nowhere() -> str:
        raise RpcUnreachable("http://x", "nothing listens there", at_once=True)

    with pytest.raises(RpcError):
        persistently(nowhere, lambda _: None, interval_s=0.1, pause=lambda _: None)


@pytest.mark.parametrize(
    "error",
    [
        lambda: RpcFailed("eth_call", -32003, "nonce too low"),
        lambda: UnexpectedAnswer("FaultDisputeGame.status at 0x0 answered 0 bytes"),
        lambda: Reverted("FaultDisputeGame.l1Head", b""),
        lambda: NoCode("0x0", "the factory"),
        lambda: WrongChain("http://x", 1, 31337),
        lambda: UnknownGame("there is no game at 0x0"),
        lambda: WrongStart("request 0x00 starts elsewhere"),
        lambda: InputUnavailable("http://x has no event of request 0x00"),
    ],
)
def test_a_first_reading_that_looks_hopeless_is_tried_several_times(error: Callable[[], OpmlError]) -> None:
    """A node errs in what it says of its errors, too; but a configuration that cannot work is told soon."""
    tries: list[int] = []

    def connect(wrong: int) -> str:
        tries.append(1)
        if len(tries) <= wrong:
            raise error()
        return "connected"

    told: list[str] = []
    assert persistently(lambda: connect(TRIES - 1), told.append, interval_s=0.1, pause=lambda _: None) == "connected"
    assert len(tries) == TRIES
    assert told[0].endswith("trying again")
    assert str(error()) in told[0]
    tries.clear()
    with pytest.raises(type(error())):
        persistently(lambda: connect(TRIES), told.append, interval_s=0.1, pause=lambda _: None)
    assert len(tries) == TRIES


def test_what_is_wrong_on_this_computer_is_told_at_once() -> None:
    tries: list[int] = []

    def connect() -> str:
        tries.append(1)
        raise BadDeployment("cannot read the deployment x.json: it does not exist")

    with pytest.raises(BadDeployment):
        persistently(connect, lambda _: None, interval_s=0.1, pause=lambda _: None)
    assert len(tries) == 1
