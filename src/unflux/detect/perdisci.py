"""The candidate filters of Perdisci, Corona, Dagon and Lee (ACSAC 2009): F1, F2 and F3.

They keep what a clustering and a trained tree then judge; without the authors' clusters and labels
the filters alone are what is published in full. Our reading of F3 is "any": "all" would drop every
flux name with a TTL of 300 s.
"""

from __future__ import annotations

from typing import ClassVar

from unflux.detect.published import PublishedRule

# T: longest TTL seen; P: addresses of a response; R: all addresses; G: growth events; Q: queries,
# here fresh answers (theirs were cache misses); p: share of /16s among R (F1 asks it of each
# response, of which only the number of addresses is known: all of them stand for one).
F1 = "(ttl_max_s <= 10800 AND (answers_max >= 3 OR ttl_max_s <= 30) AND prefix_ratio >= 1 / 3.0)"
F2_DROPS = "(n_fresh > 100 AND growth_events < 3 AND (n_addresses <= 5 OR prefix_ratio <= 0.5))"
F3 = (
    "(ttl_max_s < 30 OR n_addresses >= 10 OR growth_events >= 5 "
    "OR (n_addresses >= 5 AND prefix_ratio >= 0.8) "
    "OR (prefix_ratio >= 0.5 AND ttl_max_s <= 3600 AND growth_events >= 10))"
)


class PerdisciFilters(PublishedRule):
    """Candidates of the 2009 pipeline, before clustering."""

    id: ClassVar[str] = "perdisci_filters"
    title: ClassVar[str] = "Perdisci et al., ACSAC 2009: candidate filters F1 to F3"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "ttl_max_s", "prefix_ratio", "answers_max")
    flux: ClassVar[str] = f"{F1} AND NOT {F2_DROPS} AND {F3}"
    score: ClassVar[str] = f"CASE WHEN {F1} AND NOT {F2_DROPS} AND {F3} THEN 1 ELSE 0 END"
