"""What the API takes and gives, with examples: the source of `/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from unflux.web.store.access import ROLES
from unflux.web.store.cases import TRIAGE_STATES

EXAMPLE_NAME = "c2.mother.test"
NAME_LENGTH = 1100
"""Characters of a name of 255 bytes when each is written as an escape, and some more."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH, pattern=r"^[!-~]+$")]
State: TypeAlias = Literal["new", "watching", "confirmed", "benign"]
Role: TypeAlias = Literal["read", "triage", "admin"]
if set(TRIAGE_STATES) != set(State.__args__) or set(ROLES) != set(Role.__args__):  # type: ignore[attr-defined]
    raise AssertionError("states and roles of the API are those of the store")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(BaseModel):
    """What went wrong."""

    kind: str = Field(examples=["not_found"], description="Stable: programs may compare it.")
    message: str = Field(examples=["there is no such name"], description="A sentence for people.")
    position: int | None = Field(None, description="Where in a search line, from 0.")
    where: str | None = Field(None, description="Which parameter or field.")


class Error(BaseModel):
    """Every failure looks like this."""

    ok: Literal[False] = False
    error: ErrorDetail


class Row(_Model):
    """A finding in a table."""

    name: str = Field(examples=[EXAMPLE_NAME])
    registered_domain: str | None = Field(examples=["mother.test"])
    verdict: str = Field(examples=["double_flux"])
    score: float = Field(ge=0, le=1, examples=[0.97])
    confidence: str = Field(examples=["high"])
    n_addresses: int
    n_asns: int | None
    n_countries: int | None
    ttl_max_s: int | None
    n_clients: int
    first_seen: str | None = Field(examples=["2026-01-05T00:00:22.622492Z"])
    last_seen: str | None
    why: str = Field(description="The two weightiest reasons, or the benign explanation that fits.")
    triage: State
    n_notes: int


class FindingsPage(_Model):
    """A page of findings."""

    scan: str | None = Field(description="Of which scan; null when nothing was judged yet.")
    page: int
    size: int
    pages: int
    total: int = Field(description="Findings that the search found.")
    by_verdict: dict[str, int] = Field(description="The same by verdict.")
    findings: list[Row]


class ScanInfo(_Model):
    """Something that was judged."""

    id: str
    kind: Literal["dataset", "upload"]
    title: str
    detector_id: str | None
    detector_version: int | None
    judged_at: str | None


class Scans(_Model):
    """All scans."""

    scans: list[ScanInfo]


class ScanSummary(_Model):
    """What a scan read and could not see; `summary` is that of `unflux scan --json`."""

    scan: ScanInfo
    summary: dict[str, Any]


class NoteOut(_Model):
    """A remark on a name."""

    id: int
    text: str
    by: str
    at: str


class NoteIn(_Model):
    """A new remark."""

    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)
    ] = Field(examples=["Seen in the mail of 3 March, asked the registrar."])


class TriageIn(_Model):
    """A new state."""

    state: State


class TriageManyIn(_Model):
    """A new state for many names."""

    names: list[Name] = Field(min_length=1, max_length=1000, examples=[[EXAMPLE_NAME]])
    state: State


class TriageOut(_Model):
    """The state of names."""

    names: list[str]
    state: State


class NameInfo(_Model):
    """Everything that was said of a name; `finding` is as in `unflux scan --json`."""

    scan: str
    finding: dict[str, Any]
    triage: State
    notes: list[NoteOut]


class NameHistory(_Model):
    """What was seen of a name over time."""

    name: str
    zone: str | None
    aliases: list[str]
    strip: dict[str, Any] = Field(
        description="A row an address; cells are [bin, fresh answers], bins begin at `bins.start`."
    )
    ns_strip: dict[str, Any]
    ttl: list[dict[str, Any]]
    ns_ttl: list[dict[str, Any]]
    name_servers: list[dict[str, Any]]
    accumulation: list[dict[str, Any]]
    pool: dict[str, Any] | None
    spread: dict[str, Any]
    sharing: list[dict[str, Any]]
    activity: list[dict[str, Any]]
    cut: bool = Field(description="More was seen than is shown here.")


