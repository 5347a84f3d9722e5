"""What a detector is, and what it says: verdicts with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import msgspec
import pyarrow as pa

SINGLE_FLUX = "single_flux"
DOUBLE_FLUX = "double_flux"
NS_FLUX = "ns_flux"
AMBIGUOUS = "ambiguous"
NOT_FLUX = "not_flux"
INSUFFICIENT = "insufficient"

FLUX_VERDICTS = (SINGLE_FLUX, DOUBLE_FLUX, NS_FLUX)
VERDICTS = (*FLUX_VERDICTS, AMBIGUOUS, NOT_FLUX, INSUFFICIENT)

Row = Mapping[str, Any]
"""The features (and keys) of one name."""


class Reason(msgspec.Struct, frozen=True):
    """Why a score is what it is."""

    feature: str
    value: float | int | None
    says: str
    """A sentence for people."""
    weight: float
    """Share of the score that this brought, 0…1."""


class Explanation(msgspec.Struct, frozen=True):
    """A benign service that was tried as an explanation."""

    name: str
    match: bool
    says: str


class Agent(msgspec.Struct, frozen=True):
    """An address in a finding, and how much speaks against it. Addresses, not machines."""

    address: str
    evidence: str
    """``shared``: other names judged flux use it too; ``rotated``: it took part in a rotation;
    ``answered``: it stood in an answer; ``unproven``: the name itself is only ambiguous."""
    origin_asn: int | None
    organisation: str | None
    country: str | None
    special: str | None
    first_seen: str
    last_seen: str
    count: int


class DetectorId(msgspec.Struct, frozen=True):
    """Who judged."""

    id: str
    version: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one name. Names are without the final dot."""

    name: str
    verdict: str
    score: float
    confidence: str
    reasons: list[Reason]
    benign_explanations: list[Explanation]
    blind_spots: list[str]
    agents: msgspec.Raw
    """`list[Agent]` as JSON, see `agent_list`: a large capture has millions of them."""
    clients: msgspec.Raw
    """`list[str]` as JSON, see `client_list`."""
    n_clients: int
    first_seen: str | None
    last_seen: str | None
    registered_domain: str | None
    zone: str | None
    n_addresses: int
    n_asns: int | None
    n_countries: int | None
    ttl_max_s: int | None
    detector: DetectorId
    rotation_period_s: float | None = None
    """Time between changes of its addresses; null before three changes were seen."""
    ns_period_s: float | None = None
    """Time between changes of its delegation or of a name server's address, whichever is faster."""
    pool_domains: int | None = None
    """Registered domains that draw from the same pool, its own among them."""
    pool_addresses: int | None = None
    """Addresses seen in that pool."""

    @property
    def is_flux(self) -> bool:
        """Whether the verdict is one of the flux ones."""
        return self.verdict in FLUX_VERDICTS

    @property
    def agent_list(self) -> list[Agent]:
        """The agents as values."""
        return msgspec.json.decode(self.agents, type=list[Agent])

    @property
    def client_list(self) -> list[str]:
        """The clients as values."""
        return msgspec.json.decode(self.clients, type=list[str])


class Detector(Protocol):
    """Features in, verdicts out: no files, no sockets, no clock, no names of anybody.

    One that reads no feature of `unflux.features.published` may say so with
    ``reads_published = False``: then a scan does not compute them.
    """

    id: ClassVar[str]
    """Stable, stored with every finding."""
    version: ClassVar[int]
    """Raised when the same input may give another answer."""
    title: ClassVar[str]
    """One line for people, with the source."""

    def judge(self, features: pa.Table) -> pa.Table:
        """`features` with the columns verdict, score (0…1) and confidence, row by row."""
        ...

    def reasons(self, row: Row) -> list[Reason]:
        """Why one judged row has its score, weightiest first."""
        ...

    def explanations(self, row: Row) -> list[Explanation]:
        """The benign services that were tried, each with its outcome."""
        ...
