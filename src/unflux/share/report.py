"""The report of a scan: one HTML file, to read offline, to print, to keep. It needs no script.

What it says follows from the scan alone: the same scan gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any

from unflux.detect import Finding
from unflux.detect.base import Agent, Explanation
from unflux.features.chao import pool_size
from unflux.pipeline import Scan
from unflux.share import pictures, report_networks, svg
from unflux.share.case import AGENT_NOTE, EVIDENCE
from unflux.share.html import Html, el, join
from unflux.share.pictures import Band, Lane, TimeScale
from unflux.share.svg import Svg
from unflux.share.table import in_triage_order, one_line
from unflux.share.timeline import HOUR_US, Timeline, Track, timelines

MAX_PICTURED = 60
"""Findings with a page of their own; all are in the table (to `MAX_ROWS`) and in the NDJSON."""
MAX_ROWS = 1000
MAX_AGENTS = 40
MAX_CLIENTS = 64
MAX_NAMES = 12
COLOURS = {"single_flux": "red", "double_flux": "red", "ns_flux": "red", "ambiguous": "amber",
           "not_flux": "green", "insufficient": "grey"}  # fmt: skip
STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8") + svg.CSS


def write_report(scan: Scan, out: IO[bytes]) -> None:
    """Write the page, finding by finding."""
    findings = in_triage_order(scan.findings)
    pictured = [one for one in findings if one.is_flux or one.verdict == "ambiguous"]
    pictured = pictured[:MAX_PICTURED]
    lines = timelines(scan.judged, pictured)
    numbers = {one.name: number for number, one in enumerate(pictured)}
    for part in (
        _head(scan),
        _opening(scan),
        Html("<main>"),
        _table(findings, numbers),
    ):
        out.write(part.encode())
    for number, finding in enumerate(pictured):
        out.write(_finding(finding, lines.get(finding.name, Timeline()), number).encode())
    for part in (
        report_networks.section(scan),
        _clients(scan.findings),
        _looked_at(scan.summary),
        _not_seen(scan.summary),
        _how_to_read(),
        Html("</main>"),
        _footer(scan.summary),
        Html("</body></html>\n"),
    ):
        out.write(part.encode())


def _head(scan: Scan) -> Html:
    """Everything before the body. The policy allows this one style, and nothing else at all."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return join(
        Html('<!doctype html>\n<html lang="en">'),
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", http_equiv="Content-Security-Policy", content=policy),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="robots", content="noindex"),
            el("title", f"unflux: {_headline(scan.n_flux)}"),
            Html(f"<style>{STYLE}</style>"),
        ),
        Html("<body>"),
    )


def _headline(n_flux: int) -> str:
    if n_flux == 0:
        return "no name was called fast flux"
    return f"{n_flux} {'name' if n_flux == 1 else 'names'} called fast flux"


def _opening(scan: Scan) -> Html:
    summary = scan.summary
    by_verdict: dict[str, int] = summary["names"]["by_verdict"]
    span = f"{_minute(summary['time_first'])} to {_minute(summary['time_last'])} UTC"
    headline = _headline(scan.n_flux)
    counted = ", ".join(f"{n} {verdict}" for verdict, n in by_verdict.items() if n)
    anchors = (
        ("findings", "Findings"),
        ("networks", report_networks.TITLE),
        ("clients", "Who asked"),
        ("looked-at", "What was looked at"),
        ("not-seen", "What could not be seen"),
        ("reading", "How to read this"),
    )
    links = (el("a", title, href=f"#{anchor}") for anchor, title in anchors)
    return join(
        el(
            "header",
            el("div", "unflux", class_="mark"),
            el("h1", headline[0].upper() + headline[1:]),
            el("p", span, class_="soft"),
            el("div", *_tiles(scan), class_="tiles"),
            el("div", _verdict_bar(by_verdict), class_="shares"),
            el("p", counted, class_="soft"),
        ),
        el("nav", *links, aria_label="Sections"),
    )


