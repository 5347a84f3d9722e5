"""A real unbound, protected while it runs: dnstap in, a policy zone out, no restart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli
from live_servers import (
    NAMES,
    Authority,
    ask,
    free_port,
    need,
    program,
    rcode_of,
    running,
    until,
    watching,
)
from unflux.detect.unflux import Unflux

pytestmark = need("unbound")

CONFIG = """
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  use-syslog: no
  verbosity: 1
  do-not-query-localhost: no
  module-config: "respip iterator"
  local-zone: "test." nodefault
stub-zone:
  name: "test."
  stub-addr: 127.0.0.1@{authority}
  stub-no-cache: yes
rpz:
  name: "rpz.unflux"
  primary: 127.0.0.1@{zones}
  allow-notify: 127.0.0.1
  rpz-log: yes
  rpz-log-name: "unflux"
dnstap:
  dnstap-enable: yes
  dnstap-socket-path: "{directory}/tap.sock"
  dnstap-log-client-response-messages: yes
  dnstap-log-resolver-response-messages: yes
remote-control:
  control-enable: no
"""


@pytest.fixture
def authority() -> Iterator[Authority]:
    one = Authority()
    one.names = dict(NAMES)
    yield one
    one.close()


def test_flux_is_found_and_blocked_at_unbound_and_lookalikes_are_not(
    tmp_path: Path, lab_tables: tuple[Path, Path], authority: Authority, cli: Cli
) -> None:
    port, zones = free_port(), free_port()
    (tmp_path / "unbound.conf").write_text(
        CONFIG.format(port=port, directory=tmp_path, authority=authority.port, zones=zones)
    )
    options = (
        "--rpz-action", "nxdomain", "--rpz-listen", f"127.0.0.1:{zones}",
        "--rpz-notify", f"127.0.0.1:{port}", "--state", tmp_path / "state",
        "--alert", tmp_path / "alerts.ndjson",
    )  # fmt: skip
    unbound = (program("unbound"), "-d", "-c", str(tmp_path / "unbound.conf"))
    with (
        watching(tmp_path, lab_tables, *options) as watch,
        running(*unbound, log=tmp_path / "unbound.log"),
    ):
        until(lambda: rcode_of("www.static.test.", port) == "NOERROR", what="unbound answers")
        until(lambda: watch.metrics()["unflux_watch_producers"] >= 1, what="unbound connects")
        first_answer = time.monotonic()
        n_rotations = 0
        while rcode_of("www.flux.test.", port) != "NXDOMAIN":
            assert time.monotonic() - first_answer < 25, watch.said
            n_rotations += 1
            for name in ("pool.test.", "cdn.test.", "www.static.test."):
                assert ask(name, port).answer
            time.sleep(0.1)
        assert rcode_of("below.www.flux.test.", port) == "NXDOMAIN"
        for _ in range(30):  # the look-alikes go on, and stay
            for name in ("pool.test.", "cdn.test.", "www.static.test."):
                assert ask(name, port).answer
        watch.until_said("blocked name=www.flux.test verdict=single_flux")
        time.sleep(0.5)
        assert watch.said.count(" blocked ") == 1
        # The first is told while confidence is low, and nothing is blocked then.
        *early, alert = map(json.loads, (tmp_path / "alerts.ndjson").read_text().splitlines())
        assert [one["event"]["action"] for one in early] in ([], ["flux_refused"])
        assert alert["threat"]["technique"]["subtechnique"]["id"] == ["T1568.001"]
        assert alert["dns"]["question"]["name"] == "www.flux.test"
        assert alert["client"]["ip"] == ["127.0.0.1"]
        assert alert["event"]["action"] == "flux_blocked"
        asked = cli("blocked", "a.www.flux.test", "--state", tmp_path / "state", "--json")
        answer = json.loads(asked.stdout)
        assert (answer["blocked"], answer["by"]) == (True, f"unflux {Unflux.version}")
        assert answer["since"] < answer["until"]
        asked = cli("blocked", "pool.test", "--state", tmp_path / "state", "--json")
        assert json.loads(asked.stdout)["blocked"] is False
    assert "unflux" in (tmp_path / "unbound.log").read_text()  # rpz-log names the zone
