"""Where alerts go: a file, standard output, syslog, a webhook. None of them holds up the watch."""

from __future__ import annotations

import os
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from unflux.watch.alerts import syslog_line

MAX_SPOOLED = 10_000
"""Alerts that wait for a webhook; beyond, the oldest go, and are counted."""
MAX_BACKOFF_S = 60.0
WEBHOOK_TIMEOUT_S = 10.0
RETRIED_STATUSES = (408, 425, 429)


class Outlet(Protocol):
    """Somewhere alerts go."""

    @property
    def name(self) -> str:
        """For the log: where, and nothing that is secret."""
        ...

    @property
    def trouble(self) -> str:
        """What went wrong last, in words."""
        ...

    def send(self, alert: dict[str, Any], told_at: str) -> None:
        """Hand an alert over; never waits for the network, never raises."""
        ...

    def counters(self) -> dict[str, int]:
        """sent, failed and so on."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class JsonLines:
    """A file to append to (reopened when it was rotated away), or standard output (``-``)."""

    def __init__(self, path: Path) -> None:
        self.path = None if str(path) == "-" else path
        self.name, self.trouble = str(path), ""
        self.n_sent = self.n_failed = 0

    def send(self, alert: dict[str, Any], told_at: str) -> None:
        """See `Outlet`."""
        line = msgspec.json.encode(alert) + b"\n"
        try:
            if self.path is None:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            else:
                _append(self.path, line)
            self.n_sent += 1
        except OSError as error:
            self.n_failed += 1
            self.trouble = _says(error)

    def counters(self) -> dict[str, int]:
        """See `Outlet`."""
        return {"sent": self.n_sent, "failed": self.n_failed}

    def close(self) -> None:
        """See `Outlet`."""


def _says(error: Exception) -> str:
    """Why, without the address: a webhook's may hold a secret."""
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)


def _append(path: Path, line: bytes) -> None:
    """Append one line whole, or nothing of it."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        before = os.fstat(handle).st_size
        if os.write(handle, line) != len(line):
            os.ftruncate(handle, before)
            raise OSError("no space left")
    finally:
        os.close(handle)


class Syslog:
    """RFC 5424 over UDP (``udp:HOST:PORT``), TCP (``tcp:…``, RFC 6587) or ``unix:PATH``."""

    def __init__(self, where: str) -> None:
        self.where = self.name = where
        self.trouble = ""
        self.hostname = socket.gethostname() or "-"
        self.n_sent = self.n_failed = 0
        self._socket: socket.socket | None = None

    def _connect(self) -> socket.socket:
        kind, _, rest = self.where.partition(":")
        if kind == "unix":
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.connect(rest)
        else:
            host, _, port = rest.rpartition(":")
            style = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
            family, style, number, _, at = socket.getaddrinfo(host, int(port), type=style)[0]
            made = socket.socket(family, style, number)
            made.settimeout(1)
            made.connect(at)
        made.settimeout(0.2)
        return made

    def send(self, alert: dict[str, Any], told_at: str) -> None:
        """See `Outlet`."""
        line = syslog_line(alert, self.hostname, told_at, os.getpid()).encode()
        if self.where.startswith("tcp:"):
            line = b"%d %s" % (len(line), line)
        try:
            self._socket = self._socket or self._connect()
            self._socket.sendall(line)
            self.n_sent += 1
        except OSError as error:
            self.n_failed += 1
            self.trouble = _says(error)
            self.close()

    def counters(self) -> dict[str, int]:
        """See `Outlet`."""
        return {"sent": self.n_sent, "failed": self.n_failed}

    def close(self) -> None:
        """See `Outlet`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Webhook:
    """POST each alert as JSON, from a thread of its own; what fails is tried again.

    `MAX_SPOOLED` alerts wait at most (on disk too, where a spool is named, so that they outlive a
    restart); beyond, the oldest goes and is counted.
    """

    def __init__(self, url: str, spool: Path | None = None, retry_s: float = 1.0) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"a webhook is an http(s) URL, not {url!r}")
        self.url, self.spool, self.retry_s = url, spool, retry_s
        server = urlsplit(url).netloc.rpartition("@")[2]
        self.name, self.trouble = f"{urlsplit(url).scheme}://{server}", ""
        self.n_sent = self.n_failed = self.n_dropped = self.n_rejected = 0
        self._waiting: deque[bytes] = deque(self._spooled())
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unflux-webhook", daemon=True)
        self._thread.start()

    def _spooled(self) -> list[bytes]:
        if self.spool is None or not self.spool.is_file():
            return []
        lines = self.spool.read_bytes().splitlines()
        self.n_dropped += len(lines[:-MAX_SPOOLED])
        return lines[-MAX_SPOOLED:]

    def send(self, alert: dict[str, Any], told_at: str) -> None:
        """See `Outlet`."""
        with self._changed:
            self._waiting.append(msgspec.json.encode(alert))
            while len(self._waiting) > MAX_SPOOLED:
                self._waiting.popleft()
                self.n_dropped += 1
            self._changed.notify()

    def _run(self) -> None:
        backoff_s = self.retry_s
        while not self._stop.is_set():
            with self._changed:
                while not self._waiting and not self._stop.is_set():
                    self._changed.wait(0.5)
                if self._stop.is_set():
                    return
                body = self._waiting[0]
            if self._post(body):
                backoff_s = self.retry_s
                with self._changed:
                    if self._waiting and self._waiting[0] is body:
                        self._waiting.popleft()
            else:
                self._stop.wait(backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def _post(self, body: bytes) -> bool:
        """Was it taken (or refused for good)?"""
        headers = {"Content-Type": "application/json", "User-Agent": "unflux"}
        request = urllib.request.Request(self.url, body, headers)  # noqa: S310  checked above
        try:
            with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S):  # noqa: S310
                self.n_sent += 1
                return True
        except urllib.error.HTTPError as error:
            self.trouble = f"it answers {error.code}"
            if 400 <= error.code < 500 and error.code not in RETRIED_STATUSES:
                self.n_rejected += 1
                return True
            self.n_failed += 1
        except (OSError, ValueError) as error:
            self.n_failed += 1
            self.trouble = _says(error)
        return False

    def save(self) -> None:
        """Write what waits to the spool."""
        if self.spool is None:
            return
        with self._changed:
            lines = list(self._waiting)
        from unflux.sightings import whole_file

        with whole_file(self.spool) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in lines))

    def counters(self) -> dict[str, int]:
        """See `Outlet`."""
        return {
            "sent": self.n_sent,
            "failed": self.n_failed,
            "rejected": self.n_rejected,
            "dropped": self.n_dropped,
            "waiting": len(self._waiting),
        }

    def close(self) -> None:
        """Stop, and keep what waits where there is a spool."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(0.5)
        try:
            self.save()
        except OSError:
            self.n_dropped += len(self._waiting)


def open_outlet(where: str, state: Path | None) -> Outlet:
    """What ``--alert`` names: a path or ``-``, ``udp:``, ``tcp:``, ``unix:``, ``http(s)://``.

    Raises
    ------
    ValueError
        When it is none of these.
    """
    if where.startswith(("http://", "https://")):
        return Webhook(where, state / "webhook.ndjson" if state else None)
    if where.startswith(("udp:", "tcp:", "unix:")):
        _, _, rest = where.partition(":")
        port = rest.rpartition(":")[2]
        if not where.startswith("unix:") and not (port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError(f"syslog needs HOST:PORT, not {rest!r}")
        return Syslog(where)
    return JsonLines(Path(where))
