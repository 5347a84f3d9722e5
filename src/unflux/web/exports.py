"""Findings of the store in the forms of `unflux.share`, written to a temporary file and sent."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from unflux.detect import Finding
from unflux.share import json as share_json

CHUNK_BYTES = 1 << 18
NEEDS_SIGHTINGS = ("cof",)
"""Made from sightings, not from findings: `/api/v1/cof/NAME` has them by name."""
SUFFIXES = {"json": "json", "ndjson": "ndjson", "csv": "csv", "csv-agents": "csv"}
MEDIA = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
}
