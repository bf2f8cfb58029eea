"""
The checks before the first stake: whether this account can defend a game to its end from this computer.

`propose`, `challenge`, `respond` and the watcher call `preflight` before they stake on a game for the first time; the
command of that name calls it alone. It answers with one `Check` for everything that an honest player loses games by:

1. whether the game goes on: of one that is over nothing else is checked;
2. the deployment's addresses, and the guest that its games run;
3. the depths of the game, compared with the records (never with what a registrant or a file's metadata says);
4. the inference: whether it succeeds, and whether the VM computes the same as the native run at the longest nodes;
5. the memory and the time that the FPVM phase takes here;
6. the clocks, and the money for every move down to the last step.

A check that fails says what the operator can still do. `expect_defensible` turns failures into one error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from opml_dispute.actors.exposure import deciding, line_wei, rest_wei
from opml_dispute.actors.honest import Decision
from opml_dispute.chain.amounts import about_ether, duration
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.data_fee import dispute_data_fee_wei
from opml_dispute.chain.fees import price_now_wei
from opml_dispute.chain.games import GameConstants
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.system import System
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.inference_status import status_words
from opml_dispute.engine.item_result import ItemResult
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.depths import MARGIN_LOG2, Depths
from opml_dispute.game.gas import MOVE_GAS, dispute_gas
from opml_dispute.model.program import Program
from opml_dispute.operator.checks import Check, Finding, Verdict, fails, holds, unsure
from opml_dispute.operator.deployment_check import deployment_finding
from opml_dispute.operator.deposits import missing_deposit_wei
from opml_dispute.operator.inference import most_output_bytes
from opml_dispute.operator.settle import STATUS_WORDS
from opml_dispute.primitives import Address
from opml_dispute.trace.longest import NodeMeasure, measure_longest

LONGEST: Final = 3
"""How many nodes are run in the VM: those with the highest bounds of steps."""

KEPT_TRACES: Final = 4
"""VM traces that a player holds at the same time (`trace.split`)."""

BLOCK_S: Final = 15
"""The least time for a move to be mined, in seconds; public chains have a block every 12 s."""

CLOCK_SKEW_S: Final = 600
"""The difference between the chain's clock and this computer's that is not yet reported, in seconds."""


class NotDefensible(OpmlError):
    """A game that an honest player could lose."""

    def __init__(self, failed: Sequence[Check]) -> None:
        told = "; ".join(f"{check.name}: {check.found}" for check in failed)
        super().__init__(f"this game may not be defensible from here, so nothing was staked on it ({told})")
        self.failed = tuple(failed)
        self.hint = f"{failed[0].way_out}; or stake on it all the same with --stake-anyway"


class ModelSizes(Protocol):
    """What is asked about a model: a `Program`, or a `RegisteredModel`."""

    @property
    def node_count(self) -> int: ...
    @property
    def log2_steps(self) -> int: ...
    @property
    def output_bytes(self) -> int: ...


class Computed(Protocol):
    """An inference that was computed, here or by a worker."""

    @property
    def status(self) -> int:
        """0, or what it failed with."""
        ...

    @property
    def fault_node(self) -> int:
        """Where it failed."""
        ...

    @property
    def results(self) -> Sequence[ItemResult]:
        """What became of each item of a batch; empty for a single inference."""
        ...

    def longest(self, count: int, depth: int) -> Sequence[NodeMeasure]:
        """The nodes that may take most steps, run in the VM: `trace.longest`."""
        ...


@dataclass(frozen=True)
class ComputedHere:
    """A `Computed` of this process."""

    program: Program
    inference: Inference

    @property
    def status(self) -> int:
        """See `Computed`."""
        self.inference.run_to(self.program.node_count)
        return self.inference.status

    @property
    def fault_node(self) -> int:
        """See `Computed`."""
        return self.inference.fault_node

    @property
    def results(self) -> Sequence[ItemResult]:
        """See `Computed`."""
        return ()

    def longest(self, count: int, depth: int) -> Sequence[NodeMeasure]:
        """See `Computed`."""
        return measure_longest(self.program, self.inference, count=count, depth=depth)


@dataclass(frozen=True)
class Prospect:
    """The game that `preflight` checks: one that may be staked on, or one that is being played."""

    program: ModelSizes
    computed: Computed
    depths: Depths
    """The game's own, from the chain; for a model that is not registered, those that it would get."""
    defends: bool
    """Whether the account would be on the root claim's side."""
    item_count: int = 1
    """Items of the request: the program's nodes run once for each."""
    min_bond_wei: int = 0
    """What the request demands of its proposer beside the root claim's bond."""
    output_by_root: bool = False
    """Whether the output is delivered by its root, so that no transaction has to carry it."""
    must_succeed: bool = False
    """Whether an inference that fails is worth nothing: so for a proposer, who earns a fee by delivering."""
    system: System | None = None
    constants: GameConstants | None = None
    """The constants of a game that exists."""
    game: Game | None = None
    account: Address | None = None
    plan: Decision | None = None
    """What an honest player would do in the game now, if that is known."""

    @property
    def address(self) -> Address | None:
        """The game's, if there is one."""
        return None if self.game is None else self.game.address

    @property
    def node_count(self) -> int:
        """Of the whole request."""
        return self.program.node_count * self.item_count


