"""From a judged history to networks with everything that is said of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux.detect.base import AMBIGUOUS, DOUBLE_FLUX, NS_FLUX, SINGLE_FLUX
from unflux.networks import agents as agents_room
from unflux.networks import curves, delegations, identity, size
from unflux.networks.answers import answers_of
from unflux.networks.layers import Layers, layers_of, ns_pairs
from unflux.networks.membership import Membership, flux_hosts, membership
from unflux.networks.model import (
    Layer,
    Network,
    NetworkAgent,
    NetworkName,
    Networks,
    Overlap,
    Sleeper,
    SubNetwork,
)
from unflux.pipeline import Judged, bare
from unflux.times import iso

I64 = npt.NDArray[np.int64]
MAX_SLEEPERS = 1_000
"""Sleepers listed per network."""
MAX_LINKS = 20_000
"""Links listed per network."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Everything by network, before it is put together."""

    judged: Judged
    layers: Layers
    member: Membership
    agents: dict[int, list[NetworkAgent]]
    sleepers: dict[int, list[Sleeper]]
    hours: dict[int, dict[int, set[str]]]
    zone: I64


def find_networks(judged: Judged, *, seed: int = 1, state_file: Path | None = None) -> Networks:
    """The flux networks of a history.

    Parameters
    ----------
    judged
        Every name with features and verdict (`unflux.pipeline.judge`).
    seed
        Of the clustering; the same input and seed give the same networks.
    state_file
        Networks of earlier runs, for ids that last; written anew. Without it, ids come from what
        the networks are now.

    Raises
    ------
    UnfluxError
        When graspologic-native is not installed, or the state file is something else.
    """
    layers = layers_of(judged)
    member = membership(judged, layers, seed=seed)
    table = agents_room.agents_of(judged, layers, member.network)
    zones = layers.members.column("zone")
    zone = delegations.numbers(judged.history, zones)
    wanted = set(zone[member.network >= 0].tolist()) - {-1}
    parts = _Parts(
        judged, layers, member, _agent_lists(table), _sleepers(judged, layers, member, table),
        delegations.ns_by_hour(judged.history, wanted), zone,
    )  # fmt: skip
    numbers = sorted(set(member.network.tolist()) - {-1})
    found = {number: _network(parts, number) for number in numbers}
    return _named(found, table, member, layers, state_file)


def _agent_lists(table: pa.Table) -> dict[int, list[NetworkAgent]]:
    lists: dict[int, list[NetworkAgent]] = defaultdict(list)
    wanted = list(NetworkAgent.__struct_fields__)
    networks = table.column("network").to_pylist()
    for network, row in zip(networks, table.select(wanted).to_pylist(), strict=True):
        lists[network].append(NetworkAgent(**row))
    return lists


def _network(parts: _Parts, number: int) -> Network:
    """One network, still without id, history and overlaps."""
    rows = np.flatnonzero(parts.member.network == number)
    members = parts.layers.members.take(pa.array(rows)).to_pylist()
    subs = parts.member.sub_network[rows]
    order = {sub: place for place, sub in enumerate(dict.fromkeys(subs.tolist()))}
    ip_rows = _of_nodes(parts.layers.ip_rows, rows)
    ns_rows = _of_nodes(parts.layers.ns_rows, rows)
    agents = parts.agents.get(number, [])
    verdicts = Counter(row["verdict"] for row in members)
    names = [
        NetworkName(
            bare(row["name"]) or "", row["verdict"], row["score"], order[sub],
            iso(row["first_us"]), iso(row["last_us"]),
        )
        for row, sub in zip(members, subs.tolist(), strict=True)
    ]  # fmt: skip
    in_order = sorted(range(len(names)), key=lambda place: names[place].name)
    names = [names[place] for place in in_order]
    web, dns = answers_of(_one_owner(ip_rows)), answers_of(_one_owner(ns_rows))
    return Network(
        id="",
        kind=_kind(verdicts),
        names=names,
        agents=agents,
        links=_links(parts, rows[in_order], pa.concat_tables([ip_rows, ns_rows]), agents),
        roles=dict(Counter(one.role for one in agents)),
        layers=_layers(parts.member, rows, ip_rows, ns_rows, parts.layers),
        sub_networks=[_sub_network(parts, rows[subs == sub]) for sub in order],
        size=size.size_of(web if web.n else dns),
        growth=curves.growth_of(ip_rows if ip_rows.num_rows else ns_rows),
        lifetime=curves.lifetime_of(ip_rows if ip_rows.num_rows else ns_rows),
        rotation_s=curves.rotation_s(web),
        ns_rotation_s=curves.rotation_s(dns),
        asns=_counted("AS{}", (one.origin_asn for one in agents)),
        countries=_counted("{}", (one.country for one in agents)),
        delegations=_delegations(parts, rows, members, agents),
        sleepers=parts.sleepers.get(number, []),
        overlaps=[],
        history=[],
        first_seen=min((one.first_seen for one in names if one.first_seen), default=None),
        last_seen=max((one.last_seen for one in names if one.last_seen), default=None),
    )


