"""Linux namespaces by plain system calls: leave the machine's network, come back to a lab's.

`os.unshare` and `os.setns` only come with Python 3.12. Nothing here imports anything heavy, because
a process with threads may not make a user namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from pathlib import Path

from unflux.errors import Unavailable

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
PR_SET_PDEATHSIG = 1

REMEDIES = {
    errno.EPERM: "the kernel or a container forbids user namespaces: try `sysctl -w "
    "kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0`, "
    "or start the container with --security-opt seccomp=unconfined",
    errno.ENOSPC: "user namespaces are switched off: raise user.max_user_namespaces",
    errno.EINVAL: "the kernel has no user namespaces, or the process has threads already",
}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def leave() -> None:
    """Make user, network and process namespaces; the next child of this process is their init.

    The caller keeps its user identity outside and is root inside, for this namespace only.

    Raises
    ------
    Unavailable
        With the reason and the remedy, where the system does not let us.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("the live lab needs Linux namespaces; `unflux lab synth` runs everywhere")
    user, group = os.geteuid(), os.getegid()
    if _libc().unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID) != 0:
        number = ctypes.get_errno()
        remedy = REMEDIES.get(number, os.strerror(number))
        raise Unavailable(f"no sealed namespace can be made: {remedy}; `unflux lab synth` works")
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        raise Unavailable(f"the new user namespace got no identity: {error}") from None


def join(pid: int) -> None:
    """Enter the user and network namespaces of a lab's process.

    Raises
    ------
    Unavailable
        When the process is gone or belongs to somebody else.
    """
    try:
        handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "net")]
    except OSError as error:
        raise Unavailable(f"the lab's process {pid} cannot be reached: {error.strerror}") from None
    for handle in handles:
        if _libc().setns(handle, 0) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise Unavailable(f"the namespace of process {pid} cannot be entered: {reason}")
        os.close(handle)


def signal_at_parents_death(number: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent ends, however it ends.

    The kernel forgets it when a process gets another identity: call it after `leave`, too.
    """
    _libc().prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def identity(kind: str = "net", pid: int | str = "self") -> str:
    """Which namespace a process is in, such as ``net:[4026531840]``."""
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
