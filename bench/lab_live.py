"""Ten thousand agents in one live lab: python bench/lab_live.py [AGENTS]. Prints a table.

Every agent is asked over DNS (it forwards to its mothership) and a tenth of them over HTTP (they
relay from it); what does not answer is counted. Memory is that of the lab's main process at its
highest; start is from the command to the first answer that the resolver gives.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unflux.lab.live.session import Lab, LabOptions

SCENARIO = """
title = "one network of agents that are always up"
clients = 10
[[service]]
name = "army"
preset = "double"
domains = 1
failure_ratio = 0
population = {agents}
list_size = {agents}
uptime = 1.0
stay_h = 0
lifetime_h = 0
lease_h = 0
infected = 1
"""
ASK = """
import asyncio, json, sys, time
import dns.message
from unflux.lab.live.web import fetch

async def main():
    name, agents = sys.argv[1], json.load(sys.stdin)
    wire = dns.message.make_query(name, "A").to_wire()
    loop, answered, waiting = asyncio.get_running_loop(), set(), asyncio.Semaphore(64)

    class Asker(asyncio.DatagramProtocol):
        def datagram_received(self, data, sender):
            if data[3] & 15 == 0 and data[7]:
                answered.add(sender[0])

    transport, _ = await loop.create_datagram_endpoint(Asker, local_addr=("198.19.224.9", 0))
    started = time.perf_counter()
    for place, agent in enumerate(agents):
        transport.sendto(wire, (agent, 53))
        if place % 10 == 9:
            await asyncio.sleep(0.025)
    for again in range(4):  # as resolvers do: the kernel's buffer holds some hundred datagrams
        await asyncio.sleep(1)
        for agent in set(agents) - answered:
            transport.sendto(wire, (agent, 53))
            await asyncio.sleep(0.004)
    dns_s = time.perf_counter() - started
    some, pages = agents[::10], 0

    async def page(agent):
        async with waiting:
            return (await fetch(agent, name, "/", None)).status == 200

    started = time.perf_counter()
    pages = sum(await asyncio.gather(*map(page, some)))
    print(json.dumps({"answered": len(answered), "dns_s": dns_s, "pages": pages,
                      "some": len(some), "web_s": time.perf_counter() - started}))

asyncio.run(main())
"""


def main() -> None:
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 10_900
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "army.toml"
        path.write_text(SCENARIO.format(agents=agents))
        started = time.perf_counter()
        with Lab(str(path), LabOptions(speed=1, people=False)) as lab:
            name = next(iter(lab.labels()))
            lab.run(["dig", f"@{lab.resolver}", name, "+short"])
            start_s = time.perf_counter() - started
            listed = lab.status()["networks"]["army-1-1"]["listed"][0]
            argv = lab.command([sys.executable, "-c", ASK, name])
            done = subprocess.run(argv, input=json.dumps(listed), capture_output=True, text=True,
                                  check=True)  # fmt: skip
            got, status = json.loads(done.stdout), lab.status()
    distinct = len(set(listed))
    print("| agents | start s | DNS answers | over HTTP | dropped packets | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| {len(listed)} ({distinct} addresses) | {start_s:.1f} | {got['answered']} in "
          f"{got['dns_s']:.0f} s | {got['pages']} of {got['some']} in {got['web_s']:.0f} s | "
          f"{(lab.summary or {})['capture']['dropped']} | {status['peak_mib']} |")  # fmt: skip


if __name__ == "__main__":
    main()
