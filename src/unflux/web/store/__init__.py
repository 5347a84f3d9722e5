"""What is kept: findings, triage and notes, tokens, and who did what (SQLite or PostgreSQL)."""

from __future__ import annotations

from unflux.web.store.access import ROLES, Principal, Token
from unflux.web.store.cases import TRIAGE_STATES, Note
from unflux.web.store.findings import Page, Scan
from unflux.web.store.store import Store

__all__ = ["ROLES", "TRIAGE_STATES", "Note", "Page", "Principal", "Scan", "Store", "Token"]
