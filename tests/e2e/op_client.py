"""
The OP Stack's dispute tools, as far as a chain can tell: the requests they send, byte for byte, and how they read
the answers.

Written from their observed behaviour and from nothing of ours: selectors are numbers here, answers are decoded by
the types those tools expect, strictly, the way Go does (`op_wire`). So if one of our contracts renames, retypes or
reorders anything that they read, this client fails where they would.

`list_games`, `list_claims`, `list_credits` and `create_game`, `move`, `resolve_claim`, `resolve` are their commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from tests.e2e.op_wire import ZERO, Ask, ClientError, Wire, decode, transact, word

# Factory.
VERSION = "54fd4d50"
GAME_COUNT = "4d1975b4"
GAME_AT_INDEX = "bb8aa1fc"
INIT_BONDS = "6593dc6e"
CREATE = "82ecf2f6"
DISPUTE_GAME_CREATED = "5b565efe82411da98814f356d0e7bcb8f0219b8d970307c5afb4a6903a8b2e35"
# Game.
GAME_TYPE = "bbdc02db"
L1_HEAD = "6361506d"
L2_BLOCK_NUMBER = "8b85902b"
ROOT_CLAIM = "bcef3b55"
STATUS = "200d2ed2"
CLAIM_DATA_LEN = "8980e0cc"
CLAIM_DATA = "c6f0308c"
MAX_CLOCK_DURATION = "dabd396d"
L2_BLOCK_NUMBER_CHALLENGED = "3e3ac912"
L2_BLOCK_NUMBER_CHALLENGER = "30dbe570"
MAX_GAME_DEPTH = "fa315aa9"
SPLIT_DEPTH = "ec5e6308"
STARTING_BLOCK_NUMBER = "70872aa5"
RESOLVED_AT = "19effeb4"
RESOLVED_SUBGAMES = "fe2bbeb2"
WETH = "3fc8cef3"
REQUIRED_BOND = "c395e1ca"
ATTACK = "472777c6"
DEFEND = "7b0f0adc"
RESOLVE = "2810e1d6"
RESOLVE_CLAIM = "03c2924d"
# What the run loop asks.
GAME_IMPLS = "1b685b9e"
GAME_ARGS = "74cc86ac"
VM = "3a768463"
ORACLE = "7dc0d1d0"
ABSOLUTE_PRESTATE = "8d450a95"
STARTING_ROOT_HASH = "25fc2ace"
MIN_PROPOSAL_SIZE = "dd24f9bf"
PROPOSAL_COUNT = "da35c664"
CHALLENGE_PERIOD = "f3f480d9"
# DelayedWETH.
DELAY = "6a42b8f8"
WITHDRAWALS = "cd47bde1"


def check_version(version: str, refused: Sequence[str]) -> None:
    """The tools pick an older ABI for these prefixes; ours must not be among them."""
    if any(version.startswith(prefix) for prefix in refused):
        raise ClientError(f"version {version} selects an old ABI")


OLD_GAMES = ("0.8.", "0.18.", "1.0.", "1.1.", "1.2.", "1.3.")
OLD_FACTORIES = ("1.0.", "1.1.", "1.2.")


@dataclass(frozen=True)
class ListedGame:
    """A row of list-games."""

    index: int
    address: str
    game_type: int
    timestamp: int
    l1_head: bytes
    l2_block: int
    root_claim: bytes
    claims: int
    status: int


def list_games(wire: Wire, factory: str) -> list[ListedGame]:
    """`op-challenger list-games --game-window 0`."""
    check_version(wire.call(Ask(factory, VERSION, ("string",))), OLD_FACTORIES)
    block = wire.head_block()
    count = wire.call(Ask(factory, GAME_COUNT, ("uint256",)), block)
    kinds = ("uint32", "uint64", "address")
    entries = wire.calls([Ask(factory, GAME_AT_INDEX, kinds, (i,)) for i in reversed(range(count))], block)
    listed = []
    for index, (game_type, timestamp, game) in zip(reversed(range(count)), entries, strict=True):
        if game_type not in (0, 1, 8, 254, 255):
            raise ClientError(f"unsupported game type {game_type}: list-games prints nothing")
        check_version(wire.call(Ask(game, VERSION, ("string",))), OLD_GAMES)
        (l1_head,), (l2_block,), (root,), (status,) = wire.calls(
            [
                Ask(game, L1_HEAD, ("bytes32",)),
                Ask(game, L2_BLOCK_NUMBER, ("uint256",)),
                Ask(game, ROOT_CLAIM, ("bytes32",)),
                Ask(game, STATUS, ("uint8",)),
            ],
            block,
        )
        if status > 2:
            raise ClientError(f"invalid game status {status}")
        claims = wire.call(Ask(game, CLAIM_DATA_LEN, ("uint256",)))
        listed.append(ListedGame(index, game, game_type, timestamp, l1_head, l2_block, root, claims, status))
    timestamps = [game.timestamp for game in listed]
    if timestamps != sorted(timestamps, reverse=True):
        raise ClientError("timestamps decrease with the index")
    return listed


@dataclass(frozen=True)
class ListedClaim:
    """A row of list-claims."""

    index: int
    parent: int
    countered_by: str
    claimant: str
    bond: int
    value: bytes
    gindex: int
    clock: int
    resolved: bool


@dataclass(frozen=True)
class ListedClaims:
    """What list-claims prints."""

    metadata: list[Any]
    max_depth: int
    split_depth: int
    max_clock: int
    starting_block: int
    resolved_at: int | None
    claims: list[ListedClaim]


CLAIM_KINDS = ("uint32", "address", "address", "uint128", "bytes32", "uint128", "uint128")


def metadata(wire: Wire, game: str) -> list[Any]:
    """The seven-call batch."""
    answers = wire.calls(
        [
            Ask(game, L1_HEAD, ("bytes32",)),
            Ask(game, L2_BLOCK_NUMBER, ("uint256",)),
            Ask(game, ROOT_CLAIM, ("bytes32",)),
            Ask(game, STATUS, ("uint8",)),
            Ask(game, MAX_CLOCK_DURATION, ("uint64",)),
            Ask(game, L2_BLOCK_NUMBER_CHALLENGED, ("bool",)),
            Ask(game, L2_BLOCK_NUMBER_CHALLENGER, ("address",)),
        ]
    )
    return [value for (value,) in answers]


def open_game(wire: Wire, game: str) -> None:
    """What every command asks first, to choose an ABI."""
    game_type = wire.call(Ask(game, GAME_TYPE, ("uint32",)))
    if game_type not in (0, 1, 8, 254, 255):
        raise ClientError(f"unsupported game type {game_type}")
    check_version(wire.call(Ask(game, VERSION, ("string",))), OLD_GAMES)


def all_claims(wire: Wire, game: str) -> list[list[Any]]:
    """claimDataLen, then every claimData."""
    count = wire.call(Ask(game, CLAIM_DATA_LEN, ("uint256",)))
    return wire.calls([Ask(game, CLAIM_DATA, CLAIM_KINDS, (i,)) for i in range(count)])


def list_claims(wire: Wire, game: str) -> ListedClaims:
    """`op-challenger list-claims --verbose`."""
    open_game(wire, game)
    described = metadata(wire, game)
    max_depth = wire.call(Ask(game, MAX_GAME_DEPTH, ("uint256",)))
    max_clock = wire.call(Ask(game, MAX_CLOCK_DURATION, ("uint64",)))
    split_depth = wire.call(Ask(game, SPLIT_DEPTH, ("uint256",)))
    if not max_depth > split_depth:
        raise ClientError("max depth must exceed split depth")
    (starting,), _ = wire.calls(
        [Ask(game, STARTING_BLOCK_NUMBER, ("uint256",)), Ask(game, L2_BLOCK_NUMBER, ("uint256",))]
    )
    records = all_claims(wire, game)
    resolved_at = wire.call(Ask(game, RESOLVED_AT, ("uint64",))) if described[3] else None
    flags = wire.calls([Ask(game, RESOLVED_SUBGAMES, ("bool",), (i,)) for i in range(len(records))])
    for index, record in enumerate(records):
        is_root = record[5] == 1
        if not is_root and record[0] >= index:
            raise ClientError(f"claim {index} has parent {record[0]}")
    claims = []
    for index, (record, (resolved,)) in enumerate(zip(records, flags, strict=True)):
        parent, countered_by, claimant, bond, value, gindex, clock = record
        claims.append(ListedClaim(index, parent, countered_by, claimant, bond, value, gindex, clock, resolved))
    return ListedClaims(described, max_depth, split_depth, max_clock, starting, resolved_at, claims)


@dataclass(frozen=True)
class ListedCredits:
    """What list-credits prints."""

    collateral: int
    delay: int
    withdrawals: dict[str, tuple[int, int]]


def list_credits(wire: Wire, game: str) -> ListedCredits:
    """`op-challenger list-credits`."""
    open_game(wire, game)
    records = all_claims(wire, game)
    described = metadata(wire, game)
    weth = wire.call(Ask(game, WETH, ("address",)))
    messages = [
        wire._message("eth_getBalance", [weth.lower(), "latest"]),
        wire._message("eth_call", [{"from": ZERO, "input": "0x" + DELAY, "to": weth.lower()}, "latest"]),
    ]
    answers = {answer["id"]: answer["result"] for answer in wire._post(messages)}
    collateral = int(answers[messages[0]["id"]], 16)
    delay = decode(("uint256",), bytes.fromhex(answers[messages[1]["id"]][2:]))[0]
    if wire.call(Ask(game, WETH, ("address",))) != weth:
        raise ClientError("weth changed")
    people = {record[2] for record in records} | {record[1] for record in records} | {described[6]}
    wanted = sorted(people - {to_checksum_address(ZERO)})
    found = wire.calls([Ask(weth, WITHDRAWALS, ("uint256", "uint256"), (game, who)) for who in wanted])
    return ListedCredits(
        collateral, delay, {who: (amount, at) for who, (amount, at) in zip(wanted, found, strict=True)}
    )


@dataclass(frozen=True)
class Watched:
    """What the run loop learns of a game before it plays."""

    absolute_prestate: bytes
    starting_root: bytes
    min_proposal_size: int
    proposal_count: int
    challenge_period: int


def watch(wire: Wire, factory: str, game: str) -> Watched:
    """`op-challenger` without a command: start-up for the game's type, then its first sight of the game."""
    game_type = wire.call(Ask(game, GAME_TYPE, ("uint32",)))
    if wire.call(Ask(factory, GAME_IMPLS, ("address",), (game_type,))) == to_checksum_address(ZERO):
        raise ClientError("no implementation: the oracle is skipped")
    raw = bytes.fromhex(
        wire.request(
            "eth_call",
            {"from": ZERO, "input": "0x" + GAME_ARGS + word(game_type), "to": factory.lower()},
            "latest",
        )[2:]
    )
    length = int.from_bytes(raw[32:64], "big")
    if length not in (124, 164):
        raise ClientError(f"game arguments of {length} bytes")
    vm = to_checksum_address(raw[64 + 32 : 64 + 52])
    if wire.call(Ask(game, VM, ("address",))) != vm:
        raise ClientError("the game has another VM than the factory's arguments")
    oracle = wire.call(Ask(vm, ORACLE, ("address",)))
    check_version(wire.call(Ask(oracle, VERSION, ("string",))), ("1.0.",))
    header = wire.call(Ask(game, L1_HEAD, ("bytes32",)))
    if wire.request("eth_getBlockByHash", "0x" + header.hex(), False) is None:
        raise ClientError("the game's head is no block of the chain")
    return Watched(
        wire.call(Ask(game, ABSOLUTE_PRESTATE, ("bytes32",))),
        wire.call(Ask(game, STARTING_ROOT_HASH, ("bytes32",))),
        wire.call(Ask(oracle, MIN_PROPOSAL_SIZE, ("uint256",))),
        wire.call(Ask(oracle, PROPOSAL_COUNT, ("uint256",))),
        wire.call(Ask(oracle, CHALLENGE_PERIOD, ("uint256",))),
    )


