"""What links names: the addresses they are answered (IP layer), and who answers (NS layer)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux.detect.base import AMBIGUOUS, DOUBLE_FLUX, FLUX_VERDICTS, NS_FLUX, SINGLE_FLUX
from unflux.features.aliases import alias_edges
from unflux.features.hosts import address_rows
from unflux.networks.candidates import Incidence
from unflux.pipeline import Judged
from unflux.sightings import History

I64 = npt.NDArray[np.int64]
MAX_HOPS = 6
MIN_ADDRESSES = 3
ASSOCIATE_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Layers:
    """Names that may belong to a network (nodes 0…n-1), and what links them."""

    members: pa.Table
    """Rows of the judged table, in its order: verdict flux or ambiguous, and names on their
    addresses."""
    ip_rows: pa.Table
    """`node` and the columns of `address_rows`: answers of addresses that rotate."""
    ns_rows: pa.Table
    """The same for the addresses of each name's name servers, where those rotate."""
    hosts: Links
    """Name servers by name: (node, number of the host's name), for all members."""
    aliases: Links
    """Pairs of members: an alias and where it leads."""

    @property
    def ip(self) -> Incidence:
        """Which member has which address."""
        return _incidence(self.ip_rows, self.members.num_rows)

    @property
    def ns(self) -> Incidence:
        """Which member's name servers have which address."""
        return _incidence(self.ns_rows, self.members.num_rows)


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of numbers."""

    a: I64
    b: I64


def _incidence(rows: pa.Table, n_nodes: int) -> Incidence:
    node, code, fresh = (rows.column(name).to_numpy() for name in ("node", "code", "fresh"))
    # Passive DNS has no fresh answers: each row counts once then.
    return Incidence.of(node, code.astype(np.int64), np.maximum(fresh, 1), n_nodes)


def layers_of(judged: Judged) -> Layers:
    """Names judged flux or ambiguous (and names on their addresses), with what links them."""
    wanted = pc.is_in(judged.table.column("verdict"), pa.array([*FLUX_VERDICTS, AMBIGUOUS]))
    near = pc.is_in(judged.table.column("name_id"), pa.array(_associates(judged), pa.int32()))
    members = judged.table.filter(pc.or_(wanted, near))
    history = judged.history
    verdicts = members.column("verdict").to_pylist()
    ids = members.column("name_id").to_numpy().astype(np.int64)
    nodes = np.arange(len(ids))
    rotates = np.array([one != NS_FLUX for one in verdicts], bool)
    ends = _ends(history, ids[rotates])
    owner = np.concatenate([nodes[rotates], nodes[rotates][ends.a]])
    named = np.concatenate([ids[rotates], ends.b])
    zones = pc.index_in(members.column("zone"), history.names).to_numpy(zero_copy_only=False)
    hosts = _hosts(history, zones)
    moves = np.array([one in (NS_FLUX, DOUBLE_FLUX) for one in verdicts], bool)[hosts.a]
    return Layers(
        members,
        _rows(history, owner, named, judged),
        _rows(history, hosts.a[moves], hosts.b[moves], judged),
        hosts,
        _aliases(history, ids),
    )


def _associates(judged: Judged) -> I64:
    """Names that were seen too little to be judged, or look calm, on the addresses of flux names.

    Numbers of names with at least `MIN_ADDRESSES`, of which at least `ASSOCIATE_SHARE` are agents.
    """
    table = judged.table
    flux = pc.is_in(table.column("verdict"), pa.array([SINGLE_FLUX, DOUBLE_FLUX]))
    agents = pc.unique(
        address_rows(judged.history, table.filter(flux).column("address_name_id")).column("code")
    )
    calm = pc.invert(pc.is_in(table.column("verdict"), pa.array([*FLUX_VERDICTS, AMBIGUOUS])))
    several = pc.greater_equal(pc.fill_null(table.column("n_addresses"), 0), MIN_ADDRESSES)
    others = table.filter(pc.and_(calm, several)).select(["name_id", "address_name_id"])
    if not len(agents) or not others.num_rows:
        return np.zeros(0, np.int64)
    rows = address_rows(judged.history, others.column("address_name_id"))
    pairs = rows.group_by(["name_id", "code"], use_threads=False).aggregate([])
    name = pairs.column("name_id").to_numpy().astype(np.int64)
    known = pc.is_in(pairs.column("code"), agents).to_numpy(zero_copy_only=False)
    share = np.bincount(name, known) / np.maximum(np.bincount(name), 1)
    ids = others.column("name_id").to_numpy().astype(np.int64)
    at = others.column("address_name_id").to_numpy().astype(np.int64)
    padded = np.concatenate([share, np.zeros(max(int(at.max()) + 1 - len(share), 0))])
    return np.asarray(ids[padded[at] >= ASSOCIATE_SHARE], np.int64)


def _rows(history: History, owner: I64, named: I64, judged: Judged) -> pa.Table:
    """Address rows of the names `named`, once for each of their `owner`s; no reserved addresses.

    Decoys and private addresses are no agents: they would make pools larger than they are.
    """
    rows = address_rows(history, pa.chunked_array([pa.array(named, pa.int32())]))
    special = judged.places.column("special")
    rows = rows.filter(pc.is_null(pc.take(special, rows.column("code"))))
    ids = rows.column("name_id").to_numpy()
    order = np.argsort(named, kind="stable")
    first = np.searchsorted(named[order], ids, side="left")
    count = np.searchsorted(named[order], ids, side="right") - first
    row = np.repeat(np.arange(len(ids)), count)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    return rows.take(pa.array(row)).append_column("node", pa.array(owner[order][place]))


def _ends(history: History, ids: I64) -> Links:
    """(place in `ids`, number of a name it leads to): all that its CNAMEs lead to."""
    edges = alias_edges(history)
    alias, target = (edges.column(name).to_numpy() for name in ("alias", "target"))
    place, reached = np.arange(len(ids)), ids
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for _ in range(MAX_HOPS):
        place, reached = _step(place, reached, alias, target)
        if not len(place):
            break
        found.append((place, reached))
    a, b = (np.concatenate([one[column] for one in found]) for column in (0, 1))
    return _unique(a, b)


def _step(place: I64, at: I64, source: I64, target: I64) -> tuple[I64, I64]:
    """Follow edges from each place: a join."""
    order = np.argsort(source, kind="stable")
    first = np.searchsorted(source[order], at, side="left")
    count = np.searchsorted(source[order], at, side="right") - first
    row = np.repeat(np.arange(len(at)), count)
    edge = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    return place[row], target[order][edge].astype(np.int64)


def _unique(a: I64, b: I64) -> Links:
    pairs = np.unique(np.stack([a, b], axis=1), axis=0).reshape(-1, 2)
    return Links(pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64))


def _aliases(history: History, ids: I64) -> Links:
    """Members that lead to members."""
    ends = _ends(history, ids)
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids[order], ends.b), max(len(ids) - 1, 0))
    known = ids[order][at] == ends.b if len(ids) else np.zeros(0, bool)
    return Links(ends.a[known], order[at[known]])


def ns_pairs(history: History) -> Links:
    """(zone, host) as numbers of names: every NS record seen."""
    zones, hosts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in history.sightings:
        part = batch.filter(pc.equal(batch.column("rdtype"), "NS"))
        zones.append(part.column("owner").indices.to_numpy().astype(np.int64))
        hosts.append(part.column("rdata").indices.to_numpy().astype(np.int64))
    pairs = _unique(np.concatenate(zones), np.concatenate(hosts))
    texts = pc.take(history.rdata, pa.array(pairs.b))
    named = pc.index_in(texts, history.names)
    known = pc.is_valid(named).to_numpy(zero_copy_only=False)
    return Links(pairs.a[known], named.drop_null().to_numpy().astype(np.int64))


def _hosts(history: History, zones: npt.NDArray[np.float64]) -> Links:
    """(node, host) for each node's zone."""
    pairs = ns_pairs(history)
    have = np.flatnonzero(~np.isnan(zones.astype(np.float64)))
    node, host = _step(have, zones[have].astype(np.int64), pairs.a, pairs.b)
    return Links(node, host)
