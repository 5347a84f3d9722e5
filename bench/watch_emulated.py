#!/usr/bin/env python3
"""How soon `unflux watch` lists flux for blocking, on the emulator's clock: no lab, no waiting.

`watch_emulated.py [SCENARIO] [HOURS] [STEP_S]`: plays a scenario as dnstap at true speed on a
virtual clock, and gives it to a watch (default settings, `--clock stream`) in steps, judging after
each. Prints the table of `watch_live.py`: from the first answer to the block, by preset; and once
more as it would be with `--block-min-confidence low`, which blocks what may still be a pool of
volunteers. What resolvers and clients do in between is left out; what judging waits for is all
there is. Each first block is a line on standard error as it comes.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dns.message
from dnstap_pb import Dnstap as Event
from watch_live import Block, table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from captures import frames_of  # noqa: E402
from live_servers import Tap, until  # noqa: E402
from unflux.share import rpz  # noqa: E402
from unflux.watch.blocks import Blocklist, BlockRules  # noqa: E402
from unflux.watch.config import WatchConfig  # noqa: E402
from unflux.watch.log import Log  # noqa: E402
from unflux.watch.loop import Watch  # noqa: E402


def read(path: Path) -> list[tuple[float, bytes, dns.message.Message]]:
    """(time, payload, response) of each dnstap frame, in order of time."""
    found = []
    for payload in frames_of(path):
        message = Event.FromString(payload).message
        seconds = message.response_time_sec + message.response_time_nsec / 1e9
        found.append((seconds, payload, dns.message.from_wire(message.response_message)))
    return sorted(found, key=lambda one: one[0])


def play(world: Path, folder: Path, step_s: float) -> list[dict[str, Block]]:
    """First answer and first block of every name asked: by default, and of low confidence, too."""
    frames = read(world / "dnstap.fstrm")
    first: dict[str, float] = {}
    for at_s, _, message in frames:
        if message.question and message.answer:
            name = message.question[0].name.to_text(omit_final_dot=True).lower()
            first.setdefault(name, at_s)
    watch = Watch(
        WatchConfig(
            dnstap=(f"unix:{folder}/tap.sock",), clock="stream", rpz=f"{folder}/zone",
            rpz_action="nxdomain", asn_db=f"{world}/asn.mmdb", country_db=f"{world}/country.mmdb",
        ),
        Log(io.StringIO()),
    )  # fmt: skip
    watch.open()
    tap = Tap(folder / "tap.sock", bidirectional=False)
    of_low = Blocklist(BlockRules(min_confidence="low"))
    listed: list[dict[str, float]] = [{}, {}]
    started_s, sent = frames[0][0], 0
    now_s = started_s
    while sent < len(frames):
        now_s += step_s
        due = [payload for at_s, payload, _ in frames[sent : sent + 100_000] if at_s <= now_s]
        tap.send(due)
        sent += len(due)
        until(lambda: watch.live.counters()["frames"] >= sent, 60)  # noqa: B023  used at once
        until(lambda: not watch.live.counters()["queued_bytes"], 60)
        time.sleep(0.005)  # the last chunk is being reduced
        watch.clock.stream_us = max(watch.clock.stream_us, int(now_s * 1e6))
        for finding in watch.tick().findings:
            of_low.on_finding(finding, watch.clock.stream_us)
        for how, blocklist, since in zip(
            ("default", "low"), (watch.blocklist, of_low), listed, strict=True
        ):
            for block in blocklist.blocks.values():
                if block.trigger not in since:
                    since[block.trigger] = now_s
                    print(f"{now_s - started_s:.0f} s: {how}: {block.trigger}", file=sys.stderr)
    watch.close()
    return [
        {
            name: Block(at_s, min((at for one, at in since.items() if rpz.is_under(name, {one})),
                                  default=None))
            for name, at_s in first.items()
        }
        for since in listed
    ]  # fmt: skip


def main() -> None:
    """Play, print."""
    scenario = sys.argv[1] if len(sys.argv) > 1 else "live"
    hours = sys.argv[2] if len(sys.argv) > 2 else "1"
    step_s = float(sys.argv[3]) if len(sys.argv) > 3 else 20.0
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
        folder = Path(temporary)
        world = folder / "world"
        subprocess.run(
            [sys.executable, "-m", "unflux", "lab", "synth", scenario, "--hours", hours,
             "--format", "dnstap", "--out", str(world)], check=True, stdout=sys.stderr,
        )  # fmt: skip
        by_default, of_low = play(world, folder, step_s)
        for how, seen in (("default settings", by_default), ("low confidence, too", of_low)):
            print(f"\n{how}:\n\n| preset | flux | names asked | blocked | period s "
                  "| first answer to block s | in periods |")  # fmt: skip
            print("| --- | --- | --- | --- | --- | --- | --- |")
            print("\n".join(table(seen, world, 1.0)))


if __name__ == "__main__":
    main()
