"""From outside: run a function or a whole lab in a sealed namespace, from Python.

>>> from unflux.lab.live.session import Lab, LabOptions
>>> with Lab("walk", LabOptions(speed=60)) as lab:                        # doctest: +SKIP
...     lab.run(["dig", f"@{lab.resolver}", "mother.test", "+short"])
...     lab.takedown("agent", network=lab.networks[0])
...     lab.truth(), lab.labels(), lab.out / "clients.pcap"

The caller stays in its own network; only what the lab starts is inside.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from unflux.errors import Unavailable, UnfluxError
from unflux.lab.live import namespace
from unflux.lab.live.enter import GRACE_S

READY_S = 60.0
"""A lab of the largest scenario on a busy machine is ready well before."""


def base_directory() -> Path:
    """Where labs of this user have their sockets: short, because socket paths are.

    Raises
    ------
    UnfluxError
        When somebody else made it.
    """
    path = Path(tempfile.gettempdir()) / f"unflux-lab-{os.geteuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.geteuid() or path.is_symlink():
        raise UnfluxError(f"{path} belongs to somebody else: remove it, or set TMPDIR")
    path.chmod(0o700)
    return path


class Place(Enum):
    """Stands for a directory of the enclosure among the arguments."""

    RUNTIME = "sockets and configuration"
    OUT = "captures that nobody keeps"


RUNTIME, OUT = Place.RUNTIME, Place.OUT


class Enclosure:
    """A function that runs in a namespace of its own, watched from outside."""

    def __init__(self, target: str, arguments: dict[str, Any], *, watch: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="", dir=base_directory()))
        own = {RUNTIME: str(self.directory), OUT: str(self.directory / "out")}
        arguments = {
            key: own.get(value, value) if isinstance(value, Place) else value
            for key, value in arguments.items()
        }
        plan = {"target": target, "arguments": arguments, "watch": watch, "tidy": True}
        (self.directory / "plan.json").write_text(json.dumps(plan))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unflux.lab.live.enter", str(self.directory / "plan.json")],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C comes to us, and we stop it in order
        )

    def wait(self, timeout_s: float | None = None) -> Any:
        """What the function returned; the directory is gone afterwards.

        Raises
        ------
        UnfluxError
            With the sentence that the function raised.
        """
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Unavailable(f"the lab was not done after {timeout_s:g} s: stopped") from None
        except BaseException:
            self.stop()
            raise
        return self.result(code)

    def result(self, code: int) -> Any:
        """Read and tidy up after the end."""
        try:
            told = json.loads((self.directory / "result.json").read_text())
        except (OSError, ValueError):
            told = {"error": f"the lab ended without a word (code {code})"}
        self.tidy()
        if "error" in told:
            raise UnfluxError(told["error"])
        return told["result"]

    def stop(self) -> None:
        """Ask it to stop, and see that it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GRACE_S + 2)
            except subprocess.TimeoutExpired:
                self.kill()
        self.tidy()

    def kill(self) -> None:
        """End the namespace's init and with it everything inside."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.directory / "init.pid").read_text()), signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def tidy(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _has_file(stream: object) -> bool:
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True


def run_inside(target: str, arguments: dict[str, Any], timeout_s: float = 60.0) -> Any:
    """Run ``module:function`` with JSON arguments in a sealed namespace; its JSON result.

    Raises
    ------
    UnfluxError
        When the namespace cannot be made, the seal does not hold, or the function raised.
    """
    return Enclosure(target, arguments).wait(timeout_s)


@dataclass(frozen=True, slots=True)
class LabOptions:
    """How a lab is played; `docs/lab/live.md` explains."""

    speed: float = 60.0
    """The model's seconds per second of the wall: TTLs and rotations are that much shorter."""
    seed: int = 1
    duration_s: float | None = None
    """Wall seconds, more than 0; None: until stopped."""
    dnstap: str | None = None
    """Path of a unix socket that you listen on (such as `unflux watch`); else it is a file."""
    rpz: str | None = None
    """Response policy zone file for the resolver; after a change: `Lab.reload_policy`."""
    agents: tuple[str, ...] = ()
    """Agents whose own view is captured (`agents/ADDRESS.pcap`); "first" is one of each network."""
    whole: bool = False
    """Capture everything into `all.pcap`, too."""
    takedowns: tuple[tuple[str, float, str | None], ...] = field(default=())
    """(what, wall seconds after the start, network or None for the first one)."""
    people: bool = True
    """Whether clients and infected hosts are active."""


