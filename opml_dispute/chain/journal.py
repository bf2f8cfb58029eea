"""
The transactions of one key on one chain, shared between the processes that use it.

`KeyLedger.lock` lets one process at a time choose a nonce and send under it. The journal behind `note`, `find` and
`forget` keeps transactions that must not happen twice, such as a request with its fee: an entry is written before the
transaction is sent and removed once its receipt was returned. If a process dies in between, the next one that wants the
same transaction waits for the first instead of paying again. `launched` keeps what was signed lately under each nonce,
so that a later process which is blocked by it can resend it with a higher fee (`Launched`), and one whose own has a
later nonce can give it to the node again after a reorganisation. Where a node counted too few transactions, different
ones were signed under one nonce, and an older one may be the one that is mined: all are kept. Those that propose an
answer, or change the account's deposit for demanded bonds, are kept for long: a node that hides them is held against
them (`own_deposit_wei`, `operator.own_proposals`).

Only signed transactions are written, never keys. Everything lies below the project's own folder (OPML_HOME).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.chain.counts import MOST_PENDING
from opml_dispute.chain.file_lock import FileLock
from opml_dispute.chain.transactions import DepositChange
from opml_dispute.engine.hashing import keccak256
from opml_dispute.home import CannotWrite, home, write_json, write_whole
from opml_dispute.primitives import Address

LOCK_WAIT_S: Final = 60.0
"""How long another process of the key is waited for while it sends."""

ENTRY_LIVES_S: Final = 86_400
"""How long an entry is taken for an earlier run of the same command: a day."""

_HEX: Final = re.compile(r"0x([0-9a-fA-F]{2})*")

_KEPT_BELOW: Final = MOST_PENDING + 1
_KEPT_ABOVE: Final = 16
"""The nonces around the one that is sent, of which transactions are remembered."""
_BLOBS_KEPT_BELOW: Final = 32
"""The nonces before the one that is sent, of which blobs are kept: up to 0.8 MB each."""
_MOST_DEPOSITS: Final = 64
"""Transactions that change the account's deposit, which are remembered however many nonces ago they were."""
_MOST_PROPOSALS: Final = 256
"""Nonces of transactions that make a game, which are remembered in the same way."""
_MOST_FORMS: Final = 16
"""Transactions remembered under one nonce: most differ in their fees only."""
_LARGE_DIGITS: Final = 16_384
"""Data beyond this is forgotten once it is in a block: the file is written anew with each transaction."""


@dataclass(frozen=True)
class JournalEntry:
    """A transaction that was about to be sent."""

    nonce: int
    hashes: tuple[bytes, ...]
    raw: bytes
    """The signed transaction, as it was sent last."""
    genesis: bytes | None = None
    """The hash of the chain's first block, by which it differs from others of its id; None if the node told none."""


@dataclass(frozen=True)
class Launched:
    """A transaction that was sent lately."""

    hash: bytes
    fields: dict[str, Any]
    """The transaction's fields, as they were signed."""
    deposit: DepositChange | None = None
    """What it does to the account's deposit for demanded bonds."""
    is_mined: bool = False
    """Whether it was seen in a block: no other one is under its nonce then, except by a reorganisation."""
    makes_game: bool = False
    """Whether it proposes an answer."""


def likeliest(forms: Sequence[Launched]) -> Launched:
    """Of what was signed under one nonce, what is or will be in the chain: what was seen there, else the last one."""
    return next((form for form in reversed(forms) if form.is_mined), forms[-1])


