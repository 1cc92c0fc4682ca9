"""Admission: limits that hold, lines that are fair, slots that are never lost; row C12 of the fault list."""

import asyncio
import contextlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ApiError, Unavailable
from app.runs.admission import Admission, Slot
from tests.support import PATIENCE

PROJECTS = "abc"
LONG = 600


async def settled() -> None:
    """Let everybody who was woken run."""
    for _ in range(5):
        await asyncio.sleep(0)


class Desk:
    """An admission with runs that enter and leave, watched by somebody who knows the rules only."""

    def __init__(self, total: int, per_project: int) -> None:
        self.total, self.per_project = total, per_project
        self.admission = Admission(total, per_project, 1000, LONG)
        self.inside: list[tuple[str, Slot]] = []
        self.lines: dict[str, list[asyncio.Task[Slot]]] = {}
        self.passed: dict[str, Counter[str]] = {}
        """For each project that could go on: who was let in from the lines since."""

    async def enter(self, project: str) -> None:
        task = asyncio.create_task(self.admission.enter(project))
        await asyncio.sleep(0)
        self.lines.setdefault(project, []).append(task)
        await self.look(newcomer=task)

    async def try_enter(self, project: str) -> None:
        free = len(self.inside) < self.total and self.count(project) < self.per_project
        slot = self.admission.try_enter(project)
        assert (slot is not None) == free
        if slot is not None:
            self.inside.append((project, slot))
        await self.look()

    async def leave(self, which: int) -> None:
        if self.inside:
            _, slot = self.inside.pop(which % len(self.inside))
            slot.release()
            slot.release()
            await self.look()

    async def leave_and_give_up(self, which: int) -> None:
        """Whoever would be let in next gives up at the same moment."""
        if self.inside:
            _, slot = self.inside.pop(which % len(self.inside))
            slot.release()
            for line in self.lines.values():
                line[0].cancel()
            await self.look()

    async def give_up(self, which: int) -> None:
        waiting = [task for line in self.lines.values() for task in line]
        if waiting:
            waiting[which % len(waiting)].cancel()
            await self.look()

    def count(self, project: str) -> int:
        return sum(each == project for each, _ in self.inside)

    async def look(self, newcomer: "asyncio.Task[Slot] | None" = None) -> None:
        """Take those along who were let in, and check every promise."""
        await settled()
        for project, line in self.lines.items():
            entered = [task for task in line if task.done() and not task.cancelled()]
            line[:] = [task for task in line if not task.cancelled()]
            assert line[: len(entered)] == entered, "first come, first served"
            for task in entered:
                line.remove(task)
                self.inside.append((project, task.result()))
                if task is not newcomer:
                    self.note(project)
        self.lines = {project: line for project, line in self.lines.items() if line}
        self.check()

    def note(self, entered: str) -> None:
        self.passed.pop(entered, None)
        for others in self.passed.values():
            others[entered] += 1
            assert others[entered] <= 1, "nobody is let in twice while another one could go on"

    def check(self) -> None:
        assert len(self.inside) == self.admission.running <= self.total
        assert all(self.count(project) <= self.per_project for project in PROJECTS)
        assert self.admission.waiting == sum(map(len, self.lines.values()))
        ready = {project for project in self.lines if self.count(project) < self.per_project}
        assert not ready or len(self.inside) == self.total, "nobody waits for what is free"
        self.passed = {project: self.passed.get(project, Counter()) for project in ready}


steps = st.one_of(
    st.tuples(st.sampled_from(["enter", "try_enter"]), st.sampled_from(PROJECTS)),
    st.tuples(st.sampled_from(["leave", "give_up", "leave_and_give_up"]), st.integers(0, 50)),
)


@given(total=st.integers(1, 4), per_project=st.integers(1, 3), actions=st.lists(steps, max_size=60))
def test_c12_limits_hold_lines_are_fair_and_no_slot_is_lost(
    total: int, per_project: int, actions: list[tuple[str, str | int]]
) -> None:
    async def play() -> None:
        desk = Desk(total, per_project)
        for name, argument in actions:
            await getattr(desk, name)(argument)
        while desk.inside:  # everybody who waits gets in, if only the others leave
            await desk.leave(0)
        admission = desk.admission
        assert (desk.lines, admission.running, admission.waiting) == ({}, 0, 0)
        assert (admission._held, admission._lines, admission._turns) == ({}, {}, {})

    asyncio.run(play())


async def test_a_crowd_delays_another_projects_first_by_one_turn() -> None:
    admission = Admission(1, 1, 1000, LONG)
    slot = await admission.enter("busy")
    order: list[str] = []

    async def run(project: str) -> None:
        mine = await admission.enter(project)
        order.append(project)
        mine.release()

    crowd = [asyncio.create_task(run("busy")) for _ in range(100)]
    await settled()
    late = asyncio.create_task(run("quiet"))
    await settled()
    slot.release()
    await asyncio.gather(*crowd, late)
    assert order.index("quiet") <= 1
    assert len(order) == 101


async def test_a_project_at_its_limit_is_told_so_when_its_time_is_over() -> None:
    admission = Admission(10, 1, 10, 0.05)
    slot = await admission.enter("mine")
    with pytest.raises(ApiError) as refused:
        await admission.enter("mine")
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert refused.value.headers == {"retry-after": "1"}
    (await admission.enter("theirs")).release()
    slot.release()
    (await admission.enter("mine")).release()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_full_process_says_so_when_the_time_is_over() -> None:
    admission = Admission(1, 1, 10, 0.05)
    slot = await admission.enter("theirs")
    with pytest.raises(Unavailable) as refused:
        await admission.enter("mine")
    assert refused.value.headers == {"retry-after": "1"}
    slot.release()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_without_a_queue_who_finds_no_slot_is_refused_at_once() -> None:
    admission = Admission(1, 1, 0, LONG)
    await admission.enter("theirs")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable) as refused:
            await admission.enter("mine")
        with pytest.raises(ApiError, match="limit"):
            await admission.enter("theirs")
    assert refused.value.headers == {"retry-after": "600"}


async def test_a_full_queue_is_shared_by_the_projects() -> None:
    """Whoever fills it loses its last places to those who have fewer."""
    admission = Admission(1, 1, 4, LONG)
    slot = await admission.enter("running")
    crowd = [asyncio.create_task(admission.enter("crowd")) for _ in range(4)]
    await settled()
    few = [asyncio.create_task(admission.enter("few")) for _ in range(2)]
    await settled()
    assert admission.waiting == 4
    assert [task.done() for task in crowd] == [False, False, True, True]
    with pytest.raises(Unavailable):
        await crowd[3]
    with contextlib.suppress(Unavailable):
        await crowd[2]
    for project in ("few", "crowd"):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Unavailable):
                await admission.enter(project)
    slot.release()
    for task in (crowd[0], few[0], crowd[1], few[1]):
        (await task).release()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_free_slot_is_had_without_waiting() -> None:
    admission = Admission(1, 1, 0, LONG)
    entering = admission.enter("mine")
    with pytest.raises(StopIteration) as entered:
        entering.send(None)
    entered.value.value.release()
    assert admission.running == 0
