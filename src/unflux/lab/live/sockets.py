"""Wildcard sockets: one socket answers for every lab address, from the address that was asked.

Ten thousand agents need no ten thousand sockets: IP_PKTINFO tells the address a datagram came to
and sets the one that the answer leaves from; a TCP connection knows its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from unflux.lab.model.plan import LAB_V4, LAB_V6

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)
MAX_DATAGRAM = 65_535
BATCH = 64
"""Datagrams read before other tasks get their turn."""
PKTINFO, PKTINFO_V6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")

OnDatagram = Callable[[bytes, int, tuple[str, int]], None]
"""(payload, lab address it came to, sender)."""


def is_lab_address(text: str) -> bool:
    """Only these are ever sent to."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        return False
    net = LAB_V6 if ":" in text else LAB_V4
    return int.from_bytes(packed) >> (net.max_prefixlen - net.prefixlen) == int(
        net.network_address
    ) >> (net.max_prefixlen - net.prefixlen)


def number_of(text: str) -> int:
    """An address as the model has it."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, text))


class WildcardUdp:
    """UDP on every lab address of a family at once."""

    def __init__(self, port: int, on_datagram: OnDatagram, *, v6: bool = False) -> None:
        self.on_datagram, self.v6 = on_datagram, v6
        self.n_unsent = 0
        """Answers that the kernel did not take (full buffer): lost, as on a busy link."""
        self.level, self.kind = (
            (socket.IPPROTO_IPV6, IPV6_PKTINFO) if v6 else (socket.IPPROTO_IP, IP_PKTINFO)
        )
        self.socket = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        # The resolver holds its own address on the same port.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setsockopt(self.level, IPV6_RECVPKTINFO if v6 else IP_PKTINFO, 1)
        if v6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.setblocking(False)
        # The sealed namespace has only the lab.
        self.socket.bind(("::" if v6 else "0.0.0.0", port))  # noqa: S104
        self.port: int = self.socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self.socket, self._read)

    def _read(self) -> None:
        for _ in range(BATCH):
            try:
                payload, control, _, sender = self.socket.recvmsg(MAX_DATAGRAM, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error of an earlier answer
            for level, kind, data in control:
                if (level, kind) == (self.level, self.kind):
                    destination = (PKTINFO_V6 if self.v6 else PKTINFO).unpack_from(data)
                    address = int.from_bytes(destination[0 if self.v6 else 2])
                    self.on_datagram(payload, address, sender[:2])

    def send(self, payload: bytes, source: int, to: tuple[str, int]) -> None:
        """Send from one of the lab's addresses."""
        if self.v6:
            info = PKTINFO_V6.pack(source.to_bytes(16), 0)
        else:
            info = PKTINFO.pack(0, source.to_bytes(4), b"\0" * 4)
        try:
            self.socket.sendmsg([payload], [(self.level, self.kind, info)], 0, to)
        except OSError:
            self.n_unsent += 1

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()


def wildcard_tcp(port: int, *, v6: bool = False) -> socket.socket:
    """A listener on every lab address of a family."""
    family = socket.AF_INET6 if v6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if v6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.setblocking(False)
    listener.bind(("::" if v6 else "0.0.0.0", port))  # noqa: S104  as above
    listener.listen(1024)
    return listener
