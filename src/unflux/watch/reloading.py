"""What a settings file that is read again changes while the watch runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unflux.watch import config as settings
from unflux.watch.config import WatchConfig

LIVE = frozenset(
    {
        "alert_ambiguous",
        "alert_suppress",
        "allow",
        "block_for",
        "block_max",
        "block_min_confidence",
        "block_min_score",
        "judge_max",
        "rpz_action",
        "rpz_garden",
        "rpz_ip",
        "rpz_nsdname",
    }
)
"""Settings that change at once; all others are those of sockets, files and memory."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The settings from now on, or what is wrong with the new ones."""

    config: WatchConfig
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    """Settings that differ in the file, and stay as they are until it is started anew."""
    problems: tuple[str, ...] = ()


def reloaded(
    running: WatchConfig, from_file: Mapping[str, Any], from_line: Mapping[str, Any]
) -> Reloaded:
    """What the file says now, where the command line says nothing: as at the start.

    A setting that is gone from the file has its default again.
    """
    wanted = settings.combine(from_file, from_line)
    differs = tuple(
        name
        for name in sorted(settings.defaults())
        if getattr(wanted, name) != getattr(running, name)
    )
    changed = tuple(name for name in differs if name in LIVE)
    config = replace(running, **{name: getattr(wanted, name) for name in changed})
    problems = dict.fromkeys((*wanted.problems(), *config.problems()))
    if problems:
        return Reloaded(running, problems=tuple(problems))
    return Reloaded(config, changed, tuple(name for name in differs if name not in LIVE))
