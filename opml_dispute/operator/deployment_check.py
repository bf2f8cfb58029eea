"""
What preflight finds about a deployment: whether its games, and the one in question, are played by this release's rules,
and whether their outcome counts.

A game is a clone: its code names the implementation whose rules it is played by, whatever the factory makes now. The
VM's own code is compared with this release's, as its constructor makes it: a game that comes down to an instruction is
decided there.
"""

from __future__ import annotations

from typing import Final

from opml_dispute.chain import answers
from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.contracts.dispute import GAME_TYPE, FaultDisputeGame
from opml_dispute.chain.contracts.governance import GuardedOracle
from opml_dispute.chain.deploy import STATE_VERSION_ML, game_arguments
from opml_dispute.chain.games import GameConstants
from opml_dispute.chain.rpc import Ask
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import Creation
from opml_dispute.chain.wiring import clones
from opml_dispute.errors import OpmlError
from opml_dispute.operator.checks import Finding, fails, holds, unsure
from opml_dispute.primitives import Address
from opml_dispute.trace.guest import absolute_prestate

_OTHER: Final = "give the --deployment that this chain's games belong to, or stake nothing"
_RELEASE: Final = "use the release of this package that the deployment was made with"


def deployment_finding(system: System, constants: GameConstants | None, game: Address | None) -> Finding:
    """
    Whether the rules are this release's, and whether the outcome counts: of a game that would be made, or, with
    `constants`, of one that exists.
    """
    found = _rules(system) or (_making(system) if constants is None else _own_game(system, constants))
    if found is None and game is not None:
        found = _standing(system, game)
    if found is None and system.rpc.read(system.oracle.is_paused()):
        return unsure(
            "the guardian has paused the system: nothing is delivered or paid out until it goes on, and the clocks of "
            "games go on",
            "answer in time all the same",
        )
    return found or holds("rules, VM, WETH and guest are the deployment's, and VM and guest are this release's")


def _rules(system: System) -> Finding | None:
    deployment, prestate = system.deployment, absolute_prestate()
    if deployment.absolute_prestate != prestate:
        starts = f"its guest starts at 0x{deployment.absolute_prestate.hex()}, ours at 0x{prestate.hex()}"
        return fails(starts, _RELEASE)
    vm = deployment.addresses["vm"]
    own = Creation(load_artifact("FPVM"), (deployment.addresses["preimage_oracle"], STATE_VERSION_ML))
    code, made = system.rpc.outcomes(
        [
            Ask("eth_getCode", (vm, "latest"), answers.data),
            Ask("eth_call", ({"data": "0x" + own.data.hex()}, "latest"), answers.data),
        ]
    )
    if isinstance(code, OpmlError):
        raise code
    if isinstance(made, OpmlError):  # not every node simulates creations
        return None
    if code != made:
        return fails(f"the VM at {vm} is not this release's: it may run an instruction in another way", _RELEASE)
    return None


def _making(system: System) -> Finding | None:
    """About a game that the factory would make."""
    deployment, oracle = system.deployment, GuardedOracle(system.oracle.address)
    implementation, arguments, counts = system.rpc.read_all(
        [system.factory.game_implementation(), system.factory.game_arguments(), oracle.respected_type()]
    )
    if implementation != deployment.addresses["game"] or arguments != game_arguments(deployment):
        return fails("the factory makes other games than the deployment says", _OTHER)
    if counts != GAME_TYPE:
        return fails(
            f"games of type {counts} count now, and this one would be of type {GAME_TYPE}: its answer could not be "
            "delivered",
            "propose nothing; ask the deployment's owner for the deployment file of now",
        )
    return None


def _own_game(system: System, constants: GameConstants) -> Finding | None:
    """About what a game names."""
    deployment, prestate = system.deployment, absolute_prestate()
    if constants.absolute_prestate != prestate:
        return fails(f"the game's guest starts at 0x{constants.absolute_prestate.hex()}, ours elsewhere", _RELEASE)
    named = {"vm": constants.vm, "weth": constants.weth, "preimage_oracle": constants.preimage_oracle}
    for name, address in named.items():
        if address != deployment.addresses[name]:
            return fails(f"the game's {name} is {address}, not the deployment's", _OTHER)
    if constants.chain_id != deployment.chain_id:
        return fails(f"the game counts on chain {constants.chain_id}, not {deployment.chain_id}", _OTHER)
    return None


def _standing(system: System, address: Address) -> Finding | None:
    """About a game itself: its implementation, and whether its outcome counts. One reading alone discards no game."""
    game, oracle, rpc = FaultDisputeGame(address), system.oracle, system.rpc
    own = system.deployment.addresses["game"]
    if not clones(rpc.code(address), own):
        return unsure(
            f"the game {address} is played by another implementation than the deployment's, {own}",
            "stake on it only if you know that the owner changed the games since, and with their deployment file",
        )
    blacklisted, retired, proper, paused, respected, was_respected = rpc.read_all(
        [
            oracle.is_blacklisted(address),
            oracle.is_retired(address),
            oracle.is_proper(address),
            oracle.is_paused(),
            oracle.is_respected(address),
            game.was_respected(),
        ]
    )
    if (blacklisted or retired) and not proper and not paused:
        how = "this game" if blacklisted else "all games of its time"
        return fails(
            f"the guardian discarded {how}: each bond goes back to who paid it, and no output is delivered by it",
            "stake nothing; the answer can be proposed again",
        )
    if not respected and not was_respected:
        return unsure(
            "games of this type did not count when it was made: its answer is never delivered, whoever wins",
            "only bonds can be won or lost in it",
        )
    return None
