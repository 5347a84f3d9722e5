"""Pictures of the pages for docs, from a world of the lab: tools/make_page_screenshots.py.

`--all DIR` writes every page, wide and narrow, light and dark, to look at.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import unflux

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update",
             "--disable-sync"]  # fmt: skip
SIZES = {"wide": (1280, 860), "narrow": (390, 844)}
IN_DOCS = {"findings": 860, "name": 1400, "network": 1120}
"""Pages whose pictures are in docs, and how much of their height."""


def environment(world: Path) -> dict[str, str]:
    source = {"PYTHONPATH": str(Path(unflux.__file__).parents[1])}
    if not (world / "asn.mmdb").is_file():
        return os.environ | source
    return (
        os.environ
        | source
        | {
            "UNFLUX_ASN_DB": str(world / "asn.mmdb"),
            "UNFLUX_COUNTRY_DB": str(world / "country.mmdb"),
        }
    )


@contextmanager
def site(folder: Path, *more: str) -> Iterator[str]:
    """A site over the scenario `walk`, played for six hours."""
    world, dataset = folder / "walk", folder / "dataset"
    unflux = [sys.executable, "-m", "unflux"]
    subprocess.run(
        [*unflux, "lab", "synth", "walk", "--out", str(world)],
        check=True, env=environment(world.parent), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(
        [*unflux, "scan", str(world / "answers.parquet"), "--save", str(dataset)],
        check=True, env=environment(world), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    command = [*unflux, "serve", str(dataset), "--port", "0", "--requests-per-s", "0", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(world)) as server:
        if server.stdout is None:
            raise RuntimeError("a pipe was asked for")
        try:
            yield server.stdout.readline().decode().strip()
        finally:
            server.terminate()


def settle(page: Page) -> None:
    """Wait until the page says that it is shown, and its charts are drawn."""
    page.wait_for_selector("p.unseen[role=status]:not(:empty)", state="attached")
    page.wait_for_selector("[aria-busy]", state="detached")
    page.wait_for_timeout(500)


def pages(first: str) -> dict[str, str]:
    return {
        "findings": "#/findings", "search": "#/findings?q=kind%3Aflux+country%3ABR",
        "wrong-search": "#/findings?q=scor%3A1", "name": f"#/name/{first}",
        "networks": "#/networks", "network": f"#/networks/{first}",
        "live": "#/live", "lab": "#/lab", "upload": "#/upload",
        "access": "#/admin",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIR")
    parser.add_argument("--alerts", default="")
    parser.add_argument("--walk", default="")
    parser.add_argument("--watch", default="", help="of a running watch, as of unflux serve")
    parser.add_argument("--lab", default="", help="a running lab, as of unflux serve")
    chosen = parser.parse_args()
    more = [word for flag in ("alerts", "walk", "watch", "lab") if (path := getattr(chosen, flag))
            for word in (f"--{flag}", path)]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="unflux-pictures-") as folder,
        site(Path(folder), *more) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        first = "www.supe.test"
        for scheme in ("light", "dark") if chosen.all else ("light",):
            for size, (width, height) in SIZES.items():
                if not chosen.all and size == "narrow":
                    continue
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                for name, address in pages(first).items():
                    if not chosen.all and name not in IN_DOCS:
                        continue
                    page.goto("about:blank")
                    page.goto(url + address)
                    settle(page)
                    target = (chosen.all or IMAGES) / (
                        f"{name}-{size}-{scheme}.png" if chosen.all else f"{name}.png"
                    )
                    target.parent.mkdir(parents=True, exist_ok=True)
                    clip = {"x": 0, "y": 0, "width": width, "height": IN_DOCS.get(name, height)}
                    page.screenshot(path=target, full_page=True, clip=None if chosen.all else clip)
                    print(target)
        browser.close()


if __name__ == "__main__":
    main()
