"""`unflux serve` and `unflux rejudge` as a user meets them."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from conftest import ROOT, Cli
from web_server import serving
from web_site import World

pytest_plugins = ["web_site"]


def get(url: str, token: str | None = None) -> dict:
    request = urllib.request.Request(url)  # noqa: S310  of our own server
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
        return json.load(response)


def test_a_dataset_is_served_until_sigterm(world: World, tmp_path: Path) -> None:
    dataset = world.copy(tmp_path / "dataset")
    tables = ("--asn-db", world.options.asn_db, "--country-db", world.options.country_db)
    with serving(dataset, *tables) as (url, server):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        assert get(f"{url}healthz")["ok"] is True
        first = get(f"{url}api/v1/findings?q=kind:double")
        assert first["total"] == 4
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert server.stderr is not None
        assert "names judged" in server.stderr.read()
    assert (dataset / "findings.sqlite").is_file()
    with serving(dataset, *tables) as (url, server):
        assert get(f"{url}api/v1/findings?q=kind:double")["findings"] == first["findings"]
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert server.stderr is not None
        assert server.stderr.read() == "", "nothing changed: nothing is judged again"


def test_a_capture_is_served_and_nothing_is_kept(world: World) -> None:
    with serving(world.capture) as (url, server):
        assert get(f"{url}api/v1/findings")["total"] > 5
        [scan] = get(f"{url}api/v1/scans")["scans"]
        folder = Path(scan["title"]).parent
        assert folder.is_dir()
        server.terminate()
        server.wait(20)
    assert not folder.exists()


def test_others_are_served_with_tokens_only(world: World, cli: Cli, tmp_path: Path) -> None:
    done = cli("serve", world.capture, "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert done.returncode == 2
    assert "--token-file" in done.stderr
    tokens = tmp_path / "tokens"
    tokens.write_text("ann read 0123456789abcdef0123456789\n")
    tokens.chmod(0o600)
    with serving(world.capture, "--token-file", tokens) as (url, _):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{url}api/v1/me")
        assert get(f"{url}api/v1/me", "0123456789abcdef0123456789")["name"] == "ann"


def test_what_cannot_be_served_is_said_in_a_sentence(
    cli: Cli, tmp_path: Path, world: World
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cli("serve", world.capture, "--port", port)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    done = cli("serve", world.capture, "--port", "0", "--db", "mysql://x/y")
    assert done.returncode == 1
    assert "SQLite or PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr
    done = cli("serve", tmp_path / "absent", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none of these could be read: there is nothing to serve" in done.stderr


def test_rejudging_tells_what_changed(world: World, cli: Cli, tmp_path: Path) -> None:
    dataset = world.copy(tmp_path / "dataset")
    tables = ("--asn-db", world.options.asn_db, "--country-db", world.options.country_db)
    first = json.loads(cli("rejudge", dataset, *tables, "--json").stdout)["scans"]
    assert [(one["current"], one["changes"]) for one in first] == [(False, [])]
    again = cli("rejudge", dataset, *tables)
    assert "nothing changed since it was judged" in again.stdout
    other = cli("rejudge", dataset, *tables, "--detector", "holz2008")
    assert " → " in other.stdout
    assert cli("rejudge", tmp_path).returncode == 1
    assert cli("rejudge").returncode == 2


def shown_commands() -> list[str]:
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    return re.findall(r"^unflux serve .*$", text, re.MULTILINE)


@pytest.mark.parametrize("line", shown_commands())
def test_every_serve_command_of_the_docs_runs(line: str, world: World, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann admin 0123456789abcdef0123456789\n")
    tokens.chmod(0o600)
    (tmp_path / "alerts.ndjson").touch()
    dataset = world.copy(tmp_path / "history")
    stand_ins = {"history": dataset, "capture.pcap": world.capture, "tokens": tokens,
                 "work": tmp_path / "work", "alerts.ndjson": tmp_path / "alerts.ndjson"}  # fmt: skip
    words = [str(stand_ins.get(word, word)) for word in shlex.split(line, comments=True)[2:]]
    with serving(*words) as (url, server):
        assert url.startswith("http://"), subprocess.Popen.communicate(server)
        assert get(f"{url}healthz")["ok"] is True
