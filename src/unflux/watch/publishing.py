"""The policy zone on its way out: a file, a served zone, or both; and what failed on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from unflux.share import rpz
from unflux.sightings import whole_file
from unflux.watch import config as settings
from unflux.watch.blocks import Block, Blocklist
from unflux.watch.config import WatchConfig
from unflux.watch.log import Log
from unflux.watch.zone_server import ZoneServer

RENEWAL_S = 60.0
"""Renewals only move expiry times: they are written out at most so often."""
RETRY_S = 5.0
ALLOW_PREFIX = "allow."


@dataclass(frozen=True, slots=True)
class _Done:
    """What was published last, and when."""

    triggers: set[tuple[str, str]] | None
    at_s: float

    def is_due(self, triggers: set[tuple[str, str]], now_s: float) -> bool:
        return triggers != self.triggers or now_s - self.at_s >= RENEWAL_S


NEVER = _Done(None, 0.0)


class Publisher:
    """Writes and serves the zone when the block list changed."""

    def __init__(
        self, policy: rpz.Policy, file: Path | None, server: ZoneServer | None, log: Log
    ) -> None:
        self.policy, self.file, self.server, self.log = policy, file, server, log
        self.allow: list[str] = []
        self.changed = False
        self.serial: int | None = None
        self.n_published = self.n_failed = 0
        self.fails = False
        """The last try to write the file failed."""
        self._failed_at = -RETRY_S
        self._served = self._written = NEVER

    @classmethod
    def open(cls, config: WatchConfig, allow: list[str], log: Log) -> Publisher:
        """Open the zone server where one is wanted."""
        server = None
        if config.rpz_listen:
            host, port = settings.host_port(config.rpz_listen, "rpz_listen")
            key = settings.read_key(Path(config.rpz_key)) if config.rpz_key else None
            notify = [settings.host_port(one, "rpz_notify") for one in config.rpz_notify]
            server = ZoneServer(host, port, key=key, notify=notify)
            log.say("serving", zone=config.rpz_origin, at=f"{host}:{server.start()}")
        file = Path(config.rpz) if config.rpz else None
        made = cls(_policy(config), file, server, log)
        made.allow = allow
        if file is not None:
            made.serial = _serial_of(file)
        return made

    @property
    def is_wanted(self) -> bool:
        """Does anybody get a zone?"""
        return self.file is not None or self.server is not None

    def reconfigure(self, config: WatchConfig, allow: list[str]) -> None:
        """Another policy or allowlist: the whole zone is published anew."""
        self.policy, self.allow = _policy(config), allow
        self.changed = True
        self._served = self._written = NEVER

    def publish(self, blocklist: Blocklist, now_us: int, *, force: bool = False) -> None:
        """Publish what changed; new or gone entries at once, renewals once in a while."""
        if not self.is_wanted or not (force or self.changed):
            return
        now, triggers = time.monotonic(), set(blocklist.blocks)
        # Served first: a disk that is full holds nobody back, nor makes new serials.
        serves = self.server is not None and (force or self._served.is_due(triggers, now))
        writes = self.file is not None and (force or serves or self._written.is_due(triggers, now))
        writes = writes and now - self._failed_at >= RETRY_S
        if serves or (writes and self.server is None):
            self.serial = rpz.serial_at(now_us // 1_000_000, self.serial)
        if self.server is not None and serves:
            self._serve(self.server, blocklist, now_us)
            self._served = _Done(triggers, now)
        if self.file is not None and writes and self._write_or_tell(self.file, blocklist, now_us):
            self._written = _Done(triggers, now)
        if not self.fails and (serves or writes):
            self.changed = False
            self.n_published += 1

    def _serve(self, server: ZoneServer, blocklist: Blocklist, now_us: int) -> None:
        entries, serial = blocklist.entries(), self.serial or 0
        soa = rpz.soa(entries, self.policy, serial, now_us)
        made = rpz.records(entries, self.policy, self.allow)
        server.publish(self.policy.origin, soa, made, serial)
        self._publish_allowed(server, serial, now_us)

    def _write_or_tell(self, file: Path, blocklist: Blocklist, now_us: int) -> bool:
        blocks = list(blocklist.blocks.values())
        try:
            self._write(file, blocklist.entries(), blocks, self.serial or 0, now_us)
        except OSError as error:
            self.n_failed += 1
            self.fails, self._failed_at = True, time.monotonic()
            self.log.trouble(
                "rpz_not_written",
                f"{file}: {error.strerror or error}; the old zone stays",
                n=self.n_failed,
            )
            return False
        if self.fails:
            self.log.say("rpz_written", file=file)
        self.fails = False
        return True

    def _publish_allowed(self, server: ZoneServer, serial: int, now_us: int) -> None:
        """A zone of allowed names, for resolvers that have other policy zones behind it."""
        origin = ALLOW_PREFIX + self.policy.origin
        policy = rpz.Policy(origin, "monitor", ttl_s=self.policy.ttl_s)
        made = rpz.allow_records(policy, self.allow)
        server.publish(origin, rpz.soa((), policy, serial, now_us), made, serial)

    def _write(
        self, file: Path, entries: list[rpz.Entry], blocks: list[Block], serial: int, now_us: int
    ) -> None:
        with whole_file(file) as temporary, temporary.open("w", encoding="utf-8") as out:
            out.writelines(rpz.zone_text(entries, self.policy, serial, now_us, self.allow))
        with whole_file(Path(f"{file}.json")) as temporary:
            about = {"serial": serial, "action": self.policy.action, "blocks": blocks}
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=1))

    def metrics(self) -> dict[str, float]:
        """Counters by metric."""
        numbers: dict[str, float] = {
            "unflux_watch_zones_published_total": self.n_published,
            "unflux_watch_zones_failed_total": self.n_failed,
            "unflux_watch_zone_serial": self.serial or 0,
        }
        if self.server is not None:
            for name, value in self.server.counters.items():
                numbers[f"unflux_watch_zone_{name}_total"] = value
        return numbers

    def close(self) -> None:
        """Stop serving; files stay."""
        if self.server is not None:
            self.server.stop()


def _policy(config: WatchConfig) -> rpz.Policy:
    return rpz.Policy(config.rpz_origin.rstrip("."), config.rpz_action, config.rpz_garden)


def _serial_of(file: Path) -> int | None:
    """The serial of the zone that an earlier run wrote."""
    try:
        about = msgspec.json.decode(Path(f"{file}.json").read_bytes())
        return int(about["serial"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
