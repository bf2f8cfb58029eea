"""`finalize` says what keeps a game that survived from delivering, and no time after which it would."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.cli.test_commands import ask, propose
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]


def test_it_names_the_delay_the_pause_and_what_was_discarded(cli: Cli, on_chain: Chain, key: Key) -> None:
    request_id = ask(cli, key)
    game = propose(cli, key, request_id)
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    signing, guardian = ("--key-file", key("challenger")), ("--key-file", key("deployer"))
    assert cli("resolve", game, *signing).code == 0
    assert_refused(cli("finalize", request_id, *signing), "the finality delay ends in")
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    assert cli("admin", "pause", *guardian).code == 0
    assert_refused(cli("finalize", request_id, *signing), "the guardian has paused the system")
    assert cli("admin", "unpause", *guardian).code == 0
    assert cli("admin", "discard", game, *guardian).code == 0
    assert_refused(cli("finalize", request_id, *signing), "does not count: the guardian discarded it")
