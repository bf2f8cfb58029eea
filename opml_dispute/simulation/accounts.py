"""
The funds of a simulation's accounts, and their use.

A `Purse` pays gas and stakes bonds from what it was given; bonds come back when a game pays out. It keeps the figures
of studies: gas spent, bonds lost and won, the peak of what was locked, and the integral of that over time (ether-days).
"""

from __future__ import annotations

from dataclasses import dataclass, field

ETHER = 10**18
DAY_S = 86_400


@dataclass(slots=True)
class Purse:
    """One account's money, in wei."""

    funds_wei: int
    """What it began with."""
    gas_wei: float = 0.0
    """Spent on gas."""
    bribes_wei: float = 0.0
    """Spent on builders."""
    staked_wei: int = 0
    """Put into games, ever."""
    paid_wei: int = 0
    """Got out of games, ever."""
    locked_wei: int = 0
    """In games that have not paid out."""
    peak_locked_wei: int = 0
    transactions: int = 0
    refused: int = 0
    _locked_since_s: float = field(default=0.0)
    _locked_wei_s: float = field(default=0.0)

    @property
    def available_wei(self) -> float:
        """What can be staked or spent now."""
        return self.funds_wei - self.gas_wei - self.bribes_wei - self.staked_wei + self.paid_wei

    @property
    def net_wei(self) -> float:
        """Gained, or lost, once everything is paid out: bonds, gas and bribes together."""
        return self.paid_wei - self.staked_wei - self.gas_wei - self.bribes_wei

    def lock(self, amount_wei: int, now_s: float) -> None:
        """Stakes that much; a negative amount takes a stake back, as a reorganisation does."""
        self.staked_wei += amount_wei
        self._change(amount_wei, now_s)

    def release(self, staked_wei: int, paid_wei: int, now_s: float) -> None:
        """A game pays out: `staked_wei` is no longer locked, `paid_wei` came back."""
        self.paid_wei += paid_wei
        self._change(-staked_wei, now_s)

    def locked_ether_days(self, now_s: float) -> float:
        """The integral of what was locked, up to now."""
        return (self._locked_wei_s + self.locked_wei * (now_s - self._locked_since_s)) / ETHER / DAY_S

    def _change(self, amount_wei: int, now_s: float) -> None:
        self._locked_wei_s += self.locked_wei * (now_s - self._locked_since_s)
        self._locked_since_s = now_s
        self.locked_wei += amount_wei
        self.peak_locked_wei = max(self.peak_locked_wei, self.locked_wei)
