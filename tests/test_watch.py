"""A watch fed through its sockets and logs: verdicts, limits, faults, restarts."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dns.query
import dns.zone
import msgspec
import pytest
from dnstap_pb import Dnstap as Event

from conftest import Cli, a_response
from live_servers import READY, START, Tap, control, flux, frame, pool, static, until
from unflux.share import rpz
from unflux.watch.blocks import Block
from unflux.watch.config import WatchConfig
from unflux.watch.log import Log
from unflux.watch.loop import Watch

Make = Callable[..., Watch]


def event(
    wire: bytes, *, at_s: float | None = None, client: bytes = bytes([198, 18, 9, 9])
) -> bytes:
    """A client's response as a dnstap payload, stamped now."""
    at_s = _about_now() if at_s is None else at_s
    one = Event(type=Event.MESSAGE, identity=b"r1")
    message = one.message
    message.type = message.CLIENT_RESPONSE
    message.socket_family = message.socket_protocol = 1
    message.query_address, message.response_address = client, bytes([198, 18, 0, 53])
    seconds, fraction = divmod(at_s, 1)
    message.response_time_sec, message.response_time_nsec = int(seconds), int(fraction * 1e9)
    message.response_message = wire
    return one.SerializeToString()


def _about_now() -> float:
    """Now, but for the first minutes of an hour: before them.

    What expires in those, of a name with longer TTLs, was cached before the hour began: answers of
    one moment with TTLs minutes apart would be copies of each other.
    """
    now = time.time()
    return now - 300 if now % 3600 < 300 else now


def events(
    name: str, service: Callable[[int], tuple[int, list[str]]], n: int, start: int = 0
) -> list[bytes]:
    """Some answers of a service, each with a TTL of its own and so a fresh one."""
    return [event(a_response(name, *service(number))) for number in range(start, start + n)]


@pytest.fixture
def make(tmp_path: Path, lab_tables: tuple[Path, Path]) -> Iterator[Make]:
    """Open a watch that is driven by the test: `tick` is called by hand."""
    opened: list[Watch] = []

    def one(**settings: Any) -> Watch:
        asn, country = map(str, lab_tables)
        given: dict[str, Any] = {
            "dnstap": (f"unix:{tmp_path}/tap.sock",), "rpz": f"{tmp_path}/zone",
            "rpz_action": "nxdomain",
        }  # fmt: skip
        watch = Watch(
            WatchConfig(asn_db=asn, country_db=country, **(given | settings)), Log(io.StringIO())
        )
        watch.open()
        opened.append(watch)
        return watch

    yield one
    for watch in opened:
        close(watch)


def close(watch: Watch) -> None:
    if not getattr(watch, "is_closed", False):
        watch.is_closed = True  # type: ignore[attr-defined]
        watch.close()


def said(watch: Watch) -> str:
    out = watch.log.out
    assert isinstance(out, io.StringIO)
    return out.getvalue()


def drain(watch: Watch, frames: int | None = None) -> None:
    """Let everything that was sent be judged."""
    if frames is not None:
        until(lambda: watch.live.counters()["frames"] >= frames, what="frames")
    until(lambda: watch.live.counters()["queued_bytes"] == 0, what="an empty queue")
    time.sleep(0.05)
    watch.tick()


