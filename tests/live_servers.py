"""Real servers on loopback for tests: an authoritative server with rotating answers, resolvers,
and `unflux watch` itself. Everything that is started is stopped by its own handle."""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from conftest import ROOT

CONTENT = b"protobuf:dnstap.Dnstap"
READY, START, STOP = 4, 2, 3


def need(*programs: str) -> pytest.MarkDecorator:
    """Skip where a server is not installed."""
    missing = [
        one for one in programs if shutil.which(one, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has on UDP and TCP, below those that the kernel gives out by itself."""
    for _ in range(200):
        port = random.randint(20_000, 32_000)  # noqa: S311  no secret
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise RuntimeError("no free port")


def until(ready: Callable[[], object], timeout_s: float = 15.0, what: str = "") -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what or ready}")
        time.sleep(0.05)


@contextmanager
def running(
    *command: str, log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is stopped at the end; its output is in `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=cwd)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Authority:
    """Answers for `test.` over UDP: each name by a function of how often it was asked."""

    def __init__(self) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.names: dict[str, Callable[[int], tuple[int, list[str]]]] = {}
        self.asked: dict[str, int] = {}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                wire, sender = self.socket.recvfrom(4096)
            except OSError:
                return
            self.socket.sendto(self._answer(dns.message.from_wire(wire)).to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        question = query.question[0]
        name = question.name.to_text().lower()
        if name in self.names and question.rdtype == dns.rdatatype.A:
            number = self.asked.get(name, 0)
            self.asked[name] = number + 1
            ttl, addresses = self.names[name](number)
            reply.answer.append(dns.rrset.from_text(question.name, ttl, "IN", "A", *addresses))
        elif name not in self.names and name != "test.":
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply

    def close(self) -> None:
        self.socket.close()


# A fresh answer is known by the minute at which it expires: TTLs a minute apart make one fresh
# answer a query, where a real name needs a minute each.
def ttl(number: int) -> int:
    return 60 * (1 + number % 50)


def flux(number: int) -> tuple[int, list[str]]:
    """Six addresses in six networks, half of them new each time; none comes back."""
    hosts = [(number * 3 + place) % 500 for place in range(6)]
    return ttl(number), [f"198.{18 + host // 256}.{host % 256}.7" for host in hosts]


def pool(number: int) -> tuple[int, list[str]]:
    """A volunteer pool: four of a hundred hosts in networks of their own."""
    hosts = [300 + (number * 7 + place * 13) % 100 for place in range(4)]
    return ttl(number), [f"198.{18 + host // 256}.{host % 256}.123" for host in hosts]


def cdn(number: int) -> tuple[int, list[str]]:
    """A delivery network: two of fifty addresses in one network."""
    return ttl(number), [f"198.19.200.{1 + (number * 2 + place) % 50}" for place in range(2)]


def static(number: int) -> tuple[int, list[str]]:
    return ttl(number), ["198.19.201.1"]


NAMES = {"www.flux.test.": flux, "pool.test.": pool, "cdn.test.": cdn, "www.static.test.": static}


def ask(name: str, port: int, kind: str = "A", timeout_s: float = 3) -> dns.message.Message:
    return dns.query.udp(
        dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=timeout_s
    )


def rcode_of(name: str, port: int) -> str:
    try:
        return dns.rcode.to_text(ask(name, port, timeout_s=2).rcode())
    except dns.exception.Timeout:
        return "TIMEOUT"


class Watching:
    """A running `unflux watch` in a directory of its own."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.directory, self.process, self.log = directory, process, log

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until_said(self, *words: str, timeout_s: float = 20) -> None:
        try:
            until(lambda: all(word in self.said for word in words), timeout_s, " ".join(words))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def metrics(self) -> dict[str, float]:
        import urllib.request

        [url] = [word[3:] for word in self.said.split() if word.startswith("at=http")][-1:]
        with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310  our own
            lines = page.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@contextmanager
def watching(
    directory: Path, tables: tuple[Path, Path], *options: str | Path, wrap: tuple[str, ...] = ()
) -> Iterator[Watching]:
    """Run `unflux watch` with a dnstap socket `tap.sock` in `directory`."""
    log = directory / "watch.log"
    started = log.stat().st_size if log.exists() else 0
    environment = os.environ | {
        "UNFLUX_ASN_DB": str(tables[0]), "UNFLUX_COUNTRY_DB": str(tables[1]), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    command = (
        *wrap, sys.executable, "-m", "unflux", "watch", "--dnstap", f"unix:{directory}/tap.sock",
        "--tick", "100ms", "--metrics", "127.0.0.1:0", *map(str, options),
    )  # fmt: skip
    with running(*command, log=log, env=environment, cwd=ROOT) as process:
        one = Watching(directory, process, log)
        until(
            lambda: b" watching " in log.read_bytes()[started:] or process.poll() is not None,
            30, "unflux watch starts",
        )  # fmt: skip
        assert process.poll() is None, one.said
        yield one


def control(kind: int, *, content: bytes | None = CONTENT) -> bytes:
    """A control frame of Frame Streams."""
    body = struct.pack(">I", kind)
    if content is not None:
        body += struct.pack(">II", 1, len(content)) + content
    return struct.pack(">II", 0, len(body)) + body


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


class Tap:
    """A producer of dnstap."""

    def __init__(self, path: Path, *, bidirectional: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.settimeout(5)
        self.bidirectional = bidirectional
        if bidirectional:
            self.socket.sendall(control(READY))
            assert self.socket.recv(100)[11] == 1  # ACCEPT
        self.socket.sendall(control(START))

    def send(self, payloads: list[bytes]) -> None:
        self.socket.sendall(b"".join(map(frame, payloads)))

    def close(self) -> None:
        """Say goodbye, and wait until everything was read."""
        self.socket.sendall(control(STOP, content=None))
        if self.bidirectional:
            assert self.socket.recv(100)[11] == 5  # FINISH
        self.socket.close()
