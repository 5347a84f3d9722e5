"""What is behind an agent, for people."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unflux.networks.trace import PROXY, Trace
from unflux.networks.upstreams import Upstream

MAX_ROWS = 30
EXAMPLES = 5


def show(found: Trace, console: Console) -> None:
    """Verdict, upstreams, examples of pairs, the path, and what cannot be seen."""
    style = "bold red" if found.verdict == PROXY else "bold green"
    console.print(Text(f"{found.agent}  ", "bold").append(found.verdict, style))
    console.print(Text(found.reason), highlight=False)
    if found.upstreams:
        console.print(_table(found.upstreams[:MAX_ROWS]))
        console.print(Text("Pairs, for example", "bold"))
        for pair in found.upstreams[0].pairs[:EXAMPLES]:
            asked = f"  {pair.question}" if pair.question else ""
            console.print(
                Text(
                    f"  {pair.at}  {pair.client}: {pair.inbound_bytes} bytes, "
                    f"{pair.outbound_bytes} from upstream {pair.delay_ms:g} ms later{asked}"
                ),
                highlight=False,
            )
    if len(found.path) > 1:
        console.print(Text("Path: " + " → ".join(found.path)), highlight=False)
    console.print(
        Text(
            f"{found.n_packets} packets of it, {found.n_inbound} exchanges in, {found.n_outbound} "
            f"out, {found.candidates} upstreams tried"
        ),
        style="dim",
        highlight=False,
    )
    for spot in found.blind_spots:
        console.print(Text(f"cannot see: {spot}"), style="dim", highlight=False)


def _table(upstreams: list[Upstream]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    for title in ("upstream", "role"):
        table.add_column(title, no_wrap=True)
    for title in ("score", "pairs", "by chance", "false match", "delay ms", "clients"):
        table.add_column(title, justify="right")
    table.add_column("it is")
    for one in upstreams:
        table.add_row(
            Text(f"{one.address} port {one.port}"),
            one.role,
            f"{one.score:.2f}",
            f"{one.n_pairs} of {one.n_exchanges}",
            f"{one.expected_by_chance:.1f}",
            f"{one.false_match_probability:.0e}",
            f"{one.median_delay_ms:g}",
            str(one.n_clients),
            "the next hop, itself proxying" if one.next_hop else "the end, as far as is seen",
        )
    return table
