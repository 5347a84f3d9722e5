"""What is asked of a lab, checked before it starts: its time, take-downs, and agents to capture.

Nothing here opens a socket or plays the model; a running lab asks the same of take-downs that come
later.
"""

from __future__ import annotations

from collections.abc import Sequence

from unflux.lab.live.sockets import is_lab_address
from unflux.lab.model.plan import LAB_V4, LAB_V6
from unflux.lab.model.services import Settings
from unflux.lab.scenarios import Scenario

TAKEDOWNS = (
    "agent", "agent-dns", "name-servers", "back-end", "mothership", "delegation", "domain",
)  # fmt: skip
BEFORE_S = 4.0
"""Wall seconds for which fetches are measured before something is taken down."""
FIRST = "first"
"""Stands for the first listed agent of each network."""

Networks = Sequence[tuple[str, Settings]]
"""(name, settings) of a scenario's flux networks."""


def networks_of(scenario: Scenario) -> Networks:
    """The flux networks, in the scenario's order."""
    return [(name, settings) for name, _, settings in scenario.services if settings.flux]


def choose(networks: Networks, what: str, name: str | None) -> str:
    """The flux network that a take-down is for: the named one, the first one without a name.

    Raises
    ------
    ValueError
        When there is no such take-down or network, or the network has nothing of that kind.
    """
    if what not in TAKEDOWNS:
        raise ValueError(f"there is no take-down {what!r}; known ones: {', '.join(TAKEDOWNS)}")
    if not networks:
        raise ValueError("this lab has no flux network: there is nothing to take down")
    fitting = [one for one in networks if name in (None, one[0])]
    if not fitting:
        every = ", ".join(known for known, _ in networks)
        raise ValueError(f"there is no flux network {name}; known ones: {every}")
    known, settings = fitting[0]
    if what == "agent-dns" and settings.ns != "rotating":
        raise ValueError(f"{known} has no agents as name servers: it is single flux")
    if what == "back-end" and settings.back_ends < 2:
        raise ValueError(f"{known} has only one back end: take down its mothership")
    return known


def check(
    scenario: Scenario,
    duration_s: float | None,
    takedowns: Sequence[tuple[str, float, str | None]],
    agents: Sequence[str],
) -> None:
    """See that a lab can do what it is asked for.

    Parameters
    ----------
    scenario
        What it plays.
    duration_s
        Wall seconds; None: until stopped.
    takedowns
        (what, wall seconds after the start, network or None for the first one).
    agents
        Addresses whose view is captured, or `FIRST`.

    Raises
    ------
    ValueError
        With one sentence about the first thing that is wrong.
    """
    if duration_s is not None and duration_s <= 0:
        raise ValueError(f"a lab runs for more than 0 s, not {duration_s:g} s")
    for what, at_s, name in takedowns:
        choose(networks_of(scenario), what, name)
        if duration_s is not None and at_s + BEFORE_S >= duration_s:
            raise ValueError(
                f"the take-down {what} at {at_s:g} s would never be: its fetches are measured for "
                f"{BEFORE_S:g} s before, and the lab ends after {duration_s:g} s"
            )
    for one in agents:
        if one != FIRST and not is_lab_address(one):
            raise ValueError(
                f"an agent is an address of the lab ({LAB_V4}, {LAB_V6}) or `{FIRST}`, not {one!r}"
            )
