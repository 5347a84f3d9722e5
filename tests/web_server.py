"""A real `unflux serve` for tests, on a free port of loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT


@contextmanager
def serving(
    *arguments: str | Path, cwd: Path = ROOT
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL that it prints, and the process."""
    command = [sys.executable, "-m", "unflux", "serve", *map(str, arguments)]
    if "--port" not in command:
        command += ["--port", "0"]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), server
        finally:
            if server.poll() is None:
                server.terminate()
                server.wait(20)
