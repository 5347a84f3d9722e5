"""What tests of the site share: a dataset of the lab with hostile names in it, and both databases."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.name
import pytest

from conftest import response, udp_frame, write_pcap
from unflux import pipeline, sightings
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions
from unflux.sources.base import ReadOptions

pytest.importorskip("fastapi", reason="the site needs pip install 'unflux[serve]'")
pytest.importorskip("sqlalchemy", reason="the site needs pip install 'unflux[serve]'")

from fastapi.testclient import TestClient

from unflux.web import judging
from unflux.web.app import create_app
from unflux.web.settings import Limits, Settings
from unflux.web.store import Store

LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 56, "test"])
"""255 bytes on the wire."""
HOSTILE = (
    "<script>alert\\(1\\)</script>.test",
    '\\"><img\\032src=x\\032onerror=alert\\(2\\)>.test',
    "=cmd|'/c\\032calc'!a1.test",
    "\\226\\128\\174gnp.exe.test",  # U+202E, right-to-left override
    "\\000\\027[31mcontrol\\010.test",
    "{{7*7}}${7*7}.test",
    "\\046\\046%2f\\046\\046\\092etc/passwd.test",
    LONG,
)
START_S = 1_767_571_200  # that of the lab's world


@dataclass(frozen=True, slots=True)
class World:
    """A dataset on disk and its tables."""

    dataset: Path
    options: ScanOptions
    capture: Path
    """The hostile names alone."""

    def copy(self, to: Path) -> Path:
        """A copy of the dataset that a test may change."""
        return Path(shutil.copytree(self.dataset, to))


def flux_of(name: str, n_answers: int = 14) -> list[tuple[float, bytes]]:
    """Frames in which a name has ten addresses, mostly new ones, every half hour."""
    frames = []
    for number in range(n_answers):
        hosts = [(number * 7 + place * 31) % 500 for place in range(10)]
        addresses = [
            f"198.{18 + host // 256}.{host % 256}.{place + 1}" for place, host in enumerate(hosts)
        ]
        wire = response(f"{name}.", "A", [(f"{name}.", 300, "A", addresses)])
        frames.append((START_S + 1500 * number, udp_frame(wire)))
    return frames


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six hours of the scenario `walk`, and names that try to be something else."""
    folder = tmp_path_factory.mktemp("site")
    made = synth(scenarios.load("walk"), folder / "walk", ["parquet"])
    assert dns.name.from_text(LONG).to_wire().__len__() == 255
    frames = sorted(frame for name in HOSTILE for frame in flux_of(name))
    capture = write_pcap(folder / "hostile.pcap", frames)
    options = ScanOptions(
        read=ReadOptions(threads=2),
        asn_db=made.directory / "asn.mmdb",
        country_db=made.directory / "country.mmdb",
    )
    dataset = sightings.Dataset.open(folder / "dataset")
    sightings.add_to(dataset, [made.directory / "answers.parquet", capture], options.read)
    return World(folder / "dataset", options, capture)


@pytest.fixture(scope="session")
def scanned(world: World) -> pipeline.Scan:
    """What `unflux scan` says of the same dataset."""
    options = ScanOptions(
        world.options.read, asn_db=world.options.asn_db, country_db=world.options.country_db,
        min_score=0.0,
    )  # fmt: skip
    return pipeline.scan([world.dataset], options)


# -- databases ------------------------------------------------------------------------------------


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of our own on a Unix socket: no port, no password, gone afterwards."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="pip install 'unflux[postgres]'")
    folder = Path("/tmp") / f"unflux-pg-{uuid.uuid4().hex[:8]}"  # noqa: S108  a socket's path is short
    folder.mkdir(mode=0o700)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        who = {"user": "postgres"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data = folder / "data"
    initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "unflux", "-E", "UTF8", "-N"]
    subprocess.run(initdb, check=True, cwd="/", **who, **quiet)
    control = [programs / "pg_ctl", "-D", data, "-w"]
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=80"
    subprocess.run([*control, "-o", options, "start"], check=True, cwd="/", **who, **quiet)
    try:
        yield f"postgresql://unflux@/{{name}}?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, cwd="/", **who, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


def new_postgres(template: str) -> str:
    """A new empty database of the cluster."""
    import psycopg

    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(template.format(name="postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return template.format(name=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.sqlite'}"
    return new_postgres(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def judged_url(
    request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A database of each kind in which the world was judged."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'findings.sqlite'}"
    else:
        url = new_postgres(request.getfixturevalue("postgres"))
    store = Store(url)
    judging.judge(store, judging.scan_of(world.dataset), world.options)
    store.close()
    return url


# -- the site -------------------------------------------------------------------------------------


def client_of(world: World, url: str, data: Path, **settings: Any) -> TestClient:
    """A client of a site over the world; failures are answers, not exceptions."""
    settings.setdefault("limits", Limits(requests_per_s=0))
    whole = Settings(
        store_url=url, data=data, dataset=world.dataset, scan=world.options, **settings
    )
    return TestClient(
        create_app(whole, Store(url)),
        base_url="http://127.0.0.1:8053",
        raise_server_exceptions=False,
    )


@pytest.fixture
def client(world: World, judged_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A client on loopback, where everybody is admin."""
    with client_of(world, judged_url, tmp_path) as one:
        yield one
        one.app.state.site.store.close()
