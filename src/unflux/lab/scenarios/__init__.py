"""Scenario files (TOML): read, checked as a whole, and drawn into services.

Scenarios that come with unflux stand beside this file; `presets.toml` has the kinds of operators.
"""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from unflux import __version__
from unflux.errors import UnfluxError
from unflux.lab.model.hashing import key_of, mix_one, uniform_one
from unflux.lab.model.services import SETTING_NAMES, Settings
from unflux.lab.scenarios.checking import DEFAULT_CLIENTS, DEFAULT_TAPS, TAPS, errors_of
from unflux.lab.scenarios.values import (
    DEFAULTS,
    LIMITS,
    MAX_LIST,
    highest,
    lab_domain,
    outside,
)  # fmt: skip

__all__ = [
    "DEFAULTS", "DEFAULT_TAPS", "LIMITS", "MAX_LIST", "SETTING_NAMES", "SPLITS", "START", "TAPS",
    "Scenario", "ScenarioError", "check", "load", "names", "presets", "text_of", "text_of_presets",
]  # fmt: skip

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday; each split of a suite begins a week after the one before."""
SPLITS = ("train", "validation", "test")
TUPLES = {"networks", "chain", "labels"}


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

    @property
    def part(self) -> tuple[int, int]:
        """Which part of all names it draws from, of how many: splits share none."""
        return (SPLITS.index(self.split), len(SPLITS)) if self.split else (0, 1)


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
    except UnicodeDecodeError:
        raise ScenarioError(f"{name} is no TOML: it is not text in UTF-8") from None
    except OSError:
        known = ", ".join(names())
        hint = f": `unflux lab show {name}` prints a scenario of this preset"
        raise ScenarioError(
            f"{name} is no file and none of the scenarios {known}"
            f"{hint if name in presets() else ''}"
        ) from None


def text_of_presets() -> str:
    """The file of presets."""
    return resources.files(__package__).joinpath("presets.toml").read_text(encoding="utf-8")


def text_of_preset(name: str) -> str:
    """A scenario with one network of a preset, all its settings written out.

    What wakes or changes its kind only after hours is played for a day.
    """
    _, _, rest = text_of_presets().partition(f"\n[{name}]\n")
    settings, _, _ = rest.partition("\n\n")
    turns_h = max(highest(presets()[name].get(key)) for key in ("start_h", "ns_from_h"))
    return (
        "# `unflux lab synth FILE --out DIR` plays this file. Ranges [low, high] are drawn once.\n"
        f'hours = {24 if turns_h else 6}\n\n[[service]]\npreset = "{name}"\n'
        "# What the preset says already: change it, or leave lines out.\n"
        f"{settings.rstrip()}\n"
    )


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
    if hours is not None:
        errors += outside("hours", hours, "hours")
    if split is not None and split not in SPLITS:
        errors.append(f"split is one of {', '.join(SPLITS)}, not {split!r}")
    if errors:
        raise ScenarioError(f"{name}:\n" + "\n".join(f"  {error}" for error in errors))
    clients = content.get("clients", DEFAULT_CLIENTS)
    number = SPLITS.index(split) if split else 0
    drawn_seed = mix_one(seed, number, key_of(Path(name).stem)) >> 1
    return Scenario(
        name=Path(name).stem,
        title=content.get("title", ""),
        hours=float(hours if hours is not None else content.get("hours", 24)),
        clients=clients,
        resolvers=content.get("resolvers", 2),
        services=_draw(content["service"], drawn_seed, clients, f"{split}-" if split else ""),
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
    return errors_of(content, presets())


def _draw(
    tables: list[dict[str, Any]], seed: int, n_clients: int, prefix: str
) -> list[tuple[str, str, Settings]]:
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
            # A preset knows nothing of the scenario's clients.
            settings["infected"] = min(settings.get("infected", 0), n_clients)
            name = f"{prefix}{table.get('name', preset)}-{number + 1}-{copy + 1}"
            drawn.append((name, preset, Settings(**settings)))
    return drawn


def _value(key: str, value: Any, *where: int) -> Any:
    """A setting; ranges above 0 are drawn evenly on the scale of their logarithm."""
    if key == "apex":
        return lab_domain(value)
    if key == "shared_zone":
        return value.lower()
    if key in TUPLES:
        return tuple(one.lower() if key == "labels" else one for one in value)
    kind: Any = type(DEFAULTS[key])
    if isinstance(value, list):
        low, high = value if len(value) == 2 else (value[0], value[0])
        chance = uniform_one(*where, key_of(key))
        value = low * (high / low) ** chance if low > 0 else low + (high - low) * chance
        if kind is int:
            value = min(max(round(value), low), high)
    return kind(value)
