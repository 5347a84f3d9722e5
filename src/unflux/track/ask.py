"""The edge to the network: one query out, one response in. Only queries are ever sent."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.query import HTTPVersion

from unflux.errors import UnfluxError
from unflux.track.facts import Query, Record, Response

EDNS_BYTES = 1232
"""UDP payload that is not fragmented (DNS flag day 2020)."""
PORTS = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
NAME_TYPES = frozenset({"NS", "CNAME", "PTR", "DNAME"})


class NoAnswer(UnfluxError):
    """A server did not answer; the text is the reason: ``timeout``, ``unreachable``, …"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and how to speak to it."""

    scheme: str
    address: str
    port: int
    host: str | None = None
    """Name in the certificate (``tls``), or in the URL (``https``)."""
    path: str = "/dns-query"


def endpoint(text: str) -> Endpoint:
    """Read ``192.0.2.1``, ``[2001:db8::1]:5353``, ``tcp://…``, ``tls://192.0.2.1#dns.example``
    or ``https://192.0.2.1/dns-query#dns.example``.

    Servers are addresses: a name would have to be looked up, and nobody is asked by default.

    Raises
    ------
    ValueError
        When it is none of these.
    """
    bare = text if "://" in text else f"udp://{_bracketed(text)}"
    parts = urlsplit(bare)
    try:
        port, address = parts.port, str(ip_address(parts.hostname or ""))
    except ValueError:
        raise ValueError(
            f"{text!r} is no server: write an address such as 192.0.2.1, [2001:db8::1]:53, "
            "tls://192.0.2.1#dns.example or https://192.0.2.1/dns-query#dns.example"
        ) from None
    if parts.scheme not in PORTS:
        raise ValueError(f"{text!r}: a server is reached by {', '.join(PORTS)}")
    port = PORTS[parts.scheme] if port is None else port
    if not 0 < port < 65_536:
        raise ValueError(f"{text!r}: a port is a number from 1 to 65535")
    return Endpoint(parts.scheme, address, port, parts.fragment or None, parts.path or "/dns-query")


def _bracketed(text: str) -> str:
    return f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text


class Asker:
    """Sends queries, UDP first and TCP when the answer is cut, each from a port of its own.

    Parameters
    ----------
    endpoints
        Resolvers by the name that queries have for them.
    port
        Port of name servers; 53 outside of labs.
    source
        Own address to send from, so that a sensor can tell our queries from other traffic.
    """

    def __init__(
        self,
        endpoints: dict[str, Endpoint],
        *,
        timeout_s: float,
        port: int = 53,
        source: str | None = None,
    ) -> None:
        self.endpoints, self.timeout_s, self.port, self.source = endpoints, timeout_s, port, source
        if any(one.scheme == "https" for one in endpoints.values()):
            _need_https()

    async def ask(self, query: Query) -> Response:
        """The response to a query.

        Raises
        ------
        NoAnswer
            With the reason.
        """
        to = self.endpoints.get(query.server) or Endpoint("udp", query.server, self.port)
        message = dns.message.make_query(
            query.qname, query.qtype, use_edns=0, payload=EDNS_BYTES, want_dnssec=False
        )
        if not query.recurse:
            message.flags &= ~dns.flags.RD
        try:
            return read_message(await self._send(message, to))
        except (dns.exception.Timeout, TimeoutError):
            raise NoAnswer("timeout") from None
        except ssl.SSLError:
            raise NoAnswer("tls") from None
        except (OSError, EOFError):
            raise NoAnswer("unreachable") from None
        except (dns.exception.DNSException, ValueError):
            raise NoAnswer("malformed") from None

    async def _send(self, message: dns.message.Message, to: Endpoint) -> dns.message.Message:
        family_fits = self.source is not None and (":" in self.source) == (":" in to.address)
        source = self.source if family_fits else None
        if to.scheme == "udp":
            found, _ = await dns.asyncquery.udp_with_fallback(
                message, to.address, self.timeout_s, to.port, source,
                ignore_unexpected=True, ignore_errors=True, one_rr_per_rrset=True,
            )  # fmt: skip
            return found
        if to.scheme == "tcp":
            return await dns.asyncquery.tcp(
                message, to.address, self.timeout_s, to.port, source, one_rr_per_rrset=True
            )
        if to.scheme == "tls":
            return await dns.asyncquery.tls(
                message, to.address, self.timeout_s, to.port, source,
                server_hostname=to.host or to.address, one_rr_per_rrset=True,
            )  # fmt: skip
        url = f"https://{to.host or _bracketed(to.address)}:{to.port}{to.path}"
        return await dns.asyncquery.https(
            message, url, self.timeout_s, source=source, bootstrap_address=to.address,
            one_rr_per_rrset=True, http_version=HTTPVersion.H2,
        )  # fmt: skip


def _need_https() -> None:
    """Which HTTP client it takes is dnspython's affair, and changed with its version 2.9."""
    if not dns.query.have_doh:
        raise UnfluxError("DNS over HTTPS needs an HTTP client: pip install 'unflux[doh]'")


def read_message(message: dns.message.Message) -> Response:
    """A response as the tracker takes it: names lower case, one TTL per record."""
    records = [
        record
        for section, rrsets in (
            ("answer", message.answer),
            ("authority", message.authority),
            ("additional", message.additional),
        )
        for rrset in rrsets
        if rrset.rdclass == dns.rdataclass.IN
        for record in _records(section, rrset)
    ]
    rcode = dns.rcode.to_text(message.rcode())
    return Response(rcode, bool(message.flags & dns.flags.AA), tuple(records))


def _records(section: str, rrset: object) -> list[Record]:
    owner = rrset.name.to_text().lower()  # type: ignore[attr-defined]
    rdtype = dns.rdatatype.to_text(rrset.rdtype)  # type: ignore[attr-defined]
    found = []
    for rdata in rrset:  # type: ignore[attr-defined]
        text = rdata.to_text()
        text = text.lower() if rdtype in NAME_TYPES else text
        found.append(Record(section, owner, rdtype, rrset.ttl, text))  # type: ignore[attr-defined]
    return found