class KeyLedger:
    """Lock and journal of one account on one chain."""

    _locks: Final[dict[str, threading.RLock]] = {}
    _guard: Final = threading.Lock()
    _given_up: Final[set[Path]] = set()
    """Locks that another process held for too long, until it gives them back."""

    def __init__(self, chain_id: int, address: Address, folder: Path | None = None) -> None:
        """`folder`: in the place of the project's own, for a chain that another may have the id of."""
        self._name, self._folder = f"{chain_id}-{address}", folder or home()
        with self._guard:
            self._lock = self._locks.setdefault(f"{self._folder}/{self._name}", threading.RLock())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """
        The lock held while a nonce is chosen and used. Waits for other threads, and for other processes as far as they
        share the folder, and for a minute at most: one may have been stopped. Without the lock, a nonce that was taken
        meanwhile is chosen anew.
        """
        with self._lock:
            lock = FileLock(self._folder / "sending" / f"{self._name}.lock")
            with suppress(CannotWrite):
                is_held = lock.take(wait_s=0.0 if lock.path in self._given_up else LOCK_WAIT_S)
                (self._given_up.discard if is_held else self._given_up.add)(lock.path)
            try:
                yield
            finally:
                lock.give_back()

    def note(self, work: bytes, entry: JournalEntry) -> None:
        """Remember `entry` as doing `work`. Raises `CannotWrite`."""
        write_json(
            self._path(work),
            {
                "nonce": entry.nonce,
                "hashes": [hash_.hex() for hash_ in entry.hashes],
                "raw": entry.raw.hex(),
                "at": int(time.time()),
            }
            | ({} if entry.genesis is None else {"genesis": entry.genesis.hex()}),
        )

    def find(self, work: bytes) -> JournalEntry | None:
        """An earlier process's transaction for `work`, if that process did not report its result."""
        try:
            raw = plain_json.loads(self._path(work).read_bytes())
            # A computer's clock may have been set back meanwhile: an entry of later than now is as good.
            if abs(time.time() - int(raw["at"])) > ENTRY_LIVES_S:
                return None
            hashes = tuple(bytes.fromhex(hash_) for hash_ in raw["hashes"])
            genesis = None if raw.get("genesis") is None else bytes.fromhex(raw["genesis"])
            return JournalEntry(int(raw["nonce"]), hashes, bytes.fromhex(raw["raw"]), genesis)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # there is no file, or a part of one after a crash

    def forget(self, work: bytes) -> None:
        """Remove the entry: the transaction's result was reported."""
        try:
            self._path(work).unlink(missing_ok=True)
        except OSError:
            return  # the entry is found again, mined, and reported once more

    def launched(self) -> dict[int, tuple[Launched, ...]]:
        """
        What any process signed and did not yet see in a block, and what is small and was seen there; by nonce, oldest
        first.
        """
        try:
            raw = plain_json.loads(self._launched_path.read_bytes())
            read = {int(nonce): _all_launched(items) for nonce, items in raw.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        sound = {n: tuple(form for form in forms if _can_be_signed(n, form.fields)) for n, forms in read.items()}
        return {nonce: forms for nonce, forms in sound.items() if forms}

    def launch(self, nonce: int, launched: Launched) -> None:
        """
        Store a transaction signed under `nonce`, beside what was signed under it before. Does nothing if the folder
        cannot be written: the record only lets a blocking transaction be replaced sooner. ASSUMES that the lock is
        held.
        """
        # What is far above was sent to another chain of this id: a local one that was begun anew.
        known = {n: forms for n, forms in self.launched().items() if n <= nonce + _KEPT_ABOVE}
        deposits = sorted(n for n, forms in known.items() if any(form.deposit for form in forms))[-_MOST_DEPOSITS:]
        proposals = sorted(n for n, forms in known.items() if any(form.makes_game for form in forms))[-_MOST_PROPOSALS:]
        kept_long = {*deposits, *proposals}
        kept = {n: forms for n, forms in known.items() if n > nonce - _KEPT_BELOW or n in kept_long}
        others = [form for form in kept.get(nonce, ()) if form.hash != launched.hash]
        seen = [form for form in others[: 1 - _MOST_FORMS] if form.is_mined]
        self._write_launched(kept | {nonce: (*seen, *others[1 - _MOST_FORMS :], launched)})

    def own_deposit_wei(self, contract: Address, mined: int) -> int:
        """
        The least that the account has deposited at a contract, if every transaction below the nonce `mined` is in the
        chain as this computer signed it, and none was signed elsewhere.
        """
        least_wei = 0
        for nonce, forms in sorted(self.launched().items()):
            possible = [likeliest(forms)] if any(form.is_mined for form in forms) else forms
            change_wei = min(_change_wei(form, contract) for form in possible)
            # What is added counts when it is mined, what is taken as soon as it is signed.
            if nonce < mined or change_wei < 0:
                least_wei = max(0, least_wei + change_wei)
        return least_wei

    def waiting_deposit_nonce(self, contract: Address, mined: int) -> int | None:
        """The first nonce under which a deposit was signed that is not below `mined`; None if there is none."""
        nonces = (
            nonce
            for nonce, forms in self.launched().items()
            if nonce >= mined and any(_change_wei(form, contract) > 0 for form in forms)
        )
        return min(nonces, default=None)

    def unseen_deposit_nonces(self, contract: Address, mined: int) -> list[int]:
        """The nonces below `mined` under which a deposit was signed, and nothing was seen in a block."""
        return [
            nonce
            for nonce, forms in self.launched().items()
            if nonce < mined
            and not any(form.is_mined for form in forms)
            and any(_change_wei(form, contract) > 0 for form in forms)
        ]

    def forget_deposits(self) -> None:
        """What was signed says no more what is deposited. ASSUMES that the lock is held."""
        known = self.launched().items()
        self._write_launched({n: tuple(replace(form, deposit=None) for form in forms) for n, forms in known})

    def keep_blobs(self, nonce: int, hex_hashes: Sequence[str], content: bytes) -> None:
        """
        Store the blobs of a transaction under `nonce`, without which it could not be sent again, beside those of others
        under this nonce. `hex_hashes` are the versioned hashes that the transaction names.

        Does nothing if the folder cannot be written. ASSUMES that the lock is held.
        """
        with suppress(CannotWrite):
            write_whole(self._blobs_path(nonce, hex_hashes), lambda temporary: temporary.write_bytes(content))
        self._drop_old_blobs(nonce)

    def blobs(self, nonce: int, hex_hashes: Sequence[str]) -> bytes | None:
        """The blobs that were stored for the transaction under `nonce` that names these, if they are still kept."""
        try:
            return self._blobs_path(nonce, hex_hashes).read_bytes()
        except OSError:
            return None

    def _drop_old_blobs(self, nonce: int) -> None:
        """Of transactions that no reorganisation takes back any more, if one under `nonce` is sent."""
        with suppress(OSError):
            for path in (self._folder / "sending").glob(f"{self._name}-*.blobs"):
                digits = path.stem.removeprefix(f"{self._name}-").partition("-")[0]
                if not digits.isdigit() or int(digits) <= nonce - _BLOBS_KEPT_BELOW:
                    path.unlink(missing_ok=True)

    def land(self, nonce: int, transaction_hash: bytes) -> None:
        """That transaction under `nonce` is in a block. ASSUMES that the lock is held."""
        # Blobs are kept on: a reorganisation can take the block back, and without them nothing could be sent again.
        known = self.launched()
        if nonce not in known:
            return
        forms = [replace(form, is_mined=form.hash == transaction_hash) for form in known[nonce]]
        small = tuple(form for form in forms if len(str(form.fields.get("data", ""))) <= _LARGE_DIGITS)
        self._write_launched({n: forms for n, forms in (known | {nonce: small}).items() if forms})

    def drop(self, nonce: int) -> None:
        """Nothing that was signed under `nonce` can be mined any more. ASSUMES that the lock is held."""
        self._write_launched({n: forms for n, forms in self.launched().items() if n != nonce})

    def _write_launched(self, items: dict[int, tuple[Launched, ...]]) -> None:
        with suppress(CannotWrite):
            write_json(self._launched_path, {str(n): list(map(_plain, forms)) for n, forms in sorted(items.items())})

    @property
    def _launched_path(self) -> Path:
        return self._folder / "sending" / f"{self._name}-launched.json"

    def _blobs_path(self, nonce: int, hex_hashes: Sequence[str]) -> Path:
        which = keccak256("".join(hex_hashes).encode())[:16].hex()
        return self._folder / "sending" / f"{self._name}-{nonce}-{which}.blobs"

    def _path(self, work: bytes) -> Path:
        return self._folder / "sending" / f"{self._name}-{keccak256(work)[:16].hex()}.json"


def _plain(form: Launched) -> dict[str, Any]:
    deposit = {} if form.deposit is None else {"deposit": asdict(form.deposit)}
    game = {"game": True} if form.makes_game else {}
    return {"hash": form.hash.hex(), "fields": form.fields, "mined": form.is_mined} | deposit | game


def _all_launched(raw: Any) -> tuple[Launched, ...]:
    """Earlier releases kept one for each nonce. Raises what `KeyLedger.launched` catches."""
    return tuple(map(_launched, raw if isinstance(raw, list) else [raw]))


def _launched(raw: Any) -> Launched:
    deposit = raw.get("deposit")
    change = None if deposit is None else DepositChange(Address(deposit["contract"]), int(deposit["wei"]))
    is_mined, makes_game = raw.get("mined") is True, raw.get("game") is True
    return Launched(bytes.fromhex(raw["hash"]), dict(raw["fields"]), change, is_mined, makes_game)


def _change_wei(form: Launched, contract: Address) -> int:
    """By how much it changes the deposit at that contract."""
    return form.deposit.wei if form.deposit is not None and form.deposit.contract == contract else 0


def _listed(value: Any) -> list[Any]:
    """The items of a list; of anything else, itself as the only one."""
    return value if isinstance(value, list) else [value]


def _can_be_signed(nonce: int, fields: dict[str, Any]) -> bool:
    """Whether a file that may be damaged holds all of the transaction with this nonce."""
    prices = ("gasPrice",) if "gasPrice" in fields else ("maxFeePerGas", "maxPriorityFeePerGas")
    blobs = ("maxFeePerBlobGas",) if "blobVersionedHashes" in fields else ()
    numbers = [fields.get(name) for name in ("value", "gas", "nonce", "chainId", *prices, *blobs)]
    texts = [fields.get("data"), fields.get("to", "0x"), *_listed(fields.get("blobVersionedHashes", []))]
    return (
        all(isinstance(number, int) and 0 <= number < 1 << 256 for number in numbers)
        and fields["nonce"] == nonce
        and all(isinstance(text, str) and _HEX.fullmatch(text) for text in texts)
    )