def preflight(prospect: Prospect) -> Iterator[Check]:
    """The results of all checks, cheap ones first; without a chain those that need none. An error is a check's
    result."""
    measured: list[NodeMeasure] = []
    if prospect.game is not None:
        game = prospect.game
        going_on = _checked("game", lambda: _goes_on(game, prospect.system))
        yield going_on
        if going_on.verdict is Verdict.FAILS and not game.in_progress:
            return
    if prospect.system is not None:
        system = prospect.system
        yield _checked("deployment", lambda: deployment_finding(system, prospect.constants, prospect.address))
    yield _checked("depths", lambda: _depths(prospect))
    yield _checked("inference", lambda: _inference(prospect))
    yield _checked("longest nodes", lambda: _longest_nodes(prospect, measured))
    yield _checked("memory", lambda: _memory(measured))
    if prospect.system is not None:
        yield _checked("clocks", lambda: _clocks(prospect, system, measured))
        yield _checked("funds", lambda: _funds(prospect, system))


def expect_defensible(checks: Sequence[Check]) -> None:
    """Raises `NotDefensible` if one of the checks fails."""
    failed = [check for check in checks if check.verdict is Verdict.FAILS]
    if failed:
        raise NotDefensible(failed)


def _checked(name: str, find: Callable[[], tuple[Verdict, str, str]]) -> Check:
    """
    Run one check; an error becomes its result, so that one failure hides no other.

    Errors of the node are raised: they are temporary and say nothing about the game.
    """
    try:
        return Check(name, *find())
    except RpcError:
        raise
    except OpmlError as error:
        return Check(name, Verdict.FAILS, str(error), error.hint or "mend that first")


def _goes_on(game: Game, system: System | None) -> Finding:
    """Whether a move can still be made in the game."""
    if not game.in_progress:
        return fails(
            f"it is over: {STATUS_WORDS[game.status]}",
            "stake nothing, no move is accepted any more; resolve pays out what is still owed",
        )
    if system is not None:
        now_s = system.rpc.head().timestamp
        if not any(time_left_s(game, claim.index, now_s) for claim in game.claims if not claim.is_resolved):
            return unsure("the time to answer its claims is over", "stake nothing; settle it with resolve")
    return holds("it goes on")


def _depths(prospect: Prospect) -> Finding:
    program, depths, nodes = prospect.program, prospect.depths, prospect.node_count
    stay_out = "stake nothing in this game: a false claim can win it"
    constants = prospect.constants
    if constants is not None and (constants.node_count, constants.item_count) != (nodes, prospect.item_count):
        return fails(f"the game is about {constants.node_count:,} nodes, not {nodes:,}", stay_out)
    if nodes > 1 << depths.split:
        return fails(f"{nodes:,} nodes do not fit below split depth {depths.split}", stay_out)
    if program.log2_steps + MARGIN_LOG2 > depths.execution:
        return fails(
            f"a node may take 2^{program.log2_steps} steps, but the game has room for 2^{depths.execution}, "
            f"less than {1 << MARGIN_LOG2} times as many",
            stay_out,
        )
    return holds(
        f"{nodes:,} nodes fit below split depth {depths.split}, and the 2^{program.log2_steps} steps that "
        f"a node may take into 2^{depths.execution}"
    )


