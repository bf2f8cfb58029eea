"""Amounts of money and spans of time, for people to read and to write."""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException, Underflow, localcontext

from opml_dispute.errors import OpmlError

_UNITS = {"eth": 10**18, "ether": 10**18, "gwei": 10**9, "wei": 1}


_NUMBER = re.compile(r"[0-9]+(_[0-9]+)*(\.[0-9]+)?(e[+-]?[0-9]+)?")
_MOST_WEI = 2**256 - 1
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


class BadAmount(OpmlError):
    """An amount that cannot be parsed."""

    hint = "write it like 0.05eth, 20gwei or 1000wei"


def ether(wei: int) -> str:
    """
    An amount in ETH, without trailing zeros.

    >>> ether(80_000_000_000_000_000), ether(0), ether(10**18)
    ('0.08 ETH', '0 ETH', '1 ETH')
    """
    whole, rest = divmod(wei, 10**18)
    digits = f"{rest:018d}".rstrip("0")
    return f"{whole}{'.' if digits else ''}{digits} ETH"


def gwei(wei: int) -> str:
    """
    A price of gas, without trailing zeros.

    >>> gwei(1_500_000_000), gwei(10**15), gwei(7)
    ('1.5 gwei', '1000000 gwei', '0.000000007 gwei')
    """
    whole, rest = divmod(wei, 10**9)
    digits = f"{rest:09d}".rstrip("0")
    return f"{whole}{'.' if digits else ''}{digits} gwei"


def about_ether(wei: int) -> str:
    """
    An amount in ETH, rounded up to six decimals: for sentences in which the last wei does not count.

    >>> about_ether(9_999_919_484_731_979_365_204), about_ether(1), about_ether(0)
    ('9999.919485 ETH', '0.000001 ETH', '0 ETH')
    """
    return ether(-(-wei // 10**12) * 10**12)


def parse_wei(text: str, *, bare: str = "eth") -> int:
    """
    An amount as people write it; a bare number counts in the unit `bare`. Raises `BadAmount`.

    >>> parse_wei("0.08"), parse_wei("20 gwei"), parse_wei("7wei")
    (80000000000000000, 20000000000, 7)
    """
    number = text.strip().lower()
    unit = next((name for name in sorted(_UNITS, key=len, reverse=True) if number.endswith(name)), "")
    digits = number.removesuffix(unit).strip()
    unit = unit or bare
    if _NUMBER.fullmatch(digits) is None:
        raise BadAmount(f"{text!r} is not an amount")
    try:
        with localcontext(prec=100) as context:  # the default of 28 digits would round large sums
            context.traps[Underflow] = True
            amount = Decimal(digits) * _UNITS[unit]
            # The comparison comes first: the integer of 1e999999999 would fill the memory.
            if amount > _MOST_WEI:
                raise BadAmount(f"{text!r} is not an amount: expected less than 2^256 wei")
            if amount != amount.to_integral_value():
                raise BadAmount(f"{text!r} is not an amount: expected a whole number of wei")
    except DecimalException:
        raise BadAmount(f"{text!r} is not an amount: expected 0, or from 1 wei to 2^256 wei") from None
    return int(amount)


def duration(seconds: int) -> str:
    """
    A time span in its two largest units.

    >>> duration(11520), duration(59), duration(302400)
    ('3 h 12 min', '59 s', '3 d 12 h')
    """
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        minutes, rest = divmod(seconds, _MINUTE_S)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    if seconds < _DAY_S:
        hours, rest = divmod(seconds, _HOUR_S)
        return f"{hours} h" + (f" {rest // _MINUTE_S} min" if rest >= _MINUTE_S else "")
    days, rest = divmod(seconds, _DAY_S)
    return f"{days} d" + (f" {rest // _HOUR_S} h" if rest >= _HOUR_S else "")
