"""Labels of names: `{"names": {"NAME": {"flux": true, "kind": "…"}}}`, as the lab writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from unflux.errors import UnfluxError


class Label(msgspec.Struct, frozen=True):
    """What a name is known to be."""

    flux: bool
    kind: str = "unknown"
    verdict: str | None = None
    """single_flux, double_flux, ns_flux or not_flux; None where only flux or not is known."""
    network: str | None = None
    """Names of one network stand or fall together: intervals are drawn over networks."""
    sub_network: str | None = None
    split: str | None = None


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
