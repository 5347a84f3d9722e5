"""The model: random numbers, cache, populations, and the figures of the literature it claims."""

from __future__ import annotations

import ipaddress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unflux.lab import scenarios
from unflux.lab.model import plan
from unflux.lab.model.cache import Caches
from unflux.lab.model.hashing import below, below_one, mix, mix_one, uniform, uniform_one
from unflux.lab.model.name_servers import NameServers
from unflux.lab.model.population import Habits, Population
from unflux.lab.model.services import Service, Settings, first_distinct
from unflux.lab.model.store import SECTIONS
from unflux.lab.model.world import RCODES, World
from unflux.lab.scenarios import ScenarioError

HOUR, DAY = 3600.0, 86_400.0


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4), st.integers(1, 2**31))
def test_single_numbers_and_arrays_are_mixed_alike(keys: list[int], limit: int) -> None:
    assert mix_one(*keys) == int(mix(*keys)[0])
    assert below_one(limit, *keys) == int(below(limit, *keys)[0])
    assert uniform_one(*keys) == float(uniform(*keys)[0])
    assert 0 <= below_one(limit, *keys) < limit


def test_mixed_numbers_are_spread_evenly() -> None:
    counts = np.bincount(below(16, 7, np.arange(160_000)), minlength=16)
    # 10,000 each; the standard deviation of a binomial is 97.
    assert np.abs(counts - 10_000).max() < 5 * 97


# The resolver's cache, beside a plain one written as RFC 2181 §8 and RFC 2308 read.


