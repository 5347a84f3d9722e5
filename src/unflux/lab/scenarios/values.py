"""What a single setting of a scenario may be: ranges of numbers, choices, forms of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from unflux.lab.model.plan import KINDS, LAB_SUFFIXES, N_RESOLVERS
from unflux.lab.model.services import NS_KINDS, RDTYPES, SELECTIONS, Settings

DEFAULTS: dict[str, Any] = {one.name: one.default for one in fields(Settings)}
MAX_TTL_S = 604_800
LIMITS = {
    "hours": (0.01, 24 * 366),
    "clients": (1, 8_000),
    "resolvers": (1, N_RESOLVERS),
    "domains": (1, 500_000),
    "sub_networks": (1, 16),
    "k": (1, 32),
    "ttl_s": (0, MAX_TTL_S),
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
    "ns_ttl_s": (1, MAX_TTL_S),
    "ns_period_s": (0, 604_800),
    "delegation_ttl_s": (1, MAX_TTL_S),
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
MAX_LIST = 3
"""Entries of a list: `unflux.lab.synth.play.MAX_CHAIN` CNAMEs are followed."""
CHOICES = {
    "selection": SELECTIONS,
    "ns": NS_KINDS,
    "rdtype": RDTYPES,
    "verdict": ("single_flux", "double_flux", "ns_flux", "not_flux"),
}
MAX_LABEL, MAX_NAME = 63, 100
"""Characters of a label (RFC 1035 §2.3.4), and of what a scenario gives of a name: with what is
drawn around it, the whole stays below 253."""
FILLED_IN = {"{n}": "9" * 6, "{label}": "a" * 20}
"""At most so long is what stands for the placeholders of host names."""


def errors_of_value(key: str, value: Any) -> list[str]:
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
        fits, sentence = LISTS[key]
        if not (isinstance(value, list) and len(value) <= MAX_LIST and all(map(fits, value))):
            wrong = sentence
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
    if not all(map(is_number, bounds)) or len(bounds) not in (1, 2):
        return [f"{key} is a number or a range [low, high]"]
    if bounds[0] > bounds[-1]:
        return [f"{key}: the range begins above its end"]
    errors = [error for one in bounds for error in outside(key, one, key)]
    if not errors and isinstance(DEFAULTS[key], int) and any(one != int(one) for one in bounds):
        return [f"{key} is a whole number, or a range of them"]
    return errors


def is_number(value: object) -> bool:
    """A whole number or another one; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_ttl(value: object) -> bool:
    return isinstance(value, int) and is_number(value) and 0 <= value <= MAX_TTL_S


def is_plain(text: str) -> bool:
    """Only characters that host names have."""
    return all(char.isascii() and (char.isalnum() or char in "-._") for char in text)


def _is_host(text: object) -> bool:
    """Labels of a host name, with placeholders."""
    if not isinstance(text, str):
        return False
    for placeholder, longest in FILLED_IN.items():
        text = text.replace(placeholder, longest)
    labels = text.split(".")
    return (
        is_plain(text)
        and len(text) <= MAX_NAME
        and all(1 <= len(label) <= MAX_LABEL for label in labels)
    )


def _is_host_or_none(text: object) -> bool:
    return text == "" or _is_host(text)


def is_lab_domain(text: object) -> bool:
    """A domain under one of the lab's top-level domains, or none at all."""
    if not isinstance(text, str) or "{" in text:
        return False
    domain = lab_domain(text)
    within = domain.endswith(LAB_SUFFIXES) and f".{domain}" not in LAB_SUFFIXES
    return text == "" or (within and _is_host(domain[:-1]))


def lab_domain(text: str) -> str:
    """A domain as the model has it: in lower case, with the dot at its end."""
    return f"{text.lower().removesuffix('.')}." if text else ""


HOST_RULES = (
    f"labels of 1 to {MAX_LABEL} letters, digits, hyphens and underscores with dots between, at "
    f"most {MAX_NAME} characters ({{n}} and {{label}} counted as "
    f"{' and '.join(str(len(one)) for one in FILLED_IN.values())})"
)
Rule = tuple[Callable[[object], bool], str]
TEXTS: dict[str, Rule] = {
    "shared_zone": (_is_host_or_none, f"shared_zone has {HOST_RULES}"),
    "apex": (
        is_lab_domain,
        f"apex is a domain under {' or '.join(one.strip('.') for one in LAB_SUFFIXES)}, as "
        f"shop.test: it has {HOST_RULES.split(' (', maxsplit=1)[0]}",
    ),
}
LISTS: dict[str, Rule] = {
    "chain": (_is_ttl, f"chain has at most {MAX_LIST} TTLs: whole numbers from 0 to {MAX_TTL_S}"),
    "labels": (
        _is_host_or_none,
        f"labels are at most {MAX_LIST} host names: each has {HOST_RULES}",
    ),
}


def outside(key: str, value: float, what: str) -> list[str]:
    """What is wrong with a number that lies outside its range."""
    low, high = LIMITS.get(key, (float("-inf"), float("inf")))
    return (
        [] if low <= value <= high else [f"{what} is from {low:g} to {high:g}, not {_short(value)}"]
    )


def _short(value: float) -> str:
    try:
        return f"{value:g}"
    except OverflowError:  # a whole number beyond what fits a float
        return "a number of hundreds of digits"


def _ends(value: Any) -> Iterable[float]:
    for one in value if isinstance(value, list) else [value]:
        try:
            yield float(one) if is_number(one) else 0.0
        except OverflowError:
            yield float("inf")


def highest(value: Any) -> float:
    """The high end of a range or a number; 0 where it is neither."""
    return max(_ends(value), default=0.0)


def lowest(value: Any) -> float:
    """The low end of a range or a number; 0 where it is neither."""
    return min(_ends(value), default=0.0)
