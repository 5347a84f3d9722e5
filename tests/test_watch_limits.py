"""Every bound of a watch: what happens there is counted, in /metrics, and told in the log."""

from __future__ import annotations

import ast
import json
import socket
import struct
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import pytest

from conftest import ROOT, a_response
from live_servers import Tap, flux, static, until
from test_watch import Make, close, drain, event, events, make, said  # noqa: F401  a fixture
from test_watch_rules import NOW_US, finding
from unflux.share import rpz
from unflux.watch import blocks, connections, health, limits, log
from unflux.watch.alerts import Suppression
from unflux.watch.blocks import Blocklist, BlockRules, exclusive_addresses, exclusive_servers
from unflux.watch.connections import Connections
from unflux.watch.outlets import Webhook
from unflux.watch.zone_server import ZoneServer

AT = {
    "alerts.MAX_CONNECTIONS": "n_connections of the alert",
    "alerts.MAX_REMEMBERED": "alerts_forgotten",
    "blocks.MAX_EXTRAS": "extras_left_out",
    "blocks.MAX_USERS": "not listed",
    "blocks.MAX_ZONES": "not listed",
    "checkpoint.MAX_PARTS": "put together, nothing is lost",
    "connections.MAX_AGENTS": "connections_agents_forgotten",
    "connections.MAX_CLIENTS": "connections_over",
    "connections.MAX_DESTINATIONS": "connections_forgotten",
    "connections.MAX_LINE": "connections_malformed",
    "connections.MAX_NEWS": "connections_news_lost",
    "health.MAX_REQUESTS": "web_requests_refused",
    "loop.MAX_FLUX_NAMES": "flux_names_forgotten",
    "outlets.MAX_BACKOFF_S": "a pause, nothing is lost",
    "outlets.MAX_SPOOLED": "alerts_dropped",
    "saving.MAX_PENDING": "checkpoints_lost",
    "saving.MAX_WAITING": "rounds_held_up",
    "zone_server.MAX_CONNECTIONS": "zone_connections_refused",
    "zone_server.MAX_DELTAS": "zone_ixfr_as_axfr",
}
"""Where each bound is seen when it is reached."""


def constants() -> set[str]:
    found = set()
    for path in (ROOT / "src/unflux/watch").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if isinstance(target, ast.Name) and target.id.startswith("MAX_"):
                    found.add(f"{path.stem}.{target.id}")
    return found


def test_no_bound_is_silent(make: Make, tmp_path: Path) -> None:  # noqa: F811
    assert constants() == set(AT)
    watch = make(
        connections=(f"{tmp_path}/conn.log",), metrics="127.0.0.1:0", rpz_listen="127.0.0.1:0",
        state=f"{tmp_path}/state",
    )  # fmt: skip
    shown = watch.metrics()
    for where in AT.values():
        assert " " in where or f"unflux_watch_{where}_total" in shown, where
    told = limits.counts(watch)
    assert set(told) == set(limits.SAYS), "each has its sentence, and is looked at"
    assert all(f"unflux_watch_{name}_total" in shown for name in set(told) - limits.LABELLED)
    assert not any(told.values())