def blocked(watch: Watch) -> set[str]:
    return {block.trigger for block in watch.blocklist.blocks.values()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """An emulated world with its truth, as dnstap and as Zeek's log."""
    out = tmp_path_factory.mktemp("world") / "walk"
    made = cli("lab", "synth", "walk", "--out", out, "--hours", "3", "--format", "dnstap", "--format", "zeek")  # fmt: skip
    assert made.returncode == 0, made.stderr
    return out


def verdicts(findings: list[dict[str, Any]]) -> dict[str, str]:
    told = ("single_flux", "double_flux", "ns_flux")
    return {one["name"]: one["verdict"] for one in findings if one["verdict"] in told}


def test_a_watch_says_what_a_scan_says_and_the_truth_and_blocks_no_lookalike(
    make: Make, world: Path, cli: Cli, tmp_path: Path
) -> None:
    tables = {"asn_db": f"{world}/asn.mmdb", "country_db": f"{world}/country.mmdb"}
    options = [f"--{key.replace('_', '-')}={value}" for key, value in tables.items()]
    scanned = json.loads(cli("scan", world / "dnstap.fstrm", "--json", *options).stdout)
    watch = Watch(
        WatchConfig(
            dnstap=(f"unix:{tmp_path}/tap.sock",), clock="stream", rpz=f"{tmp_path}/zone",
            rpz_action="nxdomain", **tables,
        ),
        Log(io.StringIO()),
    )  # fmt: skip
    watch.open()
    data = (world / "dnstap.fstrm").read_bytes()
    with socket.socket(socket.AF_UNIX) as producer:
        producer.connect(f"{tmp_path}/tap.sock")
        for start in range(0, len(data), 40_000):  # in pieces, judged as they come
            producer.sendall(data[start : start + 40_000])
            time.sleep(0.02)
            watch.tick()
    until(lambda: watch.live.counters()["producers"] == 0)
    drain(watch)
    watch.window.judge_all()
    for _ in range(3):
        watch.clock.stream_us += 100_000_000
        watch.tick()
    assert watch.flux == verdicts(scanned["findings"])
    assert watch.books["items"] == scanned["summary"]["counts"]["items"]
    truth = json.loads((world / "labels.json").read_text())["names"]
    innocent = {name for name, label in truth.items() if not label["flux"]}
    guilty = {name for name, label in truth.items() if label["flux"]}
    assert guilty and innocent
    assert {name for name in innocent if rpz.is_under(name, blocked(watch))} == set()
    assert {name for name in guilty if not rpz.is_under(name, blocked(watch))} == set()
    watch.close()


def test_many_producers_of_both_kinds_lose_nothing(make: Make, tmp_path: Path) -> None:
    watch = make(dnstap=(f"unix:{tmp_path}/tap.sock", "tcp:127.0.0.1:0"), threads=2)
    taps = [Tap(tmp_path / "tap.sock", bidirectional=number % 2 == 0) for number in range(6)]
    payloads = events("www.static.test.", static, 200)
    writers = [
        threading.Thread(target=lambda tap=tap: [tap.send(payloads) for _ in range(20)])
        for tap in taps
    ]
    for writer in writers:
        writer.start()
    port = int(watch.listening[1].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as remote:
        remote.sendall(control(READY))
        assert remote.recv(100)[11] == 1
        remote.sendall(control(START) + b"".join(map(frame, payloads)))
    for writer in writers:
        writer.join()
    for tap in taps:
        tap.close()
    drain(watch, 6 * 20 * 200 + 200)
    assert watch.books["items"] == watch.books["decoded"] == 6 * 20 * 200 + 200
    assert watch.live.counters()["producers_seen"] == 7


def test_garbage_on_the_socket_ends_that_stream_and_nothing_else(
    make: Make, tmp_path: Path
) -> None:
    watch = make()
    good = Tap(tmp_path / "tap.sock")
    wrong_kind = control(START, content=b"protobuf:other")
    for junk in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), wrong_kind, b"\0" * 50, b"\xff" * 50):
        with socket.socket(socket.AF_UNIX) as bad:
            bad.connect(str(tmp_path / "tap.sock"))
            bad.sendall(junk)
    bad_payloads = [b"\x07garbage", b"", event(b"\0" * 5)]
    good.send([one for one in bad_payloads if one])
    good.send(events("www.flux.test.", flux, 6))
    drain(watch, 8)
    counters = watch.live.counters()
    assert counters["streams_not_frames"] + counters["streams_not_dnstap"] >= 4
    assert counters["streams_not_dnstap"] == 1
    assert watch.books["malformed:protobuf"] == watch.books["malformed:short_dns_header"] == 1
    assert blocked(watch) == {"www.flux.test"}


def test_a_producer_that_dies_in_a_frame_and_comes_back_loses_that_frame_only(
    make: Make, tmp_path: Path
) -> None:
    watch = make()
    first, second = events("www.flux.test.", flux, 3), events("www.flux.test.", flux, 3, start=3)
    tap = Tap(tmp_path / "tap.sock")
    tap.send(first)
    tap.socket.sendall(frame(second[0])[:40])
    tap.socket.close()
    again = Tap(tmp_path / "tap.sock")
    again.send(second)
    drain(watch, 6)
    assert watch.books["decoded"] == 6
    assert watch.live.counters()["streams_cut"] == 1
    assert blocked(watch) == {"www.flux.test"}


