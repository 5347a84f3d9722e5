"""Who connected to the addresses of a flux name: conn.log and flows beside the resolver."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from live_servers import Tap, flux, until
from test_watch import Make, drain, events, make  # noqa: F401  a fixture
from unflux.watch.config import WatchConfig
from unflux.watch.connections import MAX_CLIENTS, ConnectionLog, Connections
from unflux.watch.loop import Watch

HEAD = "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.resp_h\tresp_pkts\n"
AGENT = flux(0)[1][0]
LATER = flux(5)[1][0]


def zeek(client: str, destination: str, resp_pkts: str = "4") -> str:
    return f"{time.time():.6f}\tC1\t{client}\t{destination}\t{resp_pkts}\n"


def a_log(tmp_path: Path, text: str) -> ConnectionLog:
    log = ConnectionLog(Connections(), tmp_path / "conn.log")
    log.take(text.encode(), last=True)
    return log


def told(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_an_alert_says_who_connected_and_a_later_connection_is_told_at_once(
    make: Make,  # noqa: F811
    tmp_path: Path,
) -> None:
    conn, alerts = tmp_path / "conn.log", tmp_path / "alerts.ndjson"
    conn.write_text(HEAD + zeek("198.18.9.1", AGENT))  # of before we started
    watch: Watch = make(connections=(str(conn),), alert=(str(alerts),))
    assert watch.connections is not None
    with conn.open("a") as out:
        out.write(zeek("198.18.9.9", AGENT) + zeek("198.18.9.8", "198.51.100.1"))
    until(lambda: watch.connections.n_rows >= 2, what="two connections")
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    [first] = told(alerts)
    assert first["flux_connections"]["n_clients"] == 1
    [one] = first["flux_connections"]["connections"]
    assert one["source"]["ip"] == "198.18.9.9" and one["destination"]["ip"] == AGENT
    assert (one["count"], one["answered"]) == (1, 1)
    conn.rename(tmp_path / "conn.log.1")
    conn.write_text(HEAD + zeek("198.18.9.7", LATER, "0") + zeek("198.18.9.9", LATER))
    until(lambda: watch.connections.n_rows >= 4, what="the new log")
    watch.tick()
    [_, later] = told(alerts)  # 198.18.9.9 was told of already
    assert later["event"]["action"] == "flux_connected" and later["client"]["ip"] == ["198.18.9.7"]
    assert later["dns"]["question"]["name"] == "www.flux.test"
    assert later["flux_connections"]["connections"][0]["answered"] == 0
    assert watch.metrics()["unflux_watch_connections_total"] == 4


@pytest.mark.parametrize(
    "line",
    [
        '{"ts": 1790000000.5, "id.orig_h": "2001:db8::9", "id.resp_h": "2001:db8::1"}',
        '{"ts": "2026-09-21T14:13:20.5Z", "id.orig_h": "2001:db8::9", "id.resp_h": "2001:db8::1"}',
        '{"timestamp": "2026-09-21T14:20:00+0000", "event_type": "flow", "flow": {"start": '
        '"2026-09-21T16:13:20.500000+0200", "pkts_toclient": 2}, "src_ip": '
        '"2001:0db8:0000:0000:0000:0000:0000:0009", "dest_ip": "2001:db8:0:0:0:0:0:1"}',
    ],
)
def test_flows_are_read_in_every_spelling(tmp_path: Path, line: str) -> None:
    log = a_log(tmp_path, line + "\n")
    [one] = log.connections.look_out("x.test", ["2001:db8::1"])
    assert (one.client, one.first_us) == ("2001:db8::9", 1_790_000_000_500_000)


def test_what_is_no_connection_is_counted_and_harms_nothing(tmp_path: Path) -> None:
    wrong = [
        "x",
        "{",
        '{"a": 1}',
        "\x00\xff",
        '{"ts": "never", "id.orig_h": "::1", "id.resp_h": "::2"}',
    ]
    other = '{"event_type": "dns", "src_ip": "198.18.0.1", "dest_ip": "198.18.0.2"}\n'
    log = a_log(
        tmp_path, "\n".join(wrong) + "\n" + other + HEAD + zeek("198.18.9.9", "198.18.1")
        + zeek("198.18.9.9", AGENT) + "#close\tnow\n" + zeek("198.18.9.9", AGENT)[:20],
    )  # fmt: skip
    assert (log.n_malformed, log.connections.n_rows) == (7, 1)


def test_the_memory_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unflux.watch.connections.MAX_DESTINATIONS", 10)
    memory = Connections()
    for number in range(MAX_CLIENTS + 5):
        memory.add(f"198.18.9.{number}", "198.18.0.1", number, answered=True)
    for number in range(2, 15):
        memory.add("198.18.9.1", f"198.18.0.{number}", number, answered=True)
    assert memory.n_over == 5 and memory.n_forgotten == 4
    assert memory.look_out("x.test", ["198.18.0.1"]) == []  # the longest ago
    assert len(memory.look_out("x.test", ["198.18.0.14"])) == 1


def test_connections_need_clients_that_are_kept() -> None:
    wrong = WatchConfig(dnstap=("unix:/x",), connections=("conn.log",), clients="drop").problems()
    assert wrong == [
        "connections tell clients' addresses, and clients is drop: keep them, or leave "
        "connections away"
    ]
