"""`python -m unflux.lab.live.inside PID COMMAND…`: run a command in a lab's network."""

from __future__ import annotations

import os
import signal
import sys

from unflux.errors import UnfluxError
from unflux.lab.live import namespace


def main(arguments: list[str]) -> int:
    """Join the lab of a process and become the command; returns only when that fails."""
    try:
        outside = namespace.identity()
        namespace.join(int(arguments[0]))
        if namespace.identity() == outside:
            raise UnfluxError(f"process {arguments[0]} is in the machine's own network, no lab")
        namespace.signal_at_parents_death(signal.SIGKILL)
        os.execvp(arguments[1], arguments[1:])  # noqa: S606  a list, no shell
    except UnfluxError as error:
        print(f"unflux: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"unflux: {arguments[1]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
