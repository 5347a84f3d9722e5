"""What the formats that the core decodes by itself have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from unflux import _native
from unflux._native import Progress, Reducer
from unflux.errors import plain_error
from unflux.sources.base import Books, ReadOptions, is_packed


class NativeSource:
    """Gives a source whose `name` the core knows `sniff` and `read`."""

    name: ClassVar[str]

    def sniff(self, head: bytes) -> bool:
        """See `unflux.sources.base.Source`."""
        return _native.sniff(head) == self.name

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        """See `unflux.sources.base.Source`."""
        books, error = into.read(
            self.name,
            path,
            progress,
            ports=list(options.ports),
            vantage=options.vantage,
            since_us=options.since_us,
            until_us=options.until_us,
            threads=options.threads,
        )
        return Books.of(books, _said(path, error))


class NativeAnswers(NativeSource):
    """The same for formats of single responses."""

    def read_answers(
        self,
        path: Path,
        out: Callable[[pa.RecordBatch], None],
        first_response: int,
        options: ReadOptions,
        progress: Progress,
    ) -> tuple[Books, int]:
        """See `unflux.sources.base.AnswerSource`."""
        books, error, following = _native.read_answers(
            self.name,
            path,
            progress,
            out,
            first_response=first_response,
            clients=options.clients,
            client_key=options.client_key,
            ports=list(options.ports),
            vantage=options.vantage,
            since_us=options.since_us,
            until_us=options.until_us,
        )
        return Books.of(books, _said(path, error)), following


def _said(path: Path, error: str | None) -> str | None:
    """The core's error; what a packed file lacks is said of what it is packed with."""
    if error is None:
        return None
    lacks = "cannot be unpacked to its end: " if is_packed(path) else ""
    return lacks + plain_error(error)
