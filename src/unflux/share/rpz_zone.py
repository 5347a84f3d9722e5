"""A policy zone of a scan's findings, for resolvers that read a file; `unflux watch` keeps one."""

from __future__ import annotations

from typing import IO, ClassVar

from unflux.detect import Finding
from unflux.share import rpz
from unflux.share.case import Case, one_line_claim
from unflux.times import us_of_iso


class RpzZone:
    """Names judged flux, with all below them: NXDOMAIN; none that a benign explanation fits."""

    name: ClassVar[str] = "rpz"
    title: ClassVar[str] = "response policy zone of names, answered with NXDOMAIN"

    def write(self, case: Case, out: IO[bytes]) -> None:
        entries: dict[str, rpz.Entry] = {}
        for finding in case.indicators():
            if finding.registered_domain is None:
                case.left_out["names that are public suffixes"] += 1
            elif any(one.match for one in finding.benign_explanations):
                case.left_out["names that a benign explanation fits: never blocked"] += 1
            else:
                entry = _entry(case, finding)
                entries[entry.trigger] = max(
                    entry, entries.get(entry.trigger, entry), key=lambda one: one.until_us
                )
        seen_us = [us_of_iso(one.last_seen) for one in case.findings if one.last_seen]
        now_us = max(seen_us, default=0)
        serial = rpz.serial_at(now_us // 1_000_000, None)
        policy = rpz.Policy(action="nxdomain")
        for line in rpz.zone_text(list(entries.values()), policy, serial, now_us):
            out.write(line.encode())


def _entry(case: Case, finding: Finding) -> rpz.Entry:
    first, last = finding.first_seen or "", finding.last_seen or ""
    until_us = us_of_iso(case.valid_until(last))
    return rpz.Entry(
        rpz.trigger_of(finding), rpz.QNAME, one_line_claim(finding), us_of_iso(first), until_us
    )
