"""Tokens of the admin API: by name, each with a role. Every change is one record in the audit log."""

import time
from dataclasses import dataclass

from app import ids
from app.admin.operations import Absent, OperationError
from app.admin.peppers import Peppers
from app.admin.roles import ROLES
from app.auth import bearers, pepper
from app.core.audit import GATEWAY, Actor, Entry
from app.core.listing import ALL, Span
from app.settings import Settings
from app.store.database import Database
from app.store.keys import AlreadyExists
from app.store.tokens import Token
from app.store.tokens import Tokens as Store

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that has just been made: the only time that it is whole."""

    id: str
    name: str
    role: str
    token: str


class Tokens:
    """What an owner can do with tokens."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._settings = settings
        self._peppers = Peppers(settings, database, actor)
        self._store = Store(database)
        self._actor = actor

    async def create(self, name: str, role: str, days: int | None = None) -> NewToken:
        """A new token, for so many days or until it is revoked."""
        if not (0 < len(name) <= 100 and name.isprintable()):
            raise OperationError("The name of a token has 1 to 100 printable characters.")
        if role not in ROLES:
            raise OperationError(f"There is no role '{role}': use one of {', '.join(ROLES)}.")
        await self._peppers.check()
        now = time.time_ns() // 1_000_000
        expires_at = now + days * _DAY_MS if days is not None else None
        record, token = Token(ids.new_id("tok"), name, role, now, expires_at, None), bearers.new_token()
        told = {"after": {"name": name, "role": role, "expires_at": expires_at}}
        entry = Entry(GATEWAY, self._actor, "token.create", record.id, details=told)
        try:
            digest = pepper.digest(pepper.load(self._settings), bearers.named(token))
            await self._store.create(record, digest, entry)
        except AlreadyExists:
            raise OperationError(f"There is a token '{name}' already.") from None
        return NewToken(record.id, name, role, token)

    async def tokens(self, span: Span = ALL) -> list[Token]:
        """Tokens by name; without the tokens themselves."""
        return await self._store.all(span)

    async def revoke(self, token_id: str) -> None:
        """End a token's validity, in every process within seconds."""
        entry = Entry(GATEWAY, self._actor, "token.revoke", token_id)
        if not await self._store.revoke(token_id, entry):
            raise Absent(f"There is no valid token '{token_id}'.")
