"""An audit log with sealed records, and the ways to do harm to it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from app import ids
from app.core.audit import Actor, Entry
from app.core.versions import Versions
from app.runs.sealer import Sealer
from app.store.audit import Audit
from app.store.database import Database
from app.store.leases import Leases
from app.store.schema import audit_heads, audit_log
from app.store.sealing import Sealing

ACTOR = Actor("key", "key_1", "127.0.0.1", "req_1")


def entry(project: str, number: int, **fields: Any) -> Entry:
    """An entry about target number `number`."""
    return Entry(project, ACTOR, "interaction.get", f"v1_{number}", details={"n": number})._replace(**fields)


async def written(database: Database, project: str, count: int) -> None:
    """Write so many entries, together."""
    done = [Audit(database).write(entry(project, number)) for number in range(1, count + 1)]
    for each in done:
        await each


def sealer(database: Database, secret: bytes) -> Sealer:
    """A sealer as another process has it."""
    return Sealer(Sealing(database), Leases(database), ids.new_id("own"), Versions(secret))


async def harmed(database: Database, harm: Callable[[Connection], object]) -> None:
    """Do something to the database that the gateway never does."""

    def kind(connection: Connection, batch: Any) -> list[None]:
        harm(connection)
        return [None]

    await database.write(kind, None)


def edit(project: str, seq: int, **values: Any) -> Callable[[Connection], object]:
    """Change a record."""
    return lambda connection: connection.execute(update(audit_log).where(*_at(project, seq)).values(**values))


def remove(project: str, seq: int) -> Callable[[Connection], object]:
    """Remove a record."""
    return lambda connection: connection.execute(delete(audit_log).where(*_at(project, seq)))


def truncate(project: str, seq: int) -> Callable[[Connection], object]:
    """Remove this record and all behind it."""
    cut = delete(audit_log).where(audit_log.c.project_id == project, audit_log.c.seq >= seq)
    return lambda connection: connection.execute(cut)


def swap(project: str, one: int, other: int) -> Callable[[Connection], object]:
    """Have two records change places."""

    def harm(connection: Connection) -> None:
        for before, after in ((one, -one), (other, one), (-one, other)):
            connection.execute(update(audit_log).where(*_at(project, before)).values(seq=after))

    return harm


def slip_in(project: str, seq: int) -> Callable[[Connection], object]:
    """Put a copy of a record before it; the others move up."""

    def harm(connection: Connection) -> None:
        mine = audit_log.c.project_id == project
        last = connection.scalar(
            select(audit_log.c.seq).where(mine).order_by(audit_log.c.seq.desc()).limit(1)
        )
        copied = connection.execute(select(audit_log).where(*_at(project, seq))).one()._asdict()
        for number in range(last or 0, seq - 1, -1):
            connection.execute(update(audit_log).where(*_at(project, number)).values(seq=number + 1))
        connection.execute(insert(audit_log), {**copied, "id": "aud_slipped_in", "seq": seq})

    return harm


def add_behind(project: str, seq: int) -> Callable[[Connection], object]:
    """Put a copy of the first record behind the end, with a number of its own."""

    def harm(connection: Connection) -> None:
        first = connection.execute(select(audit_log).where(*_at(project, 1))).one()._asdict()
        connection.execute(insert(audit_log), {**first, "id": "aud_added", "seq": seq})

    return harm


def rewind(project: str, seq: int) -> Callable[[Connection], object]:
    """Truncate, and have the end say so: all that somebody without the secret can do."""

    def harm(connection: Connection) -> None:
        truncate(project, seq + 1)(connection)
        last = connection.scalar(select(audit_log.c.hash).where(*_at(project, seq)))
        head = update(audit_heads).where(audit_heads.c.project_id == project)
        connection.execute(head.values(seq=seq, hash=last))

    return harm


def forget_end(project: str) -> Callable[[Connection], object]:
    """Remove what says where the chain ends."""
    head = delete(audit_heads).where(audit_heads.c.project_id == project)
    return lambda connection: connection.execute(head)


def forget_chain(project: str) -> Callable[[Connection], object]:
    """Remove a whole chain, and what says where it ends."""

    def harm(connection: Connection) -> None:
        truncate(project, 1)(connection)
        forget_end(project)(connection)

    return harm


def _at(project: str, seq: int) -> tuple[Any, ...]:
    return audit_log.c.project_id == project, audit_log.c.seq == seq
