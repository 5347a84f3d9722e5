"""Real servers in a user and network namespace of their own: BIND as root, TLD and zone (a view
each), unbound as a resolver with BIND's root as its own. Nothing but loopback exists in there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from unflux.lab.live.tls import make_certificate

ROOT_SERVER, TLD_SERVER, ZONE_SERVER = "198.18.0.1", "198.18.0.2", "198.18.0.3"
RESOLVER = "198.18.0.4"
NAMED, UNBOUND = shutil.which("named"), shutil.which("unbound")

UNSHARE = ["unshare", "--user", "--net", "--map-root-user", "--fork", "--kill-child"]


def can_unshare() -> bool:
    """May this user make namespaces, and is `ip` here?"""
    tools = shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")
    return (
        bool(tools)
        and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0
    )


needs_named = pytest.mark.skipif(
    NAMED is None or not can_unshare(),
    reason="named (Debian: bind9), ip, or the right to make a network namespace is not here",
)
needs_unbound = pytest.mark.skipif(UNBOUND is None, reason="unbound is not here")

SOA = "@ 60 SOA ns hostmaster 1 3600 600 86400 {negative}\n"
ZONES = {
    "root": {".": "@ 60 SOA ns.root-servers.test. h. 1 3600 600 86400 30\n@ 3600 NS ns.root-servers.test.\n"
             "test. 600 NS ns.nic.test.\nns.nic.test. 600 A 198.18.0.2\n"},
    "tld": {"test.": SOA.format(negative=2) + "@ 600 NS ns.nic\nns.nic 600 A 198.18.0.2\n"
            "mother 4 NS ns1.mother\nns1.mother 4 A 198.18.0.3\n"
            "lame 30 NS ns1.lame\nns1.lame 30 A 198.18.0.3\n"},
    "zone": {"mother.test.": SOA.format(negative=2) + "@ 4 NS ns1\nns1 4 A 198.18.0.3\n"
             "c2 2 A 198.18.0.1\nstill 60 A 198.18.9.9\nlong 2 CNAME c2\n"
             + "".join(f"big 5 A 198.18.7.{n}\n" for n in range(1, 96))},
}  # fmt: skip
VIEW_OF = {"root": ROOT_SERVER, "tld": TLD_SERVER, "zone": ZONE_SERVER}


@dataclass
class Servers:
    """What runs, and what it logged."""

    folder: Path
    inside: list[str]
    """What a command begins with to run in the namespace."""

    def unflux(self, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, check=False
        )

    def command(self, *arguments: object) -> list[str]:
        return [*self.inside, sys.executable, "-m", "unflux", *map(str, arguments)]

    @property
    def hints(self) -> Path:
        path = self.folder / "hints"
        path.write_text(f". 3600000 NS a.root.test.\na.root.test. 3600000 A {ROOT_SERVER}\n")
        return path

    def set(
        self, zone: str, owner: str, ttl: int, rdtype: str, *rdata: str, at: str = ZONE_SERVER
    ) -> None:
        """Change a zone by a dynamic update (RFC 2136)."""
        lines = [f"server {at}", f"zone {zone}", f"update delete {owner}.{zone}"]
        lines += [f"update add {owner}.{zone} {ttl} {rdtype} {one}" for one in rdata]
        text = "\n".join([*lines, "send", ""])
        subprocess.run([*self.inside, "nsupdate"], input=text, text=True, check=True, timeout=20)

    def queries(self) -> list[tuple[float, str, str, str]]:
        """(time, view, qname, qtype) of every query that BIND logged."""
        found = []
        for line in (self.folder / "queries.log").read_text().splitlines():
            match = re.match(r"(\S+) .*view (\w+): query: (\S+) IN (\S+)", line)
            if match:
                at = datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp()
                found.append((at, match[2], f"{match[3].rstrip('.').lower()}.", match[4]))
        return found


def _named_conf(folder: Path) -> str:
    views = []
    for view, zones in ZONES.items():
        blocks = []
        for zone, content in zones.items():
            file = folder / f"{view}-{zone.strip('.') or 'root'}.zone"
            file.write_text(f"$ORIGIN {zone}\n{content}")
            blocks.append(f'zone "{zone}" {{ type primary; file "{file}"; allow-update {{ any; }}; '
                          'allow-transfer { any; }; notify no; };')  # fmt: skip
        views.append(
            f'view "{view}" {{ match-destinations {{ {VIEW_OF[view]}; }}; {" ".join(blocks)} }};'
        )
    addresses = " ".join(f"{one};" for one in VIEW_OF.values())
    return f"""
