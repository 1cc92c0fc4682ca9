"""The audit log: rows that are only ever added, and once sealed with their place in a chain.

A moment after an entry is written the sealer gives it its number and its hash; the heads of the
chains are signed with a secret that is not in the database.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    union,
    update,
)
from sqlalchemy.exc import IntegrityError

from app import ids
from app.core import audit
from app.core.audit import Entry, Head, Record
from app.core.listing import Span
from app.core.versions import Versions
from app.store.clock import now
from app.store.database import Database
from app.store.pages import page
from app.store.schema import audit_heads, audit_log, leases

_SEALED_AT_ONCE = 256
_LOOKED_AT = 1000
_PAGE = 1000


class Signer(NamedTuple):
    """What it takes to seal: the lease, who holds it, and the secret to sign with.

    What was signed with another version of the secret is genuine, too.
    """

    lease: str
    owner: str
    secrets: Versions[bytes]


class Sealed(NamedTuple):
    """A record of a chain with the hash that is stored for it."""

    record: Record
    hash: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """Which records: all given conditions hold; `since` is in epoch milliseconds."""

    project_id: str | None = None
    action: str | None = None
    actor: str | None = None
    since: int | None = None


class Audit:
    """Writes entries, reads records, and seals them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, *entries: Entry) -> "asyncio.Future[None]":
        """Write entries with whatever else is committed next; nobody has to wait for it."""
        return self._database.write(_append, entries)

    async def page(self, asked: Question, span: Span) -> list[Record]:
        """Records, newest first, sealed or not."""
        query = page(_chosen(asked), [audit_log.c.at, audit_log.c.id], span, newest=True)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_record(row) for row in rows]

    async def unsealed(self, without: Sequence[str]) -> list[str]:
        """Projects with records that wait for the sealer, but for these."""
        oldest = select(audit_log.c.project_id).where(_OPEN, audit_log.c.project_id.not_in(without))
        some = oldest.order_by(audit_log.c.at).limit(_LOOKED_AT).subquery()
        query = select(some.c.project_id).distinct()
        return await self._database.read(lambda connection: [*connection.scalars(query)])

    async def seal(self, project_id: str, signer: Signer) -> int | None:
        """Seal some of a project's records: how many, which is 0 without the lease.

        None when the end of its chain is not what was signed: it must not be continued.
        """
        try:
            return await self._database.write(_seal, (project_id, signer))
        except IntegrityError:
            return None  # somebody has put a record where the next one belongs

    def renew(self, signer: Signer) -> "asyncio.Future[int | None]":
        """Sign some heads anew that are signed with the previous secret: how many. None without the lease."""
        return self._database.write(_renew, signer)

    def accept(self, project_id: str, signer: Signer, entry: Entry) -> "asyncio.Future[None]":
        """Sign a chain as it ends now, so that it is sealed again, with the record of it."""
        return self._database.write(_accept, (project_id, signer, entry))

    async def chains(self) -> list[str]:
        """Every project with a chain or the head of one, in order."""
        known = select(audit_log.c.project_id).where(audit_log.c.seq.is_not(None))
        query = union(known, select(audit_heads.c.project_id).where(audit_heads.c.project_id != audit.CHAINS))
        found = await self._database.read(lambda connection: [*connection.scalars(query)])
        return sorted(found)

    async def heads(self) -> dict[str, Head]:
        """How far each chain is said to go; among them, under `CHAINS`, which chains there are."""
        rows = await self._database.read(lambda connection: connection.execute(_HEADS).all())
        return {row.project_id: Head(*row) for row in rows}

    async def sealed(self, project_id: str, after: int) -> list[Sealed]:
        """The next records of a chain; empty at its end."""
        chosen = {"project": project_id, "after": after}
        rows = await self._database.read(lambda connection: connection.execute(_CHAIN, chosen).all())
        return [Sealed(_record(row), row.hash or b"") for row in rows]

    async def chain(self, project_id: str, after: int, until: int | None) -> AsyncIterator[Sealed]:
        """The records of a chain behind this number, and not behind that one."""
        while page := await self.sealed(project_id, after):
            for sealed in page:
                after = sealed.record.seq or 0
                if until is not None and after > until:
                    return
                yield sealed

    async def open(self, project_id: str) -> int:
        """How many records of a project are not sealed yet."""
        query = select(func.count()).select_from(audit_log).where(_OPEN, audit_log.c.project_id == project_id)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())


