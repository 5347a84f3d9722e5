"""`unflux` and `python -m unflux`: an interrupt while modules load ends as quietly as one later."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        from unflux.cli import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("unflux: stopped; nothing was written\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
