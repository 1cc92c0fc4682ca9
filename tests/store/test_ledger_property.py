"""Whatever fails when: what budgets have spent is what the ledger says, and each call is in it once."""

import random

import pytest
from sqlalchemy import func, select

from app.store.budgets import Budgets
from app.store.ledger import Charge, Ledger
from app.store.reports import OPEN, Wanted
from app.store.schema import usage_days, usage_ledger
from tests.store.conftest import HOUR, MINE, Store, new, outcome
from tests.store.test_budgets import a_budget, ask, charge, told

ENDINGS = ("completed", "completed", "failed", "cancelled")


class Gateway:
    """Runs and calls that begin, end, are lost, taken over, deleted and forgotten in any order."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.budgets, self.ledger = Budgets(store.database), Ledger(store.database)
        self.runs: dict[str, int] = {}
        """Those that go on, with the attempt that has them; 0 waits in the queue."""
        self.dead: list[tuple[str, int]] = []
        """Attempts that have lost theirs, and do not know it."""
        self.asked: list[str] = []
        """Calls that have a reservation and are not made yet."""
        self.open: set[str] = set()
        """Calls that are made, and runs that were deleted: the ledger knows them, and not their end."""
        self.orphans: set[str] = set()
        """Whose reservations a sweep gives up, unless it is a run that goes on."""
        self.costs: dict[str, int | None] = {}
        """What the ledger says of each call that has ended."""
        self.spent: dict[str, tuple[int, int]] = {}
        """What budgets have spent on it: money, and tokens."""
        self.count = 0

    def keep_ms(self, call_id: str) -> int:
        if self.chance.random() < 0.3:
            self.orphans.add(call_id)
            return -1
        return HOUR

    async def begin_run(self) -> None:
        queued = self.chance.random() < 0.2
        lapsed = queued or self.chance.random() < 0.5
        run = new(
            key_id="key_1",
            owner=None if queued else f"own_{self.count}",
            status="queued" if queued else "in_progress",
            lease_ms=-1000 if lapsed else 10**6,
        )
        if await self.budgets.reserve(ask(run.id, keep_ms=self.keep_ms(run.id))) is None:
            await self.store.runs.insert(run)
            self.runs[run.id] = run.attempt

    async def ask_for_call(self) -> None:
        self.count += 1
        call_id = f"call_{self.count}"
        if await self.budgets.reserve(ask(call_id, keep_ms=self.keep_ms(call_id))) is None:
            self.asked.append(call_id)

    async def begin_call(self) -> None:
        if self.asked:
            call_id = self.asked.pop()
            await self.ledger.write(opened(call_id))
            self.open.add(call_id)

    async def end_run(self) -> None:
        if begun := sorted(run_id for run_id, attempt in self.runs.items() if attempt):
            run_id = self.chance.choice(begun)
            await self._finish(run_id, self.runs[run_id])

    async def end_late(self) -> None:
        """An attempt that has been passed, by a takeover or a delete, wants to end all the same."""
        if self.dead:
            await self._finish(*self.dead.pop())

    async def _finish(self, run_id: str, attempt: int) -> None:
        end = self.end_of(run_id)
        there = await self.store.interactions.get(MINE, run_id) is not None
        held = await self.store.runs.finish(outcome(run_id, attempt=attempt, usage=end))
        assert held == (self.runs.get(run_id) == attempt)
        if held or not there:  # also a deleted one has been called
            self.settled(end)
        if held:
            del self.runs[run_id]

    def end_of(self, call_id: str) -> Charge:
        """How a call ends: sometimes nobody can tell what it used."""
        end = charge(call_id, self.chance.randint(0, 100), status=self.chance.choice(ENDINGS))
        return end._replace(usage=None, cost=None) if self.chance.random() < 0.2 else end

    def settled(self, end: Charge) -> None:
        self.open.discard(end.call_id)
        self.costs.setdefault(end.call_id, end.cost)
        as_reserved = (100, 10) if end.status == "completed" else (0, 0)
        spent = as_reserved if end.cost is None else (end.cost, 10)
        self.spent.setdefault(end.call_id, spent)

    async def end_call(self) -> None:
        if calls := sorted(each for each in self.open if each.startswith("call_")):
            end = self.end_of(self.chance.choice(calls))
            for each in (end, self.end_of(end.call_id), opened(end.call_id)):
                await self.ledger.write(each)  # a second word does not count
            self.settled(end)

    async def give_up_call(self) -> None:
        if self.asked:
            await self.budgets.release(self.asked.pop())

    async def take_over(self) -> None:
        claims = self.store.claims(f"own_{self.count}")
        for claimed in [*await claims.lapsed(), *await claims.queued(1, 1, [])]:
            if before := self.runs[claimed.id]:
                self.dead.append((claimed.id, before))
            self.runs[claimed.id] = claimed.attempt

    async def delete(self) -> None:
        if self.runs:
            run_id = self.chance.choice(sorted(self.runs))
            await self.store.interactions.delete(MINE, run_id)
            if attempt := self.runs.pop(run_id):  # else it has called nobody
                self.open.add(run_id)
                self.dead.append((run_id, attempt))

    async def sweep(self) -> None:
        await self.ledger.roll_up()
        await self.budgets.expire()
        self.asked = [call_id for call_id in self.asked if call_id not in self.orphans]
        for call_id in self.open & self.orphans:
            self.spent.setdefault(call_id, (100, 10))
        for project_id in await self.budgets.untallied():
            await self.budgets.tally(project_id)

    async def step(self) -> None:
        rule = self.chance.choice(
            [
                *(self.begin_run, self.begin_run, self.ask_for_call, self.ask_for_call, self.begin_call),
                *(self.end_run, self.end_run, self.end_late, self.end_call, self.give_up_call),
                *(self.take_over, self.delete, self.sweep),
            ]
        )
        await rule()

    async def must_add_up(self) -> None:
        """The invariant, at any moment."""
        query = select(usage_ledger.c.call_id, usage_ledger.c.status, usage_ledger.c.cost)
        rows = await self.store.database.read(lambda connection: connection.execute(query).all())
        assert {row.call_id: row.cost for row in rows if row.status != OPEN} == self.costs
        assert {row.call_id for row in rows if row.status == OPEN} == self.open
        assert {row.cost for row in rows if row.status == OPEN} <= {None}, "what is unknown is not free"
        report = await self.ledger.report(Wanted(), "model")
        known = [cost for cost in self.costs.values() if cost is not None]
        assert sum(each.cost for each in report) == sum(known)
        assert sum(each.calls for each in report) == len(rows)
        assert sum(each.unpriced for each in report) == len(rows) - len(known)
        await self.budgets.tally(MINE)
        found = {level.budget.id: level for level in await self.budgets.all()}
        assert found["bud_1"].spent == sum(money for money, _ in self.spent.values())
        assert found["bud_2"].spent == sum(tokens for _, tokens in self.spent.values())
        waiting = {*self.runs, *self.asked, *self.open} - set(self.spent)
        assert found["bud_1"].reserved == 100 * len(waiting)


def opened(call_id: str) -> Charge:
    """A call that begins."""
    return charge(call_id, cost=None)._replace(status=OPEN, usage=None)


@pytest.mark.parametrize("seed", range(8))
async def test_settled_is_what_was_called_whatever_fails_when(store: Store, seed: int) -> None:
    gateway = Gateway(store, random.Random(seed))
    await gateway.budgets.put(a_budget(1, amount=8000, period="total"), told)
    await gateway.budgets.put(a_budget(2, key_id="key_1", unit="tokens", amount=10**6, period="total"), told)
    for number in range(240):
        await gateway.step()
        if number % 10 == 0:
            await gateway.must_add_up()
    while gateway.runs or gateway.asked:
        for ending in (gateway.take_over, gateway.end_run, gateway.begin_call):
            await ending()
    for ending in (gateway.end_late, gateway.end_call):
        for _ in range(120):
            await ending()
    while await gateway.ledger.roll_up():
        pass
    await gateway.must_add_up()
    assert len(gateway.costs) > 20
    rolled = select(func.sum(usage_days.c.cost)).where(usage_days.c.label == "")
    cost = await store.database.read(lambda connection: connection.execute(rolled).scalar_one())
    assert int(cost) == sum(cost or 0 for cost in gateway.costs.values())
