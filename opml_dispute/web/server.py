"""
The web server: routes, errors as pages, and the events that keep a page up to date.

A page that is open asks for `/events`; the server looks at the chain every `LOOK_EVERY_S` and says when the page would
look different, and the page fetches itself again. Reading and rendering happen in worker threads, so that a slow node
delays only who waits for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from opml_dispute.chain.games import BadAddress, UnknownGame, parse_address
from opml_dispute.chain.requests import UnknownRequest, parse_hash
from opml_dispute.chain.rpc import NoCode
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.wiring import ForeignGame
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address, RequestId
from opml_dispute.web.guard import Guard
from opml_dispute.web.pages import Explorer, UnknownModel
from opml_dispute.web.rendering import render, static_text

LOOK_EVERY_S: Final = 1.0
MAX_LISTENERS: Final = 64
"""Open pages that are kept up to date."""
MAX_PAGE: Final = 10_000_000
STATIC: Final = {"style.css": "text/css", "live.js": "text/javascript"}

_NOT_FOUND: Final = (UnknownGame, UnknownRequest, UnknownModel, BadAddress, NoCode, ForeignGame)


class CannotListenHere(OpmlError):
    """The port cannot be had."""


def make_app(explorer: Explorer, *, hosts: Sequence[str] = (), look_every_s: float = LOOK_EVERY_S) -> Starlette:
    """The application that answers for one deployment."""
    listeners = 0

    def page(template: str, gather: Callable[[Request], Mapping[str, Any]]) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            facts = gather(request)
            return HTMLResponse(render(template, path=request.url.path, standalone=False, **facts))

        return endpoint

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        return Response(static_text(name), media_type=STATIC[name])

    async def events(request: Request) -> Response:
        nonlocal listeners
        text = request.query_params.get("game")
        address = None if text is None else parse_address(text, "the address of a game")
        if listeners >= MAX_LISTENERS:
            return Response("too many open pages\n", status_code=503, media_type="text/plain")

        async def changes() -> AsyncIterator[str]:
            nonlocal listeners
            listeners += 1
            try:
                async for event in _changes(explorer, address, look_every_s):
                    yield event
            finally:
                listeners -= 1

        return StreamingResponse(changes(), media_type="text/event-stream")

    def error_page(request: Request, error: Exception) -> Response:
        status, message, hint = _refusal(error)
        reason = HTTPStatus(status).phrase
        facts = {"path": request.url.path, "standalone": False, "head": None}
        return HTMLResponse(render("error.html", message=message, hint=hint, reason=reason, **facts), status)

    routes = [
        Route("/", page("deployment.html", lambda request: explorer.deployment())),
        Route("/games", page("games.html", lambda request: explorer.games(_page(request)))),
        Route("/games/{address}", page("game.html", lambda request: explorer.game(_game(request)))),
        Route("/games/{address}/claims", page("claims.html", lambda r: explorer.claims(_game(r), _page(r)))),
        Route("/requests", page("requests.html", lambda request: explorer.requests(_page(request)))),
        Route("/requests/{id}", page("request.html", lambda request: explorer.request(RequestId(_id(request))))),
        Route("/models", page("models.html", lambda request: explorer.models(_page(request)))),
        Route("/models/{id}", page("model.html", lambda request: explorer.model(_id(request)))),
        Route("/events", events),
        Route("/static/{name}", static),
        Route("/favicon.ico", lambda request: Response(status_code=204)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=tuple(hosts))],
        exception_handlers={HTTPException: error_page, OpmlError: error_page},
    )


async def _changes(explorer: Explorer, address: Address | None, look_every_s: float) -> AsyncIterator[str]:
    """Server-sent events: "changed" when a page would look different, comments in between to keep the line open."""
    last: object = None
    quiet = 0
    while True:
        try:
            version: object = await run_in_threadpool(explorer.version, address)
        except OpmlError:
            version = last  # the page itself says what is wrong, when it is fetched again
        quiet += 1
        if version != last:
            if last is not None:
                yield "event: changed\ndata: 1\n\n"
                quiet = 0
            else:
                yield "event: ready\ndata: 1\n\n"
            last = version
        elif quiet * look_every_s >= 15:
            yield ": still here\n\n"
            quiet = 0
        await asyncio.sleep(look_every_s)


def _refusal(error: Exception) -> tuple[int, str, str | None]:
    """Status, sentence and hint."""
    if isinstance(error, HTTPException):
        message = "There is no such page." if error.status_code == 404 else str(error.detail)
        return error.status_code, message, None
    hint = error.hint if isinstance(error, OpmlError) else None
    if isinstance(error, _NOT_FOUND):
        return 404, str(error), hint
    return (502 if isinstance(error, RpcError) else 500), str(error), hint


def _page(request: Request) -> int:
    text = request.query_params.get("page", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > MAX_PAGE:
        raise HTTPException(404)
    return int(text)


def _game(request: Request) -> Address:
    return parse_address(request.path_params["address"], "the address of a game")


def _id(request: Request) -> bytes:
    raw = parse_hash(request.path_params["id"])
    if raw is None:
        raise HTTPException(404)
    return raw


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `CannotListenHere`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(64)
        except BaseException:
            opened.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "the host's name is not known"
        raise CannotListenHere(
            f"cannot listen on {host}:{port}: {reason}", hint="give another --listen HOST:PORT; port 0 takes a free one"
        ) from None
    return opened


def web_server(app: Starlette) -> uvicorn.Server:
    """The server of an application, not running yet."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
    )
    return uvicorn.Server(config)


def serve_pages(app: Starlette, listening: socket.socket) -> None:
    """Answers until the process is told to end."""
    web_server(app).run(sockets=[listening])
