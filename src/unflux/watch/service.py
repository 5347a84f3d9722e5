"""What systemd is told (sd_notify), and where memory stands."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def notify(state: str) -> bool:
    """Tell systemd, such as ``READY=1``; nothing happens where it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
