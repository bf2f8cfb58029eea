"""Blocks by their time, against every chain that a search can meet, and the number of questions it takes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.chain.answers import Head
from opml_dispute.chain.block_times import SETTLED_BLOCKS, BlocksMissing, BlockTimes


class FakeRpc:
    """A node that knows when blocks were made, the oldest ones no more."""

    url = "http://node.example"

    def __init__(self, times: Sequence[int], *, oldest: int = 0) -> None:
        self.times, self.oldest, self.asked = list(times), oldest, 0

    def head(self) -> Head:
        """The latest block."""
        self.asked += 1
        return self._head(len(self.times) - 1)

    def block(self, number: int) -> Head | None:
        """One of the blocks that it keeps."""
        self.asked += 1
        return self._head(number) if self.oldest <= number < len(self.times) else None

    def _head(self, number: int) -> Head:
        return Head(number, number.to_bytes(32, "big"), self.times[number], 1)


def expected(times: Sequence[int], timestamp_s: int) -> tuple[int, int]:
    first = sum(time_s < timestamp_s for time_s in times)
    return first, first + sum(time_s == timestamp_s for time_s in times) - 1


@given(st.lists(st.integers(0, 40), min_size=1, max_size=150), st.lists(st.integers(-1, 45), min_size=1, max_size=12))
def test_the_blocks_of_any_second_are_found(times: list[int], wanted: list[int]) -> None:
    """Also where many blocks share a second, where none has it, and after any earlier searches."""
    times.sort()
    search = BlockTimes(FakeRpc(times))  # type: ignore[arg-type]
    for timestamp_s in wanted:
        assert search.span(timestamp_s) == expected(times, timestamp_s)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=120), st.data())
def test_a_node_without_old_blocks_finds_what_it_has_or_says_so(steps: list[int], data: st.DataObject) -> None:
    times = [sum(steps[: number + 1]) for number in range(len(steps))]
    oldest = data.draw(st.integers(1, len(times) - 1))
    search = BlockTimes(FakeRpc(times, oldest=oldest))  # type: ignore[arg-type]
    for timestamp_s in data.draw(st.lists(st.integers(0, times[-1]), min_size=1, max_size=6)):
        first, last = expected(times, timestamp_s)
        if first > oldest or (first == oldest and last >= first):
            assert search.span(timestamp_s) == (first, last)
        else:
            with pytest.raises(BlocksMissing, match=f"no blocks before {oldest}"):
                search.span(timestamp_s)


def test_hundreds_of_requests_take_few_questions_each() -> None:
    """A chain of regular blocks, of which a few are missing; requests of the last month. It was 40 questions each."""
    chance = random.Random(1)
    slots = sorted(chance.sample(range(250_000), 240_000))
    times = [12 * slot for slot in slots]
    rpc = FakeRpc(times)
    search = BlockTimes(rpc)  # type: ignore[arg-type]
    wanted = [chance.choice(times[-200_000:]) for _ in range(200)]
    for timestamp_s in wanted:
        assert search.span(timestamp_s) == expected_fast(times, timestamp_s)
    assert rpc.asked < 9 * len(wanted)


def expected_fast(times: Sequence[int], timestamp_s: int) -> tuple[int, int]:
    number = times.index(timestamp_s)
    return number, number


def test_what_a_reorganisation_may_take_back_is_not_remembered() -> None:
    rpc = FakeRpc(range(0, 12 * SETTLED_BLOCKS, 12))
    search = BlockTimes(rpc)  # type: ignore[arg-type]
    for timestamp_s in rpc.times[1:]:
        search.span(timestamp_s)
    assert not search.remembers


def test_after_a_deep_reorganisation_the_search_begins_anew() -> None:
    rpc = FakeRpc(range(0, 12_000, 12))
    search = BlockTimes(rpc)  # type: ignore[arg-type]
    search.span(6_000)
    assert search.remembers
    search.forget()
    rpc.times = list(range(0, 24_000, 24))
    assert search.span(6_000) == (250, 250)
