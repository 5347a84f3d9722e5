"""`unflux watch` as a process: signals, kill -9, systemd."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from conftest import ROOT, Cli
from live_servers import Tap, flux, static, until, watching
from test_watch import events


def saved_owners(state: Path) -> set[str]:
    """Names whose sightings are in the checkpoints."""
    manifest = state / "sightings" / "manifest.json"
    parts = json.loads(manifest.read_text())["parts"] if manifest.exists() else []
    tables = [pq.read_table(state / "sightings" / one, columns=["owner"])
              for one in parts if one.startswith("sightings/")]  # fmt: skip
    return {owner for table in tables for owner in table.column("owner").to_pylist()}


def test_kill_9_loses_at_most_what_came_since_the_checkpoint(
    tmp_path: Path, lab_tables: tuple[Path, Path], cli: Cli
) -> None:
    state = tmp_path / "state"
    options = ("--state", state, "--checkpoint", "1s", "--rpz", tmp_path / "zone",
               "--rpz-action", "nxdomain")  # fmt: skip
    with watching(tmp_path, lab_tables, *options) as watch:
        tap = Tap(tmp_path / "tap.sock")
        tap.send(events("www.flux.test.", flux, 6))
        watch.until_said("blocked name=www.flux.test")
        until(lambda: "www.flux.test." in saved_owners(state), what="a checkpoint")
        tap.send(events("late.static.test.", static, 3))
        until(lambda: "late.static.test." in saved_owners(state), what="the next")
        watch.process.kill()
        watch.process.wait()
    assert (tmp_path / "tap.sock").exists()  # left behind, and taken away by the next
    answer = json.loads(cli("blocked", "www.flux.test", "--state", state, "--json").stdout)
    assert answer["blocked"] is True
    with watching(tmp_path, lab_tables, *options) as again:
        assert "restored" in again.said and "blocks=1" in again.said
        until(lambda: again.metrics()["unflux_watch_flux_names"] == 1, what="judged anew")
        assert again.metrics()["unflux_watch_window_names"] >= 2  # the late one too, at once
        assert "www.flux.test.rpz.unflux." in (tmp_path / "zone").read_text()


def test_sigterm_sighup_and_a_second_watch(tmp_path: Path, lab_tables: tuple[Path, Path]) -> None:
    options = ("--state", tmp_path / "state")
    with watching(tmp_path, lab_tables, *options) as watch:
        tap = Tap(tmp_path / "tap.sock")
        tap.send(events("www.static.test.", static, 5))
        second = subprocess.run(
            [sys.executable, "-m", "unflux", "watch", "--dnstap", f"unix:{tmp_path}/tap.sock"],
            capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1 and "another program listens there" in second.stderr
        assert "Traceback" not in second.stderr
        watch.process.send_signal(signal.SIGHUP)
        watch.until_said("reloaded")
        until(lambda: watch.metrics()["unflux_watch_decoded_total"] == 5)
        watch.process.send_signal(signal.SIGTERM)
        assert watch.process.wait(20) == 0
        watch.until_said("stopped items=5 decoded=5 dropped=0")
    assert not (tmp_path / "tap.sock").exists()


def test_systemd_is_told(tmp_path: Path, lab_tables: tuple[Path, Path]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        try:
            with watching(tmp_path, lab_tables):
                assert systemd.recv(100) == b"READY=1"
                assert systemd.recv(100) == b"WATCHDOG=1"
        finally:
            del os.environ["NOTIFY_SOCKET"]
        told = b""
        end = time.monotonic() + 10
        while told != b"STOPPING=1" and time.monotonic() < end:
            told = systemd.recv(100)
        assert told == b"STOPPING=1"


def test_the_settings_and_unit_that_come_with_unflux_are_fine(tmp_path: Path, cli: Cli) -> None:
    text = (ROOT / "examples" / "systemd" / "watch.toml").read_text()
    (tmp_path / "allow.txt").write_text("good.example\n")
    text = text.replace("/etc/unflux/", f"{tmp_path}/").replace("/var/lib/unflux", str(tmp_path))
    (tmp_path / "watch.toml").write_text(text)
    done = cli("config", "check", tmp_path / "watch.toml")
    assert done.returncode == 0, done.stderr
    unit = (ROOT / "examples" / "systemd" / "unflux-watch.service").read_text()
    for word in ("Type=notify", "WatchdogSec=", "NoNewPrivileges=yes", "config check", "kill -HUP"):
        assert word in unit
