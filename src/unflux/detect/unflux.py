"""unflux's own detector: rotation over many networks, with benign explanations tried.

Evidence is a weighted sum of signals (the address layer, and by itself the name-server layer). A
verdict needs more than a sum: enough networks for the number of addresses, and either rotation
that was seen, or one answer so wide that no service of one operator gives it. Two things tell
flux from what looks like it once some hours were seen: its hosts come and go (`dwell_ratio`),
those of a pool stay; and other domains draw from the same hosts (`n_siblings`). What rotates
like flux and like a volunteer pool is `ambiguous`; what was seen too little is `insufficient`.

Where it goes wrong: flux inside one network is called only when its addresses are dropped after
a while and many other domains drop them too; in less than some hours it looks like a CDN. Flux of
two to four addresses per answer stays ambiguous for as long. A pool that gives five to fourteen
addresses of unrelated networks in one answer, seen once, is taken for flux (confidence low).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from unflux import engine
from unflux.detect import base
from unflux.detect.base import Explanation, Reason, Row


@dataclass(frozen=True, slots=True)
class Signal:
    """One piece of evidence: 0 at `low`, 1 at `high` (or the other way round), linear between."""

    feature: str
    low: float
    high: float
    weight: float
    says: str
    """A sentence with the feature's value as ``{value}``."""

    @property
    def sql(self) -> str:
        """Strength, 0…1; null when the feature is (`least` and `greatest` pass over nulls)."""
        strength = f"({self.feature} - {self.low}) / ({self.high - self.low})"
        return f"CASE WHEN {self.feature} IS NOT NULL THEN greatest(0, least(1, {strength})) END"

    def strength(self, value: float) -> float:
        """The same for one value."""
        return max(0.0, min(1.0, (value - self.low) / (self.high - self.low)))


# Bounds: one answer of ten addresses lies in eight ASes (median of 29 flux names, 2011), /16s do
# not repeat in it; benign answers of three and more have a /16 ratio of 0.17 (median). TTLs of
# 215 flux names: 261 ± 60 s (FluXOR 2008); many benign ones are as short, so the weight is small.
ADDRESS_SIGNALS = (
    Signal("n_networks", 3, 9, 0.30, "its addresses lie in {value:.0f} networks"),
    Signal(
        "network_ratio",
        0.4,
        0.85,
        0.20,
        "{value:.0%} of its addresses are in networks of their own",
    ),
    Signal("turnover_ratio", 0.2, 0.8, 0.15, "{value:.0%} of an answer is replaced when it changes"),
    Signal("pool_ratio", 2, 8, 0.15, "{value:.0f} times as many addresses as one answer held"),
    Signal("novelty_ratio", 0.1, 0.6, 0.05, "{value:.0%} of later answers was never seen before"),
    Signal("answers_max", 4, 8, 0.05, "one response held {value:.0f} addresses"),
    Signal(
        "dwell_ratio",
        0.6,
        0.3,
        0.20,
        "its addresses stay for {value:.0%} of the time that a fixed pool's would",
    ),
    Signal("n_siblings", 0, 3, 0.10, "{value:.0f} other domains have the same addresses"),
    Signal("n_countries", 1, 4, 0.05, "its addresses lie in {value:.0f} countries"),
    Signal("ttl_max_s", 7200, 600, 0.05, "its TTL is {value:.0f} s"),
)
NS_SIGNALS = (
    Signal("ns_networks", 3, 8, 0.35, "its name servers' addresses lie in {value:.0f} networks"),
    Signal(
        "ns_address_retention",
        0.8,
        0.2,
        0.35,
        "{value:.0%} of a name server's addresses are still in the next answer",
    ),
    Signal(
        "ns_addresses_per_host", 1.5, 5, 0.20, "each name server had {value:.1f} addresses (mean)"
    ),
    Signal("ns_address_ttl_max_s", 7200, 600, 0.10, "their addresses have a TTL of {value:.0f} s"),
)
# Inside one or two networks there is no spread to see: what is left is that addresses are used up.
RENTED_SIGNALS = (
    Signal(
        "dwell_ratio",
        0.9,
        0.3,
        0.35,
        "its addresses stay for {value:.0%} of the time that a fixed pool's would",
    ),
    Signal("n_siblings", 0, 5, 0.35, "{value:.0f} other domains have the same addresses"),
    Signal("novelty_ratio", 0.05, 0.3, 0.20, "{value:.0%} of later answers was never seen before"),
    Signal("retention", 1.0, 0.5, 0.10, "{value:.0%} of an answer is still in the next one"),
)
SIGNALS = ADDRESS_SIGNALS + NS_SIGNALS

