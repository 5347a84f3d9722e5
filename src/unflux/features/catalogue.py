"""Every feature, by name: one expression over the roll-up, with its unit, range and source.

The expressions are DuckDB SQL over the columns that `rust/core/src/rollup.rs` counts. A feature
that the input cannot tell is null: "not seen" is never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from unflux.features.chao import chao2_sql


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about one name in one window."""

    name: str
    sql: str
    unit: str
    range: str
    meaning: str
    source: str


# Incidences of addresses in different answers (lab: `docs/features.md` says when it holds).
POOL = chao2_sql("n_addresses", "n_once", "n_twice", "n_samples")
CHAO_HOLDS = "n_twice >= 10 AND n_once < 0.7 * n_incidences AND n_kept <= 0.5 * n_previous"

MAX_STAY_H = 1000
"""Longer stays are not told apart."""
_TURNOVER = (
    "CASE WHEN {0}_changed > 0 AND {0}_previous > 0 THEN least(1, "
    "({0}_previous - {0}_kept) * {0}_pairs / ({0}_changed * {0}_previous)::DOUBLE) ELSE 0 END"
)
NS_TURNOVER = ", ".join(_TURNOVER.format(layer) for layer in ("ns", "ns_address"))

FEATURES: tuple[Feature, ...] = (
    Feature(
        "n_addresses", "n_addresses", "addresses", "0…", "distinct A and AAAA rdata", "Holz 2008"
    ),
    Feature("n_ipv6", "n_ipv6", "addresses", "0…", "the AAAA among them", "unflux"),
    Feature(
        "n_prefixes",
        "n_prefixes",
        "prefixes",
        "0…",
        "distinct /16 (IPv6: /48; in the lab's 198.18.0.0/15: /26)",
        "FluXOR F5, 2008",
    ),
    Feature(
        "n_asns",
        "CASE WHEN n_asns > 0 THEN n_asns END",
        "networks",
        "1…",
        "distinct origin ASes; null without a table that knows one",
        "Holz 2008",
    ),
    Feature(
        "n_countries",
        "CASE WHEN n_countries > 0 THEN n_countries END",
        "countries",
        "1…",
        "distinct countries; null without a table",
        "FluXOR 2008",
    ),
    Feature(
        "n_networks",
        "CASE WHEN n_asns > 0 THEN n_asns ELSE n_prefixes END",
        "networks",
        "0…",
        "origin ASes, or prefixes where no AS is known",
        "unflux",
    ),
    Feature(
        "network_ratio",
        "CASE WHEN n_addresses > 1 THEN "
        "((CASE WHEN n_asns > 0 THEN n_asns ELSE n_prefixes END) - 1) / (n_addresses - 1.0) END",
        "ratio",
        "0…1",
        "(networks − 1) / (addresses − 1)",
        "Lombardo et al. 2018",
    ),
    Feature(
        "prefix_ratio",
        "n_prefixes / nullif(n_addresses, 0)::DOUBLE",
        "ratio",
        "0…1",
        "prefixes per address",
        "Perdisci 2009, φ4",
    ),
    Feature(
        "prefix_entropy_ratio",
        "CASE WHEN n_addresses > 1 THEN prefix_entropy_bits / log2(n_addresses) END",
        "ratio",
        "0…1",
        "entropy of prefixes over its maximum",
        "FluxBuster code, 2013",
    ),
    Feature(
        "asn_concentration",
        "CASE WHEN n_asns > 0 THEN asn_hhi END",
        "ratio",
        "0…1",
        "Herfindahl index: Σ share² over origin ASes",
        "unflux",
    ),
    Feature(
        "country_ratio",
        "CASE WHEN n_countries > 0 THEN n_countries / n_addresses::DOUBLE END",
        "ratio",
        "0…1",
        "countries per address",
        "Perdisci 2009, φ10",
    ),
    Feature(
        "special_ratio",
        "n_special / nullif(n_addresses, 0)::DOUBLE",
        "ratio",
        "0…1",
        "special-purpose addresses (decoys) among all",
        "Akamai 2017",
    ),
    Feature("ttl_max_s", "ttl_max_s", "s", "0…", "longest TTL of an address record", "Perdisci T̂"),
    Feature(
        "answers_per_response",
        "answers_sum / nullif(n_answers, 0)::DOUBLE",
        "records",
        "1…",
        "addresses per response, mean",
        "Holz 2008",
    ),
    Feature(
        "answers_max",
        "CASE WHEN answers_max > 0 THEN answers_max END",
        "records",
        "1…",
        "addresses in the longest response",
        "Lombardo et al. 2018",
    ),
    Feature(
        "fluxiness",
        "n_addresses / nullif(answers_sum / nullif(n_answers, 0)::DOUBLE, 0)",
        "ratio",
        "1…",
        "addresses over addresses per response",
        "Holz 2008, φ",
    ),
    Feature(
        "n_fresh",
        "n_fresh",
        "observations",
        "0…",
        "fresh answers, at most one a minute",
        "Perdisci Q*",
    ),
    Feature("n_pairs", "n_pairs", "pairs", "0…", "neighbouring fresh answers compared", "unflux"),
    Feature(
        "retention",
        "n_kept / nullif(n_previous, 0)::DOUBLE",
        "ratio",
        "0…1",
        "share of an answer that is in the next one too",
        "Konte 2009",
    ),
    Feature(
        "turnover_ratio",
        "CASE WHEN n_changed > 0 AND n_previous > 0 THEN "
        "least(1, (n_previous - n_kept) * n_pairs / (n_changed * n_previous)::DOUBLE) END",
        "ratio",
        "0…1",
        "share of an answer that is replaced when it changes: the same however often one looks",
        "unflux",
    ),
    Feature(
        "change_ratio",
        "n_changed / nullif(n_pairs, 0)::DOUBLE",
        "ratio",
        "0…1",
        "share of neighbouring answers that differ",
        "unflux",
    ),
    Feature(
        "novelty_ratio",
        "CASE WHEN n_pairs > 0 THEN n_new / nullif(n_slots - (n_addresses - n_new), 0)::DOUBLE END",
        "ratio",
        "0…1",
        "share of later answers' records never seen before",
        "Konte 2009",
    ),
    Feature(
        "growth_events",
        "n_growth_events",
        "observations",
        "0…",
        "answers that brought something new",
        "Perdisci |G|",
    ),
    Feature(
        "growth_ratio",
        "n_addresses / nullif(n_fresh, 0)::DOUBLE",
        "ratio",
        "0…",
        "addresses per fresh answer",
        "Perdisci 2009, φ6",
    ),
    Feature(
        "new_per_hour",
        "CASE WHEN n_pairs > 0 AND last_us > first_us "
        "THEN n_new * 3.6e9 / greatest(last_us - first_us, 6e7) END",
        "1/h",
        "0…",
        "addresses never seen before, per hour",
        "unflux",
    ),
    Feature(
        "duration_s", "(last_us - first_us) / 1e6", "s", "0…", "time from first to last", "unflux"
    ),
    Feature(
        "fail_ratio",
        "n_failures / nullif(n_responses, 0)::DOUBLE",
        "ratio",
        "0…1",
        "failed responses among all",
        "Holz 2008",
    ),
    Feature("n_responses", "n_responses", "responses", "0…", "of any type", "unflux"),
    Feature(
        "shared_ratio",
        "n_shared / nullif(n_addresses, 0)::DOUBLE",
        "ratio",
        "0…1",
        "addresses that other registered domains use too",
        "Perdisci 2009, φ5",
    ),
    Feature(
        "max_domains_per_address",
        "max_domains_per_address",
        "domains",
        "0…",
        "registered domains on the busiest address",
        "EXPOSURE 2011",
    ),
    Feature(
        "address_idf",
        "idf_sum / nullif(n_addresses, 0)",
        "nat",
        "0…",
        "mean ln(domains / domains on the address): high for addresses of its own",
        "unflux",
    ),
    Feature(
        "pool_ratio",
        "CASE WHEN n_pairs > 0 THEN n_addresses / nullif(answers_max, 0)::DOUBLE END",
        "ratio",
        "0…",
        "distinct addresses per address of the largest answer; null for a single answer",
        "Holz 2008 (fluxiness, with the largest answer for the first)",
    ),
    Feature(
        "n_returning",
        "n_returning",
        "addresses",
        "0…",
        "its addresses that were seen twice and more; for names of five addresses and an hour",
        "unflux",
    ),
    Feature(
        "dwell_ratio",
        "dwell_ratio",
        "ratio",
        "0…1",
        "time that those addresses stayed, over the time that staying ones would show",
        "Caglayan 2009 (pools that stay); order statistics of the uniform distribution",
    ),
    Feature(
        "sibling_overlap",
        "sibling_overlap",
        "ratio",
        "0…1",
        "largest share of its addresses (64 at most) that one other registered domain has too",
        "FluXOR 2008 (81 % between two domains)",
    ),
    Feature(
        "n_siblings",
        "n_siblings",
        "domains",
        "0…",
        "registered domains that have three tenths of its addresses and more",
        "Nazario 2008",
    ),
    Feature(
        "activity_10min",
        "CASE WHEN n_samples > 0 THEN activity_10min END",
        "addresses",
        "0…",
        "addresses never seen before in the busiest ten minutes",
        "Caglayan 2009, activity index",
    ),
    Feature(
        "rotation_period_s",
        "rotation_period_s",
        "s",
        "60…",
        "time between changes of its addresses (at most this, where every look found a change); "
        "null before three changes",
        "maximum likelihood for a clock of unknown phase",
    ),
    Feature(
        "network_llr",
        "CASE WHEN n_samples > 0 THEN network_llr END",
        "nat",
        "any",
        "ln of how much likelier the growth of its networks is under flux than under few operators",
        "sequential test, Wald 1945; growth of FluXOR and Holz 2008",
    ),
    Feature(
        "active_since_us",
        "since_us::BIGINT",
        "µs since the epoch",
        "0…",
        "when its answers began to change after a quiet time; null: from the start, or never",
        "CUSUM, Page 1954",
    ),
    Feature(
        "active_retention",
        "CASE WHEN since_us IS NOT NULL THEN since_kept / nullif(since_previous, 0)::DOUBLE END",
        "ratio",
        "0…1",
        "retention since then",
        "Konte 2009",
    ),
    Feature(
        "sample_coverage",
        "CASE WHEN n_samples >= 3 AND n_incidences > 0 THEN 1 - n_once / n_incidences::DOUBLE END",
        "ratio",
        "0…1",
        "share of the pool's weight that was seen: 1 − f1 / n over different answers",
        "Good & Turing 1953",
    ),
    Feature(
        "pool_estimate",
        f"CASE WHEN {CHAO_HOLDS} THEN {POOL[0]} END",
        "addresses",
        "0…",
        "lower bound of the pool, its own answers alone; null unless f2 ≥ 10, coverage ≥ 0.3 and "
        "half of an answer is new",
        "Chao2, Chao 1987",
    ),
    Feature(
        "pool_low",
        f"CASE WHEN {CHAO_HOLDS} THEN {POOL[1]} END",
        "addresses",
        "0…",
        "lower end of its 95 % interval",
        "Chao 1987",
    ),
    Feature(
        "pool_high",
        f"CASE WHEN {CHAO_HOLDS} THEN {POOL[2]} END",
        "addresses",
        "0…",
        "upper end of its 95 % interval",
        "Chao 1987",
    ),
    Feature(
        "own_returning",
        "CASE WHEN n_samples > 0 THEN n_revisited END",
        "addresses",
        "0…",
        "addresses that left its answers and came back",
        "unflux",
    ),
    Feature(
        "own_dwell_ratio",
        "CASE WHEN n_revisited > 0 THEN dwell_spanned / dwell_expected END",
        "ratio",
        "0…",
        "span of those, in answers, over the span that a pool that stays gives",
        "order statistics of the uniform distribution",
    ),
    Feature(
        "core_addresses",
        "CASE WHEN core_fresh > 0 THEN core_records END",
        "addresses",
        "0…",
        "addresses that stood in at least half of its fresh answers",
        "unflux (what an innocent name keeps when some of its answers are forged)",
    ),
    Feature(
        "apart_ratio",
        "core_apart / nullif(core_fresh, 0)::DOUBLE",
        "ratio",
        "0…1",
        "share of fresh answers that held something other than those",
        "unflux",
    ),
    Feature(
        "core_absence",
        "CASE WHEN core_fresh > 0 THEN core_absence END",
        "observations",
        "0…",
        "longest run of fresh answers that held none of those",
        "unflux",
    ),
    Feature(
        "pool_names", "pool_names", "names", "1…", "names that draw from the same pool", "unflux"
    ),
    Feature(
        "pool_domains",
        "pool_domains",
        "domains",
        "1…",
        "registered domains (of operators: below ICANN suffixes) that draw from the same pool",
        "FluXOR 2008 (81 % shared); Konte 2009",
    ),
    Feature(
        "pool_addresses", "pool_addresses", "addresses", "0…", "addresses of all of them", "unflux"
    ),
    Feature(
        "pool_returning",
        "coalesce(pool_returning, CASE WHEN pool_names IS NOT NULL THEN 0 END)",
        "addresses",
        "0…",
        "addresses of the pool that were given twice and more",
        "unflux",
    ),
    Feature(
        "pool_dwell_ratio",
        "pool_dwell_ratio",
        "ratio",
        "0…",
        "span of those, in the pool's own visits, over the span that a pool that stays gives",
        "order statistics of the uniform distribution",
    ),
    Feature(
        "pool_churn_z",
        "pool_churn_z",
        "standard errors",
        "any",
        "how far that is below a pool that stays",
        "order statistics of the uniform distribution",
    ),
    Feature(
        "pool_dwell_error",
        "pool_dwell_error",
        "ratio",
        "0…",
        "standard error of that ratio for a pool that stays",
        "order statistics of the uniform distribution",
    ),
    Feature(
        "block_returning",
        "coalesce(block_returning, CASE WHEN pool_names IS NOT NULL THEN 0 END)",
        "addresses",
        "0…",
        "addresses of the pool that were given twice and more in one block of six hours, over all "
        "blocks",
        "unflux",
    ),
    Feature(
        "block_dwell_ratio",
        "block_dwell_ratio",
        "ratio",
        "0…",
        "span of those in their block, over the span that a pool that stays gives",
        "order statistics of the uniform distribution",
    ),
    Feature(
        "block_churn_z",
        "block_churn_z",
        "standard errors",
        "any",
        "how far that is below a pool that stays",
        "order statistics of the uniform distribution",
    ),
    Feature(
        "pool_stay_h",
        "CASE WHEN block_dwell_ratio IS NOT NULL THEN "
        f"least({MAX_STAY_H}, block_hours / greatest(1 - block_dwell_ratio, 0.001)) END",
        "h",
        "0…1000",
        "about how long a host stays in the pool, from what blocks of six hours lack of a pool "
        "that stays; stays of less than the block come out longer than they are",
        "unflux; order statistics of the uniform distribution",
    ),
    Feature(
        "pool_stay_low_h",
        f"CASE WHEN block_dwell_ratio IS NOT NULL THEN least({MAX_STAY_H}, block_hours / "
        "greatest(1 - block_dwell_ratio + 2 * block_dwell_error, 0.001)) END",
        "h",
        "0…1000",
        "the same, two standard errors lower",
        "unflux; order statistics of the uniform distribution",
    ),
    Feature(
        "serving_ratio",
        "serving_ratio",
        "ratio",
        "0…1",
        "share of its addresses in networks that plain names are served from; null with fewer than "
        "200 plain domains",
        "unflux (homes serve no names: Holz 2008 by reverse names)",
    ),
    Feature(
        "n_subnets",
        "coalesce(n_subnets, CASE WHEN n_addresses < 3 THEN n_addresses END)",
        "subnets",
        "0…",
        "distinct /24 (of names with three IPv4 addresses and more)",
        "Stalmans 2011",
    ),
    Feature(
        "address_distance",
        "address_distance",
        "addresses",
        "0…",
        "mean distance of neighbouring IPv4 addresses, as numbers",
        "Nazario & Holz 2008",
    ),
    Feature(
        "tz_entropy_bits",
        "tz_entropy_bits",
        "bit",
        "0…",
        "entropy of the time zones of its addresses, by country",
        "SSFD 2010",
    ),
    Feature(
        "cluster_addresses",
        "cluster_addresses",
        "addresses",
        "0…",
        "addresses of its cluster",
        "Perdisci 2009, φ1",
    ),
    Feature(
        "cluster_names",
        "cluster_names",
        "names",
        "1…",
        "names of its cluster: single linkage by shared addresses, cut at 0.6",
        "Perdisci 2009, φ2",
    ),
    Feature("cluster_ttl_s", "cluster_ttl_s", "s", "0…", "mean TTL of those", "Perdisci 2009, φ3"),
    Feature(
        "cluster_prefix_ratio",
        "cluster_prefix_ratio",
        "ratio",
        "0…1",
        "prefixes per address of the cluster",
        "Perdisci 2009, φ4",
    ),
    Feature(
        "cluster_entropy_ratio",
        "cluster_entropy_ratio",
        "ratio",
        "0…1",
        "entropy of its prefixes over its maximum",
        "FluxBuster code, 2013",
    ),
    Feature(
        "cluster_reach",
        "cluster_reach",
        "names",
        "1…",
        "names that resolved into the cluster's addresses",
        "Perdisci 2009, φ5",
    ),
    Feature(
        "cluster_growth_ratio",
        "cluster_growth_ratio",
        "ratio",
        "0…",
        "mean of addresses per fresh answer",
        "Perdisci 2009, φ6",
    ),
    Feature("n_cnames", "n_cnames", "records", "0…", "CNAME sightings of the name", "unflux"),
    Feature(
        "soa_retry_s",
        "soa_retry_s",
        "s",
        "0…",
        "shortest SOA retry of its zone",
        "Nazario & Holz 2008",
    ),
    Feature("n_ns", "n_ns", "name servers", "0…", "distinct NS of its zone", "Nazario 2008"),
    Feature(
        "ns_change_ratio",
        "ns_changed / nullif(ns_pairs, 0)::DOUBLE",
        "ratio",
        "0…1",
        "share of neighbouring NS rrsets that differ",
        "Konte 2009",
    ),
    Feature(
        "ns_addresses",
        "ns_addresses",
        "addresses",
        "0…",
        "distinct addresses of its name servers",
        "Nazario 2008",
    ),
    Feature(
        "ns_asns",
        "CASE WHEN ns_asns > 0 THEN ns_asns END",
        "networks",
        "1…",
        "distinct origin ASes of those; null without a table that knows one",
        "Nazario 2008",
    ),
    Feature(
        "ns_networks",
        "CASE WHEN ns_asns > 0 THEN ns_asns ELSE ns_prefixes END",
        "networks",
        "0…",
        "their origin ASes (or prefixes)",
        "Nazario 2008",
    ),
    Feature(
        "ns_addresses_per_host",
        "ns_addresses / nullif(ns_hosts_seen, 0)::DOUBLE",
        "ratio",
        "1…",
        "addresses per name server",
        "unflux",
    ),
    Feature(
        "ns_address_pairs",
        "ns_address_pairs",
        "pairs",
        "0…",
        "neighbouring fresh answers for name servers",
        "unflux",
    ),
    Feature(
        "ns_address_retention",
        "ns_address_kept / nullif(ns_address_previous, 0)::DOUBLE",
        "ratio",
        "0…1",
        "share of a name server's addresses that are in the next answer too",
        "Konte 2009",
    ),
    Feature(
        "ns_changes",
        "ns_changed + coalesce(ns_address_changed, 0)",
        "pairs",
        "0…",
        "neighbouring answers that differ: of its delegation, and of its name servers' addresses",
        "unflux",
    ),
    Feature(
        "ns_turnover_ratio",
        f"CASE WHEN ns_changed > 0 OR ns_address_changed > 0 THEN greatest({NS_TURNOVER}) END",
        "ratio",
        "0…1",
        "share of the name servers, or of the addresses of one, that is replaced when it changes: "
        "the same however often one looks, and for servers that move by a new name too",
        "unflux",
    ),
    Feature(
        "ns_pool_ratio",
        "greatest(ns_addresses / nullif(ns_hosts_seen, 0)::DOUBLE, "
        "n_ns * ns_pairs / nullif(ns_previous, 0)::DOUBLE)",
        "ratio",
        "1…",
        "addresses per name server, or name servers per delegation, whichever is more",
        "unflux",
    ),
    Feature(
        "ns_address_ttl_max_s",
        "ns_address_ttl_max_s",
        "s",
        "0…",
        "longest TTL of a name server's address",
        "Konte 2009",
    ),
    Feature(
        "ns_address_period_s",
        "ns_address_period_s",
        "s",
        "60…",
        "time between changes of a name server's address; null before three changes",
        "Caglayan 2009 (12 to 24 h); maximum likelihood for a clock of unknown phase",
    ),
    Feature(
        "ns_rrset_period_s",
        "ns_rrset_period_s",
        "s",
        "60…",
        "time between changes of the delegation (its NS records); null before three changes",
        "Caglayan 2009; maximum likelihood for a clock of unknown phase",
    ),
    Feature(
        "ns_address_novelty",
        "ns_address_new / nullif(ns_address_fresh - ns_hosts_seen, 0)::DOUBLE",
        "addresses",
        "0…",
        "addresses never seen before, per later answer for a name server",
        "Konte 2009",
    ),
    Feature(
        "ns_apart_ratio",
        "ns_core_apart / nullif(ns_core_fresh, 0)::DOUBLE",
        "ratio",
        "0…1",
        "share of fresh answers about its name servers that held something else than what stands "
        "in at least half of them",
        "unflux",
    ),
    Feature(
        "ns_core_absence",
        "ns_core_absence",
        "observations",
        "0…",
        "longest run of those that held nothing of it",
        "unflux",
    ),
    Feature(
        "web_dns_overlap",
        "web_dns_overlap / nullif(ns_addresses, 0)::DOUBLE",
        "ratio",
        "0…1",
        "name servers' addresses that also answer for names in the zone",
        "Konte 2009",
    ),
)

ADDRESS_LAYER: tuple[str, ...] = tuple(
    feature.name
    for feature in FEATURES[: next(n for n, one in enumerate(FEATURES) if one.name == "n_cnames")]
    if feature.name not in ("fail_ratio", "n_responses")
)
"""Features that are about the addresses: an alias has those of the name it leads to."""
