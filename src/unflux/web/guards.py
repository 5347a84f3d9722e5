"""What every request passes: who may ask from where, how often, how much; and safe headers out."""

from __future__ import annotations

import hashlib
import math
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unflux.web import errors
from unflux.web.buckets import Buckets
from unflux.web.metrics import Metrics
from unflux.web.settings import Limits, Settings, is_loopback

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
UPLOADS = "/api/v1/uploads"


class TooLarge(Exception):
    """A body went over its limit."""


class Guards:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        limits = settings.limits
        self.buckets = Buckets(limits.requests_per_s, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                path = scope["path"]
                if path.startswith("/api/") and "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
                elif path.startswith("/assets/"):
                    headers["Cache-Control"] = "public, max-age=31536000, immutable"
                elif "cache-control" not in headers:
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        try:
            refusal = self._refusal(scope, time.monotonic())
            if refusal is not None:
                await refusal(scope, receive, send_guarded)
            else:
                await self._bounded(scope, receive, send_guarded)
        finally:
            self.metrics.observe(scope["method"], status, time.monotonic() - started)

    def _refusal(self, scope: Scope, now_s: float) -> ASGIApp | None:
        """The response that says no, or None."""
        headers = Headers(scope=scope)
        if not self._is_our_host(headers.get("host", "")):
            return errors.response(403, "this name is not one that the server is known by")
        if scope["method"] not in SAFE_METHODS and _is_cross_site(headers):
            return errors.response(403, "another site's page must not ask for this")
        wait_s = self.buckets.take(_who(scope, headers), now_s)
        if wait_s > 0:
            after = {"Retry-After": str(math.ceil(wait_s))}
            return errors.response(429, f"too many requests; wait {wait_s:.1f} s", headers=after)
        return None

    def _is_our_host(self, host: str) -> bool:
        """On loopback only loopback names: other sites must not get in by DNS rebinding."""
        if self.settings.needs_token:
            return True  # a page of another site has no token
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = _body_limit(scope, self.settings.limits)
        too_large = errors.response(413, f"a body has at most {limit} bytes here")
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            await too_large(scope, receive, send)
            return
        received = 0
        started = over = False

        async def receive_bounded() -> Message:
            nonlocal received, over
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                over = True
                raise TooLarge
            return message

        async def send_noted(message: Message) -> None:
            nonlocal started
            if over and not started:
                return  # the app may make an answer of its own out of TooLarge
            started = True
            await send(message)

        try:
            await self.app(scope, receive_bounded, send_noted)
        except TooLarge:
            pass
        except Exception as error:  # here, not further out: this answer needs its headers too
            errors.log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            if started:
                raise
            await errors.response(500, errors.INTERNAL)(scope, receive, send)
        if over and not started:
            await too_large(scope, receive, send)


def _body_limit(scope: Scope, limits: Limits) -> int:
    is_upload = scope["method"] == "POST" and scope["path"] == UPLOADS
    return limits.upload_bytes if is_upload else limits.body_bytes


def _is_cross_site(headers: Headers) -> bool:
    """Browsers say where a request comes from; programs that are none say nothing."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _who(scope: Scope, headers: Headers) -> str:
    """The token where there is one, otherwise the address."""
    token = headers.get("authorization")
    if token:
        return hashlib.blake2b(token.encode(errors="replace"), digest_size=8).hexdigest()
    client = scope.get("client")
    return client[0] if client else "?"