def test_a_restarted_watch_remembers_what_was_seen_and_blocked(
    make: Make, tmp_path: Path, cli: Cli
) -> None:
    state = str(tmp_path / "state")
    watch = make(state=state)
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("old.flux.test.", flux, 6))
    tap.send(events("new.flux.test.", lambda number: flux(50 + number), 3))
    drain(watch, 9)
    assert blocked(watch) == {"old.flux.test"}
    serial = watch.publisher.serial
    close(watch)
    assert not (tmp_path / "tap.sock").exists()
    again = make(state=state)
    assert blocked(again) == {"old.flux.test"}
    assert again.publisher.serial is not None and serial is not None
    assert again.publisher.serial > serial
    assert "old.flux.test.rpz.unflux." in (tmp_path / "zone").read_text()
    again.tick()
    # Judged anew from what is on disk; three answers are of low confidence and block nothing.
    assert again.flux == {"old.flux.test": "single_flux", "new.flux.test": "single_flux"}
    assert blocked(again) == {"old.flux.test"}
    Tap(tmp_path / "tap.sock").send(events("new.flux.test.", lambda n: flux(53 + n), 3))
    drain(again, 3)
    time.sleep(1.1)  # it was judged at the start: the next time is a second later
    again.tick()
    assert "new.flux.test" in blocked(again)  # the answers of before the restart count
    close(again)
    scanned = json.loads(cli("scan", f"{state}/sightings", "--json").stdout)
    assert verdicts(scanned["findings"]).keys() == {"old.flux.test", "new.flux.test"}


def test_a_full_queue_drops_with_a_count_and_a_warning(make: Make, tmp_path: Path) -> None:
    watch = make(queue="1k")
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("www.static.test.", static, 100))
    tap.send(events("www.static.test.", static, 1))
    drain(watch, 101)
    dropped = watch.live.counters()["frames_dropped"]
    assert 90 <= dropped <= 101
    assert dropped + watch.books["items"] == 101
    assert "frames_dropped" in said(watch)


def test_memory_is_bounded_and_names_that_may_be_flux_stay(make: Make, tmp_path: Path) -> None:
    watch = make()
    watch.state_bytes = 1_000_000
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("www.flux.test.", flux, 6))
    tap.send(events("pool.test.", pool, 30))
    sent = 36
    for batch in range(8):
        tap.send([
            event(a_response(f"n{batch}-{number}.test.", 60, ["198.19.1.1"])) for number in range(1000)
        ])  # fmt: skip
        sent += 1000
        drain(watch, sent)
        assert watch.window.size()["bytes"] <= watch.state_bytes
    assert watch.evicted["benign_names"] > 2000
    assert watch.evicted["other_names"] == 0
    assert "evicted" in said(watch)
    tap.send(events("www.flux.test.", flux, 2, start=6))
    drain(watch, sent + 2)
    [found] = [
        one for one in watch.judge.judge(watch.window, _all(watch)).findings
        if one.name == "www.flux.test"
    ]  # fmt: skip
    assert found.n_addresses == 6 + 7 * 3


def _all(watch: Watch) -> list[int]:
    watch.window.judge_all()
    return watch.window.due(2**32 - 1, 10_000)


def test_a_zone_is_served_though_its_file_cannot_be_written(make: Make, tmp_path: Path) -> None:
    (tmp_path / "no directory").touch()
    watch = make(rpz_listen="127.0.0.1:0")
    watch.publisher.file = tmp_path / "no directory" / "zone"
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    assert "rpz_not_written" in said(watch)
    server = watch.publisher.server
    assert server is not None
    zone = dns.zone.Zone(watch.config.rpz_origin)
    dns.query.inbound_xfr("127.0.0.1", zone, port=server.port, lifetime=5)
    assert zone.find_rdataset("www.flux.test", "CNAME")
    serial, n_failed = watch.publisher.serial, watch.publisher.n_failed
    watch.publisher._failed_at = -1000.0
    watch.tick()  # the file is tried again; nothing new is served
    assert watch.publisher.n_failed == n_failed + 1 and watch.publisher.serial == serial
    close(watch)