def append(connection: Connection, entries: Sequence[Entry]) -> Sequence[None]:
    """Write entries in this transaction: with the change that they tell of, or not at all."""
    if entries:
        connection.execute(_INSERT, [_row(entry) for entry in entries])
    return [None] * len(entries)


def _append(connection: Connection, batch: Sequence[Sequence[Entry]]) -> Sequence[None]:
    append(connection, [entry for entries in batch for entry in entries])
    return [None] * len(batch)


def _row(entry: Entry) -> Mapping[str, Any]:
    actor = entry.actor
    return {
        "id": ids.new_id("aud"),
        "project_id": entry.project_id,
        "actor_kind": actor.kind,
        "actor": audit.plain(actor.name),
        "address": audit.plain(actor.address),
        "request_id": actor.request_id,
        "action": entry.action,
        "target": audit.plain(entry.target),
        "outcome": entry.outcome,
        "bytes_in": entry.bytes_in,
        "bytes_out": entry.bytes_out,
        "details": None if entry.details is None else orjson.dumps(entry.details),
    }


_OPEN = audit_log.c.seq.is_(None)
_INSERT = insert(audit_log).values(at=now())
_RECORD = select(*(audit_log.c[name] for name in Record.__slots__))
_HEADS = select(*(audit_heads.c[name] for name in Head._fields))
_CHAIN = (
    _RECORD.add_columns(audit_log.c.hash)
    .where(audit_log.c.project_id == bindparam("project"), audit_log.c.seq > bindparam("after"))
    .order_by(audit_log.c.seq)
    .limit(literal(_PAGE))
)


def _record(row: Row[Any]) -> Record:
    """The record in this row; what is no text any more does not keep the rest from being read."""
    fields = {name: getattr(row, name) for name in Record.__slots__}
    if fields["details"] is not None:
        fields["details"] = bytes(fields["details"]).decode("utf-8", "backslashreplace")
    return Record(**fields)


def _chosen(asked: Question) -> Select[Any]:
    table = audit_log.c
    wanted = ("project_id", "action", "actor")
    conditions: list[ColumnElement[bool]] = [
        table[name] == getattr(asked, name) for name in wanted if getattr(asked, name) is not None
    ]
    if asked.since is not None:
        conditions.append(table.at >= asked.since)
    return _RECORD.where(*conditions)


# The lease's row is locked while records are sealed: of two sealers, the second one waits, and then
# finds that the lease is not its own.
_its_own = leases.c.name == bindparam("lease"), leases.c.owner == bindparam("me")
_MINE = select(leases.c.name).where(*_its_own).with_for_update()
_HEAD = _HEADS.where(audit_heads.c.project_id == bindparam("project"))
_NEXT = (
    _RECORD.where(_OPEN, audit_log.c.project_id == bindparam("project"))
    .order_by(audit_log.c.at, audit_log.c.id)
    .limit(literal(_SEALED_AT_ONCE))
)
_PLACE = (
    update(audit_log)
    .where(audit_log.c.id == bindparam("record"), _OPEN)
    .values(seq=bindparam("number"), hash=bindparam("link"))
)
_MOVE = (
    update(audit_heads)
    .where(audit_heads.c.project_id == bindparam("chain"))
    .values({name: bindparam(f"its_{name}") for name in ("seq", "hash", "signature")})
)


def _seal(connection: Connection, batch: Sequence[tuple[str, Signer]]) -> Sequence[int | None]:
    return [_some_sealed(connection, *one) for one in batch]


