"""FluXOR (Passerini, Paleari, Martignoni, Bruschi, DIMVA 2008): a Gaussian naive Bayes classifier.

Means and standard deviations as printed in the paper's table 3, over three hours of monitoring;
of its nine features the four that DNS and an AS table give (addresses, TTL, networks, ASes). The
paper drops features it does not have. Domain age, which rejects most look-alikes there, is not one
of them.
"""

from __future__ import annotations

import math
from typing import ClassVar

from unflux.detect.published import PublishedRule

BENIGN_PRIOR, FLUX_PRIOR = 0.4, 0.6
"""50 benign and 75 flux names were trained on."""

TABLE_3 = {
    "n_addresses": ((2.86, 3.89), (98.13, 37.27)),
    "ttl_max_s": ((4592.53, 7668.74), (261.49, 59.64)),
    "n_prefixes": ((1.27, 0.65), (63.75, 23.91)),
    "n_asns": ((1.11, 0.36), (38.36, 12.34)),
}
"""Feature: (mean, standard deviation) of benign and of flux names."""


def log_density(feature: str, mean: float, deviation: float) -> str:
    """ln of the normal density, without the constant that both classes share."""
    return f"(-0.5 * pow(({feature} - {mean}) / {deviation}, 2) - {math.log(deviation):.12f})"


def log_odds() -> str:
    """ln of how much likelier flux is, over the features that are known."""
    terms = [
        f"coalesce({log_density(name, *flux)} - {log_density(name, *benign)}, 0)"
        for name, (benign, flux) in TABLE_3.items()
    ]
    return f"({math.log(FLUX_PRIOR / BENIGN_PRIOR):.12f} + {' + '.join(terms)})"


class Fluxor(PublishedRule):
    """Naive Bayes with the printed Gaussians."""

    id: ClassVar[str] = "fluxor"
    title: ClassVar[str] = "FluXOR, DIMVA 2008: naive Bayes over addresses, TTL, networks, ASes"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "n_asns", "n_prefixes", "ttl_max_s")
    flux: ClassVar[str] = f"{log_odds()} > 0"
    score: ClassVar[str] = f"1 / (1 + exp(-greatest(-700, least(700, {log_odds()}))))"
