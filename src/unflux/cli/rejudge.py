"""`unflux rejudge`: a new detector, or newer tables, over what was kept before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unflux.cli import common, shared
from unflux.cli.serve import Data, Db, opened, sqlite_url
from unflux.errors import UnfluxError
from unflux.pipeline import ScanOptions
from unflux.sightings import Dataset


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(rejudge))


def rejudge(
    tables: shared.Tables,
    dataset: Annotated[
        Path | None, typer.Argument(help="A dataset, with or without findings.")
    ] = None,
    db: Db = None,
    data: Data = None,
    detector: common.DetectorOption = "unflux",
    every: Annotated[
        bool, typer.Option("--all", help="Also what this detector judged before, unchanged.")
    ] = False,
    as_json: common.AsJson = False,
) -> None:
    """Judge kept sightings again, where facts, tables or detector changed; triage stays."""
    options = ScanOptions(asn_db=tables.asn_db, country_db=tables.country_db, detector_id=detector)
    with common.clean_end():
        folder = data or dataset
        if folder is None and db is None:
            raise ValueError("name a dataset, --data DIR or --db URL")
        if dataset is not None and not Dataset.is_at(dataset):
            raise UnfluxError(f"{dataset} is no dataset")
        url = db or sqlite_url(folder or Path())
        done = _rejudge(url, dataset, options, every)
        if as_json:
            typer.echo(json.dumps({"scans": done}))
            return
        for one in done:
            print(_sentence(one))


def _rejudge(
    url: str, dataset: Path | None, options: ScanOptions, every: bool
) -> list[dict[str, Any]]:
    with opened(url) as store:
        from unflux.web import judging

        scans = store.findings.scans()
        if dataset is not None:
            named = judging.scan_of(dataset)
            scans = [one for one in scans if one.id == named.id] or [named]
        done: list[dict[str, Any]] = []
        for scan in scans:
            entry: dict[str, Any] = {"id": scan.id, "title": scan.title}
            try:
                result = judging.judge(store, scan, options, even_if_current=every)
            except UnfluxError as error:
                done.append(entry | {"error": str(error)})
                continue
            changes = [
                {"from": old, "to": new, "names": n}
                for (old, new), n in sorted(result.changes.items())
            ]
            done.append(
                entry | {"current": result.current, "names": result.names, "changes": changes}
            )
            if not result.current:
                detail = f"{options.detector_id}, {result.names} names"
                store.access.record("command line", "local", "rejudge", scan.title, detail)
        return done


def _sentence(one: dict[str, Any]) -> str:
    if "error" in one:
        return f"{one['title']}: {one['error']}"
    if one["current"]:
        return f"{one['title']}: nothing changed since it was judged"
    changed = ", ".join(f"{c['names']} {c['from']} → {c['to']}" for c in one["changes"])
    return f"{one['title']}: {one['names']} names judged; {changed or 'no verdict changed'}"
