"""What unflux's detector adds up: signals with their bounds, weights and sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    """One piece of evidence: 0 at `low`, 1 at `high` (or the other way round), linear between."""

    feature: str
    low: float
    high: float
    weight: float
    says: str
    """A sentence with the feature's value as ``{value}``."""
    says_one: str | None = None
    """Said instead where the value is 1."""

    def sentence(self, value: float) -> str:
        """What is said of a value."""
        chosen = self.says_one if value == 1 and self.says_one else self.says
        return chosen.format(value=value)

    @property
    def sql(self) -> str:
        """Strength, 0…1; null when the feature is (`least` and `greatest` pass over nulls)."""
        strength = f"({self.feature} - {self.low}) / ({self.high - self.low})"
        return f"CASE WHEN {self.feature} IS NOT NULL THEN greatest(0, least(1, {strength})) END"

    def strength(self, value: float) -> float:
        """The same for one value."""
        return max(0.0, min(1.0, (value - self.low) / (self.high - self.low)))


DOMAINS = "{value:.0f} registered domains draw from its pool"
ONE_DOMAIN = "no other registered domain draws from its pool"

# Bounds: one answer of ten addresses lies in eight ASes (median of 29 flux names, 2011), /16s do
# not repeat in it; benign answers of three and more have a /16 ratio of 0.17 (median). TTLs of
# 215 flux names: 261 ± 60 s (FluXOR 2008); many benign ones are as short, so the weight is small.
ADDRESS_SIGNALS = (
    Signal("n_networks", 3, 9, 0.30, "its addresses lie in {value:.0f} networks"),
    Signal(
        "network_ratio",
        0.4,
        0.85,
        0.20,
        "{value:.0%} of its addresses are in networks of their own",
    ),
    Signal(
        "turnover_ratio", 0.2, 0.8, 0.15, "{value:.0%} of an answer is replaced when it changes"
    ),
    Signal("pool_ratio", 2, 8, 0.15, "{value:.0f} times as many addresses as one answer held"),
    Signal("novelty_ratio", 0.1, 0.6, 0.05, "{value:.0%} of later answers was never seen before"),
    Signal("answers_max", 4, 8, 0.05, "one response held {value:.0f} addresses"),
    Signal(
        "pool_dwell_ratio",
        0.9,
        0.5,
        0.20,
        "the hosts of its pool stay for {value:.0%} of the time that a fixed pool's would",
    ),
    Signal("pool_domains", 1, 4, 0.15, DOMAINS, ONE_DOMAIN),
    Signal(
        "serving_ratio",
        0.5,
        0.1,
        0.10,
        "{value:.0%} of its addresses are in networks that plain names are served from",
    ),
    Signal("n_countries", 1, 4, 0.05, "its addresses lie in {value:.0f} countries"),
    Signal("ttl_max_s", 7200, 600, 0.05, "its TTL is {value:.0f} s"),
)
NS_SIGNALS = (
    Signal("ns_networks", 3, 8, 0.35, "its name servers' addresses lie in {value:.0f} networks"),
    Signal(
        "ns_turnover_ratio",
        0.2,
        0.8,
        0.35,
        "{value:.0%} of its name servers or of their addresses is replaced when they change",
    ),
    Signal(
        "ns_pool_ratio",
        1.5,
        5,
        0.20,
        "{value:.1f} times as many name servers or addresses of one as there are at a time",
    ),
    Signal("ns_address_ttl_max_s", 7200, 600, 0.10, "their addresses have a TTL of {value:.0f} s"),
)
# Inside one or two networks there is no spread to see: what is left is that addresses are used up.
RENTED_SIGNALS = (
    Signal(
        "pool_dwell_ratio",
        0.9,
        0.5,
        0.35,
        "the hosts of its pool stay for {value:.0%} of the time that a fixed pool's would",
    ),
    Signal("pool_domains", 1, 5, 0.35, DOMAINS, ONE_DOMAIN),
    Signal("novelty_ratio", 0.05, 0.3, 0.20, "{value:.0%} of later answers was never seen before"),
    Signal("retention", 1.0, 0.5, 0.10, "{value:.0%} of an answer is still in the next one"),
)


def weighted(signals: tuple[Signal, ...]) -> str:
    """Σ weight × strength over the signals that are known, as a share of their weights."""
    have = " + ".join(f"coalesce({s.weight} * {s.sql}, 0)" for s in signals)
    of = " + ".join(f"({s.weight} * ({s.feature} IS NOT NULL)::INT)" for s in signals)
    return f"({have}) / nullif({of}, 0)"