class SightingsPage(_Model):
    """Sightings as they are kept, in order of time."""

    page: int
    size: int
    total: int
    sightings: list[dict[str, Any]]


class NetworksOut(_Model):
    """Flux networks of a scan, as of `unflux networks --json`."""

    state: Literal["working", "ready", "unavailable"]
    message: str | None
    networks: list[dict[str, Any]]


class UploadOut(_Model):
    """What became of an upload."""

    id: str
    title: str
    state: Literal["receiving", "waiting", "reading", "judging", "done", "failed", "cancelled"]
    made_at: str
    size_bytes: int
    done_bytes: int
    names: int | None
    error: str | None


class UploadsOut(_Model):
    """Uploads of this run, the newest first."""

    uploads: list[UploadOut]
    limit_bytes: int


class TokenIn(_Model):
    """A new token."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@-]{1,64}$")] = Field(
        examples=["siem"]
    )
    role: Role


class TokenOut(_Model):
    """A token without its secret."""

    id: int
    name: str
    role: Role
    made_at: str


class TokenMade(TokenOut):
    """A new token: the secret is told this once."""

    token: str


class TokensOut(_Model):
    """All tokens that were made through the API."""

    tokens: list[TokenOut]


class AuditEntry(_Model):
    """Who did what."""

    id: int
    at: str
    by: str
    address: str
    action: str
    subject: str
    detail: str


class AuditPage(_Model):
    """Entries of the audit log, the newest first."""

    entries: list[AuditEntry]
    next_before: int | None = Field(description="`before` of the next page; null at the end.")


class Me(_Model):
    """Who asks, and what there is."""

    name: str
    role: Role
    version: str
    live: bool = Field(description="Are there alerts of `unflux watch`, or its numbers?")
    lab: bool = Field(description="Is there a walk, or a running lab?")
    features: list[str] = Field(examples=[["alerts", "watch", "walk", "lab"]])
    upload_limit_bytes: int
    exports: dict[str, str] = Field(description="Export formats and what they are.")


class Health(_Model):
    """The server and its database answer."""

    ok: Literal[True] = True
    version: str


class LiveOut(_Model):
    """The last alerts of the live feed, the newest first."""

    number: int
    malformed: int
    alerts: list[dict[str, Any]]


class Blocked(_Model):
    """One entry of the watch's policy zone."""

    trigger: str
    kind: str = Field(examples=["qname"])
    name: str = Field(description="The name whose finding this comes from.")
    verdict: str
    score: float
    reason: str
    action: str = Field(examples=["monitor"], description="`monitor` blocks nothing.")
    since: str
    until: str


class WatchOut(_Model):
    """What a running `unflux watch` says of itself."""

    health: dict[str, Any] | None = Field(description="Its `/healthz`; null: it does not answer.")
    trouble: str | None
    rates: list[dict[str, Any]] = Field(description="Counts a second, a sample every two seconds.")
    numbers: dict[str, float] = Field(description="Its `/metrics`, without `unflux_watch_`.")
    has_blocks: bool = Field(description="Is its state directory known?")
    n_blocks: int
    blocks: list[Blocked] = Field(description="Those with evidence last, at most 500.")


class TakedownIn(_Model):
    """What to take down in the lab."""

    what: Literal[
        "agent", "agent-dns", "name-servers", "back-end", "mothership", "delegation", "domain"
    ]
    network: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,80}$")] = Field(
        examples=["pharma-1-1"]
    )
    watch_s: float = Field(10.0, ge=1, le=60, description="Wall seconds that are measured.")


class LabOut(_Model):
    """A running lab."""

    status: dict[str, Any] = Field(description="As of `unflux lab status --json`.")
    takedowns: list[dict[str, Any]] = Field(description="Asked for here, the newest first.")
