"""Nodes misbehave in every way that `fault_proxy` knows; reading and sending work through each of them all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.block_times import BlocksMissing, BlockTimes
from opml_dispute.chain.contracts.dispute import DelayedWETH
from opml_dispute.chain.retrying import BATCH_LIMIT
from opml_dispute.chain.rpc import Ask, Call, Rpc, UnexpectedAnswer
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid, RpcError, RpcUnreachable
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation, Order, Receipt
from opml_dispute.devnet import anvil as devnet
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.proxy_faults import FAULTS

ETHER = 10**18

SLOW = ("hanging", "slow-drip", "endless")
"""What is only noticed when time or room runs out."""


@pytest.fixture(scope="module")
def node() -> Iterator[devnet.Anvil]:
    """A chain of this module's own: no other test's blocks come between."""
    anvil = devnet.Anvil.spawn()
    yield anvil
    anvil.stop()


@pytest.fixture(scope="module")
def weth(node: devnet.Anvil) -> DelayedWETH:
    """A contract that takes deposits."""
    sender = Sender(node.rpc, devnet.account("deployer"))
    factory = sender.send(Creation(load_artifact("DisputeGameFactory"), (sender.address,))).created
    assert factory is not None
    created = sender.send(Creation(load_artifact("DelayedWETH"), (1, factory, sender.address))).created
    assert created is not None
    for _ in range(4):  # so that a node some blocks behind knows it
        node.rpc.request("evm_mine")
    return DelayedWETH(created)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds with real nodes takes hundredths here."""
    monkeypatch.setattr("opml_dispute.chain.retrying.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("opml_dispute.chain.retrying.LONGEST_PAUSE_S", 0.1)


def deposit(weth: DelayedWETH) -> Call[object]:
    return Call(weth.address, load_artifact("DelayedWETH").functions["deposit()"], (), "DelayedWETH")


def patient(proxy: FaultProxy) -> Rpc:
    """A client in a hurry: what takes seconds with real nodes takes tenths here."""
    return Rpc(proxy.url, timeout_s=0.5, patience_s=20.0, answer_limit_bytes=1 << 20)


@pytest.mark.parametrize("fault", FAULTS)
def test_reading_works_through_every_fault(fault: str, node: devnet.Anvil, weth: DelayedWETH) -> None:
    every = 11 if fault in SLOW else 4
    with FaultProxy(node.url, [fault], every=every, drip_pause_s=0.2) as proxy:
        rpc = patient(proxy)
        assert rpc.chain_id() == devnet.CHAIN_ID
        for _ in range(6):
            head = rpc.head()
            assert head.number <= node.rpc.head().number
            assert rpc.read_all([weth.delay_s()] * 12, at=head) == [1] * 12
            assert len(rpc.code(weth.address)) > 100
        assert rpc.balance_wei(devnet.account("requester").address) > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_sending_works_through_every_fault(fault: str, node: devnet.Anvil, weth: DelayedWETH) -> None:
    """Each order is done exactly once: the deposits add up, and the nonce says how many transactions it took."""
    account = devnet.account("challenger")
    before_wei = node.rpc.balance_wei(weth.address)
    with FaultProxy(node.url, [fault], every=11 if fault in SLOW else 3, drip_pause_s=0.2) as proxy:
        sender = Sender(patient(proxy), account, timeout_s=10.0)
        results = sender.send_all([Order(deposit(weth), ETHER // 100)] * 5)
        assert [type(result) for result in results] == [Receipt] * 5
        assert sender.send(deposit(weth), value_wei=ETHER // 100).gas_used > 0
    assert node.rpc.balance_wei(weth.address) - before_wei == 6 * ETHER // 100


@pytest.mark.parametrize("fault", ["no-batch", "batch-limit"])
def test_batches_shrink_to_what_the_node_takes(fault: str, node: devnet.Anvil) -> None:
    with FaultProxy(node.url, [fault], batch_limit=7) as proxy:
        rpc = patient(proxy)
        for _ in range(2):
            answers = rpc.batch([Ask("eth_chainId")] * BATCH_LIMIT)
            assert answers == [hex(devnet.CHAIN_ID)] * BATCH_LIMIT
        assert proxy.struck[fault] <= 7, "what was refused for good is not tried again"


def test_a_node_without_old_blocks_finds_young_ones(node: devnet.Anvil) -> None:
    """The search begins at the latest block, so it never has to ask for what has expired."""
    for _ in range(30):
        node.rpc.request("evm_increaseTime", 5)
        node.rpc.request("evm_mine")
    latest = node.rpc.head()
    wanted = node.rpc.block(latest.number - 4)
    old = node.rpc.block(2)
    assert wanted is not None
    assert old is not None
    for fault in ("pruned", "pruned-error"):
        with FaultProxy(node.url, [fault], oldest_block=latest.number - 20) as proxy:
            rpc = patient(proxy)
            assert BlockTimes(rpc).span(wanted.timestamp) == (wanted.number, wanted.number)
            assert BlockTimes(rpc).span(wanted.timestamp + 1) == (wanted.number + 1, wanted.number)
            with pytest.raises(BlocksMissing, match=f"no blocks before {latest.number - 20}"):
                BlockTimes(rpc).span(old.timestamp)


def test_every_block_is_found_by_its_time(node: devnet.Anvil) -> None:
    rpc = node.rpc
    latest = rpc.head()
    for number in range(max(1, latest.number - 8), latest.number + 1):
        block = rpc.block(number)
        assert block is not None
        first, last = BlockTimes(rpc).span(block.timestamp)
        assert first <= number <= last


@pytest.mark.parametrize("fault", SLOW)
def test_no_answer_takes_longer_or_more_than_allowed(fault: str, node: devnet.Anvil) -> None:
    with FaultProxy(node.url, [fault], every=1, drip_pause_s=0.2) as proxy:
        rpc = Rpc(proxy.url, timeout_s=0.5, patience_s=0.0, answer_limit_bytes=1 << 20)
        started = time.monotonic()
        with pytest.raises(RpcUnreachable, match=r"within 0\.5 s|too large"):
            rpc.head()
        assert time.monotonic() - started < 3.0


@pytest.mark.parametrize("fault", FAULTS)
def test_what_never_passes_is_a_clear_error(fault: str, node: devnet.Anvil, weth: DelayedWETH) -> None:
    """Struck every time, a fault ends in an `RpcError` or does no harm: never in another exception."""
    with FaultProxy(node.url, [fault], every=1, drip_pause_s=0.2) as proxy:
        rpc = Rpc(proxy.url, timeout_s=0.3, patience_s=0.0, answer_limit_bytes=1 << 20)
        errors: list[RpcError | BlocksMissing | UnexpectedAnswer] = []
        for ask in (
            rpc.chain_id,
            rpc.head,
            lambda: rpc.balance_wei(weth.address),
            lambda: rpc.code(weth.address),
            lambda: rpc.read_all([weth.delay_s()] * 3, at=node.rpc.head()),
            lambda: rpc.block(1),
            lambda: BlockTimes(rpc).span(1),
        ):
            try:
                ask()
            except (RpcError, BlocksMissing, UnexpectedAnswer) as error:
                errors.append(error)
        assert all(error.hint and len(str(error)) < 600 for error in errors)


def test_a_loopback_node_is_reached_without_the_proxy(node: devnet.Anvil, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://127.0.0.1:{devnet.free_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nowhere)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert Rpc(node.url).chain_id() == devnet.CHAIN_ID
    assert Rpc(node.url.replace("127.0.0.1", "localhost")).chain_id() == devnet.CHAIN_ID
    with pytest.raises(RpcUnreachable):
        Rpc("http://node.invalid:8545", patience_s=0).chain_id()


def test_a_node_that_restarts_is_waited_for(node: devnet.Anvil) -> None:
    """Only after it once answered: a wrong URL is told at once."""
    with FaultProxy(node.url) as proxy:
        pauses: list[RpcError] = []

        def tell(error: RpcError, pause_s: float) -> None:
            pauses.append(error)
            if len(pauses) == 3:
                proxy.is_down = False

        rpc = Rpc(proxy.url, tell=tell)
        rpc.chain_id()
        proxy.is_down = True
        assert rpc.chain_id() == devnet.CHAIN_ID
        assert len(pauses) == 3


def test_wrong_types_are_named_with_what_was_expected(node: devnet.Anvil) -> None:
    with (
        FaultProxy(node.url, ["wrong-types"], every=1) as proxy,
        pytest.raises(RpcAnswerInvalid, match=r"answered eth_chainId with .*, expected a hexadecimal number"),
    ):
        Rpc(proxy.url, patience_s=0).chain_id()
