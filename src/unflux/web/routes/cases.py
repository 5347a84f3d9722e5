"""What analysts add: triage and notes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request

from unflux.share.text import visible
from unflux.times import iso
from unflux.web import schemas
from unflux.web.auth import Reader, SiteHere, Triager, address_of
from unflux.web.routes.common import NameInPath, bare_name
from unflux.web.store import Note

router = APIRouter(tags=["triage"])


def note_out(note: Note) -> schemas.NoteOut:
    """A note for the API."""
    return schemas.NoteOut(id=note.id, text=note.text, by=note.by, at=iso(note.at_us) or "")


@router.post("/triage")
def triage_many(
    site: SiteHere, who: Triager, request: Request, wanted: schemas.TriageManyIn
) -> schemas.TriageOut:
    """Set the state of many names."""
    names = sorted({bare_name(name) for name in wanted.names})
    site.store.cases.set_state(names, wanted.state, who.name)
    subject = names[0] if len(names) == 1 else f"{len(names)} names, {names[0]} first"
    site.store.access.record(who.name, address_of(request), "triage", subject, wanted.state)
    return schemas.TriageOut(names=names, state=wanted.state)


@router.put("/triage/{name:path}")
def triage_one(
    site: SiteHere, who: Triager, request: Request, name: NameInPath, wanted: schemas.TriageIn
) -> schemas.TriageOut:
    """Set the state of a name; it need not have been seen yet."""
    name = bare_name(name)
    site.store.cases.set_state([name], wanted.state, who.name)
    site.store.access.record(who.name, address_of(request), "triage", name, wanted.state)
    return schemas.TriageOut(names=[name], state=wanted.state)


@router.get("/notes/{name:path}")
def list_notes(site: SiteHere, _who: Reader, name: NameInPath) -> list[schemas.NoteOut]:
    """Notes on a name, oldest first."""
    return [note_out(note) for note in site.store.cases.notes(bare_name(name))]


@router.post("/notes/{name:path}", status_code=201)
def add_note(
    site: SiteHere, who: Triager, request: Request, name: NameInPath, wanted: schemas.NoteIn
) -> schemas.NoteOut:
    """Add a note. Control characters are written as escapes."""
    name = bare_name(name)
    text = "\n".join(visible(line) for line in wanted.text.splitlines())
    note = site.store.cases.add_note(name, text, who.name)
    site.store.access.record(who.name, address_of(request), "note", name, f"added {note.id}")
    return note_out(note)


@router.delete("/note/{note_id}/{name:path}", status_code=204)
def remove_note(
    site: SiteHere,
    who: Triager,
    request: Request,
    name: NameInPath,
    note_id: Annotated[int, Path(ge=1, lt=2**53)],
) -> None:
    """Remove a note."""
    name = bare_name(name)
    if not site.store.cases.remove_note(name, note_id):
        raise HTTPException(404, "there is no such note")
    site.store.access.record(who.name, address_of(request), "note", name, f"removed {note_id}")
