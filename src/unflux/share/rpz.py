"""Response policy zones (draft-vixie-dnsop-dns-rpz): what a resolver must not answer, with reasons.

Pure: entries go in, records and text come out. Only names are triggers by default; name servers
(`rpz-nsdname`) and addresses (`rpz-ip`) are entries of their own kind that nobody makes by default,
because hosts of flux are other people's machines.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from unflux.detect import Finding
from unflux.detect.base import DOUBLE_FLUX, NS_FLUX

ACTIONS = ("nxdomain", "nodata", "garden", "monitor")
"""What a listed name gets: no such name, no such record, the walled garden, or only a log line."""
QNAME, NSDNAME, ADDRESS = "qname", "nsdname", "ip"
KINDS = (QNAME, NSDNAME, ADDRESS)

MIN_EXPIRE_S = 86_400
MAX_NAME = 253


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is listed."""

    trigger: str
    """A name (without the final dot) with all below it, a name server's name, or an address."""
    kind: str
    """`QNAME`, `NSDNAME` or `ADDRESS`."""
    reason: str
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What kind of zone it is."""

    origin: str = "rpz.unflux"
    action: str = "nxdomain"
    garden: tuple[str, ...] = ()
    """Where `garden` leads: one name, or addresses."""
    ttl_s: int = 60
    refresh_s: int = 60
    name_server: str = "localhost"

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"an RPZ action is one of {', '.join(ACTIONS)}, not {self.action!r}")
        if self.action == "garden" and not self.garden:
            raise ValueError("the action garden needs a name or addresses to lead to")
        if len([one for one in self.garden if not _is_address(one)]) > (len(self.garden) == 1):
            raise ValueError("a walled garden is one name, or addresses")


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the zone; `owner` is absolute."""

    owner: str
    ttl_s: int
    rdtype: str
    rdata: str
    comment: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two records the same record."""
        return (self.owner, self.rdtype, self.rdata)


def trigger_of(finding: Finding) -> str:
    """What to list of a finding: its name, or its zone where that is served by flux agents."""
    zone, domain = finding.zone, finding.registered_domain
    own_zone = zone and domain and (zone == domain or zone.endswith(f".{domain}"))
    if finding.verdict in (DOUBLE_FLUX, NS_FLUX) and zone and own_zone:
        return zone
    return finding.name


def serial_at(now_s: int, previous: int | None) -> int:
    """The zone's serial: the time, and never behind the one before (RFC 1982)."""
    serial = now_s % 2**32
    if previous is not None and not 0 < (serial - previous) % 2**32 < 2**31:
        serial = (previous + 1) % 2**32
    return serial


def soa(entries: Iterable[Entry], policy: Policy, serial: int, now_us: int) -> Record:
    """The SOA: a secondary that is cut off forgets no entry before its time."""
    left_s = max((entry.until_us - now_us for entry in entries), default=0) // 1_000_000
    expire = min(max(MIN_EXPIRE_S, left_s + policy.refresh_s), 2**31 - 1)
    host = _absolute(policy.name_server)
    rdata = f"{host} hostmaster.{host} {serial} {policy.refresh_s} 30 {expire} {policy.ttl_s}"
    return Record(_absolute(policy.origin), policy.ttl_s, "SOA", rdata.replace("hostmaster..", "."))


def records(entries: Sequence[Entry], policy: Policy, allow: Iterable[str] = ()) -> list[Record]:
    """All records but the SOA, in a fixed order; names that are allowed come first and pass.

    An entry at or below an allowed name is left out; an allowed name below an entry gets
    `rpz-passthru`, which is more specific than the entry's wildcard and so wins.
    """
    origin = _absolute(policy.origin)
    made = [Record(origin, policy.ttl_s, "NS", _absolute(policy.name_server))]
    allowed = sorted({one.rstrip(".").lower() for one in allow if one.strip(".")})
    for name in allowed:
        made += _both(name, origin, "CNAME", "rpz-passthru.", policy.ttl_s, "allowed")
    free = set(allowed)
    for entry in sorted(entries, key=lambda one: (one.kind, one.trigger)):
        if entry.kind == QNAME and is_under(entry.trigger, free):
            continue
        comment = _comment(entry)
        for owner in owners(entry, origin):
            for rdtype, rdata in _actions(policy):
                made.append(Record(owner, policy.ttl_s, rdtype, rdata, comment))
    return made


def allow_records(policy: Policy, allow: Iterable[str]) -> list[Record]:
    """A zone of allowed names only, to be listed before all other policy zones."""
    return records((), policy, allow)


def owners(entry: Entry, origin: str) -> list[str]:
    """Where an entry stands in the zone; nothing where it would be too long a name."""
    if entry.kind == ADDRESS:
        return [f"{address_label(entry.trigger)}.rpz-ip.{origin}"]
    if entry.kind == NSDNAME:
        made = [f"{entry.trigger}.rpz-nsdname.{origin}"]
    else:
        made = [f"{entry.trigger}.{origin}", f"*.{entry.trigger}.{origin}"]
    return [owner for owner in made if len(owner) <= MAX_NAME]


def address_label(address: str) -> str:
    """An address as RPZ spells it: prefix length, then bytes (words) from the last to the first."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return ".".join(["32", *reversed(str(parsed).split("."))])
    words = [f"{int(word, 16):x}" for word in parsed.exploded.split(":")]
    start, length = _longest_zeros(words)
    if length > 1:
        words = [*words[:start], "zz", *words[start + length :]]
    return ".".join(["128", *reversed(words)])


def zone_text(
    entries: Sequence[Entry], policy: Policy, serial: int, now_us: int, allow: Iterable[str] = ()
) -> Iterator[str]:
    """The zone as the lines of a zone file; reasons stand beside the records as comments."""
    start = soa(entries, policy, serial, now_us)
    yield f"$TTL {policy.ttl_s}\n"
    for record in [start, *records(entries, policy, allow)]:
        comment = f" ; {record.comment}" if record.comment else ""
        yield f"{record.owner} {record.ttl_s} IN {record.rdtype} {record.rdata}{comment}\n"


def is_under(name: str, names: set[str]) -> bool:
    """Is the name one of these, or below one?"""
    labels = name.split(".")
    return any(".".join(labels[start:]) in names for start in range(len(labels)))


def _actions(policy: Policy) -> list[tuple[str, str]]:
    if policy.action == "garden":
        if _is_address(policy.garden[0]):
            return [("AAAA" if ":" in one else "A", one) for one in policy.garden]
        return [("CNAME", _absolute(policy.garden[0]))]
    target = {"nxdomain": ".", "nodata": "*.", "monitor": "rpz-passthru."}[policy.action]
    return [("CNAME", target)]


def _both(name: str, origin: str, rdtype: str, rdata: str, ttl_s: int, why: str) -> list[Record]:
    made = (f"{name}.{origin}", f"*.{name}.{origin}")
    return [Record(owner, ttl_s, rdtype, rdata, why) for owner in made if len(owner) <= MAX_NAME]


def _comment(entry: Entry) -> str:
    until = datetime.fromtimestamp(entry.until_us // 1_000_000, UTC)
    reason = "".join(sign if sign.isprintable() and sign != ";" else " " for sign in entry.reason)
    return f"{reason}; until {until:%Y-%m-%dT%H:%M:%SZ}"


def _absolute(name: str) -> str:
    return name.rstrip(".") + "."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _longest_zeros(words: list[str]) -> tuple[int, int]:
    best, start = (0, 0), 0
    for at in range(len(words) + 1):
        if at == len(words) or words[at] != "0":
            best = max(best, (at - start, -start))
            start = at + 1
    return -best[1], best[0]
