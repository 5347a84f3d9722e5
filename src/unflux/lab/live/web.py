"""HTTP in the lab: motherships serve inert text, agents relay it in pieces as it comes.

One server on port 80 of every address. What a mothership serves is a fixed placeholder that does
nothing; agents know only where to relay to, which is what their operator told them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import random
import ssl
from collections import OrderedDict
from dataclasses import dataclass

from unflux.errors import Unavailable
from unflux.lab.live.roles import Network, Roles
from unflux.lab.live.sockets import is_lab_address, number_of, wildcard_tcp
from unflux.lab.model.plan import canonical, of_family, text_of, twin

try:
    import aiohttp
    from aiohttp import web
except ImportError:
    raise Unavailable("the live lab needs aiohttp: pip install 'unflux[lab]'") from None

PLACEHOLDER = (
    "unflux lab: inert placeholder. No instruction, no code, no file. "
    "It stands where a flux network would have its content.\n"
)
MAX_PAGE_LINES = 200
"""A page is that line up to so often, each path of each name as often as it always is."""
STREAM_PIECES, PIECE_BYTES = 16, 8_192
"""`/stream`: that many pieces, one after the other, so that relays have to stream."""
RELAY_TIMEOUT_S = 4.0
MAX_RELAYED = 20_000
MAX_SESSIONS = 256
"""Agents with an open client at a time; the least used one is closed."""


def page_of(name: str, path: str) -> str:
    """What is served: pages differ in length, as pages do, and each stays as it is."""
    number = int.from_bytes(hashlib.blake2b(f"{name}{path}".encode(), digest_size=4).digest())
    n_lines = round(math.exp(number / (1 << 32) * math.log(MAX_PAGE_LINES)))
    return PLACEHOLDER * n_lines


class WebServers:
    """Every web server of the lab behind one port 80."""

    def __init__(self, roles: Roles) -> None:
        self.roles = roles
        self.counts = {"served": 0, "relayed": 0, "refused": 0, "failed": 0, "left": 0}
        """Requests; `left` by visitors who did not wait for a stream's end, the rest as it says."""
        self.relayed_last: dict[int, str] = {}
        """Where each agent relayed to last: all that it knows of what is behind it. Bound: the
        `MAX_RELAYED` agents that relayed last."""
        self._sessions: OrderedDict[int, aiohttp.ClientSession] = OrderedDict()
        self._servers: list[asyncio.Server] = []
        self.protocol: web.Server
        """Makes what reads the requests of a connection, plain or out of TLS; from `start` on."""

    async def start(self) -> None:
        """Open the sockets."""
        loop = asyncio.get_running_loop()
        self.protocol = web.Server(self._on_request, access_log=None)
        for v6 in (False, True):
            listener = wildcard_tcp(80, v6=v6)
            self._servers.append(await loop.create_server(self.protocol, sock=listener))

    async def close(self) -> None:
        """Close them."""
        for one in self._servers:
            one.close()
        for session in self._sessions.values():
            await session.close()

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # gone already
            return web.Response(status=503)
        address = canonical(number_of(transport.get_extra_info("sockname")[0]))
        name = request.host.split(":")[0].rstrip(".").lower()
        if address not in self.roles.down:
            network = self._served_by(address, name)
            if network is not None or self._is_plain(name):
                return await self._serve(request, name)
            if request.path == "/health" and self.roles.is_agent(address):
                return web.Response(text="alive\n")
            network = self.roles.agent_for(address, name)
            if network:
                return await self._relay(request, address, network)
        self.counts["refused"] += 1
        transport.abort()  # nobody is there: what a closed port looks like
        return web.Response(status=503)  # which nobody gets

    def _served_by(self, address: int, name: str) -> Network | None:
        """The network whose back end this is, when the name is one of its own."""
        service = self.roles.service_of_name.get(name)
        network = self.roles.networks.get(-1 if service is None else service)
        return network if network and address in self.roles.back_ends_of(network) else None

    def _is_plain(self, name: str) -> bool:
        """Hosting, delivery networks and the rest serve by themselves; so does a sinkhole."""
        service = self.roles.service_of_name.get(name)
        return service is not None and service not in self.roles.networks

    async def _serve(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        self.counts["served"] += 1
        if request.path != "/stream":
            return web.Response(text=page_of(name, request.path))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        piece = (PLACEHOLDER * (PIECE_BYTES // len(PLACEHOLDER) + 1))[:PIECE_BYTES].encode()
        try:
            await response.prepare(request)
            for _ in range(STREAM_PIECES):
                await response.write(piece)
                await asyncio.sleep(0.01)
            await response.write_eof()
        except ConnectionError:
            self.counts["left"] += 1
        return response

    async def _relay(
        self, request: web.BaseRequest, agent: int, network: Network
    ) -> web.StreamResponse:
        """Pass a request on from the agent's own address, and what comes back, piece by piece."""
        target = self._next_hop(request, agent, network)
        self.note_relayed(agent, target)
        session = self._session(agent)
        host = f"[{target}]" if ":" in target else target
        headers = {
            "Host": request.host,
            "Via": f"{request.headers.get('Via', '')} 1.1 agent".strip(),
        }
        if "Content-Type" in request.headers:
            headers["Content-Type"] = request.headers["Content-Type"]
        url = f"http://{host}{request.rel_url.raw_path_qs}"
        body = request.content if request.body_exists else None
        response: web.StreamResponse | None = None
        try:
            async with session.request(request.method, url, headers=headers, data=body) as answer:
                response = web.StreamResponse(status=answer.status)
                response.enable_chunked_encoding()
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                self.counts["relayed"] += 1
                return response
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.counts["failed"] += 1
            if response is not None and response.prepared and request.transport:
                request.transport.abort()  # half an answer cannot be taken back
                return response
            return web.Response(status=502, text="relay failed\n")

    def note_relayed(self, agent: int, target: str) -> None:
        """Remember where an agent relayed to last, of pages plain or over TLS."""
        self.relayed_last.pop(agent, None)
        self.relayed_last[agent] = target
        if len(self.relayed_last) > MAX_RELAYED:
            del self.relayed_last[next(iter(self.relayed_last))]

    def _next_hop(self, request: web.BaseRequest, agent: int, network: Network) -> str:
        """Another agent while the chain is short, then a back end."""
        hops_done = request.headers.get("Via", "").count("agent") + 1
        settings = self.roles.world.services[network.service].settings
        if hops_done < settings.hops:
            group = next(
                group for service, group in self.roles.agents[agent] if service == network.service
            )
            others = [one for one in self.roles.listed(network.service, group) if one != agent]
            if others:
                return text_of(random.choice(others))  # noqa: S311
        target = random.choice(network.back_ends or [network.mothership])  # noqa: S311
        return text_of(of_family(target, agent))

    def _session(self, agent: int) -> aiohttp.ClientSession:
        """The agent's client, bound to its address."""
        session = self._sessions.get(agent)
        if session is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(local_addr=(text_of(agent), 0), force_close=True),
                timeout=aiohttp.ClientTimeout(total=RELAY_TIMEOUT_S * 2, connect=RELAY_TIMEOUT_S),
                auto_decompress=False,
            )
            self._sessions[agent] = session
            if len(self._sessions) > MAX_SESSIONS:
                _, oldest = self._sessions.popitem(last=False)
                asyncio.get_running_loop().create_task(oldest.close())
        self._sessions.move_to_end(agent)
        return session


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a visitor got."""

    status: int
    """HTTP status; 0 when there was no answer."""
    n_bytes: int
    local_port: int = 0
    """The visitor's own port, to find its packets again."""


async def fetch(
    address: str,
    name: str,
    path: str,
    source: int | None,
    timeout_s: float = 4.0,
    *,
    tls: ssl.SSLContext | None = None,
) -> Fetched:
    """One GET, straight to an address, read to its end; over TLS with what the visitor trusts.

    Only lab addresses are tried: decoys among the answers lead nowhere, here as in the world.
    """
    if not is_lab_address(address):
        return Fetched(0, 0)
    local = None
    if source is not None:
        local = (text_of(twin(source) if ":" in address else source), 0)
    request = f"GET {path} HTTP/1.1\r\nHost: {name.rstrip('.')}\r\nConnection: close\r\n\r\n"
    port = 0
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                address, 443 if tls else 80, local_addr=local, ssl=tls,
                server_hostname=name.rstrip(".") if tls else None,
            )  # fmt: skip
            try:
                port = writer.get_extra_info("sockname")[1]
                writer.write(request.encode())
                head = await reader.readuntil(b"\r\n\r\n")
                n_bytes = 0
                while piece := await reader.read(65_536):
                    n_bytes += len(piece)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return Fetched(int(head.split(b" ", 2)[1]), n_bytes, port)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, IndexError,
            asyncio.LimitOverrunError):  # fmt: skip
        return Fetched(0, 0, port)
