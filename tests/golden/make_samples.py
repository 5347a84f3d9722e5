#!/usr/bin/env python3
"""Write the samples of text formats: lab traffic, and with it what goes wrong in real logs.

`tests/test_golden.py` compares what they become with `golden.json` beside each; a changed sample
or reader is looked at by a person: `UNFLUX_GOLDEN=write pytest tests/test_golden.py`, then the diff.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
if str(HERE.parent) not in sys.path:  # run as a script; unflux itself is the installed one
    sys.path.insert(0, str(HERE.parent))

import writers  # noqa: E402
from test_one_definition import traffic  # noqa: E402


def lines_of(write: Callable[..., None]) -> list[str]:
    """What a writer makes of the lab's traffic."""
    random.seed(7)  # dnspython writes the records of an rrset in any order
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        write(path, traffic())
        return path.read_text().splitlines()


def eve() -> list[str]:
    """All three versions, other events, a query, grouped answers alone, and broken lines."""
    v3, v2, v1 = map(lines_of, (writers.eve_v3, writers.eve_v2, writers.eve_v1))
    grouped = json.loads(v2[1])
    del grouped["dns"]["answers"]
    query = json.loads(v2[2])
    query["dns"] = {"type": "query", "id": 7, "rrname": "www.flux.test", "rrtype": "A", "tx_id": 0}
    alert = '{"timestamp":"2026-09-21T14:13:21.000000+0000","event_type":"alert","flow_id":1,' \
        '"src_ip":"198.19.254.1","dest_ip":"198.18.0.1","dns":{"query":[{"type":"query"}]}}'  # fmt: skip
    local = v3[0].replace("+0000", "+0200")
    others = [json.dumps(grouped), json.dumps(query), alert, local, v3[1][:-9], "not JSON"]
    return v3[:4] + others + v2[4:8] + v1[:6] + [v3[1].replace("198.18.0.1", "198.18.0.256")]


def zeek() -> list[str]:
    """`auth` and `addl`, as policy/protocols/dns/auth-addl adds them."""
    tsv = lines_of(writers.zeek_tsv)
    rows = []
    for number, line in enumerate(tsv):
        if line.startswith("#fields"):
            rows.append(line.replace("\tTC\t", "\tAA\tTC\tRA\t") + "\tauth\taddl")
        elif line.startswith("#"):
            rows.append(line)
        else:
            fields = line.split("\t")
            fields[10:11] = ["F", "F", "T" if number % 2 else "F"]
            extra = ["ns1.flux.test,ns2.flux.test", "198.18.9.1"] if number % 3 else ["-", "-"]
            rows.append("\t".join(fields + extra))
    return [*rows[:-1], rows[7].replace("198.18.0.1", "x").replace("198.19.254", "bad"), rows[-1]]


def dnscollector() -> list[str]:
    """Both shapes, a query, and a message that the collector could not decode."""
    nested, flat = lines_of(writers.dnscollector), lines_of(writers.dnscollector_flat)
    client = [line.replace("TOOL_RESPONSE", "CLIENT_RESPONSE") for line in nested[:5]]
    resolver = [line.replace("TOOL_RESPONSE", "RESOLVER_RESPONSE") for line in flat[:6]]
    query = nested[0].replace("TOOL_RESPONSE", "CLIENT_QUERY").replace('"qr":true', '"qr":false')
    broken = nested[6].replace('"malformed-packet":false', '"malformed-packet":true')
    return [*client, *resolver, query, broken, nested[0].replace("198.18.0.1", "x"), "{}"]


def dnsmonster() -> list[str]:
    """Messages, a query, and a broken line."""
    rows = lines_of(writers.dnsmonster)
    return [*rows, rows[0].replace('"Response":true', '"Response":false'), rows[0][:-20]]


