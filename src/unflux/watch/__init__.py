"""The live pipeline: dnstap in, sightings rolled, findings out; blocks and alerts behind them.

`judging`, `blocks` and `alerts` decide, and know neither sockets nor clocks. What opens, sends or
waits stands at the edge: `inlets`, `outlets`, `zone_server`, `http`, and the loop in `loop`.
"""