@given(
    queries=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 400)), max_size=80
    ),
    ttls=st.lists(st.integers(0, 60), min_size=3, max_size=3),
    slices=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_the_cache_answers_as_a_plain_cache_does(
    queries: list[tuple[int, int, int]], ttls: list[int], slices: int
) -> None:
    queries = sorted(queries, key=lambda query: query[2])
    fetches: list[tuple[int, float]] = []

    def fetch(units: np.ndarray, times: np.ndarray) -> np.ndarray:
        first = len(fetches)
        fetches.extend(zip(units.tolist(), times.tolist(), strict=True))
        return np.arange(first, len(fetches))

    def keep_s(units: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.array([float(ttls[unit]) for unit in units.tolist()])

    caches, got = Caches(2, 3), []
    for part in np.array_split(np.arange(len(queries)), slices):
        some = [queries[place] for place in part.tolist()]
        columns = np.array(some, float).reshape(-1, 3)
        resolver, unit = columns[:, 0].astype(int), columns[:, 1].astype(int)
        versions, since, missed = caches.answer(resolver, unit, columns[:, 2], fetch, keep_s)
        got += list(zip(versions.tolist(), since.tolist(), missed.tolist(), strict=True))
    plain: dict[tuple[int, int], tuple[float, float]] = {}
    for (resolver_, unit_, time), (version, since_, missed_) in zip(queries, got, strict=True):
        held = plain.get((resolver_, unit_))
        if held is None or time >= held[1]:
            plain[resolver_, unit_] = (time, time + ttls[unit_])
            assert missed_
        else:
            assert not missed_
        assert since_ == plain[resolver_, unit_][0]
        assert fetches[version] == (unit_, since_)


# The address plan.


def test_the_ten_largest_networks_hold_as_much_as_holz_measured() -> None:
    sizes = sorted((len(one.prefixes) for one in plan.of_kind("access")), reverse=True)
    assert sum(sizes[:10]) / sum(sizes) == pytest.approx(0.433, abs=0.02)  # Holz et al. 2008


def test_every_address_is_reserved_and_belongs_to_one_network() -> None:
    firsts = [first for one in plan.plan() for first in one.prefixes]
    assert len(set(firsts)) == len(firsts)
    assert min(firsts) >= int(plan.LAB_V4[0])
    assert max(firsts) + plan.PREFIX_SIZE <= plan.INFRASTRUCTURE


@given(n_clients=st.integers(1, 8_000), back_ends=st.lists(st.integers(1, 8), max_size=40))
def test_no_two_hosts_of_the_lab_share_an_address(n_clients: int, back_ends: list[int]) -> None:
    wanted = dict(enumerate(back_ends))
    clients = range(plan.CLIENTS_FROM, plan.CLIENTS_FROM + n_clients)
    resolvers = range(plan.RESOLVERS_FROM, plan.RESOLVERS_FROM + plan.N_RESOLVERS)
    servers = [plan.ROOT_SERVER, plan.TLD_SERVER, plan.SINKHOLE]
    if plan.hosts_left(n_clients, sum(back_ends)) < 0:
        return
    hidden = [address for some in plan.hidden_servers(wanted).values() for address in some]
    every = [*clients, *resolvers, *servers, *hidden]
    assert len(set(every)) == len(every)
    assert max(every) <= int(plan.LAB_V4[-1])


def test_fixed_name_servers_are_never_root_or_top_level() -> None:
    services = [(f"s{number}", Settings(domains=40, ns_shared=False)) for number in range(50)]
    world = World(services, 3, 0.0)
    units = world.zone_delegation[world.zone_delegation >= 0]
    found = {one for unit in units.tolist() for one in world.fixed_name_servers(unit)}
    # 4,000 draws out of 8,192 addresses: 31 are expected among the first 64, if they were allowed.
    assert len(found) > 3_000
    assert min(found) >= plan.INFRASTRUCTURE + plan.N_RESERVED
    assert max(found) < plan.CLIENTS_FROM


def test_a_scenario_with_more_hosts_than_addresses_is_told_so() -> None:
    service = {"preset": "pharma", "count": 100, "back_ends": 4, "domains": 1, "population": 100}
    assert scenarios.check({"clients": 7_700, "service": [service]}) == []
    [error] = scenarios.check({"clients": 7_800, "service": [service]})
    # 8,192 addresses, less 64 of resolvers and the sinkhole's: 8,127 for 7,800 and 400.
    assert error.startswith("7800 clients and 400 hidden servers")
    assert "73 more than there are addresses for" in error
    with pytest.raises(ValueError, match="addresses at most"):
        plan.hidden_servers(dict.fromkeys(range(1100), 8))


# Populations.


def habits(**changes: object) -> Habits:
    values = {
        "size": 2000, "kinds": ("access",), "n_asns": 0, "lifetime_h": 24.0, "lease_h": 24.0,
        "uptime": 0.5, "list_size": 40, "stay_h": 2.0,
    } | changes  # fmt: skip
    return Habits(**values)  # type: ignore[arg-type]


def test_hosts_leave_at_the_rate_of_their_lifetime() -> None:
    people = Population(habits(uptime=1.0), 5)
    people.advance(0.0)
    for tick in range(1, 24 * 6 + 1):
        people.advance(tick * 600.0)
    # In one mean lifetime each place changes hands once on average, and in Poisson counts.
    assert people.born.mean() == pytest.approx(1.0, abs=0.1)
    assert (people.born == 0).mean() == pytest.approx(np.exp(-1), abs=0.05)


def test_hosts_are_online_for_their_share_of_the_day() -> None:
    people = Population(habits(uptime=0.3), 5)
    share = np.mean([people.online(hour * HOUR).mean() for hour in range(24)])
    assert share == pytest.approx(0.3, abs=0.03)


def test_a_listed_host_stays_for_its_time() -> None:
    people = Population(habits(lifetime_h=0.0, lease_h=0.0, uptime=1.0, size=5000), 5)
    listed: dict[int, int] = {}
    stays = []
    for tick in range(6 * 48):
        people.advance(tick * 600.0)
        members = set(people.members.tolist())
        stays += [tick - since for host, since in listed.items() if host not in members]
        listed = {host: listed.get(host, tick) for host in members}
    # Exponential with mean 2 h, seen in steps of 10 minutes: 12 and a half steps more or less.
    assert np.mean(stays) == pytest.approx(12.5, rel=0.15)


# What flux networks show, against literature (research notes, §3).


def flux(preset: str) -> Settings:
    """A preset in the middle of its ranges."""
    table = scenarios.presets()[preset]
    middle = {
        key: value[0] + (value[1] - value[0]) / 2 if isinstance(value, list) and
        isinstance(value[0], int | float) and len(value) == 2 else value
        for key, value in table.items() if key in scenarios.SETTING_NAMES
    }  # fmt: skip
    for key, value in middle.items():
        default = scenarios.DEFAULTS[key]
        if isinstance(default, tuple):
            middle[key] = tuple(value)
        elif isinstance(default, int) and not isinstance(default, bool):
            middle[key] = round(value)
    return Settings(**middle)


def answers(service: Service, hours: float, every_s: float) -> list[list[int]]:
    """What a client sees of domain 0 that asks every `every_s`."""
    found = []
    for start in np.arange(0, hours * HOUR, 900.0):
        service.advance(start, start + 900.0)
        times = np.arange(start, start + 900.0, every_s)
        domains = np.zeros(len(times), np.int64)
        steps = service.steps(domains, times)
        found += service.pick(domains, domains, steps, times, service.settings.k).lists()
    return found


def distinct(found: list[list[int]]) -> int:
    return len({address for answer in found for address in answer})


def test_pharma_grows_as_fluxor_and_holz_saw() -> None:
    found = answers(Service("pharma", flux("pharma"), 11), 24, 240.0)
    # FluXOR: 98.1 +- 37.3 addresses in three hours; Holz fig. 8: hundreds in half a day to a day.
    assert 98.1 - 37.3 <= distinct(found[:45]) <= 98.1 + 37.3
    assert 200 <= distinct(found) <= 600


def test_consecutive_answers_overlap_as_a_draw_from_a_short_list_does() -> None:
    found = answers(Service("pharma", flux("pharma"), 11), 6, 240.0)
    kept = [len(set(a) & set(b)) / len(b) for a, b in pairwise(found)]
    # Ten of about 42 at random share k/L = 0.21 with the next ten; Hsu counted 3 of 10, Holz 0 of 5.
    assert np.mean(kept) == pytest.approx(0.21, abs=0.06)


def test_answers_are_spread_over_networks_as_in_2011() -> None:
    network = {first: one.asn for one in plan.plan() for first in one.prefixes}
    found = answers(Service("pharma", flux("pharma"), 11), 6, 240.0)
    spread = [
        len({network[address - address % plan.PREFIX_SIZE] for address in answer})
        for answer in found
    ]
    assert 6 <= np.median(spread) <= 9  # median 8 of 10 in 29 answers


def test_domains_of_one_network_share_their_agents() -> None:
    service = Service("pharma", flux("pharma"), 11)
    first: set[int] = set()
    second: set[int] = set()
    for start in np.arange(0, 6 * HOUR, 900.0):
        service.advance(start, start + 900.0)
        times = np.arange(start, start + 900.0, 240.0)
        for domain, seen in ((0, first), (1, second)):
            domains = np.full(len(times), domain, np.int64)
            zeros = np.zeros(len(times), np.int64)
            picked = service.pick(domains, zeros, service.steps(domains, times), times, 10)
            seen |= set(picked.addresses.tolist())
    # FluXOR: two domains of one network shared 81 % of their agents.
    assert len(first & second) / min(len(first), len(second)) > 0.7


def drawn(preset: str, n: int, directory: Path) -> list[Service]:
    """Services of a preset, each with its own draw out of the ranges."""
    (directory / "own.toml").write_text(f'[[service]]\npreset = "{preset}"\ncount = {n}\n')
    services = scenarios.load(str(directory / "own.toml")).services
    return [Service(name, one, 11 + place) for place, (name, _, one) in enumerate(services)]


def test_storm_gives_another_agent_to_each_query(tmp_path: Path) -> None:
    for service in drawn("storm", 8, tmp_path):
        found = answers(service, 1, 2.0)
        assert {len(answer) for answer in found} == {1}
        assert 300 <= distinct(found) <= 500  # Nazario & Holz: distinct addresses an hour


def test_a_young_network_grows_slowly(tmp_path: Path) -> None:
    found = [answers(service, 3, 240.0) for service in drawn("slow", 12, tmp_path)]
    assert all(3 <= distinct(one[:15]) <= 5 for one in found)  # FluXOR: 3-5 in the first hour …
    assert 7 <= np.median([distinct(one) for one in found]) <= 8  # … and 7-8 after three


def test_rock_phish_shows_as_many_addresses_in_four_days_as_holz_counted(tmp_path: Path) -> None:
    found = [distinct(answers(service, 96, 600.0)) for service in drawn("rock", 8, tmp_path)]
    assert np.median(found) == pytest.approx(1_121, rel=0.1)  # regs26.com
    assert 900 <= min(found) <= max(found) <= 1_350


def test_a_time_pool_is_larger_than_anyone_sees_in_an_hour() -> None:
    found = answers(Service("pool", flux("time_pool"), 11), 1, 130.0)
    assert {len(answer) for answer in found} == {4}
    assert distinct(found) > 0.9 * 4 * len(found)


@given(st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=9))
def test_an_answer_holds_each_address_once(rows: list[list[int]]) -> None:
    found = first_distinct(np.array(rows), 3)
    for row, kept in zip(rows, found.tolist(), strict=True):
        assert [one for one in kept if one >= 0] == list(dict.fromkeys(row))[:3]


