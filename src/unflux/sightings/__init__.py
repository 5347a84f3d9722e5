"""Reduce inputs to mergeable history, and keep it: the tables `sightings` and `activity`."""

from __future__ import annotations

from unflux.sightings.dataset import Dataset, write_dataset
from unflux.sightings.files import check_new_directory, whole_directory, whole_file, write_table
from unflux.sightings.history import History, Input, plain
from unflux.sightings.intake import entries_of
from unflux.sightings.reading import (
    OnProgress,
    add_to,
    raise_first_fault,
    reduce,
    run_interruptibly,
    sigterm_as_interrupt,
)
from unflux.sightings.selection import Selection, select
from unflux.sightings.taken import TakenIn

__all__ = [
    "Dataset",
    "History",
    "Input",
    "OnProgress",
    "Selection",
    "TakenIn",
    "add_to",
    "check_new_directory",
    "entries_of",
    "plain",
    "raise_first_fault",
    "reduce",
    "run_interruptibly",
    "select",
    "sigterm_as_interrupt",
    "whole_directory",
    "whole_file",
    "write_dataset",
    "write_table",
]
