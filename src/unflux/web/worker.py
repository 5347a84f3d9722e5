"""Scan one uploaded capture in a process of its own: `python -m unflux.web.worker`.

Bytes of a stranger are read here, under limits of memory, CPU time and file size; the server only
reads what this prints: a JSON object a line, ``{"done", "total"}`` while it reads and at the end
``{"names"}`` or ``{"error"}``.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from unflux import sightings, sources
from unflux.errors import UnfluxError
from unflux.pipeline import ScanOptions
from unflux.sources.base import ReadOptions
from unflux.web import judging
from unflux.web.store import Scan, Store


def main() -> int:
    """Do the job on standard input."""
    job: dict[str, Any] = json.load(sys.stdin)
    limit(job)
    try:
        names = _scan(job)
    except (UnfluxError, ValueError) as error:
        _say(error=str(error))
    except MemoryError:
        _say(error="this capture needs more memory than an upload may have")
    except OSError as error:
        _say(error=f"this capture cannot be scanned: {error.strerror or error}")
    else:
        _say(names=names)
    return 0


def _scan(job: dict[str, Any]) -> int:
    capture, dataset = Path(job["capture"]), Path(job["dataset"])
    options = ScanOptions(
        read=ReadOptions(threads=1),
        asn_db=Path(job["asn_db"]) if job["asn_db"] else None,
        country_db=Path(job["country_db"]) if job["country_db"] else None,
        detector_id=job["detector"],
    )
    history = sightings.add_to(
        sightings.Dataset.open(dataset),
        [capture],
        options.read,
        on_progress=lambda done, total: _say(done=done, total=total),
    )
    [read] = history.inputs
    if read.books.error is not None and not read.books.decoded:
        raise UnfluxError(f"this file {read.books.error.removesuffix(sources.NAME_ONE)}")
    if not any(batch.num_rows for batch in history.activity) and not any(
        batch.num_rows for batch in history.sightings
    ):
        raise UnfluxError("there are no DNS responses in this file")
    store = Store(job["store_url"])
    scan = Scan(job["id"], "upload", job["title"], str(dataset))
    return judging.judge(store, scan, options).names


def limit(job: dict[str, Any]) -> None:
    """Memory, CPU time and file size of this process from now on."""
    for what, value in (
        (resource.RLIMIT_CPU, job["cpu_s"]),
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, job["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (value, value))


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main())
