"""Texts that several `vm` commands print: a claim, a difference, the next instruction."""

from __future__ import annotations

from typing import Any

from opml_dispute.cli.vm.source import Source
from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.fpvm.disassemble import disassemble
from opml_dispute.fpvm.explain import Difference


def claim_lines(source: Source, step: int, state_hash: bytes) -> list[str]:
    """The claim's value compared with the state, if it is about that state."""
    claimed = source.claimed
    if claimed is None or claimed.step != step:
        return []
    verdict = "right" if claimed.state_hash == state_hash else "WRONG"
    return [f"claim {claimed.index:<6}0x{claimed.state_hash.hex()}: {verdict}"]


def claim_fact(source: Source, step: int, state_hash: bytes) -> dict[str, Any] | None:
    claimed = source.claimed
    if claimed is None or claimed.step != step:
        return None
    right = claimed.state_hash == state_hash
    return {"index": claimed.index, "state_hash": claimed.state_hash, "right": right}


def difference_fact(difference: Difference) -> dict[str, Any]:
    def shown(value: int | str) -> str:
        return f"0x{value:x}" if isinstance(value, int) else value

    return {"where": difference.where, "before": shown(difference.before), "after": shown(difference.after)}


def next_instruction(machine: Machine) -> str | None:
    """The instruction at the active thread's pc; None if none will be executed or its word is not known."""
    if machine.exited:
        return None
    try:
        word = int.from_bytes(machine.read(machine.pc & ~3, 4), "big")
    except VmError:
        return None
    return f"{machine.pc:x}: {word:08x}  {disassemble(word, machine.pc, ml=machine.ml)}"
