"""Rooms that the site looks into: a running watch, a running lab, networks; and big exports."""

from __future__ import annotations

import io
import ipaddress
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from conftest import Cli
from unflux import networks, pipeline
from unflux.pipeline import ScanOptions
from unflux.share.case import Reporter
from unflux.watch.blocks import Block
from unflux.watch.health import HealthServer
from unflux.watch.store import BlockStore
from unflux.web import lab as lab_module
from unflux.web import network_worker, watching
from unflux.web.settings import Limits
from web_site import World, client_of

pytest_plugins = ["web_site"]
API = "/api/v1"
HEALTH = {"ok": True, "last_round_s": 0.1, "items": 100, "decoded": 90, "dropped": 3, "judged": 7,
          "flux": 1, "blocks": 1}  # fmt: skip


def until_known(ask: Any) -> dict[str, Any]:
    for _ in range(600):
        found: dict[str, Any] = ask()
        if found["state"] != "working":
            return found
        time.sleep(0.1)
    raise AssertionError("networks were not worked out in a minute")


# -- networks -------------------------------------------------------------------------------------


def test_networks_are_those_that_the_room_finds(client: TestClient, world: World) -> None:
    told = until_known(lambda: client.get(f"{API}/networks").json())
    assert (told["state"], told["message"]) == ("ready", None)
    options = ScanOptions(
        asn_db=world.options.asn_db, country_db=world.options.country_db, min_score=2.0
    )
    found = networks.find_networks(pipeline.scan([world.dataset], options).judged)
    assert found.networks
    members = {frozenset(one["name"] for one in net["names"]) for net in told["networks"]}
    assert members == {frozenset(one.name for one in net.names) for net in found.networks}


def test_the_network_of_a_name_or_an_address_is_found(client: TestClient) -> None:
    known = until_known(lambda: client.get(f"{API}/networks").json())["networks"]
    whole = next(one for one in known if any(name["name"] == "suse.test" for name in one["names"]))
    for has in ("SUSE.test.", whole["agents"][0]["address"], whole["id"]):
        answer = client.get(f"{API}/networks", params={"has": has, "brief": True})
        ids = [one["id"] for one in answer.json()["networks"]]
        assert whole["id"] in ids
    [brief] = client.get(f"{API}/networks?has=suse.test&brief=true").json()["networks"]
    assert (brief["n_names"], brief["n_agents"]) == (whole["n_names"], whole["n_agents"])
    assert brief["n_countries"] == len(whole["countries"])
    assert brief["names"] == whole["names"][:3]
    assert "agents" not in brief
    assert client.get(f"{API}/networks?has=no.such.test").json()["networks"] == []


def test_a_network_is_cut_where_a_page_could_not_show_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ScanOptions(
        asn_db=world.options.asn_db, country_db=world.options.country_db, min_score=2.0
    )
    whole = networks.find_networks(pipeline.scan([world.dataset], options).judged).networks[0]
    monkeypatch.setattr(network_worker, "MAX_AGENTS", 5)
    short = network_worker.shortened(whole)
    assert (len(short["agents"]), short["n_agents"]) == (5, len(whole.agents))
    assert all(agent < 5 for _, agent, _ in short["links"])


def test_networks_that_need_too_much_memory_are_refused_with_a_sentence(
    world: World, judged_url: str, tmp_path: Path
) -> None:
    limits = Limits(requests_per_s=0, scan_memory_bytes=64 << 20)
    with client_of(world, judged_url, tmp_path, limits=limits) as one:
        told = until_known(lambda: one.get(f"{API}/networks").json())
        one.app.state.site.store.close()  # type: ignore[attr-defined]
    assert told["state"] == "unavailable"
    assert "memory" in told["message"]


# -- a running watch ------------------------------------------------------------------------------