def _links(
    parts: _Parts, nodes: I64, rows: pa.Table, agents: list[NetworkAgent]
) -> list[tuple[int, int, int]]:
    """Which name was answered which address (or has it at a name server), how often."""
    counted = rows.group_by(["node", "code"], use_threads=False).aggregate([("n", "sum")])
    counted = counted.sort_by(
        [("n_sum", "descending"), ("node", "ascending"), ("code", "ascending")]
    )
    counted = counted.slice(0, MAX_LINKS)
    address = pc.take(parts.judged.history.rdata, counted.column("code")).to_pylist()
    place_of = {one.address: place for place, one in enumerate(agents)}
    name_of = {node: place for place, node in enumerate(nodes.tolist())}
    found = zip(counted.column("node").to_pylist(), address, counted.column("n_sum").to_pylist(),
                strict=True)  # fmt: skip
    return [(name_of[node], place_of[text], n) for node, text, n in found if text in place_of]


def _of_nodes(rows: pa.Table, nodes: I64) -> pa.Table:
    return rows.filter(pc.is_in(rows.column("node"), pa.array(nodes)))


def _one_owner(rows: pa.Table) -> pa.Table:
    """Each sighting once: two members (an alias and its end) may have the same rows."""
    if not rows.num_rows:
        return rows
    node = rows.column("node").to_numpy()
    name = rows.column("name_id").to_numpy()
    first: dict[int, int] = {}
    for one, of in zip(name.tolist(), node.tolist(), strict=True):
        first.setdefault(one, of)
    wanted = np.fromiter((first[one] for one in name.tolist()), np.int64, len(name))
    return rows.filter(pa.array(node == wanted))


def _kind(verdicts: Counter[str]) -> str:
    if verdicts[DOUBLE_FLUX] or (verdicts[NS_FLUX] and verdicts[SINGLE_FLUX]):
        return DOUBLE_FLUX
    return SINGLE_FLUX if verdicts[SINGLE_FLUX] else NS_FLUX


def _layers(
    member: Membership, rows: I64, ip_rows: pa.Table, ns_rows: pa.Table, layers: Layers
) -> list[Layer]:
    has_ip = np.isin(rows, ip_rows.column("node").to_numpy())
    by_ip = len(np.unique(member.by_addresses[rows][has_ip]))
    moves = np.isin(rows, ns_rows.column("node").to_numpy())
    by_ns = len(np.unique(member.by_name_servers[rows]))
    hosts = len(np.unique(layers.hosts.b[np.isin(layers.hosts.a, rows)]))
    found = [Layer("ip", by_ip, len(pc.unique(ip_rows.column("code"))))] if has_ip.any() else []
    if moves.any() or hosts:
        found.append(Layer("ns", by_ns, len(pc.unique(ns_rows.column("code")))))
    return found


def _sub_network(parts: _Parts, rows: I64) -> SubNetwork:
    names = parts.layers.members.column("name").take(pa.array(rows)).to_pylist()
    own = _of_nodes(parts.layers.ip_rows, rows)
    if not own.num_rows:
        own = _of_nodes(parts.layers.ns_rows, rows)
    n_agents = len(pc.unique(own.column("code")))
    answers = answers_of(_one_owner(own))
    return SubNetwork(sorted(bare(one) or "" for one in names), n_agents, size.size_of(answers))


