"""Settings of a watch: declared once, checked whole; the same words in TOML and as options."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from unflux import detect
from unflux.share import rpz
from unflux.sources.base import client_key_of
from unflux.times import duration_s
from unflux.watch.blocks import CONFIDENCES
from unflux.watch.outlets import open_outlet
from unflux.watch.zone_server import TsigKey

MIN_MEMORY = 256 << 20
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def setting(default: Any, about: str) -> Any:
    """A field with its one-line help."""
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata={"help": about})
    return field(default=default, metadata={"help": about})


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """All settings, as the user wrote them. `problems` says what is wrong with them."""

    dnstap: tuple[str, ...] = setting((), "unix:PATH or tcp:HOST:PORT to listen on for dnstap.")
    follow: tuple[str, ...] = setting((), "Growing log (Zeek, EVE, …) to follow, rotation too.")
    connections: tuple[str, ...] = setting(
        (), "Growing conn.log or EVE flows: alerts say who connected."
    )
    interface: str | None = setting(None, "Network interface to read DNS responses from.")
    ports: tuple[int, ...] = setting((53,), "Ports of DNS on the interface.")
    vantage: str = setting("unknown", "Where logs and interface stand: client or upstream.")
    clients: str = setting("keep", "Clients' addresses: keep, pseudonymise or drop.")
    client_key: str | None = setting(None, "File with the key for pseudonyms.")
    state: str | None = setting(
        None, "Directory for checkpoints and blocks; none: nothing is kept."
    )
    asn_db: str | None = setting(None, "MMDB file: address to origin AS.")
    country_db: str | None = setting(None, "MMDB file: address to country.")
    detector: str = setting("unflux", "Which detector judges.")
    clock: str = setting("wall", "wall, or stream: time is what the stream says (replays).")
    window: str = setting("24h", "How long what was seen counts.")
    tick: str = setting("500ms", "How often is judged.")
    checkpoint: str = setting("60s", "How often the state is saved.")
    memory: str = setting("2G", "Memory of the process.")
    queue: str = setting("64M", "Memory for what waits to be reduced.")
    threads: int = setting(1, "Threads that decode and reduce.")
    judge_max: int = setting(5_000, "Names judged per round.")
    rpz: str | None = setting(None, "Policy zone file to write, and FILE.json with reasons.")
    rpz_origin: str = setting("rpz.unflux", "Name of the policy zone.")
    rpz_action: str = setting("monitor", "monitor, nxdomain, nodata or garden.")
    rpz_garden: tuple[str, ...] = setting((), "Name or addresses of the walled garden.")
    rpz_listen: str | None = setting(None, "HOST:PORT to serve the zone on (AXFR, IXFR).")
    rpz_key: str | None = setting(None, "File with a TSIG key: ALGORITHM:NAME:BASE64.")
    rpz_notify: tuple[str, ...] = setting((), "HOST:PORT of a secondary to notify.")
    rpz_nsdname: bool = setting(False, "List name servers too, if all their zones are flux.")
    rpz_ip: bool = setting(False, "List addresses too, if only flux names were seen on them.")
    allow: str | None = setting(None, "Allowlist: a name a line, with all below it; # comments.")
    block_for: str = setting("12h", "How long a block lasts after the last evidence.")
    block_min_score: float = setting(0.6, "Lowest score that is blocked.")
    block_min_confidence: str = setting("medium", "Lowest confidence that is blocked.")
    block_max: int = setting(10_000, "Entries of the zone at most.")
    alert: tuple[str, ...] = setting(
        (), "FILE, - (standard output), udp:, tcp:, unix:, http(s)://."
    )
    alert_suppress: str = setting("30m", "The same verdict of a name is told once in this time.")
    alert_ambiguous: bool = setting(False, "Tell of ambiguous names too.")
    metrics: str | None = setting(None, "HOST:PORT of /metrics, /healthz and /readyz.")

    def problems(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        found = []
        if not (self.dnstap or self.follow or self.interface):
            found.append("name an input: dnstap, follow or interface")
        for check in _CHECKS:
            try:
                check(self)
            except ValueError as error:
                found.append(str(error))
        return found


def seconds_of(text: str, name: str) -> float:
    """`times.duration_s` of a setting, which the error names."""
    try:
        return duration_s(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def size_bytes(text: str, name: str) -> int:
    """Bytes of ``512M`` or ``2G``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)(?:i?b)?", text.strip().lower())
    if not match:
        raise ValueError(f"{name} is a size such as 512M or 2G, not {text!r}")
    return int(float(match[1]) * UNITS[match[2]])


def host_port(text: str, name: str) -> tuple[str, int]:
    """An address and a port; IPv6 in brackets."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{name} is ADDRESS:PORT, not {text!r}") from None
    if not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{name} is ADDRESS:PORT, not {text!r}")
    return host, int(port)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def read_allowlist(path: Path) -> list[str]:
    """Names, one a line; what follows a ``#`` is for people."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"allow: {path} cannot be read: {_why(error)}") from None
    names = [line.partition("#")[0].strip().rstrip(".").lower() for line in lines]
    wrong = next((one for one in names if one and not re.fullmatch(r"[!-~]{1,253}", one)), None)
    if wrong is not None:
        raise ValueError(f"allow: {path}: {wrong!r} is no name")
    return [one for one in names if one]


def read_key(path: Path) -> TsigKey:
    """The TSIG key in a file."""
    try:
        return TsigKey.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"rpz_key: {path} cannot be read: {_why(error)}") from None