def _inference(prospect: Prospect) -> Finding:
    inference, count = prospect.computed, prospect.node_count
    if inference.status == 0:
        size_bytes, most_bytes = prospect.program.output_bytes, most_output_bytes(prospect.item_count)
        if prospect.must_succeed and size_bytes > most_bytes and not prospect.output_by_root:
            return fails(
                f"its output has {size_bytes:,} bytes, and a transaction that delivers it {most_bytes:,} at "
                "most: no fee could be earned",
                "propose nothing; the requester could ask for the output by root",
            )
        failed = sum(result.status != 0 for result in inference.results)
        if not failed:
            return holds(f"all {count:,} nodes ran")
        found = f"{failed} of {prospect.item_count} items fail"
        if prospect.must_succeed:
            found += ": nothing is paid for these"
            return Verdict.UNKNOWN, found, "propose only if the fee for the others is worth it"
        return holds(f"{found}; S_n commits to that, and can be defended")
    who = "it fails" if prospect.item_count == 1 else "every item fails, the first"
    found = f"{who} at node {inference.fault_node} with {status_words(inference.status)}"
    if not prospect.must_succeed:
        return holds(f"{found}; S_n commits to that, and can be defended")
    return fails(
        f"{found}: nothing could be delivered, and no fee be earned",
        "propose nothing; the requester can take the fee back after a while",
    )


def _longest_nodes(prospect: Prospect, measured: list[NodeMeasure]) -> Finding:
    """Run the nodes with the highest bounds of steps through a trace of the game's own depth, as a dispute would."""
    stay_out = "stake nothing in this game, and report the model: its dispute could not be played to the end"
    measured += prospect.computed.longest(LONGEST, prospect.depths.execution)
    for node in measured:
        if not node.is_finished:
            found = f"node {node.node_index} takes more than the {prospect.depths.steps:,} steps of the game"
            return fails(found, stay_out)
        if not node.agrees:
            return fails(f"the VM comes to another state than the native run at node {node.node_index}", stay_out)
    longest = max(measured, key=lambda node: node.steps)
    return holds(
        f"{', '.join(str(node.node_index) for node in measured)} agree in the VM; node {longest.node_index} takes "
        f"most, {longest.steps:,} steps of {prospect.depths.steps:,}, in {longest.seconds:.1f} s"
    )


def _memory(measured: Sequence[NodeMeasure]) -> Finding:
    if not measured:
        return Verdict.UNKNOWN, "no node was run in the VM", ""
    needed_bytes = KEPT_TRACES * max(node.memory_bytes for node in measured)
    found = f"the FPVM phase takes up to {_megabytes(needed_bytes)} here"
    free_bytes = _free_memory()
    if free_bytes is None:
        return Verdict.UNKNOWN, found, "make sure that this computer has as much to spare"
    if needed_bytes > free_bytes:
        return fails(f"{found}, and {_megabytes(free_bytes)} are free", "use a computer with more memory")
    return holds(f"{found}; {_megabytes(free_bytes)} are free")


def _clocks(prospect: Prospect, system: System, measured: Sequence[NodeMeasure]) -> Finding:
    """Whether one side's total time is enough for all its moves, and how much is left in a running game."""
    head = system.rpc.head()
    limits = FaultDisputeGame(system.deployment.addresses["game"])
    max_clock_s = system.rpc.read(limits.max_clock_s())
    moves = prospect.depths.max // 2 + 1
    needed_s = moves * BLOCK_S + round(sum(node.seconds for node in measured))
    if needed_s > max_clock_s:
        return fails(
            f"a side has {duration(max_clock_s)} in all, but its {moves} moves take {duration(needed_s)}",
            "stake nothing in this game: its clocks are too short to be defended in",
        )
    found = f"a side has {duration(max_clock_s)} for moves that take about {duration(needed_s)}"
    game = prospect.game
    unanswered = [] if game is None else _unanswered(game, defends=prospect.defends)
    if game is not None and unanswered:
        left_s = min(time_left_s(game, claim.index, head.timestamp) for claim in unanswered)
        if left_s == 0 and game.root in unanswered:
            return fails("the time to answer the root claim is over", "stake nothing: it can only be resolved now")
        if left_s == 0:
            found += "; the time to answer some of what stands is over"
            return Verdict.UNKNOWN, found, "what can still be answered, respond answers; resolve settles the rest"
        found += f"; {duration(left_s)} are left to answer what stands"
        if left_s < BLOCK_S:
            return Verdict.UNKNOWN, found, "answer at once, with respond"
    skew_s = abs(head.timestamp - round(time.time()))
    if skew_s > CLOCK_SKEW_S:
        return (
            Verdict.UNKNOWN,
            f"{found}; the chain's clock is {duration(skew_s)} off this computer's",
            "make sure that the node follows the chain (a local chain that was warped is ahead)",
        )
    return holds(found)


