"""The HTML report: one file, no script, whatever names say; and its pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Cli
from sharing import HOSTILE_ORGANISATION, hostile_scan, lab_scan, lab_world, options_of
from unflux import pipeline, sightings
from unflux.pipeline import Scan
from unflux.share import pictures, report
from unflux.share.html import el
from unflux.share.pictures import LEFT, MAX_LANES, NAMED_LEFT, WIDTH, Band, Lane, TimeScale
from unflux.share.timeline import HOUR_US, timelines

__all__ = ["hostile_scan", "lab_scan", "lab_world"]  # fixtures

CHROMIUM = shutil.which("chromium")
VOID = {"meta", "br", "hr", "link", "img", "input"}
BIDI = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HOUR_0 = 1_790_000_000_000_000 // HOUR_US * HOUR_US


class Page(HTMLParser):
    """Elements in order, text, and whether every element is closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(scan: Scan) -> str:
    out = io.BytesIO()
    report.write_report(scan, out)
    return out.getvalue().decode()


@pytest.mark.parametrize("which", ["lab_scan", "hostile_scan"])
def test_the_page_is_well_formed_and_has_nothing_that_acts(
    which: str, request: pytest.FixtureRequest
) -> None:
    text = page_of(request.getfixturevalue(which))
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "link", "base", "use"}
    ids = [one["id"] for _, one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), key
            assert key not in ("style", "src")
            if key == "href":
                assert value is not None
                assert value[1:] in ids
                assert value[0] == "#"


def test_the_policy_allows_this_one_style_and_nothing_else(lab_scan: Scan) -> None:
    text = page_of(lab_scan)
    [policy] = [one["content"] for _, one in Page(text).elements if "http-equiv" in one]
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style[1]
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_hostile_names_are_text(hostile_scan: Scan) -> None:
    text = page_of(hostile_scan)
    assert not BIDI & set(text)
    assert all(one.isprintable() or one in "\n\u202f" for one in text)
    shown = "".join(Page(text).text)
    for finding in hostile_scan.findings:
        assert finding.name in shown
    assert "<script>alert(2)</script>\\u202e\\u2066=HYPERLINK(1)\\x1b[2J" in shown
    assert HOSTILE_ORGANISATION not in shown
    assert "<b>hostile\\u202e.pcap" in shown


def test_the_same_scan_gives_the_same_bytes(lab_scan: Scan) -> None:
    slower = replace(lab_scan, summary=lab_scan.summary | {"seconds": 99.0})
    assert page_of(slower) == page_of(lab_scan)


def test_a_dataset_gives_the_same_findings_and_pictures(
    lab_scan: Scan, lab_world: Path, tmp_path: Path
) -> None:
    sightings.write_dataset(lab_scan.history, tmp_path / "dataset")
    again = pipeline.scan([tmp_path / "dataset"], options_of(lab_world))
    cards = [page_of(one).split("<article", 1)[1].split("</article>") for one in (again, lab_scan)]
    assert cards[0][:3] == cards[1][:3]


def test_what_a_reader_must_know_is_on_the_page(lab_scan: Scan) -> None:
    shown = " ".join("".join(Page(page_of(lab_scan)).text).split())
    assert "2 names called fast flux" in shown
    counts = lab_scan.summary["counts"]
    assert f"{counts['items']} items read" in shown
    assert "every item is accounted for" in shown
    for finding in lab_scan.findings:
        assert finding.name in shown
        for reason in finding.reasons:
            assert reason.weight < 0.01 or reason.says in shown
        for tried in finding.benign_explanations:
            assert tried.says in shown
        for client in finding.client_list:
            assert not finding.is_flux or client in shown
    for spot in lab_scan.summary["blind_spots"]:
        assert spot in shown
    assert "victims" in shown


def test_pictures_show_what_the_findings_count(lab_scan: Scan) -> None:
    found = timelines(lab_scan.judged, lab_scan.findings)
    for finding in lab_scan.findings:
        line = found[finding.name]
        assert {track.address for track in line.addresses} == {
            agent.address for agent in finding.agent_list
        }
        assert line.growth()[-1][1] == finding.n_addresses == len(line.addresses)
        assert max(high for _, _, high in line.ttls) == finding.ttl_max_s
        assert sum(new for _, _, new in line.periods()) == finding.n_addresses
        firsts = [track.spells[0][0] for track in line.addresses]
        assert firsts == sorted(firsts)
    double = next(one for one in lab_scan.findings if one.verdict == "double_flux")
    row = next(row for row in lab_scan.judged.table.to_pylist() if row["name"] == double.name + ".")
    servers = {track.address for track in found[double.name].name_servers}
    assert len(servers) == row["ns_addresses"]


def test_a_scan_without_flux_says_so(lab_scan: Scan) -> None:
    names = lab_scan.summary["names"]
    calm = {**names["by_verdict"], "single_flux": 0, "double_flux": 0, "ns_flux": 0}
    summary = lab_scan.summary | {
        "names": names | {"by_verdict": calm},
        "blind_spots": ["<b>no origin AS table</b>"],
    }
    shown = "".join(Page(page_of(replace(lab_scan, summary=summary, findings=[]))).text)
    assert "No name was called fast flux" in shown
    assert "No name reached the score" in shown
    assert "No client is known to have asked" in shown
    assert "<b>no origin AS table</b>" in shown


