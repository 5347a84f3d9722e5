"""Tables that give every /24 of 198.18.0.0/15 an AS and a country."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from unflux.enrich import mmdb

COUNTRIES = ("UA", "RO", "BR", "KR", "DE")


def lab_tables(folder: Path) -> tuple[Path, Path]:
    """`asn.mmdb` and `country.mmdb`, made in `folder`."""
    start = int(ip_address("198.18.0.0"))
    asn, country = [], []
    for number in range(512):
        first = start + 256 * number
        record = {
            "autonomous_system_number": 64_512 + number,
            "autonomous_system_organization": f"Lab {number}",
        }
        asn.append((first, first + 255, record))
        country.append((first, first + 255, {"country_code": COUNTRIES[number % 5]}))
    for name, rows in (("asn.mmdb", asn), ("country.mmdb", country)):
        mmdb.write(rows, folder / name, kind="lab", built_at_s=1_790_000_000)
    return folder / "asn.mmdb", folder / "country.mmdb"
