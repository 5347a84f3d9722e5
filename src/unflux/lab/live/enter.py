"""`python -m unflux.lab.live.enter PLAN`: leave the machine's network, then run one function there.

Three processes: the caller outside; this one, which waits and tidies up; and its child, which is
the init of the new process namespace, so that everything in the lab ends with it. Each gets SIGTERM
when its parent ends, however that ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from unflux.errors import UnfluxError
from unflux.lab.live import namespace, seal

GRACE_S = 8
"""Time to stop cleanly; after it the namespace's init is killed, and all with it."""


def main(path: str) -> int:
    """Run the plan in a file: ``{"target": "module:function", "arguments": {…}}``.

    The function's JSON result, or one sentence of what went wrong, goes to ``result.json`` beside
    the plan. Returns the exit code.
    """
    directory = Path(path).parent
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    namespace.signal_at_parents_death(signal.SIGTERM)
    outside = namespace.identity()
    try:
        namespace.leave()
    except UnfluxError as error:
        _write(directory, {"error": str(error), "kind": type(error).__name__})
        return 1
    namespace.signal_at_parents_death(signal.SIGTERM)
    alive, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        _inside(plan, directory, outside, alive)
    os.close(alive)
    return _wait(pid, directory, tidy=plan.get("tidy", False))


def _inside(plan: dict[str, Any], directory: Path, outside: str, alive: int) -> None:
    """The namespace's init: never returns."""
    namespace.signal_at_parents_death(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, who asks us to stop
    code = 0
    try:
        seal.set_up(outside)
        module, name = plan["target"].split(":")
        function = getattr(importlib.import_module(module), name)
        result = function(**plan["arguments"], alive=alive) if plan.get("watch") else function(
            **plan["arguments"]
        )  # fmt: skip
        _write(directory, {"result": result})
    except KeyboardInterrupt:
        code = 130
    except UnfluxError as error:
        _write(directory, {"error": str(error), "kind": type(error).__name__})
        code = 1
    except BaseException as error:
        traceback.print_exc()
        _write(directory, {"error": f"{type(error).__name__}: {error}", "kind": "crash"})
        code = 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _write(directory: Path, content: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        temporary = directory / ".result"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(directory / "result.json")


def _wait(pid: int, directory: Path, *, tidy: bool) -> int:
    """Pass SIGTERM on, wait for the init, kill it when it takes too long, tidy up."""
    state = {"orphan": False}
    parent = os.getppid()

    def stop(_number: int, _frame: FrameType | None) -> None:
        state["orphan"] = os.getppid() != parent
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        signal.alarm(GRACE_S)

    def kill(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGALRM, kill)
    (directory / "init.pid").write_text(str(pid))
    _, status = os.waitpid(pid, 0)
    if tidy and (state["orphan"] or os.getppid() != parent):
        shutil.rmtree(directory, ignore_errors=True)  # nobody else is left to do it
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    raise SystemExit(abs(main(sys.argv[1])))
