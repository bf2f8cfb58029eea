"""`opml-dispute agent`: propose, dispute, settle and deliver unattended."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import FrameType

import click

from opml_dispute.agent.agent import Agent
from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.configured_words import in_configured_words
from opml_dispute.agent.exposition import serve
from opml_dispute.agent.lease import Lease
from opml_dispute.agent.log import Log, make_log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.serving import declined_sentence
from opml_dispute.availability.fetching import Fetcher
from opml_dispute.chain.amounts import ether
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.fees import DEFAULT_MAX_FEE_WEI
from opml_dispute.chain.keys import Signing, exposure_of
from opml_dispute.chain.remote_signer import load_signing
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import connect
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import FileName, json_option
from opml_dispute.cli.output import Output
from opml_dispute.errors import OpmlError
from opml_dispute.home import home
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.watch import LONGEST_PAUSE_S

_CHECK_S = 120.0
"""How long `agent check` waits for models and inputs that have to be fetched."""
_DOUBT_S = 90.0
"""How long an agent that starts doubts what its node says of the deployment: the node may have just started, too."""
_GRACE_S = 5.0
"""How long a pass may go on after a stop was requested; transactions sent by then are found again at the next start."""


@click.group()
def agent() -> None:
    """Unattended operation: propose, challenge, resolve, claim bonds and deliver, for all games of a deployment."""


_config_option = click.option(
    "--config", "config_file", type=FileName(), required=True, metavar="FILE", help="The agent's configuration (TOML)."
)


@agent.command("run", cls=Command)
@_config_option
@click.option("--dry-run", is_flag=True, help="Do everything but send.")
@click.option("--once", is_flag=True, help="Make one pass and exit.")
def run_agent(config_file: Path, dry_run: bool, once: bool) -> None:
    """
    Watch a deployment and do the work of the configured roles, until SIGTERM.

    SIGHUP reads the configuration again. The agent may be killed at any time: its next start finds all its work again.

    Example: opml-dispute agent run --config agent.toml
    """
    log = make_log()
    signals = _Signals()
    metrics = Metrics()
    config = AgentConfig.load(config_file)
    if config.listen is not None:
        serve(metrics, *config.listen)
    doubt_s = 0.0 if once else _DOUBT_S
    while not signals.stop.is_set():
        running = _open_patiently(config, log, metrics, signals, dry_run=dry_run, patient=not once, doubt_s=doubt_s)
        doubt_s = math.inf  # it could be opened: what does not fit now is the node's fault, and passes
        if running is None:
            break
        log.info(
            "started",
            roles=", ".join(sorted(config.roles)),
            address=running.sender.address,
            chain=running.system.deployment.chain_id,
            dry_run=dry_run or config.dry_run,
        )
        try:
            if once:
                running.cases.be_patient(config.compute_timeout_s)
                running.run_pass(signals.stop)
                return
            running.run(signals.stop_or_reload())
        finally:
            running.lease.give_back()
            running.memory.close()
        if not signals.stop.is_set():
            signals.reload.clear()  # one that comes from now on is about a file that was not read yet
            config = _reloaded(config_file, config, log)
    log.info("stopped")


def _open_patiently(
    config: AgentConfig, log: Log, metrics: Metrics, signals: _Signals, *, dry_run: bool, patient: bool, doubt_s: float
) -> Agent | None:
    """
    The agent; None if it was told to stop meanwhile. A node that does not answer is asked again, as long as it takes:
    the agent may be started before its node is. What a node says that does not fit, such as that it has none of the
    contracts, is doubted for `doubt_s` seconds. Raises the errors that waiting does not cure.
    """
    told, pause_s, doubt_until = "", 1.0, time.monotonic() + doubt_s
    while not signals.stop.is_set():
        try:
            return _open(config, log, metrics, dry_run=dry_run)
        except OpmlError as error:
            # A port where nothing listens is a wrong URL to a command, and a node that starts to an agent.
            may_pass = isinstance(error, RpcError) and (error.passes or getattr(error, "at_once", False))
            is_doubted = error.is_told_by_node and time.monotonic() < doubt_until
            if not patient or not (may_pass or is_doubted):
                raise
            if str(error) != told:
                told = str(error)
                log.warning("trouble", what=told)
        signals.stop.wait(pause_s)
        pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
    return None


def _reloaded(config_file: Path, config: AgentConfig, log: Log) -> AgentConfig:
    """The configuration as it is now; the one before, if there is a mistake in it: games go on."""
    log.info("reading the configuration again", file=str(config_file))
    try:
        found = AgentConfig.load(config_file)
        Deployment.load(found.deployment)
        _signing(found)
    except OpmlError as error:
        log.error("the configuration is kept as it was", error=str(error))
        return config
    if found.listen != config.listen:
        log.warning("metrics.listen counts from the next start", listen=config.listen)
        found = replace(found, listen=config.listen)
    return found


@agent.command("check", cls=Command)
@_config_option
@json_option
def check(config_file: Path, output: Output) -> None:
    """
    Validate a configuration, and say what the agent would do now.

    Example: opml-dispute agent check --config agent.toml
    """
    config = AgentConfig.load(config_file)
    running = _open(config, make_log(), Metrics(), dry_run=True)
    try:
        balance_wei = running.system.rpc.balance_wei(running.sender.address)
        output.say(f"Roles      {', '.join(sorted(config.roles))}")
        output.say(f"Key        {running.sender.address}, which has {ether(balance_wei)}")
        output.say(f"Endpoints  {len(config.rpc_urls)}; chain {running.system.deployment.chain_id}")
        running.prefetch_patience_s = _CHECK_S
        running.cases.be_patient(_CHECK_S)
        running.run_pass()
        output.say(f"Games      {len(running.discovery.games)}; requests {len(running.discovery.requests)}")
        declined = running.declined
        for reason, count in declined.items():
            output.say(f"Declined   {declined_sentence(reason, count)}")
        missing = running.prefetcher.missing
        for name, reason in missing.items():
            output.say(f"{name}: {reason}", style="yellow")
        if not missing:
            output.say("Models     models and inputs of the requests looked at are in the store")
        output.fact(
            missing=missing,
            declined=dict(declined),
            roles=sorted(config.roles),
            address=running.sender.address,
            balance_wei=balance_wei,
            chain_id=running.system.deployment.chain_id,
            games=len(running.discovery.games),
            requests=len(running.discovery.requests),
        )
    finally:
        running.close()
        running.memory.close()


@agent.command("alerts", cls=Command)
def alerts() -> None:
    """
    Print alert rules for Prometheus, for the metrics of agent and monitor.

    Example: opml-dispute agent alerts
    """
    click.echo(_packaged("alerts.yml"), nl=False)


@agent.command("dashboard", cls=Command)
def dashboard() -> None:
    """
    Print a dashboard for Grafana, for the metrics of agent and monitor.

    Example: opml-dispute agent dashboard
    """
    click.echo(_packaged("dashboard.json"), nl=False)


def _packaged(name: str) -> str:
    return (resources.files("opml_dispute.agent") / "prometheus" / name).read_text(encoding="utf-8")


def _open(config: AgentConfig, log: Log, metrics: Metrics, *, dry_run: bool) -> Agent:
    """The objects that an agent works with. Raises the errors of connecting and of reading keys."""
    with _as_configured():
        return _opened(replace(config, dry_run=True) if dry_run else config, log, metrics)


def _opened(config: AgentConfig, log: Log, metrics: Metrics) -> Agent:
    account = _signing(config)
    for exposed in (config.key_file, config.password_file):
        if config.signer is None and (sentence := exposure_of(exposed)) is not None:
            log.warning("trouble", what=sentence)
    rpcs = [Rpc(url) for url in config.rpc_urls]
    system = connect(rpcs[0], Deployment.load(config.deployment))
    sender = Sender(
        system.rpc,
        account,
        chain_id=system.deployment.chain_id,
        max_fee_wei=DEFAULT_MAX_FEE_WEI if config.max_fee_wei is None else config.max_fee_wei,
        tell=lambda sentence: log.warning("sending", what=sentence),
    )
    return Agent(
        config,
        system,
        sender,
        memory=Memory(config.state, system.deployment.chain_id),
        store=ModelStore(home() / "models", Fetcher(config.fetch), config.fetch_quota_bytes),
        log=log,
        metrics=metrics,
        lease=Lease(system.deployment.chain_id, account.address),
        others=rpcs[1:],
    )


def _signing(config: AgentConfig) -> Signing:
    """The signer. Raises the errors of reading keys."""
    return load_signing(
        signer=config.signer,
        address=config.address,
        key_file=config.key_file,
        keystore=config.keystore,
        password_file=config.password_file,
    )


@contextmanager
def _as_configured() -> Iterator[None]:
    """Errors of opening an agent speak of its configuration, not of options that it does not have."""
    try:
        yield
    except OpmlError as error:
        if error.hint is not None:
            error.hint = in_configured_words(error.hint)
        raise


class _Signals:
    """SIGTERM and SIGINT stop, SIGHUP reloads; a pass that does not end in time is interrupted."""

    def __init__(self) -> None:
        self.stop, self.reload = threading.Event(), threading.Event()
        self._either: threading.Event | None = None
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def stop_or_reload(self) -> threading.Event:
        """Set when a stop or a reload is requested."""
        self._either = threading.Event()
        if self.stop.is_set() or self.reload.is_set():
            self._either.set()
        return self._either

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt
        self.stop.set()
        if self._either is not None:
            self._either.set()
        timer = threading.Timer(_GRACE_S, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self.reload.set()
        if self._either is not None:
            self._either.set()
