"""A URI from the chain leads to the public network only, however it spells an address."""

from __future__ import annotations

import ipaddress
import socket
import time

import pytest

from opml_dispute.availability.addresses import AddressRefused, is_public, resolve

PRIVATE = [
    "127.0.0.1",
    "127.255.0.9",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1",
    "192.0.0.192",
    "192.88.99.1",
    "100.100.100.200",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::a83f:8110",
    "2002:c000:c0::1",
    "fec0::1",
    "4000::1",
    "5f00::1",
    "3fff::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public_address_is_known(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "::1", "0"])
def test_loopback_is_refused_however_it_is_spelt(host: str) -> None:
    deadline = time.monotonic() + 5
    with pytest.raises((AddressRefused, OSError)):
        resolve(host, 80, deadline=deadline, local=False)


def test_only_public_ones_of_a_names_addresses_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 1, 6, "", (a, 80)) for a in ("10.0.0.1", "93.184.216.34")]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    found = resolve("both.example", 80, deadline=time.monotonic() + 5, local=False)
    assert [address for _, address in found] == ["93.184.216.34"]


def test_name_service_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> list[tuple[object, ...]]:
        time.sleep(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        resolve("slow.example", 80, deadline=begun + 0.1, local=False)
    assert time.monotonic() - begun < 2
