"""The loop: take what came, judge what changed, tell and block, keep it all bounded. The one clock
and the one place where a watch opens things."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unflux import detect, enrich
from unflux._native import Live, Window
from unflux.detect import Finding
from unflux.share import rpz
from unflux.sources.base import client_key_of
from unflux.watch import alerts, inlets, limits, measures, service
from unflux.watch import config as settings
from unflux.watch.blocks import (
    MAX_USERS,
    Blocklist,
    BlockRules,
    Decision,
    exclusive_addresses,
    exclusive_servers,
)
from unflux.watch.checkpoint import Checkpoints
from unflux.watch.clock import Clock
from unflux.watch.config import WatchConfig
from unflux.watch.connections import ConnectionLog, Connections
from unflux.watch.health import HealthServer, Numbers
from unflux.watch.judging import Judge, Judgements
from unflux.watch.log import Log
from unflux.watch.outlets import Outlet, open_outlet
from unflux.watch.publishing import Publisher
from unflux.watch.reloading import Reloaded, reloaded
from unflux.watch.saving import Saver
from unflux.watch.store import BlockStore
from unflux.watch.tailing import Tail
from unflux.watch.telling import Teller

US = 1_000_000
HOUR_S = 3600
FUTURE_S = 300
"""What is stamped later than this after now is left out: somebody's clock is wrong."""
BASE_BYTES = 350 << 20
"""What the program takes before it has seen anything (libraries, engine, buffers)."""
STATE_SHARE = 0.5
"""Share of the rest for the window: moving it around takes as much again for a moment."""
KEEP_SHARE = 0.5
"""Evicting costs about the same whatever goes: so much stays, and it is rare."""
STALLED_S = 30.0
PRODUCERS_EVERY_S = 5.0
"""Producers come and go as they like: how many are connected is a line at most so often."""
MAX_FLUX_NAMES = 200_000


