"""Records: exported, held, deleted; with every operation in the audit log."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Integer, cast, func, insert, literal, select

from app.admin.exports import Exports
from app.admin.folder import MANIFEST
from app.admin.operations import OperationError
from app.admin.questions import ExportAsked
from app.admin.records import Records
from app.core.audit import Actor
from app.core.listing import ALL, Query
from app.settings import Settings
from app.store.audit import Audit, Question
from app.store.database import Database
from app.store.schema import interactions
from tests.support.aged import DAY, PROJECT, Aged, aged, ago

ACTOR = Actor("cli", "somebody")
TEXT = b'[{"type":"user_input","content":[{"type":"text","text":"hello"}]}]'


@pytest.fixture
async def past(database: Database) -> Aged:
    return await Aged(database).begin()


@pytest.fixture
def exports(database: Database) -> Exports:
    return Exports(Settings(), database, ACTOR)


@pytest.fixture
def records(database: Database) -> Records:
    return Records(Settings(), database, ACTOR)


def lines(folder: Path) -> list[dict[str, Any]]:
    """What was exported, after a look at whether the manifest tells the truth."""
    manifest = json.loads((folder / MANIFEST).read_text())
    found = []
    for file in manifest["files"]:
        text = (folder / file["name"]).read_bytes()
        assert (hashlib.sha256(text).hexdigest(), len(text)) == (file["sha256"], file["bytes"])
        assert text.count(b"\n") == file["count"]
        found += [json.loads(line) for line in text.splitlines()]
    assert manifest["count"] == len(found)
    assert manifest["complete"]
    return found


async def actions(database: Database, project: str = PROJECT) -> list[tuple[str, str | None]]:
    """What the audit log says was done, oldest first."""
    found = await Audit(database).page(Question(project_id=project), ALL)
    assert {record.actor for record in found} <= {"somebody"}
    return [(record.action, record.target) for record in reversed(found)]


async def test_an_export_has_everything_that_is_there(past: Aged, exports: Exports, tmp_path: Path):
    await past.add(
        aged("v1_expired_a", created_at=5, input=TEXT, options=b'{"labels":{"n":"v"}}', key_id="key_1"),
        aged("v1_first_aaa", created_at=1, key_id=None, expired=False),
        aged("v1_unstored_", created_at=3, store=False, options=None, input=None, output=None, key_id=None),
    )
    made = await exports.write(ExportAsked(project="aged"), tmp_path / "out")
    found = lines(tmp_path / "out")
    assert [line["interaction"]["id"] for line in found] == ["v1_first_aaa", "v1_unstored_", "v1_expired_a"]
    assert found[2]["interaction"]["steps"] == json.loads(TEXT)
    assert found[2]["request"] == {"labels": {"n": "v"}}
    assert (found[2]["record"]["key_id"], found[1]["record"]["stored"]) == ("key_1", False)
    assert made.count == 3
    assert (tmp_path / "out" / MANIFEST).stat().st_mode & 0o077 == 0
    assert await actions(past.database) == [("interaction.export", PROJECT)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"key_id": "key_1"}, ["v1_a_aaaaaa"]),
        ({"model": "m"}, ["v1_b_aaaaaa"]),
        ({"since": 20}, ["v1_b_aaaaaa", "v1_c_aaaaaa"]),
        ({"since": 20, "until": 30}, ["v1_b_aaaaaa"]),
        ({"label": ["n=v"]}, ["v1_a_aaaaaa", "v1_b_aaaaaa", "v1_c_aaaaaa"]),
        ({"label": ["n=w"]}, []),
    ],
)
async def test_an_export_has_what_was_chosen(past: Aged, exports: Exports, tmp_path, filters, found):
    usual: dict[str, Any] = {"key_id": None, "model": None}
    await past.add(
        aged("v1_a_aaaaaa", **usual | {"created_at": 10, "key_id": "key_1"}),
        aged("v1_b_aaaaaa", **usual | {"created_at": 20, "model": "m"}),
        aged("v1_c_aaaaaa", **usual | {"created_at": 30}),
    )
    await exports.write(ExportAsked(project="aged", **filters), tmp_path / "out")
    assert [line["interaction"]["id"] for line in lines(tmp_path / "out")] == found


async def test_an_export_goes_on_where_it_was_broken_off(past: Aged, exports: Exports, tmp_path, monkeypatch):
    monkeypatch.setattr("app.admin.folder._LINES", 10)
    await past.add(*(aged(f"v1_n_{n:06}", created_at=n // 3) for n in range(45)))
    folder = tmp_path / "out"
    read = exports._export.piece
    calls = 0

    async def breaks(choice, after):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ConnectionError
        found = await read(choice, after)
        return found[:25] if calls == 1 else found

    monkeypatch.setattr(exports._export, "piece", breaks)
    with pytest.raises(ConnectionError):
        await exports.write(ExportAsked(project="aged"), folder)
    half = json.loads((folder / MANIFEST).read_text())
    assert (half["count"], half["complete"]) == (20, False)
    (folder / "interactions-000003.jsonl").write_bytes(b"half a li")
    await past.add(aged("v1_later_aaa", created_at=ago(-DAY)))  # after the moment that was exported
    await exports.write(ExportAsked(project="aged"), folder)
    assert [line["interaction"]["id"] for line in lines(folder)] == [f"v1_n_{n:06}" for n in range(45)]
    again = await exports.write(ExportAsked(project="aged"), folder)
    assert again.count == 45
    with pytest.raises(OperationError, match="something else"):
        await exports.write(ExportAsked(project="aged", model="m"), folder)
    assert await actions(past.database) == [("interaction.export", PROJECT)] * 2


async def test_an_export_does_not_touch_a_folder_of_something_else(past: Aged, exports: Exports, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OperationError, match="not empty"):
        await exports.write(ExportAsked(project="aged"), tmp_path)


def most_memory() -> int:
    """The most memory that this process has had, in KiB."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def rows(connection, batch):
    """100,000 interactions, made by the database itself."""
    numbers = select(literal(0).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < 99_999))
    name = literal("v1_many_") + cast(numbers.c.n + 1_000_000, interactions.c.id.type)
    usual = aged("", created_at=0)
    fixed = {key: value for key, value in usual.items() if key not in ("id", "created_at", "root_id")}
    fixed["output"] = b'[{"type":"model_output","content":[{"type":"text","text":"' + b"x" * 300 + b'"}]}]'
    columns = [interactions.c[key] for key in fixed]
    values = [literal(value, interactions.c[key].type) for key, value in fixed.items()]
    query = select(name, cast(numbers.c.n, Integer), name, *values)
    first = [interactions.c.id, interactions.c.created_at, interactions.c.root_id]
    connection.execute(insert(interactions).from_select([*first, *columns], query))
    return [None]