class Lab:
    """A running lab; a context manager that leaves nothing behind but its output directory."""

    def __init__(
        self, scenario: str, options: LabOptions | None = None, out: str | Path | None = None
    ) -> None:
        """
        Parameters
        ----------
        scenario
            A scenario that comes with unflux, or a file.
        options
            How to play it.
        out
            An empty or new directory for captures and truth; without it they are gone with the lab.

        Raises
        ------
        ValueError
            When the options ask for what the scenario has not, or can never be.
        UnfluxError
            When it does not start, with the reason and a remedy.
        """
        from unflux.lab import scenarios  # numpy, which who only asks a running lab needs not
        from unflux.lab.live import schedule

        self.options = how = options or LabOptions()
        schedule.check(
            scenarios.load(scenario, seed=how.seed), how.duration_s, how.takedowns, how.agents
        )
        if out is not None:
            Path(out).mkdir(parents=True, exist_ok=True)
        arguments = {
            "scenario": scenario, "options": asdict(self.options), "runtime": RUNTIME,
            "out": OUT if out is None else str(Path(out).resolve()),
        }  # fmt: skip
        self.enclosure = Enclosure("unflux.lab.live.run:main", arguments, watch=True)
        self.out = self.enclosure.directory / "out" if out is None else Path(out)
        """Captures and truth, as they grow."""
        self.summary: dict[str, Any] | None = None
        """After the end: counts of everything."""
        try:
            self.ready = self._wait_ready()
        except BaseException:
            self.enclosure.stop()
            raise

    def _wait_ready(self) -> dict[str, Any]:
        path, until = self.enclosure.directory / "ready.json", time.monotonic() + READY_S
        while time.monotonic() < until:
            code = self.enclosure.process.poll()
            if code is not None:
                self.enclosure.result(code)
                raise UnfluxError("the lab ended before it was ready")
            with contextlib.suppress(OSError, ValueError):
                ready: dict[str, Any] = json.loads(path.read_text())
                return ready
            time.sleep(0.02)
        raise Unavailable(f"the lab was not ready after {READY_S:g} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def resolver(self) -> str:
        """The resolver's address, inside."""
        return str(self.ready["resolver"])

    @property
    def networks(self) -> list[str]:
        """Names of the flux networks."""
        return list(self.ready["networks"])

    @property
    def pid(self) -> int:
        """The namespace's init, as seen from outside (for `nsenter`, `unflux.lab.live.inside`)."""
        return int((self.enclosure.directory / "init.pid").read_text())

    def labels(self) -> dict[str, Any]:
        """Name → what it is (see `unflux eval --labels`)."""
        names: dict[str, Any] = json.loads((self.out / "labels.json").read_text())["names"]
        return names

    def truth(self) -> list[dict[str, Any]]:
        """Every event so far."""
        lines = (self.out / "truth.ndjson").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def command(self, argv: Sequence[str]) -> list[str]:
        """The same command, made to run inside: for `subprocess`."""
        return [sys.executable, "-m", "unflux.lab.live.inside", str(self.pid), *argv]

    def run(self, argv: Sequence[str], timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside (dig, curl, another resolver …) and wait for it."""
        return subprocess.run(
            self.command(argv), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def popen(self, argv: Sequence[str], **how: Any) -> subprocess.Popen[Any]:
        """Start a command inside; it is killed when its parent ends."""
        return subprocess.Popen(self.command(argv), **how)

    def ask(self, request: dict[str, Any], timeout_s: float = 120.0) -> dict[str, Any]:
        """Send a request to the lab's control socket."""
        return ask(self.enclosure.directory, request, timeout_s)

    def status(self) -> dict[str, Any]:
        """Counts, networks, agents now."""
        return self.ask({"do": "status"})

    def takedown(
        self, what: str, network: str | None = None, watch_s: float = 10.0
    ) -> dict[str, Any]:
        """Take something down and measure for some seconds what it costs the network."""
        request = {"do": "takedown", "what": what, "network": network, "watch_s": watch_s}
        return self.ask(request, watch_s * 2 + 60)

    def reload_policy(self) -> None:
        """Let the resolver read its response policy zone again, and forget what it cached."""
        self.ask({"do": "reload_policy"})

    def wait(self) -> dict[str, Any]:
        """Wait for the end (`duration_s`); the summary. After Ctrl-C, `stop` still gives it.

        Raises
        ------
        UnfluxError
            When an actor failed, with its name.
        """
        self.summary = self.enclosure.result(self.enclosure.process.wait())
        return self.summary or {}

    def stop(self) -> dict[str, Any] | None:
        """Stop cleanly; the summary, None when the lab had ended already.

        Raises
        ------
        UnfluxError
            When an actor had failed, with its name.
        """
        if self.summary is not None or not self.enclosure.directory.exists():
            return self.summary
        process = self.enclosure.process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S + 2)
            except subprocess.TimeoutExpired:
                self.enclosure.kill()
        self.summary = self.enclosure.result(process.returncode)
        return self.summary


def ask(directory: Path, request: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask a running lab by its directory.

    Raises
    ------
    UnfluxError
        When it does not answer, or answers that the request is wrong.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(directory / "control.sock"))
            connection.sendall(json.dumps(request).encode() + b"\n")
            told = b""
            while piece := connection.recv(65_536):
                told += piece
        if not told:
            raise Unavailable(f"the lab in {directory} ended before it answered")
        answer: dict[str, Any] = json.loads(told)
    except (OSError, ValueError) as error:
        raise Unavailable(f"the lab in {directory} does not answer: {error}") from None
    if "error" in answer:
        raise UnfluxError(answer["error"])
    return answer


def running() -> list[Path]:
    """Directories of the labs that run; what dead ones left is removed on the way."""
    found = []
    for directory in sorted(base_directory().iterdir()):
        try:
            pid = int((directory / "init.pid").read_text())
            alive = namespace.identity(pid=pid) != namespace.identity()
        except (OSError, ValueError):
            alive = time.time() - directory.stat().st_mtime < READY_S  # still starting
            if not alive:
                shutil.rmtree(directory, ignore_errors=True)
            continue
        if alive and (directory / "control.sock").exists():
            found.append(directory)
    return found
