"""Scenario files (TOML): read, checked as a whole, and drawn into services.

Scenarios that come with unflux stand beside this file; `presets.toml` has the kinds of operators.
"""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from unflux import __version__
from unflux.errors import UnfluxError
from unflux.lab.model.hashing import key_of, mix_one, uniform_one
from unflux.lab.model.plan import KINDS, LAB_SUFFIXES, N_RESOLVERS, hosts_left
from unflux.lab.model.services import NS_KINDS, RDTYPES, SELECTIONS, SETTING_NAMES, Settings

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday; each split of a suite begins a week after the one before."""
SPLITS = ("train", "validation", "test")
DEFAULTS: dict[str, Any] = {one.name: one.default for one in fields(Settings)}
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
TUPLES = {"networks", "chain", "labels"}
LIMITS = {
    "hours": (0.01, 24 * 366),
    "clients": (1, 8_000),
    "resolvers": (1, N_RESOLVERS),
    "domains": (1, 500_000),
    "sub_networks": (1, 16),
    "k": (1, 32),
    "ttl_s": (0, 604_800),
    "rotation_s": (0, 604_800),
    "step": (0, 32),
    "population": (1, 50_000),
    "list_size": (1, 20_000),
    "refresh_s": (60, 86_400),
    "stay_h": (0, 10_000),
    "lifetime_h": (0, 100_000),
    "lease_h": (0, 10_000),
    "uptime": (0.01, 1),
    "asns": (0, 200),
    "bogon_ratio": (0, 1),
    "failure_ratio": (0, 1),
    "targets": (1, 16),
    "switch_s": (0, 604_800),
    "ns_count": (1, 13),
    "ns_ttl_s": (1, 604_800),
    "ns_period_s": (0, 604_800),
    "delegation_ttl_s": (1, 604_800),
    "start_h": (0, 10_000),
    "end_h": (0, 10_000),
    "ns_from_h": (0, 10_000),
    "takedowns_per_day": (0, 1_000),
    "hops": (1, 4),
    "back_ends": (1, 8),
    "visits_per_h": (0, 1_000_000),
    "infected": (0, 8_000),
    "poll_s": (1, 604_800),
    "popularity": (0, 3),
    "count": (1, 1_000),
}
"""Lowest and highest value of every number."""
MAX_SERVICES = 1_000
TOTALS = {"domains": 1_000_000, "population": 5_000_000}
"""Highest sum over all services."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario, drawn with a seed."""

    name: str
    title: str
    hours: float
    clients: int
    resolvers: int
    services: list[tuple[str, str, Settings]]
    """(name of the service, name of its preset, settings)."""
    seed: int
    """The drawn one: of the given seed, the split and the scenario's name."""
    start_s: float
    split: str | None
    taps: tuple[str, ...] = DEFAULT_TAPS
    """Where responses are captured (see `TAPS`)."""
    given_seed: int = 1
    sha256: str = ""
    """Of the scenario's text."""

    def origin(self) -> dict[str, Any]:
        """Everything that decides what is drawn and written, for the card."""
        return {
            "unflux": __version__,
            "numpy": metadata.version("numpy"),
            "pyarrow": metadata.version("pyarrow"),
            "scenario": self.name,
            "scenario_sha256": self.sha256,
            "presets_sha256": _sha256_of(text_of_presets()),
            "title": self.title,
            "seed": self.given_seed,
            "drawn_seed": self.seed,
            "split": self.split,
        }


class ScenarioError(UnfluxError):
    """A scenario that is wrong; the message has one line for each thing."""


def names() -> list[str]:
    """Scenarios that come with unflux."""
    files = resources.files(__package__).iterdir()
    found = (Path(file.name) for file in files)
    return sorted(path.stem for path in found if path.suffix == ".toml" and path.stem != "presets")


def text_of(name: str) -> str:
    """The text of a scenario: one that comes with unflux, or a file.

    Raises
    ------
    ScenarioError
        When there is neither.
    """
    if name in names():
        return resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    try:
        return Path(name).read_bytes().decode()  # the very text, for its hash
    except (OSError, UnicodeDecodeError):
        known = ", ".join(names())
        raise ScenarioError(f"{name} is no file and none of the scenarios {known}") from None


def text_of_presets() -> str:
    """The file of presets."""
    return resources.files(__package__).joinpath("presets.toml").read_text(encoding="utf-8")


@functools.cache
def presets() -> dict[str, dict[str, Any]]:
    """The kinds of operators, as their file has them."""
    return tomllib.loads(text_of_presets())