def load(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The settings in a TOML file, and what is wrong with it, a sentence each."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {}, [f"{path} cannot be read: {_why(error)}"]
    known = {one.name: one for one in fields(WatchConfig)}
    values: dict[str, Any] = {}
    found = []
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            found.append(f"{path}: there is no setting {key!r}")
            continue
        converted = _converted(value, str(known[name].type))
        if converted is None:
            found.append(f"{path}: {key} is {known[name].type}, not {value!r}")
        else:
            values[name] = converted
    return values, found


def _converted(value: Any, kind: str) -> Any:
    """A TOML value as a setting's type; None where it is of another."""
    if kind.startswith("tuple"):
        items = value if isinstance(value, list) else [value]
        wanted: type = int if "int" in kind else str
        return tuple(items) if all(type(one) is wanted for one in items) else None
    if kind == "float" and type(value) is int:
        return float(value)
    wanted = {"bool": bool, "int": int, "float": float}.get(kind, str)
    return value if type(value) is wanted else None


def combine(from_file: Mapping[str, Any], from_line: Mapping[str, Any]) -> WatchConfig:
    """The command line wins where it says something."""
    said = {key: value for key, value in from_line.items() if value not in (None, (), [])}
    said = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    return WatchConfig(**(dict(from_file) | said))


def defaults() -> dict[str, Any]:
    """Each setting's default."""
    return {
        one.name: one.default_factory() if one.default_factory is not MISSING else one.default
        for one in fields(WatchConfig)
    }


def _one_of(name: str, *values: str) -> Any:
    def check(config: WatchConfig) -> None:
        value = getattr(config, name)
        if value not in values:
            raise ValueError(f"{name} is {', '.join(values[:-1])} or {values[-1]}, not {value!r}")

    return check


def _inputs(config: WatchConfig) -> None:
    for one in config.dnstap:
        kind, _, rest = one.partition(":")
        if kind == "tcp":
            host_port(rest, "dnstap tcp")
        elif kind != "unix" or not rest:
            raise ValueError(f"dnstap is unix:PATH or tcp:ADDRESS:PORT, not {one!r}")


def _times(config: WatchConfig) -> None:
    window = seconds_of(config.window, "window")
    for name in ("tick", "checkpoint", "alert_suppress"):
        seconds_of(getattr(config, name), name)
    if seconds_of(config.block_for, "block_for") > window:
        raise ValueError(
            f"block_for ({config.block_for}) is longer than the window ({config.window}): a name "
            "that is let go would have to be found anew"
        )


def _sizes(config: WatchConfig) -> None:
    size_bytes(config.queue, "queue")
    if size_bytes(config.memory, "memory") < MIN_MEMORY:
        raise ValueError(f"memory is at least {MIN_MEMORY >> 20}M")


def _numbers(config: WatchConfig) -> None:
    if not 1 <= config.threads <= 64:
        raise ValueError("threads is from 1 to 64")
    if config.judge_max < 1 or config.block_max < 1:
        raise ValueError("judge_max and block_max are at least 1")
    if not 0 <= config.block_min_score <= 1:
        raise ValueError("block_min_score is from 0 to 1")
    if not config.ports or any(not 0 < port < 65_536 for port in config.ports):
        raise ValueError("a port is a number from 1 to 65535")


def _policy(config: WatchConfig) -> None:
    rpz.Policy(config.rpz_origin, config.rpz_action, config.rpz_garden)


def _serving(config: WatchConfig) -> None:
    key = read_key(Path(config.rpz_key)) if config.rpz_key else None
    if config.rpz_listen:
        host, _ = host_port(config.rpz_listen, "rpz_listen")
        if key is None and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"rpz_listen on {host} needs a TSIG key (rpz_key)")
    for one in config.rpz_notify:
        host_port(one, "rpz_notify")
    if config.metrics:
        host_port(config.metrics, "metrics")


def _files(config: WatchConfig) -> None:
    if config.allow:
        read_allowlist(Path(config.allow))
    if config.client_key:
        client_key_of(Path(config.client_key))
    for name in ("rpz", "state"):
        value = getattr(config, name)
        if value and not Path(value).absolute().parent.is_dir():
            raise ValueError(
                f"{name}: the directory {Path(value).absolute().parent} does not exist"
            )
    if config.rpz and Path(config.rpz).is_dir():
        raise ValueError(f"rpz: {config.rpz} is a directory: name a file")
    if config.state and Path(config.state).exists() and not Path(config.state).is_dir():
        raise ValueError(f"state: {config.state} is a file: name a directory")


def _connections(config: WatchConfig) -> None:
    if config.connections and config.clients != "keep":
        raise ValueError(
            f"connections tell clients' addresses, and clients is {config.clients}: keep them, or "
            "leave connections away"
        )


def _alerts(config: WatchConfig) -> None:
    for one in config.alert:
        if not one.startswith(("http://", "https://")):
            open_outlet(one, None)


def _detector(config: WatchConfig) -> None:
    detect.by_id(config.detector)


_CHECKS = (
    _inputs,
    _times,
    _sizes,
    _numbers,
    _policy,
    _serving,
    _files,
    _connections,
    _alerts,
    _detector,
    _one_of("clock", "wall", "stream"),
    _one_of("vantage", "unknown", "client", "upstream"),
    _one_of("clients", "keep", "pseudonymise", "drop"),
    _one_of("block_min_confidence", *CONFIDENCES),
)
