"""Beyond one machine: what Spark's workers reduce is what one machine reduces, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unflux
from conftest import (
    Cli,
    a_response,
    flux_answers,
    response,
    udp_frame,
    write_pcap,
)
from unflux import engine, pipeline, sightings
from unflux.cli.decode import decode_answers
from unflux.errors import Unavailable
from unflux.pipeline import Scan, ScanOptions
from unflux.sightings import Dataset, History
from unflux.sources.base import ReadOptions
from unflux.spark import SparkOptions, kernel, session, splits
from unflux.spark.assemble import assemble
from unflux.spark.options import parse_conf
from unflux.spark.reading import inputs_of

START = 1_790_000_000.0
INSTALLED = Path(unflux.__file__).parents[1]  # with its core, which a checkout's src/ lacks
LACKING = session.missing()
needs_spark = pytest.mark.skipif(LACKING is not None, reason=LACKING or "")


def frames(seed: int) -> list[tuple[float, bytes]]:
    """Rotating and steady names over half a day, name servers in other zones, many clients."""
    rng = random.Random(seed)  # noqa: S311
    seen = [(START + 300 * n, udp_frame(wire)) for n, wire in enumerate(flux_answers(120))]
    for n in range(900):
        at, name = (
            START + rng.uniform(0, 40_000),
            f"n{rng.randrange(60)}.s{rng.randrange(25)}.test.",
        )
        zone = name.partition(".")[2]
        address = f"198.18.{rng.randrange(90)}.{rng.randrange(1, 250)}"
        wire = rng.choice(
            [
                a_response(name, 60, [address, "198.18.3.3"]),
                response(
                    name, "A", [(f"www.{name}", 30, "CNAME", [name]), (name, 60, "A", [address])],
                    [(zone, 900, "NS", [f"ns{n % 3}.dns{n % 5}.example."])],
                    [(f"ns{n % 3}.dns{n % 5}.example.", 900, "A", [address])],
                ),
                response(f"x{n}.{zone}", rcode="NXDOMAIN"),
                response(zone, "TXT", [(zone, 5, "TXT", ['"a b"'])]),
            ]
        )  # fmt: skip
        seen.append((at, udp_frame(wire, to=f"198.19.{rng.randrange(4)}.{rng.randrange(1, 200)}")))
    hot = [
        udp_frame(a_response("hot.test.", 9, ["198.18.9.9"]), to=f"198.19.9.{n}")
        for n in range(1, 99)
    ]
    return sorted([*seen, *((START + n, frame) for n, frame in enumerate(hot))])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Answers as Parquet with small row groups that tear responses, captures, and a broken file."""
    folder = tmp_path_factory.mktemp("world")
    captures = [write_pcap(folder / f"{n}.pcap", frames(n)) for n in range(3)]
    answers = folder / "answers.parquet"
    decode_answers(
        [write_pcap(folder / "all.pcap", frames(7))],
        folder / "whole.parquet", ReadOptions(), None, None, False, None,
    )  # fmt: skip
    pq.write_table(pq.read_table(folder / "whole.parquet"), answers, row_group_size=97)
    broken = folder / "broken.pcap"
    broken.write_bytes(captures[0].read_bytes()[:70_001])
    (folder / "noise.txt").write_text("nothing that anybody reads\n")
    return [answers, *captures, broken, folder / "noise.txt"]


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MIN_TASK_BYTES", 1 << 13)
    monkeypatch.setattr(splits, "PART_BYTES", 1 << 16)


def without_spark(files: list[Path], options: ReadOptions, seed: int) -> History:
    """What Spark does with the kernel, with parcels in any order."""
    plan = splits.plan(files, None, 2)
    assert plan.n_tasks > 4 and plan.n_parts > 4
    work = kernel.Work(options, None, plan.n_parts)
    rows = plan.splits.to_pylist()
    parcels: list[pa.RecordBatch] = []
    for task in range(plan.n_tasks):
        mine = [row for row in rows if row["task"] == task]
        batch = pa.RecordBatch.from_pylist(mine, schema=splits.SCHEMA)
        parcels += kernel.reduce_splits(iter([batch]), work)
    random.Random(seed).shuffle(parcels)  # noqa: S311
    done: list[pa.RecordBatch] = []
    for part in range(plan.n_parts):
        mine = [one for one in parcels if one.column("part")[0].as_py() == part]
        done += kernel.merge_part(iter(mine), work)
    collected = pa.Table.from_batches(done, schema=kernel.PARCEL)
    return History(*assemble(collected), inputs_of(files, collected), set(), [])


