"""`unflux lab run|walk|takedown|status|inside|doctor`: the emulated world on real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unflux.cli import common
from unflux.errors import UnfluxError
from unflux.times import duration_s

Which = Annotated[
    Path | None, typer.Option("--lab", help="Directory of the lab, where several run.")
]


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(walk)
    app.command()(takedown)
    app.command()(status)
    app.command(context_settings={"ignore_unknown_options": True})(inside)
    app.command()(doctor)


def _takedown_at(text: str) -> tuple[str, float, str | None]:
    """`WHAT@TIME` or `WHAT@TIME:NETWORK`."""
    what, at, rest = text.partition("@")
    when, _, network = rest.partition(":")
    if not at or not when:
        raise typer.BadParameter(f"a take-down is like agent@30s or agent@30s:NETWORK, not {text}")
    return what, duration_s(when), network or None


def run(
    scenario: Annotated[
        str, typer.Argument(help="A scenario (`unflux lab scenarios`), or a file.")
    ],
    speed: Annotated[
        float, typer.Option(min=1, max=600, help="TTLs and periods are that much shorter.")
    ] = 1.0,
    duration: Annotated[
        str | None, typer.Option("--for", help="Such as 90s or 10m; else until Ctrl-C.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new directory for captures and truth; else discarded.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another world of the same kind.")] = 1,
    dnstap: Annotated[
        Path | None, typer.Option(help="Unix socket that listens for dnstap; else a file in --out.")
    ] = None,
    rpz: Annotated[
        Path | None, typer.Option(help="Response policy zone that the resolver follows.")
    ] = None,
    agents: Annotated[
        list[str] | None,
        typer.Option("--agent", help="Capture an agent's own view: an address, or `first`."),
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Capture everything into all.pcap.")] = False,
    takedowns: Annotated[
        list[str] | None,
        typer.Option("--takedown", help="On schedule: WHAT@TIME[:NETWORK], several times."),
    ] = None,
    as_json: common.AsJson = False,
) -> None:
    """Run a scenario live: real DNS, real HTTP, a real resolver, sealed in a namespace."""
    from unflux.lab.live import doctor as examination
    from unflux.lab.live.session import Lab, LabOptions
    from unflux.sightings import check_new_directory

    with common.clean_end():
        options = LabOptions(
            speed=speed, seed=seed, duration_s=duration_s(duration) if duration else None,
            dnstap=str(dnstap.resolve()) if dnstap else None,
            rpz=str(rpz.resolve()) if rpz else None,
            agents=tuple(agents or ()), whole=whole,
            takedowns=tuple(_takedown_at(one) for one in takedowns or ()),
        )  # fmt: skip
        examination.require()
        if out:
            check_new_directory(out)
        lab = Lab(scenario, options, out)
        summary: dict[str, Any] | None = None
        try:
            _tell_ready(lab)
            summary = lab.wait()
        except KeyboardInterrupt:
            summary = lab.stop()
        finally:
            with lab:  # whatever happened: nothing is left behind
                pass
        if as_json:
            print(json.dumps(summary))
        else:
            _print_summary(summary or {}, out)


def _tell_ready(lab: Any) -> None:
    say = common.errors.print
    networks = f"networks {', '.join(lab.networks)}" if lab.networks else "no flux network"
    say(f"unflux: the lab runs, resolver {lab.resolver}, {networks}", markup=False)
    say(f"unflux: unflux lab inside dig @{lab.resolver} NAME; Ctrl-C stops it", markup=False)


def _print_summary(summary: dict[str, Any], out: Path | None) -> None:
    people, capture = summary.get("people", {}), summary.get("capture", {})
    print(f"{summary.get('seconds')} s, {people.get('visits', 0)} visits, "
          f"{people.get('polls', 0)} polls, {people.get('skipped', 0)} skipped")  # fmt: skip
    came, failed = people.get("content", 0), people.get("no_content", 0)
    print(f"content came {came} times, failed {failed} times")
    packets = capture.get("packets") or {}
    told = ", ".join(f"{view} {n}" for view, n in packets.items())
    frames = summary.get("dnstap_frames")  # None: they went to somebody's socket
    print(f"packets: {told or 'not counted'}; dropped by the kernel {capture.get('dropped', 0)}"
          + (f", dnstap frames {frames}" if frames is not None else ""))  # fmt: skip
    for view in [view for view, n in packets.items() if not n]:
        print(f"{view}.pcap is empty: no such agent, or nobody asked it")
    for takedown_told in summary.get("takedowns", ()):
        _print_takedown(takedown_told)
    print(f"written to {out}" if out else "captures were discarded (--out DIR keeps them)")


def walk(
    kind: Annotated[str, typer.Argument(help="single or double.")],
    as_json: common.AsJson = False,
    out: Annotated[
        Path | None, typer.Option(help="A new directory for the captures; else discarded.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Other addresses.")] = 1,
) -> None:
    """Walk through single or double flux, step by step, each with its real packet, and proof."""
    from unflux.lab.live import doctor as examination
    from unflux.lab.live.drawing import render
    from unflux.lab.live.session import OUT, RUNTIME, run_inside
    from unflux.sightings import check_new_directory

    if kind not in ("single", "double"):
        raise typer.BadParameter(f"a walk is single or double, not {kind!r}")
    with common.clean_end():
        examination.require()
        if out:
            check_new_directory(out)
            out.mkdir(parents=True, exist_ok=True)
        told = run_inside(
            "unflux.lab.live.walk:play",
            # Without --out it is the lab's own directory, which goes however this ends.
            {"kind": kind, "out": str(out.resolve()) if out else OUT, "runtime": RUNTIME,
             "seed": seed},
        )  # fmt: skip
        if out is None:
            told["capture"] = "the walk's own capture (--out DIR keeps it)"
        print(json.dumps(told, indent=1) if as_json else render(told))


def _the_lab(directory: Path | None) -> Path:
    """The running lab, or the one that was named."""
    from unflux.lab.live import session

    labs = session.running()
    if directory:
        return directory
    if len(labs) == 1:
        return labs[0]
    if not labs:
        raise UnfluxError("no lab is running: start one with `unflux lab run SCENARIO`")
    raise UnfluxError(f"several labs run, choose with --lab: {', '.join(map(str, labs))}")


def takedown(
    what: Annotated[
        str,
        typer.Argument(
            help="agent, agent-dns, name-servers, back-end, mothership, delegation or domain."
        ),
    ],
    network: Annotated[str | None, typer.Option(help="Which network; else the first.")] = None,
    watch: Annotated[str, typer.Option(help="How long to measure afterwards.")] = "10s",
    lab: Which = None,
    as_json: common.AsJson = False,
) -> None:
    """Take something of a running lab down, and measure what that costs the network."""
    from unflux.lab.live import session

    with common.clean_end():
        watch_s = duration_s(watch)
        request = {"do": "takedown", "what": what, "network": network, "watch_s": watch_s}
        told = session.ask(_the_lab(lab), request, watch_s * 2 + 60)
        if as_json:
            print(json.dumps(told))
            return
        _print_takedown(told)


def _print_takedown(told: dict[str, Any]) -> None:
    if "failed" in told:
        print(f"{told['network'] or 'first network'}: {told['what']} at {told['at_s']:g} s "
              f"was not measured: {told['failed']}")  # fmt: skip
        return
    back = told["back_after_s"]
    end = "never gone" if back == 0 else f"back after {back} s" if back else "not back"
    targets = ", ".join(told["targets"])
    print(f"{told['network']} ({told['name']}): {told['what']} down: {targets}")
    print(f"failed fetches: before {told['failed_before']:.0%}, "
          f"after {told['failed_after']:.0%} of {told['probes']}; content {end}")  # fmt: skip


def status(lab: Which = None, as_json: common.AsJson = False) -> None:
    """Tell which labs run, and what is going on in them."""
    from unflux.lab.live import session

    with common.clean_end():
        labs = [lab] if lab else session.running()
        told = {str(one): session.ask(one, {"do": "status"}) for one in labs}
        if as_json:
            print(json.dumps(told))
            return
        if not told:
            print("no lab is running")
        for directory, one in told.items():
            print(f"{directory}: {one['scenario']}, {one['seconds']} s at speed {one['speed']:g}, "
                  f"resolver {one['resolver']}, {one['agents_up']} agents up")  # fmt: skip
            for name, network in one["networks"].items():
                listed = sum(map(len, network["listed"]))
                print(f"  {name:16} {listed} agents listed, {len(network['back_ends'])} back ends, "
                      f"mothership {network['mothership']}, {network['names'][0]}, …")  # fmt: skip


def inside(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    lab: Which = None,
) -> None:
    """Run a command in the network of a running lab: dig, curl, another resolver."""
    with common.clean_end():
        pid = (_the_lab(lab) / "init.pid").read_text().strip()
        argv = [sys.executable, "-m", "unflux.lab.live.inside", pid, *command]
        code = subprocess.run(argv, check=False, env=os.environ).returncode
    raise typer.Exit(code)


def doctor(as_json: common.AsJson = False) -> None:
    """Tell whether a live lab can run here, and what is missing."""
    from unflux.lab.live import doctor as examination

    with common.clean_end():
        found = examination.examine()
        if as_json:
            print(json.dumps([{
                "what": one.what, "ok": one.ok, "needed": one.needed, "detail": one.detail,
            } for one in found]))  # fmt: skip
        else:
            for one in found:
                mark = "ok" if one.ok else "missing" if one.needed else "absent"
                print(f"{mark:8} {one.what:24} {one.detail}")
    if examination.missing(found):
        raise typer.Exit(common.EXIT_ERROR)
