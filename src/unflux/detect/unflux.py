"""unflux's own detector: rotation over many networks, the pool behind it, benign services tried.

A verdict rests on conditions (`conditions`), each of which can be checked by hand: spread over
networks for the number of addresses, answers that are replaced when they change, other operators'
domains that draw from the same pool, and whether the hosts of that pool stay. The score beside it
is a logistic regression over signals and conditions (`score.json` has its weights and its card),
kept inside the band of its verdict. What rotates like flux and like a benign service is
`ambiguous`; what was seen too little is `insufficient`.

Where it goes wrong: a pool of volunteers that answers with one, or with five to fourteen addresses
of unrelated networks looks like flux until some hours have shown that its hosts stay. Flux of two
to four addresses per answer on a single domain stays `ambiguous` until hours have shown that its
hosts do not. Flux in one to four networks is called only when three other domains share its hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from unflux import engine
from unflux.detect import base
from unflux.detect.base import Explanation, Reason, Row
from unflux.detect.conditions import (
    BENIGN,
    CLOSED,
    DRIFTS,
    ENOUGH_SEEN,
    EXCUSES,
    LEAVES,
    MIXED,
    NS_MIXED,
    NS_ROTATES,
    ONE_ADDRESS,
    ONE_AT_A_TIME,
    OTHERS,
    PASSIVE_HISTORY,
    PROVEN,
    RENTED,
    ROTATES,
    SEEM_TO_STAY,
    SPREAD,
    WIDE_ANSWER,
)  # fmt: skip
from unflux.detect.signals import ADDRESS_SIGNALS, NS_SIGNALS, RENTED_SIGNALS, Signal, weighted
from unflux.times import duration_text

FLUX_SCORE = 0.6
"""Strength of the name-server layer from which it is called flux."""
AMBIGUOUS_SCORE = 0.5
UNSEEN_FACTOR = 0.8
"""An answer that was seen once is worth less than one that was seen to rotate."""
BANDS = {
    **dict.fromkeys(base.FLUX_VERDICTS, (0.51, 1.0)),
    base.AMBIGUOUS: (0.2, 0.49),
    base.NOT_FLUX: (0.0, 0.19),
    base.INSUFFICIENT: (0.0, 0.19),
}
"""Between which scores each verdict lies, whatever the regression says."""

INPUTS = {
    "called_flux": f"(verdict IN {base.FLUX_VERDICTS})::INT",
    "called_ambiguous": f"(verdict = '{base.AMBIGUOUS}')::INT",
    "address_score": "address_score",
    "ns_score": "ns_score",
    "spread": "greatest(0, least(1, n_networks / 20.0))",
    "others": f"least(1, ln(1 + {OTHERS}) / ln(11))",
    "closed": f"{CLOSED}::INT",
}
"""What the score is a regression over, each in [0, 1]."""


class Weights(msgspec.Struct, frozen=True):
    """A logistic regression as data, with where it comes from."""

    card: dict[str, Any]
    intercept: float
    weights: dict[str, float]

    @property
    def sql(self) -> str:
        """Probability of flux on data like that it was trained on."""
        terms = " + ".join(f"{weight!r} * {INPUTS[name]}" for name, weight in self.weights.items())
        return f"(1 / (1 + exp(-({self.intercept!r} + {terms}))))"


WEIGHTS = msgspec.json.decode((Path(__file__).parent / "score.json").read_bytes(), type=Weights)


def _banded(probability: str) -> str:
    cases = " ".join(
        f"WHEN '{verdict}' THEN least({high}, greatest({low}, {probability}))"
        for verdict, (low, high) in BANDS.items()
    )
    return f"CASE verdict {cases} END"


JUDGED = f"""
WITH evidence AS (
    SELECT *,
        coalesce({weighted(ADDRESS_SIGNALS)}, 0)
            * CASE WHEN n_pairs > 0 THEN 1 ELSE {UNSEEN_FACTOR} END AS address_score,
        CASE WHEN ns_changes >= 3 THEN coalesce({weighted(NS_SIGNALS)}, 0) ELSE 0 END
            AS ns_score,
        {", ".join(f"coalesce({b.sql}, false) AS is_{b.name}" for b in BENIGN)}
    FROM features
), judged AS (
    SELECT *,
        coalesce(n_addresses >= 5 AND answers_max IS NOT NULL AND (
            (n_networks >= 5 AND {SPREAD} AND (NOT {ONE_ADDRESS} OR {ONE_AT_A_TIME})
                AND (({ROTATES}) OR ({DRIFTS})))
            OR ({WIDE_ANSWER}) OR ({PASSIVE_HISTORY})), false)
            AS looks_like_flux,
        coalesce(n_addresses >= 5 AND n_networks >= 5 AND address_score >= {AMBIGUOUS_SCORE}
            AND (n_pairs = 0 OR ({ROTATES} AND growth_events >= 3 AND new_per_hour >= 0.5)), false)
            AS looks_odd,
        coalesce(ns_score >= {FLUX_SCORE} AND {NS_ROTATES}, false) AS looks_like_ns_flux,
        {MIXED} AS is_mixed, {NS_MIXED} AS is_ns_mixed,
        coalesce({PROVEN}, false) AS is_proven, coalesce({LEAVES}, false) AS hosts_leave,
        coalesce({RENTED}, false) AS looks_rented,
        {" OR ".join(f"is_{name}" for name in EXCUSES)} AS is_excused
    FROM evidence
), proven AS (
    SELECT *, ((looks_like_flux AND NOT is_excused) OR looks_rented) AND NOT is_mixed
            AND n_asns IS NOT NULL AS is_flux,
        looks_like_ns_flux AND ns_asns IS NOT NULL AND NOT is_ns_mixed AS is_ns_flux
    FROM judged
), called AS (
    SELECT * EXCLUDE (is_flux, is_ns_flux), CASE
        WHEN (is_flux OR (looks_odd AND n_asns IS NOT NULL)) AND is_ns_flux
            THEN '{base.DOUBLE_FLUX}'
        WHEN is_flux THEN '{base.SINGLE_FLUX}'
        WHEN is_ns_flux THEN '{base.NS_FLUX}'
        WHEN (looks_odd AND NOT (is_round_robin OR is_cdn OR is_cloud_api)) OR looks_like_ns_flux
            THEN '{base.AMBIGUOUS}'
        WHEN {ENOUGH_SEEN} THEN '{base.NOT_FLUX}'
        ELSE '{base.INSUFFICIENT}'
    END AS verdict
    FROM proven
)
"""

QUERY = f"""{JUDGED}
SELECT address_score, ns_score, {", ".join(f"is_{b.name}" for b in BENIGN)}, looks_rented, verdict,
    round({_banded(WEIGHTS.sql)}, 4) AS score,
    CASE
        WHEN verdict = '{base.INSUFFICIENT}' THEN 'low'
        WHEN verdict IN ('{base.NS_FLUX}', '{base.DOUBLE_FLUX}') AND ns_changes >= 6
            THEN 'high'
        WHEN looks_rented THEN 'medium'
        WHEN verdict = '{base.SINGLE_FLUX}' AND NOT is_proven THEN 'low'
        WHEN verdict = '{base.SINGLE_FLUX}' AND NOT hosts_leave AND {SEEM_TO_STAY} THEN 'low'
        WHEN verdict = '{base.SINGLE_FLUX}' AND n_pairs >= 1 AND NOT hosts_leave THEN 'medium'
        WHEN n_pairs >= 3 AND n_asns IS NOT NULL THEN 'high'
        WHEN n_pairs >= 1 THEN 'medium'
        ELSE 'low'
    END AS confidence
