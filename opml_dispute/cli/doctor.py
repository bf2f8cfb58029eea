"""`opml-dispute doctor`: check that everything is installed and that its versions match."""

from __future__ import annotations

import platform
from collections.abc import Callable

import click
from rich.text import Text

from opml_dispute.chain import artifacts
from opml_dispute.chain.contracts.vm import FPVM
from opml_dispute.chain.deploy import game_arguments
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.keys import KeyProblem
from opml_dispute.chain.system import connect
from opml_dispute.cli.command_line import Command, expect_unused
from opml_dispute.cli.options import ChainOptions, KeyOptions, chain_options, json_option, key_options
from opml_dispute.cli.output import Output, ether
from opml_dispute.cli.session import deployment_path, load_account, open_rpc
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.prestate import ABSOLUTE_PRESTATE
from opml_dispute.printable import one_line
from opml_dispute.toolchain import programs
from opml_dispute.trace.guest import absolute_prestate

EIP_170_BYTES = 24_576


class Unhealthy(OpmlError):
    """A part that commands need is missing or does not match."""

    hint = "correct what is marked above, then run doctor again"


@click.command(cls=Command)
@click.option("--offline", is_flag=True, help="Check this computer only, without a chain.")
@chain_options
@key_options
@json_option
def doctor(offline: bool, chain: ChainOptions, key: KeyOptions, output: Output) -> None:
    """
    Check tools, native library, guest, contracts, node, deployment and key.

    Example: opml-dispute doctor --key-file me.key
    """
    if offline:
        online = ["rpc_url", "deployment", "key_file", "keystore", "password_file", "expected"]
        expect_unused("cannot be combined with --offline", online)
    failed = 0

    def check(name: str, find: Callable[[], str]) -> bool:
        nonlocal failed
        try:
            found = find()
        except OpmlError as error:
            failed += 1
            hint = f"\n  {'':<14} hint: {one_line(error.hint)}" if error.hint else ""
            output.show(Text.assemble(("✗", "red"), f" {name:<14} {one_line(str(error))}", hint))
            output.fact(check=name, ok=False, found=str(error), hint=error.hint)
            return False
        output.show(Text.assemble(("✓", "green"), f" {name:<14} {one_line(found)}"))
        output.fact(check=name, ok=True, found=found)
        return True

    check("python", lambda: f"{platform.python_version()} on {platform.machine()}")
    check("guest", _guest)
    check("contracts", _contracts)
    check("anvil", _anvil)
    if not offline:
        rpc = open_rpc(chain)
        if check("node", lambda: f"{rpc.url}, chain {rpc.chain_id()}, block {rpc.head().number}"):
            check("deployment", lambda: _deployment(chain))
            check("key", lambda: _key(chain, key))
    if failed:
        raise Unhealthy(f"{failed} of the checks failed")
    output.say("All is well.", style="green")


def _anvil() -> str:
    """It is fetched by what needs it, and not by this: a computer of a public network never does."""
    found = programs.anvil_here()
    return (
        f"not here; demo, devnet and simulate fetch version {programs.FOUNDRY_VERSION}" if found is None else str(found)
    )


def _guest() -> str:
    built = absolute_prestate()
    if built != ABSOLUTE_PRESTATE:
        raise Unhealthy(
            f"the guest here starts at 0x{built.hex()}, but this release's at 0x{ABSOLUTE_PRESTATE.hex()}",
            hint="build it with the pinned compiler: python -m opml_dispute.toolchain.native --force",
        )
    return f"absolute prestate 0x{built.hex()}"


def _contracts() -> str:
    sizes = {name: artifacts.load_artifact(name).runtime_bytes for name in artifacts.names()}
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > EIP_170_BYTES:
        raise Unhealthy(f"{largest} has {sizes[largest]:,} bytes, more than a chain takes ({EIP_170_BYTES:,})")
    return f"{sum(size > 0 for size in sizes.values())} compiled, the largest {largest} with {sizes[largest]:,} bytes"


def _deployment(chain: ChainOptions) -> str:
    path = deployment_path(chain)
    deployment = Deployment.load(path)
    system = connect(open_rpc(chain), deployment)
    if deployment.absolute_prestate != absolute_prestate():
        raise Unhealthy(
            f"{path} was made for the guest 0x{deployment.absolute_prestate.hex()}, not for this release's",
            hint="use the release that it was deployed with, or deploy anew",
        )
    implementation, arguments = system.rpc.read_all(
        [system.factory.game_implementation(), system.factory.game_arguments()]
    )
    if implementation != deployment.addresses["game"] or arguments != game_arguments(deployment):
        raise Unhealthy(
            f"the factory {system.factory.address} makes other games than {path} says",
            hint="finish the deployment: run the same `opml-dispute deploy` again",
        )
    version = system.rpc.read(FPVM(deployment.addresses["vm"]).state_version())
    return f"{path}: chain {deployment.chain_id}, factory {system.factory.address}, VM version {version}"


def _key(chain: ChainOptions, key: KeyOptions) -> str:
    try:
        account = load_account(key)
    except KeyProblem as problem:
        if "no key" in str(problem):
            return "none given (only needed for sending)"
        raise
    return f"{account.address} has {ether(open_rpc(chain).balance_wei(account.address))}"
