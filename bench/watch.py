#!/usr/bin/env python3
"""Measure `unflux watch`: throughput, loss, verdict latency, memory over time (see README.md here).

A feeder writes dnstap into the watch's socket at a set rate (0: as fast as it is taken): answers
of popular names (Zipf) and names never seen before, and now and then a name that rotates. Each of
those has to come out as an alert; the time from its last frame to the alert is the latency.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import dns.message
import dns.rrset
import numpy as np
from dnstap_pb import Dnstap as Event

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
CONTENT = b"protobuf:dnstap.Dnstap"
CHUNK = 20_000
POOL = 400_000
DAY_S = 86_400
DAY_PERIOD_S = 300
"""Rotation of names in a played day."""
DAY_ANSWERS = 20
NAME = "n0000000.d00.example."


def control(kind: int) -> bytes:
    body = struct.pack(">III", kind, 1, len(CONTENT)) + CONTENT
    return struct.pack(">II", 0, len(body)) + body


def event(name: str, addresses: list[str], ttl: int, now_s: float) -> bytes:
    """A client's response as a dnstap frame."""
    reply = dns.message.make_response(dns.message.make_query(name, "A", id=7))
    reply.answer.append(dns.rrset.from_text(name, ttl, "IN", "A", *addresses))
    one = Event(type=Event.MESSAGE, identity=b"bench")
    message = one.message
    message.type = message.CLIENT_RESPONSE
    message.socket_family = message.socket_protocol = 1
    message.query_address = bytes([198, 18, 9, 9])
    message.response_address = bytes([198, 18, 0, 53])
    seconds, fraction = divmod(now_s, 1)
    message.response_time_sec, message.response_time_nsec = int(seconds), int(fraction * 1e9)
    message.response_message = reply.to_wire()
    payload = one.SerializeToString()
    return struct.pack(">I", len(payload)) + payload


class Clock:
    """The time that frames are stamped with: the wall's, or a day in some minutes."""

    def __init__(self, speed: float) -> None:
        self.started, self.speed = time.time(), speed

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.started + (time.time() - self.started) * self.speed


