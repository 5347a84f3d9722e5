"""Labels of names: `{"names": {"NAME": {"flux": true, "kind": "…"}}}`, as the lab writes them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from unflux.errors import UnfluxError

Kind = Literal["single_flux", "double_flux", "ns_flux", "not_flux"]
"""What a name is; a word of one's own would count as a miss of whatever detector."""


class Label(msgspec.Struct, frozen=True):
    """What a name is known to be."""

    flux: bool
    kind: str = "unknown"
    verdict: Kind | None = None
    """None where only flux or not is known."""
    verdict_before: Kind | None = None
    """What it is before `changes`, where it becomes of another kind."""
    changes: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    network: str | None = None
    """Names of one network stand or fall together: intervals are drawn over networks."""
    sub_network: str | None = None
    split: str | None = None

    def at(self, time_us: int) -> Label:
        """The label of who saw nothing after a time (microseconds since 1970)."""
        if self.changes is None or time_us >= self.changes.timestamp() * 1e6:
            return self
        return msgspec.structs.replace(self, verdict=self.verdict_before)


class _File(msgspec.Struct):
    names: dict[str, Label]


def load_labels(path: Path) -> dict[str, Label]:
    """Labels by name, absolute and in lower case.

    Raises
    ------
    UnfluxError
        When the file cannot be read as labels.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.MsgspecError as error:
        raise UnfluxError(f"{path} holds no labels: {error}") from None
    if not content.names:
        raise UnfluxError(f"{path} holds no labels: it names nobody")
    return {name.rstrip(".").lower() + ".": label for name, label in content.names.items()}
