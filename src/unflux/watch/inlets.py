"""Where responses come from: dnstap sockets, growing logs, an interface."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from unflux import _native
from unflux._native import Live
from unflux.errors import Unavailable
from unflux.watch.config import host_port
from unflux.watch.tailing import POLL_S, Tail

SNAPLEN = 65_535
BATCH_BYTES = 1 << 17

ETH_P_ALL, PACKET_OUTGOING, SOL_PACKET, PACKET_STATISTICS = 3, 4, 263, 6
LOOPBACK, ETHERNET = 772, 1


def listen(live: Live, where: str) -> str:
    """Open a dnstap listener; returns where it is.

    Raises
    ------
    Unavailable
        When the socket cannot be made, or somebody else listens on it.
    """
    kind, _, rest = where.partition(":")
    try:
        if kind == "tcp":
            host, port = host_port(rest, "dnstap tcp")
            return f"tcp:{host}:{live.listen_tcp(host, port)}"
        path = Path(rest)
        _remove_stale(path)
        live.listen_unix(path)
        path.chmod(0o660)
        return where
    except OSError as error:
        why = re.sub(r" \(os error \d+\)$", "", error.strerror or str(error))  # as Rust says it
        raise Unavailable(f"{where}: {why}") from None


def _remove_stale(path: Path) -> None:
    """A socket that nobody listens on was left by a run that was killed."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise Unavailable(f"unix:{path}: another program listens there")


class Follower(Tail):
    """A log of DNS that grows; its format is told by the first bytes of the file."""

    def __init__(self, live: Live, path: Path, *, from_start: bool = False) -> None:
        super().__init__(path, from_start=from_start)
        self.live = live
        self.n_faults = 0
        self.format: str | None = None
        self._feed = 0

    def recognise(self, head: bytes) -> bool:
        """See `Tail`."""
        found = _native.sniff(head)
        if found is None:
            return False
        if found != self.format:
            self.format = found
            self._feed = self.live.open_feed(found)
        return True

    def take(self, data: bytes, *, last: bool) -> None:
        """See `Tail`."""
        if self.live.feed(self._feed, data, last) is not None:
            self.n_faults += 1


class Interface:
    """Reads packets of an interface (AF_PACKET) and feeds them as a capture.

    Python reads each packet: good for about 100 000 packets a second. The kernel's drops are
    counted.
    """

    def __init__(self, live: Live, name: str) -> None:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.bind((name, 0))
        except PermissionError:
            raise Unavailable(
                f"reading from {name} needs CAP_NET_RAW: run as root, or give the service "
                "AmbientCapabilities=CAP_NET_RAW"
            ) from None
        except OSError as error:
            raise Unavailable(f"interface {name}: {error.strerror}") from None
        self._socket.settimeout(POLL_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        self.live, self.name = live, name
        self.n_packets = self.n_dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"packets {name}", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        feed = self.live.open_feed("pcap")
        out = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, ETHERNET))
        buffer = bytearray(SNAPLEN)
        fed_at = time.monotonic()
        while not self._stop.is_set():
            try:
                n, sender = self._socket.recvfrom_into(buffer)
                if sender[2] == PACKET_OUTGOING and sender[3] == LOOPBACK:
                    continue  # the loopback interface shows every packet twice
            except TimeoutError:
                n = 0
            except OSError:
                self._stop.wait(POLL_S)  # the interface is down
                continue
            if n:
                now_us = time.time_ns() // 1000
                out += struct.pack("<IIII", now_us // 1_000_000, now_us % 1_000_000, n, n)
                out += memoryview(buffer)[:n]
                self.n_packets += 1
            late = time.monotonic() - fed_at > POLL_S
            if out and (not n or late or len(out) > BATCH_BYTES):
                self.live.feed(feed, bytes(out), False)
                out.clear()
                fed_at = time.monotonic()
                self._count_drops()

    def _count_drops(self) -> None:
        packed = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self.n_dropped += struct.unpack("=II", packed)[1]


def interfaces() -> Sequence[str]:
    """Names of the interfaces there are."""
    return [name for _, name in socket.if_nameindex()]
