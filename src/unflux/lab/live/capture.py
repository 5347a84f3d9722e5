"""`python -m unflux.lab.live.capture PLAN`: capture loopback into one pcap per point of view.

A memory-mapped AF_PACKET ring (TPACKET_V3) in a process of its own, so that nothing is lost while
the lab is busy; what the kernel still had to drop is counted. No tool and no privilege beyond the
lab's own namespace is needed. The kernel's copy of what is sent is skipped: on loopback every
packet would be there twice.
"""

from __future__ import annotations

import json
import mmap
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_IGNORE_OUTGOING = 5, 6, 10, 23
TPACKET_V3 = 2
ETH_P_ALL = 0x0003
BLOCK_SIZE, N_BLOCKS, FRAME_SIZE = 1 << 19, 64, 1 << 11
BLOCK_TIMEOUT_MS = 50
TP_STATUS_USER = 1
PCAP_HEAD = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)
"""Nanosecond pcap, Ethernet."""
BLOCK = struct.Struct("=IIIIII")  # version, offset_to_priv, status, n packets, offset, length
FRAME = struct.Struct("=IIIIIIHH")  # next, sec, nsec, snaplen, len, status, mac, net
CLIENTS, UPSTREAM, ALL = "clients", "upstream", "all"

Frame = tuple[int, int, bytes]
"""(seconds, nanoseconds, bytes from the Ethernet header on)."""


class Ring:
    """Packets of the namespace's loopback, in order."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        request = struct.pack(
            "=7I", BLOCK_SIZE, N_BLOCKS, FRAME_SIZE, BLOCK_SIZE // FRAME_SIZE * N_BLOCKS,
            BLOCK_TIMEOUT_MS, 0, 0,
        )  # fmt: skip
        self.socket.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        self.memory = mmap.mmap(self.socket.fileno(), BLOCK_SIZE * N_BLOCKS)
        self.socket.bind(("lo", ETH_P_ALL))
        self.block = 0
        self.dropped = 0

    def frames(self, timeout_s: float) -> Iterator[Frame]:
        """What has come; waits for it when there is nothing."""
        while True:
            start = self.block * BLOCK_SIZE
            _, _, status, n_packets, offset, _ = BLOCK.unpack_from(self.memory, start)
            if not status & TP_STATUS_USER:
                poll = select.poll()
                poll.register(self.socket, select.POLLIN | select.POLLERR)
                if not poll.poll(timeout_s * 1000):
                    return
                continue
            yield from self._block(start + offset, n_packets)
            struct.pack_into("=I", self.memory, start + 8, 0)  # the kernel may fill it again
            self.block = (self.block + 1) % N_BLOCKS

    def _block(self, at: int, n_packets: int) -> Iterator[Frame]:
        for _ in range(n_packets):
            following, seconds, nanos, kept, _, _, mac, _ = FRAME.unpack_from(self.memory, at)
            yield seconds, nanos, self.memory[at + mac : at + mac + kept]
            at += following

    def count_dropped(self) -> int:
        """Packets that found the ring full, so far (the kernel's counter starts anew each time)."""
        _, dropped, _ = struct.unpack(
            "=3I", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12)
        )
        self.dropped += dropped
        return self.dropped


class Views:
    """Which files a packet belongs to: by the resolver's addresses, and by agents' addresses."""

    def __init__(
        self, directory: Path, resolver: list[str], agents: list[str], *, whole: bool
    ) -> None:
        self.resolver = {_packed(one) for one in resolver}
        self.agents = {_packed(one): f"agents/{one.replace(':', '-')}" for one in agents}
        names = [CLIENTS, UPSTREAM, *([ALL] if whole else []), *self.agents.values()]
        self.files: dict[str, IO[bytes]] = {}
        for name in names:
            path = directory / f"{name}.pcap"
            path.parent.mkdir(exist_ok=True)
            self.files[name] = path.open("wb")
            self.files[name].write(PCAP_HEAD)
        self.counts = dict.fromkeys(self.files, 0)

    def write(self, frame: Frame) -> None:
        """Write a packet to every view that shows it."""
        seconds, nanos, packet = frame
        record = struct.pack("<IIII", seconds, nanos, len(packet), len(packet)) + packet
        if ALL in self.files:
            self._put(ALL, record)
        if packet[12:14] == b"\x08\x00":
            source, target = packet[26:30], packet[30:34]
            protocol, at = packet[23], 14 + (packet[14] & 15) * 4
        else:
            source, target = packet[22:38], packet[38:54]
            protocol, at = packet[20], 54  # nobody in the lab sends extension headers
        if protocol in (6, 17):
            view = self._dns_view(packet[at : at + 4], source, target)
            if view:
                self._put(view, record)
        for address in {source, target}:
            if address in self.agents:
                self._put(self.agents[address], record)

    def _put(self, name: str, record: bytes) -> None:
        self.files[name].write(record)
        self.counts[name] += 1

    def _dns_view(self, head: bytes, source: bytes, target: bytes) -> str | None:
        """The side of the resolver that a DNS packet is on, by its ports."""
        if len(head) < 4 or not self.resolver & {source, target}:
            return None
        ports = struct.unpack(">HH", head)
        if 53 not in ports:
            return None
        own = ports[0] if source in self.resolver else ports[1]
        return CLIENTS if own == 53 else UPSTREAM

    def close(self) -> None:
        """End the files."""
        for file in self.files.values():
            file.close()


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def main(path: str) -> int:
    """Capture until SIGTERM; says `ready`, and at the end what was counted, on standard output."""
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    state = {"going": True}

    def stop(_number: int, _frame: FrameType | None) -> None:
        state["going"] = False

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ring = Ring()
    views = Views(Path(plan["directory"]), plan["resolver"], plan["agents"], whole=plan["all"])
    print("ready", flush=True)
    _run(ring, views, lambda: state["going"])
    views.close()
    print(json.dumps({"packets": views.counts, "dropped": ring.count_dropped()}), flush=True)
    return 0


def _run(ring: Ring, views: Views, going: Callable[[], bool]) -> None:
    while going():
        for frame in ring.frames(0.2):
            views.write(frame)
            if not going():
                break
    # What was under way when we were stopped: the ring hands a block over after its timeout.
    for frame in ring.frames(2 * BLOCK_TIMEOUT_MS / 1000):
        views.write(frame)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