# Name servers that rotate.


def moved(every_s: float, hours: float = 12) -> tuple[Service, list[tuple[float, list[int]]]]:
    """The changes of the name servers of domain 3, played in slices of `every_s`."""
    service = Service("slow", flux("double_slow"), 11)
    servers, found = NameServers(service, 0.0), []
    for start in np.arange(0, hours * HOUR, every_s):
        service.advance(start, start + every_s)
        servers.advance(start, start + every_s)
        found += servers.changes(3, start, start + every_s)
    return service, found


def test_name_servers_stay_for_their_period_unless_they_leave_the_list() -> None:
    service, changes = moved(300.0)
    period_s, count = service.settings.ns_period_s, service.settings.ns_count
    listed = Service("slow", flux("double_slow"), 11)
    listed.advance(0.0, 12 * HOUR)
    n_replaced = n_periods = 0
    for (_, before), (now_s, after) in pairwise(changes):
        live = set(listed.list_at(0, now_s))
        assert set(after) <= live
        assert len(set(after)) == len(after) == count
        if now_s % period_s == 0:
            n_periods += 1
            continue
        n_replaced += 1
        for old, new in zip(before, after, strict=True):
            assert old == new or old not in live, "only who is gone is replaced, in its place"
    # Three periods of three hours end in twelve; hosts stay on the list for 2.5 hours on average,
    # so that of some four name servers a dozen are replaced, and 30 at the very most.
    assert n_periods == 3
    assert 4 <= n_replaced <= 30


