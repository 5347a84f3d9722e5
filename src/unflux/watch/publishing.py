"""The policy zone on its way out: a file, a served zone, or both; and what failed on the way."""

from __future__ import annotations

import time
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
        self._published_at = self._failed_at = -RENEWAL_S
        self._triggers: set[tuple[str, str]] | None = None

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
        self.changed, self._triggers = True, None

    def publish(self, blocklist: Blocklist, now_us: int, *, force: bool = False) -> None:
        """Publish what changed; new or gone entries at once, renewals once in a while."""
        if not self.is_wanted or not (force or self.changed):
            return
        now = time.monotonic()
        is_renewal = self._triggers == set(blocklist.blocks)
        if is_renewal and not force and now - self._published_at < RENEWAL_S:
            return
        if now - self._failed_at < RETRY_S:
            return
        entries = blocklist.entries()
        serial = rpz.serial_at(now_us // 1_000_000, self.serial)
        self.serial = serial
        if self.server is not None:  # first: a disk that is full holds nobody back
            soa = rpz.soa(entries, self.policy, serial, now_us)
            made = rpz.records(entries, self.policy, self.allow)
            self.server.publish(self.policy.origin, soa, made, serial)
            self._publish_allowed(self.server, serial, now_us)
        try:
            if self.file is not None:
                self._write(self.file, entries, list(blocklist.blocks.values()), serial, now_us)
        except OSError as error:
            self.n_failed += 1
            self.fails, self._failed_at = True, now
            self.log.trouble(
                "rpz_not_written",
                f"{self.file}: {error.strerror or error}; the old zone stays",
                n=self.n_failed,
            )
            return
        if self.fails:
            self.log.say("rpz_written", file=self.file)
        self.fails = self.changed = False
        self._published_at, self._triggers = now, set(blocklist.blocks)
        self.n_published += 1

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
