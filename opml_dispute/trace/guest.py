"""
The guest: the VM at the absolute prestate, and the VM about to run one node of an inference.

`guest_machine` forks the prestate, `node_start` gives it a node's local data and the segment, `run_node_in_vm` runs
the node to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.engine.vm import Machine
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import LocalIdent, StateHash, item_data
from opml_dispute.toolchain.native import guest_path


class GuestMissing(OpmlError):
    """The program that runs in the VM was not built."""

    hint = "build it: python -m opml_dispute.toolchain.native (the project's scripts do it)"


@cache
def _elf() -> bytes:
    try:
        return guest_path().read_bytes()
    except OSError as error:
        raise GuestMissing(f"cannot read the guest {guest_path()}: {error.strerror}") from None


def guest_machine() -> Machine:
    """
    The VM at the absolute prestate, the caller's to run. Raises `GuestMissing`.

    The machines share no memory, so that several can run at the same time.
    """
    return Machine.from_elf(_elf(), ml=True)


@cache
def absolute_prestate() -> StateHash:
    """The state hash where every VM trace of this release starts."""
    return guest_machine().state_hash()


@dataclass(frozen=True)
class VmRun:
    """A node, run in the VM from the native run's state before it."""

    steps: int
    agrees: bool
    """Whether the VM found the native run's state after it."""


def node_start(inference: Inference, node_index: int) -> Machine:
    """The VM at the start of one node's run, from the native run's state before the node."""
    start = inference.state_root(node_index)
    machine = guest_machine()
    machine.set_local(LocalIdent.STARTING_ROOT, start)
    machine.set_local(LocalIdent.DISPUTED_ROOT, inference.state_root(node_index + 1))
    machine.set_local(LocalIdent.ITEM, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, inference.blocks_at(node_index))
    return machine


def run_node_in_vm(inference: Inference, node_index: int) -> VmRun:
    """Let the guest run one node to its end. Raises what the machine raises."""
    machine = node_start(inference, node_index)
    while not machine.exited:
        machine.run(1 << 40)
    return VmRun(machine.step, machine.exit_code == 0)
