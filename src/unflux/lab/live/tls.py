"""HTTPS in the lab: agents pass the stream of TLS through unread, who serves the page ends it.

One listener on port 443 of every address. The certificate is made when a lab starts and gone with
it; visitors trust that one alone, so a page that comes was encrypted between them and its server.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from unflux.errors import Unavailable
from unflux.lab.live.roles import Network, Roles
from unflux.lab.live.sockets import number_of, wildcard_tcp
from unflux.lab.live.web import RELAY_TIMEOUT_S, WebServers
from unflux.lab.model.plan import canonical, of_family, text_of

PORT = 443
PIECE_BYTES = 65_536
MAX_RELAYED = 512
"""Connections under way through agents; more are refused, as a busy host does."""
IDLE_S = 10.0
"""A connection without a byte for so long is ended."""
LAB_NAMES = ("DNS:*.test", "DNS:*.example")


class TlsServers:
    """Port 443 of every host."""

    def __init__(self, roles: Roles, pages: WebServers, directory: Path) -> None:
        self.roles, self.pages, self.directory = roles, pages, directory
        self._server: ssl.SSLContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []

    @property
    def wanted(self) -> bool:
        """Whether the scenario has a service with pages over TLS."""
        return any(one.settings.tls for one in self.roles.world.services)

    async def start(self) -> ssl.SSLContext | None:
        """Make the certificate and open the sockets; what visitors trust, None without TLS.

        Raises
        ------
        Unavailable
            When there is no `openssl` to make a certificate with.
        """
        if not self.wanted:
            return None
        certificate, key = await asyncio.to_thread(make_certificate, self.directory)
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(certificate, key)
        for v6 in (False, True):
            listener = wildcard_tcp(PORT, v6=v6)
            self._listeners.append(listener)
            self._keep(self._accept(listener))
        visitors = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        visitors.check_hostname = False  # one certificate stands for all names of the lab
        visitors.load_verify_locations(certificate)
        return visitors

    async def close(self) -> None:
        """End every connection and close the sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._listeners:
            one.close()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:  # gone before it was taken, or no descriptor left
                await asyncio.sleep(0.01)
                continue
            if len(self._tasks) >= MAX_RELAYED:
                connection.close()
                continue
            self._keep(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        """An agent of such a network passes on; everybody else serves by themselves, or nobody."""
        address = canonical(number_of(connection.getsockname()[0]))
        network = self._agent_for(address)
        with contextlib.suppress(OSError, TimeoutError):  # whoever hung up: nobody to tell
            if network is not None:
                await self._relay(connection, address, network)
            elif address in self.roles.down or self.roles.is_agent(address):
                connection.close()
            else:
                await asyncio.get_running_loop().connect_accepted_socket(
                    self.pages.protocol, connection, ssl=self._server,
                    ssl_handshake_timeout=RELAY_TIMEOUT_S,
                )  # fmt: skip

    def _agent_for(self, address: int) -> Network | None:
        """The network that an agent relays TLS for: by its address, as it reads no name."""
        if address in self.roles.down:
            return None
        for service, _ in sorted(self.roles.agents.get(address, ())):
            if self.roles.world.services[service].settings.tls:
                return self.roles.networks[service]
        return None

    async def _relay(self, connection: socket.socket, agent: int, network: Network) -> None:
        target = self._next_hop(agent, network)
        self.pages.note_relayed(agent, target)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            async with asyncio.timeout(RELAY_TIMEOUT_S):
                behind = await asyncio.open_connection(target, PORT, local_addr=(text_of(agent), 0))
        except (OSError, TimeoutError):
            self.pages.counts["failed"] += 1
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))
            self.pages.counts["relayed"] += 1
        finally:
            writer.close()
            behind[1].close()

    def _next_hop(self, agent: int, network: Network) -> str:
        """Another agent nearer to the end, or a back end.

        Agents cannot count hops in what they do not read, so each has a place: those of place 0
        pass on to a back end, the others to one of the place below.
        """
        world = self.roles.world
        hops = world.services[network.service].settings.hops
        place = agent % hops
        if place:
            groups = [group for one, group in self.roles.agents[agent] if one == network.service]
            listed = self.roles.listed(network.service, groups[0])
            nearer = [one for one in listed if one % hops == place - 1 and one != agent]
            if nearer:
                return text_of(nearer[agent % len(nearer)])
        ends = [one for one in network.back_ends if one not in self.roles.down]
        ends = ends or [network.mothership]
        target = ends[self.pages.counts["relayed"] % len(ends)]
        return text_of(of_family(target, agent))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends."""
    try:
        while True:
            async with asyncio.timeout(IDLE_S):
                piece = await reader.read(PIECE_BYTES)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()


def make_certificate(directory: Path, names: Sequence[str] = LAB_NAMES) -> tuple[Path, Path]:
    """A certificate that it signs itself and its key, for a month, in a directory that goes.

    Parameters
    ----------
    directory
        Gets `tls.pem` and `tls.key`.
    names
        Whom it stands for, as OpenSSL writes them: ``DNS:*.test``, ``IP:198.18.0.4``.

    Raises
    ------
    Unavailable
        When `openssl` is not installed, or refuses.
    """
    program = shutil.which("openssl")
    if program is None:
        raise Unavailable("pages over TLS need a certificate: apt-get install openssl")
    certificate, key = directory / "tls.pem", directory / "tls.key"
    done = subprocess.run(
        [
            program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "30", "-subj", "/CN=unflux lab", "-addext",
            f"subjectAltName={','.join(names)}", "-keyout", str(key), "-out",
            str(certificate),
        ],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"openssl made no certificate: {done.stderr.strip()[-200:]}")
    return certificate, key