def test_name_servers_do_not_depend_on_how_time_is_cut() -> None:
    assert moved(300.0)[1] == moved(3600.0)[1] == moved(4320.0)[1]


# The world: what is asked, and what is answered.


def records(world: World, unit: int, now_s: float) -> tuple[str, list[tuple[str, ...]]]:
    """Rcode, and (section, owner, rdtype, rdata) of what a unit answers."""
    version = int(world.fetch(np.array([unit]), np.array([now_s]))[0][0])
    held = world.versions
    rows = range(held.start[version], held.start[version] + held.count[version])
    return RCODES[held.rcode[version]], [
        (
            SECTIONS[held.section[row]],
            world.names.texts[held.owner[row]],
            world.rdtypes.texts[held.rdtype[row]],
            world.rdata.texts[held.rdata[row]],
        )
        for row in rows
    ]


def test_mail_pools_name_their_exchanges_and_give_their_addresses() -> None:
    settings_ = Settings(rdtype="MX", k=3, population=50, list_size=40, rotation_s=600.0)
    world = World([("mail", settings_)], 5, 0.0)
    world.advance(0.0, 900.0)
    (_, main, _), (_, first, rdtype) = world.questions
    rcode, found = records(world, main, 10.0)
    [name] = {owner for section, owner, *_ in found if section == "answer"}
    answers = [one for one in found if one[0] == "answer"]
    assert rcode == "NOERROR"
    assert [one[3] for one in answers] == [
        f"10 mx1.{name}", f"20 mx2.{name}", f"30 mx3.{name}"
    ]  # fmt: skip
    glue = {owner: rdata for section, owner, kind, rdata in found if section == "additional"}
    assert sorted(glue) == [f"mx1.{name}", f"mx2.{name}", f"mx3.{name}"]
    # Who then asks for the exchange gets the same address, under its own name.
    assert world.rdtypes.texts[rdtype] == "A"
    assert records(world, first, 10.0)[1] == [("answer", f"mx1.{name}", "A", glue[f"mx1.{name}"])]
    assert [world.rdtype_of(unit) for unit in (main, first)] == ["MX", "A"]


def test_what_caches_are_told_to_keep_is_what_they_then_get() -> None:
    """TTLs, negative answers (RFC 2308: the SOA minimum) and failures (not kept at all)."""
    scenario = scenarios.load("small")
    services = [(name, settings_) for name, _, settings_ in scenario.services]
    world = World(services, scenario.seed, scenario.start_s)
    world.advance(scenario.start_s, scenario.start_s + 900.0)
    units = np.tile(np.arange(len(world.unit_kind)), 2)
    times = scenario.start_s + np.linspace(0, 899, len(units))
    versions, kept_s = world.fetch(units, times)
    assert np.array_equal(world.keep_s(units, times), kept_s)
    rcodes = world.versions.of("rcode", versions)
    assert set(kept_s[rcodes == RCODES.index("SERVFAIL")].tolist()) == {0}
    assert set(kept_s[rcodes == RCODES.index("NXDOMAIN")].tolist()) == {900}