FROM called
"""


class Unflux:
    """Rotation and spread, with benign explanations tried."""

    id: ClassVar[str] = "unflux"
    version: ClassVar[int] = 5
    title: ClassVar[str] = "unflux's own: rotation over networks, benign explanations tried"
    reads_published: ClassVar[bool] = False

    def judge(self, features: pa.Table) -> pa.Table:
        found = engine.query(QUERY, features=features)  # rows stay in their order
        for name in found.column_names:
            features = features.append_column(name, found.column(name))
        return features

    def inputs(self, features: pa.Table) -> pa.Table:
        """Names and what their scores are computed from: for training (`tools/fit_score.py`)."""
        columns = ", ".join(f"{sql} AS {name}" for name, sql in INPUTS.items())
        return engine.query(f"{JUDGED} SELECT name, {columns} FROM called", features=features)

    def reasons(self, row: Row) -> list[Reason]:
        ns_layer = row["verdict"] in (base.NS_FLUX, base.DOUBLE_FLUX)
        signals = {
            base.NS_FLUX: NS_SIGNALS,
            base.DOUBLE_FLUX: ADDRESS_SIGNALS + NS_SIGNALS,
        }.get(row["verdict"], ADDRESS_SIGNALS)
        if row["looks_rented"]:
            signals = RENTED_SIGNALS
        known = [signal for signal in signals if row[signal.feature] is not None]
        total = sum(signal.weight for signal in known) or 1.0
        reasons = [_reason(signal, row[signal.feature], total) for signal in known]
        if ns_layer and row["web_dns_overlap"]:
            says = f"{row['web_dns_overlap']:.0%} of its name servers' addresses also serve names"
            reasons.append(Reason("web_dns_overlap", row["web_dns_overlap"], says, 0.0))
        if row["shared_ratio"] and row["max_domains_per_address"] >= 2:
            says = f"{row['shared_ratio']:.0%} of its addresses serve other domains too"
            reasons.append(Reason("shared_ratio", row["shared_ratio"], says, 0.0))
        if row["verdict"] in base.FLUX_VERDICTS:
            reasons += [
                Reason(name, row[name], says.format(duration_text(row[name])), 0.0)
                for name, says in PERIODS.items()
                if row[name] is not None and (ns_layer or not name.startswith("ns_"))
            ]
        return sorted(reasons, key=lambda reason: -reason.weight)

    def explanations(self, row: Row) -> list[Explanation]:
        return [outcomes[bool(row[column])] for column, outcomes in OUTCOMES]


OUTCOMES = [
    (
        f"is_{benign.name}",
        (
            Explanation(benign.name, False, benign.fits_not),
            Explanation(benign.name, True, benign.fits),
        ),
    )
    for benign in BENIGN
]
"""What each benign service that was tried says: not matching, and matching."""

PERIODS = {
    "rotation_period_s": "its addresses change about every {}",
    "ns_address_period_s": "a name server's addresses change about every {}",
    "ns_rrset_period_s": "its delegation changes about every {}",
}


def _reason(signal: Signal, value: Any, total: float) -> Reason:
    weight = signal.weight * signal.strength(float(value)) / total
    return Reason(signal.feature, value, signal.sentence(value), round(weight, 4))
