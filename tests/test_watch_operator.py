"""What the operator of a watch reads: its log, its state, and what it says when it does not start."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from live_servers import Tap, flux, until
from test_watch import Make, close, drain, events, make, said  # noqa: F401  a fixture
from unflux.errors import Unavailable
from unflux.watch import loop, tailing
from unflux.watch.config import WatchConfig
from unflux.watch.log import Log
from unflux.watch.loop import Watch
from unflux.watch.reloading import LIVE, reloaded
from unflux.watch.store import BlockStore

BASE = {"dnstap": ("unix:/x",)}


def test_a_reload_changes_what_the_file_says_unless_the_command_line_says_otherwise() -> None:
    running = WatchConfig(**BASE, rpz_action="nxdomain", block_max=5, window="24h")
    line = BASE | {"rpz_action": "nxdomain"}
    new = reloaded(running, {"rpz_action": "monitor", "block_min_score": 0.7}, line)
    assert new.config.rpz_action == "nxdomain", "the command line goes on to win"
    assert new.changed == ("block_max", "block_min_score")
    assert new.config.block_max == WatchConfig().block_max, "what is gone has its default again"
    restart = reloaded(running, {"window": "13h", "block_max": 5, "metrics": "127.0.0.1:1"}, line)
    assert (restart.changed, restart.needs_restart) == ((), ("metrics", "window"))
    assert restart.config == running
    # Checked against what stays: twenty hours are too long for the window of now.
    short = WatchConfig(**BASE, window="13h")
    wrong = reloaded(short, {"window": "24h", "block_for": "20h"}, BASE)
    assert wrong.config == short and "block_for (20h) is longer" in wrong.problems[0]
    assert all(hasattr(running, name) for name in LIVE)


def test_a_reload_says_what_changed_and_what_waits_and_blocks_have_the_new_action(
    make: Make,  # noqa: F811
    tmp_path: Path,
    cli: Cli,
) -> None:
    file, state = tmp_path / "watch.toml", tmp_path / "state"
    watch = make(rpz_action="monitor", state=str(state))
    watch.config_path = file
    watch.said = {
        name: getattr(watch.config, name)
        for name in ("dnstap", "rpz", "state", "asn_db", "country_db")
    }
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    file.write_text('rpz_action = "nxdomain"\nwindow = "13h"\n')
    watch.reload()
    assert "reloaded allowed=0 changed=rpz_action needs_restart=window\n" in said(watch)
    watch.save(wait=True)
    answer = json.loads(cli("blocked", "www.flux.test", "--state", state, "--json").stdout)
    assert (answer["blocked"], answer["action"]) == (True, "nxdomain")
    file.write_text("x = [\n")
    watch.reload()
    file.write_text('rpz_action = "drop"\nwndow = "1h"\n')
    watch.reload()
    for why in ("cannot be read: Invalid value", "there is no setting 'wndow'", "not 'drop'"):
        assert why in said(watch)
    assert watch.config.rpz_action == "nxdomain"
    close(watch)
    again = make(rpz_action="nodata", state=str(state))  # and a restart with another one
    assert [block.action for block in again.blocklist.blocks.values()] == ["nodata"]
    until(lambda: [one.action for one in BlockStore(state).load()] == ["nodata"])


def test_in_monitor_mode_an_alert_does_not_say_blocked(make: Make, tmp_path: Path) -> None:  # noqa: F811
    watch = make(rpz_action="monitor", alert=(f"{tmp_path}/alerts",))
    Tap(tmp_path / "tap.sock").send(events("www.flux.test.", flux, 6))
    drain(watch, 6)
    alert = json.loads((tmp_path / "alerts").read_text())
    assert alert["event"]["action"] == "flux_listed"
    assert alert["flux_block"]["outcome"] == "listed"
    assert alert["flux_block"]["action"] == "monitor"


def test_the_log_says_who_is_connected_and_which_producer_is_none(
    make: Make,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = make()
    tap = Tap(tmp_path / "tap.sock")
    until(lambda: watch.live.counters()["producers"] == 1)
    watch.tick()
    assert " producers connected=1\n" in said(watch)
    tap.close()
    until(lambda: watch.live.counters()["producers"] == 0)
    watch.tick()
    assert " producers connected=0\n" not in said(watch), "not so soon"
    monkeypatch.setattr(loop, "PRODUCERS_EVERY_S", 0.0)
    watch.tick()
    watch.tick()
    assert said(watch).count(" producers connected=0\n") == 1
    import socket

    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(f"{tmp_path}/tap.sock")
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
    until(lambda: watch.live.counters()["streams_not_frames"] == 1)
    watch.tick()
    assert "streams_not_frames says=" in said(watch)


def test_a_log_that_gives_nothing_is_told(
    make: Make,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tailing, "PATIENCE_S", 0.0)
    strange, missing = tmp_path / "strange.log", tmp_path / "missing.log"
    strange.write_text("root:x:0:0\n")
    watch = make(dnstap=(), follow=(str(strange), str(missing)))
    until(lambda: all(one.waits_for(time.monotonic()) for one in watch.followers))
    watch.tick()
    watch.tick()
    for line in (
        f" following file={missing}\n",
        f' not_read says="No such file or directory" file={missing}\n',
        f' not_read says="in no format that is known" file={strange}\n',
    ):
        assert said(watch).count(line) == 1
    strange.write_text("#separator \\x09\n#path\tdns\n#fields\tts\tquery\n")
    until(lambda: watch.followers[0].waits_for(time.monotonic()) is None)


def test_a_zone_that_is_written_again_is_told(make: Make, tmp_path: Path) -> None:  # noqa: F811
    watch = make()
    watch.publisher.fails = True
    watch._publish(force=True)
    assert watch.publisher.fails is False
    assert f" rpz_written file={tmp_path}/zone\n" in said(watch)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"interface": "nope0"}, "interface nope0: No such device"),
        ({"dnstap": ("unix:/nowhere/x",)}, "unix:/nowhere/x: No such file or directory$"),
        ({"rpz_listen": "127.0.0.1:{port}"}, r"zones on 127.0.0.1:\d+: Address already in use$"),
        ({"dnstap": ("tcp:127.0.0.1:{port}",)}, r"tcp:127.0.0.1:\d+: Address already in use$"),
    ],
)
def test_what_does_not_start_says_why_once_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, Any], why: str
) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given = {
            key: value.format(port=port)
            if isinstance(value, str)
            else tuple(one.format(port=port) for one in value)
            for key, value in settings.items()
        }
        out = io.StringIO()
        config: dict[str, Any] = {"dnstap": (f"unix:{tmp_path}/tap.sock",), "rpz": f"{tmp_path}/z"}
        watch = Watch(WatchConfig(**(config | given)), Log(out))
        with pytest.raises(Unavailable, match=why):
            watch.open()
        watch.close()
    assert "stopped" not in out.getvalue()
    assert not (tmp_path / "tap.sock").exists()


def test_paths_of_the_wrong_kind_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = WatchConfig(**BASE, rpz=str(tmp_path)).problems()
    assert wrong == [f"rpz: {tmp_path} is a directory: name a file"]
    wrong = WatchConfig(**BASE, state=f"{tmp_path}/file").problems()
    assert wrong == [f"state: {tmp_path}/file is a file: name a directory"]
    wrong = WatchConfig(**BASE, allow=f"{tmp_path}/none").problems()
    assert wrong == [f"allow: {tmp_path}/none cannot be read: No such file or directory"]


def test_blocked_tells_a_state_from_any_other_directory(tmp_path: Path, cli: Cli) -> None:
    for what, where, why in (
        ("a.test", tmp_path, "is no state of a watch"),
        ("a b", tmp_path, "'a b' is neither a name nor an address"),
    ):
        done = cli("blocked", what, "--state", where)
        assert done.returncode == 2 and why in done.stderr and done.stdout == ""
    (tmp_path / "sightings").mkdir()
    assert cli("blocked", "a.test", "--state", tmp_path).stdout == "a.test is not blocked\n"