def _counted(form: str, values: Any) -> dict[str, int]:
    counts = Counter(form.format(one) if one is not None else "unknown" for one in values)
    return dict(counts.most_common())


def _delegations(
    parts: _Parts, rows: I64, members: list[dict[str, Any]], agents: list[NetworkAgent]
) -> Any:
    zones = {
        int(zone): (row["zone"], delegations.suffix_of(row["zone"], row["registered_domain"]))
        for zone, row in zip(parts.zone[rows], members, strict=True)
        if zone >= 0
    }
    glue = sum(one.role != "web" for one in agents)
    return delegations.delegations_of(zones, parts.hours, glue)


def _sleepers(
    judged: Judged, layers: Layers, member: Membership, agents: pa.Table
) -> dict[int, list[Sleeper]]:
    """Names that do not rotate, but whose zone is served by a network's own name servers."""
    hosts = flux_hosts(judged, layers)
    of_host: dict[int, int] = {}
    for node, host in zip(layers.hosts.a.tolist(), layers.hosts.b.tolist(), strict=True):
        if host in hosts and member.network[node] >= 0:
            of_host[host] = int(member.network[node])
    pairs = ns_pairs(judged.history)
    of_zone = {
        zone: of_host[host]
        for zone, host in zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)
        if host in of_host
    }
    table = judged.table
    calm = pc.invert(pc.is_in(table.column("name_id"), layers.members.column("name_id")))
    own = pc.invert(table.column("is_name_server"))
    # The apex of a member's own zone is no name that waits.
    apexes = layers.members.column("zone")
    own = pc.and_(own, pc.invert(pc.is_in(table.column("name"), apexes)))
    zone_of = pa.array(delegations.numbers(judged.history, table.column("zone")))
    near = pc.is_in(zone_of, pa.array(list(of_zone), pa.int64()))
    mask = pc.and_(pc.and_(calm, own), near)
    rows = table.filter(mask).select(["name", "verdict", "first_us"]).to_pylist()
    zones = zone_of.filter(pc.fill_null(mask, False)).to_pylist()
    found: dict[int, list[Sleeper]] = defaultdict(list)
    for row, zone in zip(rows, zones, strict=True):
        listed = found[of_zone[zone]]
        if (
            row["verdict"] != AMBIGUOUS
            and row["first_us"] is not None
            and len(listed) < MAX_SLEEPERS
        ):
            why = "its zone has name servers of the network"
            listed.append(Sleeper(bare(row["name"]) or "", row["verdict"], why))
    return found


def _named(
    found: dict[int, Network],
    table: pa.Table,
    member: Membership,
    layers: Layers,
    state_file: Path | None,
) -> Networks:
    """Give ids, tell overlaps, and keep the state."""
    order = sorted(found, key=lambda one: (-len(found[one].names), found[one].names[0].name))
    seen = [
        identity.Seen(
            frozenset(one.name for one in found[number].names),
            frozenset(one.address for one in found[number].agents),
            found[number].first_seen,
            found[number].last_seen,
        )
        for number in order
    ]
    state = identity.load(state_file) if state_file else identity.State()
    ids, after = identity.name_all(seen, state)
    if state_file:
        identity.save(after, state_file)
    id_of = {number: one.id for number, one in zip(order, ids, strict=True)}
    overlaps: dict[int, list[Overlap]] = defaultdict(list)
    for row in agents_room.overlaps_of(table).to_pylist():
        entry = Overlap(id_of[row["other"]], row["n"], round(row["share"], 4))
        overlaps[row["network"]].append(entry)
    networks = [
        msgspec.structs.replace(
            found[number], id=named.id, history=named.events, overlaps=overlaps[number]
        )
        for number, named in zip(order, ids, strict=True)
    ]
    ambiguous = pc.equal(layers.members.column("verdict"), AMBIGUOUS)
    alone = ambiguous.to_numpy(zero_copy_only=False)[member.network < 0]
    return Networks(networks, int(alone.sum()))
