"""`unflux lab synth`: one directory with everything, whole or not at all."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from unflux.lab.model import plan
from unflux.lab.model.world import World
from unflux.lab.scenarios import Scenario
from unflux.lab.synth.demand import Demand
from unflux.lab.synth.play import Player
from unflux.lab.synth.truth import Events, iso, labels
from unflux.lab.synth.writers import NEEDS, WRITERS, Writer
from unflux.sightings import whole_directory

OnSlice = Callable[[float, float], None]
"""Called with (hours played, hours in all): when the world stands, and after each slice."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    directory: Path
    responses: int
    names: int
    flux_names: int


def synth(
    scenario: Scenario,
    directory: Path,
    formats: Sequence[str],
    on_slice: OnSlice | None = None,
) -> Made:
    """Play a scenario and write it to a new directory.

    Memory grows with the names and addresses of the scenario, not with its duration (but see
    `unflux.lab.synth.writers.Cof`). The same scenario, seed and version give the same bytes.

    Raises
    ------
    UnfluxError
        When the directory holds something already.
    ValueError
        When a format is not known.
    """
    check_formats(scenario, formats)
    with whole_directory(directory) as temporary, _few_collections():
        made = _write(scenario, temporary, formats, on_slice)
    return Made(directory, made.responses, made.names, made.flux_names)


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Collect garbage seldom: a world is a million objects that live as long as it is played."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def check_formats(scenario: Scenario, formats: Sequence[str]) -> None:
    """Whether each format can be written of what the scenario's taps see.

    Raises
    ------
    ValueError
        When a format is not known, or needs another tap.
    """
    for name in formats:
        if name not in WRITERS:
            raise ValueError(f"there is no format {name!r}; known ones: {', '.join(WRITERS)}")
        needed = NEEDS.get(name, scenario.taps)
        if not set(needed) & set(scenario.taps):
            raise ValueError(f"{name} is written of the tap {' or '.join(needed)}: add it")


def _write(
    scenario: Scenario, directory: Path, formats: Sequence[str], on_slice: OnSlice | None
) -> Made:
    services = [(name, settings) for name, _, settings in scenario.services]
    world = World(services, scenario.seed, scenario.start_s, part=scenario.part)
    demand = Demand(world, scenario.clients, scenario.seed)
    player = Player(world, demand, scenario.resolvers, scenario.taps)
    plan.write_tables(directory)
    known = labels(scenario, world)
    (directory / "labels.json").write_bytes(_pretty(known))
    writers: list[Writer] = [WRITERS[name](directory, scenario.taps) for name in formats]
    events = Events(scenario, world, demand)
    counts: Counter[str] = Counter()
    if on_slice:
        on_slice(0.0, scenario.hours)
    with (directory / "truth.ndjson").open("wb") as truth:
        for event in events.opening():
            truth.write(msgspec.json.encode(event) + b"\n")
        for from_s, to_s, seen in player.slices(scenario.hours):
            for event in events.of_slice(from_s, to_s):
                truth.write(msgspec.json.encode(event) + b"\n")
            for tap, table in seen.items():
                counts[tap] += table.num_rows
                for writer in writers:
                    writer.write(tap, table)
            if on_slice:
                on_slice((to_s - scenario.start_s) / 3600, scenario.hours)
    for writer in writers:
        writer.close()
    (directory / "card.json").write_bytes(_pretty(_card(scenario, formats, world, player, counts)))
    n_flux = sum(entry["flux"] for entry in known["names"].values())
    return Made(directory, player.n_responses, len(known["names"]), n_flux)


def _pretty(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _card(
    scenario: Scenario,
    formats: Sequence[str],
    world: World,
    player: Player,
    counts: Counter[str],
) -> dict[str, Any]:
    """What this data is, how it was made, and with which numbers."""
    return {
        **scenario.origin(),
        "from": iso(scenario.start_s),
        "hours": scenario.hours,
        "clients": scenario.clients,
        "resolvers": scenario.resolvers,
        "taps": list(scenario.taps),
        "formats": list(formats),
        "responses": player.n_responses,
        "rows": dict(counts),
        "names_by_preset": dict(
            sorted(Counter(scenario.services[one.service][1] for one in world.named).items())
        ),
        "services": [
            {"name": name, "preset": preset, **asdict(settings)}
            for name, preset, settings in scenario.services
        ],
        "cannot_stand_for": [
            "Real popularity, real users, or the share of flux among all names.",
            "Public suffixes: all names are under .test and .example.",
            "Lost packets, wrong clocks and malformed messages.",
            "Operators who react to being watched.",
        ],
    }
