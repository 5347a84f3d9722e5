"""Each resolver with the configuration of its page in docs/servers: dnstap in, zone in force."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from live_servers import (
    NAMES,
    Authority,
    Tap,
    flux,
    free_port,
    need,
    program,
    rcode_of,
    running,
    until,
    watching,
)
from test_watch import events

SECRET = "hmac-sha256:unflux:c2VjcmV0LXNlY3JldC1zZWNyZXQ="  # noqa: S105  of the docs


@pytest.fixture
def authority() -> Iterator[Authority]:
    one = Authority()
    one.names = dict(NAMES)
    yield one
    one.close()


def page(name: str, directory: Path, zones: int) -> str:
    """The configuration of a page, with this test's paths and ports."""
    text = (ROOT / "docs" / "servers" / f"{name}.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```(?:conf|lua)\n(.*?)^```", text, re.S | re.M)
    stand_ins = {
        "/run/unflux/dnstap.sock": f"{directory}/tap.sock",
        "/var/lib/unflux/rpz.zone": f"{directory}/rpz.zone",
        "/var/lib/unbound/rpz.unflux.zone": f"{directory}/unbound.zone",
        "127.0.0.1@5354": f"127.0.0.1@{zones}",
        "127.0.0.1 port 5354": f"127.0.0.1 port {zones}",
        "127.0.0.1:5354": f"127.0.0.1:{zones}",
    }
    for documented, ours in stand_ins.items():
        block = block.replace(documented, ours)
    return block


def unbound(directory: Path, port: int, authority: int, zones: int) -> list[str]:
    extra = f"""
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  use-syslog: no
  do-not-query-localhost: no
  local-zone: "test." nodefault
stub-zone:
  name: "test."
  stub-addr: 127.0.0.1@{authority}
"""
    (directory / "unbound.conf").write_text(page("unbound", directory, zones) + extra)
    return [program("unbound"), "-d", "-c", f"{directory}/unbound.conf"]


def bind(directory: Path, port: int, authority: int, zones: int) -> list[str]:
    text = page("bind", directory, zones).replace(
        "options {",
        f"""options {{
    directory "{directory}"; pid-file none; session-keyfile none; dnssec-validation no;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion yes;
    empty-zones-enable no;""",
    )
    text += f"""
zone "test" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {authority}; }}; }};
controls {{ }};
"""
    (directory / "named.conf").write_text(text)
    return [program("named"), "-g", "-c", f"{directory}/named.conf"]


def has_cqueues() -> bool:
    """kresd watches files with the Lua package cqueues."""
    asked = subprocess.run(["dpkg", "-s", "lua-cqueues"], capture_output=True, check=False)
    return asked.returncode == 0


def knot_resolver(directory: Path, port: int, authority: int, zones: int) -> list[str]:
    text = f"""
net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})
trust_anchors.remove('.')
{page("knot-resolver", directory, zones)}
policy.add(policy.suffix(policy.STUB({{'127.0.0.1@{authority}'}}), {{todname('test.')}}))
cache.size = 10 * MB
"""
    (directory / "kresd.conf").write_text(text)
    return [program("kresd"), "-n", "-c", f"{directory}/kresd.conf", str(directory)]


def pdns_recursor(directory: Path, port: int, authority: int, zones: int) -> list[str]:
    (directory / "recursor.lua").write_text(page("pdns-recursor", directory, zones))
    return [
        program("pdns_recursor"), f"--config-dir={directory}", f"--socket-dir={directory}",
        "--local-address=127.0.0.1", f"--local-port={port}", "--daemon=no", "--setuid=", "--setgid=",
        f"--forward-zones=test=127.0.0.1:{authority}", "--dont-query=", "--dnssec=off",
        f"--lua-config-file={directory}/recursor.lua", "--threads=1", "--write-pid=no", "--packetcache-ttl=5",
    ]  # fmt: skip


def dnsdist(directory: Path, port: int, authority: int, zones: int) -> list[str]:
    text = f"""
setLocal('127.0.0.1:{port}')
newServer({{address='127.0.0.1:{authority}', healthCheckMode='up'}})
{page("dnsdist", directory, zones)}
"""
    (directory / "dnsdist.conf").write_text(text)
    return [
        program("dnsdist"),
        "--supervised",
        "--disable-syslog",
        "-C",
        f"{directory}/dnsdist.conf",
    ]


SERVERS = {
    "unbound": (unbound, "unbound", False),
    "bind": (bind, "named", True),
    "knot-resolver": (knot_resolver, "kresd", False),
    "pdns-recursor": (pdns_recursor, "pdns_recursor", True),
    "dnsdist": (dnsdist, "dnsdist", False),
}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=need(SERVERS[one][1])) for one in SERVERS]
)
def test_a_server_set_up_by_its_page_gives_dnstap_and_takes_the_zone(
    name: str, tmp_path: Path, lab_tables: tuple[Path, Path], authority: Authority
) -> None:
    if name == "knot-resolver" and not has_cqueues():
        pytest.skip("lua-cqueues is not installed")
    configure, _, is_signed = SERVERS[name]
    port, zones = free_port(), free_port()
    command = configure(tmp_path, port, authority.port, zones)
    (tmp_path / "rpz.key").write_text(SECRET)
    options = [
        "--rpz-action", "nxdomain", "--rpz", tmp_path / "rpz.zone",
        "--rpz-listen", f"127.0.0.1:{zones}", "--rpz-notify", f"127.0.0.1:{port}",
        *(["--rpz-key", tmp_path / "rpz.key"] if is_signed else []),
    ]  # fmt: skip
    log = tmp_path / "server.log"
    with (
        watching(tmp_path, lab_tables, *options) as watch,
        running(*command, log=log, cwd=tmp_path) as server,
    ):

        def is_up() -> bool:
            assert server.poll() is None, log.read_text()
            return rcode_of("www.static.test.", port) == "NOERROR"

        until(is_up, 20, f"{name} answers")
        for _ in range(3):
            assert rcode_of("pool.test.", port) == "NOERROR"
        assert rcode_of("www.flux.test.", port) == "NOERROR"
        until(lambda: watch.metrics()["unflux_watch_decoded_total"] > 0, 20, f"dnstap of {name}")
        tap = Tap(tmp_path / "tap.sock")
        tap.send(events("www.flux.test.", flux, 8))
        watch.until_said("blocked name=www.flux.test")
        until(
            lambda: rcode_of("x1.www.flux.test.", port) == "NXDOMAIN"
            and rcode_of("www.flux.test.", port) == "NXDOMAIN",
            30, f"{name} blocks\n{log.read_text()[-2000:]}",
        )  # fmt: skip
        assert rcode_of("pool.test.", port) == "NOERROR"
        assert rcode_of("www.static.test.", port) == "NOERROR"
        tap.close()
