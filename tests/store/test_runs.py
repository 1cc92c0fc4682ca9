"""Runs: begun, told, and ended exactly once, whoever tries."""

import asyncio

import pytest
from sqlalchemy import select

from app.store.claims import Claims
from app.store.database import Database
from app.store.runs import Runs
from app.store.schema import interactions
from tests.store.conftest import HOUR, MINE, THEIRS, Store, batch, new, outcome

ANY_BYTES = b'["\x00\xff\xfe' + bytes(range(256)) + "\\u0000\u2028".encode() + b'"]'


async def test_a_run_from_its_beginning_to_its_end(store: Store):
    made = new(
        id="v1_run_run_run",
        key_id="key_1",
        root_id="v1_root_root",
        parent_id="v1_parent_parent",
        depth=3,
        history_bytes=100,
        agent="a",
        model=None,
        background=True,
        options=b'{"labels":{}}',
        input=b'[{"type":"user_input"}]',
    )
    await store.runs.insert(made)
    begun = await store.interactions.get(MINE, made.id)
    assert begun is not None
    assert (begun.status, begun.output, begun.details, begun.error) == ("in_progress", b"[]", b"{}", None)
    assert (begun.created_at, begun.updated_at, begun.last_seq) == (made.created_at, made.created_at, 0)
    for name in ("key_id", "owner", "upstream", "store", "lease_ms", "retention_ms"):
        assert not hasattr(begun, name)

    assert await store.runs.append(batch(made.id, 1, 2, b"one two"))
    end = outcome(
        made.id,
        status="incomplete",
        output=b'[{"type":"thought"}]',
        details=b'{"usage":{}}',
        error=b'{"code":"x"}',
        last_seq=3,
        events=batch(made.id, 3, 3, b"three"),
    )
    assert await store.runs.finish(end)
    ended = await store.interactions.get(MINE, made.id)
    assert ended is not None
    assert (ended.status, ended.output, ended.details) == (end.status, end.output, end.details)
    assert (ended.error, ended.updated_at, ended.last_seq) == (end.error, end.updated_at, 3)
    assert ended.history_bytes == 100 + len(b'[{"type":"thought"}]')
    for name in (
        "id",
        "project_id",
        "parent_id",
        "root_id",
        "depth",
        "agent",
        "options",
        "input",
        "created_at",
    ):
        assert getattr(ended, name) == getattr(made, name)
    events = await store.runs.events(MINE, made.id, 0)
    assert [(one.first_seq, one.last_seq, one.frames) for one in events] == [
        (1, 2, b"one two"),
        (3, 3, b"three"),
    ]


async def test_bytes_come_back_as_they_went_in(store: Store):
    interaction_id = await store.begin(input=ANY_BYTES, options=ANY_BYTES)
    await store.runs.append(batch(interaction_id, 1, 1, ANY_BYTES))
    await store.runs.finish(outcome(interaction_id, output=ANY_BYTES, details=ANY_BYTES, error=ANY_BYTES))
    found = await store.interactions.get(MINE, interaction_id)
    assert found is not None
    assert {found.input, found.options, found.output, found.details, found.error} == {ANY_BYTES}
    [told] = await store.runs.events(MINE, interaction_id, 0)
    assert told.frames == ANY_BYTES
    [link] = await store.interactions.chain(MINE, interaction_id)
    assert link.input == link.output == ANY_BYTES


async def test_what_is_not_stored_leaves_a_record_without_content(store: Store):
    interaction_id = await store.begin(store=False, input=b"secret", options=b"secret")
    assert await store.runs.finish(outcome(interaction_id, output=None, details=b'{"usage":1}'))
    assert await store.interactions.get(MINE, interaction_id) is None
    row = await row_of(store, interaction_id)
    assert (row["status"], row["details"]) == ("completed", b'{"usage":1}')
    assert (row["input"], row["output"], row["options"]) == (None, None, None)