def _tiles(scan: Scan) -> Iterable[Html]:
    """The numbers to see first."""
    names = scan.summary["names"]
    n_ambiguous = names["by_verdict"]["ambiguous"]
    asked = {client for one in scan.findings if one.is_flux for client in one.client_list}
    for value, title, colour in (
        (scan.n_flux, "names called flux", "tile red" if scan.n_flux else "tile"),
        (n_ambiguous, "ambiguous", "tile amber" if n_ambiguous else "tile"),
        (names["judged"], "names judged", "tile"),
        (len(asked), "clients asked for flux names", "tile"),
        (scan.summary["counts"]["decoded"], "responses read", "tile"),
    ):
        yield el("div", el("b", _thousands(value)), el("span", title), class_=colour)


def _verdict_bar(by_verdict: dict[str, int]) -> Html:
    items = [(verdict, n, COLOURS[verdict]) for verdict, n in by_verdict.items()]
    says = ", ".join(f"{n} {verdict}" for verdict, n, _ in items)
    return pictures.shares(items, f"Verdicts: {says}").inline()


def _table(findings: Sequence[Finding], numbers: dict[str, int]) -> Html:
    """All findings that are listed, in one table."""
    head = el(
        "tr",
        el("th", "verdict"),
        el("th", "score", class_="n"),
        el("th", "name"),
        el("th", "addresses", class_="n wide"),
        *(el("th", title, class_="n wide") for title in ("ASes", "countries", "TTL s")),
        el("th", "clients", class_="n wide"),
        el("th", "why", class_="wide"),
    )
    shown = findings[:MAX_ROWS]
    more = len(findings) - len(shown)
    body = (
        el("div", el("table", el("thead", head), el("tbody", *(_row(o, numbers) for o in shown))),
           class_="box scroll")
        if shown
        else el("p", "No name reached the score from which names are listed.", class_="box")
    )  # fmt: skip
    left = el("p", f"{more} more are in findings.ndjson.", class_="soft") if more else None
    return join(el("h2", "Findings", id="findings"), body, left, Html("<br/>"))


def _row(finding: Finding, numbers: dict[str, int]) -> Html:
    number = numbers.get(finding.name)
    name = el("bdi", finding.name)
    linked = name if number is None else el("a", name, href=f"#f{number}")
    return el(
        "tr",
        el("td", _tag(finding.verdict)),
        el("td", f"{finding.score:.2f}", class_="n"),
        el("td", linked, class_="name"),
        el("td", finding.n_addresses, class_="n wide"),
        *(
            el("td", "?" if value is None else value, class_="n wide")
            for value in (finding.n_asns, finding.n_countries, finding.ttl_max_s)
        ),
        el("td", finding.n_clients, class_="n wide"),
        el("td", one_line(finding), class_="wide any"),
    )


def _tag(verdict: str) -> Html:
    return el("span", verdict.replace("_", " "), class_=f"tag {COLOURS[verdict]}")


def _finding(finding: Finding, line: Timeline, number: int) -> Html:
    facts = [
        f"score {finding.score:.2f}",
        f"confidence {finding.confidence}",
        f"seen {_minute(finding.first_seen)} to {_minute(finding.last_seen)} UTC",
        f"{finding.n_clients} {'client' if finding.n_clients == 1 else 'clients'} asked",
    ]
    if finding.registered_domain and finding.registered_domain != finding.name:
        facts.append(f"under {finding.registered_domain}")
    return el(
        "article",
        el("h2", el("bdi", finding.name)),
        Html(" "),
        _tag(finding.verdict),
        el("p", " · ".join(facts), class_="facts any"),
        _why(finding),
        _pictures(finding, line),
        _tried(finding.benign_explanations),
        _spots(finding.blind_spots),
        _agents(finding.agent_list),
        id=f"f{number}",
    )


