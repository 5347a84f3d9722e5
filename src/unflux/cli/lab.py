"""`unflux lab`: the emulated flux world."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from unflux.cli import common, lab_live
from unflux.lab import scenarios
from unflux.lab.synth.run import OnSlice, synth
from unflux.share.text import visible

app = typer.Typer(help="The emulated flux world: live in a sealed namespace, or as data.")
lab_live.register(app)

ScenarioName = Annotated[
    str,
    typer.Argument(help="A scenario that comes with unflux (`unflux lab scenarios`), or a file."),
]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="lab")


@app.command("scenarios", context_settings={"allow_extra_args": True})
def list_scenarios(context: typer.Context) -> None:
    """List the scenarios and presets that come with unflux; `unflux lab show NAME` prints one."""
    if context.args:
        raise typer.BadParameter("`unflux lab show NAME` prints a scenario or a preset")
    with common.clean_end():
        for name in scenarios.names():
            one = scenarios.load(name)
            print(f"{name:12} {one.title} ({one.hours:g} h)")
        print("\npresets:")
        for name, preset in scenarios.presets().items():
            print(f"{name:12} {'flux' if preset.get('flux') else '    '}  {preset['about']}")


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A scenario or preset that comes with unflux (`unflux lab scenarios`), a file, or "
            "presets: all of them."
        ),
    ],
) -> None:
    """Print a scenario, or a preset as a scenario, to copy and change."""
    with common.clean_end():
        if name == "presets":
            sys.stdout.write(scenarios.text_of_presets())
        elif name in scenarios.presets():
            sys.stdout.write(scenarios.text_of_preset(name))
        else:
            sys.stdout.write(scenarios.text_of(name))


@app.command("synth")
def synthesise(
    scenario: ScenarioName,
    out: Annotated[Path, typer.Option(help="A new directory for everything.")],
    hours: Annotated[
        float | None, typer.Option(help="How long; the scenario's own by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another world of the same kind.")] = 1,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="parquet, pcap, dnstap, zeek, cof; several times. Default: parquet."
        ),
    ] = None,
    taps: Annotated[
        list[str] | None,
        typer.Option(
            "--tap",
            help="clients, upstream, tld: where is captured; several times. Default: the "
            "scenario's own, clients and upstream.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, validation or test: other networks, another week.")
    ] = None,
) -> None:
    """Play a scenario on a virtual clock: labelled captures and tables, in seconds."""
    least, most = scenarios.LIMITS["hours"]
    if hours is not None and not least <= hours <= most:
        raise typer.BadParameter(f"--hours is from {least:g} to {most:g}")
    with common.clean_end():
        drawn = scenarios.load(scenario, seed=seed, hours=hours, split=split, taps=taps or ())
        with Progress(
            TextColumn("playing"), BarColumn(), TextColumn("{task.completed:.1f} h"),
            TimeRemainingColumn(), console=common.errors, disable=not sys.stderr.isatty(),
        ) as bar:  # fmt: skip
            task = bar.add_task("playing", total=drawn.hours)

            def on_slice(done_h: float, _total_h: float) -> None:
                bar.update(task, completed=done_h)

            step: OnSlice = on_slice
            made = synth(drawn, out, formats or ["parquet"], step)
        print(f"{visible(str(made.directory))}: {made.responses} responses, "
              f"{made.names} labelled names, "
              f"{made.flux_names} of them flux")  # fmt: skip
