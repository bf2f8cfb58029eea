"""Amounts of money, for people to read and to write."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation, localcontext

from opml_dispute.errors import OpmlError

_UNITS = {"eth": 10**18, "ether": 10**18, "gwei": 10**9, "wei": 1}


class BadAmount(OpmlError):
    """An amount that we cannot read."""

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


def parse_wei(text: str) -> int:
    """
    An amount as people write it; a bare number counts ETH. Raises `BadAmount`.

    >>> parse_wei("0.08"), parse_wei("20 gwei"), parse_wei("7wei")
    (80000000000000000, 20000000000, 7)
    """
    number = text.strip().lower().replace("_", "")
    unit = next((name for name in sorted(_UNITS, key=len, reverse=True) if number.endswith(name)), "eth")
    try:
        with localcontext(prec=100):  # the usual 28 digits would round large sums
            amount = Decimal(number.removesuffix(unit).strip()) * _UNITS[unit]
    except InvalidOperation:
        raise BadAmount(f"{text!r} is not an amount") from None
    if not amount.is_finite() or amount < 0 or amount != int(amount):
        raise BadAmount(f"{text!r} is not an amount: expected a whole, non-negative number of wei")
    return int(amount)
