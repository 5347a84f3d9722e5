"""The seal: loopback, reserved addresses and nothing else, or no lab.

What there is, is read from /proc, so nothing here opens a socket before the check has passed.
`/proc/self/net` is that of the process's own namespace (sysfs may show another one's).
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from unflux.errors import Unavailable, UnfluxError
from unflux.lab.live import namespace

RTF_REJECT = 0x0200
"""Routes that refuse; the kernel keeps one for all of IPv6."""
NONLOCAL_BIND = Path("/proc/sys/net/ipv6/ip_nonlocal_bind")


class SealBroken(UnfluxError):
    """Something other than loopback is within reach; no socket may be opened."""


def check(outside: str | None = None, *, net: Path = Path("/proc/self/net")) -> None:
    """Refuse unless this process is in a network namespace with nothing but loopback.

    Parameters
    ----------
    outside
        The identity of the namespace that the lab was started from; this one has to be another.
    net
        Where the kernel tells about this process's network.

    Raises
    ------
    SealBroken
        With what is there and should not be.
    """
    if outside is not None and namespace.identity() == outside:
        raise SealBroken("the lab is still in the machine's own network: it does not start")
    others = [name for name in interfaces(net) if name != "lo"]
    if others:
        raise SealBroken(
            f"the lab's namespace has another interface ({', '.join(others)}): it does not start. "
            "If the kernel adds tunnels: sysctl -w net.core.fb_tunnels_only_for_init_net=2"
        )
    routes = default_routes(net)
    if routes:
        raise SealBroken(
            f"the lab's namespace has a default route ({routes[0]}): it does not start"
        )


def interfaces(net: Path = Path("/proc/self/net")) -> list[str]:
    """Names of the network interfaces."""
    lines = (net / "dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines]


def default_routes(net: Path = Path("/proc/self/net")) -> list[str]:
    """Default routes of both families, described."""
    found = []
    for line in (net / "route").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and int(fields[1], 16) == 0 and int(fields[7], 16) == 0:
            found.append(f"IPv4 by {fields[0]}")
    v6 = net / "ipv6_route"
    for line in v6.read_text().splitlines() if v6.exists() else []:
        fields = line.split()
        if fields[0] == "0" * 32 and fields[1] == "00" and not int(fields[8], 16) & RTF_REJECT:
            found.append(f"IPv6 by {fields[9]}")
    return found


def set_up(outside: str) -> None:
    """Check, bring loopback up, make every lab address local, and check again.

    Raises
    ------
    SealBroken
        When something else is within reach, before or after.
    Unavailable
        When a package is missing or the kernel refuses.
    """
    check(outside)
    try:
        from pyroute2 import IPRoute, NetlinkError
    except ImportError:
        raise Unavailable("the live lab needs pyroute2: pip install 'unflux[lab]'") from None
    try:
        with IPRoute() as routes:
            loopback = routes.link_lookup(ifname="lo")[0]
            routes.link("set", index=loopback, state="up")
            _make_local(routes, loopback, NetlinkError)
    except (NetlinkError, OSError) as error:
        raise Unavailable(f"the lab's addresses could not be made local: {error}") from None
    # Answers from IPv6 addresses that no interface holds; as root of this namespace we may.
    if NONLOCAL_BIND.exists():
        NONLOCAL_BIND.write_text("1")
    check(outside)


def _make_local(routes: object, loopback: int, refused: type[Exception]) -> None:
    """Every lab address is this machine's (AnyIP): nothing is configured one by one."""
    from unflux.lab.model.plan import LAB_V4, LAB_V6

    for prefix, family in ((LAB_V4, socket.AF_INET), (LAB_V6, socket.AF_INET6)):
        try:
            routes.route(  # type: ignore[attr-defined]
                "add", dst=str(prefix), oif=loopback, type="local", table=255,
                scope=254 if family == socket.AF_INET else 0, family=family,
            )  # fmt: skip
        except refused as error:
            if getattr(error, "code", None) != errno.EEXIST:
                raise
