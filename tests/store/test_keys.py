"""Projects and keys: a digest finds its project, as long as the key is valid."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from app.core import rules
from app.core.audit import Actor, Entry
from app.core.versions import Digest, Versions
from app.store.holders import Holder
from app.store.keys import AlreadyExists, Key, NewKey, Project, ProjectChange
from app.store.schema import audit_log, projects
from tests.store.conftest import HOUR, MINE, PEPPER, THEIRS, Store

NOW = time.time_ns() // 1_000_000


def key(number: int = 1, project: str = MINE, expires_at: int | None = None) -> Key:
    return Key(
        id=f"key_{number}",
        project_id=project,
        project=f"name of {project}",
        name="a key",
        prefix="igw_abcdef",
        created_at=NOW + number,
        expires_at=expires_at,
        revoked_at=None,
    )


def digest(number: int = 1) -> Digest:
    return Digest(bytes([number]) * 32, PEPPER)


def given(number: int = 1) -> Versions[bytes]:
    return Versions(digest(number).value)


def keeping(days: int | None, **fields: Any) -> ProjectChange:
    """A change of a project."""

    def change(before: Project) -> tuple[Project, Entry]:
        return replace(before, retention_days=days, **fields), entry("project.set", before.id)

    return change


def entry(action: str, target: str, project: str = MINE) -> Entry:
    return Entry(project, Actor("cli", "ada"), action, target)


async def told(store: Store) -> list[tuple[str, str | None]]:
    """What the audit log says, oldest first."""
    query = select(audit_log.c.action, audit_log.c.target).order_by(audit_log.c.at, audit_log.c.id)
    rows = await store.database.read(lambda connection: connection.execute(query).all())
    return sorted((action, target) for action, target in rows)


async def test_a_digest_finds_its_project(store: Store):
    await store.keys.create(key(), digest())
    assert await store.holders.of_key(given()) == Holder(MINE, "key_1", None, "a key")
    assert await store.holders.of_key(given(2)) is None
    assert await store.holders.of_key(Versions(b"")) is None
    await store.keys.change_project(MINE, keeping(7))
    assert await store.holders.of_key(given()) == Holder(MINE, "key_1", 7, "a key")


async def test_a_revoked_key_is_unknown(store: Store):
    await store.keys.create(key(), digest())
    assert await store.keys.revoke("key_1")
    assert await store.holders.of_key(given()) is None
    assert not await store.keys.revoke("key_1")
    assert not await store.keys.revoke("key_2")
    [issued] = await store.keys.issued()
    assert issued.revoked_at is not None
    assert abs(issued.revoked_at - time.time_ns() // 1_000_000) < 60_000


async def test_an_expired_key_is_unknown(store: Store):
    await store.keys.create(key(1, expires_at=NOW - HOUR), digest(1))
    await store.keys.create(key(2, expires_at=NOW + HOUR), digest(2))
    assert await store.holders.of_key(given(1)) is None
    assert await store.holders.of_key(given(2)) is not None


async def test_keys_are_issued_oldest_first(store: Store):
    for number, project in ((3, MINE), (1, THEIRS), (2, MINE)):
        await store.keys.create(key(number, project), digest(number))
    assert await store.keys.issued() == [key(1, THEIRS), key(2), key(3)]
    assert await store.keys.issued(MINE) == [key(2), key(3)]
    assert await store.keys.issued("prj_nobody") == []
    assert await store.keys.count() == 3


async def test_a_digest_belongs_to_one_key(store: Store):
    await store.keys.create(key(), digest())
    with pytest.raises(IntegrityError):
        await store.keys.create(key(2, THEIRS), digest())
    with pytest.raises(IntegrityError):
        await store.keys.create(key(3, "prj_nobody"), digest(3))
    assert await store.holders.of_key(given()) == Holder(MINE, "key_1", None, "a key")


async def test_a_project_has_a_name_of_its_own(store: Store):
    with pytest.raises(AlreadyExists):
        await store.keys.create_project(Project("prj_other", f"name of {MINE}", 1, None))
    with pytest.raises(AlreadyExists):
        await store.keys.create_project(Project(MINE, "other", 1, None))
    made = Project("prj_a", "a", 5, 0)
    await store.keys.create_project(made)
    assert await store.keys.project("a") == await store.keys.project("prj_a") == made
    assert await store.keys.project("prj_b") is None
    assert [project.name for project in await store.keys.projects()] == [
        "a",
        f"name of {MINE}",
        f"name of {THEIRS}",
    ]


async def test_retention_is_set_by_name_or_id(store: Store):
    changed = await store.keys.change_project(MINE, keeping(7))
    assert changed is not None
    assert changed.retention_days == 7
    await store.keys.change_project(f"name of {THEIRS}", keeping(0))
    assert [project.retention_days for project in await store.keys.projects()] == [7, 0]
    await store.keys.change_project(MINE, keeping(None))
    assert [project.retention_days for project in await store.keys.projects()] == [None, 0]
    assert await store.keys.change_project("nobody", keeping(1)) is None


async def test_callers_with_their_own_key_get_one_project_each(store: Store):
    asked = [store.holders.passthrough(given(1 + n % 2)) for n in range(10)]
    holders = await asyncio.gather(*asked)
    assert {holder.project_id for holder in holders} == {"byok_" + "01" * 16, "byok_" + "02" * 16}
    assert all(holder.key_id is None for holder in holders)
    policy_of_one = rules.read({"rpm": 3})
    await store.keys.change_project(holders[0].project_id, keeping(3, policy=policy_of_one))
    found = await store.holders.passthrough(given(1))
    assert (found.retention_days, found.project_policy) == (3, policy_of_one)


async def test_projects_and_keys_keep_all_that_is_said_of_them(store: Store):
    project = Project("prj_a", "a", 5, 0, "Ada", {"team": "red"}, rules.read({"models": ["gem*"], "rpm": 9}))
    await store.keys.create_project(project)
    assert await store.keys.project("a") == project
    mine = replace(
        key(project="prj_a"),
        project="a",
        owner="Grace",
        labels={"env": "test"},
        policy=rules.read({"networks": ["10.0.0.0/8"], "store": "never", "deny_tools": ["bash"]}),
    )
    await store.keys.create(mine, digest())
    assert await store.keys.issued("prj_a") == [mine]
    assert await store.keys.identify(given()) == mine
    holder = await store.holders.of_key(given())
    assert holder == Holder("prj_a", "key_1", 0, "a key", project.policy, mine.policy)


async def test_a_changed_key_is_changed_at_once_and_told_with_it(store: Store):
    await store.keys.create(key(), digest())

    def change(before: Key) -> tuple[Key, Entry]:
        return replace(before, policy=rules.read({"rpm": 1}), expires_at=NOW + HOUR), entry(
            "key.set", before.id
        )

    def failing(before: Key) -> tuple[Key, Entry]:
        raise ValueError(before.id)

    changed = await store.keys.change("key_1", change)
    assert changed == (await store.keys.issued())[0]
    assert await store.holders.of_key(given()) == Holder(
        MINE, "key_1", None, "a key", key_policy=rules.read({"rpm": 1})
    )
    with pytest.raises(ValueError, match="key_1"):
        await store.keys.change("key_1", failing)
    assert await store.keys.change("key_2", failing) is None
    assert await store.keys.revoke("key_1", lambda key: entry("key.revoke", key.id))
    assert await store.keys.change("key_1", failing) is None
    assert await told(store) == [("key.revoke", "key_1"), ("key.set", "key_1")]


async def test_changes_of_one_project_at_a_time_are_all_kept(store: Store):
    def adding(name: str) -> ProjectChange:
        def change(before: Project) -> tuple[Project, Entry]:
            return replace(before, labels={**before.labels, name: "1"}), entry("project.set", before.id)

        return change

    names = [f"label{number}" for number in range(20)]
    await asyncio.gather(*(store.keys.change_project(MINE, adding(name)) for name in names))
    found = await store.keys.project(MINE)
    assert found is not None
    assert sorted(found.labels) == sorted(names)
    assert len(await told(store)) == 20


async def expiry(store: Store, number: int) -> int:
    found = await store.keys.identify(given(number))
    assert found is not None
    assert found.expires_at is not None
    return found.expires_at


async def test_a_rotated_key_and_its_successor_are_valid_together_for_a_while(store: Store):
    await store.keys.create(replace(key(), owner="Ada"), digest())

    def successor(number: int) -> Any:
        def made(old: Key) -> NewKey:
            return NewKey(replace(old, id=f"key_{number}"), digest(number), entry("key.rotate", old.id))

        return made

    found = await store.keys.rotate("key_1", HOUR, successor(2))
    assert found == replace(key(), id="key_2", owner="Ada")
    assert await store.holders.of_key(given(1)) is not None
    assert await store.holders.of_key(given(2)) == Holder(MINE, "key_2", None, "a key")
    ends = await expiry(store, 1)
    assert abs(ends - HOUR - time.time_ns() // 1_000_000) < 60_000

    await store.keys.rotate("key_1", 24 * HOUR, successor(3))
    assert await expiry(store, 1) == ends, "never later than before"
    await store.keys.rotate("key_1", 0, successor(4))
    assert await store.holders.of_key(given(1)) is None
    for gone in ("key_1", "key_9"):
        assert await store.keys.rotate(gone, HOUR, successor(5)) is None
    assert await store.keys.identify(given(5)) is None
    assert await told(store) == [("key.rotate", "key_1")] * 3


async def test_a3_whoever_is_not_let_in_costs_the_same_question(store: Store):
    """Unknown, revoked, expired, of a deleted project: one statement, one answer."""
    asked: list[str] = []
    await store.keys.create(key(1), digest(1))
    await store.keys.revoke("key_1")
    await store.keys.create(key(2, expires_at=NOW - HOUR), digest(2))
    await store.keys.create(key(3, project=THEIRS), digest(3))
    delete = update(projects).where(projects.c.id == THEIRS).values(deleted_at=NOW)
    await store.database.write(
        lambda connection, batch: [connection.execute(delete) and None for _ in batch], None
    )
    read = store.database.read

    async def counted(query: Any) -> Any:
        asked.append("read")
        return await read(query)

    store.database.read = counted  # type: ignore[method-assign]
    for number in (1, 2, 3, 4):
        assert await store.holders.of_key(given(number)) is None
        assert asked == ["read"]
        asked.clear()
    assert await store.keys.project(THEIRS) is None
    assert [project.id for project in await store.keys.projects()] == [MINE]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a4_every_change_is_announced_with_its_commit(store: Store, database_url: str):
    await store.keys.create(key(), digest())
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN gateway")
        for changing in (
            lambda: store.keys.change_project(MINE, keeping(1)),
            lambda: store.keys.change("key_1", lambda key: (key, entry("key.set", key.id))),
            lambda: store.keys.rotate(
                "key_1",
                HOUR,
                lambda key: NewKey(replace(key, id="key_2"), digest(2), entry("key.rotate", key.id)),
            ),
            lambda: store.keys.revoke("key_1"),
        ):
            await changing()
            [heard] = [notice.payload for notice in listener.notifies(timeout=10, stop_after=1)]
            assert heard == "revoked"
