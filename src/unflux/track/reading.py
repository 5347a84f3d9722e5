"""What a response means for the question that was asked: RFC 1034 §5.3.3, RFC 2308."""

from __future__ import annotations

from dataclasses import dataclass, field

from unflux.track.facts import ADDRESS_TYPES, MAX_ALIASES, Record, Response, ttl_of

ANSWER, ALIAS, NODATA, NXDOMAIN, REFERRAL, FAILURE = (
    "answer", "alias", "nodata", "nxdomain", "referral", "failure",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meaning:
    """A response, understood."""

    outcome: str
    why: str = ""
    """Of a failure: ``servfail``, ``refused``, ``lame``, ``alias_loop``, …"""
    rrset: tuple[str, ...] = ()
    """Sorted rdata of the answer."""
    owner: str = ""
    """Where the aliases lead to; the question's name without aliases."""
    aliases: tuple[str, ...] = ()
    ttl_s: int = 0
    """The shortest TTL on the way, or the negative TTL."""
    zone: str | None = None
    """Owner of an SOA or of the name servers in the response."""
    hosts: dict[str, list[str]] = field(default_factory=dict)
    """Name servers of `zone` with the addresses that came along."""


def read(  # noqa: PLR0911  one return for each thing that a response may be
    qname: str, qtype: str, parent: str | None, response: Response
) -> Meaning:
    """Understand a response.

    Parameters
    ----------
    parent
        The zone whose name server was asked; None for a resolver. A referral must lead below it.
    """
    if response.rcode not in ("NOERROR", "NXDOMAIN"):
        return Meaning(FAILURE, response.rcode.lower())
    owner, aliases, ttl_s = _follow(qname, qtype, response)
    if owner is None:
        return Meaning(FAILURE, "alias_loop", aliases=tuple(aliases))
    found = [one for one in response.of("answer", qtype) if one.owner == owner]
    zone, hosts, ns_ttl_s = _name_servers(qname, response)
    if found:
        shortest = min([ttl_of(one.ttl) for one in found] + ttl_s)
        rrset = tuple(sorted({one.rdata for one in found}))
        if qtype == "NS":
            zone, hosts = owner, _hosts_of(found, response)
        elif qtype == "SOA":
            zone = owner
        return Meaning(ANSWER, "", rrset, owner, tuple(aliases), shortest, zone, hosts)
    if response.rcode == "NXDOMAIN":
        return Meaning(NXDOMAIN, "", (), owner, tuple(aliases), _negative_ttl_s(response), zone)
    soa = next(response.of("authority", "SOA"), None)
    if aliases and (soa is not None or parent is None):  # the end exists, without such a record
        shortest = min([_negative_ttl_s(response), *ttl_s])
        above = soa.owner if soa is not None else zone
        return Meaning(NODATA, "", (), owner, tuple(aliases), shortest, above)
    if aliases:
        return Meaning(ALIAS, "", (owner,), owner, tuple(aliases), min(ttl_s), zone, hosts)
    if soa is not None or response.authoritative or parent is None:
        zone = soa.owner if soa else zone
        return Meaning(NODATA, "", (), owner, (), _negative_ttl_s(response), zone)
    if zone is not None and zone != parent and is_below(zone, parent):
        return Meaning(REFERRAL, "", tuple(sorted(hosts)), owner, (), ns_ttl_s, zone, hosts)
    return Meaning(FAILURE, "lame")


def _follow(qname: str, qtype: str, response: Response) -> tuple[str | None, list[str], list[int]]:
    """(end, names passed, TTLs) of the aliases in an answer; end is None when they never end."""
    lead = {one.owner: one for one in response.of("answer", "CNAME")} if qtype != "CNAME" else {}
    owner, passed, ttls = qname, list[str](), list[int]()
    while owner in lead:
        if len(passed) >= MAX_ALIASES or owner in passed:
            return None, passed, ttls
        passed.append(owner)
        ttls.append(ttl_of(lead[owner].ttl))
        owner = lead[owner].rdata.lower()
    return owner, passed, ttls


def _name_servers(qname: str, response: Response) -> tuple[str | None, dict[str, list[str]], int]:
    """Zone, hosts and shortest TTL of the NS records in the authority section."""
    records = [one for one in response.of("authority", "NS") if is_below(qname, one.owner)]
    if not records:
        return None, {}, 0
    zone = max((one.owner for one in records), key=lambda one: one.count("."))
    records = [one for one in records if one.owner == zone]
    hosts = _hosts_of(records, response)
    glue = [
        ttl_of(one.ttl) for one in response.of("additional", *ADDRESS_TYPES) if one.owner in hosts
    ]
    return zone, hosts, min([ttl_of(one.ttl) for one in records] + glue)


def _hosts_of(records: list[Record], response: Response) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {one.rdata.lower(): [] for one in records}
    for glue in response.of("additional", *ADDRESS_TYPES):
        if glue.owner in hosts:
            hosts[glue.owner].append(glue.rdata)
    return {host: sorted(set(hosts[host])) for host in sorted(hosts)}


def _negative_ttl_s(response: Response) -> int:
    """RFC 2308 §5: the smaller one of the SOA's TTL and its minimum; 0 without an SOA."""
    for soa in response.of("authority", "SOA"):
        minimum = soa.rdata.split()[-1]
        return min(ttl_of(soa.ttl), int(minimum) if minimum.isdigit() else 0)
    return 0


def is_below(name: str, zone: str) -> bool:
    """Is a name in a zone's domain (or its apex)? Both absolute.

    >>> is_below("www.a.test.", "a.test."), is_below("ba.test.", "a.test."), is_below("test.", ".")
    (True, False, True)
    """
    return zone in (".", name) or name.endswith("." + zone)


def ancestors(name: str) -> list[str]:
    """The name and all that is above it, except the root, from the top.

    >>> ancestors("www.a.test.")
    ['test.', 'a.test.', 'www.a.test.']
    """
    labels = name.rstrip(".").split(".")
    return [".".join(labels[place:]) + "." for place in range(len(labels) - 1, -1, -1)]