async def test_what_runs_is_counted_by_project_by_key_and_by_pattern(store: Store):
    for key, target in (
        ("key_1", {"model": "gemini-3-pro"}),
        ("key_1", {"model": "models/gemini-3-flash"}),
        ("key_1", {"model": None, "agent": "deep-research-3"}),
        ("key_2", {"model": "gemini-3-pro"}),
    ):
        await store.begin(key_id=key, **target)
    await store.begin(key_id="key_1", model="gemini-3-pro", status="queued", owner=None, lease_ms=0)
    await store.begin(project_id=THEIRS, key_id="key_1", model="gemini-3-pro")
    await store.complete(key_id="key_1", model="gemini-3-pro")
    running = store.runs.running
    assert await running(MINE, None, None) == 5
    assert await running(MINE, "key_1", None) == 4
    assert await running(MINE, None, "gemini-3-pro") == 3
    assert await running(MINE, "key_1", "gemini-*") == 3
    assert await running(MINE, "key_1", "*-3*") == 4
    assert await running(MINE, "key_1", "deep-*") == 1
    assert await running(MINE, "key_1", "GEMINI-*") == await running(MINE, "key_3", "*") == 0


async def test_an_end_is_an_end(store: Store):
    interaction_id = await store.complete(output=b"[1]")
    assert not await store.runs.finish(outcome(interaction_id, output=b"[2]"))
    assert not await store.runs.append(batch(interaction_id, 1, 1))
    found = await store.interactions.get(MINE, interaction_id)
    assert found is not None
    assert found.output == b"[1]"
    assert await store.runs.events(MINE, interaction_id, 0) == []


@pytest.mark.parametrize("count", [2, 20])
async def test_exactly_one_of_many_ends_wins(store: Store, count):
    interaction_id = await store.begin()
    other = await store.begin()
    ends = [
        store.runs.finish(
            outcome(
                interaction_id, output=b"[%d]" % n, events=batch(interaction_id, 1, 1, b"%d" % n), last_seq=1
            )
        )
        for n in range(count)
    ]
    beside = store.runs.finish(outcome(other))
    won = await asyncio.gather(*ends)
    assert sum(won) == 1
    assert await beside
    found = await store.interactions.get(MINE, interaction_id)
    [told] = await store.runs.events(MINE, interaction_id, 0)
    assert found is not None
    assert found.output == b"[%d]" % won.index(True)
    assert told.frames == b"%d" % won.index(True)
    assert found.history_bytes == len(found.output)


async def test_exactly_one_of_many_replicas_wins(store: Store, database_url):
    replicas = [Database(database_url) for _ in range(3)]
    for _ in range(10):
        interaction_id = await store.begin(lease_ms=-1)
        claims = await asyncio.gather(
            *(Claims(replica, f"own_{n}", HOUR).lapsed() for n, replica in enumerate(replicas))
        )
        assert [one.attempt for claimed in claims for one in claimed] == [2]
        ends = [outcome(interaction_id, attempt=2, output=b"[%d]" % n) for n in range(3)]
        won = await asyncio.gather(
            *(Runs(replica).finish(end) for replica, end in zip(replicas, ends, strict=True))
        )
        assert sum(won) == 1
        found = await store.interactions.get(MINE, interaction_id)
        assert found is not None
        assert found.output == ends[won.index(True)].output
    for replica in replicas:
        await replica.close()


async def test_only_the_attempt_that_holds_a_run_writes_to_it(store: Store):
    interaction_id = await store.begin(lease_ms=-1)
    [claimed] = await store.claims("own_2", HOUR).lapsed()
    assert (claimed.id, claimed.project_id, claimed.attempt, claimed.store) == (interaction_id, MINE, 2, True)
    assert not await store.runs.append(batch(interaction_id, 1, 1))
    assert not await store.runs.finish(outcome(interaction_id))
    assert await store.runs.append(batch(interaction_id, 1, 1, attempt=2))
    assert await store.runs.finish(outcome(interaction_id, attempt=2, status="failed"))
    found = await store.interactions.get(MINE, interaction_id)
    assert found is not None
    assert found.status == "failed"


async def test_nothing_is_written_to_a_run_that_was_deleted(store: Store):
    interaction_id = await store.begin()
    await store.runs.append(batch(interaction_id, 1, 1))
    assert await store.interactions.delete(MINE, interaction_id)
    assert not await store.runs.append(batch(interaction_id, 2, 2))
    last = batch(interaction_id, 2, 2)
    assert not await store.runs.finish(outcome(interaction_id, events=last))
    assert await store.runs.last_seq(MINE, interaction_id) == 0


