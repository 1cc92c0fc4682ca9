"""Audits: the audit log is listed, verified and exported, and a broken chain taken up again."""

from collections.abc import AsyncIterator

import orjson

from app.admin.chains import Chains, Verified
from app.admin.operations import OperationError, Operations
from app.admin.questions import AuditAsked
from app.auth import pepper
from app.core import audit
from app.core.audit import Actor, Entry, Record
from app.core.listing import Span
from app.core.versions import Versions
from app.runs.sealer import SEAL
from app.settings import Settings
from app.store.audit import Audit, Question
from app.store.database import Database
from app.store.sealing import Sealing, Signer

_TOGETHER = 200
"""So many lines are told at a time."""


class Audits:
    """What an operator can do with the audit log."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._settings = settings
        self._gateway = Operations(settings, database)
        self._audit = Audit(database)
        self._sealing = Sealing(database)
        self._actor = actor

    async def records(self, asked: AuditAsked, span: Span) -> list[Record]:
        """Records, newest first; the project is a name or an id, also of one that is gone."""
        project_id = await self._id(asked.project) if asked.project is not None else None
        question = Question(project_id, asked.action, asked.actor, asked.since)
        return await self._audit.page(question, span)

    async def verify(self, project: str | None = None) -> list[Verified]:
        """Follow one chain or all of them, from the first record to the end that was signed."""
        chains = Chains(self._audit, self._secrets())
        return [await chains.one(await self._id(project))] if project is not None else await chains.all()

    async def export(self, project: str | None = None, after: int = 0) -> AsyncIterator[bytes]:
        """The sealed records as lines of JSON, each with its hash, and behind each chain its signed end.

        One of a project that was broken off goes on behind the record with the number `after`.
        """
        if after and project is None:
            raise OperationError("'after' is the number of a record of one project: say which.")
        chains = [await self._id(project)] if project is not None else await self._audit.chains()
        about = chains[0] if project is not None else audit.GATEWAY
        await self._audit.write(Entry(about, self._actor, "audit.export", project))
        heads = await self._audit.heads()
        for chain in chains:
            head = heads.get(chain)
            lines: list[bytes] = []
            async for sealed in self._audit.chain(chain, after, head.seq if head is not None else None):
                lines.append(_line({**sealed.record.fields(), "hash": sealed.hash.hex()}))
                if len(lines) == _TOGETHER:
                    yield b"".join(lines)
                    lines.clear()
            if head is not None:
                end = {"end": head.seq, "hash": head.hash.hex(), "signature": head.signature.hex()}
                lines.append(_line({"project_id": chain, **end}))
            yield b"".join(lines)

    async def accept(self, project: str, reason: str) -> None:
        """Sign a chain as it ends now, so that it goes on; what is wrong in it stays to be seen."""
        chain = await self._id(project)
        head = (await self._audit.heads()).get(chain)
        before = {"seq": head.seq, "hash": head.hash.hex()} if head is not None else None
        details = {"before": before, "reason": reason}
        entry = Entry(chain, self._actor, "audit.accept", chain, details=details)
        await self._sealing.accept(chain, Signer(SEAL, "", self._secrets()), entry)

    async def _id(self, project: str) -> str:
        """The id of a project, which may have been deleted: its log stays."""
        if project == audit.GATEWAY or project in await self._audit.heads():
            return project
        return (await self._gateway.project(project)).id

    def _secrets(self) -> Versions[bytes]:
        found = pepper.find(self._settings)
        if found is None:
            raise OperationError("The ends of the chains are signed with the pepper, which is not here.")
        return found.map(pepper.audit_secret)


def _line(fields: dict[str, object]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
