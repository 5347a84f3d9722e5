"""Kill `unflux rejudge` at random points: findings are those before or after, never a mixture.

Two detectors take turns over one dataset. The first kills of each database hit its migrations and
its first findings; then one run is let go to its end, and the next ones hit the replacing of
findings. Triage has to outlive everything. See `faults.py`.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from faults import Outcome, Run, command
from web import write_dataset

from unflux.web import judging
from unflux.web.store import Store

DETECTORS = ("unflux", "holz2008")
KILLS_WHEN_NEW, KILLS_WHEN_JUDGED = 3, 7
N_NAMES, RESPONSES_PER_NAME = 6_000, 12
NEW, OF = "confirmed", "faults"
Found = list[tuple[str, str, float]]


def rejudge(dataset: Path, database: Path, detector: str, said: Path) -> None:
    """The command as a user types it."""
    words = ["rejudge", str(dataset), "--db", f"sqlite:///{database}", "--detector", detector]
    command([*words, "--all"], said)


def kept(database: Path, scan_id: str) -> tuple[str | None, Found]:
    """The detector that judged last, and its findings; the database must be whole."""
    store = Store(f"sqlite:///{database}")
    try:
        with store.engine.connect() as connection:
            [said] = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
            [orphans] = connection.exec_driver_sql(
                "SELECT count(*) FROM bodies LEFT JOIN findings USING (scan_id, number) "
                "WHERE findings.name IS NULL"
            ).scalars()
        if said != "ok" or orphans:
            raise AssertionError(f"{database}: {said}, {orphans} bodies without a finding")
        scan = store.findings.scan(scan_id)
        page = store.findings.page(
            scan_id, [], sort="name", descending=False, offset=0, limit=1_000_000
        )
        found = [(row["name"], row["verdict"], row["score"]) for row in page.rows]
        return (scan.detector_id if scan else None), found
    finally:
        store.close()


class Judged:
    """One dataset, and what each detector says of it when nobody disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dataset = folder, folder / "dataset"
        write_dataset(self.dataset, N_NAMES, RESPONSES_PER_NAME)
        self.id = judging.scan_of(self.dataset).id
        self.expected: dict[str | None, Found] = {None: []}
        for detector in DETECTORS:
            started = time.monotonic()
            database = folder / f"undisturbed-{detector}.sqlite"
            self.run(database, detector, wait=True)
            self.takes_s = time.monotonic() - started
            self.expected[detector] = kept(database, self.id)[1]
        if not self.expected["unflux"] or self.expected["unflux"] == self.expected["holz2008"]:
            raise AssertionError("the detectors should differ, or nothing is shown")

    def run(self, database: Path, detector: str, *, wait: bool = False) -> Run:
        """Start `unflux rejudge`, or run it to its end."""
        one = Run(
            rejudge, self.dataset, database, detector, said=self.folder / f"{detector}.stderr"
        )
        if wait and one.end() != 0:
            raise AssertionError(one.said.read_text())
        return one


def torture(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill, look, go on; at the end of each database an undisturbed run must make it right."""
    chance, outcome, judged = random.Random(seed), Outcome(), Judged(folder)  # noqa: S311
    number = 0
    while outcome.kills < kills:
        database = folder / f"killed-{number}.sqlite"
        number += 1
        for turn in range(KILLS_WHEN_NEW + KILLS_WHEN_JUDGED):
            if turn == KILLS_WHEN_NEW:
                judged.run(database, DETECTORS[1], wait=True)
            if outcome.kills < kills:
                _kill(judged, database, DETECTORS[turn % 2], chance, outcome)
        for detector in DETECTORS:
            try:
                judged.run(database, detector, wait=True)
                _compare(judged, database, outcome, must_be=detector)
            except Exception as error:
                outcome.failures.append(f"{database}: {error}")
        _mind_triage(judged, database, outcome)
    outcome.figures = {
        "databases": number,
        "names judged": len(judged.expected["unflux"]),
        "looks at a database without findings": outcome.parts_when_killed.count(0),
        "seconds of an undisturbed run": round(judged.takes_s, 1),
    }
    return outcome


def _kill(
    judged: Judged, database: Path, detector: str, chance: random.Random, outcome: Outcome
) -> None:
    """One run with its kill, and what the database holds afterwards."""
    run = judged.run(database, detector)
    time.sleep(chance.uniform(0, judged.takes_s))
    ended = outcome.kill(run)
    try:
        _compare(judged, database, outcome, must_be=detector if ended == 0 else None)
        _mark(judged, database)
    except Exception as error:
        outcome.failures.append(f"{database}: {error}")


def _compare(judged: Judged, database: Path, outcome: Outcome, *, must_be: str | None) -> None:
    by, found = kept(database, judged.id)
    outcome.parts_when_killed.append(len(found) * (1 + DETECTORS.index(by)) if by else 0)
    if found != judged.expected.get(by):
        outcome.failures.append(f"{database}: {len(found)} findings are not those of {by}")
    if must_be is not None and by != must_be:
        outcome.failures.append(f"{database}: judged by {by}, not by {must_be}")


def _mark(judged: Judged, database: Path) -> None:
    """Somebody works with the findings meanwhile."""
    name = judged.expected["unflux"][0][0]
    store = Store(f"sqlite:///{database}")
    store.cases.set_state([name], NEW, OF)
    store.close()


def _mind_triage(judged: Judged, database: Path, outcome: Outcome) -> None:
    store = Store(f"sqlite:///{database}")
    if store.cases.state(judged.expected["unflux"][0][0]) != NEW:
        outcome.failures.append(f"{database}: the state that an analyst set is gone")
    store.close()
