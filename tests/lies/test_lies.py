"""
What operators do at a node that lies: every class of lie that was believed once, and some drawn by a seed.

The long run over all of them is scripts/sweep-lies.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from opml_dispute.devnet import anvil as devnet
from opml_dispute.testing.node_lies import KINDS, MISSING, Lie, Teller, lies_at, places_in, told
from tests.conftest import Chain
from tests.lies.commands import Commands
from tests.lies.lookers import Lookout
from tests.lies.oracle import Sent, sent_by, wrong_with, wrong_words
from tests.lies.scenes import scene_of
from tests.lies.sweep import Sweep
from tests.lies.watchers import Watch

# --- the equipment ---


def test_every_lie_has_a_name_by_which_it_is_told_again() -> None:
    reply = {"jsonrpc": "2.0", "id": 1, "result": {"number": "0x5", "logs": [{"topics": ["0x" + "ab" * 32]}]}}
    lies = {lie for place, value in places_in("eth_getX", reply["result"]) for lie in lies_at("eth_getX", place, value)}
    assert len(lies) > 60
    for lie in lies:
        assert Lie.parse(str(lie)) == lie
    unchanged = {lie.kind for lie in lies if told(lie, reply, "0x01") == reply}
    assert unchanged <= {"backwards"}, "the others change something, even of a list with one item"
    assert reply["result"] == {"number": "0x5", "logs": [{"topics": ["0x" + "ab" * 32]}]}, "in a copy"
    assert MISSING not in KINDS


def test_a_lie_about_a_word_changes_that_word_alone() -> None:
    words = [f"{number:064x}" for number in (1, 2, 3)]
    reply = {"id": 1, "result": "0x" + "".join(words)}
    changed = told(Lie("eth_call f", ("word 1",), "word 63 bits"), reply, "")["result"]
    assert changed == "0x" + words[0] + f"{2**63:064x}" + words[2]
    assert told(Lie("eth_call f", ("word 9",), "word 0"), reply, "") == reply, "there is no such word"


def test_a_teller_lies_as_often_as_it_is_told_to() -> None:
    teller = Teller(Lie("eth_chainId", (), "zero"), left=1)
    request = {"id": 1, "method": "eth_chainId", "params": []}
    answers = [teller(request, {"id": 1, "result": "0x7a69"})["result"] for _ in range(3)]
    assert answers == ["0x0", "0x7a69", "0x7a69"]
    assert teller.struck == 1


def test_the_oracle_tells_what_must_not_be_signed_or_printed() -> None:
    own, other = "0x" + "11" * 20, "0x" + "22" * 20
    asked = Sent(5, own, 7, b"abcd", 1)
    judged = [
        Sent(6, own, 7, b"abcd", 1),
        Sent(5, other, 0, b"abcd", 1),
        Sent(5, own, 8, b"abcd", 1),
        Sent(5, own, 7, b"abcd", 10**20),
    ]
    assert wrong_with([asked], honest=[asked], chain_id=5, known=[own]) == []
    for one in judged:
        assert len(wrong_with([one], honest=[asked], chain_id=5, known=[own])) == 1, one
    assert wrong_with([asked, asked], honest=[asked], chain_id=5, known=[own]), "twice the money"
    assert wrong_with([asked], honest=[asked], chain_id=5, known=[own], counts={"": 0}) == []
    later = Sent(5, own, 7, b"abcd", 1, "", 1)
    assert len(wrong_with([later], honest=[asked], chain_id=5, known=[own], counts={"": 0})) == 1, "for later"
    assert wrong_words("all is well\n", ["secret"]) == []
    for text in ("a secret", "Traceback (most recent call last)", "\x1b[31m", "\u202e", "\x9b2J"):
        assert len(wrong_words(text, ["secret"])) == 1, text


def test_the_oracle_reads_every_form_of_a_transaction() -> None:
    """A node that names no base fee is sent the old form; it must be for one chain, too."""
    to = "0x" + "11" * 20
    common = {"to": to, "value": 7, "data": "0xab", "gas": 30_000, "nonce": 4}
    old, bound = {"gasPrice": 5}, {"gasPrice": 5, "chainId": 31337}
    new = {"maxFeePerGas": 5, "maxPriorityFeePerGas": 1, "chainId": 31337}
    for fees, chain_id in ((bound, 31337), (new, 31337), (old, 0)):
        raw = Account.sign_transaction(common | fees, devnet.key_hex(devnet.ROLES.index("challenger")))
        (found,) = sent_by([raw.raw_transaction.to_0x_hex()])
        sender = devnet.account("challenger").address
        assert found == Sent(chain_id, to_checksum_address(to), 7, b"\xab", 150_000, sender, 4), fees


# --- what was believed once ---

BELIEVED = [
    ("opened", 0, '["eth_getBlockByNumber", "number", "63 bits"]'),
    ("opened", 1, '["eth_getBlockByNumber", "number", "many more"]'),
    ("opened", 0, '["eth_call maxClockDuration", "word 0", "word 0"]'),
    ("opened", 0, '["eth_call startingRootHash", "zeros"]'),
    ("opened", 0, '["eth_call models", "word 2", "word one less"]'),
    ("opened", 0, '["eth_call gameAtIndex", "word 2", "word of another"]'),
    ("opened", 0, '["eth_call isGameBlacklisted", "last bit"]'),
    ("unlocked", 0, '["eth_getBlockByNumber", "timestamp", "63 bits"]'),
    ("unlocked", 0, '["eth_call credit", "word 0", "word 0"]'),
    ("unlocked", 0, '["eth_getTransactionCount", "63 bits"]'),
]
"""A scene, an agent's passes before it is lied to, and the lie, of which it would have lost its game or its money."""


