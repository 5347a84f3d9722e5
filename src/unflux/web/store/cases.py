"""What analysts add: the state of a name, and notes on it; both outlive any scan."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, insert, select, update

from unflux.errors import UnfluxError
from unflux.times import now_us
from unflux.web.search import STATES as TRIAGE_STATES
from unflux.web.store.filters import NEW
from unflux.web.store.schema import notes, triage

__all__ = ["TRIAGE_STATES", "Cases", "Note"]

MAX_NOTES = 200
"""Of one name."""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on a name."""

    id: int
    name: str
    text: str
    by: str
    at_us: int


class Cases:
    """Triage and notes in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def state(self, name: str) -> str:
        """The state of a name."""
        with self._engine.connect() as connection:
            query = select(triage.c.state).where(triage.c.name == name)
            found: str | None = connection.execute(query).scalar()
        return found or NEW

    def set_state(self, names: list[str], state: str, by: str) -> None:
        """Set the state of names; `new` is no state at all."""
        if state not in TRIAGE_STATES:
            raise ValueError(f"a state is one of: {', '.join(TRIAGE_STATES)}")
        values = {"state": state, "by": by, "at_us": now_us()}
        with self._engine.begin() as connection:
            for name in sorted(set(names)):  # one order for all writers: no deadlock
                if state == NEW:
                    connection.execute(delete(triage).where(triage.c.name == name))
                    continue
                changed = update(triage).where(triage.c.name == name).values(values)
                if not connection.execute(changed).rowcount:
                    connection.execute(insert(triage).values(name=name, **values))

    def notes(self, name: str) -> list[Note]:
        """Notes on a name, oldest first."""
        query = select(notes).where(notes.c.name == name).order_by(notes.c.id)
        with self._engine.connect() as connection:
            return [Note(**row) for row in connection.execute(query).mappings()]

    def add_note(self, name: str, text: str, by: str) -> Note:
        """Add a note; `UnfluxError` when a name has as many as it may."""
        with self._engine.begin() as connection:
            counted = select(func.count()).where(notes.c.name == name)
            if connection.execute(counted).scalar_one() >= MAX_NOTES:
                raise UnfluxError(f"a name has at most {MAX_NOTES} notes")
            values = {"name": name, "text": text, "by": by, "at_us": now_us()}
            made = connection.execute(insert(notes).values(values).returning(notes.c.id))
            return Note(id=made.scalar_one(), **values)  # type: ignore[arg-type]

    def remove_note(self, name: str, note_id: int) -> bool:
        """Remove a note; whether there was one."""
        with self._engine.begin() as connection:
            which = (notes.c.name == name) & (notes.c.id == note_id)
            return bool(connection.execute(delete(notes).where(which)).rowcount)
