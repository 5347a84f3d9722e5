"""Captures that people send to be scanned: received to disk, scanned one after the other.

The sender's file name is only ever shown; files lie under random names in the data directory.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from unflux.errors import UnfluxError
from unflux.times import now_us
from unflux.web import sharing
from unflux.web.metrics import Metrics
from unflux.web.settings import Settings
from unflux.web.store import Store

ENDED = ("done", "failed", "cancelled")
TOO_MUCH = "the scan needed more time or memory than an upload may have"
MAX_LINE = 1 << 16
KILL_AFTER_S = 5.0


@dataclass(slots=True)
class Upload:
    """What became of an upload so far."""

    id: str
    title: str
    state: str
    """``receiving``, ``waiting``, ``reading``, ``judging``, then ``done``, ``failed`` or
    ``cancelled``."""
    made_at_us: int
    size_bytes: int = 0
    done_bytes: int = 0
    names: int | None = None
    """Names judged, once it is done."""
    error: str | None = None


class Uploads:
    """All uploads of this run; what is done stays in the store as a scan."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._directory = settings.data / "uploads"
        self._known: dict[str, Upload] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)

    def all(self) -> list[Upload]:
        """The newest first."""
        return sorted(self._known.values(), key=lambda one: one.made_at_us, reverse=True)

    def get(self, upload_id: str) -> Upload | None:
        """One of them."""
        return self._known.get(upload_id)

    async def receive(self, title: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Take the bytes of a capture and queue its scan.

        Raises
        ------
        UnfluxError
            When too many are kept or waiting, or nothing was sent.
        """
        self._make_room()
        upload = Upload(secrets.token_hex(8), title, "receiving", now_us())
        self._known[upload.id] = upload
        folder = self._directory / upload.id
        folder.mkdir(parents=True, mode=0o700)
        capture = folder / "capture"
        try:
            with capture.open("xb") as out:
                async for chunk in chunks:
                    await asyncio.to_thread(out.write, chunk)
                    upload.size_bytes += len(chunk)
            if not upload.size_bytes:
                raise UnfluxError("the file is empty")
        except BaseException:
            self._known.pop(upload.id, None)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        upload.state = "waiting"
        self._tasks[upload.id] = asyncio.create_task(self._scan(upload, capture))
        return upload

    def _make_room(self) -> None:
        limits = self._settings.limits
        kept = sum(1 for scan in self._store.findings.scans() if scan.kind == "upload")
        running = sum(1 for one in self._known.values() if one.state not in ENDED)
        if kept + running >= limits.uploads:
            raise UnfluxError(f"{limits.uploads} uploads are kept; remove one first")
        if running >= limits.waiting:
            raise UnfluxError(f"{limits.waiting} uploads are waiting already; try again later")
        ended = [one for one in self.all() if one.state in ENDED]
        for one in ended[limits.uploads :]:
            del self._known[one.id]

    async def _scan(self, upload: Upload, capture: Path) -> None:
        state = "failed"
        try:
            async with self._one_at_a_time:
                upload.state = "reading"
                state = await self._run(upload, capture)
        except asyncio.CancelledError:
            state = "cancelled"
        except (OSError, ValueError) as error:
            upload.error = f"the scan broke off: {error}"
        finally:
            capture.unlink(missing_ok=True)
            if state != "done":
                shutil.rmtree(capture.parent, ignore_errors=True)
            upload.state = state
            self._metrics.uploads.labels(state).inc()
            self._tasks.pop(upload.id, None)

    async def _run(self, upload: Upload, capture: Path) -> str:
        """Scan in a process of its own; how it ended."""
        limits, scan = self._settings.limits, self._settings.scan
        job = {
            "id": upload.id,
            "title": upload.title,
            "capture": str(capture),
            "dataset": str(capture.parent / "dataset"),
            "store_url": self._settings.store_url,
            "asn_db": None if scan.asn_db is None else str(scan.asn_db),
            "country_db": None if scan.country_db is None else str(scan.country_db),
            "detector": scan.detector_id,
            "cpu_s": limits.scan_cpu_s,
            "memory_bytes": limits.scan_memory_bytes,
            "file_bytes": max(4 << 30, 16 * limits.upload_bytes),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "unflux.web.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, limit=MAX_LINE, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None  # noqa: S101  for the type checker: PIPE was asked for
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            async for line in process.stdout:
                _note(upload, json.loads(line))
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if upload.names is not None:
            return "done"
        upload.error = upload.error or TOO_MUCH
        return "failed"

    async def remove(self, upload_id: str) -> bool:
        """Cancel what runs, and forget the upload, its findings and its sightings."""
        upload = self._known.pop(upload_id, None)
        task = self._tasks.get(upload_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=KILL_AFTER_S)
        scan = self._store.findings.scan(upload_id)
        if scan is not None and scan.kind == "upload":
            self._store.findings.remove_scan(upload_id)
            shutil.rmtree(self._directory / upload_id, ignore_errors=True)
            sharing.forget(self._settings.indexes, upload_id)
            return True
        return upload is not None

    async def stop(self) -> None:
        """End all scans."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=KILL_AFTER_S)


def _note(upload: Upload, said: dict[str, object]) -> None:
    """Take over what the worker says."""
    if "error" in said:
        upload.error = str(said["error"])
    elif "names" in said:
        upload.names = int(str(said["names"]))
    else:
        upload.done_bytes = int(str(said["done"]))
        if upload.done_bytes >= upload.size_bytes:
            upload.state = "judging"


def as_json(upload: Upload) -> dict[str, object]:
    """For the API."""
    return asdict(upload)