FLUX_SCORE = 0.6
AMBIGUOUS_SCORE = 0.5
UNSEEN_FACTOR = 0.8
"""An answer that was seen once is worth less than one that was seen to rotate."""

# Networks that a flux name of n addresses has at least: 7 of 10, 18 of 40, then 20 (FluXOR: 38 of
# 98 after three hours; Holz: 818 ASes in all, so the growth must stop).
ENOUGH_NETWORKS = "least(20, 1.4 * pow(n_addresses, 0.68))"
SPREAD = f"n_networks >= {ENOUGH_NETWORKS}"
# What its answers do, however often one looks: how much is replaced when they change.
ROTATES = "n_pairs >= 1 AND turnover_ratio >= 0.3"
# One or two of an answer's hosts are replaced at a time, and none of them ever comes back.
DRIFTS = (
    "growth_events >= 4 AND n_addresses >= 2 * answers_max AND turnover_ratio <= 0.6 "
    "AND new_per_hour >= 0.5 AND own_returning <= 0.2 * n_addresses AND network_ratio >= 0.7"
)
# The pool behind the name, all names that draw from it together (see `features.pools`): do its
# hosts come, go and not return? Measured on pools that stay: ratio 0.97 to 1.05.
OPEN = "coalesce(pool_returning >= 10 AND pool_churn_z >= 3.5 AND pool_dwell_ratio <= 0.8, false)"
SURELY_OPEN = "coalesce(pool_returning >= 20 AND pool_churn_z >= 6 AND pool_dwell_ratio <= 0.75, false)"
CLOSED = (
    "coalesce(pool_returning >= 50 AND pool_dwell_ratio >= 0.9 AND duration_s >= 10800, false)"
)
OTHERS = "(coalesce(pool_domains, 1) - 1)"
SHARED = f"({OTHERS} >= 2 OR ({OTHERS} = 1 AND {OPEN}))"
SERVED = "coalesce(serving_ratio >= 0.5, false)"
ONE_ADDRESS = "coalesce(answers_max, 0) <= 1"
ONE_AT_A_TIME = (
    f"n_addresses >= 7 AND ((n_networks >= 7 AND ({OTHERS} >= 1 OR {OPEN})) "
    f"OR (n_networks >= 10 AND n_networks >= 0.5 * n_addresses) "
    f"OR n_networks >= 20)"
)
# Rented servers, or any network too narrow to show spread: many domains, not by aliases of one
# operator, draw from one pool whose hosts are used up.
RENTED = (
    f"n_addresses >= 4 AND n_pairs >= 5 AND {ROTATES} AND {OTHERS} >= 3 AND {OPEN} "
    "AND answers_max <= 6 AND address_name_id = name_id"
)
WIDE_ANSWER = (
    "n_pairs = 0 AND answers_max >= 8 AND n_networks >= greatest(7, 0.8 * answers_max) "
    "AND coalesce(n_countries, 2) >= 2 AND coalesce(ttl_max_s, 0) <= 1800"
)
PASSIVE_HISTORY = "n_fresh = 0 AND n_addresses >= 15 AND n_networks >= 8 AND answers_max >= 5"
NS_ROTATES = (
    "ns_address_pairs >= 3 AND ns_addresses >= 6 AND ns_networks >= 4 "
    "AND ns_address_retention <= 0.7 AND coalesce(ns_address_ttl_max_s, 0) <= 3600"
)
ENOUGH_SEEN = "n_fresh >= 3 OR (n_fresh = 0 AND n_addresses = 1 AND duration_s >= 86400)"


@dataclass(frozen=True, slots=True)
class Benign:
    """A service that rotates without being flux, and how it is told."""

    name: str
    sql: str
    fits: str
    fits_not: str