def test_more_findings_than_fit_are_counted(
    lab_scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_PICTURED", 1)
    monkeypatch.setattr(report, "MAX_ROWS", 2)
    page = Page(page_of(lab_scan))
    articles = [dict(attributes)["id"] for tag, attributes in page.elements if tag == "article"]
    assert [one for one in articles if one.startswith("f")] == ["f0"]
    assert any(one.startswith("net-") for one in articles)
    left = len(lab_scan.findings) - 2
    assert f"{left} more are in findings.ndjson" in "".join(page.text)


def test_scan_writes_the_report(cli: Cli, lab_world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli("scan", lab_world / "answers.parquet", "--out", out)
    assert done.returncode == 0
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert cli("scan", out, "--json").returncode == 0, "the report is no input"


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
@pytest.mark.parametrize("which", ["lab_scan", "hostile_scan"])
def test_chromium_shows_it_quietly_at_every_width(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(page_of(request.getfixturevalue(which)))
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )  # fmt: skip
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: said.append(dialog.message))
            page.on("request", lambda one: asked.append(one.url))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert (
                page.evaluate("getComputedStyle(document.querySelector('article')).display")
                != "inline"
            )
            ink = "getComputedStyle(document.body).backgroundColor"
            assert (page.evaluate(ink) == "rgb(20, 23, 28)") is (scheme == "dark")
            strip = page.locator("article svg.uf").first
            assert strip.bounding_box()["height"] > 60
            page.locator("summary").first.click()
            assert page.locator("details table").first.is_visible()
        pdf = page.pdf(format="A4")
        browser.close()
    assert said == []
    assert set(asked) == {path.as_uri()}
    assert pdf.startswith(b"%PDF")


def numbers_of(svg: str) -> list[float]:
    """Horizontal places of everything in a picture."""
    parts = list(ET.fromstring(svg).iter())  # noqa: S314  our own; its texts may say anything
    places = [float(one.get("x", "0")) for one in parts if "x" in one.attrib]
    drawn = "".join(one.get("d", "") for one in parts)
    return places + [float(x) for x in re.findall(r"[MH](-?[\d.]+)", drawn)]


SPELLS = st.lists(
    st.tuples(st.integers(0, 2**50), st.integers(0, 2**40)).map(lambda one: (one[0], sum(one))),
    max_size=4,
)


@given(
    lanes=st.lists(st.builds(Lane, st.text(max_size=9), st.integers(0, 99), SPELLS), max_size=9),
    first=st.integers(0, 2**50),
    span=st.integers(0, 2**50),
    label=st.text(max_size=20),
)
def test_a_strip_of_anything_is_xml_inside_its_box(
    lanes: list[Lane], first: int, span: int, label: str
) -> None:
    for left in (LEFT, NAMED_LEFT):
        picture = pictures.strip(lanes, TimeScale.around(first, first + span, left), label)
        ET.fromstring(picture.file())  # noqa: S314  our own
        svg = picture.inline()
    assert ET.fromstring(svg).attrib["role"] == "img"  # noqa: S314  our own
    assert all(0 <= x <= WIDTH for x in numbers_of(svg))


@given(
    counts=st.lists(st.integers(0, 10**9), max_size=40),
    estimates=st.lists(st.tuples(*[st.floats(0, 1e12)] * 3), max_size=3),
    label=st.text(max_size=20),
)
def test_growth_levels_and_bars_of_anything_are_xml(
    counts: list[int], estimates: list[tuple[float, float, float]], label: str
) -> None:
    points = [(HOUR_0 + place * 10**8, count) for place, count in enumerate(sorted(counts))]
    scale = TimeScale.around(HOUR_0, HOUR_0 + 5 * 10**9)
    bands = [(HOUR_0 + place * HOUR_US, count // 2, count) for place, count in enumerate(counts)]
    items = [(label * place, count) for place, count in enumerate(counts)]
    estimated = [Band(HOUR_0, HOUR_0 + HOUR_US, *estimate) for estimate in estimates]
    for picture in (
        pictures.growth(points, scale, label, estimated, points[:3]),
        pictures.levels(bands, HOUR_US, scale, label),
        pictures.bars(items, label),
        pictures.shares([(label, count, "red") for count in counts], label),
        pictures.world(dict.fromkeys([label, "DE", "HK"], sum(counts)), label),
    ):
        for svg in (picture.inline(), picture.file()):
            ET.fromstring(svg)  # noqa: S314  our own
            assert not re.search(r'[" ](nan|inf)\b', svg)


def test_long_strips_are_thinned_and_say_so() -> None:
    lanes = [Lane(f"198.18.0.{n}", n, [(HOUR_0, HOUR_0 + n)]) for n in range(3 * MAX_LANES)]
    svg = pictures.strip(lanes, TimeScale.around(HOUR_0, HOUR_0 + HOUR_US), "addresses").inline()
    assert svg.count('<path class="lane') == MAX_LANES
    assert "every 3th line" not in svg
    assert "one line in 3 is drawn" in svg


@pytest.mark.parametrize("span_s", [60, 3600, 6 * 3600, 86_400, 30 * 86_400, 20 * 365 * 86_400])
def test_ticks_are_few_round_and_inside(span_s: int) -> None:
    scale = TimeScale(HOUR_0 + 17_000_000, HOUR_0 + (17 + span_s) * 1_000_000)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 6
    assert all(LEFT <= scale.x(at_us) <= WIDTH for at_us, _ in ticks)
    assert all(at_us % 60_000_000 == 0 for at_us, _ in ticks)


def test_spells_closer_than_the_gap_are_one() -> None:
    assert pictures.bridged([(0, 5), (8, 9), (20, 30), (21, 22)], 3) == [(0, 9), (20, 30)]


def test_an_element_escapes_all_but_elements() -> None:
    made = el("p", "<i>", el("b", "&"), None, 3, title="\"'>", class_="x", data_x=None)
    assert made == '<p title="&quot;&#x27;&gt;" class="x">&lt;i&gt;<b>&amp;</b>3</p>'
