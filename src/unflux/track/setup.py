"""A tracker as its user asked for it: who is asked, and who never is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import dns.exception
import dns.name
import dns.rdatatype
import dns.zonefile

from unflux import enrich
from unflux.errors import UnfluxError
from unflux.track.ask import Endpoint, endpoint
from unflux.track.machine import Tracker
from unflux.track.settings import Settings
from unflux.track.store import Store

MAX_HINTS = 100


@dataclass(frozen=True, slots=True)
class Whom:
    """Who may be asked. Nobody is asked by default."""

    resolvers: tuple[str, ...] = ()
    authoritative: bool = False
    hints: Path | None = None
    allow: tuple[str, ...] = ()
    """Networks that are not public, whose name servers may be asked all the same."""

    def check(self) -> None:
        """Raise `ValueError` when it does not say who is asked."""
        if self.authoritative and self.hints is None:
            raise ValueError("--authoritative needs --hints FILE (root hints, as named.root)")
        if self.authoritative and self.resolvers:
            raise ValueError(
                "--authoritative and --resolver exclude each other; --resolver with --hints asks "
                "resolvers for addresses and only root and public suffixes for delegations"
            )
        if not self.resolvers and not self.authoritative:
            raise ValueError("nobody is asked by default: name a --resolver, or --authoritative")

    def endpoints(self) -> dict[str, Endpoint]:
        """Resolvers as the runner speaks to them."""
        return {text: endpoint(text) for text in self.resolvers}


def tracker(store: Store, whom: Whom, settings: Settings, now: float, seed: int) -> Tracker:
    """A tracker that goes on from what is stored.

    Raises
    ------
    ValueError
        When `whom` is wrong.
    UnfluxError
        When the hints cannot be read.
    """
    whom.check()
    whom.endpoints()
    hints = read_hints(whom.hints) if whom.hints is not None else []
    targets = store.targets()
    asked = [one.asked_s for one in targets if one.asked_s is not None]
    made = Tracker(
        settings,
        started_s=now,
        resolvers=whom.resolvers,
        hints=hints,
        may_ask=(lambda _zone: True) if whom.authoritative else is_public_suffix,
        is_allowed=_allowed(whom.allow, hints),
        seed=seed,
        asked_last_s=max(asked, default=None),
    )
    made.restore(store.names(), targets, now)
    return made


def is_public_suffix(zone: str) -> bool:
    """May others register below it? Then its name servers are a registry's, never agents."""
    return enrich.registered_domain(zone) is None


def _allowed(networks: Sequence[str], hints: Sequence[str]) -> Callable[[str], bool]:
    """Whether the address of a name server may be asked: glue is written by those we watch."""
    nets: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def is_allowed(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if text in hints or any(address in net for net in nets):
            return True
        return address.is_global and not address.is_multicast

    return is_allowed


def read_hints(path: Path) -> list[str]:
    """Addresses of the root's name servers, from a file such as IANA's ``named.root``.

    Raises
    ------
    UnfluxError
        When it cannot be read or holds no address.
    """
    try:
        rrsets = dns.zonefile.read_rrsets(
            path.read_text(encoding="utf-8"), rdclass=None, default_rdclass="IN",
            default_ttl=3_600_000, origin=dns.name.root, relativize=False,
        )  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        raise UnfluxError(f"{path} cannot be read: {error}") from None
    except (dns.exception.DNSException, ValueError) as error:
        raise UnfluxError(f"{path} is no file of root hints: {error}") from None
    types = (dns.rdatatype.A, dns.rdatatype.AAAA)
    found = [rdata.to_text() for rrset in rrsets if rrset.rdtype in types for rdata in rrset]
    if not found:
        raise UnfluxError(f"{path} holds no address of a name server")
    return found[:MAX_HINTS]