BENIGN = (
    Benign(
        "cdn",
        "n_addresses >= 4 AND (n_networks <= 2 OR asn_concentration >= 0.5)",
        "its addresses are concentrated in one or two operators' networks, as a CDN's are",
        "its addresses are spread over unrelated networks; a CDN's are not",
    ),
    Benign(
        "cloud_api",
        "n_addresses >= 2 AND n_networks = 1 AND answers_max <= 8",
        "all addresses are in one network, a few per answer, as behind a cloud load balancer",
        "a cloud load balancer answers from one network",
    ),
    Benign(
        "server_pool",
        f"n_networks >= 3 AND {SERVED} AND NOT {SHARED}",
        "its addresses lie in networks that plain names are served from, and no other domain draws "
        "from them, as exits of one provider do; who rents the servers would tell",
        "its addresses do not lie in networks of servers, or other domains draw from them",
    ),
    Benign(
        "volunteer_pool",
        f"n_networks >= 5 AND (({CLOSED} AND NOT {OPEN}) "
        f"OR (answers_max BETWEEN 2 AND 4 AND NOT ({DRIFTS}) AND NOT ({SHARED} OR {SURELY_OPEN})))",
        "few addresses per answer out of many unrelated networks, or hosts that stay: time and "
        "mirror pools of volunteers look the same; hours of answers, UDP/123 traffic or the name's "
        "age would tell",
        "volunteer pools give two to four addresses per answer, their hosts stay, and no other "
        "domain has them",
    ),
    Benign(
        "p2p_seed",
        f"n_networks >= 8 AND answers_max >= 15 AND NOT ({OTHERS} >= 8 AND {SURELY_OPEN})",
        "fifteen and more addresses per answer out of many networks, as seeds of peer-to-peer "
        "networks give; traffic to their ports (such as 8333) would tell",
        "seeds of peer-to-peer networks fill their answers (fifteen addresses and more)",
    ),
    Benign(
        "dynamic_dns",
        "answers_max = 1 AND n_addresses BETWEEN 2 AND 4 AND n_networks <= 3",
        "one address at a time and few in all, as a host on a dialled-up line has",
        "a host with dynamic DNS has one address at a time, and few",
    ),
    Benign(
        "round_robin",
        "n_pairs >= 1 AND retention >= 0.9 AND n_addresses <= 2 * answers_max "
        "AND (growth_events <= 2 OR n_addresses <= answers_max + 1)",
        "the same set of addresses is answered again and again",
        "its answers do not stay the same set",
    ),
)
EXCUSES = ("server_pool", "volunteer_pool", "p2p_seed", "round_robin", "cdn", "cloud_api")
"""Explanations that keep a name from being called flux."""


def _weighted(signals: tuple[Signal, ...]) -> str:
    """Σ weight × strength over the signals that are known, as a share of their weights."""
    have = " + ".join(f"coalesce({s.weight} * {s.sql}, 0)" for s in signals)
    of = " + ".join(f"({s.weight} * ({s.feature} IS NOT NULL)::INT)" for s in signals)
    return f"({have}) / nullif({of}, 0)"


