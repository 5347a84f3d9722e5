"""The layers put together: sub-networks by addresses, networks by addresses and name servers.

Hosting and C2 sub-networks have no address in common and hang together only by their name servers
(Akamai 2017): groups of the IP layer are *sub-networks*, and what the NS layer joins is a
*network*. Both are kept, so either view can be had.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux.detect.base import FLUX_VERDICTS
from unflux.networks import clusters
from unflux.networks.candidates import Incidence, pairs_of
from unflux.networks.layers import Layers, Links, ns_pairs
from unflux.pipeline import Judged

I64 = npt.NDArray[np.int64]

HOST_FLUX_SHARE = 0.5
"""Name servers link names when at least this share of the domains they serve has a flux name: those
of registrars and hosters serve thousands of others."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Network and sub-network of each member, by number; -1: none."""

    network: I64
    sub_network: I64
    """Groups of the IP layer; members without rotating addresses have their NS group."""
    by_addresses: I64
    """What the networks would be without the NS layer."""
    by_name_servers: I64
    """What they would be without the IP layer."""


def membership(judged: Judged, layers: Layers, *, seed: int = 1) -> Membership:
    """Cluster both layers and join them; groups without any name judged flux are no networks."""
    n = layers.members.num_rows
    if not n:
        empty = np.zeros(0, np.int64)
        return Membership(empty, empty, empty, empty)
    ip, ns = layers.ip, layers.ns
    by_ip = clusters.cluster(ip, seed=seed).group
    by_ip = _joined(n, [_same_group(by_ip, ip.sizes > 0), layers.aliases])
    by_ns = clusters.cluster(ns, seed=seed).group
    by_ns = _joined(n, [_same_group(by_ns, ns.sizes > 0), _by_host(judged, layers)])
    everyone = np.ones(n, bool)
    links = [_same_group(by_ip, everyone), _same_group(by_ns, everyone)]
    whole = _joined(n, [*links, _across(ip, ns, by_ip, by_ns)])
    flux = pc.is_in(layers.members.column("verdict"), pa.array(FLUX_VERDICTS))
    is_flux = flux.to_numpy(zero_copy_only=False)
    has_flux = np.bincount(whole, is_flux) > 0
    network = np.where(has_flux[whole], whole, -1)
    sub = _sub_networks(layers, ip.sizes > 0, by_ip, by_ns)
    return Membership(network, np.where(network < 0, -1, sub), by_ip, by_ns)


def _sub_networks(layers: Layers, has_ip: npt.NDArray[np.bool_], by_ip: I64, by_ns: I64) -> I64:
    """Groups of the IP layer. Members without rotating addresses belong to that of another name of
    their zone, or else to their group of the NS layer."""
    zone = layers.members.column("zone").combine_chunks().dictionary_encode().indices
    code = pc.fill_null(zone, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    of_zone = {
        zone: group for zone, group in zip(code[has_ip], by_ip[has_ip], strict=True) if zone >= 0
    }
    n = len(by_ip)
    found = [
        group if has else of_zone.get(zone, n + by)
        for has, group, by, zone in zip(has_ip, by_ip, by_ns, code, strict=True)
    ]
    return clusters.renumbered(np.array(found, np.int64))


def _joined(n: int, links: list[Links]) -> I64:
    a = np.concatenate([one.a for one in links])
    b = np.concatenate([one.b for one in links])
    return clusters.components(a, b, n)


def _same_group(group: I64, mine: npt.NDArray[np.bool_]) -> Links:
    """Each node linked with the first of its group."""
    nodes = np.flatnonzero(mine)
    _, first, inverse = np.unique(group[nodes], return_index=True, return_inverse=True)
    return Links(nodes, nodes[first][inverse.reshape(-1)])


def flux_hosts(judged: Judged, layers: Layers) -> set[int]:
    """Name servers (numbers of names) that serve mostly domains with a flux name."""
    node, host = layers.hosts.a, layers.hosts.b
    if not len(node):
        return set()
    pairs = ns_pairs(judged.history)
    size = int(max(pairs.b.max(), host.max())) + 1
    n_zones = np.bincount(pairs.b, minlength=size)
    zones = pc.index_in(layers.members.column("zone"), judged.history.names)
    zone = zones.to_numpy(zero_copy_only=False)[node].astype(np.int64)
    flux = pc.is_in(layers.members.column("verdict"), pa.array(FLUX_VERDICTS))
    is_flux = flux.to_numpy(zero_copy_only=False)[node]
    flux_zones = np.unique(np.stack([host[is_flux], zone[is_flux]], axis=1), axis=0)
    n_flux = np.bincount(flux_zones[:, 0], minlength=size)
    return set(np.flatnonzero((n_flux > 0) & (n_flux >= HOST_FLUX_SHARE * n_zones)).tolist())


def _by_host(judged: Judged, layers: Layers) -> Links:
    """Members whose zones have a name server in common that serves mostly flux domains."""
    node, host = layers.hosts.a, layers.hosts.b
    theirs = np.isin(host, np.array(sorted(flux_hosts(judged, layers)), np.int64))
    _, first, inverse = np.unique(host[theirs], return_index=True, return_inverse=True)
    nodes = node[theirs]
    return Links(nodes, nodes[first][inverse.reshape(-1)])


def _across(ip: Incidence, ns: Incidence, by_ip: I64, by_ns: I64) -> Links:
    """Groups whose name servers are agents of a group of the IP layer (web and DNS proxies)."""
    n = ip.n_nodes
    web = ip.renamed(by_ip, n)
    dns = ns.renamed(by_ns, n)
    both = Incidence.of(
        np.concatenate([web.node, n + dns.node]),
        np.concatenate([web.code, dns.code]),
        np.concatenate([web.weight, dns.weight]),
        2 * n,
    )
    if not len(both.node):
        return Links(by_ip[:0], by_ip[:0])
    pairs = pairs_of(both)
    across = (pairs.a < n) & (pairs.b >= n)
    universe = max(clusters.MIN_UNIVERSE, len(np.unique(both.code)))
    together = across & clusters.same_pool(both, pairs, universe)
    # Any member of each group stands for it: the groups themselves are joined elsewhere.
    of_ip, of_ns = _first_of(by_ip, n), _first_of(by_ns, n)
    return Links(of_ip[pairs.a[together]], of_ns[pairs.b[together] - n])


def _first_of(group: I64, n: int) -> I64:
    first = np.zeros(n, np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first