def test_what_connections_lose_is_counted_shown_and_told_once_a_minute(
    make: Make,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = make(connections=(f"{tmp_path}/conn.log",))
    known = watch.connections
    assert known is not None
    for name, value in (("MAX_CLIENTS", 2), ("MAX_NEWS", 3), ("MAX_AGENTS", 2)):
        monkeypatch.setattr(connections, name, value)
    known.look_out("www.flux.test", ["198.18.0.1", "198.18.0.2"])
    for number in range(5):
        known.add(f"198.18.9.{number}", "198.18.0.1", number, answered=True)
    # All five were news, though only two clients are remembered; three have room until a round.
    assert (known.n_over, known.n_news_lost) == (3, 2)
    known.look_out("www.flux.test", ["198.18.0.1", "198.18.0.3"])  # 198.18.0.2 is the oldest now
    assert known.n_agents_forgotten == 1
    assert [news.connection.client for news in known.take_news()] == [
        f"198.18.9.{number}" for number in (2, 3, 4)
    ]
    watch.tick()
    shown = watch.metrics()
    for name, n in (("over", 3), ("news_lost", 2), ("agents_forgotten", 1)):
        assert shown[f"unflux_watch_connections_{name}_total"] == n
        assert said(watch).count(f" connections_{name} ") == 1
    assert 'connections_news_lost says="too many connections to agents' in said(watch)
    known.add("198.18.9.9", "198.18.0.1", 9, answered=True)
    watch.tick()
    assert said(watch).count(" connections_over ") == 1, "within the minute"
    monkeypatch.setattr(log, "TROUBLE_EVERY_S", 0.0)
    watch.tick()
    watch.tick()
    assert said(watch).count(" connections_over ") == 2, "once more, and not again without news"
    assert 'further ones are not remembered" n=4' in said(watch)


def test_a_client_that_is_one_too_many_is_told_all_the_same() -> None:
    known = Connections()
    for number in range(connections.MAX_CLIENTS):
        known.add(f"198.18.9.{number}", "198.18.0.1", number, answered=True)
    known.look_out("www.flux.test", ["198.18.0.1"])
    known.add("198.18.8.1", "198.18.0.1", 100, answered=False)
    [news] = known.take_news()
    assert (news.name, news.connection.client, news.connection.count) == (
        "www.flux.test", "198.18.8.1", 1,
    )  # fmt: skip


def test_alerts_that_are_forgotten_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unflux.watch.alerts.MAX_REMEMBERED", 2)
    told = Suppression(1800)
    assert all(told.passes(name, 73, NOW_US) for name in ("a.test", "b.test", "c.test", "a.test"))
    assert (told.n_forgotten, told.n_suppressed) == (2, 0)


def test_what_a_full_block_list_leaves_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    blocklist = Blocklist(BlockRules(max_entries=3))
    blocklist.on_finding(finding(score=0.9), NOW_US)
    addresses = [f"198.18.0.{number}" for number in range(1, 7)]
    assert blocklist.add_extra(finding(score=0.9), rpz.ADDRESS, addresses, NOW_US) == 2
    assert blocklist.n_extras_left_out == 4
    monkeypatch.setattr(blocks, "MAX_EXTRAS", 1)
    other = Blocklist(BlockRules(), allow=["198.18.0.1"])
    assert other.add_extra(finding(), rpz.ADDRESS, addresses, NOW_US) == 1
    assert other.n_extras_left_out == 4, "one is allowed, one is listed"


def test_who_has_more_users_than_are_looked_at_is_not_listed() -> None:
    users = [(0, f"n{number}.evil.test.") for number in range(blocks.MAX_USERS)]
    assert exclusive_addresses(["198.18.0.1"], users, {"evil.test"}) == []
    assert exclusive_addresses(["198.18.0.1"], users[1:], {"evil.test"}) == ["198.18.0.1"]
    zones = [f"n{number}.evil.test." for number in range(blocks.MAX_ZONES)]
    assert exclusive_servers({"ns.evil.test.": zones}, {"evil.test"}) == []
    assert exclusive_servers({"ns.evil.test.": zones[1:]}, {"evil.test"}) == ["ns.evil.test"]


def test_names_that_wait_for_the_next_round_are_told(make: Make, tmp_path: Path) -> None:  # noqa: F811
    watch = make(judge_max=1)
    tap = Tap(tmp_path / "tap.sock")
    for name in ("a.flux.test.", "b.flux.test."):
        tap.send(events(name, flux, 6))
    drain(watch, 12)
    assert watch.counts["rounds_full"] == 1 and " rounds_full " in said(watch)
    assert watch.metrics()["unflux_watch_window_waiting"] == 1
    watch.tick()
    assert set(watch.flux) == {"a.flux.test", "b.flux.test"}


def test_zones_of_a_hoster_beyond_the_bound_are_counted(make: Make, tmp_path: Path) -> None:  # noqa: F811
    watch = make()
    zones = [
        dns.message.make_response(dns.message.make_query(f"n{number}.test.", "NS"))
        for number in range(300)
    ]
    for one in zones:
        one.answer.append(
            dns.rrset.from_text(one.question[0].name, 300, "IN", "NS", "ns.hoster.test.")
        )
    Tap(tmp_path / "tap.sock").send([event(one.to_wire()) for one in zones])
    drain(watch, len(zones))
    assert len(watch.window.zones_of("ns.hoster.test.")) == 256
    assert watch.metrics()["unflux_watch_links_over_total"] == len(zones) - 256
    assert "links_over" not in said(watch)


def test_answers_of_another_time_are_told(make: Make, tmp_path: Path) -> None:  # noqa: F811
    watch = make()
    Tap(tmp_path / "tap.sock").send([event(a_response("a.test.", 60, ["198.18.0.1"]), at_s=1e9)])
    drain(watch, 1)
    assert 'outside_time says="stamped behind the window' in said(watch)
    close(watch)
    assert "stopped items=1 decoded=0 dropped=0" in said(watch) and "outside_time=1" in said(watch)


def test_a_damaged_checkpoint_is_told_and_kept_and_the_rest_is_loaded(
    make: Make,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = tmp_path / "state"
    first = make(state=str(state))
    tap = Tap(tmp_path / "tap.sock")
    for sent, name in enumerate(("a.static.test.", "b.static.test."), 1):
        tap.send(events(name, static, 1))
        drain(first, sent)
        first.save(wait=True)
    close(first)
    damaged = min((state / "sightings").glob("sightings/*/part-*"))
    damaged.write_bytes(b"\xff" * 200)
    again = make(state=str(state))
    again.tick()
    assert again.size["rows"] == 1
    assert 'damaged_files says="files of the state' in said(again) and "n=1" in said(again)
    assert again.metrics()["unflux_watch_damaged_files_total"] == 1
    monkeypatch.setattr("unflux.watch.checkpoint.MAX_PARTS", 1)  # all are put together
    Tap(tmp_path / "tap.sock").send(events("c.static.test.", static, 1))
    drain(again, 1)
    again.save(wait=True)
    assert damaged.exists() and damaged.read_bytes() == b"\xff" * 200
    assert again.counts["checkpoints"] == 1


def _asked(server: ZoneServer, serial: int) -> list[Any]:
    query = dns.message.make_query("rpz.test.", "IXFR")
    soa = f"a. b. {serial} 1 1 1 1"
    query.authority = [dns.rrset.from_text("rpz.test.", 60, "IN", "SOA", soa)]
    replies = list(server.answer(query.to_wire(), datagram=False))
    return [rrset for wire in replies for rrset in dns.message.from_wire(wire, xfr=True).answer]


def test_the_zone_server_counts_whom_it_hangs_up_and_who_gets_the_whole_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unflux.watch.zone_server.MAX_CONNECTIONS", 1)
    server = ZoneServer("127.0.0.1", 0)
    port = server.start()
    policy = rpz.Policy("rpz.test", "nxdomain")
    server.publish("rpz.test", rpz.soa((), policy, 5, NOW_US), rpz.records((), policy, []), 5)
    assert next(one.rdtype for one in _asked(server, 3)) == dns.rdatatype.SOA
    assert (server.counters["ixfr_as_axfr"], server.counters["axfr"]) == (1, 1)
    with socket.create_connection(("127.0.0.1", port), 5) as first:
        wire = dns.message.make_query("rpz.test.", "SOA").to_wire()
        first.sendall(struct.pack(">H", len(wire)) + wire)
        assert first.recv(2)
        with socket.create_connection(("127.0.0.1", port), 5) as second:
            assert second.recv(2) == b"", "hung up"
    assert server.counters["connections_refused"] == 1
    server.stop()


def test_requests_for_metrics_are_bounded_and_who_hangs_up_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "MAX_REQUESTS", 1)
    served = health.HealthServer("127.0.0.1", 0, dict, {})
    with socket.create_connection(("127.0.0.1", served.port), 5) as idle:
        until(lambda: served._server._room._value == 0)
        with socket.create_connection(("127.0.0.1", served.port), 5) as second:
            assert second.recv(1) == b""
        assert served.n_refused == 1
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: served._server._room._value == 1)  # reset, and the room is given back
    url = f"http://127.0.0.1:{served.port}/metrics?x=1"
    with urllib.request.urlopen(url, timeout=5) as page:
        assert page.status == 200
    served.stop()
    assert "Traceback" not in capfd.readouterr().err


