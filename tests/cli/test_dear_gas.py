"""Prices of gas above the default limit, where the operator allows more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_commands import ask, propose
from tests.conftest import Chain

Key = Callable[[str], str]
GWEI = 10**9


@pytest.fixture(autouse=True)
def cheap_again(on_chain: Chain) -> Iterator[None]:
    """The node keeps the next block's price when the chain is put back."""
    yield
    make_dear(on_chain, GWEI // 2)


def make_dear(on_chain: Chain, base_fee_wei: int) -> None:
    on_chain.rpc.request("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
    on_chain.rpc.request("evm_mine")


def test_a_challenge_is_made_at_any_price_that_the_operator_allows(cli: Cli, on_chain: Chain, key: Key) -> None:
    """The preflight counts what gas costs; whether that is too much, the limit says."""
    game = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    make_dear(on_chain, 2_000 * GWEI)
    made = cli("challenge", game, "--key-file", key("challenger"), "--max-fee", "5000gwei", "--json")
    assert made.code == 0, made.err
    assert made.objects[-1]["did"] == "attack"


def test_a_price_above_the_limit_is_told_of_as_such(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Not as a game that cannot be defended: the price may fall in a minute."""
    game = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    make_dear(on_chain, 2_000 * GWEI)
    made = cli("challenge", game, "--key-file", key("challenger"))
    assert made.code == 1
    assert "gas costs" in made.err
    assert "--max-fee" in made.err
    assert "defensible" not in made.err


def test_a_watcher_that_starts_while_gas_is_too_dear_plays_when_it_is_cheaper(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells of the price, waits, and makes its move."""
    game = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    make_dear(on_chain, 2_000 * GWEI)

    class Pauses:
        count = 0

        def sleep(self, seconds: float) -> None:
            self.count += 1
            make_dear(on_chain, GWEI)
            if self.count == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr("opml_dispute.cli.dispute.time", Pauses())
    watched = cli("respond", game, "--watch", "--key-file", key("challenger"), "--json")
    assert watched.code == 130, watched.err
    assert "attack" in [item.get("did") for item in watched.objects]
