"""Zone cuts: where zones begin, who serves them, and whom to ask next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unflux.track.reading import ancestors

ROOT = "."


class Cuts:
    """Zones between the root and the listed names.

    Bound: the ancestors of listed names and of what they lead to; blame is kept for servers that
    failed lately, 100,000 of them at most (then the oldest are forgotten).
    """

    MAX_BLAMED = 100_000

    def __init__(
        self,
        hints: Sequence[str],
        may_ask: Callable[[str], bool],
        is_allowed: Callable[[str], bool],
        lame_s: float,
    ) -> None:
        self.hints, self.is_allowed, self.lame_s = list(hints), is_allowed, lame_s
        self._may_ask = may_ask
        self.known: dict[str, bool] = {}
        """Names of which it is known whether a zone begins there."""
        self.hosts: dict[str, dict[str, list[str]]] = {}
        """Zone → name server → addresses that came with it."""
        self.addresses: dict[str, list[str]] = {}
        """Addresses of name servers that were asked for by themselves."""
        self._turn: dict[str, int] = {}
        self._blamed: dict[str, float] = {}

    @property
    def is_used(self) -> bool:
        """Are there hints, so that name servers are asked at all?"""
        return bool(self.hints)

    def may_ask(self, zone: str) -> bool:
        """May the name servers of a zone be asked?"""
        return zone == ROOT or self._may_ask(zone)

    def learn(self, name: str, hosts: dict[str, list[str]], *, is_cut: bool | None) -> None:
        """A parent said whether a zone begins here, and who serves it."""
        if is_cut is None:
            return
        self.known[name] = is_cut
        if is_cut:
            self.hosts[name] = dict(hosts)
        else:
            self.hosts.pop(name, None)

    def refresh(self, zone: str, hosts: dict[str, list[str]]) -> None:
        """The zone itself named its servers: newer than what the parent said (RFC 2181 §5.4.1)."""
        if self.known.get(zone) and hosts and any(hosts.values()):
            self.hosts[zone] = dict(hosts)

    def zone_of(self, qname: str, *, above: bool = False) -> str:
        """The deepest known zone that a name lies in; `above`: strictly above the name."""
        names = ancestors(qname)
        for name in reversed(names[:-1] if above else names):
            if self.known.get(name):
                return name
        return ROOT

    def server_of(self, zone: str, tried: Sequence[str], now: float) -> str | None:
        """A name server of a zone, one after the other; those that failed lately come last."""
        addresses = self._addresses_of(zone)
        if not addresses:
            return None
        turn = self._turn[zone] = self._turn.get(zone, -1) + 1
        place = turn % len(addresses)
        return self.best(addresses[place:] + addresses[:place], tried, now)

    def best(self, servers: Sequence[str], tried: Sequence[str], now: float) -> str:
        """The first that was not tried and did not fail lately, if there is one."""
        left = [one for one in servers if one not in tried] or list(servers)
        good = [one for one in left if self._blamed.get(one, 0.0) <= now]
        return (good or left)[0]

    def hosts_without_address(self, zone: str) -> list[str]:
        """Name servers whose addresses nobody told yet."""
        hosts = self.hosts.get(zone, {})
        return [one for one, has in hosts.items() if not has and one not in self.addresses]

    def add_addresses(self, host: str, qtype: str, addresses: list[str]) -> None:
        """A name server was asked for by itself."""
        others = [one for one in self.addresses.get(host, []) if (":" in one) != (qtype == "AAAA")]
        self.addresses[host] = others + addresses

    def _addresses_of(self, zone: str) -> list[str]:
        if zone == ROOT:
            return self.hints
        found: list[str] = []
        for host, glue in self.hosts.get(zone, {}).items():
            found += glue or self.addresses.get(host, [])
        return [one for one in dict.fromkeys(found) if self.is_allowed(one)]

    def blame(self, server: str, now: float) -> None:
        """A server did not answer, or wrongly."""
        self._blamed.pop(server, None)
        self._blamed[server] = now + self.lame_s
        while len(self._blamed) > self.MAX_BLAMED:
            self._blamed.pop(next(iter(self._blamed)))

    def forgive(self, server: str) -> None:
        """A server answered."""
        self._blamed.pop(server, None)

    def shift(self, seconds: float) -> None:
        """All times move."""
        self._blamed = {server: until + seconds for server, until in self._blamed.items()}
