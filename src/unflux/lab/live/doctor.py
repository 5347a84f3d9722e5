"""What the live lab needs, and what of it is here; runs outside of the namespace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from unflux.errors import UnfluxError
from unflux.lab.live import session
from unflux.lab.live.resolver import find_unbound

PACKAGES = ("aiohttp", "pyroute2", "dns")
TOOLS = ("dig", "curl", "openssl", "tshark", "kresd", "pdns_recursor")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is looked at."""

    what: str
    ok: bool
    detail: str
    """What was found, or the remedy."""
    needed: bool = True
    """Without it no live lab starts."""


def examine() -> list[Finding]:
    """Everything, in the order in which a lab needs it."""
    found = [_system(), *map(_package, PACKAGES), _unbound(), _namespace()]
    for tool in TOOLS:
        path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin")
        found.append(Finding(tool, path is not None, path or "not installed", needed=False))
    labs = [str(one) for one in session.running()]
    found.append(Finding("running labs", True, ", ".join(labs) or "none", needed=False))
    return found


def missing(findings: list[Finding]) -> list[Finding]:
    """What keeps a lab from starting."""
    return [one for one in findings if one.needed and not one.ok]


def require() -> None:
    """Refuse with one sentence where a live lab cannot run; quick, so commands call it first.

    Raises
    ------
    UnfluxError
        With the reason and the remedy.
    """
    lacking = missing([_system(), *map(_package, PACKAGES), _unbound()])
    if lacking:
        raise UnfluxError(lacking[0].detail)


def _system() -> Finding:
    linux = sys.platform.startswith("linux")
    detail = sys.platform if linux else (
        "the live lab needs Linux namespaces; `unflux lab synth` runs everywhere"
    )  # fmt: skip
    return Finding("Linux", linux, detail)


def _package(name: str) -> Finding:
    here = find_spec(name) is not None
    detail = "installed" if here else f"the live lab needs {name}: pip install 'unflux[lab]'"
    return Finding(f"Python package {name}", here, detail)


def _unbound() -> Finding:
    try:
        program = find_unbound()
    except UnfluxError as error:
        return Finding("unbound", False, str(error))
    told = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout
    version = told.splitlines()[0] if told else "?"
    if "--enable-dnstap" not in told:
        return Finding("unbound", False, f"{program} was built without dnstap: use Debian's")
    return Finding("unbound", True, f"{program} ({version})")


def _namespace() -> Finding:
    try:
        session.run_inside("unflux.lab.live.seal:interfaces", {}, timeout_s=20)
    except UnfluxError as error:
        return Finding("sealed namespace", False, str(error))
    return Finding("sealed namespace", True, "can be made; only loopback is in it")