def _some_sealed(connection: Connection, project_id: str, signer: Signer) -> int | None:
    if not _is_its_turn(connection, signer):
        return 0
    head = _head(connection, project_id, signer)
    if head is None:
        return None
    seq, last, places = head.seq, head.hash, []
    for row in connection.execute(_NEXT, {"project": project_id}).all():
        seq += 1
        record = replace(_record(row), seq=seq)
        last = audit.link(last, record)
        places.append({"record": record.id, "number": seq, "link": last})
    if places:
        connection.execute(_PLACE, places)
        _move(connection, audit.signed(signer.secrets.current, project_id, seq, last))
    return len(places)


def _is_its_turn(connection: Connection, signer: Signer) -> bool:
    return connection.execute(_MINE, {"lease": signer.lease, "me": signer.owner}).first() is not None


def _head(connection: Connection, project_id: str, signer: Signer) -> Head | None:
    """Where the chain goes on; None when that is not what was signed."""
    row = connection.execute(_HEAD, {"project": project_id}).first()
    if row is None:
        return _begun(connection, project_id, signer)
    head = Head(*row)
    return head if head.genuine(*signer.secrets.all()) else None


def _begun(connection: Connection, project_id: str, signer: Signer) -> Head | None:
    """The head of a new chain, which is listed now; None when chains are missing, or too many."""
    secret = signer.secrets.current
    heads = {row.project_id: Head(*row) for row in connection.execute(_HEADS)}
    listed = heads.pop(audit.CHAINS, audit.chains(secret, ()))
    if listed not in [audit.chains(each, heads) for each in signer.secrets.all()]:
        return None
    first = audit.signed(secret, project_id, 0, audit.START)
    connection.execute(insert(audit_heads), first._asdict())
    if not heads:
        connection.execute(insert(audit_heads), listed._asdict())
    _move(connection, audit.chains(secret, [*heads, project_id]))
    return first


def _renew(connection: Connection, batch: Sequence[Signer]) -> Sequence[int | None]:
    return [_some_renewed(connection, signer) for signer in batch]


def _some_renewed(connection: Connection, signer: Signer) -> int | None:
    if not _is_its_turn(connection, signer):
        return None
    secret, previous, _ = signer.secrets
    heads = (Head(*row) for row in connection.execute(_HEADS))
    old = [each for each in heads if previous is not None and each.genuine(previous)][:_SEALED_AT_ONCE]
    for head in old:
        _move(connection, audit.signed(secret, *head[:3]))
    return len(old)


def _move(connection: Connection, head: Head) -> None:
    moved = {f"its_{name}": getattr(head, name) for name in ("seq", "hash", "signature")}
    connection.execute(_MOVE, {"chain": head.project_id, **moved})


_LAST = (
    select(audit_log.c.seq, audit_log.c.hash)
    .where(audit_log.c.project_id == bindparam("project"), audit_log.c.seq.is_not(None))
    .order_by(audit_log.c.seq.desc())
    .limit(1)
)


def _accept(connection: Connection, batch: Sequence[tuple[str, Signer, Entry]]) -> Sequence[None]:
    for project_id, signer, entry in batch:
        lock = select(leases.c.name).where(leases.c.name == signer.lease).with_for_update()
        connection.execute(lock).all()  # the sealer waits
        row = connection.execute(_LAST, {"project": project_id}).first()
        seq, last = (row.seq, row.hash or b"") if row is not None else (0, audit.START)
        others = {found.project_id for found in connection.execute(_HEADS)} - {audit.CHAINS}
        known = [project_id, audit.CHAINS]
        connection.execute(delete(audit_heads).where(audit_heads.c.project_id.in_(known)))
        heads = (
            audit.signed(signer.secrets.current, project_id, seq, last),
            audit.chains(signer.secrets.current, others | {project_id}),
        )
        connection.execute(insert(audit_heads), [head._asdict() for head in heads])
        append(connection, [entry])
    return [None] * len(batch)
