"""The recursive resolver: Debian's unbound with the lab's root hints, dnstap, and a policy zone."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from unflux.errors import Unavailable, UnfluxError
from unflux.lab.live import namespace
from unflux.lab.model.plan import LAB_V4, LAB_V6, RESOLVERS_FROM, ROOT_SERVER, text_of, twin

RESOLVER = RESOLVERS_FROM
"""Its address: clients ask it, and it asks from there."""
READY_S = 8.0
POLICY_LOOK_S = 0.2
RELOAD = ("auth_zone_reload", "rpz.unflux.")
"""What makes unbound read the policy zone again; answers it has cached are under it at once."""
INFRA_TTL_S, UNKNOWN_SERVER_MS, MAX_RTT_MS = 900, 376, 120_000
"""unbound's own defaults for what it remembers of servers and how long it waits for them, all
shortened as TTLs are; that it keeps a failure for five seconds cannot be set."""


@dataclass(frozen=True, slots=True)
class ResolverFiles:
    """What unbound reads and writes, all in the lab's own directory."""

    directory: Path
    dnstap: Path
    rpz: Path | None = None

    @property
    def config(self) -> Path:
        """Also for `unbound-control -c`, from inside or outside of the namespace."""
        return self.directory / "unbound.conf"

    @property
    def control(self) -> Path:
        """unbound's control socket."""
        return self.directory / "unbound.ctl"


def find_unbound() -> str:
    """The program.

    Raises
    ------
    Unavailable
        With how to install it.
    """
    found = shutil.which("unbound") or shutil.which("unbound", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Unavailable(
            "the live lab needs unbound: sudo apt-get install unbound; `unflux lab synth` works"
        )
    return found


def compose_config(
    files: ResolverFiles, tlds: tuple[str, ...], speed: float, *, v6: bool = False
) -> str:
    """unbound.conf: nothing but the lab's root, nothing rewritten, everything told to dnstap."""
    addresses = [text_of(RESOLVER), *([text_of(twin(RESOLVER))] if v6 else [])]
    own = "\n".join(f"  interface: {one}\n  outgoing-interface: {one}" for one in addresses)
    # test. is answered locally by default (RFC 6761): here it is a zone like others.
    opened = "\n".join(f'  local-zone: "{tld}" nodefault' for tld in tlds)
    modules = "respip iterator" if files.rpz else "iterator"
    policy = f'\nrpz:\n  name: "rpz.unflux."\n  zonefile: "{files.rpz}"\n' if files.rpz else ""
    return f"""server:
  directory: "{files.directory}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 0
  num-threads: 1
{own}
  access-control: {LAB_V4} allow
  access-control: {LAB_V6} allow
  do-ip6: {"yes" if v6 else "no"}
  do-not-query-localhost: no
  module-config: "{modules}"
  root-hints: "{files.directory / "root.hints"}"
  qname-minimisation: no
  infra-host-ttl: {max(round(INFRA_TTL_S / speed), 1)}
  unknown-server-time-limit: {max(round(UNKNOWN_SERVER_MS / speed), 50)}
  infra-cache-max-rtt: {max(round(MAX_RTT_MS / speed), 1000)}
  outgoing-range: 512
  num-queries-per-thread: 1024
  msg-cache-size: 8m
  rrset-cache-size: 16m
{opened}
remote-control:
  control-enable: yes
  control-use-cert: no
  control-interface: "{files.control}"
dnstap:
  dnstap-enable: yes
  dnstap-socket-path: "{files.dnstap}"
  dnstap-send-identity: yes
  dnstap-identity: "unflux-lab"
  dnstap-log-client-query-messages: yes
  dnstap-log-client-response-messages: yes
  dnstap-log-resolver-query-messages: yes
  dnstap-log-resolver-response-messages: yes
{policy}"""


def write_files(
    files: ResolverFiles, tlds: tuple[str, ...], speed: float, *, v6: bool = False
) -> None:
    """Write what unbound reads; with `v6` it asks servers over IPv6, too."""
    hints = f". 3600000 IN NS a.root.\na.root. 3600000 IN A {text_of(ROOT_SERVER)}\n"
    if v6:
        hints += f"a.root. 3600000 IN AAAA {text_of(twin(ROOT_SERVER))}\n"
    (files.directory / "root.hints").write_text(hints)
    files.config.write_text(compose_config(files, tlds, speed, v6=v6))


class Resolver:
    """A running unbound."""

    def __init__(self, files: ResolverFiles) -> None:
        self.files = files
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; ready when its control socket answers."""
        self.process = await asyncio.create_subprocess_exec(
            find_unbound(), "-d", "-p", "-c", str(self.files.config),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=_die_with_us,
        )  # fmt: skip
        for _ in range(round(READY_S / 0.05)):
            if self.process.returncode is not None:
                raise Unavailable(f"unbound did not start: {await self.complaint()}")
            if await self._answers():
                return
            await asyncio.sleep(0.05)
        raise Unavailable(f"unbound was not ready after {READY_S:g} s")

    @property
    def _errors(self) -> asyncio.StreamReader:
        if self.process is None or self.process.stderr is None:
            raise RuntimeError("unbound has not been started")
        return self.process.stderr

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self.files.control)
        except OSError:
            return False
        writer.close()
        return True

    async def complaint(self) -> str:
        """The last line that unbound wrote."""
        lines = (await self._errors.read()).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    async def watch(self) -> None:
        """Returns only when unbound ends.

        Raises
        ------
        Unavailable
            With what it said last.
        """
        last = b""
        while line := await self._errors.readline():
            last = line
        code = await self.process.wait() if self.process else None
        raise Unavailable(f"it ended with code {code}: {last.decode(errors='replace').strip()}")

    async def control(self, *words: str) -> None:
        """Send a command to unbound's control socket.

        Raises
        ------
        UnfluxError
            With what unbound says, when it is not `ok`.
        """
        reader, writer = await asyncio.open_unix_connection(self.files.control)
        writer.write(f"UBCT1 {' '.join(words)}\n".encode())
        await writer.drain()
        told = (await reader.read()).decode(errors="replace").strip()
        writer.close()
        if not told.startswith("ok"):
            raise UnfluxError(f"unbound: {told or 'no answer'}")

    async def follow_policy(self) -> None:
        """Let unbound read the policy zone again whenever its file was replaced or changed."""
        path = self.files.rpz
        if path is None:
            raise ValueError("this resolver follows no policy zone")
        known = _stamp(path)
        while True:
            await asyncio.sleep(POLICY_LOOK_S)
            now = _stamp(path)
            if now != known and now is not None:
                await self.control(*RELOAD)
                known = now

    async def stop(self) -> None:
        """Stop it and wait."""
        if self.process and self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(3):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What is different once a file was replaced or written to; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _die_with_us() -> None:
    import signal

    namespace.signal_at_parents_death(signal.SIGKILL)
