"""The journal: whatever happens around a commit, each event is committed once and shown afterwards."""

import asyncio
import contextlib
from typing import Any

import pytest

from app.core import events
from app.core.events import Event
from app.errors import Unavailable
from app.runs.journal import Journal, LostRun
from app.runs.tail import Tail
from app.store.records import EventBatch


class Commits:
    """Commits that take until the test says so."""

    def __init__(self) -> None:
        self.batches: list[EventBatch] = []
        self.waiting: list[asyncio.Future[bool]] = []

    def append(self, batch: EventBatch) -> "asyncio.Future[bool]":
        self.batches.append(batch)
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]


def journal() -> tuple[Journal, Commits, Tail]:
    commits, tail = Commits(), Tail(2**20, stored=True)
    runs: Any = commits
    return Journal("v1_interaction", 1, runs, tail, lambda _: None), commits, tail


def event(number: int) -> Event:
    return events.step_delta(0, {"type": "text", "text": str(number)})


async def test_events_gather_while_a_commit_is_in_flight() -> None:
    made, commits, tail = journal()
    for number in range(1, 6):
        await made.add(event(number))
        await asyncio.sleep(0)
    assert [(batch.first_seq, batch.last_seq) for batch in commits.batches] == [(1, 1)]
    assert tail.read(0) is None
    commits.waiting[0].set_result(True)
    await asyncio.sleep(0.01)
    assert [(batch.first_seq, batch.last_seq) for batch in commits.batches] == [(1, 1), (2, 5)]
    assert tail.last_seq == 1
    commits.waiting[1].set_result(True)
    await made.settle()
    assert tail.last_seq == 5


async def test_whoever_is_cancelled_while_waiting_cancels_no_commit() -> None:
    made, commits, tail = journal()
    await made.add(event(1))
    waiting = asyncio.ensure_future(made.settle())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    commits.waiting[0].set_result(True)
    await made.settle()
    last = made.close(event(2))
    assert (last.first_seq, last.last_seq) == (2, 2)
    assert tail.last_seq == 1
    assert len(commits.batches) == 1


async def test_what_could_not_be_committed_is_in_the_last_chunk() -> None:
    made, commits, tail = journal()
    await made.add(event(1))
    await asyncio.sleep(0)
    await made.add(event(2))
    commits.waiting[0].set_exception(Unavailable("no"))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await made.settle()
    last = made.close(event(3))
    assert (last.first_seq, last.last_seq) == (1, 3)
    assert last.frames.count(b"event: ") == 3
    assert tail.last_seq == 0


async def test_failed_commit_is_heard_of_with_the_next_event() -> None:
    made, commits, _ = journal()
    await made.add(event(1))
    await asyncio.sleep(0)
    commits.waiting[0].set_exception(Unavailable("no"))
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await made.add(event(2))


async def test_lost_run_writes_no_more() -> None:
    made, commits, tail = journal()
    await made.add(event(1))
    await asyncio.sleep(0)
    commits.waiting[0].set_result(False)
    with pytest.raises(LostRun):
        await made.settle()
    assert tail.last_seq == 0
