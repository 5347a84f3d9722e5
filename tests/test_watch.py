"""A running watch fed through its socket: verdicts, limits, faults, restarts."""

from __future__ import annotations

import time
from collections.abc import Callable

from dnstap_pb import Dnstap as Event

from conftest import a_response


def event(
    wire: bytes, *, at_s: float | None = None, client: bytes = bytes([198, 18, 9, 9])
) -> bytes:
    """A client's response as a dnstap payload, stamped now."""
    at_s = time.time() if at_s is None else at_s
    one = Event(type=Event.MESSAGE, identity=b"r1")
    message = one.message
    message.type = message.CLIENT_RESPONSE
    message.socket_family = message.socket_protocol = 1
    message.query_address, message.response_address = client, bytes([198, 18, 0, 53])
    seconds, fraction = divmod(at_s, 1)
    message.response_time_sec, message.response_time_nsec = int(seconds), int(fraction * 1e9)
    message.response_message = wire
    return one.SerializeToString()


def events(
    name: str, service: Callable[[int], tuple[int, list[str]]], n: int, start: int = 0
) -> list[bytes]:
    """Some answers of a service, each with a TTL of its own and so a fresh one."""
    return [event(a_response(name, *service(number))) for number in range(start, start + n)]
