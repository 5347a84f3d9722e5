"""Map the networks of one dataset in a process of its own: `python -m unflux.web.network_worker`.

Minutes of work and their memory stay out of the server, under limits of both. The job comes on
standard input; one JSON object goes out: ``{"networks"}`` or ``{"error"}``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from unflux import networks, pipeline, sources
from unflux.errors import UnfluxError
from unflux.networks import Network, views
from unflux.pipeline import ScanOptions
from unflux.web import worker
from unflux.web.judging import NONE_LISTED

STATE_FILE = "networks.json"
"""In the dataset, as `unflux networks` keeps it: ids last."""
MAX_NETWORKS = 500
MAX_NAMES = 1000
MAX_AGENTS = 2000
"""Of one network; the page says how many there are."""


def main() -> int:
    """Do the job on standard input."""
    job: dict[str, Any] = json.load(sys.stdin)
    worker.limit(job)
    try:
        told: dict[str, Any] = {"networks": _networks(job)}
    except (UnfluxError, ValueError) as error:
        told = {"error": str(error)}
    except MemoryError:
        told = {"error": "the networks of this dataset need more memory than the page may have"}
    except OSError as error:
        told = {"error": f"the dataset cannot be read: {error.strerror or error}"}
    sys.stdout.buffer.write(msgspec.json.encode(told))
    return 0


def _networks(job: dict[str, Any]) -> list[dict[str, Any]]:
    dataset = Path(job["dataset"])
    scan = pipeline.scan([dataset], _options(job))
    for one in scan.history.inputs:
        if one.books.error is not None:
            raise UnfluxError(f"{sources.name_of(one.path)}: {one.books.error}")
    state = dataset / STATE_FILE if os.access(dataset, os.W_OK) else None
    found = networks.find_networks(scan.judged, state_file=state)
    return [shortened(one) for one in found.networks[:MAX_NETWORKS]]


def _options(job: dict[str, Any]) -> ScanOptions:
    return ScanOptions(
        asn_db=Path(job["asn_db"]) if job["asn_db"] else None,
        country_db=Path(job["country_db"]) if job["country_db"] else None,
        detector_id=job["detector"],
        min_score=NONE_LISTED,
    )


def shortened(one: Network) -> dict[str, Any]:
    """A network as `unflux networks --json` has it, long lists cut, and how its graph is drawn."""
    links = [link for link in one.links if link[0] < MAX_NAMES and link[1] < MAX_AGENTS]
    short = msgspec.structs.replace(
        one, names=one.names[:MAX_NAMES], agents=one.agents[:MAX_AGENTS], links=links
    )
    whole: dict[str, Any] = msgspec.to_builtins(short)
    drawn = views.graph(one)
    graph = drawn._asdict() | {"nodes": [node._asdict() for node in drawn.nodes]}
    return whole | {"n_names": len(one.names), "n_agents": len(one.agents), "graph": graph}


if __name__ == "__main__":
    sys.exit(main())