def _why(finding: Finding) -> Html | None:
    reasons = [one for one in finding.reasons if one.weight >= 0.01]
    if not reasons:
        return None
    rows = [
        el(
            "li",
            el(
                "svg",
                el("rect", class_="track", width=64, height=8, rx=4),
                el("rect", width=f"{max(2.0, 64 * one.weight / reasons[0].weight):.1f}", height=8,
                   rx=4),
                viewBox="0 0 64 8",
                role="img",
                aria_label=f"{one.weight:.0%} of the score",
            ),
            el("span", one.says),
        )
        for one in reasons
    ]  # fmt: skip
    return join(el("h3", "Why"), el("ul", *rows, class_="why"))


def _pictures(finding: Finding, line: Timeline) -> Html | None:
    """The pictures side by side, all on one scale of time."""
    spells = [spell for track in line.addresses + line.name_servers for spell in track.spells]
    if not spells:
        return None
    scale = TimeScale.around(min(first for first, _ in spells), max(last for _, last in spells))
    ttl_s = max((high for _, _, high in line.ttls), default=0)
    left, right = [], []
    if line.addresses:
        left.append(_strip(line.addresses, scale, "address", "addresses", "Addresses", ttl_s))
        right += [_growth(line, scale), _ttl(line, scale)]
    places = _places(line.addresses or line.name_servers)
    if line.name_servers:
        layer = _strip(
            line.name_servers,
            scale,
            "address of a name server",
            "addresses of name servers",
            "Name servers",
            line.ns_ttl_s,
        )
        (left if len(line.name_servers) > 8 or not line.addresses else right).append(layer)
    (right if line.name_servers else left).extend(places)
    return el("div", el("div", *left), el("div", *right), class_="grid")


def _figure(title: str, says: str, picture: Svg) -> Html:
    return el("figure", el("figcaption", el("b", title), f" {says}"), picture.inline())


def _strip(
    tracks: list[Track], scale: TimeScale, one: str, many: str, title: str, ttl_s: int
) -> Html:
    """Which address answered when, coloured by origin AS.

    An answer holds for its TTL, so a dash is that long at least; and a client asks again after it,
    so what lies closer together than two TTLs is one stay, also across the hours of sightings.
    """
    hold_us = min(ttl_s, 3600) * 1_000_000
    systems: dict[int | None, int] = {}
    for track in tracks:
        systems.setdefault(track.origin_asn, len(systems))
    lanes = [
        Lane(
            f"{track.address} AS{track.origin_asn or '?'} {track.country or ''} ({track.owner})",
            systems[track.origin_asn],
            pictures.bridged(((first, last + hold_us) for first, last in track.spells), hold_us),
        )
        for track in tracks
    ]
    known = len(systems) - (None in systems)
    counted = f"{len(tracks)} {one if len(tracks) == 1 else many}"
    says = f"{counted}, one line each from first sight on; colours are ASes ({known or 'unknown'})"
    return _figure(title, says, pictures.strip(lanes, scale, f"{title}: {says}"))


def _growth(line: Timeline, scale: TimeScale) -> Html | None:
    """How many addresses were seen by when; nothing where all came at once."""
    pool = pool_size([one.n_fresh for one in line.addresses], line.n_answers).chao
    points = line.growth()
    if points[0][0] == points[-1][0]:
        return None
    says = f"{points[-1][1]} different addresses so far"
    if pool:
        says += f"; about {pool.estimate:.0f} in all ({pool.low:.0f} to {pool.high:.0f}, Chao)"
    bands = []
    if pool:
        bands.append(Band(scale.from_us, scale.until_us, pool.low, pool.estimate, pool.high))
    picture = pictures.growth(points, scale, f"Growth: {says}", bands)
    return _figure("Growth", says, picture)


