"""`unflux track`: follow names over days."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unflux.cli import common, shared
from unflux.errors import UnfluxError
from unflux.share import table as tables
from unflux.share.text import counted
from unflux.times import duration_s, iso_of_s

app = typer.Typer(help="Follow suspicious names over days, politely.")

Directory = Annotated[
    Path, typer.Option("--dir", help="The tracker's own directory: list, state, dataset.")
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--from", help="Names out of a file: a list, scan's JSON, MISP, STIX; - is standard input."
    ),
]
DEFAULT = Path("unflux-track")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="track")


@app.command()
def add(
    names: Annotated[list[str] | None, typer.Argument(help="Names to track.")] = None,
    files: Files = None,
    directory: Directory = DEFAULT,
    as_json: common.AsJson = False,
) -> None:
    """List names, from arguments, files, standard input, findings, MISP or STIX."""
    with common.clean_end():
        _add(names or [], files or [], directory, as_json)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Files; - is standard input.")],
    directory: Directory = DEFAULT,
    as_json: common.AsJson = False,
) -> None:
    """List the names of files: what `export` wrote, or any form that `add --from` takes."""
    with common.clean_end():
        _add([], files, directory, as_json)


def _add(names: list[str], files: list[Path], directory: Path, as_json: bool) -> None:
    from unflux.track.names import NameList, read
    from unflux.track.store import Store

    found = NameList()
    for number, name in enumerate(names, start=1):
        found.add(name, "argument", number)
    for path in files:
        content = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
        read(content, "stdin" if path == Path("-") else path.name, found)
    for fault in found.faults.values():
        common.errors.print(
            f"unflux: {fault.source}: {fault.count} {fault.kind}, first at {fault.position}",
            markup=False,
        )
    if not found.names:
        raise UnfluxError("no name to track: give some as arguments or with --from FILE")
    store = Store(directory)
    n_new = store.add_names(found.names.items(), time.time())
    n_all = store.n_names()
    store.close()
    if as_json:
        faults = {kind: fault.count for kind, fault in found.faults.items()}
        _print_json({"added": n_new, "known": len(found.names) - n_new, "listed": n_all,
                     "faults": faults})  # fmt: skip
    else:
        print(f"{counted(n_new, 'name')} added, {len(found.names) - n_new} known; {n_all} listed")


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Names not to ask for any more.")],
    directory: Directory = DEFAULT,
) -> None:
    """Take names off the list; what was seen of them stays in the dataset."""
    from unflux.track.names import name_of
    from unflux.track.store import Store

    with common.clean_end():
        store = Store.existing(directory)
        n_removed = store.remove_names(map(name_of, names))
        store.close()
        print(f"{counted(n_removed, 'name')} removed")


@app.command("list")
def list_(directory: Directory = DEFAULT, as_json: common.AsJson = False) -> None:
    """List what is tracked: states, verdicts, and what was asked so far."""
    with common.clean_end():
        content = _listing(directory)
        if as_json:
            _print_json(content)
            return
        rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("name", "state", "since", "verdict", "score", "from"):
            rows.add_column(title)
        for one in content["names"]:
            style = tables.STYLES.get(one["verdict"] or "", "default")
            score = "" if one["score"] is None else f"{one['score']:.2f}"
            rows.add_row(
                Text(one["name"]), one["state"], (one["since"] or "")[:19],
                Text(one["verdict"] or "", style), score, Text(one["source"] or ""),
            )  # fmt: skip
        console = Console(width=None if sys.stdout.isatty() else 140)
        console.print(rows)
        for what, n in content["totals"].items():
            console.print(Text(f"{what}: {n}"), style="dim")


def _listing(directory: Path) -> dict[str, Any]:
    from unflux.pipeline import bare
    from unflux.track.store import Store

    store = Store.existing(directory)
    verdicts, listed, totals = store.verdicts(), store.names(), store.totals()
    store.close()
    names = []
    for one in listed:
        verdict, score = verdicts.get(one.name, (None, None))
        names.append(
            {"name": bare(one.name), "state": one.state, "since": iso_of_s(one.since_s),
             "verdict": verdict, "score": score, "zone": bare(one.zone),
             "wildcard": one.wildcard, "added": iso_of_s(one.added_s), "source": one.source or None}
        )  # fmt: skip
    return {"unflux_track": 1, "names": names, "totals": totals}


@app.command()
def export(
    directory: Directory = DEFAULT,
    form: Annotated[
        str, typer.Option("--format", help="json (list and states), text (names), events (NDJSON).")
    ] = "json",
) -> None:
    """Write the list, or all events, to standard output."""
    from unflux.pipeline import bare
    from unflux.track.store import Store

    if form not in ("json", "text", "events"):
        raise typer.BadParameter("--format is json, text or events")
    with common.clean_end():
        if form == "json":
            _print_json(_listing(directory))
        elif form == "text":
            for one in _listing(directory)["names"]:
                print(one["name"])
        else:
            store = Store.existing(directory)
            for listed in store.names():
                for event in store.events(listed.name):
                    _print_json(
                        {"at": iso_of_s(event.at_s), "name": bare(event.name), "kind": event.kind,
                         **event.detail}
                    )  # fmt: skip
            store.close()


@app.command()
@shared.takes_groups
def show(
    tables: shared.Tables,
    name: str,
    directory: Directory = DEFAULT,
    detector: common.DetectorOption = "unflux",
    svg: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
    as_json: common.AsJson = False,
) -> None:
    """Show the life of a name: state, verdict and reasons, addresses, name servers, changes."""
    from unflux import sightings
    from unflux.track import lifeline, picture
    from unflux.track.names import name_of
    from unflux.track.verdicts import Judging

    with common.clean_end():
        story = lifeline.of(
            directory, name_of(name), Judging(tables.asn_db, tables.country_db, detector)
        )
        if svg is not None:
            with sightings.whole_file(svg) as temporary:
                temporary.write_text(picture.svg(story), encoding="utf-8")
        if as_json:
            _print_json(story)
        else:
            _print_story(story)


SHOWN_EVENTS, SHOWN_RDATA = 20, 8


def _print_story(story: dict[str, Any]) -> None:
    from unflux.track import picture

    finding = story["finding"]
    print(f"{story['name']}  {story['state']} since {story['since']}")
    if finding:
        print(f"{finding['verdict']}  score {finding['score']:.2f}, confidence "
              f"{finding['confidence']}")  # fmt: skip
        for reason in finding["reasons"]:
            print(f"  {reason['weight']:4.0%}  {reason['says']}")
        for spot in finding["blind_spots"]:
            print(f"  cannot see: {spot}")
    else:
        print("nothing was judged yet")
    if story["name_servers_move_every_s"]:
        between = story["name_servers_move_every_s_range"]
        how = f"between {between[0]:.0f} and {between[1]:.0f}" if between else "a mean, no rhythm"
        print(f"its name servers move every {story['name_servers_move_every_s']:.0f} s ({how})")
    elif story["name_servers_move_at_most_every_s"]:
        print("its name servers had moved whenever they were looked at, at least every "
              f"{story['name_servers_move_at_most_every_s']:.0f} s")  # fmt: skip
    if story["wildcard"]:
        print("a wildcard: every name in its zone exists")
    print(f"{len(story['addresses'])} addresses, {len(story['agents_first_seen_here'])} agents "
          "seen here before any other name")  # fmt: skip
    for line in picture.text(story):
        print(line)
    for event in story["events"][-SHOWN_EVENTS:]:
        print(_event_line(event))


def _event_line(event: dict[str, Any]) -> str:
    kind, at = event["kind"], event["at"][:19]
    if kind in ("state", "verdict"):
        return f"{at}  {kind} {event['from']} → {event['to']}"
    if kind == "failed":
        return f"{at}  {event['question']}: {event['why']} ({event['in_a_row']} in a row)"
    if kind == "wildcard":
        return f"{at}  wildcard in {event['owner']}"
    owner = f" of {event['owner']}" if event.get("owner") else ""
    parts = [*_some("+", event["new"]), *_some("-", event["gone"])]
    return f"{at}  {kind}{owner} {' '.join(parts)} ttl {event['ttl']}"


def _some(mark: str, rdata: list[str]) -> list[str]:
    shown = [mark + one for one in rdata[:SHOWN_RDATA]]
    left_out = len(rdata) - SHOWN_RDATA
    return [*shown, f"{mark}({left_out} more)"] if left_out > 0 else shown


def _settings(pairs: Iterable[str]) -> Any:
    from unflux.track.settings import Settings

    known = {one.name for one in fields(Settings)}
    values: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in known:
            raise ValueError(f"--set {key}: known ones are {', '.join(sorted(known))}")
        try:
            values[key] = float(value)
        except ValueError:
            raise ValueError(f"--set {key}={value}: write a number") from None
    return Settings(**values)


@app.command()
@shared.takes_groups
def run(
    tables: shared.Tables,
    directory: Directory = DEFAULT,
    resolvers: Annotated[
        list[str] | None,
        typer.Option("--resolver", help="ADDRESS[:PORT], tcp://…, tls://…, https://…; several."),
    ] = None,
    authoritative: Annotated[
        bool, typer.Option("--authoritative", help="Ask name servers, from the root down.")
    ] = False,
    hints: Annotated[
        Path | None, typer.Option(help="Root hints (named.root); with --resolver, see the docs.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A network that is not public whose name servers may be asked."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of name servers; for labs.")] = 53,
    source: Annotated[
        str | None, typer.Option(help="Own address to send from, to tell our queries apart.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=NUMBER: budgets and times, see the docs.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="Stop after 90s, 15m, 6h, 2d; without: never.")
    ] = None,
    flush_every: Annotated[
        str, typer.Option(help="How often what was heard goes into the dataset and is judged.")
    ] = "15m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be asked (--for long); ask nobody.")
    ] = False,
    detector: common.DetectorOption = "unflux",
    seed: Annotated[int | None, typer.Option(help="Of the jitter; random by default.")] = None,
    as_json: common.AsJson = False,
) -> None:
    """Ask for the listed names until stopped, and record what changes."""
    from unflux.track.setup import Whom
    from unflux.track.verdicts import Judging

    with common.clean_end():
        whom = Whom(tuple(resolvers or ()), authoritative, hints, tuple(allow or ()))
        settings = _settings(set_ or ())
        whom.check()
        if not 0 < port < 65_536:
            raise ValueError("a port is a number from 1 to 65535")
        for_s = None if duration is None else duration_s(duration)
        seed = time.time_ns() if seed is None else seed
        if dry_run:
            _dry_run(directory, whom, settings, for_s or 60.0, seed)
            return
        judging = Judging(tables.asn_db, tables.country_db, detector)
        _run(directory, whom, settings, for_s, duration_s(flush_every), port, source, judging,
             seed, as_json)  # fmt: skip


def _dry_run(directory: Path, whom: Any, settings: Any, for_s: float, seed: int) -> None:
    """What would be asked until then if nobody answered."""
    from unflux.track import setup
    from unflux.track.store import Store

    store = Store.existing(directory)
    now = time.time()
    tracker = setup.tracker(store, whom, settings, now, seed)
    store.close()
    n, end = 0, now + for_s
    while now < end:
        for query in tracker.due(now):
            n += 1
            print(f"{datetime.fromtimestamp(now, UTC):%H:%M:%S}  {query.server:24} {query.qname} "
                  f"{query.qtype}  ({query.kind} for {query.name})")  # fmt: skip
        following = tracker.next_due_s()
        if following is None:
            break
        now = max(following, now + 0.001)
    print(f"{n} queries for {len(tracker.names)} names; nobody was asked", file=sys.stderr)


def _run(
    directory: Path, whom: Any, settings: Any, for_s: float | None, flush_every_s: float,
    port: int, source: str | None, judging: Any, seed: int, as_json: bool,
) -> None:  # fmt: skip
    from unflux.sightings.dataset import locked_directory
    from unflux.track import setup, verdicts
    from unflux.track.ask import Asker
    from unflux.track.clock import Clock
    from unflux.track.runner import Runner
    from unflux.track.store import Store

    store = Store.existing(directory)
    with locked_directory(directory, "tracking in"):
        clock = Clock()
        tracker = setup.tracker(store, whom, settings, clock.now(), seed)
        asker = Asker(whom.endpoints(), timeout_s=settings.timeout_s, port=port, source=source)

        def tell(events: list[Any]) -> None:
            for event in events:
                _tell(event, as_json)
            sys.stdout.flush()

        runner = Runner(
            store, tracker, asker, clock,
            flush=lambda: verdicts.update(directory, judging, clock.now),
            flush_every_s=flush_every_s, on_events=tell,
        )  # fmt: skip
        common.errors.print(f"tracking {len(tracker.names)} names; Ctrl-C ends", markup=False)
        asyncio.run(runner.run(None if for_s is None else clock.now() + for_s))
        totals = store.totals()
    store.close()
    common.errors.print(
        "stopped; " + ", ".join(f"{what} {n}" for what, n in totals.items()), markup=False
    )


def _tell(event: Any, as_json: bool) -> None:
    from unflux.pipeline import bare

    at, name = iso_of_s(event.at_s), bare(event.name)
    plain = {"at": at, "name": name, "kind": event.kind, **event.detail}
    if as_json:
        _print_json(plain)
    else:
        print(f"{plain['name']}  {_event_line(plain)}")


def _print_json(content: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(content) + b"\n")
