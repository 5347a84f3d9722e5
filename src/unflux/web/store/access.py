"""Who may do what, and who did: tokens with roles, and the audit log."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import Engine, RowMapping, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from unflux.errors import UnfluxError
from unflux.times import now_us
from unflux.web.store.schema import audit, tokens

ROLES = ("read", "triage", "admin")
"""Each may what those before it may."""
MAX_TOKENS = 1000
MAX_AUDIT_ROWS = 1_000_000
"""The oldest entries go when there are more."""
MIN_TOKEN_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Has it this role, or a higher one?"""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret."""

    id: int
    name: str
    role: str
    made_at_us: int


def sha256(token: str) -> str:
    """What is kept of a token: they are random and long, so a plain hash does."""
    return hashlib.sha256(token.encode()).hexdigest()


class Access:
    """Tokens and the audit log in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def principal(self, token: str) -> Principal | None:
        """Whose token this is."""
        query = select(tokens.c.name, tokens.c.role).where(tokens.c.sha256 == sha256(token))
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else Principal(row.name, row.role)

    def tokens(self) -> list[Token]:
        """All of them, without secrets."""
        columns = [tokens.c[name] for name in Token.__slots__]
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(tokens.c.id)).mappings()
            return [Token(**row) for row in rows]

    def add_token(self, name: str, role: str) -> tuple[Token, str]:
        """A new token and its secret, which is told once and not kept."""
        if role not in ROLES:
            raise ValueError(f"a role is one of: {', '.join(ROLES)}")
        secret = secrets.token_urlsafe(32)
        values = {"name": name, "role": role, "made_at_us": now_us()}
        try:
            with self._engine.begin() as connection:
                if connection.execute(select(func.count(tokens.c.id))).scalar_one() >= MAX_TOKENS:
                    raise UnfluxError(f"there are at most {MAX_TOKENS} tokens")
                made = connection.execute(
                    insert(tokens).values(**values, sha256=sha256(secret)).returning(tokens.c.id)
                )
                return Token(id=made.scalar_one(), **values), secret  # type: ignore[arg-type]
        except IntegrityError:
            raise UnfluxError(f"there is a token named {name!r} already") from None

    def remove_token(self, token_id: int) -> bool:
        """Revoke a token; whether there was one."""
        with self._engine.begin() as connection:
            return bool(connection.execute(delete(tokens).where(tokens.c.id == token_id)).rowcount)

    def record(self, by: str, address: str, action: str, subject: str, detail: str = "") -> None:
        """Write into the audit log."""
        values = {
            "at_us": now_us(), "by": by, "address": address,
            "action": action, "subject": subject, "detail": detail,
        }  # fmt: skip
        with self._engine.begin() as connection:
            made = connection.execute(insert(audit).values(values).returning(audit.c.id))
            number = made.scalar_one()
            if number % 1000 == 0:
                connection.execute(delete(audit).where(audit.c.id <= number - MAX_AUDIT_ROWS))

    def audit(self, before_id: int | None, limit: int) -> list[RowMapping]:
        """Entries, newest first; `before_id` is the last one of the page before."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(audit.c.id < before_id)
        with self._engine.connect() as connection:
            return list(connection.execute(query).mappings())
