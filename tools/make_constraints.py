#!/usr/bin/env python3
"""Pin what tests install: resolve all extras afresh and write tools/constraints.txt.

`make_constraints.py [REQUIREMENT…]` names what is to be resolved beside this checkout. Users are
not pinned: their ranges stand in pyproject.toml.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Resolve and write."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = ",".join(project["project"]["optional-dependencies"])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
                *("--quiet", "--report", str(report), f".[{extras}]"),
                *project["build-system"]["requires"],
                *sys.argv[1:],
            ],
            cwd=ROOT,
            check=True,
        )
        installs = json.loads(report.read_text())["install"]
    found = {canonicalize_name(one["metadata"]["name"]): one["metadata"] for one in installs}
    lines = [f"{name}=={found[name]['version']}" for name in sorted(found) if name != "unflux"]
    head = "# Made by tools/make_constraints.py: what tests were run with.\n"
    (ROOT / "tools" / "constraints.txt").write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
