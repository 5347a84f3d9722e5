"""The threat model says what is: each test that it names exists."""

from __future__ import annotations

import re

import pytest

from conftest import ROOT

NAMED = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text())
ROOMS = {
    "tests/test_watch": "src/unflux/watch",
    "tests/test_rpz": "src/unflux/watch",
    "tests/test_web": "src/unflux/web",
    "tests/test_networks": "src/unflux/networks",
}
"""Rooms whose tests come with them."""


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_the_threat_model_names_exists(file: str, test: str) -> None:
    room = next((room for prefix, room in ROOMS.items() if file.startswith(prefix)), "src/unflux")
    if not (ROOT / room).is_dir():
        pytest.skip(f"{room} is not here")
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_the_threat_model_names_a_test_for_each_threat() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "security.md").read_text().splitlines()
        if line.startswith("| ") and line.count("|") == 4 and not line.startswith("| ---")
    ]
    rows = [row for row in rows if not row.startswith("| threat ")]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row] == []


def test_what_is_wrong_can_be_reported_in_private() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "private advisory" in text
    assert "docs/security.md" in text
