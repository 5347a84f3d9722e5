"""One list of responses, written as each format writes it: small and plain, for tests only."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pyarrow as pa
import pyarrow.parquet as pq

from conftest import CLIENT, RESOLVER, udp_frame, write_pcap

Rr = tuple[str, int, str, str]
"""Owner, TTL, type, rdata."""


@dataclass(frozen=True)
class Seen:
    """A response on the wire, and when and by whom it was seen."""

    time_us: int
    wire: bytes
    client: str = CLIENT

    @property
    def message(self) -> dns.message.Message:
        return dns.message.from_wire(self.wire)

    @property
    def qname(self) -> str:
        return self.message.question[0].name.to_text(omit_final_dot=True)

    @property
    def qtype(self) -> str:
        return dns.rdatatype.to_text(self.message.question[0].rdtype)

    @property
    def rcode(self) -> str:
        return dns.rcode.to_text(self.message.rcode())

    def section(self, name: str) -> list[Rr]:
        """Records of a section, names without their last dot (as most logs write them)."""
        return [
            (
                rrset.name.to_text(omit_final_dot=True),
                rrset.ttl,
                dns.rdatatype.to_text(rrset.rdtype),
                rdata.to_text().removesuffix("."),
            )
            for rrset in getattr(self.message, name)
            for rdata in rrset
        ]

    @property
    def iso(self) -> str:
        whole = datetime.fromtimestamp(self.time_us // 1_000_000, UTC)
        return f"{whole:%Y-%m-%dT%H:%M:%S}.{self.time_us % 1_000_000:06}"


def pcap(path: Path, seen: Iterable[Seen]) -> None:
    frames = [(one.time_us / 1e6, udp_frame(one.wire, to=one.client)) for one in seen]
    write_pcap(path, frames)


def pcapng(path: Path, seen: Iterable[Seen]) -> None:
    def block(kind: int, body: bytes) -> bytes:
        body += b"\0" * (-len(body) % 4)
        length = struct.pack("<I", 12 + len(body))
        return struct.pack("<I", kind) + length + body + length

    blocks = [
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack("<HHI", 1, 0, 0)),
    ]
    for one in seen:
        frame = udp_frame(one.wire, to=one.client)
        head = struct.pack(
            "<IIIII", 0, one.time_us >> 32, one.time_us & 0xFFFFFFFF, *[len(frame)] * 2
        )
        blocks.append(block(6, head + frame))
    path.write_bytes(b"".join(blocks))


def dnstap(path: Path, seen: Iterable[Seen]) -> None:
    """Frame Streams with TOOL_RESPONSE messages, whose vantage is the one that is asked for."""

    def varint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def field(number: int, value: int | bytes) -> bytes:
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        return varint(number << 3 | 2) + varint(len(value)) + value

    kind = b"protobuf:dnstap.Dnstap"
    start = struct.pack(">III", 2, 1, len(kind)) + kind
    out = struct.pack(">II", 0, len(start)) + start
    for one in seen:
        seconds, micros = divmod(one.time_us, 1_000_000)
        message = field(1, 12) + field(4, ip_address(one.client).packed)
        message += field(5, ip_address(RESOLVER).packed) + field(12, seconds)
        message += varint(13 << 3 | 5) + struct.pack("<I", micros * 1000) + field(14, one.wire)
        frame = field(14, message) + field(15, 1)
        out += struct.pack(">I", len(frame)) + frame
    path.write_bytes(out + struct.pack(">III", 0, 4, 3))


def _zeek_answer(rr: Rr) -> str:
    """Zeek logs a name, an address, or one field of a record."""
    _, _, rdtype, rdata = rr
    return {"MX": rdata.split()[-1], "TXT": f"TXT {len(rdata)} {rdata}"}.get(rdtype, rdata)


def zeek_tsv(path: Path, seen: Iterable[Seen]) -> None:
    fields = (
        "ts uid id.orig_h id.orig_p id.resp_h id.resp_p query qclass qtype rcode TC answers TTLs"
    )
    lines = [
        "#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-",
        "#path\tdns", "#fields\t" + fields.replace(" ", "\t"),
    ]  # fmt: skip
    for one in seen:
        message, records = one.message, one.section("answer")
        row = [
            f"{one.time_us // 1_000_000}.{one.time_us % 1_000_000:06}", "C1", one.client, "4711",
            RESOLVER, "53", one.qname, "1", str(int(message.question[0].rdtype)),
            str(int(message.rcode())), "F",
            ",".join(map(_zeek_answer, records)) or "-",
            ",".join(f"{ttl}.000000" for _, ttl, _, _ in records) or "-",
        ]  # fmt: skip
        lines.append("\t".join(row))
    path.write_text("\n".join([*lines, "#close\t2026-09-21-14-13-20", ""]))


def _ndjson(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))


def zeek_json(path: Path, seen: Iterable[Seen]) -> None:
    def row(one: Seen) -> dict[str, Any]:
        records = one.section("answer")
        found = {
            "ts": one.iso + "Z", "uid": "C1", "id.orig_h": one.client, "id.orig_p": 4711,
            "id.resp_h": RESOLVER, "id.resp_p": 53, "query": one.qname, "qclass": 1,
            "qtype_name": one.qtype, "rcode_name": one.rcode, "TC": False,
        }  # fmt: skip
        if records:
            found["answers"] = list(map(_zeek_answer, records))
            found["TTLs"] = [float(ttl) for _, ttl, _, _ in records]
        return found

    _ndjson(path, map(row, seen))


def _eve_record(rr: Rr) -> dict[str, Any]:
    owner, ttl, rdtype, rdata = rr
    found: dict[str, Any] = {"rrname": owner, "rrtype": rdtype, "ttl": ttl}
    words = rdata.split()
    if rdtype == "SOA":
        names = {"mname": words[0].removesuffix("."), "rname": words[1].removesuffix(".")}
        numbers = ["serial", "refresh", "retry", "expire", "minimum"]
        return found | {"soa": names | dict(zip(numbers, map(int, words[2:]), strict=True))}
    if rdtype == "AAAA":
        return found | {"rdata": ip_address(rdata).exploded}
    return found | {"rdata": words[-1] if rdtype == "MX" else rdata.strip('"')}


def _eve_event(one: Seen, dns_part: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": one.iso + "+0000", "flow_id": one.time_us % 1_000_003, "event_type": "dns",
        "src_ip": one.client, "src_port": 4711, "dest_ip": RESOLVER, "dest_port": 53,
        "proto": "UDP", "dns": dns_part,
    }  # fmt: skip


def eve_v3(path: Path, seen: Iterable[Seen]) -> None:
    def row(one: Seen) -> dict[str, Any]:
        dns_part = {
            "version": 3, "type": "response", "tx_id": 1, "id": 7, "flags": "8180", "qr": True,
            "rd": True, "ra": True, "opcode": 0, "rcode": one.rcode,
            "queries": [{"rrname": one.qname, "rrtype": one.qtype}],
        }  # fmt: skip
        names = {"answer": "answers", "authority": "authorities", "additional": "additionals"}
        for section, key in names.items():
            if records := [_eve_record(rr) for rr in one.section(section)]:
                dns_part[key] = records
        return _eve_event(one, dns_part)

    _ndjson(path, map(row, seen))


def eve_v2(path: Path, seen: Iterable[Seen]) -> None:
    def row(one: Seen) -> dict[str, Any]:
        dns_part = {
            "version": 2, "type": "answer", "id": 7, "flags": "8180", "qr": True,
            "rrname": one.qname, "rrtype": one.qtype, "rcode": one.rcode,
        }  # fmt: skip
        if records := [_eve_record(rr) for rr in one.section("answer")]:
            dns_part["answers"] = records
            dns_part["grouped"] = {}
            for _, _, rdtype, rdata in one.section("answer"):
                dns_part["grouped"].setdefault(rdtype, []).append(rdata)
        if records := [_eve_record(rr) for rr in one.section("authority")]:
            dns_part["authorities"] = records
        return _eve_event(one, dns_part)

    _ndjson(path, map(row, seen))


def eve_v1(path: Path, seen: Iterable[Seen]) -> None:
    def rows(one: Seen) -> Iterable[dict[str, Any]]:
        head = {"type": "answer", "id": one.time_us % 65_536, "rcode": one.rcode}
        if one.rcode != "NOERROR":
            yield _eve_event(one, head | {"rrname": one.qname})
        for section in ("answer", "authority"):
            for rr in one.section(section):
                record = _eve_record(rr)
                record.pop("soa", None)
                yield _eve_event(one, head | record)

    _ndjson(path, (row for one in seen for row in rows(one)))


def _collector(one: Seen) -> dict[str, Any]:
    def records(section: str) -> list[dict[str, Any]]:
        return [
            {
                "name": owner, "rdatatype": rdtype, "class": "IN", "ttl": ttl,
                "rdata": " ".join(word.removesuffix(".") for word in rdata.strip('"').split()),
            }
            for owner, ttl, rdtype, rdata in one.section(section)
        ]  # fmt: skip

    sections = {"an": records("answer"), "ns": records("authority"), "ar": records("additional")}
    return {
        "network": {
            "family": "IPv4", "protocol": "UDP", "query-ip": one.client, "query-port": "4711",
            "response-ip": RESOLVER, "response-port": "53", "ip-defragmented": False,
            "tcp-reassembled": False,
        },
        "dns": {
            "id": 7, "length": len(one.wire), "opcode": 0, "rcode": one.rcode,
            "qname": one.qname, "qtype": one.qtype, "qclass": "IN", "qdcount": 1,
            "flags": {"qr": True, "tc": False, "aa": False, "ra": True, "ad": False},
            "resource-records": sections, "malformed-packet": False,
        },
        "edns": {"udp-size": 0, "rcode": 0, "version": 0, "dnssec-ok": 0, "options": []},
        "dnstap": {
            "operation": "TOOL_RESPONSE", "identity": "lab", "version": "-",
            "timestamp-rfc3339ns": one.iso + "000Z", "latency": 0,
        },
    }  # fmt: skip


def dnscollector(path: Path, seen: Iterable[Seen]) -> None:
    _ndjson(path, map(_collector, seen))


def dnscollector_flat(path: Path, seen: Iterable[Seen]) -> None:
    """Keys joined with dots and sorted, empty lists as "-", as Go's encoder writes them."""

    def flatten(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
        if isinstance(value, dict | list) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, inner in items:
                yield from flatten(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            yield prefix, "-" if value == [] else value

    _ndjson(path, (dict(sorted(flatten("", _collector(one)))) for one in seen))


def dnsmonster(path: Path, seen: Iterable[Seen]) -> None:
    """The field names of miekg/dns."""
    names = {"A": "A", "AAAA": "AAAA", "NS": "Ns", "CNAME": "Target", "PTR": "Ptr"}

    def record(rr: Rr) -> dict[str, Any]:
        owner, ttl, rdtype, rdata = rr
        head = {"Name": owner + ".", "Rrtype": int(dns.rdatatype.from_text(rdtype)), "Class": 1,
                "Ttl": ttl, "Rdlength": 4}  # fmt: skip
        words = rdata.split()
        if rdtype == "SOA":
            keys = ["Ns", "Mbox", "Serial", "Refresh", "Retry", "Expire", "Minttl"]
            fields: dict[str, Any] = dict(
                zip(keys, [*words[:2], *map(int, words[2:])], strict=True)
            )
        elif rdtype == "MX":
            fields = {"Preference": int(words[0]), "Mx": words[1]}
        elif rdtype == "TXT":
            fields = {"Txt": [rdata.strip('"')]}
        else:
            fields = {names[rdtype]: rdata}
        return {"Hdr": head} | fields

    def row(one: Seen) -> dict[str, Any]:
        message = one.message
        question = {"Name": one.qname + ".", "Qtype": int(message.question[0].rdtype), "Qclass": 1}
        dns_part = {
            "Id": 7, "Response": True, "Opcode": 0, "Authoritative": False, "Truncated": False,
            "Rcode": int(message.rcode()), "Question": [question],
            "Answer": list(map(record, one.section("answer"))) or None,
            "Ns": list(map(record, one.section("authority"))) or None,
            "Extra": list(map(record, one.section("additional"))) or None,
        }  # fmt: skip
        return {
            "Timestamp": one.iso + "Z", "DNS": dns_part, "IPVersion": 4, "SrcIP": RESOLVER,
            "DstIP": one.client, "Protocol": "udp", "PacketLength": len(one.wire),
        }  # fmt: skip

    _ndjson(path, map(row, seen))


def dnsmonster_parquet(path: Path, seen: Iterable[Seen]) -> None:
    """The columns and types that dnsmonster's parquet-go writes."""
    rows = [
        {
            "timestamp": one.time_us * 1000, "ip_version": 4, "src_ip": ip_address(RESOLVER).packed,
            "dst_ip": ip_address(one.client).packed, "protocol": "udp", "qr": 1, "opcode": 0,
            "qclass": 1, "qtype": int(one.message.question[0].rdtype), "edns": 0, "do_bit": 0,
            "rcode": int(one.message.rcode()), "query_name": one.qname + ".",
            "packet_length": len(one.wire), "identity": "lab", "version": None,
        }
        for one in seen
    ]  # fmt: skip
    kinds = {
        "timestamp": pa.timestamp("ns", tz="UTC"),
        "src_ip": pa.binary(),
        "dst_ip": pa.binary(),
    }
    kinds |= dict.fromkeys(("protocol", "query_name", "identity", "version"), pa.string())
    schema = pa.schema([(name, kinds.get(name, pa.uint32())) for name in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
