"""The tracker against real servers: BIND and unbound in a namespace of their own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import dns.query
import pytest

from track_servers import (
    NAME_IN_CERTIFICATE,
    OPENSSL,
    RESOLVER,
    ROOT_SERVER,
    Servers,
    needs_named,
    needs_unbound,
    running,
)

pytestmark = needs_named
LAB = ("--allow", "198.18.0.0/15", "--set", "floor_s=1", "--set", "per_name_server_s=5",
       "--set", "per_name_h=3600", "--set", "per_zone_h=36000")  # fmt: skip
WAIT_S = 60
"""For something that takes seconds on a quiet machine."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("servers")) as started:
        yield started


def rows(servers: Servers, folder: Path, name: str) -> dict:
    done = servers.unflux("track", "show", name, "--dir", folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_for_events(runner: subprocess.Popen[str], *patterns: str) -> None:
    """Read what a tracker prints until some line matched each; it is killed if that is long."""
    assert runner.stdout is not None
    missing = set(patterns)
    late = threading.Timer(WAIT_S, runner.kill)
    late.start()
    try:
        for line in runner.stdout:
            missing = {one for one in missing if not re.search(one, line)}
            if not missing:
                return
    finally:
        late.cancel()
    raise AssertionError(f"{missing} not seen")


def test_a_rotation_is_followed_from_the_root_through_kill_9(
    servers: Servers, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    names = ["c2.mother.test", "gone.mother.test", "big.mother.test", "x.lame.test"]
    assert servers.unflux("track", "add", *names, "--dir", folder).returncode == 0
    command = servers.command(
        "track", "run", "--dir", folder, "--authoritative", "--hints", servers.hints, *LAB, "--json"
    )  # fmt: skip

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def turn(number: int) -> str:
        """The name gets another address; a pattern of the event that says so."""
        servers.set("mother.test.", "c2", 3, "A", f"198.18.{number}.5")
        return rf"198\.18\.{number}\.5"

    began = time.time()
    first_address, first = turn(0), start()
    wait_for_events(
        first, first_address, r'"gone\..*"to":"dead"', r'"big\..*"to":"active"',
        r'"x\.lame.*"to":"failing"',
    )  # fmt: skip
    # Killed as soon as the answer came: a question that is out then would wait for five minutes.
    wait_for_events(first, turn(1))
    first.kill()
    first.communicate()
    next_address, second = turn(2), start()
    wait_for_events(second, next_address)
    second.kill()
    second.communicate()
    last_address, last = turn(3), start()
    wait_for_events(last, last_address)
    last.send_signal(signal.SIGTERM)
    last.communicate(timeout=WAIT_S)
    assert last.returncode == 0
    story = rows(servers, folder, "c2.mother.test")
    assert {one["rdata"] for one in story["addresses"]} == {
        f"198.18.{number}.5" for number in range(4)
    }
    assert story["state"] == "active"
    assert story["zone"] == "mother.test"
    assert len(rows(servers, folder, "big.mother.test")["addresses"]) == 95, (
        "by TCP: UDP is too small"
    )
    states = {name: rows(servers, folder, name)["state"] for name in names}
    assert states["gone.mother.test"] == "dead"
    assert states["x.lame.test"] == "failing"
    check_log(servers, began)


def check_log(servers: Servers, began: float) -> None:
    """What the servers logged: no question within its TTL, no more than the limits."""
    log = [one for one in servers.queries() if one[0] >= began - 1 and one[2] != "ns1.mother.test."]
    asked = [
        at
        for at, view, qname, qtype in log
        if (view, qname, qtype) == ("zone", "c2.mother.test.", "A")
    ]
    assert len(asked) >= 4
    assert all(later - earlier >= 3 for earlier, later in pairwise(asked)), asked
    big = [at for at, _, qname, qtype in log if (qname, qtype) == ("big.mother.test.", "A")]
    assert all(gap >= 5 or gap < 0.5 for gap in (b - a for a, b in pairwise(big))), big
    assert sum(view == "root" for _, view, _, _ in log) == 1, "a TTL of ten minutes"
    for view in ("root", "tld", "zone"):
        times = [at for at, of, _, qtype in log if of == view and qtype != "SOA"]
        for place, at in enumerate(times):
            within = sum(at <= later < at + 1 for later in times[place:])
            assert within <= 5 + 5 + 3, "burst and rate; a cut answer is asked for again by TCP"


@needs_unbound
def test_a_resolver_is_asked_and_its_cache_respected(servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    servers.unflux("track", "add", "long.mother.test", "still.mother.test", "--dir", folder)
    done = servers.unflux(
        "track",
        "run",
        "--dir",
        folder,
        "--resolver",
        RESOLVER,
        "--set",
        "floor_s=1",
        "--for",
        "12s",
    )
    assert done.returncode == 0, done.stderr
    story = rows(servers, folder, "long.mother.test")
    assert [one["rdata"] for one in story["aliases"]] == ["c2.mother.test"]
    assert story["addresses"]
    assert story["zone"] == "mother.test"
    assert any(one["rdtype"] == "NS" for one in story["name_servers"])
    assert story["finding"]["n_clients"] == 0
    listed = json.loads(servers.unflux("track", "list", "--dir", folder, "--json").stdout)
    assert {one["state"] for one in listed["names"]} == {"active"}
    assert sum(listed["totals"].values()) > 0


@needs_unbound
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    ("resolver", "works"),
    [
        (f"tls://{RESOLVER}", True),
        (f"tls://{RESOLVER}#{NAME_IN_CERTIFICATE}", True),
        (f"tls://{RESOLVER}#other.test", False),
        (f"https://{RESOLVER}/dns-query#{NAME_IN_CERTIFICATE}", True),
        (f"https://{RESOLVER}/dns-query#other.test", False),
    ],
)
def test_a_resolver_is_asked_encrypted_and_its_certificate_is_checked(
    resolver: str, works: bool, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if resolver.startswith("https") and not dns.query.have_doh:
        pytest.skip("unflux[doh] is not installed")
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.folder / "tls.pem"))
    servers.unflux("track", "add", "still.mother.test", "--dir", tmp_path)
    done = servers.unflux("track", "run", "--dir", tmp_path, "--resolver", resolver, "--for", "2s")
    assert done.returncode == 0, done.stderr
    totals = json.loads(servers.unflux("track", "list", "--dir", tmp_path, "--json").stdout)[
        "totals"
    ]
    assert (totals.get("answered NOERROR", 0) > 0) == works, totals


def test_names_added_while_it_runs_are_asked_and_ctrl_c_ends_cleanly(
    servers: Servers, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    servers.unflux("track", "add", "c2.mother.test", "--dir", folder)
    command = servers.command(
        "track", "run", "--dir", folder, "--authoritative", "--hints", servers.hints, *LAB, "--json"
    )  # fmt: skip
    runner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_events(runner, "c2.mother.test")
    servers.unflux("track", "add", "still.mother.test", "--dir", folder)
    second = servers.unflux(*command[command.index("track") :])
    assert second.returncode == 1
    assert "another unflux is tracking" in second.stderr
    wait_for_events(runner, "still.mother.test")
    runner.send_signal(signal.SIGINT)
    _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 0, errors
    assert "stopped" in errors


def test_glue_that_is_not_public_is_not_asked(servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    servers.unflux("track", "add", "c2.mother.test", "--dir", folder)
    before = len([one for one in servers.queries() if one[1] != "root"])
    servers.unflux(
        "track", "run", "--dir", folder, "--authoritative", "--hints", servers.hints, "--for", "3s"
    )
    after = len([one for one in servers.queries() if one[1] != "root"])
    assert after == before, f"only {ROOT_SERVER} was named"


def test_zones_are_transferred_and_compared(servers: Servers, tmp_path: Path) -> None:
    old = tmp_path / "old.zone"
    old.write_text(
        "$ORIGIN test.\n@ 60 SOA ns.nic h 1 3600 600 86400 2\n@ 600 NS ns.nic\nns.nic 600 A 198.18.0.2\n"
        "mother 4 NS ns1.mother\nns1.mother 4 A 198.18.5.5\nlame 30 NS ns1.lame\nns1.lame 30 A 198.18.0.3\n"
    )
    done = servers.unflux("zonediff", old, "axfr://198.18.0.2/test.", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["delegations"]
    assert [one["name"] for one in found] == ["mother.test"]
    assert found[0]["glue_changes"] == 2
    refused = servers.unflux("zonediff", old, "axfr://198.18.0.2/nowhere.")
    assert refused.returncode == 1
    assert "no transfer" in refused.stderr
