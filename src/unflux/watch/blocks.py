"""What is blocked, why, since when and until when: the life cycle of a block list. Pure.

A block lasts for some hours after the evidence was seen last, so a name that stopped rotating is
let go by itself. A name is never blocked where a benign explanation fits, where it is allowed, or
where the verdict is not sure enough: the collateral of a wrong block is somebody's service.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from unflux.detect import Finding
from unflux.share import rpz

CONFIDENCES = ("low", "medium", "high")
MAX_EXTRAS = 256
"""Addresses and name servers listed for one name, at most; more are left out, and counted."""
MAX_USERS = 1000
"""Names of one address that are looked at; an address with more is never listed."""
MAX_ZONES = 256
"""Zones of one name server that a window remembers; a server with more is never listed."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One blocked thing."""

    trigger: str
    """A name without the final dot (with all below it), a name server, or an address."""
    kind: str
    """See `unflux.share.rpz.KINDS`."""
    name: str
    """The name whose finding this comes from."""
    verdict: str
    score: float
    confidence: str
    reason: str
    by: str
    """Detector and its version."""
    action: str
    """What a listed name gets, see `unflux.share.rpz.ACTIONS`; `monitor` blocks nothing."""
    since_us: int
    seen_us: int
    """When there was evidence last."""
    until_us: int

    @property
    def entry(self) -> rpz.Entry:
        """As an entry of a policy zone."""
        reason = f"{self.verdict} {self.score:.2f}: {self.reason}"
        return rpz.Entry(self.trigger, self.kind, reason, self.since_us, self.until_us)


