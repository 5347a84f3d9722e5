"""Everything that is wrong with a scenario, as sentences, and what in it does not go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unflux.lab.model.plan import hosts_left
from unflux.lab.model.services import SETTING_NAMES
from unflux.lab.scenarios.values import (
    CHOICES,
    DEFAULTS,
    LIMITS,
    MAX_NAME,
    errors_of_value,
    highest,
    is_lab_domain,
    is_number,
    is_plain,
    lab_domain,
    lowest,
    outside,
)  # fmt: skip

TOP: dict[str, Any] = {
    "title": str,
    "suite": bool,
    "hours": (int, float),
    "clients": int,
    "resolvers": int,
    "taps": list,
    "service": list,
}
TAPS = ("clients", "upstream", "tld")
"""Vantage points: below the resolvers' caches, above them, at the servers of the top level."""
DEFAULT_TAPS = ("clients", "upstream")
DEFAULT_CLIENTS = 1_000
NOTES = {"about", "source"}
MAX_SERVICES = 1_000
TOTALS = {"domains": 1_000_000, "population": 5_000_000}
"""Highest sum over all services."""
Table = dict[str, Any]
Numbers = dict[str, float]
"""Highest or lowest values of settings."""


def errors_of(content: Table, presets: dict[str, Table]) -> list[str]:
    """Everything that is wrong with a scenario; `presets` are those there are."""
    errors = [f"{key} is not known" for key in content if key not in TOP]
    for key, kind in TOP.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kind) or _is_bool_for_number(value, kind)):
            errors.append(f"{key} has the wrong type")
        elif key in LIMITS and value is not None:
            errors += outside(key, value, key)
    errors += _check_taps(content.get("taps", list(DEFAULT_TAPS)))
    services = content.get("service")
    if not isinstance(services, list) or not services:
        return [*errors, "there is no [[service]]"]
    if len(services) > MAX_SERVICES:
        return [*errors, f"there are {len(services)} services; {MAX_SERVICES} are played at most"]
    clients = content.get("clients", DEFAULT_CLIENTS)
    merged = []
    for number, table in enumerate(services, start=1):
        if not isinstance(table, dict):
            errors.append(f"service {number} is no table")
            continue
        preset = table.get("preset")
        own = presets.get(preset, {}) if isinstance(preset, str) else {}
        merged.append((number, {**own, **table}))
        where = f"service {number}"
        errors += [f"{where}: {error}" for error in _check_service(table, presets)]
        if preset is None or own:
            errors += [f"{where}: {error}" for error in _together({**own, **table})]
        if is_number(clients) and clients >= 1 and highest(table.get("infected")) > clients:
            errors.append(f"{where}: infected is more than there are clients, {clients}")
    errors += _check_apexes(merged)
    errors += _too_many([one for _, one in merged])
    errors += _too_many_hosts(clients, [one for _, one in merged])
    return errors


def _check_taps(taps: Any) -> list[str]:
    if not isinstance(taps, list):
        return []  # told as a wrong type
    fits = taps and all(tap in TAPS for tap in taps) and len(set(taps)) == len(taps)
    return [] if fits else [f"taps are some of {', '.join(TAPS)}, each once"]


def _too_many_hosts(clients: Any, services: list[Table]) -> list[str]:
    """Clients and hidden servers share one range of addresses, in which none meets another."""
    hidden = sum(int(_most(one, "back_ends")) * _count(one) for one in services if one.get("flux"))
    if not isinstance(clients, int) or hosts_left(clients, hidden) >= 0:
        return []
    return [
        f"{clients} clients and {hidden} hidden servers (back_ends of all flux networks) are "
        f"{-hosts_left(clients, hidden)} more than there are addresses for: fewer clients, "
        "networks or back_ends"
    ]


def _too_many(services: list[Table]) -> list[str]:
    """A world is kept in memory: its names and hosts have a bound as a whole, too."""
    errors = []
    for key, most in TOTALS.items():
        total = sum(_most(one, key) * _count(one) for one in services)
        if total > most:
            errors.append(f"{key} of all services together is at most {most:g}, not {total:g}")
    return errors


def _check_apexes(services: list[tuple[int, Table]]) -> list[str]:
    """A registered domain has one owner, and is no top level of another's."""
    errors = []
    owners: dict[str, int] = {}
    for number, one in services:
        text = one.get("apex", "")
        if not text or not is_lab_domain(text):
            continue
        apex = lab_domain(text)
        if _count(one) > 1:
            errors.append(f"service {number}: apex is one domain, but count says several networks")
        elif apex in owners:
            errors.append(
                f"service {number}: apex {apex} is that of service {owners[apex]} already"
            )
        owners.setdefault(apex, number)
    for apex, number in owners.items():
        above = [other for other in owners if other != apex and apex.endswith(f".{other}")]
        errors += [
            f"service {number}: apex {apex} lies in {other}, the apex of service {owners[other]}"
            for other in above
        ]
    return errors


