"""Run the site until Ctrl-C or SIGTERM."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn

from unflux.errors import UnfluxError
from unflux.web import app as app_module
from unflux.web.settings import Settings
from unflux.web.store import Store

BACKLOG = 256
STOP_S = 3
"""Requests that run get so long when the server stops."""


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening address, taken before anything is read: what fails, fails early.

    Raises
    ------
    UnfluxError
        When the address is not ours or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        one = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UnfluxError(f"cannot listen on {host}: {error.strerror or error}") from None
    with closing(one):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(address)
        except OSError as error:
            raise UnfluxError(
                f"cannot listen on {host} port {port}: {error.strerror or error}"
            ) from None
        yield one


def url_of(settings: Settings) -> str:
    """Where the pages are."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}/"


def run(settings: Settings, store: Store, listening: socket.socket) -> None:
    """Serve; the URL is printed once requests are taken."""
    app = app_module.create_app(settings, store)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # an X-Forwarded-For of anybody must not pass for the address
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_S,
    )
    listening.listen(BACKLOG)
    print(url_of(settings), flush=True)
    if not app_module.has_pages():
        print(f"unflux: {app_module.NO_PAGES}", file=sys.stderr, flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has stopped by then, and raises the signal again
        return
