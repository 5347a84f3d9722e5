"""Names out of what people have, servers as they write them, zones compared, pictures drawn."""

from __future__ import annotations

import json
import random
from bisect import bisect
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT, Cli
from unflux.times import iso_of_s
from unflux.track import Event, Query, Record, Response, Sample, Settings, picture
from unflux.track.ask import endpoint
from unflux.track.history import dataset_of, flush
from unflux.track.names import NameList, name_of, read
from unflux.track.pace import Paces, Rate
from unflux.track.period import estimate, moved
from unflux.track.record import heard
from unflux.track.setup import Whom, is_public_suffix, read_hints, tracker
from unflux.track.store import Store
from unflux.track.zonediff import diff
from unflux.track.zonefiles import load

NOW = 1_790_000_000.0
FORMS = {
    "list": "# list\na.test\nB[.]test extra words\nhxxps://c.test/x?y\n\n198.18.0.1\n-\n",
    "scan": json.dumps(
        {
            "summary": {},
            "findings": [
                {"name": "a.test", "verdict": "single_flux"},
                {"name": "b.test", "verdict": "ambiguous"},
                {"name": "c.test", "verdict": "ns_flux"},
                {"name": "d.test", "verdict": "not_flux"},
            ],
        }
    ),
    "ndjson": "\n".join(
        json.dumps({"flux": {"name": f"{x}.test", "verdict": "double_flux"}}) for x in "abc"
    ),
    "misp": json.dumps(
        {
            "response": [
                {
                    "Event": {
                        "Attribute": [
                            {"type": "domain", "value": "a.test"},
                            {"type": "ip-dst", "value": "198.18.0.1"},
                        ],
                        "Object": [
                            {
                                "Attribute": [
                                    {"type": "domain|ip", "value": "b.test|198.18.0.1"},
                                    {"type": "url", "value": "https://c.test/gate.php"},
                                ]
                            }
                        ],
                    }
                }
            ]
        }
    ),
    "stix": json.dumps(
        {
            "type": "bundle",
            "objects": [
                {"type": "domain-name", "value": "a.test"},
                {"type": "indicator", "pattern": "[domain-name:value = 'b.test'] OR [url:value = 'http://c.test/']"},
                {"type": "ipv4-addr", "value": "198.18.0.1"},
            ],
        }
    ),
    "export": json.dumps({"unflux_track": 1, "names": [{"name": f"{x}.test", "verdict": None} for x in "abc"]}),
    "strings": json.dumps(["a.test", "b.test", "c.test"]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_names_are_read_from_every_form(form: str) -> None:
    found = NameList()
    read(FORMS[form].encode(), form, found)
    assert found.names == dict.fromkeys(["a.test.", "b.test.", "c.test."], form)
    assert set(found.faults) == ({"address_not_name", "bad_name"} if form == "list" else set())


@pytest.mark.parametrize(
    "text", ["", ".", "com", "a..b", "x" * 64 + ".test", "a b.test", "http://[bad", "a\\.b.test"]
)
def test_what_is_no_name_is_a_fault(text: str) -> None:
    assert not name_of(text).endswith("."), text


def test_broken_json_is_counted_and_located() -> None:
    found = NameList()
    read(b'{"verdict": "single_flux", "name": "a.test"}\n{broken\n', "x", found)
    assert list(found.names) == ["a.test."]
    assert found.faults["bad_json"].position == 2


def test_servers_are_addresses_and_never_names() -> None:
    assert endpoint("198.18.0.53").port == 53
    assert endpoint("[2001:db8::1]:5353").address == "2001:db8::1"
    assert endpoint("2001:db8::1").port == 53
    assert endpoint("tls://198.18.0.53#dns.example").host == "dns.example"
    for wrong in ("dns.example", "ftp://198.18.0.1", "198.18.0.1:0", "198.18.0.1:99999"):
        with pytest.raises(ValueError, match=r"server|port"):
            endpoint(wrong)


def test_who_is_asked_must_be_said() -> None:
    for whom in (Whom(), Whom(authoritative=True), Whom(("198.18.0.1",), True, Path("x"))):
        with pytest.raises(ValueError, match=r"--"):
            whom.check()


def test_only_public_name_servers_are_asked(tmp_path: Path) -> None:
    hints = tmp_path / "hints"
    hints.write_text(". 3600000 NS a.root.test.\na.root.test. 3600000 A 198.18.0.1\n")
    assert read_hints(hints) == ["198.18.0.1"]
    made = tracker(
        Store(tmp_path / "t"), Whom((), True, hints, ("198.19.0.0/16",)), Settings(), NOW, 1
    )
    allowed = made.cuts.is_allowed
    assert [allowed(one) for one in ("198.18.0.1", "198.19.1.1", "8.8.8.8")] == [True] * 3
    assert not any(map(allowed, ["127.0.0.1", "10.0.0.1", "224.0.0.251", "::1", "198.18.0.2", "x"]))
    assert [is_public_suffix(zone) for zone in ("com.", "co.uk.", "example.com.")] == [
        True,
        True,
        False,
    ]


def response(number: int) -> tuple[Query, Response]:
    query = Query(number, "a.test.", "A", "198.18.0.53", True, "address", "a.test.")
    record = Record("answer", "a.test.", "A", 60, f"198.18.0.{number}")
    return query, Response("NOERROR", False, (record,))


@pytest.mark.parametrize("crash", ["none", "before", "sealed", "taken_in"])
def test_a_crash_while_history_is_written_loses_and_doubles_nothing(
    tmp_path: Path, crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    kept = [heard(*response(number), int((NOW + number) * 1e6)) for number in range(1, 6)]
    with store.transaction():
        store.put_heard([one for one in kept if one], [Event(NOW, "a.test.", "state", {})], [])
    if crash != "none":
        where = {"before": "seal", "sealed": "unseal", "taken_in": "unseal"}[crash]
        with monkeypatch.context() as patch:
            if crash == "sealed":
                patch.setattr("unflux.track.history._take_in", _die)
            else:
                patch.setattr(Store, where, _die)
            with pytest.raises(KeyboardInterrupt):
                flush(tmp_path)
    flush(tmp_path)
    assert flush(tmp_path) == 0
    from unflux import sightings

    table = sightings.reduce([dataset_of(tmp_path)]).sightings_table()
    assert table.num_rows == 5
    assert table.column("count_raw").to_pylist() == [1] * 5
    assert table.column("vantage").unique().to_pylist() == ["upstream"]
    assert list((tmp_path / "spool").iterdir()) == []
    store.close()


def _die(*_arguments: object) -> None:
    raise KeyboardInterrupt


def moving(every_s: float, period_s: float, n: int, phase_s: float = 0.0) -> list[Sample]:
    """A zone whose servers move by the clock, looked at every so often."""
    times = [NOW + every_s * number for number in range(n)]
    return [
        Sample(at, "a.test.", "parent", (f"ns {int((at - phase_s) // period_s)}",)) for at in times
    ]


def test_a_period_is_estimated_between_changes_and_bounded_beyond() -> None:
    found = estimate(moving(100, 777, 200))
    assert found.seconds == pytest.approx(777, rel=0.005)
    bound = estimate(moving(900, 300, 200))
    assert (bound.seconds, bound.at_most_s) == (None, pytest.approx(900, rel=0.01))
    assert not estimate(moving(100, 1e12, 200)).moves


@settings(max_examples=25, deadline=None)
@given(
    period_s=st.floats(60, 8000),
    share=st.floats(0.05, 0.97),
    n_periods=st.integers(8, 30),
    phase=st.floats(0, 1),
)
def test_a_period_lies_in_its_range_and_the_range_narrows(
    period_s: float, share: float, n_periods: int, phase: float
) -> None:
    n = int(n_periods / share) + 2
    found = estimate(moving(period_s * share, period_s, n, phase * period_s))
    if found.seconds is None:  # looks nearly as rare as moves may all have found one
        assert found.at_most_s is not None
        assert found.at_most_s * (1 + 1e-9) >= period_s
        return
    assert found.between_s is not None
    low, high = found.between_s
    assert low <= period_s <= high
    if share <= 0.5:
        assert abs(found.seconds / period_s - 1) <= 0.1


def test_servers_that_are_replaced_in_between_hide_no_period() -> None:
    """Four move every 1000 s; every 150 s on average two of them died and are replaced."""
    chance, members, found = random.Random(1), [0, 1, 2, 3], []  # noqa: S311
    for number in range(1200):
        if number % 100 == 0:
            members = [number * 10 + place for place in range(4)]
        elif chance.random() < 10 / 150:
            members[2:] = [number * 10, number * 10 + 1]
        seen = tuple(sorted(f"ns {one}" for one in members))
        found.append(Sample(NOW + 10.0 * number, "a.test.", "parent", seen))
    assert estimate(found).seconds == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize("every_s", [100, 700, 1400])
def test_servers_that_move_by_halves_have_the_period_of_a_half(every_s: float) -> None:
    """The longer one does not look, the more often both halves have moved: that is no move of all."""
    found = []
    for number in range(300):
        moves = int(number * every_s // 1000)
        seen = tuple(sorted((f"ns a{(moves + 1) // 2}", f"ns b{moves // 2}")))
        found.append(Sample(NOW + every_s * number, "a.test.", "parent", seen))
    told = estimate(found)
    if every_s < 1000:
        assert told.seconds == pytest.approx(1000, rel=0.01)
    else:
        assert told.seconds is None and told.at_most_s == pytest.approx(1400, rel=0.01)


@pytest.mark.parametrize("others", [(), (7,), (7, 19), (3, 21), (5, 15, 25), (4, 9, 23)])
def test_a_few_moves_of_all_servers_are_no_clock(others: tuple[int, ...]) -> None:
    """Two of four move every 600 s; the other two did so, too, once in a while."""
    found = []
    for number in range(300):
        moves = number * 60 // 600
        rest = sum(one <= moves for one in others)
        seen = tuple(
            sorted(f"ns {one}" for one in (f"a{moves}", f"b{moves}", f"c{rest}", f"d{rest}"))
        )
        found.append(Sample(NOW + 60.0 * number, "a.test.", "parent", seen))
    assert estimate(found).seconds == pytest.approx(600, rel=0.01)


def test_servers_that_move_at_odd_times_have_a_mean_and_no_range() -> None:
    chance = random.Random(3)  # noqa: S311
    moves = list(accumulate(chance.expovariate(1 / 600) for _ in range(60)))
    samples = [
        Sample(NOW + at, "a.test.", "child", (f"ns {bisect(moves, at)}",))
        for at in range(0, 24_000, 120)
    ]
    found = estimate(samples)
    assert found.between_s is None
    assert found.seconds == pytest.approx(600, rel=0.4)  # some 40 moves: one sigma is 16 %


def test_one_name_server_that_is_replaced_is_no_move() -> None:
    def sample(at_s: float, *addresses: int) -> Sample:
        members = tuple(f"ns{place}.a.test. 198.18.0.{one}" for place, one in enumerate(addresses))
        return Sample(at_s, "a.test.", "child", members)

    assert not moved(sample(0, 1, 2, 3), sample(1, 1, 2, 9))
    assert moved(sample(0, 1, 2, 3), sample(1, 1, 8, 9))
    replaced = [sample(60.0 * n, 1, 2, n) for n in range(50)]
    assert estimate(replaced).n_changes == 0


def test_budgets_fill_from_the_last_query_before_a_restart() -> None:
    rate = Rate(0.1, 30)
    assert Paces().bucket("name", "a.test.", rate, 1000.0).tokens == 30
    assert Paces(1000.0).bucket("name", "a.test.", rate, 1000.0).wait_s(1000.0) == pytest.approx(10)
    assert Paces(1000.0).bucket("name", "a.test.", rate, 1050.0).tokens == pytest.approx(5)
    assert Paces(1000.0).bucket("name", "a.test.", rate, 9999.0).tokens == 30


def test_moving_delegations_rank_first() -> None:
    zones = ROOT / "tests" / "zones"
    found = diff(load(str(zones / "old.zone")), load(str(zones / "new.zone")))
    rows = {one["name"]: one for one in found["delegations"]}
    assert list(rows) == ["mother.test", "quiet.test", "moved.test"]
    assert (rows["mother.test"]["glue_changes"], rows["mother.test"]["ns_changes"]) == (4, 0)
    assert rows["quiet.test"]["shared_name_servers"] == ["ns1.mother.test"]
    assert (rows["moved.test"]["glue_changes"], rows["moved.test"]["ns_changes"]) == (0, 2)
    assert found["summary"]["glue_changed"] == 2
    assert (found["summary"]["added"], found["summary"]["removed"]) == (1, 1)


def test_the_commands_work_together(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    done = cli("track", "add", "--from", "-", "--dir", folder, stdin=b"www.a.test\n10.0.0.1\n")
    assert done.returncode == 0
    assert "1 address_not_name" in done.stderr
    shown = cli("track", "show", "www.a.test", "--dir", folder, "--svg", tmp_path / "p.svg")
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    assert cli("track", "show", "other.test", "--dir", folder).returncode == 1
    assert cli("track", "run", "--dir", folder).returncode == 2
    assert cli("track", "list", "--dir", tmp_path / "none").returncode == 1
    dry = cli("track", "run", "--dir", folder, "--resolver", "198.18.0.53", "--dry-run")
    assert "www.a.test. A" in dry.stdout
    wrong = cli("track", "run", "--dir", folder, "--resolver", "198.18.0.53", "--set", "floor_s=0")
    assert wrong.returncode == 2


def test_a_picture_of_many_records_shows_all_of_the_time_and_the_name_servers() -> None:
    def record(rdata: str, at_s: int) -> dict[str, Any]:
        at = iso_of_s(NOW + at_s)
        return {"owner": "ns.a.test", "rdtype": "A", "rdata": rdata, "spans": [[at, at]]}

    story = {
        "aliases": [],
        "addresses": [record(f"192.0.2.{n % 250}", n * 60) for n in range(500)],
        "name_servers": [record(f"198.51.100.{n}", n * 600) for n in range(50)],
    }
    shown = picture.some(picture.lanes(story), picture.MAX_TEXT_LANES)
    kinds = [what for what, _, _ in shown]
    assert (kinds.count("address"), kinds.count("server")) == (30, 10)
    ends = [spans[0][0] - NOW for what, _, spans in shown if what == "address"]
    assert (ends[0], ends[-1]) == (0, 499 * 60)
    assert list(picture.text(story))[-1].startswith("… and 510 more records")
    few = {**story, "addresses": story["addresses"][:5]}
    assert len(picture.some(picture.lanes(few), picture.MAX_TEXT_LANES)) == 40
