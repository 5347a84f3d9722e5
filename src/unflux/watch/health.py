"""`/metrics` for Prometheus and `/healthz` for whoever restarts things; loopback by default."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from unflux.errors import Unavailable

Numbers = Mapping[str, float]
"""Values by metric; a name may end in labels, as in ``unflux_findings_total{verdict="x"}``."""

ABOUT = {
    "unflux_watch_frames_dropped_total": "dnstap frames for which the queue had no room",
    "unflux_watch_evicted_names_total": "names given up for want of memory",
    "unflux_watch_window_bytes": "memory of the window, as counted",
}


def exposition(numbers: Numbers) -> str:
    """The text format of Prometheus, version 0.0.4."""
    lines = []
    seen = set()
    for name in sorted(numbers):
        family = name.partition("{")[0]
        if family not in seen:
            seen.add(family)
            if family in ABOUT:
                lines.append(f"# HELP {family} {ABOUT[family]}")
            lines.append(f"# TYPE {family} {'counter' if family.endswith('_total') else 'gauge'}")
        lines.append(
            f"{name} {numbers[name]:g}" if numbers[name] < 1e6 else f"{name} {numbers[name]:.0f}"
        )
    return "\n".join(lines) + "\n"


def label(text: str) -> str:
    """A label's value with what is special escaped."""
    return re.sub(r'(["\\])', r"\\\1", text).replace("\n", " ")


class HealthServer:
    """Two pages, from a thread of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Callable[[], Numbers],
        health: Callable[[], dict[str, Any]],
    ) -> None:
        class Pages(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._reply(200, exposition(metrics()).encode(), "text/plain; version=0.0.4")
                elif self.path == "/healthz":
                    state = health()
                    code = 200 if state["ok"] else 503
                    self._reply(code, msgspec.json.encode(state), "application/json")
                else:
                    self._reply(404, b'{"ok":false}', "application/json")

            def _reply(self, code: int, body: bytes, kind: str) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody wants a line per scrape."""

        try:
            self._server = ThreadingHTTPServer((host, port), Pages)
        except OSError as error:
            raise Unavailable(f"metrics on {host}:{port}: {error.strerror}") from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the socket."""
        self._server.shutdown()
        self._server.server_close()