@pytest.mark.timeout(300)
async def test_100_000_interactions_are_exported_in_flat_memory(past: Aged, exports: Exports, tmp_path: Path):
    await past.database.write(rows, None)
    await exports.write(ExportAsked(project="aged", until=5_000), tmp_path / "warm")
    Path("/proc/self/clear_refs").write_text("5")  # the most memory so far is what there is now
    before = most_memory()
    made = await exports.write(ExportAsked(project="aged"), tmp_path / "out")
    grown = most_memory() - before
    assert (made.count, len(made.files)) == (100_000, 10)
    assert grown < 16 * 1024, f"{grown} KiB"
    count = await past.database.read(
        lambda connection: connection.scalar(select(func.count()).select_from(interactions))
    )
    assert count == 100_000


async def test_whoever_reads_or_deletes_is_in_the_audit_log(past: Aged, records: Records):
    await past.add(aged("v1_one_aaaaa", expired=False), aged("v1_two_aaaaa", expired=False))
    await records.interactions("aged", Query(10))
    await records.get("aged", "v1_one_aaaaa")
    await records.delete("aged", "v1_one_aaaaa")
    for absent in (records.get, records.delete):
        with pytest.raises(OperationError, match="no interaction"):
            await absent("aged", "v1_one_aaaaa")
    held = await records.hold("aged", "interaction", "v1_two_aaaaa", "case 1")
    assert held.interactions == 1
    with pytest.raises(OperationError, match="held"):
        await records.delete("aged", "v1_two_aaaaa")
    with pytest.raises(OperationError, match="held"):
        await records.delete_project("aged")
    (hold,) = await records.holds("aged")
    await records.release(hold.id)
    with pytest.raises(OperationError, match="no hold"):
        await records.release(hold.id)
    gone = await records.delete_project("aged")
    assert (gone.project, gone.erased) == ("aged", 1)
    assert await actions(past.database) == [
        ("interaction.list", None),
        ("interaction.get", "v1_one_aaaaa"),
        ("interaction.delete", "v1_one_aaaaa"),
        ("hold.place", "v1_two_aaaaa"),
        ("hold.release", "v1_two_aaaaa"),
        ("project.delete", PROJECT),
    ]


async def test_a_hold_says_what_and_why(past: Aged, records: Records):
    with pytest.raises(OperationError, match="a reason"):
        await records.hold("aged", "project", None, " ")
    with pytest.raises(OperationError, match="no key key_1"):
        await records.hold("aged", "key", "key_1", "case 1")
    with pytest.raises(OperationError, match="no project"):
        await records.hold("another", "project", None, "case 1")
    assert await actions(past.database) == []
