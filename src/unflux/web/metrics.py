"""Numbers about the server itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """A registry of its own: several sites in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "unflux_http_requests", "Requests by method and status", ["method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "unflux_http_request_seconds", "Time until a response was sent", registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1, 3, 10),
        )  # fmt: skip
        self.findings = Gauge("unflux_findings", "Findings in the store", registry=self.registry)
        self.uploads = Counter(
            "unflux_uploads", "Uploads by how they ended", ["state"], registry=self.registry
        )
        self.streams = Gauge(
            "unflux_live_streams", "Pages that follow the live feed", registry=self.registry
        )

    def observe(self, method: str, status: int, seconds: float) -> None:
        """One request."""
        known = method if method in ("GET", "POST", "PUT", "DELETE", "HEAD") else "other"
        self._requests.labels(known, str(status)).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
