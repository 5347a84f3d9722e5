"""Networks keep their ids from day to day: matched by names and addresses, splits and merges told.

Domains are disposable and addresses move on, but never all of both at once: of two runs, a network
is the same when enough of its names, or of its addresses, is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from unflux.errors import UnfluxError
from unflux.sightings import whole_file

VERSION = 1
SAME_NAMES = 0.3
"""Share of the smaller set of names from which on two networks are one."""
SAME_AGENTS = 0.3
"""The same for addresses."""
MAX_KEPT = 20_000
"""Names, and addresses, kept of each network: the newest."""
MAX_NETWORKS = 50_000
"""Networks kept: those seen last."""


class Known(msgspec.Struct):
    """A network as an earlier run had it."""

    id: str
    names: list[str]
    agents: list[str]
    first_seen: str | None
    last_seen: str | None
    ended: str | None = None
    """Id of the network it went into, when it was merged."""


class State(msgspec.Struct):
    """The file of known networks."""

    unflux_networks: int = VERSION
    networks: list[Known] = []


@dataclass(frozen=True, slots=True)
class Seen:
    """A network of this run, before it has an id."""

    names: frozenset[str]
    agents: frozenset[str]
    first_seen: str | None
    last_seen: str | None


@dataclass(frozen=True, slots=True)
class Named:
    """Its id, and what happened to it."""

    id: str
    events: list[str]


def load(path: Path) -> State:
    """The state in a file; an empty one when there is none.

    Raises
    ------
    UnfluxError
        When the file is something else.
    """
    if not path.exists():
        return State()
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.MsgspecError as error:
        raise UnfluxError(f"{path} is no file of known networks: {error}") from None
    if state.unflux_networks != VERSION:
        raise UnfluxError(f"{path} has version {state.unflux_networks}; {VERSION} is read")
    return state


def save(state: State, path: Path) -> None:
    """Write the state whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(state) + b"\n")


def name_all(seen: Sequence[Seen], state: State) -> tuple[list[Named], State]:
    """Ids for the networks of a run, and the state for the next one."""
    living = [one for one in state.networks if one.ended is None]
    scores = _scores(seen, living)
    best_new = _best(scores, by=1)
    best_old = _best(scores, by=0)
    ids: list[Named] = []
    taken: set[str] = {one.id for one in state.networks}
    merged_into: dict[int, str] = {}
    for number, one in enumerate(seen):
        matches = sorted(old for new, old in scores if new == number)
        own = [old for old in matches if best_new[old] == number and best_old[number] == old]
        events: list[str] = []
        if own:
            name = living[own[0]].id
            for old in matches:
                if old != own[0] and best_new[old] == number:
                    merged_into[old] = name
                    events.append(f"merged: {living[old].id} went into it")
        else:
            name = _new_id(one, taken)
            events += [f"split from {living[old].id}" for old in matches]
        taken.add(name)
        ids.append(Named(name, events))
    return ids, _next_state(seen, ids, state, merged_into, living)


def _scores(seen: Sequence[Seen], living: Sequence[Known]) -> dict[tuple[int, int], float]:
    """(this run's, known one) → likeness, for those alike enough. Only those that share anything
    are compared."""
    by_item: dict[tuple[str, str], list[int]] = {}
    for old, known in enumerate(living):
        for name in known.names:
            by_item.setdefault(("n", name), []).append(old)
        for agent in known.agents:
            by_item.setdefault(("a", agent), []).append(old)
    found: dict[tuple[int, int], float] = {}
    for new, one in enumerate(seen):
        candidates = {
            old
            for kind, items in (("n", one.names), ("a", one.agents))
            for item in items
            for old in by_item.get((kind, item), ())
        }
        for old in candidates:
            names = _share(one.names, living[old].names)
            agents = _share(one.agents, living[old].agents)
            if names >= SAME_NAMES or agents >= SAME_AGENTS:
                # How many names and addresses move is what decides between two that are alike.
                common = len(one.names & set(living[old].names))
                found[new, old] = common + names + agents
    return found


def _share(mine: frozenset[str], theirs: Sequence[str]) -> float:
    smaller = min(len(mine), len(theirs))
    return len(mine.intersection(theirs)) / smaller if smaller else 0.0


def _best(scores: dict[tuple[int, int], float], by: int) -> dict[int, int]:
    """For each number at place `by` of the pairs, the best partner (ties: the first)."""
    best: dict[int, tuple[float, int]] = {}
    for pair, score in sorted(scores.items()):
        mine, other = pair[by], pair[1 - by]
        if mine not in best or score > best[mine][0]:
            best[mine] = (score, other)
    return {mine: other for mine, (_, other) in best.items()}


def _new_id(one: Seen, taken: set[str]) -> str:
    """An id out of what the network was when it was first seen."""
    for attempt in range(1_000):
        text = "\n".join([*sorted(one.names), str(one.first_seen), str(attempt)])
        name = "net-" + hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
        if name not in taken:
            return name
    raise RuntimeError("no free id")


def _next_state(
    seen: Sequence[Seen],
    ids: Sequence[Named],
    state: State,
    merged_into: dict[int, str],
    living: Sequence[Known],
) -> State:
    now = {named.id: one for named, one in zip(ids, seen, strict=True)}
    ended = {living[old].id: target for old, target in merged_into.items()}
    kept: list[Known] = []
    for known in state.networks:
        fresh = now.pop(known.id, None)
        if fresh is not None:
            kept.append(_updated(known, fresh))
        elif known.id in ended:
            kept.append(msgspec.structs.replace(known, ended=ended[known.id]))
        else:
            kept.append(known)
    kept += [_updated(Known(name, [], [], one.first_seen, None), one) for name, one in now.items()]
    kept.sort(key=lambda one: (one.last_seen or "", one.id), reverse=True)
    return State(VERSION, kept[:MAX_NETWORKS])


def _updated(known: Known, fresh: Seen) -> Known:
    """What is seen now, and before it what was seen earlier, up to the bounds."""
    first = [one for one in (known.first_seen, fresh.first_seen) if one is not None]
    last = [one for one in (known.last_seen, fresh.last_seen) if one is not None]
    return Known(
        known.id,
        list(dict.fromkeys([*sorted(fresh.names), *known.names]))[:MAX_KEPT],
        list(dict.fromkeys([*sorted(fresh.agents), *known.agents]))[:MAX_KEPT],
        min(first, default=None),
        max(last, default=None),
    )