@dataclass(frozen=True, slots=True)
class BlockRules:
    """When something is blocked, and for how long."""

    block_for_s: int = 12 * 3600
    min_score: float = 0.6
    min_confidence: str = "medium"
    max_entries: int = 10_000
    action: str = "monitor"
    nsdname: bool = False
    ip: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a finding."""

    outcome: str
    """``blocked``, ``renewed``, ``covered`` (by a wider block), or ``refused``."""
    why: str
    block: Block | None = None


class Blocklist:
    """All blocks; at `max_entries` the lowest score gives way.

    Counted are `n_displaced` blocks that gave way, `n_refused` findings (by why; ``size`` where the
    list was full of higher scores), and `n_extras_left_out` addresses and name servers.
    """

    def __init__(self, rules: BlockRules, allow: Iterable[str] = ()) -> None:
        self.rules = rules
        self.allow = {one.rstrip(".").lower() for one in allow}
        self.blocks: dict[tuple[str, str], Block] = {}
        self.n_displaced = self.n_extras_left_out = 0
        self.n_refused: Counter[str] = Counter()

    def restore(self, blocks: Iterable[Block], now_us: int) -> None:
        """Take up blocks of an earlier run that are not over, with the action of today."""
        for block in blocks:
            if block.until_us > now_us and not self.is_allowed(block.trigger):
                self.blocks[block.kind, block.trigger] = self._today(block)

    def reconfigure(self, rules: BlockRules, allow: Iterable[str]) -> None:
        """Other rules: what is allowed now is let go, the rest gets the action of now."""
        self.rules, self.allow = rules, {one.rstrip(".").lower() for one in allow}
        self.blocks = {
            key: self._today(block)
            for key, block in self.blocks.items()
            if not self.is_allowed(block.trigger)
        }

    def _today(self, block: Block) -> Block:
        """The zone has one action for all its entries."""
        if block.action == self.rules.action:
            return block
        return msgspec.structs.replace(block, action=self.rules.action)

    def entries(self) -> list[rpz.Entry]:
        """For the policy zone."""
        return [block.entry for block in self.blocks.values()]

    def is_allowed(self, name: str) -> bool:
        """Is the name, or one above it, on the allowlist?"""
        return rpz.is_under(name, self.allow)

    def why_not(self, finding: Finding) -> str | None:
        """What keeps a finding from being blocked, as a stable word; None: nothing does."""
        order = CONFIDENCES.index
        checks = {
            "verdict": not finding.is_flux,
            "allowlist": any(map(self.is_allowed, (finding.name, rpz.trigger_of(finding)))),
            "benign_explanation": any(one.match for one in finding.benign_explanations),
            "score": finding.score < self.rules.min_score,
            "confidence": order(finding.confidence) < order(self.rules.min_confidence),
            "public_suffix": finding.registered_domain is None,
        }
        return next((why for why, holds in checks.items() if holds), None)

    def on_finding(self, finding: Finding, now_us: int) -> Decision:
        """Block, renew or refuse."""
        reason = self.why_not(finding)
        if reason is not None:
            return self._refuse(reason)
        trigger = rpz.trigger_of(finding)
        known = self.blocks.get((rpz.QNAME, trigger))
        if known is None and (wider := self._wider(trigger)):
            return Decision("covered", wider.trigger, wider)
        block = self._block(finding, rpz.QNAME, trigger, now_us, known)
        if known is None and not self._make_room(block):
            return self._refuse("size")
        self.blocks[rpz.QNAME, trigger] = block
        return Decision("renewed" if known else "blocked", block.reason, block)

    def _refuse(self, why: str) -> Decision:
        self.n_refused[why] += 1
        return Decision("refused", why)

    def add_extra(self, finding: Finding, kind: str, triggers: Iterable[str], now_us: int) -> int:
        """List addresses or name servers of a blocked finding; who calls has checked that no
        other name uses them. Returns how many are new."""
        n_new = 0
        wanted = [one for one in triggers if not self.is_allowed(one)]
        self.n_extras_left_out += len(wanted[MAX_EXTRAS:])
        for trigger in wanted[:MAX_EXTRAS]:
            known = self.blocks.get((kind, trigger))
            block = self._block(finding, kind, trigger, now_us, known)
            if known is None and not self._make_room(block):
                self.n_extras_left_out += 1
                continue
            self.blocks[kind, trigger] = block
            n_new += known is None
        return n_new

    def expire(self, now_us: int) -> list[Block]:
        """Let go what is over; returns it."""
        over = [block for block in self.blocks.values() if block.until_us <= now_us]
        for block in over:
            del self.blocks[block.kind, block.trigger]
        return over

    def shift(self, step_us: int) -> None:
        """The clock was set by so much: what is left of each block stays as long."""
        self.blocks = {
            key: msgspec.structs.replace(block, until_us=block.until_us + step_us)
            for key, block in self.blocks.items()
        }

    def covering(self, name: str) -> Block | None:
        """The block that a name falls under."""
        return self.blocks.get((rpz.QNAME, name)) or self._wider(name)

    def _wider(self, name: str) -> Block | None:
        labels = name.split(".")
        above = (".".join(labels[start:]) for start in range(1, len(labels)))
        return next((found for one in above if (found := self.blocks.get((rpz.QNAME, one)))), None)

    def _block(
        self, finding: Finding, kind: str, trigger: str, now_us: int, known: Block | None
    ) -> Block:
        return Block(
            trigger=trigger,
            kind=kind,
            name=finding.name,
            verdict=finding.verdict,
            score=finding.score,
            confidence=finding.confidence,
            reason="; ".join(reason.says for reason in finding.reasons[:3]) or finding.verdict,
            by=f"{finding.detector.id} {finding.detector.version}",
            action=self.rules.action,
            since_us=known.since_us if known else now_us,
            seen_us=now_us,
            until_us=now_us + self.rules.block_for_s * 1_000_000,
        )

    def _make_room(self, block: Block) -> bool:
        if len(self.blocks) < self.rules.max_entries:
            return True
        weakest = min(self.blocks.values(), key=lambda one: (one.score, one.seen_us))
        if weakest.score >= block.score:
            return False
        del self.blocks[weakest.kind, weakest.trigger]
        self.n_displaced += 1
        return True


def exclusive_addresses(
    addresses: list[str], users: Iterable[tuple[int, str]], flux: set[str]
) -> list[str]:
    """The addresses that only names judged flux (or names below such) use.

    `users`: (place in `addresses`, name), for `MAX_USERS` names of an address at most: of one with
    so many nobody knows who else uses it.
    """
    listed = list(users)
    shared = {at for at, name in listed if not rpz.is_under(name.rstrip("."), flux)}
    n_users = Counter(at for at, _ in listed)
    shared |= {at for at, n in n_users.items() if n >= MAX_USERS}
    usable = [one for one in addresses if not _is_special(one)]
    return [one for one in usable if addresses.index(one) not in shared]


def exclusive_servers(zones_of: Mapping[str, list[str]], flux: set[str]) -> list[str]:
    """The name servers whose zones, as far as they were seen, are all blocked."""
    return sorted(
        server.rstrip(".")
        for server, zones in zones_of.items()
        if 0 < len(zones) < MAX_ZONES
        and all(rpz.is_under(zone.rstrip("."), flux) for zone in zones)
    )


def _is_special(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (
        parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified
    )
