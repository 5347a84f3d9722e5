"""How Spark is reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """Where the cluster is and what it is told; nothing means what Spark itself is set to."""

    master: str | None = None
    """URL of the master: ``spark://host:7077``, ``yarn``, ``k8s://…``, ``local[4]``."""
    conf: dict[str, str] = field(default_factory=dict)
    """Settings of Spark, as of ``spark-submit --conf``."""


def parse_conf(settings: Iterable[str]) -> dict[str, str]:
    """Settings given as ``KEY=VALUE``.

    Raises
    ------
    ValueError
        When one is not of this form.
    """
    pairs = [setting.partition("=") for setting in settings]
    for key, equals, value in pairs:
        if not key.strip() or not equals:
            raise ValueError(f"--conf takes KEY=VALUE, not {key + equals + value!r}")
    return {key.strip(): value for key, _, value in pairs}