@pytest.mark.parametrize("rdtype", ["A", "AAAA"])
def test_who_sleeps_is_parked_and_who_has_ended_is_gone(rdtype: str) -> None:
    settings_ = Settings(rdtype=rdtype, k=4, start_h=1.0, end_h=3.0, networks=("access",))
    world = World([("sleeper", settings_)], 5, 0.0)
    found = []
    for start in np.arange(0.0, 4 * HOUR, 900.0):
        world.advance(start, start + 900.0)
        found.append(records(world, world.questions[0][1], start))
    assert {rcode for rcode, _ in found[:12]} == {"NOERROR"}
    assert {len(rows) for _, rows in found[:4]} == {1}
    parked = ipaddress.ip_address(found[0][1][0][3])
    assert int(parked) % 2**32 >= plan.INFRASTRUCTURE
    assert {len(rows) for _, rows in found[4:12]} == {4}
    assert {rcode for rcode, _ in found[12:]} == {"NXDOMAIN"}


def test_no_such_name_is_said_by_the_top_level_domain_of_the_name() -> None:
    world = World([("noise", Settings(exists=False, domains=50))], 5, 0.0)
    for _, unit, _ in world.questions:
        rcode, [(section, owner, rdtype, _)] = records(world, unit, 10.0)
        name = world.names.texts[int(world.unit_owner[unit])]
        assert (rcode, section, rdtype) == ("NXDOMAIN", "authority", "SOA")
        assert name.endswith(f".{owner}")


def test_texts_without_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unflux.lab.model.world.MAX_PASSING", 100)
    world = World([("hints", Settings(rdtype="HTTPS", k=4, rotation_s=1.0))], 5, 0.0)
    unit, n_texts = world.questions[0][1], []
    for start in np.arange(0.0, 3600.0, 300.0):
        world.advance(start, start + 300.0)
        for now_s in np.arange(start, start + 300.0, 2.0).tolist():
            records(world, unit, now_s)
        world.drop_all_but(np.zeros(0, np.int64))
        n_texts.append(len(world.rdata.texts))
    assert n_texts[-1] <= n_texts[1]  # 1,800 hints in all, 150 in a slice


def test_hosting_never_rotates() -> None:
    found = answers(Service("static", flux("static"), 11), 3, 300.0)
    assert distinct(found) == 1


# Scenarios.


@pytest.mark.parametrize("name", scenarios.names())
def test_every_scenario_that_comes_with_unflux_is_right(name: str) -> None:
    assert scenarios.load(name).services


def test_every_preset_is_right_and_says_where_its_numbers_come_from() -> None:
    for name, preset in scenarios.presets().items():
        assert scenarios.check({"service": [{"preset": name}]}) == []
        assert preset["about"]
        assert "lit" in preset["source"] or "20" in preset["source"] or "ours" in preset["source"]


def test_all_errors_are_told_at_once() -> None:
    content = {
        "hours": -1,
        "colour": "red",
        "service": [
            {"preset": "pharma", "k": 99, "networks": ["moon"], "ttl_s": [300, 60]},
            {"preset": "nosuch"},
            {"flux": True, "labels": ["bad label!"]},
            {"ns": "rotating"},
        ],
    }
    errors = scenarios.check(content)
    assert len(errors) == 9
    with pytest.raises(ScenarioError, match="none of the scenarios"):
        scenarios.load("nosuch")


def test_the_suites_hold_every_preset() -> None:
    for suite in ("small", "medium", "large"):
        held = {preset for _, preset, _ in scenarios.load(suite).services}
        assert held == set(scenarios.presets()), suite
    live = {preset for _, preset, _ in scenarios.load("live").services}
    assert live >= {name for name, preset in scenarios.presets().items() if preset.get("flux")}


def test_splits_share_no_name_and_no_network() -> None:
    names: list[str] = []
    networks: list[str] = []
    for split in scenarios.SPLITS:
        scenario = scenarios.load("medium", split=split)
        services = [(name, settings_) for name, _, settings_ in scenario.services]
        world = World(services, scenario.seed, scenario.start_s, part=scenario.part)
        names += {one.name for one in world.named}
        networks += {name for name, _ in services}
    # Some 16,000 names each; drawn out of one set, each two splits shared about 250.
    assert len(set(names)) == len(names) > 45_000
    assert len(set(networks)) == len(networks)


def test_numbers_are_drawn_within_their_ranges_and_differ_from_seed_to_seed() -> None:
    drawn = {scenarios.load("small", seed=seed).services[1][2].ttl_s for seed in range(12)}
    assert all(180 <= ttl <= 300 for ttl in drawn)
    assert len(drawn) > 5