def passivedns() -> list[str]:
    """Text and JSON, a failure, an answer that is cut short, and broken lines."""
    return [
        "#timestamp||dns-client ||dns-server||RR class||Query||Query Type||Answer||TTL||Count",
        "1790000000.250000||198.19.254.1||198.19.255.53||IN||www.flux.test.||A||198.18.0.1||300||1",
        "1790000000.250000||198.19.254.1||198.19.255.53||IN||www.flux.test.||A||198.18.0.2||300||1",
        "1790000061.250001||198.19.254.2||198.19.255.53||IN||six.a.test.||AAAA||2001:db8::1||60||1",
        "1790000070.000000||198.19.254.2||198.19.255.53||IN||shop.a.test.||CNAME||edge.b.test.||600||1",
        "1790000071.000000||198.19.254.2||198.19.255.53||IN||flux.test.||NS||ns1.flux.test.||3600||1",
        "1790000072.000000||198.19.254.2||198.19.255.53||IN||a.test.||MX||mx.a.test.||60||1",
        '1790000073.000000||198.19.254.2||198.19.255.53||IN||a.test.||TXT||"a||b"||60||1',
        "1790000074.000000||198.19.254.2||198.19.255.53||IN||gone.flux.test.||A||NXDOMAIN||0||1",
        "1790000075.000000||198.19.254.2||198.19.255.53||CH||version.bind.||TXT||x||0||1",
        "1790086400.250000||198.19.254.1||198.19.255.53||IN||www.flux.test.||A||198.18.0.1||300||41",
        '{"timestamp_s":1790086401,"timestamp_ms":250000,"client":"198.19.254.1",'
        '"server":"198.19.255.53","class":"IN","query":"www.flux.test.","type":"A",'
        '"answer":"198.18.0.2","ttl":300,"count":40}',
        "1790000076||198.19.254.2||198.19.255.53||IN||old.a.test.||A||198.18.3.3||60",
        "1790000077.000000||198.19.254.2||198.19.255.53||IN||a.test.||A||nonsense||60||1",
        "1790000078.000000||198.19.254.2",
    ]


def dnsdb() -> list[str]:
    """DNSDB API 2's frame around COF, a zone's row, and the end of an answer that was cut."""
    rows = [
        {"count": 5, "time_first": 1790000000, "time_last": 1790500000, "rrname": "www.flux.test.",
         "rrtype": "A", "bailiwick": "flux.test.", "rdata": ["198.18.0.1", "198.18.0.2"]},
        {"count": 2, "zone_time_first": 1790000000, "zone_time_last": 1790086400,
         "rrname": "flux.test.", "rrtype": "NS", "bailiwick": "test.",
         "rdata": ["ns1.flux.test.", "ns2.flux.test."]},
        {"count": 1, "time_first": "2026-09-21T14:13:20Z", "time_last": "2026-09-21 14:13:21",
         "rrname": "a.test.", "rrtype": "MX", "rdata": ["10 mx.a.test."]},
        {"count": 1, "time_first": 9, "rrname": "a.test.", "rrtype": "A", "rdata": "198.18.0.1"},
    ]  # fmt: skip
    framed = [json.dumps({"obj": row}, separators=(",", ":")) for row in rows]
    end = '{"cond":"limited","msg":"Result limit reached"}'
    return ['{"cond":"begin"}', *framed, json.dumps(rows[0]), end]


SAMPLES = {
    "eve": ("eve.json", eve),
    "zeek": ("dns-auth-addl.log", zeek),
    "dnscollector": ("dnscollector.json", dnscollector),
    "dnsmonster": ("dnsmonster.json", dnsmonster),
    "passivedns": ("passivedns.log", passivedns),
    "cof": ("dnsdb.json", dnsdb),
}
"""Name of the format, and its sample: file and lines."""


def main() -> None:
    """Write all samples."""
    for name, (file, lines) in SAMPLES.items():
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        (folder / file).write_text("\n".join(lines()) + "\n")


if __name__ == "__main__":
    main()