async def test_runs_that_lost_do_not_disturb_those_that_did_not(store: Store):
    kept = [await store.begin() for _ in range(5)]
    lost = [await store.complete() for _ in range(5)]
    both = [interaction_id for pair in zip(kept, lost, strict=True) for interaction_id in pair]
    appended = [store.runs.append(batch(one, 1, 1)) for one in both]
    finished = [store.runs.finish(outcome(one)) for one in both]
    assert await asyncio.gather(*appended) == [True, False] * 5
    assert await asyncio.gather(*finished) == [True, False] * 5


async def test_only_lapsed_runs_are_claimed_and_only_once(store: Store):
    lapsed = {await store.begin(lease_ms=-1) for _ in range(3)}
    await store.begin(lease_ms=HOUR)
    await store.complete(lease_ms=-1)
    claims = [store.claims(f"own_{n}", HOUR).lapsed() for n in range(2, 6)]
    claimed = [one.id for found in await asyncio.gather(*claims) for one in found]
    assert sorted(claimed) == sorted(lapsed)
    assert await store.claims("own_9", HOUR).lapsed() == []


async def test_many_lapsed_runs_are_claimed_by_and_by(store: Store):
    lapsed = {await store.begin(lease_ms=-1) for _ in range(40)}
    claimed: list[str] = []
    while found := await store.claims("own_2", HOUR).lapsed():
        assert len(found) <= 16
        claimed += [one.id for one in found]
    assert len(claimed) == 40
    assert set(claimed) == lapsed


async def test_a_lease_lapses_by_the_clock_of_the_database(store: Store):
    interaction_id = await store.begin(lease_ms=2000)
    assert await store.claims("own_2", HOUR).lapsed() == []
    await asyncio.sleep(2.1)
    [claimed] = await store.claims("own_2", 100).lapsed()
    assert (claimed.id, claimed.attempt) == (interaction_id, 2)
    await asyncio.sleep(0.2)
    [again] = await store.claims("own_1", HOUR).lapsed()
    assert (again.id, again.attempt) == (interaction_id, 3)


async def test_a_lease_that_is_renewed_does_not_lapse(store: Store):
    mine = await store.begin(owner="own_1", lease_ms=-1)
    other = await store.begin(owner="own_2", lease_ms=-1)
    ended = await store.complete(owner="own_1")
    claims = store.claims("own_1")
    await claims.renew([mine, other, ended, "v1_absent"])
    assert await claims.held([mine, other, ended, "v1_absent"]) == {mine}
    assert [one.id for one in await store.claims("own_3", HOUR).lapsed()] == [other]
    assert await store.runs.finish(outcome(mine))
    assert (await row_of(store, ended))["lease_until"] is None


async def test_events_come_in_order_from_any_number_on(store: Store):
    interaction_id = await store.begin()
    await asyncio.gather(
        *(store.runs.append(batch(interaction_id, n * 10 + 1, n * 10 + 10, b"%d" % n)) for n in range(100))
    )
    seen: list[bytes] = []
    last = 0
    while found := await store.runs.events(MINE, interaction_id, last):
        seen += [one.frames for one in found]
        last = found[-1].last_seq
    assert seen == [b"%d" % n for n in range(100)]
    assert await store.runs.last_seq(MINE, interaction_id) == 1000
    first = (await store.runs.events(MINE, interaction_id, 995))[0]
    assert (first.first_seq, first.last_seq, first.frames) == (991, 1000, b"99")
    assert await store.runs.events(MINE, interaction_id, 1000) == []


async def row_of(store: Store, interaction_id: str):
    query = select(interactions).where(interactions.c.id == interaction_id)
    return await store.database.read(lambda connection: connection.execute(query).mappings().one())


async def test_events_come_a_few_megabytes_at_a_time(store: Store):
    interaction_id = await store.begin()
    for n in range(1, 11):
        assert await store.runs.append(batch(interaction_id, n, n, b"x" * 1_000_000))
    assert await store.runs.append(batch(interaction_id, 11, 11, b"x" * 20_000_000))
    assert await store.runs.append(batch(interaction_id, 12, 12, b"x"))
    found, last = [], 0
    while batches := await store.runs.events(MINE, interaction_id, last):
        assert sum(len(one.frames) for one in batches[:-1]) < 4_000_000
        found += [one.first_seq for one in batches]
        last = batches[-1].last_seq
    assert found == [*range(1, 13)]
