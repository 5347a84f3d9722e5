"""Delegations of a zone, out of a zone file or by a transfer (AXFR) from a server that is named."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.rrset
import dns.tokenizer
import dns.xfr
import dns.zone
import dns.zonefile

from unflux.errors import UnfluxError
from unflux.track.ask import endpoint
from unflux.track.zonediff import Delegations

TRANSFER_S = 600.0
MAX_RECORDS = 50_000_000


def load(text: str, origin: str | None = None) -> Delegations:
    """Read ``FILE`` (zone file, also gzipped) or ``axfr://SERVER[:PORT]/ZONE``.

    Raises
    ------
    UnfluxError
        When it cannot be read, or is no zone.
    ValueError
        When the address of the server is none.
    """
    if text.startswith("axfr://"):
        return _transfer(text)
    path = Path(text)
    try:
        opener = gzip.open if path.read_bytes()[:2] == b"\x1f\x8b" else open
        with opener(path, "rt", encoding="utf-8", errors="surrogateescape") as file:
            apex = dns.name.from_text(origin) if origin else None
            zone = dns.zone.from_file(file, origin=apex, relativize=False, check_origin=False)
    except OSError as error:
        raise UnfluxError(f"{path} cannot be read: {error.strerror or error}") from None
    except (dns.exception.DNSException, ValueError, KeyError) as error:
        raise UnfluxError(f"{path} is no zone file: {str(error) or type(error).__name__}") from None
    if zone.origin is None:
        raise UnfluxError(f"{path} names no zone: begin it with $ORIGIN, or give --origin")
    return _collect(zone)


def _transfer(text: str) -> Delegations:
    server, _, name = text.removeprefix("axfr://").partition("/")
    to = endpoint(f"tcp://{server}")
    try:
        zone = dns.zone.Zone(dns.name.from_text(name), relativize=False)
        dns.query.inbound_xfr(to.address, zone, port=to.port, timeout=10, lifetime=TRANSFER_S)
    except (OSError, EOFError) as error:
        raise UnfluxError(f"{text}: no transfer: {error}") from None
    except (dns.exception.DNSException, ValueError) as error:
        why = str(error) or type(error).__name__
        raise UnfluxError(f"{text}: no transfer of the zone: {why}") from None
    return _collect(zone)


def _collect(zone: dns.zone.Zone) -> Delegations:
    """NS below the apex, and addresses of hosts and names."""
    found = Delegations()
    for owner, rdataset in zone.iterate_rdatasets():
        name = owner.to_text().lower()
        texts = frozenset(rdata.to_text().lower() for rdata in rdataset)
        if rdataset.rdtype == dns.rdatatype.NS and owner != zone.origin:
            found.ns[name] = texts
        elif rdataset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            found.addresses[name] = found.addresses.get(name, frozenset()) | texts
            ttl = min(rdataset.ttl, found.glue_ttl_s.get(name, rdataset.ttl))
            found.glue_ttl_s[name] = ttl
    return _apart(found, {host for hosts in found.ns.values() for host in hosts})


def _apart(found: Delegations, hosts: Iterable[str]) -> Delegations:
    """Addresses of name servers are glue; the others are names' own."""
    of_hosts = set(hosts)
    keep: Callable[[str], bool] = of_hosts.__contains__
    found.glue = {host: one for host, one in found.addresses.items() if keep(host)}
    found.glue_ttl_s = {host: ttl for host, ttl in found.glue_ttl_s.items() if keep(host)}
    found.addresses = {name: one for name, one in found.addresses.items() if not keep(name)}
    return found
