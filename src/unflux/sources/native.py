"""Single answers of the formats that the core decodes by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from unflux import _native
from unflux._native import Progress
from unflux.sources.base import Books, ReadOptions


class NativeAnswers:
    """Gives a source whose `name` the core knows its `read_answers`."""

    name: ClassVar[str]

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
            keep_clients=options.keep_clients,
            ports=list(options.ports),
            vantage=options.vantage,
            since_us=options.since_us,
            until_us=options.until_us,
        )
        return Books.of(books, error), following