def _ttl(line: Timeline, scale: TimeScale) -> Html | None:
    if not line.ttls:
        return None
    highest = max(high for _, _, high in line.ttls)
    says = f"seconds as received, shortest to longest in each hour; at most {highest}"
    return _figure("TTL", says, pictures.levels(line.ttls, HOUR_US, scale, f"TTL: {says}"))


def _places(tracks: Sequence[Track]) -> list[Html]:
    """Bars of ASes and of countries."""
    systems: Counter[str] = Counter()
    countries: Counter[str] = Counter()
    for track in tracks:
        if track.origin_asn:
            systems[f"AS{track.origin_asn} {track.organisation or ''}".strip()] += 1
        if track.country:
            countries[track.country] += 1
    made = []
    for title, counted, unit in (("ASes", systems, "AS"), ("Countries", countries, "country")):
        if counted:
            says = f"addresses by {unit}; {len(counted)} in all"
            bars = pictures.bars(list(counted.items()), f"{title}: {says}", most=6)
            made.append(_figure(title, says, bars))
    return made


def _tried(explanations: Iterable[Explanation]) -> Html | None:
    rows = [
        el("li", el("b", one.name.replace("_", " ")), f": {one.says}",
           class_="fits" if one.match else None)
        for one in explanations
    ]  # fmt: skip
    if not rows:
        return None
    return join(el("h3", "Benign explanations tried (✓ fits)"), el("ul", *rows, class_="tried"))


def _spots(spots: Sequence[str]) -> Html | None:
    if not spots:
        return None
    listed = el("ul", *(el("li", spot) for spot in spots), class_="spots")
    return join(el("h3", "Not seen of this name"), listed)


def _agents(agents: list[Agent]) -> Html | None:
    """The agents seen last, strongest evidence first, behind a summary."""
    if not agents:
        return None
    ranked = sorted(agents, key=lambda one: one.last_seen, reverse=True)
    ranked.sort(key=lambda one: EVIDENCE.index(one.evidence))
    head = el("tr", *(el("th", title) for title in ("address", "AS", "country", "evidence")),
              el("th", "first seen", class_="wide"), el("th", "last seen"))  # fmt: skip
    rows = [
        el(
            "tr",
            el("td", one.address, class_="addr"),
            el("td", f"AS{one.origin_asn or '?'} {one.organisation or ''}", class_="any"),
            el("td", one.country or "?"),
            el("td", one.evidence),
            el("td", _minute(one.first_seen), class_="wide n"),
            el("td", _minute(one.last_seen), class_="n"),
        )
        for one in ranked[:MAX_AGENTS]
    ]
    shown = f", {MAX_AGENTS} of them here" if len(agents) > MAX_AGENTS else ""
    return el(
        "details",
        el("summary", f"{len(agents)} addresses with their evidence{shown}"),
        el("p", AGENT_NOTE, class_="soft"),
        el("div", el("table", el("thead", head), el("tbody", *rows)), class_="scroll"),
    )


