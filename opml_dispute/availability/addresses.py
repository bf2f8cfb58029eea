"""
The addresses to which a URI may lead.

A URI comes from the chain, where any account can write one. Followed blindly it would let any account reach, through
this computer, what only this computer can reach: services on its loopback interface, routers and cloud metadata of its
network. So a name is resolved here, and the very address that was checked is the one that is connected to: an answer of
the name service that changes in between changes nothing.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from typing import Final

from opml_dispute.errors import OpmlError

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that public addresses are assigned from; what is outside belongs to one network or computer."""
_NOT_PUBLIC: Final = (
    ipaddress.ip_network("192.0.0.0/24"),  # of protocols; 192.0.0.192 is Oracle Cloud's metadata
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4, no longer in use
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's service for its machines
    ipaddress.ip_network("3fff::/20"),  # documentation
)
"""What `ipaddress` takes for public, in some release of Python or in all."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(OpmlError):
    """A URI leads to a computer that it may not lead to."""


def is_public(address: IpAddress) -> bool:
    """
    Whether an address is one of the public network; one that stands for another counts as that.

    >>> is_public(ipaddress.ip_address("93.184.216.34")), is_public(ipaddress.ip_address("::ffff:127.0.0.1"))
    (True, False)
    """
    if isinstance(address, ipaddress.IPv6Address):
        stands_for = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            stands_for.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if not all(is_public(inner) for inner in stands_for if inner is not None):
            return False
        if address.ipv4_mapped is not None or address in _NAT64:
            return True
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


def resolve(host: str, port: int, *, deadline: float, local: bool) -> list[tuple[socket.AddressFamily, str]]:
    """
    The addresses of a host that may be connected to: only public ones, unless `local`.

    Raises `AddressRefused` if it has others only, `TimeoutError` at `deadline` (of `time.monotonic`), and `OSError`.
    """
    found = _looked_up(host, port, deadline)
    allowed = [(family, address) for family, address in found if local or is_public(_parsed(address))]
    if not allowed:
        named = ", ".join(sorted({address for _, address in found})) or "no address"
        raise AddressRefused(f"{host} is {named}, which is not an address of the public network")
    return allowed


def _parsed(address: str) -> IpAddress:
    return ipaddress.ip_address(address.partition("%")[0])  # a link-local address may name its interface


def _looked_up(host: str, port: int, deadline: float) -> list[tuple[socket.AddressFamily, str]]:
    """What the name service says, waited for no longer than the deadline: the call itself knows no limit."""
    answers: queue.Queue[list[tuple[socket.AddressFamily, str]] | Exception] = queue.Queue()

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, str(place[0])) for family, _, _, _, place in infos])
        except (OSError, ValueError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.001, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, ValueError):
        raise OSError("the host's name cannot be one")
    if isinstance(answer, Exception):
        raise answer
    return answer
