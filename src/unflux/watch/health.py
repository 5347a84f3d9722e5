"""`/metrics` for Prometheus, `/healthz` for who restarts things, `/readyz` for who waits for it."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from unflux.errors import Unavailable
from unflux.watch.limits import LABELLED, SAYS

MAX_REQUESTS = 16
"""Answered at once; more are hung up, and counted."""

Numbers = Mapping[str, float]
"""Values by metric; a name may end in labels, as in ``unflux_findings_total{verdict="x"}``."""

ABOUT = {
    "unflux_watch_alerts_total": "alerts that were told",
    "unflux_watch_alerts_suppressed_total": "alerts that were not told again so soon",
    "unflux_watch_blocks": "entries of the policy zone",
    "unflux_watch_checkpoint_failures_total": "the state could not be saved: tried again",
    "unflux_watch_connections_malformed_total": "lines that are no connection",
    "unflux_watch_decoded_total": "responses that were understood",
    "unflux_watch_evicted_names_total": "names given up for want of memory",
    "unflux_watch_findings_total": "judgements of flux and ambiguous names, by verdict",
    "unflux_watch_flux_names": "names that are judged flux now",
    "unflux_watch_frames_total": "dnstap frames that were received",
    "unflux_watch_judged_total": "judgements of names",
    "unflux_watch_links_over_total": "sightings of links between names that were not followed",
    "unflux_watch_malformed_total": "responses that are broken, by what is wrong",
    "unflux_watch_not_blocked_total": "flux that was not blocked, by why",
    "unflux_watch_outlet_failed_total": "alerts that an outlet did not take, by its place in alert",
    "unflux_watch_producers": "producers of dnstap that are connected",
    "unflux_watch_queued_bytes": "dnstap that waits to be reduced",
    "unflux_watch_round_seconds": "how long the last round of judging took",
    "unflux_watch_sharers_over_total": "names with a judged name's addresses not looked at",
    "unflux_watch_skipped_total": "responses that say nothing here, by why",
    "unflux_watch_window_bytes": "memory of the window, as counted",
    "unflux_watch_window_waiting": "names with fresh evidence that are not judged yet",
    "unflux_watch_zone_serial": "serial of the policy zone that was published last, 0 for none",
    "unflux_watch_zones_failed_total": "policy zones that could not be written: tried again",
} | {f"unflux_watch_{name}_total": says for name, says in SAYS.items() if name not in LABELLED}
"""A line of help for the metrics that need one."""


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


class _Server(ThreadingHTTPServer):
    """A thread a request, and so many at most."""

    daemon_threads = True

    def __init__(self, at: tuple[str, int], pages: type[BaseHTTPRequestHandler]) -> None:
        self.n_refused = 0
        self._room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(at, pages)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.n_refused += 1
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up before the answer is no fault of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class HealthServer:
    """Three pages, from threads of their own."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Callable[[], Numbers],
        states: Mapping[str, Callable[[], dict[str, Any]]],
    ) -> None:
        """`states`: by path what to ask; 503 where the answer is not ``ok``."""

        class Pages(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._reply(200, exposition(metrics()).encode(), "text/plain; version=0.0.4")
                elif path in states:
                    state = states[path]()
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
            self._server = _Server((host, port), Pages)
        except OSError as error:
            raise Unavailable(f"metrics on {host}:{port}: {error.strerror}") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def n_refused(self) -> int:
        """Requests over `MAX_REQUESTS`."""
        return self._server.n_refused

    def stop(self) -> None:
        """Close the socket."""
        self._server.shutdown()
        self._server.server_close()