options {{ directory "{folder}"; listen-on {{ {addresses} }}; listen-on-v6 {{ none; }};
  recursion no; pid-file none; dnssec-validation no; session-keyfile none; minimal-responses no;
  querylog yes; }};
controls {{ }};
logging {{ channel q {{ file "{folder}/queries.log"; print-time iso8601-utc; }};
  category queries {{ q; }}; }};
{chr(10).join(views)}
"""


UNBOUND_CONF = """
server:
  interface: {resolver}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  access-control: 0.0.0.0/0 allow
  local-zone: "test." nodefault
  root-hints: "{folder}/hints"
  minimal-responses: yes
{encrypted}
remote-control:
  control-enable: no
"""
ENCRYPTED = """
  interface: {resolver}@853
  interface: {resolver}@443
  tls-service-key: "{key}"
  tls-service-pem: "{certificate}"
"""
"""DNS over TLS and over HTTPS."""
NAME_IN_CERTIFICATE = "dns.resolver.test"
OPENSSL = shutil.which("openssl")
ADDRESSES = (ROOT_SERVER, TLD_SERVER, ZONE_SERVER, RESOLVER)


def _certified(folder: Path) -> str:
    """Make a certificate for the resolver; the lines of unbound's configuration that use it."""
    certificate, key = make_certificate(folder, (f"DNS:{NAME_IN_CERTIFICATE}", f"IP:{RESOLVER}"))
    return ENCRYPTED.format(resolver=RESOLVER, certificate=certificate, key=key)


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Make the namespace, start BIND (and unbound, where it is), and take all of it away again."""
    setup = "ip link set lo up; " + "; ".join(f"ip addr add {one}/32 dev lo" for one in ADDRESSES)
    holder = subprocess.Popen(
        [*UNSHARE, "sh", "-c", f"{setup}; echo up; exec sleep 600"], stdout=subprocess.PIPE
    )
    started = [holder]
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        child = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0]
        inside = ["nsenter", "--preserve-credentials", "--user", "--net", "-t", child]
        servers = Servers(folder, inside)
        (folder / "named.conf").write_text(_named_conf(folder))
        encrypted = _certified(folder) if OPENSSL else ""
        (folder / "unbound.conf").write_text(
            UNBOUND_CONF.format(resolver=RESOLVER, folder=folder, encrypted=encrypted)
        )
        commands = [[NAMED, "-f", "-c", f"{folder}/named.conf", "-n", "1"]]
        commands += (
            [[UNBOUND, "-d", "-c", f"{folder}/unbound.conf"]] if UNBOUND and servers.hints else []
        )
        with (folder / "servers.log").open("wb") as log:
            for command in commands:
                started.append(
                    subprocess.Popen([*inside, *map(str, command)], stdout=log, stderr=log)
                )
            _wait_for(servers, ZONE_SERVER)
            if UNBOUND:
                _wait_for(servers, RESOLVER)
            yield servers
    finally:
        for process in reversed(started):
            # unshare leaves SIGTERM to its child, which does not get ours; what it holds ends with it.
            (process.kill if process is holder else process.terminate)()
            process.wait(30)


def _wait_for(servers: Servers, address: str) -> None:
    command = ["dig", "+short", "+tries=1", "+time=1", f"@{address}", "ns1.mother.test.", "A"]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done = subprocess.run(
            [*servers.inside, *command], capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == ZONE_SERVER:
            return
        time.sleep(0.05)
    raise AssertionError((servers.folder / "servers.log").read_text())