def block(**changes: Any) -> Block:
    now_us = time.time_ns() // 1000
    fields = {
        "trigger": "c2.mother.test", "kind": "qname", "name": "c2.mother.test",
        "verdict": "double_flux", "score": 0.97, "confidence": "high", "reason": "it rotates",
        "by": "unflux 3", "action": "nxdomain", "since_us": now_us - 1_000_000, "seen_us": now_us,
        "until_us": now_us + 3_600_000_000,
    }  # fmt: skip
    return Block(**(fields | changes))


def test_rates_drops_and_blocks_of_a_watch_are_shown(
    world: World, judged_url: str, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    BlockStore(state).save([block(), block(trigger="over.test", until_us=1_000_000)])
    health = HEALTH | {}
    pages = {"/healthz": lambda: health}
    server = HealthServer("127.0.0.1", 0, lambda: {"unflux_watch_window_names": 42.0}, pages)
    try:
        room = watching.WatchRoom((f"http://127.0.0.1:{server.port}", str(state)))
        room.poll()
        health["items"] = 160
        room.poll()
        [rate] = room.rates()
        assert rate["items"] > 0
        assert (rate["dropped"], room.numbers["window_names"]) == (0, 42.0)
        health["items"] = 5
        room.poll()
        assert len(room.samples) == 1, "a watch that was started anew has no rate yet"
        targets = (f"http://127.0.0.1:{server.port}/", str(state))
        with client_of(world, judged_url, tmp_path, watch=targets) as one:
            for _ in range(50):
                told = one.get(f"{API}/live/watch").json()
                if told["health"]:
                    break
                time.sleep(0.1)
            assert one.get(f"{API}/me").json()["features"] == ["watch"]
            one.app.state.site.store.close()  # type: ignore[attr-defined]
    finally:
        server.stop()
    assert (told["health"]["dropped"], told["trouble"], told["n_blocks"]) == (3, None, 1)
    assert [(one["trigger"], one["action"]) for one in told["blocks"]] == [
        ("c2.mother.test", "nxdomain")
    ]
    assert told["blocks"][0]["until"] > told["blocks"][0]["since"]


def test_a_watch_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    room = watching.WatchRoom(("http://127.0.0.1:9",))
    room.poll()
    assert room.health is None
    assert "does not answer" in (room.trouble or "")
    (tmp_path / "blocks.sqlite").write_bytes(b"no database" * 100)
    assert watching.WatchRoom((str(tmp_path),)).blocks()[2]


@pytest.mark.parametrize(
    "target",
    ["http://192.0.2.1:80", "http://example.com:80", "https://127.0.0.1:80", "http://127.0.0.1",
     "http://a@127.0.0.1:80", "http://127.0.0.1:80/x", "http://127.0.0.1:80/?q", "http://[::1",
     "file:///etc", "no/such/directory"],
)  # fmt: skip
def test_only_a_watch_on_this_machine_is_asked(target: str) -> None:
    with pytest.raises(ValueError, match="--watch"):
        watching.parse_target(target)


# -- a running lab --------------------------------------------------------------------------------


def test_a_running_lab_is_shown_and_taken_down_from(
    world: World, judged_url: str, tmp_path: Path, cli: Cli
) -> None:
    if cli("lab", "doctor").returncode:
        pytest.skip("the live lab cannot run here: unflux lab doctor says why")
    from unflux.lab.live.session import Lab, LabOptions

    with Lab("walk", LabOptions(speed=60, people=False)) as lab:
        directory = str(lab.enclosure.directory)
        with client_of(world, judged_url, tmp_path, lab=directory) as one:
            told = one.get(f"{API}/lab").json()
            network = told["status"]["networks"]["pharma-1-1"]
            assert set(network["answer"]) <= {at for group in network["listed"] for at in group}
            assert network["name_servers_are_agents"] is False
            assert told["status"]["networks"]["double-2-1"]["name_servers_are_agents"] is True
            wanted = {"what": "agent", "network": "pharma-1-1", "watch_s": 1}
            assert one.post(f"{API}/lab/takedown", json=wanted).status_code == 202
            busy = one.post(f"{API}/lab/takedown", json=wanted)
            assert (busy.status_code, busy.json()["ok"]) == (409, False)
            for _ in range(300):
                told = one.get(f"{API}/lab").json()
                if told["takedowns"][0]["state"] != "measuring":
                    break
                time.sleep(0.1)
            [done] = told["takedowns"]
            assert done["state"] == "done", done
            assert done["targets"][0] in told["status"]["networks"]["pharma-1-1"]["down"]
            audit = one.get(f"{API}/audit").json()["entries"]
            assert audit[0]["action"] == "lab_takedown"
            one.app.state.site.store.close()  # type: ignore[attr-defined]


def test_what_is_no_lab_of_this_user_is_never_asked(
    world: World, judged_url: str, tmp_path: Path
) -> None:
    with client_of(world, judged_url, tmp_path, lab=str(tmp_path)) as one:
        answer = one.get(f"{API}/lab")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (409, "conflict")
        assert "no lab runs" in answer.json()["error"]["message"]
        wrong = {"what": "the-world", "network": "x", "watch_s": 1}
        assert one.post(f"{API}/lab/takedown", json=wrong).status_code == 422
        other = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
        right = wrong | {"what": "agent"}
        assert one.post(f"{API}/lab/takedown", json=right, headers=other).status_code == 403
        one.app.state.site.store.close()  # type: ignore[attr-defined]
    assert lab_module.RUNNING == "running"


# -- exports --------------------------------------------------------------------------------------


def test_reports_are_made_from_findings_and_sightings(
    world: World, judged_url: str, tmp_path: Path
) -> None:
    with client_of(
        world, judged_url, tmp_path, reporter=Reporter("Example CERT", "cert@example.org")
    ) as one:
        answer = one.get(f"{API}/export/abuse", params={"q": "kind:double"})
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = archive.namelist()
            assert not [name for name in names if "/" in name or ".." in name]
            text = archive.read("domain-suse.test.txt").decode()
            xarf = archive.read("domain-suse.test.xarf.jsonl").splitlines()
        assert "Example CERT" in text
        assert b"Example CERT" in xarf[0]
        assert json.loads(xarf[0])
        page = one.get(f"{API}/export/report", params={"q": "kind:flux"})
        assert page.headers["content-type"] == "application/octet-stream"
        assert page.headers["content-disposition"].endswith('-report.html"')
        assert "<svg" in page.text
        assert "<script" not in page.text
        zone = one.get(f"{API}/export/rpz", params={"q": "kind:double"}).text
        assert "suse.test.rpz.unflux. 60 IN CNAME ." in zone
        one.app.state.site.store.close()  # type: ignore[attr-defined]


def test_an_export_says_what_was_left_out_and_what_may_be_acted_upon(client: TestClient) -> None:
    asked = {"q": "kind:flux"}
    bare = client.get(f"{API}/export/suricata-ip", params=asked)
    assert bare.content == b""
    assert "agents (name an evidence level" in bare.headers["Unflux-Told"]
    wanted = client.get(f"{API}/export/suricata-ip", params=asked | {"include_agents": "shared"})
    assert ipaddress.ip_address(wanted.text.splitlines()[0])
    told = json.loads(client.get(f"{API}/export/stix", params=asked).headers["Unflux-Told"])
    assert any("agents are no indicators" in one for one in told)
    cut = client.get(f"{API}/export/csv", params={"limit": 3})
    assert cut.text.count("\n") == 1 + 3
    total = client.get(f"{API}/findings").json()["total"]
    first = json.loads(cut.headers["Unflux-Told"])[0]
    assert first == f"cut: the 3 with the highest score of {total} that were found"


def test_only_so_many_exports_are_made_at_a_time(client: TestClient) -> None:
    exporting = client.app.state.site.exporting  # type: ignore[attr-defined]
    assert exporting.acquire(blocking=False)
    assert exporting.acquire(blocking=False)
    try:
        assert client.get(f"{API}/export/csv").status_code == 503
    finally:
        exporting.release(2)
    assert client.get(f"{API}/export/csv").status_code == 200
