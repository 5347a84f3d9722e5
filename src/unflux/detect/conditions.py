"""The conditions that unflux's verdicts rest on, and the benign services that are tried.

DuckDB SQL over features. Null makes a condition false: what was not seen proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

# Networks that a flux name of n addresses has at least: 7 of 10, 18 of 40, then 20 (FluXOR: 38 of
# 98 after three hours; Holz: 818 ASes in all, so the growth must stop).
ENOUGH_NETWORKS = "least(20, 1.4 * pow(n_addresses, 0.68))"
# What its answers do, however often one looks: how much is replaced when they change.
ROTATES = "n_pairs >= 1 AND turnover_ratio >= 0.3"
# Some of an answer's hosts are replaced at a time, and they do not come back. Out of a list that
# stays, as much is kept as a short list has (answers_max / list): more would have been seen again.
DRIFTS = (
    "coalesce(growth_events >= 4 AND n_networks >= 7 AND network_ratio >= 0.5 "
    "AND n_addresses * (1 - turnover_ratio) >= 1.5 * answers_max "
    "AND n_addresses >= 2 * answers_max AND new_per_hour >= 0.5 "
    "AND own_returning <= CASE WHEN turnover_ratio <= 0.6 THEN 0.5 ELSE 0.2 END * n_addresses, "
    "false)"
)


# The pool behind the name, all names that draw from it together (see `features.pools`): do its
# hosts come and go within hours? Asked of blocks of six hours, because over a day the hosts of a
# small population come round again. Measured on pools that stay: ratio 0.97 to 1.05.
def _leave(hours: int) -> str:
    return (
        "coalesce(block_returning >= 10 AND ((block_churn_z >= 3.5 AND block_dwell_ratio <= 0.85) "
        "OR (block_churn_z >= 3 AND block_dwell_ratio <= 0.65)) "
        f"AND pool_stay_h <= {hours}, false)"
    )


HOURS = 18
"""`pool_stay_h` of flux that lists a host for one to six hours is 7 to 17, of peers of a
peer-to-peer network, which stay for a day and longer, 21 and more."""
OPEN = (
    f"({_leave(HOURS)} OR coalesce(pool_returning >= 10 AND pool_churn_z >= 3.5 "
    "AND pool_dwell_ratio <= 0.4 AND duration_s <= 100000, false))"
)
# Out of a list that stays and keeps so much of an answer, answers_max / (1 - turnover_ratio)
# addresses are all there is (measured: 0.8 to 1.1 of it were seen). Unequal chances show more, too,
# so hosts must have been seen to leave as well.
_LISTS_SEEN = "(n_addresses * (1 - turnover_ratio) / answers_max)"
GROWS = (
    f"coalesce(growth_events >= 6 AND turnover_ratio <= 0.9 AND {_LISTS_SEEN} >= 1.5 "
    f"AND duration_s <= 36000 * ({_LISTS_SEEN} - 1) AND block_returning >= 10 "
    "AND block_churn_z >= 2.5, false)"
)
SURELY_OPEN = (
    "coalesce((block_returning >= 20 AND block_churn_z >= 6 AND block_dwell_ratio <= 0.75 "
    f"AND pool_stay_h <= {HOURS}) "
    "OR (block_returning >= 10 AND block_churn_z >= 3 AND block_dwell_ratio <= 0.4), false)"
)
OTHERS = "(coalesce(pool_domains, 1) - 1)"
CLOSED = (
    f"((coalesce(block_returning >= 10 AND pool_stay_low_h > 24, false) "
    "OR coalesce(pool_returning >= 10 AND pool_dwell_ratio >= 0.9 "
    "AND pool_dwell_ratio - 3 * pool_dwell_error >= 0.75 "
    f"AND duration_s >= CASE WHEN {OTHERS} >= 2 THEN 43200 ELSE 21600 END, false)) "
    f"AND NOT {OPEN})"
)
# Of answers out of a list of N hosts at random, n addresses hold about n² / 2N that came back: so
# few mean a list longer than any of volunteers or peers that answer to names (4000 and 10 000).
BEYOND = (
    "coalesce(n_pairs >= 20 AND n_addresses * (n_addresses - 1.0) / (2 * (own_returning + 3)) "
    ">= 20000, false)"
)
# What says flux rather than a pool of volunteers or peers: hosts that leave within hours, or other
# domains on the same hosts. Else DNS alone cannot tell.
LEAVES = f"({OPEN} OR {GROWS} OR {DRIFTS} OR {BEYOND})"
SHARED = f"({OTHERS} >= 2)"
# A name that was parked is looked at from when it woke.
ACTIVE_S = "((last_us - coalesce(active_since_us, first_us)) / 1e6)"
# Peers stand behind several domains, too, but do not leave: half a day shows it, and some hours do
# where the least time that hosts may stay (two standard errors lower) is longer than agents do.
# (Shared pools of peers have a `pool_stay_h` of 22 and more, agents of several domains of 19 and
# less; that least time is above 18 for 72 of 128 names of peers after three to six hours, for 11 of
# 1,700 flux names.)
STAY_LONG = f"coalesce(block_returning >= 20 AND pool_stay_low_h > {HOURS}, false)"
PROVEN = (
    f"({LEAVES} OR ({SHARED} AND NOT {STAY_LONG} AND ({_leave(20)} "
    f"OR NOT ({ACTIVE_S} >= 43200 AND block_returning >= 10))))"
)
# The first hours are flux's by default where volunteers' pools are rare, in answers of one, or of
# five addresses and more, with low confidence: then what flux shows by that time must be seen.
TIME_TO_PROVE_S = 21_600
SEEM_TO_STAY = "coalesce(block_returning >= 20 AND block_churn_z < 1, false)"
STAYS = f"(coalesce({ACTIVE_S} >= 7200, false) AND {SEEM_TO_STAY})"
UNPROVEN = (
    f"(n_pairs >= 1 AND NOT {PROVEN} AND (answers_max BETWEEN 2 AND 4 OR {STAYS} "
    f"OR ({ACTIVE_S} >= {TIME_TO_PROVE_S} AND n_fresh >= 10)))"
)
# Who shares a pool that is not closed needs less spread of its own: a few providers' homes do.
SPREAD = (
    f"n_networks >= {ENOUGH_NETWORKS} * CASE WHEN ({OTHERS} >= 2 OR {OPEN}) AND NOT {CLOSED} "
    "AND n_networks >= 8 THEN 0.6 ELSE 1 END"
)
SERVED = "coalesce(serving_ratio >= 0.5, false)"
ONE_ADDRESS = "coalesce(answers_max, 0) <= 1"
# Hosts with dynamic DNS move, too, but within few networks, and not by the hour; a first sight of
# five networks in a row is flux of low confidence.
ONE_AT_A_TIME = (
    f"((n_addresses >= 7 AND ((n_networks >= 7 AND ({OTHERS} >= 1 OR {OPEN})) "
    f"OR (n_networks >= 10 AND n_networks >= 0.5 * n_addresses) "
    f"OR n_networks >= 20)) "
    "OR (n_networks >= 5 AND n_networks >= 0.8 * n_addresses AND own_returning = 0 "
    "AND turnover_ratio >= 0.9 AND new_per_hour >= 1))"
)
# Rented servers, or any network too narrow to show spread: many domains, not by aliases of one
# operator, draw from one pool whose hosts are used up. Inside one network only that tells them from
# a cloud or a fleet, so each part must be seen of the name itself. Nearly all of its addresses
# serve the others, too: tenants of a cloud meet on some, and names of a pool may only be chained.
# (The fewer came back, the less of the list was seen by anybody.) An answer is drawn anew, it is
# not one host of it that is replaced. New hosts keep coming: a fleet's come round.
ALL_SHARED = "shared_ratio >= 0.85 - 0.25 * greatest(0, 1 - own_returning / n_addresses)"
# Hosts of a short list come round within a block of hours, too: then the day shows that they were
# gone. Of volunteers and peers it shows the same, so it is only asked where there are none. (Agents
# of four domains and more have a `pool_stay_h` of 21.6 at most, peers of so many of 21.6 and more.)
USED_UP = (
    f"(new_per_hour >= 2 OR n_addresses >= 60) AND ({_leave(22)} OR (n_networks <= 4 "
    f"AND ({_leave(30)} OR coalesce(pool_returning >= 10 AND pool_churn_z >= 6 "
    "AND pool_dwell_ratio <= 0.85 AND duration_s <= 100000, false))))"
)
RENTED = (
    f"n_addresses >= 4 AND n_pairs >= 5 AND turnover_ratio >= 0.7 AND {OTHERS} >= 3 "
    f"AND {ALL_SHARED} AND {USED_UP} AND answers_max <= 6 AND address_name_id = name_id"
)
WIDE_ANSWER = (
    "n_pairs = 0 AND answers_max >= 8 AND n_networks >= greatest(7, 0.8 * answers_max) "
    "AND coalesce(n_countries, 2) >= 2 AND coalesce(ttl_max_s, 0) <= 1800 "
    "AND coalesce(serving_ratio, 0) <= 0.15"
)
PASSIVE_HISTORY = "n_fresh = 0 AND n_addresses >= 15 AND n_networks >= 8 AND answers_max >= 5"
# Name servers move by new addresses, or by new names: what is replaced when they move counts, not
# how often one looked.
NS_ROTATES = (
    "ns_changes >= 3 AND ns_addresses >= 6 AND ns_networks >= 4 AND ns_turnover_ratio >= 0.4 "
    "AND ns_pool_ratio >= 1.5 AND coalesce(ns_address_ttl_max_s, 0) <= 3600"
)
ENOUGH_SEEN = "n_fresh >= 3 OR (n_fresh = 0 AND n_addresses = 1 AND duration_s >= 86400)"


@dataclass(frozen=True, slots=True)
class Benign:
    """A service that rotates without being flux, and how it is told."""

    name: str
    sql: str
    fits: str
    fits_not: str


# Most answers agree, and the others come between them: somebody else answered, too. A network that
# was parked, or was taken down, is without its parked address for a while.
MAX_APART = 0.3
MAX_NS_APART = 0.1
"""Name servers of one delegation are summed: those that did not move yet count as steady."""
MAX_ABSENCE = 6
MIXED = (
    f"coalesce(core_addresses >= 1 AND apart_ratio > 0 AND apart_ratio < {MAX_APART} "
    f"AND core_absence < {MAX_ABSENCE}, false)"
)
NS_MIXED = (
    f"coalesce(ns_apart_ratio > 0 AND ns_apart_ratio < {MAX_NS_APART} "
    f"AND ns_core_absence < {MAX_ABSENCE}, false)"
)

BENIGN = (
    Benign(
        "cdn",
        "n_addresses >= 4 AND (n_networks <= 2 OR asn_concentration >= 0.5)",
        "its addresses are concentrated in one or two operators' networks, as a CDN's are",
        "its addresses are not concentrated in one or two networks, as most CDNs' are",
    ),
    Benign(
        "cloud_api",
        "n_addresses >= 2 AND n_networks = 1 AND answers_max <= 8",
        "all addresses are in one network, a few per answer, as behind a cloud load balancer",
        "a cloud load balancer answers from one network",
    ),
    Benign(
        "server_pool",
        f"n_networks >= 3 AND {SERVED} AND NOT ({OTHERS} >= 2 AND {OPEN})",
        "its addresses lie in networks that plain names are served from, and no other domain draws "
        "from them, as exits of one provider do; who rents the servers would tell",
        "its addresses do not lie in networks of servers, or other domains draw from them",
    ),
    Benign(
        "volunteer_pool",
        f"n_networks >= 5 AND ({CLOSED} OR {UNPROVEN})",
        "hosts in many unrelated networks that stay, or that were not seen to leave: time and "
        "mirror pools of volunteers look the same, and so do a CDN's caches inside many providers; "
        "hours of answers, UDP/123 traffic or the name's age would tell",
        "the hosts of volunteers' pools stay for days, and no other domain has them",
    ),
    Benign(
        "p2p_seed",
        f"n_networks >= 8 AND answers_max >= 15 AND NOT ({OTHERS} >= 8 AND {SURELY_OPEN})",
        "fifteen and more addresses per answer out of many networks, as seeds of peer-to-peer "
        "networks give; traffic to their ports (such as 8333) would tell",
        "seeds of peer-to-peer networks fill their answers (fifteen addresses and more)",
    ),
    Benign(
        "mixed_answers",
        f"(n_addresses >= 5 AND {MIXED}) OR ({NS_ROTATES} AND {NS_MIXED})",
        "most answers agree and a few are wholly different: forged ones, or a resolver or server "
        "that is wrong, look so; who answered would tell",
        "no steady answer stands behind those that differ",
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
