"""The OP Stack's published game contract, in an EVM inside this process, with the interface of `ContractGame`."""

from __future__ import annotations

from typing import Any, Final

from eth_abi.abi import encode

from opml_dispute.chain.artifacts import Artifact, load_artifact
from tests.support.contract_game import OWNER, ContractGame, registry_stub

OF_THE_REQUEST: Final = {"extraData", "gameData"}
"""Answers that name the request here, and the number of an L2 block there."""


class PublishedGame(ContractGame):
    """
    One game on a chain of its own, over our verifier, oracle and factory.

    Where ours asks the registry about a request, it asks for an anchor, and takes the number of nodes for that of an L2
    block. It has no `settle`, and its local data are five, the head of L1 among them.
    """

    artifact: Artifact
    """The compiled contract; set before games are made."""

    def _implementation(self) -> tuple[Artifact, tuple[Any, ...]]:
        rules = self.rules
        return self.artifact, ((rules.max_depth, rules.split_depth, rules.extension, rules.max_clock),)

    def _registry(self) -> bytes:
        return registry_stub("getAnchorRoot()", ["bytes32", "uint256"], [self.rules.starting_root, 0])

    def _extra_data(self) -> bytes:
        return self.rules.node_count.to_bytes(32, "big")


def different_answers(ours: ContractGame, theirs: PublishedGame) -> list[str]:
    """What both contracts can be asked, and two new games with the same root claim answer differently."""
    known = load_artifact("FaultDisputeGame").functions
    questions = {entry["name"] for entry in theirs.artifact.abi if entry.get("stateMutability") in {"view", "pure"}}
    different = []
    for text, question in theirs.artifact.functions.items():
        if "(" not in text or text not in known or question.name not in questions - OF_THE_REQUEST:
            continue
        for arguments in _arguments(question.inputs, theirs.rules.max_depth):
            data = question.selector + encode(question.inputs, arguments)
            if ours.answer_to(data) != theirs.answer_to(data):
                different.append(f"{text} of {arguments}")
    return different


def _arguments(kinds: tuple[str, ...], max_depth: int) -> list[tuple[Any, ...]]:
    """What to ask with: claims that there are and are not; positions at every depth, and no position at all."""
    match kinds:
        case ():
            return [()]
        case ("uint256",):
            return [(0,), (1,), (10**6,), (2**256 - 1,)]
        case ("uint128",):
            return [(0,), *((1 << depth,) for depth in range(max_depth + 2)), (2**128 - 1,)]
        case ("uint256", "uint256"):
            return [(0, 0), (7, 0)]
        case ("bytes32",):
            return [(bytes(32),)]
        case ("address",):
            return [(OWNER,)]
        case _:
            return []
