"""A walk for people: steps, topology and proof as text for a terminal."""

from __future__ import annotations

from typing import Any

ROLES = {
    "infected_host": "infected host", "resolver": "resolver", "root": "root server",
    "registry": ".ship registry", "mothership": "mothership",
}  # fmt: skip


def render(told: dict[str, Any]) -> str:
    """The story of `unflux.lab.live.story.tell` as lines of text."""
    lines = [f"{told['name']}: the classic example of {told['walk']} flux, played and captured", ""]
    lines += _topology(told)
    roles = _roles(told)
    for step in told["steps"]:
        lines += ["", f"({step['step']}) {step['what']}."]
        for arrow in step["arrows"]:
            ends = f"{_end(arrow['from'], roles)} → {_end(arrow['to'], roles)}"
            lines.append(f"    {ends:<66} packet {arrow['packet']}, {arrow['ms']} ms")
            protocol = (
                "" if arrow["says"].startswith(arrow["protocol"]) else arrow["protocol"] + " "
            )
            lines.append(f"        {protocol}{arrow['says']}")
    return "\n".join([*lines, "", *_registrations(told), "", *_proof(told), ""])


def _roles(told: dict[str, Any]) -> dict[str, str]:
    cast = told["cast"]
    roles = {cast[key]: text for key, text in ROLES.items()}
    is_agent = cast["name_server_is"] == "agent"
    roles[cast["name_server"]] = "agent (name server)" if is_agent else "fixed name server"
    same = cast["agent"] == cast["name_server"]
    roles[cast["agent"]] = "agent (name server and proxy)" if same else "agent (proxy)"
    return roles


def _end(address: str, roles: dict[str, str]) -> str:
    return f"{roles.get(address, '?')} {address}"


SINGLE = r"""
  infected host ──(1)──▶ resolver ──(1)──▶ root, .ship registry
        │ ▲                 │
        │ └──────(2)────────┤◀─(2)─▶ fixed name server
       (3)
        ▼
   flux agent ◀──(4)──▶ mothership      the host never sees what is right of the agent
   flux agent
   flux agent … others every few minutes"""

DOUBLE = r"""
  infected host ──(1)──▶ resolver ──(1)──▶ root, .ship registry (name servers: agents)
        │ ▲                 │ ▲
        │ └──────(3)────────┤ └─(3)── flux agent ◀─(3)── mothership
       (4)                  └──(2)──▶ flux agent ──(2)──▶ mothership
        ▼
   flux agent ◀──────────────(5)───────────────────────▶ mothership
   flux agent … and other name servers, every few minutes"""


def _topology(told: dict[str, Any]) -> list[str]:
    drawing = SINGLE if told["walk"] == "single" else DOUBLE
    cast = told["cast"]
    server = "agent as name server" if cast["name_server_is"] == "agent" else "fixed name server"
    who = [
        ("infected host", cast["infected_host"]), ("resolver", cast["resolver"]),
        ("root server", cast["root"]), (".ship registry", cast["registry"]),
        (server, cast["name_server"]), ("agent", cast["agent"]), ("mothership", cast["mothership"]),
    ]  # fmt: skip
    return [*drawing.strip("\n").split("\n"), "", *(f"  {name:<22}{at}" for name, at in who)]


def _registrations(told: dict[str, Any]) -> list[str]:
    """What stood where before and after one period."""
    before, after = told["registrations"]["before"], told["registrations"]["after"]
    lines = [
        f"One flux period later ({told['period_s']} s; all periods and TTLs are played "
        f"{told['speed']:g} times as fast), the same question again:"
    ]
    for key, title in (
        ("name_servers", "name servers at the registry"),
        ("addresses", told["name"]),
    ):
        kept = sum(one in before[key] for one in after[key])
        lines.append(f"  {title}")
        lines.append(f"    before  {', '.join(before[key])}")
        lines.append(f"    after   {', '.join(after[key])}    ({kept} of {len(after[key])} stayed)")
    return lines


def _proof(told: dict[str, Any]) -> list[str]:
    """Counted in the capture."""
    proof = told["proof"]
    mothership = proof["mothership_and_others"]
    knew = ", ".join(f"{agent} relayed to {to}" for agent, to in told["agent_knew"].items())
    held = "is in" if proof["mothership_in_any_dns_answer"] else "is in no"
    return [
        f"Proof, from all {proof['packets']} packets of {told['capture']}:",
        f"  infected host ↔ mothership   {proof['infected_host_and_mothership']} packets",
        f"  infected host ↔ others       {proof['infected_host_and_others']} packets",
        f"  agents ↔ mothership          {sum(mothership.values())} packets, "
        f"with {len(mothership)} hosts",
        f"  the mothership's address {held} DNS answer",
        f"  all that the agents knew: {knew}",
    ]
