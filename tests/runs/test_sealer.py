"""The sealer: everything gets its place in a chain, once, however many processes write and seal."""

import asyncio
import logging

from sqlalchemy import select

from app import ids
from app.core import audit
from app.core.versions import Versions
from app.runs.sealer import Sealer
from app.store.audit import Audit, append
from app.store.database import Database
from app.store.leases import Leases
from app.store.schema import audit_log
from app.store.sealing import Sealing
from tests.support.audited import entry, forget_end, harmed, rewind, sealer, written

SECRET = b"a secret"
PROJECTS = ("prj_a", "prj_b", "prj_c")


async def chain(database: Database, project: str) -> list[int]:
    """The numbers of a chain whose every hash has been checked."""
    last, numbers = audit.START, list[int]()
    while page := await Audit(database).sealed(project, len(numbers)):
        for sealed in page:
            assert audit.link(last, sealed.record.fields()) == sealed.hash
            last = sealed.hash
            numbers.append(sealed.record.seq or 0)
    head = (await Audit(database).heads())[project]
    assert head.genuine(SECRET)
    assert (head.seq, head.hash) == (len(numbers), last)
    return numbers


async def test_entries_are_sealed_in_the_order_of_their_time(database: Database):
    for number in range(1, 4):
        await written(database, "prj_a", number)
    assert await sealer(database, SECRET).seal() == 6
    assert await chain(database, "prj_a") == [1, 2, 3, 4, 5, 6]
    query = select(audit_log.c.at).order_by(audit_log.c.seq)
    times = await database.read(lambda connection: [*connection.scalars(query)])
    assert times == sorted(times)
    assert await sealer(database, SECRET).seal() == 0


async def test_a10_two_sealers_at_once_make_one_chain_of_what_is_written_meanwhile(database_url: str):
    """Under load, in two processes: nothing is left out, nothing stands twice."""
    ours, theirs = Database(database_url), Database(database_url)
    one, other = sealer(ours, SECRET), sealer(theirs, SECRET)
    writing = True

    async def write(database: Database, shift: int) -> None:
        for number in range(400):
            done = Audit(database).write(entry(PROJECTS[(number + shift) % 3], number))
            if number % 20 == 0:
                await done
        await done

    async def seal(who) -> int:
        count = 0
        while writing:
            count += await who.seal()
            await asyncio.sleep(0.002)
        return count

    sealing = [asyncio.create_task(seal(who)) for who in (one, other)]
    await asyncio.gather(write(ours, 0), write(theirs, 1), write(ours, 2))
    writing = False
    counts = [await each for each in sealing]
    counts.append(await one.seal() or await other.seal())
    counts.append(await other.seal())
    assert sum(counts) == 1200
    for project in PROJECTS:
        assert await chain(ours, project) == list(range(1, 401))
    await ours.close()
    await theirs.close()


async def test_a10_a_broken_chain_is_told_of_once_and_holds_up_no_other(database: Database, caplog):
    await written(database, "prj_a", 3)
    await sealer(database, SECRET).seal()
    await harmed(database, forget_end("prj_a"))
    await written(database, "prj_a", 3)
    await written(database, "prj_b", 3)
    with caplog.at_level(logging.ERROR, "gateway"):
        again = sealer(database, SECRET)
        assert [await again.seal() for _ in range(3)] == [0, 0, 0]  # which chains there are is broken, too
        assert [record.fields["project"] for record in caplog.records] == ["prj_a", "prj_b"]


async def test_an_entry_is_there_with_the_change_or_not_at_all(database: Database):
    def change(connection, batch):
        append(connection, [entry("prj_a", 1)])
        if batch[0]:
            raise ValueError
        return [None]

    results = await asyncio.gather(
        database.write(change, True), database.write(change, False), return_exceptions=True
    )
    assert [type(result) for result in results] == [ValueError, type(None)]
    assert await Audit(database).open("prj_a") == 1


async def test_a11_the_ends_of_all_chains_are_signed_anew_when_the_pepper_has_changed(database: Database):
    """By each process that begins with it, as one that has not may have signed in between."""
    new, changed = b"another", Versions(b"another", previous=SECRET)
    prepared = Versions(SECRET, coming=new)
    for project in PROJECTS:
        await written(database, project, 2)
    assert await sealer(database, SECRET).seal() == 6
    await written(database, "prj_a", 1)
    assert await sealer_of(database, changed).seal() == 1  # and the other chains get nothing new
    heads = await Audit(database).heads()
    assert all(head.genuine(new) and not head.genuine(SECRET) for head in heads.values())
    assert set(heads) == {audit.CHAINS, *PROJECTS}
    await written(database, "prj_new", 1)
    assert await sealer_of(database, prepared).seal() == 1
    assert not (await Audit(database).heads())["prj_new"].genuine(new)
    assert await sealer_of(database, changed).seal() == 0
    assert await sealer(database, new).seal() == 0
    await written(database, "prj_new", 1)
    assert await sealer(database, new).seal() == 1


async def test_a11_an_end_that_nobody_has_signed_stays_so(database: Database):
    await written(database, "prj_a", 3)
    await written(database, "prj_b", 3)
    await sealer(database, SECRET).seal()
    await harmed(database, rewind("prj_a", 2))
    assert await sealer_of(database, Versions(b"another", previous=SECRET)).seal() == 0
    heads = await Audit(database).heads()
    assert heads["prj_b"].genuine(b"another")
    assert not heads["prj_a"].genuine(b"another", SECRET)


def sealer_of(database: Database, secrets: Versions[bytes]) -> Sealer:
    return Sealer(Sealing(database), Leases(database), ids.new_id("own"), secrets)
