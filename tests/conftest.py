"""
What tests of several folders share: one local chain with everything deployed, put back after every test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.builds import build_what_changed, list_skipped

build_what_changed()  # before anything loads the engine

from opml_dispute.chain.deployment import Deployment  # noqa: E402
from opml_dispute.chain.rpc import Rpc  # noqa: E402
from opml_dispute.chain.sender import Sender  # noqa: E402
from opml_dispute.chain.system import System, connect  # noqa: E402
from opml_dispute.chain.times import Times  # noqa: E402
from opml_dispute.devnet import anvil as devnet  # noqa: E402

TEST_TIMES = Times(
    max_clock_s=3_600,
    extension_s=300,
    challenge_period_s=600,
    finality_delay_s=600,
    withdrawal_delay_s=600,
    reclaim_delay_s=86_400,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """--whole, for sweeps of which a fixed part is taken otherwise."""
    parser.addoption("--whole", action="store_true", help="every case of the sweeps that are sampled otherwise")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The skipped tests with their reasons."""
    list_skipped(terminalreporter)


@dataclass(frozen=True)
class Chain:
    """A local chain with everything deployed."""

    anvil: devnet.Anvil
    deployment: Deployment
    deployment_file: Path

    @property
    def rpc(self) -> Rpc:
        return Rpc(self.anvil.url)

    def system(self) -> System:
        """Connected afresh: nothing remembered."""
        return connect(self.rpc, Deployment.load(self.deployment_file))

    def sender(self, role: str) -> Sender:
        """One of the local chain's accounts."""
        return Sender(self.rpc, devnet.account(role))

    def warp(self, seconds: int) -> int:
        """Move the chain's clock."""
        return devnet.warp(self.rpc, seconds)


@contextmanager
def deployed_in(folder: Path) -> Iterator[Chain]:
    """A local chain of its own, with everything deployed."""
    from opml_dispute.chain.deploy import deploy
    from opml_dispute.devnet.samples import deploy_samples
    from opml_dispute.trace.guest import absolute_prestate

    path = folder / "deployment.json"
    anvil = devnet.Anvil.spawn()
    try:
        sender = Sender(anvil.rpc, devnet.account("deployer"))
        deployment = deploy(sender, path, absolute_prestate=absolute_prestate(), times=TEST_TIMES)
        deploy_samples(sender, deployment, path)
        # Games made in the very second of the oracle's own creation would not count.
        devnet.warp(anvil.rpc, 2)
        yield Chain(anvil, deployment, path)
    finally:
        anvil.stop()


@pytest.fixture(scope="session")
def deployed_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Deployed once a session. Tests take `chain`, which puts it back."""
    with deployed_in(tmp_path_factory.mktemp("chain")) as found:
        yield found


@pytest.fixture
def chain(deployed_chain: Chain) -> Iterator[Chain]:
    """The deployed chain; whatever a test does to it is undone."""
    rpc = deployed_chain.rpc
    snapshot = rpc.request("evm_snapshot")
    yield deployed_chain
    rpc.request("evm_setAutomine", True)
    rpc.request("evm_revert", snapshot)


@pytest.fixture(scope="session")
def bare_anvil() -> Iterator[devnet.Anvil]:
    """A local chain with nothing on it, for tests that do not mind each other."""
    anvil = devnet.Anvil.spawn()
    yield anvil
    anvil.stop()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches, or depends on, the user's own files and settings."""
    home = tmp_path / "home"
    monkeypatch.setenv("OPML_HOME", str(home))
    monkeypatch.setenv("OPML_FETCH", "nothing")  # no test asks a server that it did not start
    for variable in (
        "OPML_RPC_URL",
        "OPML_DEPLOYMENT",
        "OPML_PRIVATE_KEY",
        "OPML_KEYSTORE_PASSWORD",
        "OPML_DEBUG",
        "OPML_IPFS_GATEWAY",
    ):
        monkeypatch.delenv(variable, raising=False)
    return home
