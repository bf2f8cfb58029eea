"""
op-challenger's own transactions to a pre-image oracle do with ours what they are meant to.

tests/vectors/preimage-oracle.json.gz holds the transactions as that client encodes them: loads of every kind, proposals
of large pre-images with their last step, and proposals with false commitments with the challenge that it finds.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Final

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import preimage_part
from opml_dispute.simulation.evm import Evm, Reverted, load_code

RECORDED: Final[dict[str, Any]] = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "vectors" / "preimage-oracle.json.gz").read_bytes())
)
CLAIMANT: Final = RECORDED["claimant"]
STRANGER: Final = "0x00000000000000000000000000000000000057A6"
PERIOD_S: Final = 86_400
NOW_S: Final = 1_800_000_000
BOND_WEI: Final = 25 * 10**16
HONEST: Final = [proposal for proposal in RECORDED["proposals"] if proposal["squeeze"]]
FALSE: Final = [proposal for proposal in RECORDED["proposals"] if proposal["challenge"]]

SELECTORS: Final = {
    "version()": "54fd4d50",
    "minProposalSize()": "dd24f9bf",
    "challengePeriod()": "f3f480d9",
    "preimagePartOk(bytes32,uint256)": "8542cf50",
    "preimageParts(bytes32,uint256)": "61238bde",
    "preimageLengths(bytes32)": "fef2b4ed",
    "readPreimage(bytes32,uint256)": "e03110e1",
    "proposalCount()": "da35c664",
    "proposals(uint256)": "013cf08b",
    "proposalMetadata(address,uint256)": "6551927b",
    "proposalBlocksLen(address,uint256)": "9d53a648",
    "proposalBlocks(address,uint256,uint256)": "882856ef",
    "getTreeRootLPP(address,uint256)": "0359a563",
    "MIN_BOND_SIZE()": "7051472e",
    "loadLocalData(uint256,bytes32,bytes32,uint256,uint256)": "52f0f3ad",
    "loadKeccak256PreimagePart(uint256,bytes)": "e1592611",
    "loadSha256PreimagePart(uint256,bytes)": "8dc4be11",
    "loadBlobPreimagePart(uint256,uint256,bytes,bytes,uint256)": "9d7e8769",
    "loadPrecompilePreimagePart(uint256,address,uint64,bytes)": "ea713950",
    "initLPP(uint256,uint32,uint32)": "faf37bc7",
    "addLeavesLPP(uint256,uint256,bytes,bytes32[],bool)": "7917de1d",
    "squeezeLPP(address,uint256,(uint64[25]),(bytes,uint256,bytes32),bytes32[],(bytes,uint256,bytes32),bytes32[])": (
        "d18534b5"
    ),
    "challengeLPP(address,uint256,(uint64[25]),(bytes,uint256,bytes32),bytes32[],(bytes,uint256,bytes32),bytes32[])": (
        "3909af5c"
    ),
    "challengeFirstLPP(address,uint256,(bytes,uint256,bytes32),bytes32[])": "ec5efcbc",
}
"""What op-challenger calls, as far as its release of 2026 asks."""


class Chain:
    """An oracle alone on a chain."""

    def __init__(self) -> None:
        self.evm, self.code = Evm(), load_code("PreimageOracle")
        self.oracle = self.evm.deploy(self.code, 100, PERIOD_S)
        self.evm.set_time(NOW_S)

    def send(self, data: str, sender: str = CLAIMANT, value_wei: int = 0) -> None:
        """One recorded transaction."""
        self.evm.send(sender, self.oracle, bytes.fromhex(data[2:]), value_wei)

    def ask(self, function: str, *arguments: Any) -> Any:
        """One view's answer."""
        return self.evm.call(STRANGER, self.oracle, self.code, function, *arguments)

    def propose(self, proposal: dict[str, Any]) -> int:
        """Sends all input; answers the proposal's number."""
        uuid = int(proposal["init"][10:74], 16)
        self.send(proposal["init"], value_wei=BOND_WEI)
        for data in proposal["leaves"]:
            self.send(data)
            [(topics, logged)] = self.evm.logged()
            assert (topics, logged.hex()) == ([], CLAIMANT[2:].lower() + data[2:])
        return uuid


