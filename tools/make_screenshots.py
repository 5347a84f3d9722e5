#!/usr/bin/env python3
"""Take the screenshots of the docs: `docs/images/report.png` and `report-narrow.png`.

Needs Debian's chromium and the packages playwright and pillow. The page shown is the report of
the example that `make demo` scans; the example is made if it is not there.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
EXAMPLE = ROOT / "examples" / "out"
SHOTS = (
    ("report.png", 1120, 1500, "light"),
    ("report-narrow.png", 390, 840, "dark"),
)
MAX_BYTES = 150_000
N_COLOURS = 128
"""Enough for flat colours, and a third of the bytes."""


def make_report(directory: Path) -> Path:
    """Scan the example as a user would."""
    capture = EXAMPLE / "flux-example.pcap"
    if not capture.is_file():
        subprocess.run([sys.executable, ROOT / "examples" / "make_example.py"], check=True)
    tables = [f"--{kind}-db={EXAMPLE / kind}.mmdb" for kind in ("asn", "country")]
    command = [sys.executable, "-m", "unflux", "scan", capture.relative_to(ROOT), *tables]
    subprocess.run([*command, "--out", directory], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return directory / "report.html"


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tool:
        page_of_report = make_report(Path(folder) / "out")
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, width, height, scheme in SHOTS:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page.goto(page_of_report.as_uri())
            if width < 500:
                page.evaluate("document.querySelector('article').scrollIntoView()")
            path = IMAGES / name
            shot = Image.open(io.BytesIO(page.screenshot()))
            shot.convert("RGB").quantize(N_COLOURS, dither=Image.Dither.NONE).save(
                path, optimize=True
            )
            size = path.stat().st_size
            print(f"{path.relative_to(ROOT)}: {size} bytes")
            if size > MAX_BYTES:
                raise SystemExit(f"{name} is larger than {MAX_BYTES} bytes")
        browser.close()


if __name__ == "__main__":
    main()