def _is_bool_for_number(value: object, kind: object) -> bool:
    return isinstance(value, bool) and kind is not bool


def _check_service(table: Table, presets: dict[str, Table]) -> Iterator[str]:
    """What is wrong with the settings of a service, one by one."""
    preset = table.get("preset")
    if not isinstance(preset, str | None):
        yield "preset is a name"
    elif preset is not None and preset not in presets:
        yield f"there is no preset {preset!r}; known ones: {', '.join(sorted(presets))}"
    name = table.get("name", "")
    if not isinstance(name, str) or not is_plain(name) or len(name) > MAX_NAME:
        yield (
            "name has letters, digits, hyphens, dots and underscores only, and at most "
            f"{MAX_NAME} of them"
        )
    for key, value in table.items():
        if key in {"preset", "name"} | NOTES:
            continue
        if key == "count":
            whole = isinstance(value, int) and not isinstance(value, bool)
            yield from outside(key, value, key) if whole else ["count is a whole number"]
        elif key not in SETTING_NAMES:
            yield f"{key} is not known"
        else:
            yield from errors_of_value(key, value)


def _together(one: Table) -> Iterator[str]:
    """What in a service, its preset included, does not go together."""
    high = {key: highest(one.get(key, default)) for key, default in DEFAULTS.items()}
    low = {key: lowest(one.get(key, default)) for key, default in DEFAULTS.items()}
    yield from _as_flux(one)
    yield from _in_time(one, high, low)
    yield from _among_hosts(one, high, low)
    yield from _by_name(one, high)


def _as_flux(one: Table) -> Iterator[str]:
    """Label and behaviour."""
    verdict, flux = one.get("verdict", "not_flux"), one.get("flux", False) is True
    if flux and verdict == "not_flux":
        yield "a flux network needs a verdict (single_flux, double_flux, ns_flux)"
    if not flux and verdict in CHOICES["verdict"] and verdict != "not_flux":
        yield f"verdict {verdict} is for flux networks: set flux, or leave it out"
    if flux and one.get("exists", True) is False:
        yield "a flux network has names that exist"


def _in_time(one: Table, high: Numbers, low: Numbers) -> Iterator[str]:
    """Order of what happens."""
    rotating = one.get("ns") == "rotating"
    if rotating and not high["ns_period_s"]:
        yield "name servers that rotate need ns_period_s"
    if high["end_h"] and low["end_h"] <= high["start_h"]:
        yield "it would end (end_h) before it starts (start_h)"
    if rotating and high["end_h"] and low["end_h"] <= high["ns_from_h"]:
        yield "it would end (end_h) before its name servers move (ns_from_h)"


def _among_hosts(one: Table, high: Numbers, low: Numbers) -> Iterator[str]:
    """Answers, and what they are chosen from."""
    n_hosts = min(low["list_size"], low["population"])
    for key in ("k", "ns_count") if one.get("ns") == "rotating" else ("k",):
        if 1 <= n_hosts < high[key] <= LIMITS[key][1]:
            yield (
                f"{key}, up to {high[key]:g}, is more than there are to choose from, {n_hosts:g} "
                "(list_size, population)"
            )
    if high["bogon_ratio"] and one.get("rdtype") == "AAAA":
        yield "decoys (bogon_ratio) are IPv4 addresses, which AAAA records cannot hold"
    if high["targets"] > 1 and not one.get("chain"):
        yield "targets are the ends of aliases: they need a chain"
    if high["targets"] > 1 and high["sub_networks"] > 1:
        yield "each of several targets has hosts of its own: they exclude sub_networks"


def _by_name(one: Table, high: Numbers) -> Iterator[str]:
    """Names, each of which has one owner."""
    zone = one.get("shared_zone")
    if zone and isinstance(zone, str) and high["domains"] > 1 and "{n}" not in zone:
        yield "shared_zone needs {n}, the number of the domain, for several domains"
    if one.get("apex") and (zone or one.get("exists", True) is False):
        yield "apex is the domain of a name that exists and is in no shared_zone"


def _most(one: Table, key: str) -> float:
    """The highest value of a setting; the default where it is wrong, and told so."""
    most = highest(one.get(key, DEFAULTS[key]))
    return float(DEFAULTS[key]) if outside(key, most, key) else most


def _count(one: Table) -> int:
    """How many networks a service stands for; 1 where that is wrong, and told so."""
    count = one.get("count", 1)
    return count if is_number(count) and not outside("count", count, "") else 1
