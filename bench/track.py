"""10,000 tracked names at 500 queries/s against a local server.

python bench/track.py [NAMES] [RATE] [SECONDS]. A server in a process of its own answers on
loopback with a TTL of 1 s and another address each time.
Prints what the tracker's process did: queries a second, CPU, memory.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

from unflux.track.ask import Asker
from unflux.track.clock import Clock
from unflux.track.facts import Event
from unflux.track.history import flush
from unflux.track.runner import Runner
from unflux.track.settings import Settings
from unflux.track.setup import Whom, tracker
from unflux.track.store import Store


def serve(port: multiprocessing.Queue[int]) -> None:
    """Answer every A question with one address, SOA and NS with nothing."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    server.bind(("127.0.0.1", 0))
    port.put(server.getsockname()[1])
    n = 0
    while True:
        query, client = server.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        n += 1
        qtype = struct.unpack(">H", query[end - 4 : end - 2])[0]
        head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if qtype == 1 else b"\0\0") + b"\0\0\0\0"
        address = struct.pack(">I", (198 << 24) + (18 << 16) + n % 65_536)
        record = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 1, 4) + address if qtype == 1 else b""
        server.sendto(head + query[12:end] + record, client)


def main() -> None:
    n_names, rate, seconds = (
        int(word) if len(sys.argv) > place else default
        for place, (word, default) in enumerate(
            zip([*sys.argv[1:], "0", "0", "0"], (10_000, 500, 60), strict=False), start=1
        )
    )
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    whom = Whom((f"127.0.0.1:{ports.get(timeout=10)}",))
    settings = Settings(
        floor_s=5, overall_s=rate, per_server_s=rate, per_name_h=100_000, per_zone_h=1e7
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.add_names(
            [(f"w{number}.example.", "bench") for number in range(n_names)], time.time()
        )
        clock = Clock()

        def keep() -> list[Event]:
            flush(Path(folder))
            return []

        runner = Runner(
            store,
            tracker(store, whom, settings, clock.now(), 1),
            Asker(whom.endpoints(), timeout_s=5),
            clock,
            flush=keep,
            flush_every_s=20,
        )
        started, cpu = time.perf_counter(), time.process_time()
        asyncio.run(runner.run(clock.now() + seconds))
        elapsed, used = time.perf_counter() - started, time.process_time() - cpu
        totals = store.totals()
    server.terminate()
    asked = sum(n for what, n in totals.items() if what.startswith("asked"))
    answered = sum(n for what, n in totals.items() if what.startswith("answered"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"| {n_names} names | {asked / seconds:.0f} queries/s (limit {rate}) "
        f"| {answered} answered of {asked} | {used / elapsed:.2f} cores | {peak} MiB |"
    )


if __name__ == "__main__":
    main()