QUERY = f"""
WITH evidence AS (
    SELECT *,
        coalesce({_weighted(ADDRESS_SIGNALS)}, 0)
            * CASE WHEN n_pairs > 0 THEN 1 ELSE {UNSEEN_FACTOR} END AS address_score,
        coalesce({_weighted(RENTED_SIGNALS)}, 0) AS rented_score,
        CASE WHEN ns_address_pairs >= 3 THEN coalesce({_weighted(NS_SIGNALS)}, 0) ELSE 0 END
            AS ns_score,
        {", ".join(f"coalesce({b.sql}, false) AS is_{b.name}" for b in BENIGN)}
    FROM features
), judged AS (
    SELECT *,
        coalesce(n_addresses >= 5 AND answers_max IS NOT NULL AND (
            (n_networks >= 5 AND {SPREAD} AND (NOT {ONE_ADDRESS} OR {ONE_AT_A_TIME})
                AND (({ROTATES}) OR ({DRIFTS})))
            OR ({WIDE_ANSWER}) OR ({PASSIVE_HISTORY})), false)
            AS looks_like_flux,
        coalesce(n_addresses >= 5 AND n_networks >= 5 AND address_score >= {AMBIGUOUS_SCORE}
            AND (n_pairs = 0 OR {ROTATES}), false) AS looks_odd,
        coalesce(ns_score >= {FLUX_SCORE} AND {NS_ROTATES}, false) AS looks_like_ns_flux,
        coalesce({RENTED}, false) AS looks_rented,
        {" OR ".join(f"is_{name}" for name in EXCUSES)} AS is_excused
    FROM evidence
), proven AS (
    SELECT *, ((looks_like_flux AND NOT is_excused) OR looks_rented) AND n_asns IS NOT NULL
            AS is_flux,
        looks_like_ns_flux AND ns_asns IS NOT NULL AS is_ns_flux
    FROM judged
), called AS (
    SELECT * EXCLUDE (is_flux, is_ns_flux), CASE
        WHEN (is_flux OR (looks_odd AND n_asns IS NOT NULL)) AND is_ns_flux
            THEN '{base.DOUBLE_FLUX}'
        WHEN is_flux THEN '{base.SINGLE_FLUX}'
        WHEN is_ns_flux THEN '{base.NS_FLUX}'
        WHEN (looks_odd AND NOT (is_round_robin OR is_cdn OR is_cloud_api)) OR looks_like_ns_flux
            THEN '{base.AMBIGUOUS}'
        WHEN {ENOUGH_SEEN} THEN '{base.NOT_FLUX}'
        ELSE '{base.INSUFFICIENT}'
    END AS verdict
    FROM proven
)
SELECT * EXCLUDE (looks_like_flux, looks_like_ns_flux, looks_odd, is_excused),
    round(CASE verdict
        WHEN '{base.NS_FLUX}' THEN ns_score
        WHEN '{base.DOUBLE_FLUX}' THEN greatest(address_score, ns_score)
        WHEN '{base.SINGLE_FLUX}' THEN
            CASE WHEN looks_rented THEN greatest(address_score, 0.9 * rented_score)
                ELSE address_score END
        WHEN '{base.AMBIGUOUS}' THEN 0.55 * greatest(address_score, ns_score)
        ELSE 0.4 * address_score
            * CASE WHEN n_addresses < 2 OR n_networks < 2 THEN 0 ELSE 1 END
    END, 4) AS score,
    CASE
        WHEN verdict = '{base.INSUFFICIENT}' THEN 'low'
        WHEN verdict IN ('{base.NS_FLUX}', '{base.DOUBLE_FLUX}') AND ns_address_pairs >= 6
            THEN 'high'
        WHEN looks_rented THEN 'medium'
        WHEN n_pairs >= 3 AND n_asns IS NOT NULL THEN 'high'
        WHEN n_pairs >= 1 THEN 'medium'
        ELSE 'low'
    END AS confidence
FROM called
"""


class Unflux:
    """Rotation and spread, with benign explanations tried."""

    id: ClassVar[str] = "unflux"
    version: ClassVar[int] = 3
    title: ClassVar[str] = "unflux's own: rotation over networks, benign explanations tried"

    def judge(self, features: pa.Table) -> pa.Table:
        return engine.query(QUERY, features=features)

    def reasons(self, row: Row) -> list[Reason]:
        ns_layer = row["verdict"] in (base.NS_FLUX, base.DOUBLE_FLUX)
        signals = {
            base.NS_FLUX: NS_SIGNALS,
            base.DOUBLE_FLUX: ADDRESS_SIGNALS + NS_SIGNALS,
        }.get(row["verdict"], ADDRESS_SIGNALS)
        if row["looks_rented"]:
            signals = RENTED_SIGNALS
        known = [signal for signal in signals if row[signal.feature] is not None]
        total = sum(signal.weight for signal in known) or 1.0
        reasons = [_reason(signal, row[signal.feature], total) for signal in known]
        if ns_layer and row["web_dns_overlap"]:
            says = f"{row['web_dns_overlap']:.0%} of its name servers' addresses also serve names"
            reasons.append(Reason("web_dns_overlap", row["web_dns_overlap"], says, 0.0))
        if row["shared_ratio"] and row["max_domains_per_address"] >= 2:
            says = f"{row['shared_ratio']:.0%} of its addresses serve other domains too"
            reasons.append(Reason("shared_ratio", row["shared_ratio"], says, 0.0))
        return sorted(reasons, key=lambda reason: -reason.weight)

    def explanations(self, row: Row) -> list[Explanation]:
        tried = ((benign, bool(row[f"is_{benign.name}"])) for benign in BENIGN)
        return [
            Explanation(benign.name, match, benign.fits if match else benign.fits_not)
            for benign, match in tried
        ]


def _reason(signal: Signal, value: Any, total: float) -> Reason:
    weight = signal.weight * signal.strength(float(value)) / total
    return Reason(signal.feature, value, signal.says.format(value=value), round(weight, 4))
