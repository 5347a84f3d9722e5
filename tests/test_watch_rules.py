"""What a watch decides without any socket: blocks, alerts, settings, time."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conftest import Cli
from unflux.detect.base import DetectorId, Explanation, Finding, Reason
from unflux.share import rpz
from unflux.watch import alerts, config, health
from unflux.watch.blocks import Blocklist, BlockRules, exclusive_addresses, exclusive_servers
from unflux.watch.config import WatchConfig
from unflux.watch.log import Log
from unflux.watch.store import BlockStore

NOW_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


def finding(name: str = "www.evil.test", **changes: Any) -> Finding:
    """A finding as a detector gives it."""
    values: dict[str, Any] = {
        "verdict": "single_flux", "score": 0.8, "confidence": "high",
        "reasons": [Reason("n_networks", 12, "its addresses lie in 12 networks", 0.4)],
        "benign_explanations": [Explanation("cdn", False, "no")], "blind_spots": [],
        "agents": msgspec.Raw(b"[]"), "clients": msgspec.Raw(b'["198.18.9.9"]'), "n_clients": 1,
        "first_seen": "2026-01-01T00:00:00.000000Z", "last_seen": "2026-01-01T01:00:00.000000Z",
        "registered_domain": "evil.test", "zone": "evil.test", "n_addresses": 30, "n_asns": 12,
        "n_countries": 5, "ttl_max_s": 300, "detector": DetectorId("unflux", 2),
    }  # fmt: skip
    return Finding(name=name, **(values | changes))


FITS = [
    Explanation("volunteer_pool", True, "few addresses per answer"),
    Explanation("cdn", False, ""),
]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"verdict": "ambiguous"}, "verdict"),
        ({"verdict": "not_flux"}, "verdict"),
        ({"benign_explanations": FITS}, "benign_explanation"),
        ({"score": 0.59}, "score"),
        ({"confidence": "low"}, "confidence"),
        ({"registered_domain": None}, "public_suffix"),
    ],
)
def test_a_name_that_may_be_innocent_is_never_blocked(changes: dict[str, Any], why: str) -> None:
    blocklist = Blocklist(BlockRules())
    decision = blocklist.on_finding(finding(**changes), NOW_US)
    assert (decision.outcome, decision.why) == ("refused", why)
    assert blocklist.blocks == {} and blocklist.n_refused == {why: 1}


@pytest.mark.parametrize("allowed", ["www.evil.test", "evil.test.", "TEST"])
def test_an_allowed_name_and_all_below_it_are_never_blocked(allowed: str) -> None:
    blocklist = Blocklist(BlockRules(), [allowed])
    assert blocklist.on_finding(finding(), NOW_US).why == "allowlist"
    assert Blocklist(BlockRules(), ["vil.test"]).on_finding(finding(), NOW_US).outcome == "blocked"


def test_a_block_ends_by_itself_and_new_evidence_renews_it() -> None:
    blocklist = Blocklist(BlockRules(block_for_s=3600))
    assert blocklist.on_finding(finding(), NOW_US).outcome == "blocked"
    again = blocklist.on_finding(finding(), NOW_US + HOUR_US // 2)
    assert again.outcome == "renewed"
    assert again.block and again.block.since_us == NOW_US
    assert blocklist.expire(NOW_US + HOUR_US) == []
    [gone] = blocklist.expire(NOW_US + 3 * HOUR_US // 2)
    assert gone.trigger == "www.evil.test"
    assert blocklist.blocks == {}


def test_flux_name_servers_have_their_whole_zone_blocked() -> None:
    blocklist = Blocklist(BlockRules())
    [double, single] = [finding("a.evil.test", verdict="double_flux"), finding("b.evil.test")]
    assert blocklist.on_finding(double, NOW_US).block.trigger == "evil.test"  # type: ignore[union-attr]
    assert blocklist.on_finding(single, NOW_US).outcome == "covered"
    assert blocklist.covering("x.y.evil.test") is not None
    above = finding("a.evil.test", verdict="double_flux", zone="test")
    assert Blocklist(BlockRules()).on_finding(above, NOW_US).block.trigger == "a.evil.test"  # type: ignore[union-attr]


def test_a_full_list_keeps_the_highest_scores() -> None:
    blocklist = Blocklist(BlockRules(max_entries=2))
    for name, score in (("a.test", 0.7), ("b.test", 0.9), ("c.test", 0.8), ("d.test", 0.65)):
        blocklist.on_finding(finding(name, score=score, registered_domain=name), NOW_US)
    assert {trigger for _, trigger in blocklist.blocks} == {"b.test", "c.test"}
    assert (blocklist.n_displaced, blocklist.n_refused) == (1, {"size": 1})


def test_addresses_and_servers_that_others_use_are_not_listed() -> None:
    addresses = ["198.18.0.1", "198.18.0.2", "127.0.0.1", "198.18.0.3"]
    users = [(0, "a.evil.test."), (1, "a.evil.test."), (1, "shop.example."), (3, "evil.test.")]
    assert exclusive_addresses(addresses, users, {"evil.test"}) == ["198.18.0.1", "198.18.0.3"]
    zones = {
        "ns1.evil.test.": ["evil.test."],
        "ns.hoster.example.": ["evil.test.", "shop.example."],
        "ns3.test.": [],
    }
    assert exclusive_servers(zones, {"evil.test"}) == ["ns1.evil.test"]


def test_blocks_outlive_the_process(tmp_path: Path, cli: Cli) -> None:
    import time

    now_us = time.time_ns() // 1000
    blocklist = Blocklist(BlockRules(action="nodata"))
    blocklist.on_finding(finding(), now_us)
    blocklist.add_extra(finding(), rpz.ADDRESS, ["198.18.0.1"], now_us)
    store = BlockStore(tmp_path)
    assert store.load() == [] and store.find(["x"], 0) is None
    store.save(blocklist.blocks.values())
    other = Blocklist(BlockRules(action="nodata"))
    other.restore(store.load(), now_us)
    assert other.blocks == blocklist.blocks
    other.restore(store.load(), now_us + 13 * HOUR_US)
    said = json.loads(cli("blocked", "A.www.Evil.test.", "--state", tmp_path, "--json").stdout)
    assert said["blocked"] is True and said["trigger"] == "www.evil.test"
    assert said["reason"] == "single_flux: its addresses lie in 12 networks"
    assert "ip 198.18.0.1, nodata" in cli("blocked", "198.18.0.1", "--state", tmp_path).stdout
    assert cli("blocked", "evil.test", "--state", tmp_path).stdout == "evil.test is not blocked\n"
    (tmp_path / "blocks.sqlite").write_bytes(b"no database" * 100)
    broken = cli("blocked", "evil.test", "--state", tmp_path)
    assert broken.returncode == 1 and "Traceback" not in broken.stderr


def test_an_alert_is_told_once_in_a_while_and_a_worse_one_at_once() -> None:
    told = alerts.Suppression(1800)
    assert told.passes("a.test", 73, NOW_US)
    assert not told.passes("a.test", 73, NOW_US + 1_000_000)
    assert told.passes("a.test", 90, NOW_US + 2_000_000)
    assert told.passes("b.test", 73, NOW_US)
    assert told.passes("a.test", 90, NOW_US + HOUR_US)
    assert told.n_suppressed == 1


def test_a_syslog_line_is_rfc_5424() -> None:
    blocklist = Blocklist(BlockRules())
    one = finding('a"b].test')
    alert = alerts.compose(
        one, blocklist.on_finding(one, NOW_US), "nxdomain", "2026-01-01T00:00:00Z"
    )
    line = alerts.syslog_line(alert, "host", "2026-01-01T00:00:00Z", 42)
    assert line.startswith("<164>1 2026-01-01T00:00:00Z host unflux 42 flux [unflux@32473 name=")
    assert 'name="a\\"b\\].test"' in line
    body = json.loads(line.partition("@cee:")[2])
    assert body["flux_block"]["action"] == "nxdomain"
    assert body["client"]["ip"] == ["198.18.9.9"]


def test_every_mistake_in_a_file_of_settings_is_said_at_once(tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "watch.toml"
    file.write_text(
        'window = "1h"\nblock_for = "2h"\nmemory = "1M"\nrpz_action = "drop"\nnonsense = 1\n'
        'rpz_listen = "0.0.0.0:53"\nthreads = "two"\ndnstap = "udp:x"\nallow = "/nowhere"\n'
    )
    done = cli("config", "check", file)
    assert done.returncode == 2
    for word in (
        "block_for",
        "memory",
        "'drop'",
        "'nonsense'",
        "TSIG",
        "threads",
        "unix:PATH",
        "/nowhere",
    ):
        assert word in done.stderr, word
    assert "Traceback" not in done.stderr
    file.write_text('dnstap = "unix:/tmp/x"\nrpz_action = "nxdomain"\nblock-for = "6h"\n')
    assert cli("config", "check", file).returncode == 0


def test_the_settings_that_are_shown_are_fine(tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "watch.toml"
    file.write_text(cli("config", "show").stdout.replace("dnstap = []", 'dnstap = ["unix:x"]'))
    assert cli("config", "check", file).stdout == f"{file} is fine\n"


def test_the_command_line_wins_over_the_file() -> None:
    merged = config.combine(
        {"window": "6h", "threads": 2, "dnstap": ("unix:a",)},
        {"window": "12h", "threads": None, "dnstap": []},
    )
    assert (merged.window, merged.threads, merged.dnstap) == ("12h", 2, ("unix:a",))


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("1.5h", 5400), ("2d", 172_800)]
)
def test_times_and_sizes_are_read(text: str, seconds: float) -> None:
    assert config.seconds_of(text, "x") == seconds
    assert (
        config.size_bytes("2G", "x")
        == config.size_bytes("2048 MiB".replace(" ", ""), "x")
        == 2 << 30
    )
    for wrong in ("", "0s", "5", "-1s", "1y"):
        with pytest.raises(ValueError, match=r"x: .* is no duration"):
            config.seconds_of(wrong, "x")


def test_a_watch_needs_an_input(cli: Cli) -> None:
    done = cli("watch")
    assert done.returncode == 2 and "name an input" in done.stderr
    assert WatchConfig().problems() == ["name an input: dnstap, follow or interface"]


def test_repeated_trouble_is_one_line_a_minute() -> None:
    out = io.StringIO()
    log = Log(out)
    for number in range(5):
        log.trouble("full", "a queue\nis full", n=number)
    log.say("other", name="x")
    assert out.getvalue().count("\n") == 2
    assert 'full says="a queue?is full" n=0' in out.getvalue()


def test_metrics_are_in_prometheus_form() -> None:
    text = health.exposition({'a_total{kind="x"}': 3, 'a_total{kind="y"}': 12_345_678, "b": 0.5})
    assert (
        text
        == '# TYPE a_total counter\na_total{kind="x"} 3\na_total{kind="y"} 12345678\n# TYPE b gauge\nb 0.5\n'
    )
    assert health.label('a"\\\n') == 'a\\"\\\\ '