def test_a_full_disk_stops_neither_verdicts_nor_blocking_and_is_caught_up(
    make: Make, tmp_path: Path
) -> None:
    watch = make(state=str(tmp_path / "state"))
    tap = Tap(tmp_path / "tap.sock")
    old_zone = (tmp_path / "zone").read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        tap.send(events("www.flux.test.", flux, 6))
        drain(watch, 6)
        watch.save(wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert blocked(watch) == {"www.flux.test"}
    assert (tmp_path / "zone").read_text() == old_zone  # whole, though old
    assert watch.counts["checkpoint_failures"] == watch.publisher.n_failed == 1
    assert watch.counts["store_failures"] == 2  # tried again with the checkpoint
    for event_name in ("rpz_not_written", "checkpoint_failed", "blocks_not_saved"):
        assert event_name in said(watch)
    watch.publisher._failed_at = -1000.0
    watch.save(wait=True)
    watch.tick()
    assert "www.flux.test" in (tmp_path / "zone").read_text()
    assert watch.counts["checkpoints"] == 1 and watch.saver.pending == []
    close(watch)
    again = make(state=str(tmp_path / "state"))
    again.tick()
    assert again.flux == {"www.flux.test": "single_flux"}


def test_a_slow_disk_holds_no_round_up_and_loses_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = make(state=str(tmp_path / "state"))
    assert watch.saver is not None
    begun, go_on, save = threading.Event(), threading.Event(), watch.saver.checkpoints.save

    def slowly(batches: Any, now_s: int) -> None:
        begun.set()
        assert go_on.wait(20)
        save(batches, now_s)

    monkeypatch.setattr(watch.saver.checkpoints, "save", slowly)
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("www.static.test.", static, 3))
    drain(watch, 3)
    watch.save()
    assert begun.wait(5)
    tap.send(events("www.flux.test.", flux, 6))
    drain(watch, 9)
    assert blocked(watch) == {"www.flux.test"} and watch.counts["checkpoints"] == 0
    watch.save()  # the last is still being written
    go_on.set()
    watch.save(wait=True)
    assert watch.counts["checkpoints"] == 2 and watch.saver.delta_bytes == 0
    assert {block.trigger for block in watch.saver.store.load()} == {"www.flux.test"}