@pytest.mark.parametrize(("scene", "passes"), sorted({(scene, passes) for scene, passes, _ in BELIEVED}))
def test_an_agent_wins_once_a_lie_has_passed(chain: Chain, tmp_path: Path, scene: str, passes: int) -> None:
    watch = Watch(scene_of(chain, tmp_path, scene), tmp_path, passes=(passes,))
    lies = [Lie.parse(lie) for name, first, lie in BELIEVED if (name, first) == (scene, passes)]
    assert {str(lie): watch.wrong(lie, true_passes=passes) for lie in lies} == {str(lie): [] for lie in lies}


def test_what_is_named_as_due_for_ever_is_not_sent_for_ever(chain: Chain, tmp_path: Path) -> None:
    commands = Commands(scene_of(chain, tmp_path, "unlocked"), tmp_path)
    assert commands.wrong("resolve", Lie("eth_call bondOf", ("word 0",), "word 7"), left=None) == []


UNSETTLING = [
    '["eth_call status", "word 0", "word 1"]',
    '["eth_call status", "word 0", "word 7"]',
    '["eth_call itemCount", "word 0", "word 0"]',
    '["eth_call itemCount", "word 0", "word one more"]',
    '["eth_call splitDepth", "word 0", "word one more"]',
    '["eth_call maxGameDepth", "word 0", "word one more"]',
    '["eth_call maxClockDuration", "word 0", "word 0"]',
]
"""Lies that ended a watcher, had it stake where no claim belongs, or settle what is not over."""


def test_a_watcher_does_what_it_should_once_a_lie_has_passed(chain: Chain, tmp_path: Path) -> None:
    commands = Commands(scene_of(chain, tmp_path, "begun"), tmp_path)
    for lie in UNSETTLING:
        assert commands.wrong("respond, watching", Lie.parse(lie), left=None) == [], lie


MISLEADING = [
    '["eth_call requests", "word 10", "word 63 bits"]',
    '["eth_call gameCount", "word 0", "word 0"]',
    '["eth_call claimData", "word 1", "word of another"]',
    '["eth_getBlockByNumber", "timestamp", "63 bits"]',
]
"""Lies that a monitor, or one like it, believed for good."""


def test_a_monitor_tells_the_truth_once_a_lie_has_passed(chain: Chain, tmp_path: Path) -> None:
    lookout = Lookout(scene_of(chain, tmp_path, "opened"), tmp_path)
    lies = [Lie.parse(lie) for lie in MISLEADING]
    assert {str(lie): lookout.wrong(lie, true_looks=0) for lie in lies} == {str(lie): [] for lie in lies}


# --- some of all ---


@pytest.mark.parametrize(("scene", "count"), [("opened", 3), ("begun", 2)])
def test_lies_drawn_by_a_seed_cost_nothing(chain: Chain, tmp_path: Path, scene: str, count: int) -> None:
    sweep = Sweep(chain, tmp_path, scene)
    for case in islice(sweep.draw(1), count):
        assert sweep.wrong(case) == [], str(case)
