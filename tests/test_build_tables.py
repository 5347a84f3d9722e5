"""The MMDB builder against the reference reader."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import maxminddb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unflux.enrich import mmdb


def lookup(ranges: list[mmdb.Range], path: Path, addresses: list[int]) -> list[object]:
    mmdb.write(ranges, path, kind="test", built_at_s=1)
    with maxminddb.open_database(path) as reader:
        return [reader.get(ipaddress.IPv6Address(address)) for address in addresses]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**128 - 1), min_size=2, max_size=24, unique=True).map(sorted),
    st.lists(st.integers(0, 2**32 - 1), max_size=12, unique=True).map(sorted),
)
def test_every_boundary_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, wide: list[int], low: list[int]
) -> None:
    edges = sorted({*wide, *low})
    ranges = [
        (first, last, {"n": number})
        for number, (first, last) in enumerate(zip(edges[::2], edges[1::2], strict=False))
    ]
    probes = [edge + offset for edge in edges for offset in (-1, 0, 1)]
    probes = [probe for probe in probes if 0 <= probe < 2**128]

    def expected(address: int) -> object:
        return next((rec for first, last, rec in ranges if first <= address <= last), None)

    path = tmp_path_factory.mktemp("mmdb") / "t.mmdb"
    assert lookup(ranges, path, probes) == [expected(probe) for probe in probes]


def test_long_texts_and_ipv4_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.mmdb"
    name = "Ünïversity " * 40
    ranges = [(0xC6120000, 0xC61200FF, {"asn": 2**32 - 1, "name": name})]
    mmdb.write(ranges, path, kind="test", built_at_s=1_790_000_000)
    with maxminddb.open_database(path) as reader:
        assert reader.get("198.18.0.255") == {"asn": 2**32 - 1, "name": name}
        assert reader.get("198.18.1.0") is None
        assert reader.metadata().build_epoch == 1_790_000_000


@pytest.mark.parametrize("ranges", [[(5, 4)], [(0, 9), (9, 12)], [(10, 12), (0, 3)], [(0, 2**128)]])
def test_ranges_that_are_not_sorted_and_disjoint_are_refused(
    tmp_path: Path, ranges: list[tuple[int, int]]
) -> None:
    with pytest.raises(mmdb.RangeError):
        mmdb.write(
            [(*bounds, {"n": 1}) for bounds in ranges], tmp_path / "t", kind="t", built_at_s=1
        )
