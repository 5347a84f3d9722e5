"""Detectors: one module each, features in, findings out.

To add one, see CONTRIBUTING.md, "Add a detector".
"""

from __future__ import annotations

from unflux.detect.anomalous_dns import AnomalousDns
from unflux.detect.base import FLUX_VERDICTS, VERDICTS, Detector, Finding
from unflux.detect.caglayan2009 import Caglayan2009
from unflux.detect.cisa_rule import CisaRule
from unflux.detect.fluxbuster import FluxBuster
from unflux.detect.fluxor import Fluxor
from unflux.detect.holz2008 import Holz2008
from unflux.detect.nazario2008 import Nazario2008
from unflux.detect.perdisci import PerdisciFilters
from unflux.detect.stalmans import Stalmans
from unflux.detect.stalmans_count import StalmansCount
from unflux.detect.trained import Perdisci2009, Ssfd2010
from unflux.detect.unflux import Unflux

__all__ = ["DETECTORS", "FLUX_VERDICTS", "VERDICTS", "Detector", "Finding", "by_id"]

DETECTORS: tuple[Detector, ...] = (
    Unflux(),
    Holz2008(),
    AnomalousDns(),
    Stalmans(),
    StalmansCount(),
    Fluxor(),
    Nazario2008(),
    PerdisciFilters(),
    Perdisci2009(),
    FluxBuster(),
    Caglayan2009(),
    Ssfd2010(),
    CisaRule(),
)


def by_id(detector_id: str) -> Detector:
    """The detector that ``--detector ID`` asks for."""
    for detector in DETECTORS:
        if detector.id == detector_id:
            return detector
    known = ", ".join(detector.id for detector in DETECTORS)
    raise ValueError(f"there is no detector {detector_id!r}; known ones: {known}")
