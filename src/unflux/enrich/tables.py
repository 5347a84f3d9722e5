"""Find MMDB files: named by the user, by the environment, in the usual places, or our own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from unflux import _native
from unflux.errors import Unavailable, plain_error

OWN_TABLES = Path(__file__).parent / "data"
"""Made by the build from packages of ip-location-db, see NOTICE; may be absent."""

DIRECTORIES = tuple(
    map(Path, ("/usr/share/GeoIP", "/var/lib/GeoIP", "/usr/local/share/GeoIP", "/etc/unflux"))
)
FILE_NAMES = {
    "asn": ("GeoLite2-ASN.mmdb", "dbip-asn-lite.mmdb", "ipinfo_lite.mmdb", "asn.mmdb"),
    "country": (
        "GeoLite2-Country.mmdb",
        "dbip-country-lite.mmdb",
        "ipinfo_lite.mmdb",
        "country.mmdb",
    ),
}
OLD_AFTER = timedelta(days=180)
MAX_TIME_S = 253_402_300_800
"""Year 10000, which Python's dates do not reach."""


@dataclass(frozen=True, slots=True)
class IpTable:
    """One MMDB file in use."""

    path: Path
    table: _native.AddressTable
    kind: str
    """What the file calls itself, such as ``GeoLite2-ASN``."""
    made_at: datetime
    """When its data was collected."""
    licence: str | None = None

    def warning(self, now: datetime) -> str | None:
        """A sentence when the data is old at `now`."""
        age = now - self.made_at
        if age < OLD_AFTER:
            return None
        return (
            f"the table {self.path.name} is of {self.made_at:%Y-%m-%d}, {age.days} days old: "
            "addresses may have moved to other networks since"
        )


def find(kind: str, named: Path | None = None) -> IpTable | None:
    """The table of a kind (``asn`` or ``country``); None if there is none anywhere.

    Raises
    ------
    Unavailable
        When a table that was named (also by the environment) cannot be read.
    """
    from_environment = os.environ.get(f"UNFLUX_{kind.upper()}_DB")
    if named is None and from_environment:
        named = Path(from_environment)
    if named is not None:
        return _open(named, kind)
    for directory in DIRECTORIES:
        for name in FILE_NAMES[kind]:
            if (directory / name).is_file():
                return _open(directory / name, kind)
    own = OWN_TABLES / f"{kind}.mmdb"
    return _open(own, kind) if own.is_file() else None


def _open(path: Path, kind: str) -> IpTable:
    try:
        table = _native.AddressTable(path)
    except ValueError as error:
        raise Unavailable(f"the {kind} table {path} cannot be read: {plain_error(error)}") from None
    name, built_at_s = table.about()
    if built_at_s >= MAX_TIME_S:
        raise Unavailable(f"the {kind} table {path} cannot be read: its date is after year 9999")
    made_at, licence = datetime.fromtimestamp(built_at_s, UTC), None
    about = _about_own(path)
    if about:
        made_at = datetime.fromisoformat(about["date"]).replace(tzinfo=UTC)
        licence = about["licence"]
    return IpTable(path, table, name, made_at, licence)


def _about_own(path: Path) -> dict[str, str] | None:
    """What the build noted about one of our own tables."""
    notes = OWN_TABLES / "tables.json"
    if path.parent != OWN_TABLES or not notes.is_file():
        return None
    entry: dict[str, str] | None = json.loads(notes.read_text()).get(path.stem)
    return entry
