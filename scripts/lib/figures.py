"""What scripts print about disputes: parties, seconds, memory."""

from __future__ import annotations

from pathlib import Path

from opml_dispute.cli.demo.measured import MeasuredDispute


def tell_of_parties(result: MeasuredDispute) -> None:
    """Who won, what each party spent, staked and got, and the seconds of each part."""
    print(f"winner: the {result.winner}")
    for role, gas in result.gas.items():
        staked, paid = (wei.get(role, 0) / 10**18 for wei in (result.bonds_wei, result.paid_out_wei))
        print(f"{role}: {gas:,} gas, {staked:.4f} ETH staked, {paid:.4f} ETH paid out")
    print("seconds: " + ", ".join(f"{part} {seconds}" for part, seconds in result.seconds.items()))


def peak_bytes() -> int:
    """The greatest resident memory of this process; `clear_refs` begins it anew."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
