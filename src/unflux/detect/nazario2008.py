"""The nine points of Nazario and Holz (MALWARE 2008, ATLAS): flux with more than four.

TTL below 900 s; more than five addresses; mean distance of addresses above 65,535; more than eight
addresses and that; more than two ASes; name servers' addresses far apart; more than three name
servers; those in more than two ASes; SOA retry below 900 s. The distance of name servers is not
kept: being in two prefixes and more (/16, which are 65,536 apart) stands for it.
"""

from __future__ import annotations

from typing import ClassVar

from unflux.detect.published import PublishedRule

POINTS = (
    "ttl_max_s < 900",
    "n_addresses > 5",
    "address_distance > 65535",
    "n_addresses > 8 AND address_distance > 65535",
    "n_asns > 2",
    "ns_networks >= 2",
    "n_ns > 3",
    "ns_asns > 2",
    "soa_retry_s < 900",
)
MORE_THAN = 4
VALUE = "(" + " + ".join(f"coalesce(({point})::INT, 0)" for point in POINTS) + ")"


class Nazario2008(PublishedRule):
    """Nine one-point heuristics."""

    id: ClassVar[str] = "nazario2008"
    title: ClassVar[str] = "Nazario & Holz, MALWARE 2008: more than four of nine points"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "ttl_max_s")
    flux: ClassVar[str] = f"{VALUE} > {MORE_THAN}"
    score: ClassVar[str] = f"{VALUE} / 9.0"
