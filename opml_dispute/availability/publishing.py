"""
Putting a file where others can fetch it: into a folder, to a web server (PUT), or into an IPFS node (its HTTP API).

`publish` answers the URI under which the file can be fetched. Whether it really can be is for a fresh fetch to say
(`operator.outside_view`): a server that takes in what it does not give back is not rare.
"""

from __future__ import annotations

import base64
import io
import re
import secrets
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, unquote, urlsplit

from opml_dispute import plain_json
from opml_dispute.availability.addresses import AddressRefused
from opml_dispute.availability.exchange import ExchangeFailed, ExchangeLimits, exchange
from opml_dispute.chain.transport import public_url
from opml_dispute.errors import OpmlError
from opml_dispute.home import CannotWrite, write_whole
from opml_dispute.reading import Unreadable, copy_file

TIMEOUT_S: Final = 3_600.0
_ANSWER_BYTES: Final = 1 << 16


class CannotPublish(OpmlError):
    """A file could not be put where others can fetch it."""

    hint = "give a folder, an https:// URL to put it to, or ipfs+http://127.0.0.1:5001 for an IPFS node"


@dataclass(frozen=True)
class PublicationTarget:
    """Where files are published: what stands after --publish."""

    text: str
    base_uri: str | None = None
    """The URI under which others see the folder, as `https://models.example/`; by default a file URI."""

    def __post_init__(self) -> None:
        scheme = self._scheme
        if scheme in ("http", "https", "ipfs+http", "ipfs+https"):
            if self.base_uri is not None:
                raise CannotPublish("a folder's files are seen under another URI; what is sent to a server is not")
        elif re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", self.text) and scheme != "file":
            raise CannotPublish(f"nothing can be published to {public_url(self.text)!r}")
        if self.base_uri is not None and re.match(r"(https?|file)://[^\s]", self.base_uri) is None:
            raise CannotPublish(f"{self.base_uri!r} is no URI that a folder is seen under", hint="write https://…")

    @property
    def _scheme(self) -> str:
        return self.text.partition("://")[0].lower() if "://" in self.text else ""

    def publish(self, file: Path, name: str) -> str:
        """Puts a file there as `name`; the URI under which it can be fetched. Raises `CannotPublish`."""
        scheme = self._scheme
        try:
            if scheme in ("http", "https"):
                return _put(self.text, file, name)
            if scheme.startswith("ipfs+"):
                return _add(self.text.removeprefix("ipfs+"), file, name)
            return self._copy(file, name)
        except (Unreadable, CannotWrite, ExchangeFailed, AddressRefused) as error:
            raise CannotPublish(f"cannot publish {name} to {public_url(self.text)}: {error}") from None
        except OSError as error:
            raise CannotPublish(f"cannot read {file}: {error.strerror}", hint=None) from None

    def _copy(self, file: Path, name: str) -> str:
        text = unquote(urlsplit(self.text).path) if self._scheme == "file" else self.text
        folder = Path(text).absolute()
        if not folder.is_dir():
            raise CannotPublish(f"there is no folder {folder} to publish to")
        size = file.stat().st_size
        write_whole(folder / name, lambda temporary: copy_file(file, temporary, max_bytes=size))
        if self.base_uri is not None:
            return f"{self.base_uri.rstrip('/')}/{quote(name)}"
        return (folder / name).as_uri()


class _File:
    """A file as content that is sent, between two pieces of text."""

    def __init__(self, file: Path, before: bytes = b"", after: bytes = b"") -> None:
        self._parts: list[BinaryIO] = [io.BytesIO(before), file.open("rb"), io.BytesIO(after)]
        self.size_bytes = len(before) + file.stat().st_size + len(after)

    def read(self, size: int = -1, /) -> bytes:
        while self._parts:
            part = self._parts[0].read(size)
            if part:
                return part
            self._parts.pop(0).close()
        return b""

    def close(self) -> None:
        while self._parts:
            self._parts.pop(0).close()


def _limits() -> ExchangeLimits:
    # The operator named the server, so it may be anywhere.
    return ExchangeLimits(_ANSWER_BYTES, time.monotonic() + TIMEOUT_S, local=True)


def _put(base: str, file: Path, name: str) -> str:
    try:
        parts = urlsplit(base)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        raise CannotPublish(f"{public_url(base)!r} is not the URL of a server") from None
    url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{quote(name)}"
    headers = {"Content-Type": "application/octet-stream"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    with closing(_File(file)) as body:
        answer = exchange("PUT", url, limits=_limits(), into=io.BytesIO(), headers=headers, body=body)
    if answer.status not in (200, 201, 204):
        raise CannotPublish(f"the server {public_url(url)} answers {answer.status} to a PUT")
    return url


def _add(api: str, file: Path, name: str) -> str:
    """To an IPFS node, which names it by its content."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    before = (head + "Content-Type: application/octet-stream\r\n\r\n").encode()
    told = io.BytesIO()
    with closing(_File(file, before, f"\r\n--{boundary}--\r\n".encode())) as body:
        answer = exchange(
            "POST",
            f"{api.rstrip('/')}/api/v0/add?pin=true&cid-version=1",
            limits=_limits(),
            into=told,
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
            body=body,
        )
    if answer.status != 200:
        raise CannotPublish(f"the IPFS node {public_url(api)} answers {answer.status}")
    try:
        content = plain_json.loads(told.getvalue().decode().strip().splitlines()[-1])["Hash"]
    except (ValueError, IndexError, KeyError, TypeError):
        content = None
    if not isinstance(content, str) or re.fullmatch(r"[a-zA-Z0-9]{32,128}", content) is None:
        raise CannotPublish(f"the IPFS node {public_url(api)} does not say how it names the content")
    return f"ipfs://{content}"