class Stream:
    """Frames of one length as rows of a matrix.

    Most are copied from a pool of frames about popular names; names never seen before and the
    time are written into the copy, so that feeding takes little of the machine.
    """

    def __init__(self, names: int, new_ratio: float, seed: int, clock: Clock) -> None:
        self.random = np.random.default_rng(seed)
        self.clock = clock
        frame = np.frombuffer(event(NAME, ["198.18.7.7"], 300, 1_790_000_000), np.uint8)
        raw = frame.tobytes()
        label, domain = raw.index(b"n0000000"), raw.index(b"d00")
        self.digits = [label + 1 + at for at in range(7)] + [domain + 1, domain + 2]
        self.address = raw.index(bytes([198, 18, 7, 7]))
        self.client = raw.index(bytes([198, 18, 9, 9]))
        seconds = event(NAME, ["198.18.7.7"], 300, 1_790_000_001)
        self.second = next(at for at in range(len(raw)) if raw[at] != seconds[at])
        self.new_ratio = new_ratio
        self.fresh = names + seed * 40_000_000  # no two producers tell of the same new name
        cdf = np.cumsum(1 / np.arange(1, names + 1, dtype=np.float64))
        self.pool = np.tile(frame, (POOL, 1))
        self._name(self.pool, np.searchsorted(cdf / cdf[-1], self.random.random(POOL)))
        clients = self.random.integers(0, 65_536, POOL)
        self.pool[:, self.client + 2] = clients >> 8
        self.pool[:, self.client + 3] = clients & 255

    def _name(self, rows: np.ndarray, ids: np.ndarray) -> None:
        """Write numbered names, and the address of each, into frames."""
        digits = (ids[:, None] // 10 ** np.arange(8, -1, -1)) % 10 + 48
        rows[:, self.digits] = digits[:, [2, 3, 4, 5, 6, 7, 8, 0, 1]].astype(np.uint8)
        host = (ids * 2_654_435_761) % 131_072
        rows[:, self.address + 1] = 18 + (host >> 16)
        rows[:, self.address + 2] = (host >> 8) & 255
        rows[:, self.address + 3] = host & 255

    def chunk(self) -> bytes:
        """The next `CHUNK` frames, stamped with the time it is."""
        start = int(self.random.integers(0, POOL - CHUNK))
        rows = self.pool[start : start + CHUNK].copy()
        n_new = int(CHUNK * self.new_ratio)
        if n_new:
            place = self.random.permutation(CHUNK)[:n_new]
            new = rows[place]
            self._name(new, self.fresh + np.arange(n_new))
            rows[place] = new
            self.fresh += n_new
        seconds = int(self.clock.now())
        for at in range(5):  # a varint of five bytes
            bits = (seconds >> (7 * at)) & 127
            rows[:, self.second + at] = bits | (128 if at < 4 else 0)
        return rows.tobytes()


def connect(path: str) -> socket.socket:
    out = socket.socket(socket.AF_UNIX)
    out.connect(path)
    out.sendall(control(4))
    out.recv(100)
    out.sendall(control(2))
    return out


def feed(path: str, rate: float, seconds: float, stream: Stream, sent: object) -> None:
    """The feeder's process."""
    out = connect(path)
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < seconds:
        out.sendall(stream.chunk())
        number += 1
        if rate:
            time.sleep(max(0.0, started + number * CHUNK / rate - time.monotonic()))
    out.sendall(struct.pack(">III", 0, 4, 3))
    out.recv(100)
    sent.value = number * CHUNK  # type: ignore[attr-defined]


def rotate(path: str, seconds: float, every_s: float, sent: dict[str, float]) -> None:
    """Names that rotate, one after the other; notes when the last frame of each was sent."""
    out = connect(path)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        name = f"flux{number}.test."
        frames = b""
        for answer in range(4):
            hosts = [(number * 31 + answer * 10 + place) % 500 for place in range(10)]
            addresses = [f"198.{18 + host // 256}.{host % 256}.9" for host in hosts]
            frames += event(name, addresses, 60 * (answer + 1), time.time())
        out.sendall(frames)
        sent[name.rstrip(".")] = time.time()
        number += 1
        time.sleep(every_s)


def rotate_a_day(path: str, seconds: float, clock: Clock, sent: dict[str, float]) -> None:
    """Names that rotate every five minutes of a played day; notes when each was told of first."""
    out = connect(path)
    pause_s = DAY_PERIOD_S / clock.speed
    steps = int(seconds / pause_s)
    started = time.monotonic()
    for step in range(steps):
        frames = b""
        if step < steps - DAY_ANSWERS:
            sent[f"flux{step}.test"] = clock.now()
        for number in range(max(0, step - DAY_ANSWERS + 1), min(step + 1, steps - DAY_ANSWERS)):
            hosts = [(number * 31 + (step - number) * 10 + place) % 500 for place in range(10)]
            addresses = [
                f"198.{18 + host // 256}.{host % 256}.{1 + number % 250}" for host in hosts
            ]
            frames += event(f"flux{number}.test.", addresses, DAY_PERIOD_S, clock.now())
        if frames:
            out.sendall(frames)
        time.sleep(max(0.0, started + (step + 1) * pause_s - time.monotonic()))


def metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310  our own
        lines = page.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    from make_tables import lab_tables

    asn, country = lab_tables(folder)
    socket_path, alerts, log = f"{folder}/tap.sock", folder / "alerts.ndjson", folder / "watch.log"
    state = ["--state", str(folder / "state"), "--checkpoint", arguments.checkpoint]
    state = (state if arguments.state else []) + (["--clock", "stream"] if arguments.day else [])
    seconds = arguments.minutes * 60
    command = [
        sys.executable, "-m", "unflux", "watch", "--dnstap", f"unix:{socket_path}",
        "--asn-db", str(asn), "--country-db", str(country), "--alert", str(alerts),
        "--metrics", "127.0.0.1:0", "--memory", arguments.memory, "--queue", arguments.queue,
        "--threads", str(arguments.threads), "--rpz", str(folder / "zone"), *state,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env=environment)
    try:
        while b" watching " not in log.read_bytes():
            time.sleep(0.1)
        [url] = [w[3:] for w in log.read_text().split() if w.startswith("at=http")]
        clock = Clock(DAY_S / seconds if arguments.day else 1)
        feeders, counts = [], []
        for number in range(arguments.producers):
            count = multiprocessing.Value("q", 0)
            feeders.append(multiprocessing.Process(target=feed, args=(
                socket_path, arguments.rate / arguments.producers, seconds,
                Stream(arguments.names, arguments.new / 100, number, clock), count,
            )))  # fmt: skip
            counts.append(count)
        sent: dict[str, float] = {}
        how = (rotate_a_day, (socket_path, seconds, clock, sent)) if arguments.day else (
            rotate, (socket_path, seconds, arguments.every, sent)
        )  # fmt: skip
        prober = threading.Thread(target=how[0], args=how[1])
        started = time.monotonic()
        for feeder in feeders:
            feeder.start()
        prober.start()
        samples = []
        while any(feeder.is_alive() for feeder in feeders):
            time.sleep(min(5.0, seconds / 10))
            now = metrics(url)
            samples.append(now)
            if arguments.verbose:
                print(
                    f"{time.monotonic() - started:6.1f} s  "
                    f"{now['unflux_watch_frames_total']:.0f} frames, "
                    f"{now['unflux_watch_frames_dropped_total']:.0f} dropped, "
                    f"{now['unflux_watch_resident_bytes'] / 2**20:.0f} MiB, "
                    f"{now['unflux_watch_window_names']:.0f} names, "
                    f"round {now['unflux_watch_round_seconds'] * 1000:.0f} ms",
                    file=sys.stderr,
                )
        took = time.monotonic() - started
        prober.join()
        time.sleep(3)
        last = metrics(url)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu_s = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    finally:
        process.terminate()
        process.wait(60)
        if arguments.verbose:
            print(log.read_text()[-3000:], file=sys.stderr)
    n_sent = sum(count.value for count in counts)
    found = result(last, samples, n_sent, took, cpu_s, sent, alerts)
    if arguments.day:  # alerts are stamped by the wall
        told = {json.loads(line)["dns"]["question"]["name"] for line in alerts.open()}
        found |= {"found": len(told & set(sent)), "latency_p50_s": None, "latency_p99_s": None}
    return found


def result(
    last: dict[str, float],
    samples: list[dict[str, float]],
    n_sent: int,
    took: float,
    cpu_s: float,
    sent: dict[str, float],
    alerts: Path,
) -> dict[str, object]:
    """The figures."""
    told: dict[str, float] = {}
    lines = alerts.read_text().splitlines() if alerts.exists() else []
    for alert in map(json.loads, lines):
        created = datetime.fromisoformat(alert["event"]["created"]).timestamp()
        told.setdefault(alert["dns"]["question"]["name"], created)
    waits = sorted(told[name] - at for name, at in sent.items() if name in told)
    resident = [sample["unflux_watch_resident_bytes"] / 2**20 for sample in samples]
    lost = last["unflux_watch_frames_dropped_total"]
    return {
        "sent": n_sent,
        "per_s": round(n_sent / took),
        "received": last["unflux_watch_frames_total"],
        "decoded": last["unflux_watch_decoded_total"],
        "dropped": lost,
        "cpu_s": round(cpu_s, 1),
        "cpu_us_per_message": round(cpu_s * 1e6 / max(n_sent, 1), 2),
        "rotating_names": len(sent),
        "found": len(waits),
        "latency_p50_s": round(waits[len(waits) // 2], 3) if waits else None,
        "latency_p99_s": round(waits[int(0.99 * (len(waits) - 1))], 3) if waits else None,
        "resident_max_mib": round(max(resident)),
        "resident_mib": [round(one) for one in resident[:: max(1, len(resident) // 12)]],
        "window_names": last["unflux_watch_window_names"],
        "evicted": last['unflux_watch_evicted_names_total{class="benign"}']
        + last['unflux_watch_evicted_names_total{class="other"}'],
        "malformed": sum(value for name, value in last.items() if "watch_malformed" in name),
        "false_alerts": sorted(set(told) - set(sent))[:5],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0, help="messages/s; 0: all that goes")
    parser.add_argument("--minutes", type=float, default=0.25)
    parser.add_argument("--names", type=int, default=300_000, help="popular names")
    parser.add_argument("--new", type=float, default=2, help="%% of messages about new names")
    parser.add_argument("--every", type=float, default=0.2, help="seconds between rotating names")
    parser.add_argument("--producers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--queue", default="64M")
    parser.add_argument("--state", action="store_true", help="with checkpoints")
    parser.add_argument("--checkpoint", default="60s")
    parser.add_argument("--day", action="store_true", help="play 24 hours in these minutes")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measure(arguments, Path(folder)).items():
            print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
