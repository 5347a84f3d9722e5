"""`unflux serve`: the page and the API over a dataset, captures, or uploads alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unflux import sightings, sources
from unflux.cli import common, shared
from unflux.errors import UnfluxError
from unflux.pipeline import ScanOptions
from unflux.share.case import NOBODY, Reporter
from unflux.sightings import Dataset

if TYPE_CHECKING:
    from unflux.web.settings import Settings
    from unflux.web.store import Store

INSTALL = "this command needs packages that are not installed: pip install 'unflux[serve]'"
STORE_FILE = "findings.sqlite"

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="Where findings, triage and notes are kept: sqlite:///FILE or "
        "postgresql://USER@HOST/NAME. Default: findings.sqlite in the data directory.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Directory of what is kept beside the dataset. Default: the dataset's own; for "
        "captures a temporary one, gone when this ends.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(serve))


def serve(
    tables: shared.Tables,
    who: shared.Clients,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="A dataset of unflux, or captures and logs.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than loopback needs --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8053,
    db: Db = None,
    data: Data = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Lines of NAME ROLE TOKEN; roles are read, triage, admin. Mode 600."),
    ] = None,
    alerts: Annotated[
        Path | None, typer.Option(help="Alerts of `unflux watch` (NDJSON): the live page.")
    ] = None,
    walk: Annotated[
        Path | None, typer.Option(help="Output of `unflux lab walk … --json`: the lab page.")
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(
            help="A running `unflux watch`: http://127.0.0.1:PORT of its --metrics, its --state "
            "directory for what is blocked, or both."
        ),
    ] = None,
    lab: Annotated[
        str | None,
        typer.Option(help="A running lab: its directory, or `running` for the one there is."),
    ] = None,
    reporter: Annotated[
        str, typer.Option(help="Your organisation, in abuse reports.")
    ] = NOBODY.organisation,
    contact: Annotated[
        str, typer.Option(help="Your address for answers, in abuse reports.")
    ] = NOBODY.contact,
    max_upload_mib: Annotated[
        int, typer.Option(min=1, max=65_536, help="Largest capture that may be uploaded.")
    ] = 256,
    requests_per_s: Annotated[
        float, typer.Option(min=0, help="Of one token or address, in the long run; 0: no limit.")
    ] = 50.0,
    detector: common.DetectorOption = "unflux",
    vantage: shared.Vantage = "unknown",
) -> None:
    """Serve findings as pages and API, on this machine by default."""
    scan = shared.Reading(vantage=vantage).scan_options(tables, who, detector_id=detector)
    with common.clean_end():
        _check_installed()
        from unflux.web import server, watching
        from unflux.web.settings import MIB, Limits, Settings, is_loopback, read_tokens

        for target in watch or ():
            watching.parse_target(target)
        tokens = read_tokens(token_file) if token_file else {}
        if not tokens and not is_loopback(host):
            raise ValueError(
                f"{host} can be reached by others: give them tokens with --token-file FILE"
            )
        with server.bound(host, port) as socket, _directories(paths or [], data) as (folder, own):
            dataset = _dataset(paths or [], own, folder, scan)
            settings = Settings(
                store_url=db or sqlite_url(folder),
                data=folder,
                dataset=dataset,
                scan=scan,
                host=host,
                port=socket.getsockname()[1],
                token_hashes=tokens,
                alerts=alerts,
                walk=walk,
                watch=tuple(watch or ()),
                lab=lab,
                reporter=Reporter(reporter, contact),
                limits=Limits(requests_per_s=requests_per_s, upload_bytes=max_upload_mib * MIB),
            )
            with opened(settings.store_url) as store:
                _judge(settings, store)
                server.run(settings, store, socket)


def _check_installed() -> None:
    """One sentence instead of an import error."""
    try:
        import alembic
        import fastapi
        import prometheus_client
        import sqlalchemy
        import uvicorn
    except ModuleNotFoundError:
        raise UnfluxError(INSTALL) from None
    _ = (alembic, fastapi, prometheus_client, sqlalchemy, uvicorn)


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """The store of a URL."""
    _check_installed()
    from unflux.web.store import Store

    store = Store(url)
    try:
        yield store
    finally:
        store.close()


def sqlite_url(folder: Path) -> str:
    """The store that is used where no other is named."""
    return f"sqlite:///{(folder / STORE_FILE).resolve()}"


@contextmanager
def _directories(paths: list[Path], data: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """The directory for what is kept, and the dataset if one was named."""
    own = paths[0] if len(paths) == 1 and Dataset.is_at(paths[0]) else None
    folder = data or own
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder, own
        return
    with tempfile.TemporaryDirectory(prefix="unflux-serve-") as temporary:
        common.errors.print(
            "unflux: findings and notes are kept until this ends; --data DIR keeps them",
            markup=False,
        )
        yield Path(temporary), None


def _dataset(paths: list[Path], own: Path | None, folder: Path, scan: ScanOptions) -> Path | None:
    """The dataset to serve; captures are taken into one first."""
    if own is not None:
        return own
    dataset = folder / "dataset"
    if paths:
        with (
            sources.streams_as_files(paths) as files,
            common.progress_bar("reading") as on_progress,
        ):
            history = sightings.add_to(
                Dataset.open(dataset), files, scan.read, on_progress=on_progress
            )
        common.print_errors(history.inputs)
        if common.none_read(history.inputs) and not Dataset.open(dataset).files:
            raise UnfluxError("none of these could be read: there is nothing to serve")
    return dataset if Dataset.is_at(dataset) else None


def _judge(settings: Settings, store: Store) -> None:
    from unflux.web import judging
    from unflux.web.history import HistoryReader

    if settings.dataset is None:
        return
    new = judging.scan_of(settings.dataset)
    scan = store.findings.scan(new.id) or new
    done = judging.judge(store, scan, settings.scan)
    if not done.current:
        common.errors.print(f"unflux: {done.names} names judged", markup=False)
    HistoryReader(settings.dataset, done.scan.id, settings.indexes).prepare()