def load(
    name: str,
    *,
    seed: int = 1,
    hours: float | None = None,
    split: str | None = None,
    taps: Sequence[str] = (),
) -> Scenario:
    """Read, check and draw a scenario; `taps` take the place of its own.

    What is drawn depends on `seed`, `split`, the scenario's name (that of its file, without
    directory and ending: other scenarios are other worlds) and its text.

    Raises
    ------
    ScenarioError
        With everything that is wrong with it.
    """
    text = text_of(name)
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits and deep nesting, too
        raise ScenarioError(f"{name} is no TOML: {error}") from None
    errors = check({**content, "taps": list(taps)} if taps else content)
    if split is not None and split not in SPLITS:
        errors.append(f"split is one of {', '.join(SPLITS)}, not {split!r}")
    if errors:
        raise ScenarioError(f"{name}:\n" + "\n".join(f"  {error}" for error in errors))
    number = SPLITS.index(split) if split else 0
    drawn_seed = mix_one(seed, number, key_of(Path(name).stem)) >> 1
    return Scenario(
        name=Path(name).stem,
        title=content.get("title", ""),
        hours=float(hours if hours is not None else content.get("hours", 24)),
        clients=content.get("clients", DEFAULT_CLIENTS),
        resolvers=content.get("resolvers", 2),
        services=_draw(content["service"], drawn_seed),
        seed=drawn_seed,
        start_s=START.timestamp() + number * 7 * 86_400,
        split=split,
        taps=tuple(taps or content.get("taps", DEFAULT_TAPS)),
        given_seed=seed,
        sha256=_sha256_of(text),
    )


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check(content: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a scenario, as sentences."""
    errors = [f"{key} is not known" for key in content if key not in TOP]
    for key, kind in TOP.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kind) or _is_bool_for_number(value, kind)):
            errors.append(f"{key} has the wrong type")
        elif key in LIMITS and value is not None:
            errors += _outside(key, value, key)
    errors += _check_taps(content.get("taps", list(DEFAULT_TAPS)))
    services = content.get("service")
    if not isinstance(services, list) or not services:
        return [*errors, "there is no [[service]]"]
    if len(services) > MAX_SERVICES:
        return [*errors, f"there are {len(services)} services; {MAX_SERVICES} are played at most"]
    known = presets()
    for number, table in enumerate(services, start=1):
        if not isinstance(table, dict):
            errors.append(f"service {number} is no table")
            continue
        errors += _check_service(f"service {number}", table, known)
    if not errors:
        merged = [{**known.get(one.get("preset", ""), {}), **one} for one in services]
        errors += _too_many(merged)
        errors += _too_many_hosts(content.get("clients", DEFAULT_CLIENTS), merged)
    return errors


def _check_taps(taps: Any) -> list[str]:
    if not isinstance(taps, list):
        return []  # told as a wrong type
    fits = taps and all(tap in TAPS for tap in taps) and len(set(taps)) == len(taps)
    return [] if fits else [f"taps are some of {', '.join(TAPS)}, each once"]


def _too_many_hosts(clients: int, services: list[dict[str, Any]]) -> list[str]:
    """Clients and hidden servers share one range of addresses, in which none meets another."""
    hidden = sum(
        int(_high(one.get("back_ends", DEFAULTS["back_ends"]))) * one.get("count", 1)
        for one in services
        if one.get("flux")
    )
    left = hosts_left(clients, hidden)
    if left >= 0:
        return []
    return [
        f"{clients} clients and {hidden} hidden servers (back_ends of all flux networks) are "
        f"{-left} more than there are addresses for: fewer clients, networks or back_ends"
    ]


def _too_many(services: list[dict[str, Any]]) -> list[str]:
    """A world is kept in memory: its names and hosts have a bound as a whole, too."""
    errors = []
    for key, most in TOTALS.items():
        total = sum(_high(one.get(key, DEFAULTS[key])) * one.get("count", 1) for one in services)
        if total > most:
            errors.append(f"{key} of all services together is at most {most:g}, not {total:g}")
    return errors


def _is_bool_for_number(value: object, kind: object) -> bool:
    return isinstance(value, bool) and kind is not bool


def _check_service(where: str, table: dict[str, Any], known: dict[str, Any]) -> list[str]:
    preset = table.get("preset")
    if not isinstance(preset, str | None):
        return [f"{where}: preset is a name"]
    if not _is_label(table.get("name", "")):
        return [f"{where}: name has letters, digits, hyphens, dots and underscores only"]
    if preset is not None and preset not in known:
        return [f"{where}: there is no preset {preset!r}; known ones: {', '.join(sorted(known))}"]
    errors = []
    for key, value in table.items():
        if key in {"preset", "name"} | NOTES:
            continue
        if key == "count":
            whole = isinstance(value, int) and not isinstance(value, bool)
            errors += (
                _outside(key, value, f"{where}: count")
                if whole
                else [f"{where}: count is a whole number"]
            )
            continue
        if key not in SETTING_NAMES:
            errors.append(f"{where}: {key} is not known")
            continue
        errors += [f"{where}: {error}" for error in _check_value(key, value)]
    merged = {**known.get(preset or "", {}), **table}
    if merged.get("ns") == "rotating" and not _high(merged.get("ns_period_s", 0)):
        errors.append(f"{where}: name servers that rotate need ns_period_s")
    if merged.get("verdict", "not_flux") == "not_flux" and merged.get("flux", False):
        errors.append(
            f"{where}: a flux network needs a verdict (single_flux, double_flux, ns_flux)"
        )
    return errors


CHOICES = {
    "selection": SELECTIONS,
    "ns": NS_KINDS,
    "rdtype": RDTYPES,
    "verdict": ("single_flux", "double_flux", "ns_flux", "not_flux"),
}


def _check_value(key: str, value: Any) -> list[str]:
    """What is wrong with one setting."""
    wrong = None
    if key in CHOICES:
        if value not in CHOICES[key]:
            wrong = f"{key} is one of {', '.join(CHOICES[key])}"
    elif key == "networks":
        if not (
            isinstance(value, list) and value and all(map(KINDS.__contains__, map(str, value)))
        ):
            wrong = f"networks are some of {', '.join(KINDS)}"
    elif key in LISTS:
        if not (isinstance(value, list) and len(value) <= MAX_LIST and all(map(LISTS[key], value))):
            wrong = f"{key} is a short list of TTLs or of parts of host names"
    elif key in TEXTS:
        fits, sentence = TEXTS[key]
        if not fits(value):
            wrong = sentence
    elif isinstance(DEFAULTS.get(key), bool):
        if not isinstance(value, bool):
            wrong = f"{key} is true or false"
    else:
        return _check_number(key, value)
    return [wrong] if wrong else []


def _check_number(key: str, value: Any) -> list[str]:
    bounds = value if isinstance(value, list) else [value]
    if not all(map(_is_number, bounds)) or len(bounds) not in (1, 2):
        return [f"{key} is a number or a range [low, high]"]
    if bounds[0] > bounds[-1]:
        return [f"{key}: the range begins above its end"]
    return [error for one in bounds for error in _outside(key, one, key)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_label(text: object) -> bool:
    if not isinstance(text, str):
        return False
    plain = text.replace("{n}", "1").replace("{label}", "a")
    return all(char.isascii() and (char.isalnum() or char in "-._") for char in plain)


def _is_lab_domain(text: object) -> bool:
    return _is_label(text) and f".{text}".endswith(LAB_SUFFIXES)


TEXTS: dict[str, tuple[Callable[[object], bool], str]] = {
    "shared_zone": (_is_label, "shared_zone is a label"),
    "apex": (_is_lab_domain, f"apex ends with {' or '.join(LAB_SUFFIXES)}"),
}


def _outside(key: str, value: float, what: str) -> list[str]:
    low, high = LIMITS.get(key, (float("-inf"), float("inf")))
    return [] if low <= value <= high else [f"{what} is from {low:g} to {high:g}, not {value:g}"]


def _high(value: Any) -> float:
    highest = value[-1] if isinstance(value, list) and value else value
    return float(highest) if _is_number(highest) else 0.0


LISTS = {"chain": _is_number, "labels": _is_label}
MAX_LIST = 3
"""Entries of a list: `unflux.lab.synth.play.MAX_CHAIN` CNAMEs are followed."""


def _draw(tables: list[dict[str, Any]], seed: int) -> list[tuple[str, str, Settings]]:
    known = presets()
    drawn = []
    for number, table in enumerate(tables):
        preset = table.get("preset", "custom")
        merged = {**known.get(preset, {}), **table}
        for copy in range(merged.pop("count", 1)):
            settings = {
                key: _value(key, value, seed, number, copy)
                for key, value in merged.items()
                if key in SETTING_NAMES
            }
            name = f"{table.get('name', preset)}-{number + 1}-{copy + 1}"
            drawn.append((name, preset, Settings(**settings)))
    return drawn


def _value(key: str, value: Any, *where: int) -> Any:
    """A setting; ranges above 0 are drawn evenly on the scale of their logarithm."""
    if key in TUPLES:
        return tuple(value)
    kind: Any = type(DEFAULTS[key])
    if isinstance(value, list):
        low, high = value if len(value) == 2 else (value[0], value[0])
        chance = uniform_one(*where, key_of(key))
        value = low * (high / low) ** chance if low > 0 else low + (high - low) * chance
        if kind is int:
            value = min(max(round(value), low), high)
    return kind(value)
