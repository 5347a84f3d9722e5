"""How a site is served. One value, checked where it is made; nothing reads configuration later."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from unflux.errors import UnfluxError
from unflux.pipeline import ScanOptions
from unflux.share.case import NOBODY, Reporter
from unflux.web.store import ROLES
from unflux.web.store.access import MIN_TOKEN_LENGTH, Principal, sha256

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what anybody can ask for."""

    requests_per_s: float = 50.0
    """Of one token (or address, without a token), in the long run; 0 is no limit."""
    burst: int = 500
    """Requests at once before that counts."""
    body_bytes: int = 64 << 10
    """Of a request other than an upload."""
    upload_bytes: int = 256 * MIB
    uploads: int = 50
    """Uploads that are kept."""
    waiting: int = 8
    """Uploads that wait for their scan."""
    scan_cpu_s: int = 1800
    """CPU time of an upload's scan."""
    scan_memory_bytes: int = 8 << 30
    """Address space of it."""
    export_rows: int = 1_000_000
    export_names: int = 20_000
    """Of an export for which the sightings are read again."""
    exports: int = 2
    """Exports that are made at a time."""
    streams: int = 100
    """Pages that follow the live feed at a time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `unflux serve` was told."""

    store_url: str
    data: Path
    """Directory for uploads and indexes."""
    dataset: Path | None = None
    scan: ScanOptions = field(default_factory=ScanOptions)
    host: str = "127.0.0.1"
    port: int = 8053
    token_hashes: dict[str, Principal] = field(default_factory=dict)
    """Tokens of the token file: SHA-256 to whose it is."""
    alerts: Path | None = None
    """Alerts of `unflux watch`, one JSON object a line."""
    watch: tuple[str, ...] = ()
    """Where a running `unflux watch` is: URL of its metrics, its state directory, or both."""
    lab: str | None = None
    """Directory of a running lab, or ``running`` for the one there is."""
    reporter: Reporter = NOBODY
    """Who sends abuse reports."""
    walk: Path | None = None
    """What `unflux lab walk … --json` printed."""
    limits: Limits = field(default_factory=Limits)

    @property
    def indexes(self) -> Path:
        """Directory of what is kept to answer faster; it may be deleted when nothing is served."""
        return self.data / "indexes"

    @property
    def needs_token(self) -> bool:
        """Without a token file, only this machine's users can come, and they may everything."""
        return bool(self.token_hashes) or not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Can only this machine reach a server on this address?"""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_tokens(path: Path) -> dict[str, Principal]:
    """The token file: ``NAME ROLE TOKEN`` a line; empty lines and # comments are passed over.

    Raises
    ------
    UnfluxError
        When others can read the file, or a line is something else.
    """
    if path.stat().st_mode & 0o077:
        raise UnfluxError(f"{path} can be read by others: chmod 600 {path}")
    found: dict[str, Principal] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[1] not in ROLES or len(words[2]) < MIN_TOKEN_LENGTH:
            raise UnfluxError(
                f"{path}, line {number}: a line is NAME ROLE TOKEN, the role one of "
                f"{', '.join(ROLES)}, the token {MIN_TOKEN_LENGTH} characters or more "
                "(openssl rand -hex 32)"
            )
        found[sha256(words[2])] = Principal(words[0], words[1])
    if not found:
        raise UnfluxError(f"{path} has no token; a line is NAME ROLE TOKEN")
    return found
