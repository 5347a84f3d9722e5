"""The pages in a browser, on real data: no error, no outside request, no CSP report, axe content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conftest import ROOT, Cli
from unflux.lab.live.session import Lab, LabOptions
from unflux.watch.blocks import Block
from unflux.watch.health import HealthServer
from unflux.watch.store import BlockStore
from web_server import serving
from web_site import HOSTILE, World

pytest_plugins = ["web_site"]
sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
httpx = pytest.importorskip("httpx")
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update",
             "--disable-sync"]  # fmt: skip
if CHROMIUM is None:
    pytest.skip("Chromium is not installed (Debian: chromium)", allow_module_level=True)

TELL_OF_CSP = """addEventListener("securitypolicyviolation",
  (event) => console.error("CSP", event.violatedDirective, event.blockedURI));"""
ALERT = {
    "@timestamp": "2026-01-05T05:00:00Z",
    "event": {"kind": "alert", "reason": "its addresses lie in 40 networks"},
    "dns": {"question": {"name": "<script>alert(1)</script>.test"}},
    "flux": {"name": "<script>alert(1)</script>.test", "verdict": "single_flux", "score": 0.9},
    "flux_block": {"outcome": "blocked", "action": "nxdomain", "until_us": 1_767_600_000_000_000},
}
BLOCK = Block(
    trigger="c2.mother.test", kind="qname", name="<script>alert(3)</script>.test",
    verdict="double_flux", score=0.9, confidence="high", reason="<img src=x onerror=alert(4)>",
    by="unflux 3", action="nxdomain", since_us=1_767_600_000_000_000,
    seen_us=1_767_600_000_000_000, until_us=4_000_000_000_000_000,
)  # fmt: skip


def healthy() -> dict[str, Any]:
    """What a watch that takes twenty responses a second says."""
    items = int(time.time() * 20) % 1_000_000_000
    return {"ok": True, "last_round_s": 0.2, "items": items, "decoded": items, "dropped": 12,
            "judged": 5, "flux": 1, "blocks": 1}  # fmt: skip


@pytest.fixture(scope="module")
def site(world: World, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pages")
    alerts = folder / "alerts.ndjson"
    alerts.write_text(json.dumps(ALERT) + "\n")
    more: list[str | Path] = ["--alerts", alerts]
    walk = cli("lab", "walk", "double", "--json")
    if walk.returncode == 0:  # the lab's room, where it can be sealed
        (folder / "walk.json").write_text(walk.stdout)
        more += ["--walk", folder / "walk.json"]
    tables = ("--asn-db", world.options.asn_db, "--country-db", world.options.country_db)
    dataset = world.copy(folder / "dataset")
    state = folder / "state"
    state.mkdir()
    BlockStore(state).save([BLOCK])
    with ExitStack() as stack:
        numbers = {"unflux_watch_producers": 1.0}
        watch = HealthServer("127.0.0.1", 0, lambda: numbers, {"/healthz": healthy})
        stack.callback(watch.stop)
        more += ["--watch", f"http://127.0.0.1:{watch.port}", "--watch", state]
        if walk.returncode == 0:
            lab = stack.enter_context(Lab("walk", LabOptions(speed=60, people=False)))
            more += ["--lab", lab.enclosure.directory]
        served = serving(dataset, *tables, "--requests-per-s", "0", *more)
        url, _ = stack.enter_context(served)
        if b"no pages" in httpx.get(url).content:
            pytest.skip("the pages are not built: python build_backend/pages.py")
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield one
        one.close()


@contextmanager
def looking(browser: Any, site: str, *, expected: str = "!", **context: Any) -> Iterator[Any]:
    """A page; whatever goes wrong in it, other than `expected`, fails the test."""
    context.setdefault("viewport", {"width": 1280, "height": 860})
    wrong: list[str] = []
    with browser.new_context(**context) as opened:
        page = opened.new_page()
        page.set_default_timeout(20_000)
        page.add_init_script(TELL_OF_CSP)
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        page.on(
            "request",
            lambda one: one.url.startswith((site, "blob:", "data:")) or wrong.append(one.url),
        )
        yield page
    assert [one for one in wrong if expected not in one] == []


def visit(page: Any, site: str, where: str) -> None:
    page.goto("about:blank")
    page.goto(site + where)
    page.wait_for_selector("p.unseen[role=status]:not(:empty)", state="attached")
    page.wait_for_selector("[aria-busy]", state="detached")


def pages(site: str) -> list[str]:
    me = httpx.get(f"{site}api/v1/me").json()
    scan = httpx.get(f"{site}api/v1/scans").json()["scans"][0]["id"]
    always = ["#/findings", "#/findings?q=kind%3Aflux", "#/name/suse.test", "#/networks", "#/live",
              "#/upload", "#/admin", f"#/scan/{scan}"]  # fmt: skip
    asked = {"has": "suse.test", "brief": "true"}
    while (told := httpx.get(f"{site}api/v1/networks", params=asked).json())["state"] == "working":
        time.sleep(0.1)
    always.append(f"#/networks/{told['networks'][0]['id']}")
    return [*always, "#/lab"] if me["lab"] else always


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_is_whole_and_axe_finds_nothing_serious(
    browser: Any, site: str, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"viewport": {"width": width, "height": 860}, "color_scheme": scheme}
    found = []
    with looking(browser, site, bypass_csp=True, **size) as page:
        for where in pages(site):
            visit(page, site, where)
            assert page.locator("h1").count() == 1
            over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"{where} is wider than the screen"
            for one in axe.run(page).response["violations"]:
                if one["impact"] in ("serious", "critical"):
                    found.append((where, one["id"], one["nodes"][0]["html"][:160]))
    assert found == []


def test_every_page_keeps_to_the_policy(browser: Any, site: str) -> None:
    with looking(browser, site) as page:
        for where in pages(site):
            visit(page, site, where)
            assert page.get_by_role("alert").filter(has_text="did not work").count() == 0


def test_a_name_is_shown_with_its_reasons_and_pictures(browser: Any, site: str) -> None:
    with looking(browser, site) as page:
        visit(page, site, "#/name/suse.test")
        for title in ("Why", "Which address answered when", "Its name servers' addresses", "Countries",
                      "New addresses over time", "TTL", "Names with the same addresses", "Sightings"):  # fmt: skip
            assert page.get_by_role("heading", name=title, exact=True).count() == 1
        page.get_by_role("link", name="net-").wait_for()  # the network that it belongs to
        labels = page.locator("[role=img]").evaluate_all("all => all.map(one => one.ariaLabel)")
        assert any("49 addresses" in label for label in labels)
        assert any(label.startswith("World map") for label in labels)
        page.wait_for_selector("figure canvas")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save passive DNS (COF)").click()
        lines = Path(download.value.path()).read_text().splitlines()
        assert {"rrname", "rrtype", "rdata"} <= set(json.loads(lines[0]))
        page.get_by_label("New note").fill("seen <b>again</b>")
        page.get_by_role("button", name="Add").click()
        page.locator(".notes p", has_text="seen <b>again</b>").wait_for()
        page.get_by_role("button", name="Remove this note").click()
        page.locator(".notes li").wait_for(state="detached")


def test_findings_are_searched_sorted_and_triaged_by_keyboard(browser: Any, site: str) -> None:
    with looking(browser, site, expected="status of 400") as page:  # the wrong search
        visit(page, site, "#/findings")
        page.keyboard.press("/")
        page.keyboard.type("kind:double suse")
        page.keyboard.press("Enter")
        page.get_by_text("1–1 of 1").first.wait_for()
        page.get_by_label("Triage of suse.test").select_option("confirmed")
        page.locator("p[role=status]", has_text="confirmed").wait_for(state="attached")
        visit(page, site, "#/findings?q=triage%3Aconfirmed")
        assert page.locator("td.what a").all_inner_texts() == ["suse.test"]
        page.get_by_label("Triage of suse.test").select_option("new")
        visit(page, site, "#/findings?q=kind%3Aflux")
        page.get_by_role("button", name="Addresses").click()
        page.locator("th[aria-sort=descending]", has_text="Addresses").wait_for()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.className") == "name"
        visit(page, site, "#/findings?q=nosuchfield%3A1")
        assert "there is no field" in page.get_by_role("alert").first.inner_text()
        visit(page, site, "#/findings?q=kind%3Aflux")
        page.get_by_label("Export all found as").select_option("csv")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save").click()
        assert Path(download.value.path()).read_text().startswith("name,verdict")
        page.get_by_text("csv is saved.").wait_for()


def test_a_name_that_is_only_in_an_alert_leads_back_to_it(browser: Any, site: str) -> None:
    with looking(browser, site, expected="status of 404") as page:
        visit(page, site, "#/name/c2.elsewhere.test")
        told = page.get_by_role("alert")
        assert "c2.elsewhere.test" in told.inner_text()
        told.get_by_role("link", name="live page").click()
        page.get_by_role("heading", name="Alerts", exact=True).wait_for()


def test_hostile_names_are_text_everywhere(browser: Any, site: str) -> None:
    rows = httpx.get(f"{site}api/v1/findings?size=500").json()["findings"]
    odd = [
        row["name"] for row in rows if not row["name"].replace(".", "").replace("-", "").isalnum()
    ]
    names = [*odd, *(row["name"] for row in rows if len(row["name"]) > 200)]
    assert len(names) == len(HOSTILE)
    with looking(browser, site) as page:
        visit(page, site, "#/findings?q=kind%3Asingle")
        shown = page.locator("td.what a").all_inner_texts()
        assert set(names) <= set(shown)
        assert page.locator("main img, main script, main iframe").count() == 0
        for name in names:
            visit(page, site, f"#/name/{quote(name, safe='')}")
            assert page.locator("h1").inner_text() == name
            assert page.locator("main img, main script, main iframe").count() == 0
        visit(page, site, "#/live")
        page.locator(".alerts a", has_text="<script>alert(1)</script>.test").wait_for()


def test_live_shows_rates_drops_and_what_is_blocked_until_when(browser: Any, site: str) -> None:
    with looking(browser, site) as page:
        visit(page, site, "#/live")
        row = page.get_by_role("row").filter(has_text="c2.mother.test")
        row.wait_for()
        assert "2096-10-02" in row.inner_text()
        assert "<img src=x onerror=alert(4)>" in row.inner_text()
        dropped = page.locator("dt", has_text="Dropped").locator("xpath=following-sibling::dd[1]")
        assert dropped.inner_text() == "12"
        page.locator("[role=img][aria-label^=Responses]").first.wait_for()
        assert page.locator("main img, main script, main iframe").count() == 0


def test_a_class_takes_an_agent_of_the_running_lab_down(browser: Any, site: str) -> None:
    me = httpx.get(f"{site}api/v1/me").json()
    if "lab" not in me["features"]:
        pytest.skip("the live lab cannot run here: unflux lab doctor says why")
    with looking(browser, site, reduced_motion="reduce") as page:
        visit(page, site, "#/lab")
        page.get_by_label("Network", exact=True).select_option("double-2-1")
        page.locator(".slot.serves").first.wait_for()  # double flux: agents are name servers
        page.get_by_label("Network", exact=True).select_option("pharma-1-1")
        page.locator(".slot.answers").first.wait_for()
        assert page.locator(".slot.serves").count() == 1  # that of the legend
        page.get_by_role("button", name="An agent", exact=True).click()
        page.locator(".uploads li", has_text="agent of pharma-1-1").wait_for()
        page.locator(".uploads small, .uploads .alert").first.wait_for(timeout=90_000)
        told = page.locator(".uploads li").first.inner_text()
        assert "failed fetches" in told, told
        if me["features"].count("walk"):
            assert page.locator(".arrow").first.evaluate(
                "one => getComputedStyle(one).strokeDashoffset"
            ) in ("0", "0px")


def test_a_token_is_asked_for_where_one_is_needed(
    browser: Any, world: World, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann read 0123456789abcdef0123456789\n")
    tokens.chmod(0o600)
    with (
        serving(world.capture, "--token-file", tokens) as (url, _),
        looking(browser, url, expected="status of 401") as page,
    ):
        page.goto(url)
        page.get_by_role("heading", name="A token is needed").wait_for()
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type("a-wrong-token-of-some-length")
        page.keyboard.press("Enter")
        page.get_by_text("this token is not known").wait_for()
        page.get_by_label("Token").fill("0123456789abcdef0123456789")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("heading", name="Findings").wait_for()
        assert page.get_by_role("link", name="Upload").count() == 0, "ann may only read"
        assert page.evaluate("[localStorage, document.cookie].map(String).join('')").count(
            "0123456789abcdef"
        ) == 0  # fmt: skip


def test_an_install_without_pages_says_so(browser: Any, world: World) -> None:
    program = (
        "from pathlib import Path; from unflux.web import app; app.UI = Path('nowhere'); "
        "from unflux.cli import app; app()"
    )
    command = [sys.executable, "-c", program, "serve", str(world.capture), "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with looking(browser, url, expected="status of 404") as page:
                assert page.goto(url).status == 200
                assert "This install has no pages" in page.locator("body").inner_text()
            assert httpx.get(f"{url}api/v1/findings").json()["total"] > 5
        finally:
            server.terminate()
            server.wait(20)


def test_a_capture_is_uploaded_scanned_and_shown(browser: Any, site: str, world: World) -> None:
    with looking(browser, site) as page:
        visit(page, site, "#/upload")
        page.locator("#file").set_input_files(world.capture)
        page.get_by_role("button", name="Send and scan").click()
        link = page.get_by_role("link", name=f"{len(HOSTILE)} names judged")
        link.wait_for(timeout=60_000)
        link.click()
        page.get_by_text(f"{len(HOSTILE)} names").first.wait_for()
        visit(page, site, "#/upload")
        page.get_by_role("button", name="Remove").click()
        page.get_by_text("None in this run.").wait_for()


def test_fifty_clients_at_once_get_no_error(site: str) -> None:
    queries = ("", "kind:flux", "score:>=0.5 -kind:ambiguous", "country:BR", "test")

    def visitor(number: int) -> list[int]:
        with httpx.Client(base_url=site, timeout=60) as one:
            statuses = [one.get("api/v1/findings", params={"q": q}).status_code for q in queries]
            name = f"visitor{number % 7}.test"
            statuses.append(
                one.put(f"api/v1/triage/{name}", json={"state": "watching"}).status_code
            )
            statuses.append(one.get("api/v1/names/suse.test").status_code)
            return statuses

    with ThreadPoolExecutor(50) as pool:
        statuses = [status for some in pool.map(visitor, range(50)) for status in some]
    assert set(statuses) == {200}
