"""The VM run that a claim of a game on the chain is about."""

from __future__ import annotations

from opml_dispute.chain.games import parse_address
from opml_dispute.cli.options import ModelOptions
from opml_dispute.cli.session import open_case_of, open_system
from opml_dispute.cli.vm.selection import RunSelection, expect_none
from opml_dispute.cli.vm.source import BadSource, Claimed, Source
from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.vm import Machine
from opml_dispute.game.rules import local_data, subgame_roots_of


def game_source(run: RunSelection, address: str) -> Source:
    """The honest run of --claim, or of the newest claim about the VM. Raises `BadSource`."""
    if run.ml is False:
        raise BadSource("--base was given, but the guest runs with the ML extension", hint="leave --base out")
    expect_none("a program", {"--preimage": run.preimages, "--local": run.locals})
    of_node = {"--input": run.inputs, "--sample": run.sample, "--disputed-root": run.disputed}
    expect_none("--node", of_node | {"--fault": run.fault})
    system = open_system(run.chain)
    game = system.games.read(parse_address(address, "the address of a game"))
    below = [claim for claim in game.claims if claim.position.depth > game.depths.split]
    if run.claim is None and not below:
        raise BadSource(
            f"the game has {len(game.claims)} claims, none of them about the VM yet",
            hint="look at a node of the model with --node",
        )
    claim = below[-1] if run.claim is None else game.claim(run.claim)
    if claim.position.depth <= game.depths.split:
        raise BadSource(
            f"claim {claim.index} is about a state root, not about the VM: "
            f"its depth is {claim.position.depth}, and the VM begins below {game.depths.split}",
            hint="look at a node of the model with --node",
        )
    outputs = subgame_roots_of(game, claim.index)
    case = open_case_of(system, game.request_id, ModelOptions(run.model, run.binding(), run.input_image))
    trace = case.trace().vm_trace(game, outputs)
    position = claim.position.within_subtree(game.depths.execution_root)
    step = trace.machine_at(position.trace_index(game.depths.execution) + 1).step
    machine = trace.machine_at(0)
    assert isinstance(machine, Machine)
    return Source(
        f"node {outputs.node_index(game)} in game {game.address}",
        machine,
        {unlocalized_key(ident): data for ident, data in local_data(game, outputs).items()},
        claimed=Claimed(claim.index, step, bytes(claim.value)),
    )