def test_blocks_that_come_while_the_writer_takes_others_are_written_too(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = make(state=str(tmp_path / "state"))
    saver = watch.saver
    assert saver is not None
    begun, go_on, save = threading.Event(), threading.Event(), saver.store.save

    def slowly(blocks: Iterable[Block]) -> None:
        begun.set()
        assert go_on.wait(20)
        save(blocks)

    monkeypatch.setattr(saver.store, "save", slowly)

    def block(trigger: str) -> Block:
        return Block(trigger=trigger, kind="qname", name=trigger, verdict="single_flux", score=1,
                     confidence="high", reason="", by="", action="nxdomain", since_us=0, seen_us=0,
                     until_us=1 << 60)  # fmt: skip

    def taken_meanwhile() -> Iterator[Block]:
        go_on.set()  # the writer ends the first, and takes the second
        until(lambda: saver._blocks is None, what="the second to be taken")
        yield block("third.test")

    saver.save_blocks([block("first.test")])
    assert begun.wait(5)
    saver.save_blocks([block("second.test")])
    saver.save_blocks(taken_meanwhile())
    until(lambda: [one.trigger for one in saver.store.load()] == ["third.test"], what="the third")


def test_a_zone_file_that_cannot_be_written_is_tried_again(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "zones"
    folder.mkdir()
    watch = make(rpz=str(folder / "zone"))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    assert watch.publisher.n_failed == 1 and "the old zone stays" in said(watch)
    folder.mkdir()
    watch.publisher._failed_at = -1000.0
    watch.tick()
    assert "www.flux.test" in (folder / "zone").read_text()


class Slow(BaseHTTPRequestHandler):
    """Fails twice, then takes its time."""

    taken: list[bytes] = []  # noqa: RUF012
    tries = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).tries += 1
        time.sleep(0.4)
        if type(self).tries > 2:
            self.taken.append(body)
        self.send_response(200 if type(self).tries > 2 else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_slow_and_failing_webhook_holds_nothing_up(make: Make, tmp_path: Path) -> None:
    hook = HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    watch = make(alert=(f"http://127.0.0.1:{hook.server_address[1]}/", f"{tmp_path}/alerts"))
    watch.outlets[0].retry_s = 0.1  # type: ignore[attr-defined]
    tap = Tap(tmp_path / "tap.sock")
    for name in ("a.flux.test.", "b.flux.test."):
        tap.send(events(name, flux, 6))
    drain(watch, 12)
    assert watch.counts["alerts"] == 2
    started = time.monotonic()
    watch.tick()
    assert time.monotonic() - started < 0.4
    until(lambda: len(Slow.taken) == 2, what="both alerts")
    names = [json.loads(body)["dns"]["question"]["name"] for body in Slow.taken]
    assert sorted(names) == ["a.flux.test", "b.flux.test"]
    until(lambda: watch.outlets[0].counters()["sent"] == 2)
    assert watch.outlets[0].counters()["failed"] == 2
    lines = (tmp_path / "alerts").read_text().splitlines()
    assert [json.loads(line)["client"]["ip"] for line in lines] == [["198.18.9.9"]] * 2
    hook.shutdown()
    hook.server_close()


def test_alerts_that_could_not_be_sent_outlive_the_process(make: Make, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    nobody = "http://127.0.0.1:9/"
    watch = make(state=state, alert=(nobody,))
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    close(watch)
    [line] = (tmp_path / "state" / "webhook.ndjson").read_text().splitlines()
    assert json.loads(line)["dns"]["question"]["name"] == "www.flux.test"
    assert make(state=state, alert=(nobody,)).outlets[0].counters()["waiting"] == 1


def test_alerts_go_to_syslog(make: Make, tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(5)
        watch = make(alert=(f"udp:127.0.0.1:{syslog.getsockname()[1]}",))
        Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
        drain(watch, 6)
        line = syslog.recv(65_535).decode()
    assert line.startswith("<164>1 ") and "T1568.001" in line


class Stepped:
    """The module `time`, with a wall clock that can be set."""

    def __init__(self) -> None:
        self.step_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self.step_s

    def time_ns(self) -> int:
        return time.time_ns() + int(self.step_s * 1e9)


@pytest.mark.parametrize("step_s", [2 * 86_400, -2 * 86_400])
def test_a_clock_that_is_set_loses_neither_history_nor_blocks(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    clock = Stepped()
    monkeypatch.setattr("unflux.watch.clock.time", clock)
    monkeypatch.setattr("unflux.watch.loop.time", clock)
    watch = make()
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    [before] = watch.blocklist.blocks.values()
    rows = watch.window.size()["rows"]
    clock.step_s = step_s
    watch.tick()
    [after] = watch.blocklist.blocks.values()
    assert abs(after.until_us - before.until_us - step_s * 1_000_000) < 100_000
    assert watch.window.size()["rows"] == rows
    assert "clock_stepped" in said(watch) and watch.counts["clock_steps"] == 1
    tap.send([event(a_response("late.test.", *static(0)), at_s=clock.time())])
    drain(watch, 7)
    assert watch.books["decoded"] == 7


def test_what_is_stamped_in_another_time_is_counted_and_left_out(
    make: Make, tmp_path: Path
) -> None:
    watch = make()
    wire = a_response("www.static.test.", 60, ["198.19.0.1"])
    now = time.time()
    stamped = [now, now - 2 * 86_400, now + 3_600]
    Tap(tmp_path / "tap.sock").send([event(wire, at_s=at_s) for at_s in stamped])
    drain(watch, 3)
    assert (watch.books["decoded"], watch.books["skipped:outside_time"]) == (1, 2)


def test_a_growing_log_is_followed_through_its_rotation(
    make: Make, world: Path, tmp_path: Path
) -> None:
    [source] = world.rglob("*.log")
    lines = source.read_bytes().splitlines(keepends=True)
    head = [line for line in lines if line.startswith(b"#")]
    rows = [line for line in lines if not line.startswith(b"#")]
    log = tmp_path / "dns.log"
    log.write_bytes(b"".join(head + rows[:10]))  # of yesterday: passed over
    watch = Watch(
        WatchConfig(
            follow=(str(log),), clock="stream", vantage="client", asn_db=f"{world}/asn.mmdb",
            country_db=f"{world}/country.mmdb", rpz=f"{tmp_path}/zone", rpz_action="nxdomain",
        ),
        Log(io.StringIO()),
    )  # fmt: skip
    watch.open()
    follower = watch.followers[0]
    until(lambda: follower.format == "zeek", what="the format")
    time.sleep(0.3)
    middle = len(rows) // 2
    with log.open("ab") as out:
        for row in rows[10:middle]:
            out.write(row)
    n_read = middle - 10

    def items() -> float:
        watch.tick()
        return watch.books["decoded"] + sum(
            n for kind, n in watch.books.items()
            if kind.startswith(("skipped:", "malformed:")) and kind != "skipped:comment"
        )  # fmt: skip

    until(lambda: items() >= n_read, what="the first half")
    log.rename(tmp_path / "dns.log.1")
    log.write_bytes(b"".join(head + rows[middle:]))
    until(lambda: items() >= len(rows) - 10, what="the second half")
    assert follower.n_rotations == 1
    assert items() == len(rows) - 10
    assert {"single_flux"} <= set(watch.flux.values())
    watch.close()


def test_packets_of_an_interface_are_read(make: Make, tmp_path: Path) -> None:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        pytest.skip("reading packets needs CAP_NET_RAW")
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.bind(("127.0.0.1", 0))
        watch = make(dnstap=(), interface="lo", ports=(server.getsockname()[1],))
        for number in range(6):
            wire = a_response("www.flux.test.", *flux(number))
            server.sendto(wire, client.getsockname())

        def decoded() -> int:
            watch.tick()
            return watch.books["decoded"]

        until(lambda: decoded() >= 6, what="six packets")
        assert watch.books["decoded"] == 6
        assert watch.flux == {"www.flux.test": "single_flux"}


def test_settings_are_read_again_while_it_runs(make: Make, tmp_path: Path) -> None:
    allow, file = tmp_path / "allow", tmp_path / "watch.toml"
    allow.write_text("# nobody yet\n")
    file.write_text(f'allow = "{allow}"\nrpz_action = "nodata"\n')
    watch = make(allow=str(allow))
    watch.config_path = file
    watch.said = {name: getattr(watch.config, name) for name in ("dnstap", "rpz")}
    tap = Tap(tmp_path / "tap.sock")
    tap.send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    assert blocked(watch) == {"www.flux.test"}
    allow.write_text("flux.test  # ours after all\n")
    watch._reload.set()
    watch.tick()
    assert blocked(watch) == set()
    assert "*.flux.test.rpz.unflux. 60 IN CNAME rpz-passthru." in (tmp_path / "zone").read_text()
    tap.send(events("www.flux.test.", flux, 2, start=6))
    drain(watch, 8)
    assert blocked(watch) == set()
    file.write_text('rpz_action = "drop"\n')
    watch._reload.set()
    watch.tick()
    assert "not_reloaded" in said(watch) and watch.config.rpz_action == "nodata"


def test_addresses_are_only_listed_on_demand_and_never_shared_ones(
    make: Make, tmp_path: Path
) -> None:
    watch = make(rpz_ip=True)
    tap = Tap(tmp_path / "tap.sock")
    shared = flux(3)[1][0]
    tap.send([event(a_response("shop.example.", 60, [shared]))])
    tap.send(events("www.flux.test.", flux, 6))
    drain(watch, 7)
    listed = {block.trigger for block in watch.blocklist.blocks.values() if block.kind == "ip"}
    assert shared not in listed
    assert len(listed) == 20  # of 6 + 5 · 3, the shared one left out


def test_monitor_mode_lists_and_blocks_nothing(make: Make, tmp_path: Path, cli: Cli) -> None:
    watch = make(rpz_action="monitor", state=str(tmp_path / "state"))
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    assert "www.flux.test.rpz.unflux. 60 IN CNAME rpz-passthru." in (tmp_path / "zone").read_text()
    answer = json.loads(cli("blocked", "www.flux.test", "--state", tmp_path / "state", "--json").stdout)  # fmt: skip
    assert (answer["blocked"], answer["action"]) == (False, "monitor")
    about = msgspec.json.decode((tmp_path / "zone.json").read_bytes())
    assert about["blocks"][0]["reason"].startswith("its addresses lie in")


def test_metrics_and_health_are_served(make: Make, tmp_path: Path) -> None:
    watch = make(metrics="127.0.0.1:0")
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    url = f"http://127.0.0.1:{watch.health.port}"
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as page:  # noqa: S310
        text = page.read().decode()
    assert "unflux_watch_decoded_total 6\n" in text
    assert 'unflux_watch_findings_total{verdict="single_flux"} 1\n' in text
    assert "unflux_watch_blocks 1\n" in text
    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as page:  # noqa: S310
        assert json.loads(page.read())["ok"] is True
    watch._ticked_at -= 100
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{url}/healthz", timeout=5)  # noqa: S310


def test_clients_addresses_can_be_dropped_at_the_door(make: Make, tmp_path: Path) -> None:
    watch = make(clients="drop", alert=(f"{tmp_path}/alerts",))
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    assert json.loads((tmp_path / "alerts").read_text())["client"]["ip"] == []