@pytest.fixture
def chain() -> Chain:
    """A new one."""
    return Chain()


def content(size: int) -> bytes:
    """The pre-image of a recorded proposal."""
    return b"".join(keccak256(i.to_bytes(8, "big")) for i in range(-(-size // 32)))[:size]


def part_of(data: bytes, offset: int) -> tuple[bytes, int]:
    """What `readPreimage` answers: the part and how much of it counts."""
    part = preimage_part(data, offset)
    assert part is not None
    return part.ljust(32, b"\0"), min(32, len(data) + 8 - offset)


def test_functions_have_the_selectors_that_the_client_calls() -> None:
    functions = load_code("PreimageOracle").functions
    assert {name: functions[name][0].hex() for name in SELECTORS} == SELECTORS


@pytest.mark.parametrize("loading", RECORDED["loadings"], ids=lambda loading: f"{loading['name']}@{loading['offset']}")
def test_recorded_load_makes_its_part_readable(chain: Chain, loading: dict[str, Any]) -> None:
    key, value = bytes.fromhex(loading["key"][2:]), bytes.fromhex(loading["value"][2:])
    assert chain.ask("preimagePartOk", key, loading["offset"]) == (False,)
    chain.send(loading["data"])
    assert chain.ask("readPreimage", key, loading["offset"]) == part_of(value, loading["offset"])
    assert chain.ask("preimageLengths", key) == (len(value),)


@pytest.mark.parametrize("proposal", HONEST, ids=lambda proposal: f"{proposal['size']}@{proposal['offset']}")
def test_recorded_proposal_is_squeezed_after_its_time_and_not_before(chain: Chain, proposal: dict[str, Any]) -> None:
    uuid = chain.propose(proposal)
    data, key, offset = content(proposal["size"]), bytes.fromhex(proposal["key"][2:]), proposal["offset"]
    blocks = proposal["size"] // 136 + 1
    assert chain.ask("proposalMetadata", CLAIMANT, uuid) == (
        (NOW_S << 192) | (offset << 160) | (len(data) << 128) | (blocks << 96) | (len(data) << 64),
    )
    assert chain.ask("proposalCount") == (1,)
    assert chain.ask("proposals", 0) == (CLAIMANT.lower(), uuid)
    assert chain.ask("proposalBlocksLen", CLAIMANT, uuid) == (len(proposal["leaves"]),)
    chain.evm.set_time(NOW_S + PERIOD_S)
    with pytest.raises(Reverted, match=keccak256(b"ActiveProposal()")[:4].hex()):
        chain.send(proposal["squeeze"], STRANGER)
    chain.evm.set_time(NOW_S + PERIOD_S + 1)
    before = chain.evm.balance(CLAIMANT)
    chain.send(proposal["squeeze"], STRANGER)
    assert chain.evm.balance(CLAIMANT) - before == BOND_WEI
    assert chain.ask("readPreimage", key, offset) == part_of(data, offset)


@pytest.mark.parametrize("proposal", FALSE, ids=lambda proposal: f"wrong {proposal['wrong']}")
def test_recorded_challenge_takes_a_false_proposals_bond(chain: Chain, proposal: dict[str, Any]) -> None:
    uuid = chain.propose(proposal)
    before = chain.evm.balance(STRANGER)
    chain.send(proposal["challenge"], STRANGER)
    assert chain.evm.balance(STRANGER) - before == BOND_WEI
    assert chain.ask("proposalMetadata", CLAIMANT, uuid)[0] & (1 << 64) - 1 == 1
    assert chain.ask("proposalBonds", CLAIMANT, uuid) == (0,)


def test_no_recorded_challenge_fits_an_honest_proposal(chain: Chain) -> None:
    """The same pre-image with true commitments: the leaf that would be shown is not in its tree."""
    honest = next(proposal for proposal in HONEST if proposal["size"] == 1000)
    uuid = chain.propose(honest)
    for false in FALSE:
        data = false["challenge"][:74] + f"{uuid:064x}" + false["challenge"][138:]
        with pytest.raises(Reverted, match=keccak256(b"InvalidProof()")[:4].hex()):
            chain.send(data, STRANGER)