def test_readiness_says_what_it_waits_for(make: Make, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "zones"
    folder.mkdir()
    watch = make(rpz=f"{folder}/zone", metrics="127.0.0.1:0")
    assert watch.health is not None
    url = f"http://127.0.0.1:{watch.health.port}/readyz"
    with urllib.request.urlopen(url, timeout=5) as page:
        assert json.loads(page.read()) == {"ok": True, "waits_for": [], "blocks": 0}
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(url, timeout=5)
    told = json.loads(refused.value.read())
    assert told["waits_for"] == [f"the policy zone {folder}/zone cannot be written"]
    folder.mkdir()
    watch.publisher._failed_at = -1000.0
    watch.tick()
    assert watch.ready()["ok"] is True


def test_alerts_that_cannot_be_told_are_a_line_in_the_log(make: Make, tmp_path: Path) -> None:  # noqa: F811
    watch = make(alert=(f"{tmp_path}/none/alerts", f"unix:{tmp_path}/none.sock"))
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    watch.tick()
    lost = "No such file or directory; such alerts are lost"
    for where in (f"{tmp_path}/none/alerts", f"unix:{tmp_path}/none.sock"):
        assert said(watch).count(f'alerts_failed says="{lost}" n=1 to={where}\n') == 1


def test_a_webhooks_secret_is_not_logged() -> None:
    webhook = Webhook("http://127.0.0.1:1/hook?token=secret", retry_s=60)
    webhook.send({"a": 1}, "")
    until(lambda: webhook.n_failed)
    assert (webhook.name, webhook.trouble) == ("http://127.0.0.1:1", "Connection refused")
    webhook.close()