def same(one: History, other: History) -> None:
    """Equal to the last bit, numbers of names and order of rows too."""
    one, other = one.canonical(), other.canonical()
    assert one.names.equals(other.names) and one.rdata.equals(other.rdata)
    assert one.sightings_table().equals(other.sightings_table())
    mine, theirs = one.activity_table().to_pylist(), other.activity_table().to_pylist()
    for row in (*mine, *theirs):
        row["clients"] = sorted(row["clients"])
    assert mine == theirs


@pytest.mark.parametrize("clients", ["keep", "drop", "pseudonymise"])
def test_tasks_and_parts_in_any_order_give_what_one_machine_gives(
    world: list[Path], small_tasks: None, clients: str
) -> None:
    options = ReadOptions(clients=clients, client_key=b"k" * 16 if clients[0] == "p" else None)
    alone = sightings.reduce(world, options)
    apart = without_spark(world, options, seed=1)
    same(apart, alone)
    assert apart.inputs == alone.inputs
    assert any(one.books.malformed for one in alone.inputs), "the broken capture is seen"
    assert alone.inputs[-1].books.error, "what is no capture is told"


def test_ranges_of_row_groups_tear_no_response(world: list[Path]) -> None:
    whole = sightings.reduce(world[:1])
    for size in (1, 3, 10_000):
        file = pq.ParquetFile(world[0])
        ranges = [range(at, min(at + size, file.num_row_groups))
                  for at in range(0, file.num_row_groups, size)]  # fmt: skip
        parts = [kernel._read({"path": str(world[0]), "input": 0, "first_group": one.start,
                               "stop_group": one.stop}, None, ReadOptions(), reducer := kernel.Reducer())
                 and reducer for one in ranges]  # fmt: skip
        for part in parts[1:]:
            parts[0].absorb(part)
        same(History(*parts[0].finish(), [], set(), []), whole)


def test_what_is_said_does_not_depend_on_the_order_of_the_input(
    world: list[Path], tmp_path: Path, tables: ScanOptions
) -> None:
    there, back = (pipeline.scan(files, tables) for files in (world, world[::-1]))
    sightings.write_dataset(there.history, tmp_path / "dataset")
    saved = pipeline.scan([tmp_path / "dataset"], tables)
    for other in (back, saved):
        assert features_of(other).equals(features_of(there))
        assert findings_of(other) == findings_of(there)


@pytest.fixture(scope="module")
def tables(lab_tables: tuple[Path, Path]) -> ScanOptions:
    return ScanOptions(asn_db=lab_tables[0], country_db=lab_tables[1], min_score=0)


def features_of(scan: Scan) -> pa.Table:
    return scan.judged.table


def findings_of(scan: Scan) -> list[bytes]:
    return [msgspec.json.encode(finding) for finding in scan.findings]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """DuckDB has so little that larger tables spill."""
    embedded = engine._engine()
    before = embedded.execute("SELECT current_setting('memory_limit')").fetchone()[0]
    embedded.execute("SET memory_limit = '64MB'")
    yield
    embedded.execute(f"SET memory_limit = '{before}'")


def test_little_memory_gives_the_same(
    world: list[Path], tables: ScanOptions, request: pytest.FixtureRequest
) -> None:
    plenty = pipeline.scan(world, tables)
    request.getfixturevalue("little_memory")
    little = pipeline.scan(world, tables)
    assert features_of(little).equals(features_of(plenty))
    assert findings_of(little) == findings_of(plenty)


def test_what_is_missing_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install 'unflux\\[spark\\]'"):
        session.session(SparkOptions()).__enter__()
    monkeypatch.setattr(session, "find_spec", lambda name: object())
    monkeypatch.setattr(session.shutil, "which", lambda *a, **k: None)
    assert "Java 17" in (session.missing() or "")