def _clients(findings: Iterable[Finding]) -> Html:
    """Whose machines asked for flux names: where an analyst goes next. Alike clients in one row."""
    asked: defaultdict[str, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.is_flux:
            for client in finding.client_list:
                asked[client].append(finding.name)
    title = el("h2", "Who asked for flux names", id="clients")
    if not asked:
        return join(title, el("p", "No client is known to have asked.", class_="box"))
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for client in sorted(asked, key=_address_order):
        alike[tuple(asked[client])].append(client)
    ranked = sorted(alike.items(), key=lambda item: (-len(item[0]), len(item[1]), item[0]))
    rows = [
        el(
            "tr",
            el("td", el("bdi", _some(names, MAX_NAMES)), class_="any"),
            el("td", len(clients), class_="n"),
            el("td", _some(clients, MAX_CLIENTS), class_="any"),
        )
        for names, clients in ranked[:MAX_ROWS]
    ]
    head = el("tr", el("th", "asked for"), el("th", "clients", class_="n"), el("th", "which"))
    return join(
        title,
        el("div", el("table", el("thead", head), el("tbody", *rows)), class_="box scroll"),
        el("p", "Up to 64 clients are kept per name, type and hour.", class_="soft"),
    )


def _address_order(client: str) -> tuple[int, int]:
    address = ip_address(client)
    return address.version, int(address)


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _looked_at(summary: dict[str, Any]) -> Html:
    counts = summary["counts"]
    head = el("tr", el("th", "input"), el("th", "format"),
              *(el("th", title, class_="n") for title in ("items", "decoded")),
              el("th", "left out", class_="wide"), el("th", "wrong"))  # fmt: skip
    rows = [
        el(
            "tr",
            el("td", el("bdi", one["path"]), class_="any"),
            el("td", one["format"] or "?"),
            el("td", _thousands(one["items"]), class_="n"),
            el("td", _thousands(one["decoded"]), class_="n"),
            el("td", _tallies(one["skipped"]) or "nothing", class_="wide any"),
            el("td", _wrong(one), class_="any"),
        )
        for one in summary["inputs"][:MAX_ROWS]
    ]
    tables = ", ".join(f"{kind} of {t['date']}" for kind, t in summary["tables"].items()) or "none"
    balanced = "every item is accounted for" if counts["balanced"] else "items do not add up"
    facts = [
        f"{_thousands(counts['items'])} items read, {_thousands(counts['decoded'])} decoded into "
        f"{_thousands(counts['records'])} records: {balanced}.",
        f"Address tables: {tables}.",
        *(f"Warning: {warning}." for warning in summary["warnings"]),
    ]
    if summary["passed_over"]:
        facts.append(f"{len(summary['passed_over'])} files in no known format were passed over.")
    return join(
        el("h2", "What was looked at", id="looked-at"),
        el("div", el("table", el("thead", head), el("tbody", *rows)), class_="box scroll"),
        *(el("p", fact, class_="soft") for fact in facts),
    )


def _wrong(entry: dict[str, Any]) -> str:
    if entry["error"]:
        return str(entry["error"])
    if entry["known"]:
        return "; ".join(filter(None, ("taken in before, not read again", entry["note"])))
    return "; ".join(filter(None, (_tallies(entry["malformed"]), entry["note"]))) or "nothing"


def _tallies(tallies: dict[str, Any]) -> str:
    return ", ".join(f"{_thousands(tally['count'])} {kind}" for kind, tally in tallies.items())


def _not_seen(summary: dict[str, Any]) -> Html:
    spots = summary["blind_spots"]
    title = el("h2", "What could not be seen", id="not-seen")
    if not spots:
        return join(title, el("p", "Nothing is known to be missing in this input.", class_="box"))
    return join(title, el("ul", *(el("li", spot) for spot in spots), class_="spots box warn"))


def _how_to_read() -> Html:
    says = (
        ("single flux", "the name's addresses rotate over unrelated networks as flux does, and no "
         "benign explanation fits."),
        ("double flux", "the same, and the addresses of its zone's name servers rotate too."),
        ("ns flux", "only the name servers' addresses rotate."),
        ("ambiguous", "it rotates like flux and like a benign service; DNS alone cannot tell."),
        ("not flux", "seen often enough, without rotation over networks."),
        ("insufficient", "not enough was seen. This is never “clean”."),
    )  # fmt: skip
    return join(
        el("h2", "How to read this", id="reading"),
        el("div", *(el("p", el("b", word), f": {text}") for word, text in says),
           el("p", el("b", "agents"), f": addresses, not machines or people. {AGENT_NOTE}"),
           class_="box"),
    )  # fmt: skip


def _footer(summary: dict[str, Any]) -> Html:
    detector = summary["detector"]
    made = f"Made by unflux {summary['unflux']}, detector {detector['id']} {detector['version']}. "
    return el("footer", made, "This page holds no script and asks no other machine for anything.")


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "?"


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")
