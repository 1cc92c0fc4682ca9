"""Sealing: records of the audit log get their place in a chain, and its head is signed."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from app.core import audit
from app.core.audit import Entry, Head
from app.core.versions import Versions
from app.store.audit import HEADS, OPEN, RECORD, append, fields_of
from app.store.database import Database
from app.store.prepared import Prepared
from app.store.schema import audit_heads, audit_log, leases

_SEALED_AT_ONCE = 256
_LOOKED_AT = 1000


class Signer(NamedTuple):
    """What it takes to seal: the lease, who holds it, and the secret to sign with.

    What was signed with another version of the secret is genuine, too.
    """

    lease: str
    owner: str
    secrets: Versions[bytes]


class Sealing:
    """Seals what the audit log has got, and signs its heads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unsealed(self, without: Sequence[str]) -> list[str]:
        """Some projects with records that wait for the sealer, but none of these."""
        these = {"without": without}
        return await self._database.read(lambda connection: [*connection.scalars(_WAITING, these)])

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


_some = (
    select(audit_log.c.project_id)
    .where(OPEN, audit_log.c.project_id.not_in(bindparam("without", expanding=True)))
    .order_by(audit_log.c.project_id)
    .limit(_LOOKED_AT)
).subquery()
_WAITING = select(_some.c.project_id).distinct()

# The lease's row is locked while records are sealed: of two sealers, the second one waits, and then
# finds that the lease is not its own.
_its_own = leases.c.name == bindparam("lease"), leases.c.owner == bindparam("me")
_MINE = select(leases.c.name).where(*_its_own).with_for_update()
_HEAD = HEADS.where(audit_heads.c.project_id == bindparam("project"))
_NEXT = (
    RECORD.where(OPEN, audit_log.c.project_id == bindparam("project"))
    .order_by(audit_log.c.at, audit_log.c.id)
    .limit(literal(_SEALED_AT_ONCE))
)
_PLACE = Prepared(
    update(audit_log)
    .where(audit_log.c.id == bindparam("record"), OPEN)
    .values(seq=bindparam("number"), hash=bindparam("link")),
    ("record", "number", "link"),
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
    for row in connection.execute(_NEXT, {"project": project_id}):
        seq += 1
        fields = fields_of(row)
        fields["seq"] = seq
        last = audit.link(last, fields)
        places.append((fields["id"], seq, last))
    if places:
        _PLACE.many(connection, places)
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
    heads = {row.project_id: Head(*row) for row in connection.execute(HEADS)}
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
    heads = (Head(*row) for row in connection.execute(HEADS))
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
        others = {found.project_id for found in connection.execute(HEADS)} - {audit.CHAINS}
        known = [project_id, audit.CHAINS]
        connection.execute(delete(audit_heads).where(audit_heads.c.project_id.in_(known)))
        heads = (
            audit.signed(signer.secrets.current, project_id, seq, last),
            audit.chains(signer.secrets.current, others | {project_id}),
        )
        connection.execute(insert(audit_heads), [head._asdict() for head in heads])
        append(connection, [entry])
    return [None] * len(batch)