def test_settings_are_key_and_value(cli: Cli) -> None:
    assert parse_conf(["a.b=c=d"]) == {"a.b": "c=d"}
    for wrong in ("nothing", "=x"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            parse_conf([wrong])
    done = cli("scan", "x.pcap", "--master", "local")
    assert done.returncode == 2 and "--engine spark" in done.stderr


def test_a_worker_with_another_unflux_is_refused() -> None:
    work = replace(kernel.Work(ReadOptions(), None, 1), version="0.0.0")
    with pytest.raises(RuntimeError, match="install the same"):
        next(kernel.reduce_splits(iter([]), work))


# A cluster on loopback: one master, two workers.

JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"


class Cluster:
    """A standalone master and its workers, each a process group of its own."""

    def __init__(self, folder: Path) -> None:
        import pyspark

        self.home, self.folder = Path(pyspark.__file__).parent, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"spark://127.0.0.1:{self.port}"
        self.processes = [
            self.start(
                "master.Master", "--host", "127.0.0.1", "--port", self.port, "--webui-port", 0
            )
        ]
        self.processes += [
            self.start("worker.Worker", "--host", "127.0.0.1", "--webui-port", 0, "-c", 1, "-m", "1G",
                       "-d", folder / f"worker{n}", self.url)
            for n in range(2)
        ]  # fmt: skip

    def start(self, role: str, *arguments: object) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "SPARK_HOME": str(self.home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": JAVA,
            "PYTHONPATH": str(INSTALLED),
        }
        return subprocess.Popen(
            [str(self.home / "bin" / "spark-class"), f"org.apache.spark.deploy.{role}",
             *map(str, arguments)],
            env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def options(self) -> SparkOptions:
        conf = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraJavaOptions": JAVA,
            "spark.executor.extraJavaOptions": JAVA,
            "spark.executor.memory": "512m",
            "spark.executorEnv.PYTHONPATH": str(INSTALLED),
            "spark.executorEnv.SPARK_LOCAL_IP": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.local.dir": str(self.folder),
            # wait until both are there, so that both have something to lose
            "spark.scheduler.minRegisteredResourcesRatio": "1.0",
            "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
            "spark.cores.max": "2",
        }
        return SparkOptions(self.url, conf)

    def kill_last_worker(self) -> None:
        os.killpg(self.processes.pop().pid, signal.SIGKILL)  # its executor goes with it

    def stop(self) -> None:
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.stop()


@needs_spark
def test_a_cluster_that_loses_a_worker_half_way_gives_the_same(
    world: list[Path], small_tasks: None, tables: ScanOptions, cluster: Cluster, tmp_path: Path
) -> None:
    alone = pipeline.scan(world, tables)
    dataset = tmp_path / "dataset"
    killed_after: list[int] = []
    with session.session(cluster.options) as spark:
        tracker = spark.sparkContext.statusTracker()

        def kill_half_way() -> None:
            deadline = time.monotonic() + 100
            while time.monotonic() < deadline:
                for number in tracker.getActiveStageIds():
                    stage = tracker.getStageInfo(number)
                    if stage and stage.numTasks > 4 and stage.numCompletedTasks >= 3:
                        killed_after.append(stage.numCompletedTasks)
                        cluster.kill_last_worker()
                        return
                time.sleep(0.02)

        killer = threading.Thread(target=kill_half_way)
        killer.start()
        together = pipeline.scan(world, replace(tables, spark=cluster.options))
        killer.join()
        assert killed_after, "a worker was killed while its stage was running"
        kept = pipeline.scan(world[1:3], replace(tables, spark=cluster.options, save=dataset))
        grown = pipeline.scan(world[1:4], replace(tables, spark=cluster.options, save=dataset))
    assert features_of(together).equals(features_of(alone))
    assert findings_of(together) == findings_of(alone)
    assert together.summary | {"seconds": 0} == alone.summary | {"seconds": 0}
    assert [one.known for one in grown.history.inputs] == [True, True, False]
    by_itself = pipeline.scan(world[1:3], tables)
    assert findings_of(kept) == findings_of(by_itself)
    assert findings_of(grown) == findings_of(pipeline.scan(world[1:4], tables))
    days = {path.parent.name for path in Dataset.open(dataset).files}
    assert days == {"day=2026-09-21", "day=2026-09-22"}
