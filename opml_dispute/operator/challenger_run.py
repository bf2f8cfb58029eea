"""
A node's run in the VM as op-challenger asks for it: from the arguments that it gives a pre-image server.

op-challenger names what is agreed and what is disputed on the command line of the server that it lets cannon start.
`ServerArguments` reads them; `node_contents` finds the node that they mean and gives what the VM needs for it: the
content behind S_t, and the local pre-images. No server is started: both come from the request itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opml_dispute.engine.batch_tree import room_log2
from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.segment import BATCH_BASE, SEGMENT_BASE
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.statefile import Subtree, subtrees_in
from opml_dispute.operator.case import Case
from opml_dispute.primitives import LocalIdent, StateRoot, item_data

_AGREED, _CLAIMED, _BLOCK = "--l2.outputroot", "--l2.claim", "--l2.blocknumber"


class BadServerArguments(OpmlError):
    """The arguments after -- are not those that op-challenger gives a server."""

    hint = f"for a state with the ML extension, give {_AGREED}, {_CLAIMED} and {_BLOCK} after --"


@dataclass(frozen=True, slots=True)
class ServerArguments:
    """The agreed root, the disputed root, and the number of the disputed state."""

    agreed_root: StateRoot
    claimed_root: StateRoot
    block_number: int
    """op-challenger's L2 block number: the disputed state's index t + 1, at most the number of nodes."""

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> ServerArguments:
        """Parse the server's command line; other arguments are ignored. Raises `BadServerArguments`."""
        found: dict[str, str] = {}
        for at, argument in enumerate(arguments):
            name, equals, value = argument.partition("=")
            if name in {_AGREED, _CLAIMED, _BLOCK}:
                found[name] = value if equals else next(iter(arguments[at + 1 : at + 2]), "")
        return cls(StateRoot(_root(found, _AGREED)), StateRoot(_root(found, _CLAIMED)), _number(found, _BLOCK))


@dataclass(frozen=True, slots=True)
class LocalPreimages:
    """The local pre-images of one disputed node: `cannon.run.Preimages`."""

    data: Mapping[bytes, bytes]

    def hint(self, hint: bytes) -> None:
        """Ignore the hint: the guest needs none."""

    def fetch(self, key: bytes) -> bytes:
        """Raises `BadServerArguments` for a key that no game has."""
        if key not in self.data:
            raise BadServerArguments(f"the program asks for pre-image 0x{key.hex()}, which no ML game has", hint=None)
        return self.data[key]


def node_contents(case: Case, arguments: ServerArguments, chain_id: int) -> tuple[list[Subtree], LocalPreimages]:
    """
    The content behind the agreed root (the segment; of a batch, its item's with the tree of all), and the local
    pre-images.

    Raises `BadServerArguments` if the agreed root is not the state before the disputed one: op-challenger never agrees
    with a wrong root, so the roots belong to another request.
    """
    states, block = case.states, arguments.block_number
    for index in (block - 1, block):
        if 0 <= index <= case.node_count and states.state_root(index) == arguments.agreed_root:
            break
    else:
        raise BadServerArguments(
            f"the agreed root 0x{arguments.agreed_root.hex()} is not the state before number {block} "
            f"of request 0x{case.request_id.hex()}",
            hint="name the game's own request: OPML_REQUEST=0x…",
        )
    item = max(block - 1, 0) // case.program.node_count
    words = {
        LocalIdent.STARTING_ROOT: bytes(arguments.agreed_root),
        LocalIdent.DISPUTED_ROOT: bytes(arguments.claimed_root),
        LocalIdent.DISPUTED_INDEX: block.to_bytes(8, "big"),
        LocalIdent.CHAIN_ID: chain_id.to_bytes(8, "big"),
        LocalIdent.ITEM: item_data(item, room_log2(case.item_count)),
    }
    return _contents(case, index), LocalPreimages({unlocalized_key(ident): word for ident, word in words.items()})


def contents_in(case: Case, state: bytes) -> list[Subtree]:
    """
    The content of what a saved state of a node's run has mapped; none if it has mapped none.

    The roots are compared with those of every state of the request. Raises `BadServerArguments` if none is equal.
    """
    mapped = {root for address, _, root in subtrees_in(state) if address in (BATCH_BASE, SEGMENT_BASE)}
    if not mapped:
        return []
    for index in range(case.node_count + 1):
        if case.states.state_root(index) in mapped:
            return _contents(case, index)
    raise BadServerArguments(
        f"what the state has mapped, {', '.join(sorted('0x' + root.hex() for root in mapped))}, "
        f"is no state of request 0x{case.request_id.hex()}",
        hint="name the game's own request: OPML_REQUEST=0x…",
    )


def _contents(case: Case, index: int) -> list[Subtree]:
    return [Subtree(root, log2_size, blocks) for root, log2_size, blocks in case.states.subtrees_at(index)]


def _root(found: Mapping[str, str], name: str) -> bytes:
    try:
        root = bytes.fromhex(found.get(name, "").removeprefix("0x"))
    except ValueError:
        root = b""
    if len(root) != 32:
        raise BadServerArguments(f"{name} is {found.get(name)!r}, expected 0x and 64 hexadecimal digits")
    return root


def _number(found: Mapping[str, str], name: str) -> int:
    text = found.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadServerArguments(f"{name} is {found.get(name)!r}, expected a decimal number")
    return int(text)
