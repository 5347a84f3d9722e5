"""The API: what it says is what a scan says, on both databases; what it must not do, it does not."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from unflux import pipeline
from unflux.share.csv import FORMULA_STARTS
from unflux.web import guards, portrait
from unflux.web.history import HistoryReader
from unflux.web.live import Feed
from unflux.web.settings import Limits, read_tokens
from unflux.web.store import Principal
from unflux.web.store.access import sha256
from web_site import HOSTILE, World, client_of

pytest_plugins = ["web_site"]

API = "/api/v1"
TOKENS = {sha256(f"{role}-token-of-the-tests"): Principal(role, role)
          for role in ("read", "triage", "admin")}  # fmt: skip


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}-token-of-the-tests"}


def error_of(response: Any, status: int) -> dict[str, Any]:
    """The error of a response, which has the one shape."""
    body = response.json()
    assert response.status_code == status, body
    assert set(body) == {"ok", "error"}
    assert body["ok"] is False
    assert body["error"]["kind"]
    assert body["error"]["message"]
    found: dict[str, Any] = body["error"]
    return found


# -- reading --------------------------------------------------------------------------------------


def test_pages_put_together_are_the_whole_scan(client: TestClient, scanned: pipeline.Scan) -> None:
    names: list[str] = []
    page = 1
    while True:
        body = client.get(f"{API}/findings", params={"page": page, "size": 37}).json()
        names += [row["name"] for row in body["findings"]]
        if page == body["pages"]:
            break
        page += 1
    assert names == [one.name for one in scanned.findings]
    assert body["total"] == len(names)
    assert body["by_verdict"] == scanned.summary["names"]["by_verdict"]


@pytest.mark.parametrize("sort", ["addresses", "ttl", "last", "name", "triage", "asns"])
def test_sorting_puts_what_is_unknown_last(client: TestClient, sort: str) -> None:
    column = {"addresses": "n_addresses", "ttl": "ttl_max_s", "last": "last_seen", "asns": "n_asns"}
    for order in ("asc", "desc"):
        params = {"sort": sort, "order": order, "size": 500}
        rows = client.get(f"{API}/findings", params=params).json()["findings"]
        values = [row[column.get(sort, sort)] for row in rows]
        known = [value for value in values if value is not None]
        assert values[: len(known)] == sorted(known, reverse=order == "desc")


def test_a_name_is_told_as_a_scan_tells_it(client: TestClient, scanned: pipeline.Scan) -> None:
    for one in scanned.findings[::9]:
        body = client.get(f"{API}/names/{one.name.replace('%', '%25').replace('/', '%2F')}").json()
        assert body["finding"] == msgspec.json.decode(msgspec.json.encode(one))
        assert (body["triage"], body["notes"]) == ("new", [])


def test_history_has_the_addresses_of_the_finding(
    client: TestClient, scanned: pipeline.Scan
) -> None:
    [one] = [one for one in scanned.findings if one.name == "suse.test"]
    body = client.get(f"{API}/history/suse.test").json()
    bins, rows = body["strip"]["bins"], body["strip"]["rows"]
    assert body["ns_strip"]["bins"] == bins  # seen for as long
    assert {row["address"] for row in rows} == {agent.address for agent in one.agent_list}
    assert body["strip"]["n_addresses"] == one.n_addresses == body["accumulation"][-1]["distinct"]
    assert bins["count"] <= portrait.MAX_BINS
    assert all(0 <= place < bins["count"] and n > 0 for row in rows for place, n in row["cells"])
    places = {row["address"]: (row["origin_asn"], row["country"]) for row in rows}
    assert places == {agent.address: (agent.origin_asn, agent.country) for agent in one.agent_list}
    assert body["name_servers"]
    assert body["ns_strip"]["n_addresses"] > 20, "the layer below rotates: it is double flux"
    assert sum(row["n"] for row in body["spread"]["ases"]) == one.n_addresses
    assert body["pool"]["low"] <= body["pool"]["estimate"] <= body["pool"]["high"]
    assert body["sharing"][0]["n"] >= body["sharing"][-1]["n"] >= 1
    assert sum(hour["responses"] for hour in body["activity"]) > 0


def test_names_with_the_same_addresses_are_found_by_an_index_or_else_without(
    world: World, tmp_path: Path
) -> None:
    reader = HistoryReader(world.dataset, "scan", tmp_path / "indexes")
    own = reader.rows_of(["suse.test."], ("A",), 1000)["rdata"].unique().to_pylist()
    found = reader.sharing(own, "suse.test.")
    assert found[0][1] > 1
    assert "suse.test." not in dict(found)
    [index] = (tmp_path / "indexes").glob("scan-*.parquet")

    index.rename(tmp_path / "indexes" / "scan-of-an-earlier-state.parquet")
    HistoryReader(world.dataset, "scan", tmp_path / "indexes").prepare()
    assert list((tmp_path / "indexes").iterdir()) == [index]

    (tmp_path / "a file").touch()  # no directory can be made there
    without = HistoryReader(world.dataset, "scan", tmp_path / "a file" / "indexes")
    assert without.sharing(own, "suse.test.") == found


def test_a_name_seen_for_an_hour_is_not_one_column_of_its_name_servers_months() -> None:
    minute = 29_459_520

    def seen(first: int, last: int) -> list[portrait.Seen]:
        return [portrait.Seen(first * 60_000_000, last * 60_000_000)]

    own, ns = portrait.bins_of(seen(minute, minute + 60), seen(minute - 400_000, minute - 9_000))
    assert own is not None
    assert ns is not None
    assert own.size_s * own.count <= 2 * 3600 < ns.size_s * ns.count
    own, ns = portrait.bins_of(seen(minute, minute + 60), seen(minute - 20, minute + 80))
    assert own == ns
    assert portrait.bins_of([], []) == (None, None)


def test_one_answer_says_nothing_of_the_size_of_its_pool() -> None:
    minute = 29_459_520

    def seen(minutes: list[int]) -> portrait.Seen:
        one = portrait.Seen(minutes[0] * 60_000_000, minutes[-1] * 60_000_000)
        one.sides["upstream"] = list(minutes)
        one.counts["upstream"] = len(minutes)
        return one

    at_once = {f"198.18.0.{host}": seen([minute]) for host in range(10)}
    assert portrait.pool_estimate(at_once) is None
    over_time = {
        f"198.18.0.{host}": seen([minute + host // 2, minute + 20 + host][: 1 + (host > 5)])
        for host in range(16)
    }
    estimate = portrait.pool_estimate(over_time)
    assert estimate is not None
    assert estimate["estimate"] > estimate["observed"] == 16
    assert estimate["once"] == 6


def test_minutes_are_read_back_from_the_bits_of_an_hour() -> None:
    minute = 29_459_520  # a whole hour since the epoch
    seen = {minute + 3, minute + 40}
    bits = sum(1 << one % 64 for one in seen)
    first, last = (minute + 3) * 60_000_000, (minute + 40) * 60_000_000 + 5
    assert set(portrait.fresh_minutes(first, last, 300, "upstream", bits)) == seen
    expiry = sum(1 << (one + 5) % 64 for one in seen)
    assert set(portrait.fresh_minutes(first, last, 300, "client", expiry)) == seen
    assert portrait.fresh_minutes(first, last, 0, "history", 0) == [minute + 3, minute + 40]


def test_sightings_and_passive_dns_are_those_of_the_dataset(
    client: TestClient, tmp_path: Path
) -> None:
    body = client.get(f"{API}/sightings/suse.test", params={"size": 500}).json()
    assert body["total"] == len(body["sightings"]) > 100
    assert {row["owner"] for row in body["sightings"]} == {"suse.test"}
    response = client.get(f"{API}/cof/suse.test")
    file = tmp_path / "suse.cof"
    file.write_bytes(response.content)
    rows = [json.loads(line) for line in response.content.splitlines()]
    a_rows = {row["rdata"] for row in rows if row["rrname"] == "suse.test" and row["rrtype"] == "A"}
    assert a_rows == {row["rdata"] for row in body["sightings"] if row["rdtype"] == "A"}
    scan = pipeline.scan([file], pipeline.ScanOptions(min_score=0.0))
    assert "suse.test" in {one.name for one in scan.findings}, "unflux reads what it wrote"


# -- errors and guards ----------------------------------------------------------------------------


def test_every_failure_has_the_one_shape(client: TestClient) -> None:
    wrong = client.get(f"{API}/findings", params={"q": "pills foo:1"})
    assert error_of(wrong, 400)["position"] == 6
    assert error_of(client.get(f"{API}/names/nobody.test"), 404)["kind"] == "not_found"
    assert error_of(client.get(f"{API}/findings", params={"size": 0}), 422)["where"] == "query.size"
    error_of(client.get(f"{API}/nothing"), 404)
    error_of(client.post(f"{API}/findings"), 405)
    error_of(client.put(f"{API}/triage/a.test", json={"state": "gone"}), 422)
    error_of(
        client.post(
            f"{API}/notes/a.test", content=b"{", headers={"Content-Type": "application/json"}
        ),
        422,
    )
    error_of(client.get(f"{API}/export/rpz2"), 404)
    error_of(client.get(f"{API}/live"), 404)
    error_of(client.get(f"{API}/findings", params={"scan": "0" * 16}), 404)


def test_every_answer_has_the_safe_headers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = client.app.state.site
    monkeypatch.setattr(site.store.cases, "notes", lambda _name: 1 / 0)
    broken = client.get(f"{API}/notes/a.test")
    error_of(broken, 500)
    assert "ZeroDivision" not in broken.text
    for response in (broken, client.get("/healthz"), client.get("/"), client.get(f"{API}/nothing")):
        for name, value in guards.HEADERS.items():
            assert response.headers[name] == value
        assert "unsafe" not in response.headers["Content-Security-Policy"]


def test_other_sites_cannot_reach_a_server_on_loopback(client: TestClient) -> None:
    rebound = client.get(f"{API}/findings", headers={"Host": "evil.example"})
    error_of(rebound, 403)
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        error_of(client.put(f"{API}/triage/a.test", json={"state": "benign"}, headers=headers), 403)
    own = {"Origin": "http://127.0.0.1:8053", "Sec-Fetch-Site": "same-origin"}
    done = client.put(f"{API}/triage/a.test", json={"state": "new"}, headers=own)
    assert done.status_code == 200


def test_bodies_have_a_limit(client: TestClient) -> None:
    big = b'{"text":"' + b"x" * (70 << 10) + b'"}'
    error_of(client.post(f"{API}/notes/a.test", content=big), 413)
    pieces = (big[start : start + 1000] for start in range(0, len(big), 1000))
    error_of(client.post(f"{API}/notes/a.test", content=pieces), 413)


def test_too_many_requests_are_told_when_to_come_again(
    world: World, new_url: str, tmp_path: Path
) -> None:
    limits = Limits(requests_per_s=0.5, burst=3)
    with client_of(world, new_url, tmp_path, limits=limits) as one:
        answers = [one.get("/healthz") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert error_of(answers[-1], 429)["kind"] == "too_many_requests"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2


# -- who may what ---------------------------------------------------------------------------------


@pytest.fixture
def guarded(world: World, judged_url: str, tmp_path: Path) -> Any:
    with client_of(world, judged_url, tmp_path, token_hashes=TOKENS, host="0.0.0.0") as one:  # noqa: S104
        yield one


def test_roles_are_kept_to(guarded: TestClient) -> None:
    asked = {
        "read": ("GET", "/findings", None),
        "triage": ("PUT", "/triage/roles.test", {"state": "watching"}),
        "admin": ("GET", "/audit", None),
    }
    for needed, (method, path, body) in asked.items():
        assert error_of(guarded.request(method, API + path, json=body), 401)["kind"] == "no_token"
        for place, role in enumerate(asked):
            done = guarded.request(method, API + path, json=body, headers=bearer(role))
            if place >= list(asked).index(needed):
                assert done.status_code == 200, (role, path)
            else:
                error_of(done, 403)
    assert guarded.get("/healthz").status_code == 200, "a probe needs no token"
    error_of(guarded.get("/metrics"), 401)
    assert guarded.get(f"{API}/me", headers=bearer("triage")).json()["role"] == "triage"


def test_wrong_tokens_are_counted_and_then_refused(guarded: TestClient) -> None:
    statuses = [
        guarded.get(f"{API}/me", headers={"Authorization": f"Bearer guess{n}"}).status_code
        for n in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    site = guarded.app.state.site
    assert site.store.access.audit(None, 1)[0]["action"] == "wrong_token"


def test_a_token_made_here_works_until_it_is_revoked(guarded: TestClient) -> None:
    admin = bearer("admin")
    made = guarded.post(
        f"{API}/tokens", json={"name": "siem", "role": "read"}, headers=admin
    ).json()
    mine = {"Authorization": f"Bearer {made['token']}"}
    assert guarded.get(f"{API}/me", headers=mine).json()["name"] == "siem"
    assert made["token"] not in guarded.get(f"{API}/tokens", headers=admin).text
    assert guarded.delete(f"{API}/tokens/{made['id']}", headers=admin).status_code == 204
    error_of(guarded.get(f"{API}/me", headers=mine), 401)


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("ann admin 0123456789abcdef0123  # her own\n\n")
    file.chmod(0o644)
    with pytest.raises(Exception, match="chmod 600"):
        read_tokens(file)
    file.chmod(0o600)
    assert list(read_tokens(file).values()) == [Principal("ann", "admin")]
    for line in ("ann admin short", "ann boss 0123456789abcdef0123", ""):
        file.write_text(line)
        with pytest.raises(Exception, match="NAME ROLE TOKEN"):
            read_tokens(file)


# -- triage, notes, exports -----------------------------------------------------------------------


def test_what_analysts_do_is_kept_found_and_audited(client: TestClient) -> None:
    assert client.put(f"{API}/triage/SUSE.test.", json={"state": "confirmed"}).json() == {
        "names": ["suse.test"], "state": "confirmed"}  # fmt: skip
    many = client.post(
        f"{API}/triage", json={"names": ["suse.test", "besu.example"], "state": "watching"}
    )
    assert many.status_code == 200
    text = "looked\nat it \u202eback\x07"
    note = client.post(f"{API}/notes/suse.test", json={"text": text}).json()
    assert note["text"] == "looked\nat it \\u202eback\\x07"
    found = client.get(
        f"{API}/findings", params={"q": "triage:watching", "sort": "name", "order": "asc"}
    ).json()
    assert [(row["name"], row["n_notes"]) for row in found["findings"]] == [
        ("besu.example", 0),
        ("suse.test", 1),
    ]
    entries = client.get(f"{API}/audit", params={"size": 3}).json()["entries"]
    assert [(entry["action"], entry["by"]) for entry in entries] == [
        ("note", "local"), ("triage", "local"), ("triage", "local")]  # fmt: skip
    assert client.delete(f"{API}/note/{note['id']}/suse.test").status_code == 204
    error_of(client.delete(f"{API}/note/{note['id']}/suse.test"), 404)
    client.post(f"{API}/triage", json={"names": ["suse.test", "besu.example"], "state": "new"})


def test_every_export_offered_is_given(client: TestClient) -> None:
    offered = client.get(f"{API}/me").json()["exports"]
    assert {"json", "ndjson", "csv"} <= set(offered)
    for name in offered:
        response = client.get(f"{API}/export/{name}", params={"q": "kind:flux"})
        assert response.status_code == 200, response.text
        if name != "suricata-ip":  # agents alone, which are no indicators unless asked for
            assert response.content, name
        assert "html" not in response.headers["Content-Type"]
        assert response.headers["Content-Disposition"].startswith("attachment; filename=")


def test_exported_json_is_that_of_a_scan(client: TestClient, scanned: pipeline.Scan) -> None:
    whole = json.loads(client.get(f"{API}/export/json").content)
    assert whole["findings"] == json.loads(msgspec.json.encode(scanned.findings))
    assert whole["summary"]["counts"] == scanned.summary["counts"]


def test_no_cell_of_a_csv_is_a_formula(client: TestClient, scanned: pipeline.Scan) -> None:
    text = client.get(f"{API}/export/csv").content.decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == 1 + len(scanned.findings)
    cells = [cell for row in rows[1:] for cell in row]
    assert any("cmd|" in cell for cell in cells), "the name that tries is among them"
    numbers = [cell for cell in cells if cell.replace(".", "").replace("e-", "").isdigit()]
    assert not [cell for cell in cells if cell.startswith(FORMULA_STARTS) and cell not in numbers]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names_like_others(
    client: TestClient, name: str, scanned: pipeline.Scan
) -> None:
    seen = [one.name for one in scanned.findings]
    if "%" in name:
        pytest.skip("the test client decodes twice; test_web_pages has this name on a real server")
    [kept] = [one for one in seen if _same(one, name)]
    assert client.get(f"{API}/findings", params={"q": f'name:"{kept}"'}).json()["total"] == 1
    path = "".join(f"%{byte:02X}" for byte in kept.encode())
    assert client.get(f"{API}/names/{path}").json()["finding"]["name"] == kept
    assert client.get(f"{API}/history/{path}").json()["strip"]["n_addresses"] > 50
    assert client.get(f"{API}/cof/{path}").status_code == 200


def _same(kept: str, wire: str) -> bool:
    import dns.name

    return dns.name.from_text(kept) == dns.name.from_text(wire)


# -- uploads --------------------------------------------------------------------------------------


def wait(one: TestClient, upload_id: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        state: dict[str, Any] = one.get(f"{API}/uploads/{upload_id}").json()
        if state["state"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.1)
    raise AssertionError(f"not done: {state}")


def test_an_upload_is_scanned_apart_and_can_be_removed(
    client: TestClient, world: World, tmp_path: Path
) -> None:
    title = "../../etc/<b>x</b>\u202e.pcap"
    before = client.get(f"{API}/findings").json()["total"]
    sent = client.post(
        f"{API}/uploads", params={"title": title}, content=world.capture.read_bytes()
    )
    assert sent.status_code == 202
    done = wait(client, sent.json()["id"])
    assert (done["state"], done["names"], done["title"]) == (
        "done",
        len(HOSTILE),
        "../../etc/<b>x</b>\\u202e.pcap",
    )
    found = client.get(f"{API}/findings", params={"scan": done["id"]}).json()
    assert found["total"] == len(HOSTILE)
    assert found["by_verdict"]["single_flux"] == len(HOSTILE)
    assert client.get(f"{API}/findings").json()["total"] == before
    kept = {path.name for path in (tmp_path / "uploads" / done["id"]).iterdir()}
    assert kept == {"dataset"}, (
        "the capture itself is gone, and nothing is named as the sender wished"
    )
    assert client.delete(f"{API}/uploads/{done['id']}").status_code == 204
    error_of(client.get(f"{API}/findings", params={"scan": done["id"]}), 404)
    assert not (tmp_path / "uploads" / done["id"]).exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"MZ not a capture" * 50, "format"),
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + b"\0" * 16, "no DNS"),
    ],
    ids=["no capture", "nothing in it"],
)
def test_what_is_no_capture_fails_with_a_sentence(
    client: TestClient, content: bytes, says: str, tmp_path: Path
) -> None:
    sent = client.post(f"{API}/uploads", content=content)
    done = wait(client, sent.json()["id"])
    assert done["state"] == "failed"
    assert says in done["error"]
    assert "Traceback" not in done["error"]
    time.sleep(0.05)
    assert list((tmp_path / "uploads").iterdir()) == []


def test_uploads_have_limits(world: World, new_url: str, tmp_path: Path) -> None:
    limits = Limits(requests_per_s=0, upload_bytes=1000, uploads=1, scan_memory_bytes=64 << 20)
    with client_of(world, new_url, tmp_path, limits=limits) as one:
        error_of(one.post(f"{API}/uploads", content=b"x" * 1001), 413)
        error_of(one.post(f"{API}/uploads", content=(b"x" * 100 for _ in range(11))), 413)
        error_of(one.post(f"{API}/uploads", content=b""), 409)
        done = wait(
            one, one.post(f"{API}/uploads", content=world.capture.read_bytes()[:1000]).json()["id"]
        )
        assert done["state"] == "failed", "64 MiB are too little to work in"
        assert done["error"]


# -- live -----------------------------------------------------------------------------------------


def test_alerts_are_followed_through_a_file_that_is_cut_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "alerts.ndjson"
    feed = Feed(file)
    assert feed.poll() == 0, "not there yet"
    file.write_text('{"n": 1}\n[2]\nnot json\n{"n": 3')
    assert (feed.poll(), feed.n_malformed) == (1, 2)
    with file.open("a") as out:
        out.write("}\n")
    assert feed.poll() == 1
    file.write_text('{"n": 4}\n')
    assert feed.poll() == 1
    (tmp_path / "new").write_text('{"n": 5}\n{"n": 6}\n')
    (tmp_path / "new").replace(file)
    assert feed.poll() == 2
    assert [one.content["n"] for one in feed.kept] == [1, 3, 4, 5, 6]
    assert [one.number for one in feed.kept] == [1, 2, 3, 4, 5]


def test_health_and_metrics_answer(client: TestClient) -> None:
    assert client.get("/healthz").json()["ok"] is True
    text = client.get("/metrics").text
    assert "unflux_http_requests_total" in text
    total = client.get(f"{API}/findings").json()["total"]
    assert f"unflux_findings {float(total)}" in text