class Watch:
    """A running watch. `run` returns when SIGTERM, SIGINT or `stop` says so."""

    def __init__(
        self,
        config: WatchConfig,
        log: Log,
        config_path: Path | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        """`said`: what of the settings the command line says, where the file is not asked."""
        problems = config.problems()
        if problems:
            raise ValueError("; ".join(problems))
        self.config, self.log = config, log
        self.config_path, self.said = config_path, dict(said or {})
        self.clock = Clock(config.clock)
        self.window_s = int(settings.seconds_of(config.window, "window"))
        self.tick_s = settings.seconds_of(config.tick, "tick")
        self.checkpoint_s = settings.seconds_of(config.checkpoint, "checkpoint")
        budget = settings.size_bytes(config.memory, "memory")
        self.state_bytes = max(int((budget - BASE_BYTES) * STATE_SHARE), 16 << 20)
        self.books: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.evicted: Counter[str] = Counter()
        self.flux: dict[str, str] = {}
        """Names judged flux, and their verdicts; at `MAX_FLUX_NAMES` the first ones go, counted."""
        self.window = Window()
        self.size, self.bounds = self.window.size(), self.window.bounds()
        self.saver: Saver | None = None
        self.connections = Connections() if config.connections else None
        self._stop, self._reload = threading.Event(), threading.Event()
        self._ticked_at = time.monotonic()
        self.readers: list[Tail | inlets.Interface] = []
        self.followers: list[inlets.Follower] = []
        self.connection_logs: list[ConnectionLog] = []
        self.interfaces: list[inlets.Interface] = []
        self.is_open = False
        self._n_producers, self._said_producers_at = 0, -PRODUCERS_EVERY_S
        self._opened: list[Any] = []
        self.health: HealthServer | None = None
        self.limits = limits.Limits(log)
        self.tick_took_s = 0.0

    def stop(self) -> None:
        """End after this round."""
        self._stop.set()

    def open(self) -> None:
        """Load what is kept, then open everything.

        Raises
        ------
        UnfluxError
            When something cannot be opened; what was opened is closed again by `close`.
        """
        config = self.config
        named = [Path(one) if one else None for one in (config.asn_db, config.country_db)]
        enrichment = enrich.load(*named)
        for sentence in enrichment.blind_spots:
            self.log.say("blind_spot", says=sentence)
        self.judge = Judge(enrichment, detect.by_id(config.detector))
        self.allow = self._allowed(config)
        self.state = Path(config.state) if config.state else None
        self._open_state()
        suppress_s = int(settings.seconds_of(config.alert_suppress, "alert_suppress"))
        self.outlets: list[Outlet] = [open_outlet(one, self.state) for one in config.alert]
        self._opened += self.outlets
        suppression = alerts.Suppression(suppress_s)
        self.teller = Teller(self.outlets, suppression, self.connections, self.counts)
        self.publisher = Publisher.open(config, self.allow, self.log)
        self._opened.append(self.publisher)
        self._open_inlets()
        if config.metrics:
            host, port = settings.host_port(config.metrics, "metrics")
            states = {"/healthz": self.healthy, "/readyz": self.ready}
            self.health = HealthServer(host, port, self.metrics, states)
            self._opened.append(self.health)
            self.log.say("metrics", at=f"http://{host}:{self.health.port}/metrics")
        self._publish(force=True)
        self.is_open = True

    def _open_state(self) -> None:
        self.blocklist = Blocklist(self._rules(), self.allow)
        if self.state is None:
            return
        self.state.mkdir(parents=True, exist_ok=True)
        kinds = (["dnstap"] if self.config.dnstap else []) + (
            ["pcap"] if self.config.interface else []
        )
        checkpoints = Checkpoints(self.state, self.window_s, kinds)
        store = BlockStore(self.state)
        self._lock = checkpoints.dataset.locked()
        self._lock.__enter__()
        now_us, kept = time.time_ns() // 1000, store.load()
        if self.config.clock == "wall":
            n_rows = checkpoints.load(self.window, now_us // US)
            self.size = self.window.size()
            self.log.say("restored", sightings=n_rows, blocks=len(kept))
        self.blocklist.restore(kept, now_us)
        self.saver = Saver(checkpoints, store, self.counts, self.log, self._save_spools)
        if kept != list(self.blocklist.blocks.values()):
            self._save_blocks()  # some are over, or have another action now

    def _rules(self) -> BlockRules:
        config = self.config
        return BlockRules(
            block_for_s=int(settings.seconds_of(config.block_for, "block_for")),
            min_score=config.block_min_score,
            min_confidence=config.block_min_confidence,
            max_entries=config.block_max,
            action=config.rpz_action,
            nsdname=config.rpz_nsdname,
            ip=config.rpz_ip,
        )

    def _open_inlets(self) -> None:
        config = self.config
        key = None
        if config.clients == "pseudonymise":
            key = client_key_of(Path(config.client_key) if config.client_key else None)
        self.live = Live(
            clients=config.clients,
            client_key=key,
            ports=list(config.ports),
            vantage=config.vantage,
            threads=config.threads,
            queue_bytes=settings.size_bytes(config.queue, "queue"),
        )
        self._set_range()
        self.followers = [inlets.Follower(self.live, Path(one)) for one in config.follow]
        self.interfaces = (
            [inlets.Interface(self.live, config.interface)] if config.interface else []
        )
        self.listening = [inlets.listen(self.live, one) for one in config.dnstap]
        self.connection_logs = [
            ConnectionLog(self.connections, Path(one))
            for one in config.connections
            if self.connections is not None
        ]
        self.readers = [*self.followers, *self.interfaces, *self.connection_logs]
        for reader in self.readers:
            reader.start()
        for one in self.listening:
            self.log.say("listening", dnstap=one)
        for tail in (*self.followers, *self.connection_logs):
            self.log.say("following", file=tail.path)
        for interface in self.interfaces:
            self.log.say("listening", interface=interface.name)

    def run(self) -> None:
        """Work until stopped."""
        before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, lambda *_: self._stop.set()),
                (signal.SIGINT, lambda *_: self._stop.set()),
                (signal.SIGHUP, lambda *_: self._reload.set()),
            )
        }
        try:
            self.open()
            service.notify("READY=1")
            self.log.say("watching", **self._about())
            saved_at = time.monotonic()
            while not self._stop.is_set():
                started = time.monotonic()
                self.tick()
                if time.monotonic() - saved_at >= self.checkpoint_s or self._delta_is_large():
                    self.save()
                    saved_at = time.monotonic()
                service.notify("WATCHDOG=1")
                self._stop.wait(max(self.tick_s - (time.monotonic() - started), 0.02))
        finally:
            service.notify("STOPPING=1")
            self.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Take in what is queued, save, and give everything back."""
        for reader in self.readers:
            reader.stop()
        if hasattr(self, "live"):
            self.live.stop()
        if self.is_open:
            self.tick()
            self.save(wait=True)
        if self.saver is not None:
            self.saver.close()
        for one in reversed(self._opened):
            (one.close if hasattr(one, "close") else one.stop)()
        if hasattr(self, "_lock"):
            self._lock.__exit__(None, None, None)
        if not self.is_open:
            return  # why is told by who started it
        reached = limits.counts(self)
        del reached["frames_dropped"]  # stands there already
        self.log.say("stopped", **self._short(), **{name: n for name, n in reached.items() if n})

    def _about(self) -> dict[str, Any]:
        action = {"action": self.config.rpz_action} if self.publisher.is_wanted else {}
        return {"detector": self.config.detector, "window": self.config.window} | action

    def _short(self) -> dict[str, Any]:
        return {
            "items": self.books["items"],
            "decoded": self.books["decoded"],
            "dropped": self.live.counters()["frames_dropped"],
            "judged": self.counts["judged"],
            "flux": len(self.flux),
            "blocks": len(self.blocklist.blocks),
        }

    def tick(self) -> Judgements:
        """One round."""
        started = time.monotonic()
        if self._reload.is_set():
            self._reload.clear()
            self.reload()
        self._mind_the_clock()
        young, books = self.live.take()
        self._enter(books)
        if books["items"]:
            self.window.fold(young)
            if self.saver is not None:
                self.saver.take(young)
        now_us = self.clock.now_us()
        ids = self.window.due(now_us // US, self.config.judge_max)
        self.counts["rounds_full"] += len(ids) == self.config.judge_max
        judged = self.judge.judge(self.window, ids)
        self._act(judged, now_us)
        self.teller.tell_of_connections(self.flux, now_us)
        self._bound(now_us)
        self._tell_of_inlets()
        self.limits.tell(limits.counts(self))
        self.teller.tell_of_failures(self.log)
        self._ticked_at = time.monotonic()
        self.tick_took_s = self._ticked_at - started
        return judged

    def _enter(self, books: Mapping[str, Any]) -> None:
        for key in ("items", "decoded", "records"):
            self.books[key] += books[key]
        for kind in ("skipped", "malformed"):
            for name, tally in books[kind].items():
                self.books[f"{kind}:{name}"] += tally["count"]
        if books["time_last_us"] is not None:
            self.clock.stream_us = max(self.clock.stream_us, books["time_last_us"])

    def _tell_of_inlets(self) -> None:
        """Who came and went, and which logs give nothing."""
        n_producers = self.live.counters()["producers"]
        now = time.monotonic()
        if n_producers != self._n_producers and now - self._said_producers_at >= PRODUCERS_EVERY_S:
            self.log.say("producers", connected=n_producers)
            self._n_producers, self._said_producers_at = n_producers, now
        for tail in (*self.followers, *self.connection_logs):
            if (says := tail.waits_for(now)) is not None:
                self.log.trouble("not_read", says, file=tail.path)

    def _mind_the_clock(self) -> None:
        step_s = self.clock.step_s()
        if step_s and self.config.clock == "wall":
            self.counts["clock_steps"] += 1
            self.blocklist.shift(int(step_s * US))
            self.log.say("clock_stepped", by_s=round(step_s, 1))
        self._set_range()

    def _set_range(self) -> None:
        if self.config.clock == "wall":
            now_us = self.clock.now_us()
            self.live.set_range(now_us - self.window_s * US, now_us + FUTURE_S * US)

    def _act(self, judged: Judgements, now_us: int) -> None:
        """Tell, pin and block what was found."""
        self.counts["judged"] += judged.n_names
        self.window.pin([f"{one.name}." for one in judged.findings], True)
        gone = [name for name in judged.cleared if self.flux.pop(name.rstrip("."), None)]
        self.window.pin(gone, False)
        changed = False
        for finding in judged.findings:
            self.verdicts[finding.verdict] += 1
            if finding.is_flux:
                self.flux[finding.name] = finding.verdict
                while len(self.flux) > MAX_FLUX_NAMES:
                    del self.flux[next(iter(self.flux))]
                    self.counts["flux_names_forgotten"] += 1
            decision = self._decide(finding, now_us)
            changed |= decision.outcome in ("blocked", "renewed")
            if finding.is_flux or self.config.alert_ambiguous:
                self.teller.tell(finding, decision, self.config.rpz_action, now_us)
        for block in self.blocklist.expire(now_us):
            changed = True
            self.log.say("unblocked", name=block.trigger, kind=block.kind, why="no new evidence")
        if changed:
            self.publisher.changed = True
            self._save_blocks()
        self._publish()

    def _decide(self, finding: Finding, now_us: int) -> Decision:
        if not self.publisher.is_wanted:
            return Decision("detected" if finding.is_flux else "ambiguous", "no policy zone")
        if not finding.is_flux:
            return Decision("ambiguous", "DNS alone cannot tell")
        decision = self.blocklist.on_finding(finding, now_us)
        if decision.outcome == "blocked" and decision.block:
            self.log.say(
                "blocked" if self.config.rpz_action != "monitor" else "listed",
                name=decision.block.trigger,
                verdict=finding.verdict,
                score=finding.score,
            )
        if decision.block and decision.outcome in ("blocked", "renewed"):
            self._add_extras(finding, now_us)
        return decision

    def _add_extras(self, finding: Finding, now_us: int) -> None:
        """Addresses and name servers, where asked for, and only if nobody else uses them."""
        flux = set(self.flux) | {one.trigger for one in self.blocklist.blocks.values()}
        if self.blocklist.rules.ip:
            addresses = [agent.address for agent in finding.agent_list if agent.special is None]
            users = self.window.users_of(addresses, MAX_USERS)
            found = exclusive_addresses(addresses, users, flux)
            self.blocklist.add_extra(finding, rpz.ADDRESS, found, now_us)
        if self.blocklist.rules.nsdname and finding.verdict != detect.FLUX_VERDICTS[0]:
            servers = self.window.servers_of(f"{finding.zone or finding.name}.")
            zones = {server: self.window.zones_of(server) for server in servers}
            found = exclusive_servers(zones, flux)
            self.blocklist.add_extra(finding, rpz.NSDNAME, found, now_us)

    def _publish(self, *, force: bool = False) -> None:
        self.publisher.publish(self.blocklist, self.clock.now_us(), force=force)

    def _save_blocks(self) -> None:
        if self.saver is not None:
            self.saver.save_blocks(self.blocklist.blocks.values())

    def _bound(self, now_us: int) -> None:
        """Hours go when they are old, names when memory is short."""
        now_s = now_us // US
        if self.config.clock == "wall":  # after a jump forward nothing is old at once
            now_s = min(now_s, int(self.clock.steady_s))
        if now_us:
            self.window.expire((now_s - self.window_s) // HOUR_S)
        self.size, self.bounds = self.window.size(), self.window.bounds()
        if self.size["bytes"] > self.state_bytes:
            gone = self.window.evict(int(self.state_bytes * KEEP_SHARE))
            self.evicted.update(gone)
            self.log.trouble(
                "evicted",
                f"{gone['benign_names']} names without a sign of flux, {gone['other_names']} "
                "others: raise memory to keep them",
                n=self.evicted["benign_names"] + self.evicted["other_names"],
            )

    def _delta_is_large(self) -> bool:
        return self.saver is not None and self.saver.delta_bytes > self.state_bytes // 4

    def save(self, *, wait: bool = False) -> None:
        """Save what came since the last time; see `Saver`."""
        if self.saver is None:
            return
        now_s = int(time.time() if self.config.clock == "wall" else self.clock.stream_us // US)
        if self.config.interface is None and self.config.follow:
            known = [one.format for one in self.followers if one.format]
            formats = self.saver.checkpoints.formats
            self.saver.checkpoints.formats = sorted({*formats, *known})
        self.saver.save(now_s, self.blocklist.blocks.values(), wait=wait)

    def _save_spools(self) -> None:
        for outlet in getattr(self, "outlets", []):
            if hasattr(outlet, "save"):
                outlet.save()

    def reload(self) -> None:
        """SIGHUP: the allowlist, and what the file says of blocks and alerts, are read again."""
        new, problems = Reloaded(self.config), list[str]()
        if self.config_path is not None:
            values, problems = settings.load(self.config_path)
            new = reloaded(self.config, values, self.said)
        problems = [*dict.fromkeys((*problems, *new.problems))]
        if not problems:
            try:
                allow = self._allowed(new.config)
            except ValueError as error:
                problems = [str(error)]
        if problems:
            for sentence in problems:
                self.log.say("not_reloaded", why=sentence)
            return
        self.config, self.allow = new.config, allow
        self.blocklist.reconfigure(self._rules(), self.allow)
        suppress_s = settings.seconds_of(self.config.alert_suppress, "alert_suppress")
        self.teller.suppression.suppress_us = int(suppress_s * US)
        self.publisher.reconfigure(self.config, self.allow)
        self._save_blocks()
        said = {"changed": ", ".join(new.changed), "needs_restart": ", ".join(new.needs_restart)}
        shown = {name: value for name, value in said.items() if value}
        self.log.say("reloaded", allowed=len(self.allow), **shown)

    def _allowed(self, config: WatchConfig) -> list[str]:
        return settings.read_allowlist(Path(config.allow)) if config.allow else []

    def healthy(self) -> dict[str, Any]:
        """For `/healthz`: are rounds being done?"""
        age_s = time.monotonic() - self._ticked_at
        return {"ok": age_s < STALLED_S, "last_round_s": round(age_s, 1), **self._short()}

    def ready(self) -> dict[str, Any]:
        """For `/readyz`: does it protect? With what it still waits for, a sentence each."""
        waits_for = []
        if not self.healthy()["ok"]:
            waits_for.append(f"no round was done for {STALLED_S:.0f} s")
        if self.publisher.fails:
            waits_for.append(f"the policy zone {self.config.rpz} cannot be written")
        if self.saver is not None and not self.saver.is_saved:
            waits_for.append(f"blocks cannot be saved in {self.config.state}")
        return {"ok": not waits_for, "waits_for": waits_for, "blocks": len(self.blocklist.blocks)}

    def metrics(self) -> Numbers:
        """For `/metrics`."""
        return measures.numbers(self)