# ---- transactions ----


def create_game(wire: Wire, key: str, factory: str, game_type: int, root: bytes, l2_block: int) -> str:
    """`op-challenger create-game`; the new game's address, out of the event."""
    check_version(wire.call(Ask(factory, VERSION, ("string",))), OLD_FACTORIES)
    bond = wire.call(Ask(factory, INIT_BONDS, ("uint256",), (game_type,)))
    data = "0x" + CREATE + word(game_type) + word(root) + word(96) + word(32) + word(l2_block)
    receipt = transact(wire, key, factory, data, bond)
    for log in receipt["logs"]:
        if log["address"].lower() == factory.lower() and log["topics"][0] == "0x" + DISPUTE_GAME_CREATED:
            if len(log["topics"]) != 4 or log["data"] != "0x":
                raise ClientError("DisputeGameCreated must have three indexed fields and no data")
            return to_checksum_address("0x" + log["topics"][1][26:])
    raise ClientError("no DisputeGameCreated event from the factory")


def move(wire: Wire, key: str, game: str, parent: int, value: bytes, *, attack: bool) -> dict[str, Any]:
    """`op-challenger move --attack|--defend --parent-index I --claim V`."""
    open_game(wire, game)
    record = wire.calls([Ask(game, CLAIM_DATA, CLAIM_KINDS, (parent,))])[0]
    gindex = record[5] * 2 if attack else (record[5] | 1) * 2
    bond = wire.call(Ask(game, REQUIRED_BOND, ("uint256",), (gindex,)))
    selector = ATTACK if attack else DEFEND
    return transact(wire, key, game, "0x" + selector + record[4].hex() + word(parent) + word(value), bond)


def resolve_claim(wire: Wire, key: str, game: str, index: int) -> dict[str, Any]:
    """`op-challenger resolve-claim --claim I`: simulated from the zero address first."""
    open_game(wire, game)
    data = "0x" + RESOLVE_CLAIM + word(index) + word(512)
    wire.request("eth_call", {"from": ZERO, "input": data, "to": game.lower()}, "latest")
    return transact(wire, key, game, data)


def resolve(wire: Wire, key: str, game: str) -> dict[str, Any]:
    """`op-challenger resolve`."""
    open_game(wire, game)
    return transact(wire, key, game, "0x" + RESOLVE)