def _unanswered(game: Game, *, defends: bool) -> list[Claim]:
    """The other side's claims that have no answer yet."""
    if not game.in_progress:
        return []
    parity = 1 if defends else 0
    return [
        claim
        for claim in game.claims
        if claim.position.depth % 2 == parity and not game.replies(claim.index) and not claim.is_resolved
    ]


def _funds(prospect: Prospect, system: System) -> Finding:
    """
    Whether the account can pay for every line that decides the game, down to the last step.

    Lines that only win or lose a bond are reported, and come after the others if funds are short.
    """
    account, depths, game, plan = prospect.account, prospect.depths, prospect.game, prospect.plan
    if account is None:
        return Verdict.UNKNOWN, "no account was named", "name one with --from ADDRESS, or with its key"
    terms = game.terms if game is not None else system.deployment.bonds.terms
    root_wei = missing_wei = 0
    if plan is not None and game is not None:
        lines = deciding(plan)
        bonds_wei, others_wei = rest_wei(game, lines), rest_wei(game, plan.lines) - rest_wei(game, lines)
        count, others = len(lines), len(plan.lines) - len(lines)
    else:
        deepest = max((claim.position.depth for claim in game.claims), default=-1) if game is not None else -1
        first = next(depth for depth in range(deepest + 1, deepest + 3) if depth % 2 == (0 if prospect.defends else 1))
        if first == 0:
            root_wei, first = system.rpc.read(system.factory.init_bond_wei()), 2
            missing_wei = missing_deposit_wei(system, prospect.min_bond_wei, account)
        bonds_wei = root_wei + missing_wei + line_wei(first, depths.max, terms)
        others_wei, count, others = 0, 1, 0
    fee_wei = price_now_wei(system.rpc)
    gas_wei = (dispute_gas(depths) + max(0, count - 1) * depths.max // 2 * MOVE_GAS) * fee_wei
    data_wei = dispute_data_fee_wei(system.rpc, depths, further_lines=max(0, count - 1))
    gas_wei += data_wei
    needed_wei, balance_wei = bonds_wei + gas_wei, system.rpc.balance_wei(account)
    data = f" ({about_ether(data_wei)} of it for data on the first layer)" if data_wei else ""
    on_lines = f" on the {count} lines that decide the game" if count > 1 else ""
    found = (
        f"a dispute to the last step{on_lines} takes {about_ether(bonds_wei)} in bonds, which come back, and "
        f"{about_ether(gas_wei)} for gas{data}; {account} has {about_ether(balance_wei)}"
    )
    if missing_wei:
        found += f"; of the bonds, {about_ether(missing_wei)} are to be deposited because the request demands them"
    if others:
        found += f"; {others} more that decide bonds only, {about_ether(others_wei)}"
    if balance_wei < needed_wei:
        return fails(found, f"send at least {about_ether(needed_wei - balance_wei)} more to {account}")
    if balance_wei < needed_wei + others_wei:
        return Verdict.UNKNOWN, found, "what decides the game comes first; with more funds all of it is played"
    return holds(f"{found}. Each further wrong claim costs its maker a bond, and opens a line more")


def _free_memory() -> int | None:
    """Free memory in bytes; None where the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _megabytes(size_bytes: int) -> str:
    return f"{(size_bytes + (1 << 20) - 1) >> 20:,} MiB"
