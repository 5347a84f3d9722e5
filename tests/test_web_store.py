"""The store: searches mean what they say, on both databases; migrations make the tables in use."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from unflux import pipeline
from unflux.detect import Finding
from unflux.errors import UnfluxError
from unflux.web import judging, search
from unflux.web.buckets import MAX_KEYS, Buckets
from unflux.web.search import SearchError
from unflux.web.store import Principal, Store
from unflux.web.store.schema import metadata
from web_site import World

pytest_plugins = ["web_site"]


def test_migrations_make_exactly_the_tables_in_use(new_url: str) -> None:
    store = Store(new_url)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    store.close()
    assert differences == []


def test_opening_twice_migrates_once(new_url: str) -> None:
    Store(new_url).close()
    store = Store(new_url)
    assert store.findings.scans() == []
    store.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite:////no/such/folder/x.sqlite"])
def test_a_database_that_cannot_be_used_is_said_in_a_sentence(url: str) -> None:
    with pytest.raises(UnfluxError):
        Store(url)


def _asns(one: Finding) -> set[int | None]:
    return {agent.origin_asn for agent in one.agent_list}


SEARCHES = {
    "": lambda one: True,
    "kind:flux": lambda one: one.is_flux,
    "kind:double score:>=0.8": lambda one: one.verdict == "double_flux" and one.score >= 0.8,
    "-kind:insufficient": lambda one: one.verdict != "insufficient",
    "asn:4200000001": lambda one: 4_200_000_001 in _asns(one),
    "asn:AS4200000001 country:us": lambda one: (
        4_200_000_001 in _asns(one) and "US" in {agent.country for agent in one.agent_list}
    ),
    "addresses:>40 ttl:<300": lambda one: one.n_addresses > 40 and (one.ttl_max_s or 999) < 300,
    "-ttl:<300": lambda one: not (one.ttl_max_s is not None and one.ttl_max_s < 300),
    "pool": lambda one: "pool" in one.name,
    "name:*.test confidence:high": lambda one: (
        one.name.endswith(".test") and one.confidence == "high"
    ),
    'name:"SUSE.test."': lambda one: one.name == "suse.test",
    "last:>=2026-01-05T05:50": lambda one: (one.last_seen or "") >= "2026-01-05T05:50",
    "100%_/": lambda one: "100%_/" in one.name,
    "<script>": lambda one: "<script>" in one.name,
    "clients:>=20 countries:>2": lambda one: one.n_clients >= 20 and (one.n_countries or 0) > 2,
    "triage:NEW kind:Flux": lambda one: one.is_flux,
    "triage:new": lambda one: True,
    "-triage:new": lambda one: False,
}


@pytest.mark.parametrize("line", SEARCHES)
def test_a_search_finds_what_it_says(
    line: str,
    world: World,
    judged_url: str,
    scanned: pipeline.Scan,
) -> None:
    store = Store(judged_url)
    page = store.findings.page(
        judging.scan_of(world.dataset).id, search.parse(line),
        sort="name", descending=False, offset=0, limit=1000,
    )  # fmt: skip
    store.close()
    expected = sorted(one.name for one in scanned.findings if SEARCHES[line](one))
    assert [row["name"] for row in page.rows] == expected
    assert page.total == len(expected) == sum(page.by_verdict.values())


@pytest.mark.parametrize(
    ("line", "position"),
    [
        ("score:x", 0), ("pills foo:1", 6), ("kind:odd", 0), ("name:<3", 0), ("asn:64500x", 0),
        ("first:yesterday", 0), ("score:nan", 0), ("a\x00b", 1), ("triage:old", 0),
        ("x " * 21, 40), ("a" * 501, 500), ('name:" "', 0), ("pills kind:", 6),
        ("ip:198.18.0.0/24", 0),
    ],
)  # fmt: skip
def test_a_wrong_search_says_where(line: str, position: int) -> None:
    with pytest.raises(SearchError) as caught:
        search.parse(line)
    assert caught.value.position == position
    assert str(caught.value)


def test_a_name_in_other_letters_is_searched_as_the_dns_has_it() -> None:
    [term] = search.parse("MÜLLER.test")
    assert term.value == "xn--mller-kva.test"
    [term] = search.parse("ip:2001:DB8:0::1")
    assert term.value == "2001:db8::1"


@given(st.text(max_size=520))
def test_any_text_is_terms_or_an_error(line: str) -> None:
    try:
        terms = search.parse(line)
    except SearchError as error:
        assert 0 <= error.position <= len(line)
        return
    assert all(term.field in (*search.FIELDS, "text") for term in terms)


def test_triage_and_notes_belong_to_the_name(new_url: str) -> None:
    store = Store(new_url)
    cases = store.cases
    assert cases.state("a.test") == "new"
    cases.set_state(["a.test", "b.test"], "watching", "ann")
    cases.set_state(["a.test"], "confirmed", "bob")
    assert (cases.state("a.test"), cases.state("b.test")) == ("confirmed", "watching")
    cases.set_state(["b.test"], "new", "bob")
    assert cases.state("b.test") == "new"
    note = cases.add_note("a.test", "looked at it", "ann")
    assert [one.text for one in cases.notes("a.test")] == ["looked at it"]
    assert not cases.remove_note("b.test", note.id), "a note is removed under its own name only"
    assert cases.remove_note("a.test", note.id)
    assert cases.notes("a.test") == []
    with pytest.raises(ValueError, match="a state is one of"):
        cases.set_state(["a.test"], "gone", "ann")
    store.close()


def test_a_token_is_known_by_its_secret_until_it_is_revoked(new_url: str) -> None:
    access = Store(new_url).access
    token, secret = access.add_token("siem", "read")
    assert access.principal(secret) == Principal("siem", "read")
    assert access.principal(secret[:-1]) is None
    with pytest.raises(UnfluxError, match="already"):
        access.add_token("siem", "admin")
    assert access.remove_token(token.id)
    assert access.principal(secret) is None


def test_judging_again_replaces_findings_and_keeps_triage(new_url: str, world: World) -> None:
    store = Store(new_url)
    scan = judging.scan_of(world.dataset)
    first = judging.judge(store, scan, world.options)
    store.cases.set_state(["suse.test"], "confirmed", "ann")
    kept = store.findings.scan(scan.id)
    assert kept is not None
    assert judging.judge(store, kept, world.options).current, "nothing changed: nothing is done"
    from dataclasses import replace

    other = replace(world.options, detector_id="holz2008")
    again = judging.judge(store, kept, other)
    assert not again.current
    assert again.names == first.names == store.findings.count()
    assert sum(again.changes.values()) > 0
    now = store.findings.scan(scan.id)
    assert now is not None
    assert (now.detector_id, store.cases.state("suse.test")) == ("holz2008", "confirmed")
    back = judging.judge(store, now, world.options)
    assert back.changes == {(new, old): n for (old, new), n in again.changes.items()}
    store.close()


def test_a_bucket_refills_and_the_quiet_are_forgotten() -> None:
    buckets = Buckets(rate_per_s=2, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a", 0.0) == 0.5
    assert buckets.take("b", 0.0) == 0.0, "each key has a bucket of its own"
    assert buckets.take("a", 0.5) == 0.0
    for number in range(MAX_KEYS + 5):
        buckets.take(str(number), 1.0)
    assert len(buckets._left) == MAX_KEYS
    assert Buckets(0, 0).take("a", 0.0) == 0.0, "0 is no limit"
