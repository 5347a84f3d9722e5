#!/usr/bin/env python3
"""Reduce a capture to sightings and activity in memory: `sightings.py CAPTURE THREADS`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from unflux import sightings
from unflux.sources.base import ReadOptions


def main() -> None:
    """Print how many rows there are, and leave without tidying up (that is not the job)."""
    history = sightings.reduce([Path(sys.argv[1])], ReadOptions(threads=int(sys.argv[2])))
    print(sum(batch.num_rows for batch in history.sightings), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
