"""Rows P10, D9 and D10 of the fault list: databases of other versions, and of an hour ago.

`recorded/NNNN.json` is what a gateway of that revision has left: its rows, and what it told of them.
"""

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import Connection, LargeBinary, MetaData, insert

from app import sse
from app.core import events
from app.core.fold import Fold
from app.store import migrations
from app.store.database import Database
from tests.conftest import GatewayFactory, scripted
from tests.support.aged import DAY, ago
from tests.support.client import Client
from tests.support.databases import KINDS, Templates
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import QUICK, SAID, STREAM, ended, must_be_whole, slowly, until
from tests.support.upstream import HANG, ScriptedUpstream
from tests.support.upstream import sse as frames

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))
PROJECT = "default"
Recorded = dict[str, Any]


@pytest.fixture(params=RECORDED, ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    """What a gateway of an earlier revision has left."""
    return dict(json.loads(request.param.read_text()))


def at_revision(connection: Connection, revision: str, move: Any) -> None:
    config = migrations._config()
    config.attributes["connection"] = connection
    move(config, revision)


def restore(database: Database, old: Recorded) -> None:
    """Make the database what that gateway has left."""
    with database.transaction() as connection:
        at_revision(connection, old["revision"], command.downgrade)
        tables = MetaData()
        tables.reflect(connection)
        for name, rows in old["tables"].items():
            table = tables.tables[name]
            for row in rows:
                connection.execute(insert(table), {key: value_of(table, key, row[key]) for key in row})


def value_of(table: Any, key: str, value: Any) -> Any:
    if key == "expires_at":
        return ago(-DAY)
    if key == "lease_until" and value is not None:
        return ago(1)  # its process has died just now, and its deadline is to come
    if isinstance(value, dict):
        assert isinstance(table.c[key].type, LargeBinary)
        return value["bytes"].encode()
    return bool(value) if table.c[key].type.python_type is bool and value is not None else value


async def test_p10_d9_what_an_earlier_version_has_left_is_read_followed_and_continued(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, database_url: str, recorded: Recorded
) -> None:
    database = Database(database_url)
    await asyncio.to_thread(restore, database, recorded)
    await database.close()
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK)
    upstream.script(*slowly(0))
    async with Client(gateway, gateway.new_key(PROJECT)) as client:
        for found, shown in recorded["get"].items():
            assert (await client.get(found)).json() == shown
            again = await client.replay(found)
            # Of what has no log the events are made when they are asked for, with ids that say so.
            assert again.body.replace(b"_r", b"_") == recorded["stream"][found].encode()
            for event in again.events:
                rest = await client.replay(found, after=event["event_id"])
                assert again.body.endswith(rest.body)
            old = await client._hear(
                "GET", f"/v1beta/interactions/{found}", headers={"api-revision": "2026-01-01"}
            )
            assert old.status == 200
            assert old.json()["status"] == shown["status"]
            further = await client.create(previous_interaction_id=found)
            assert further.status == (400 if shown["status"] == "failed" else 200), further
        with Records(database_url) as records:
            await until(lambda: not records.count("interactions", "status = 'in_progress'"))
            [(left,)] = records.rows("SELECT id FROM interactions WHERE attempt = 2")
        assert (await client.get(left)).json()["errors"][0]["code"] == "aborted"
        must_be_whole(await client.replay(left))
    asked = upstream.requests[1].json()["input"]
    assert [step["type"] for step in asked].count("user_input") == 3, "the chain is whole"
    gateway.must_be_in_order()


def test_d9_event_logs_of_earlier_versions_still_fold(recorded: Recorded) -> None:
    logs: dict[str, bytes] = {}
    for row in sorted(recorded["tables"]["interaction_events"], key=lambda row: row["first_seq"]):
        logs[row["interaction_id"]] = logs.get(row["interaction_id"], b"") + row["frames"]["bytes"].encode()
    rows = {row["id"]: row for row in recorded["tables"]["interactions"]}
    assert len(logs) >= 4
    for interaction_id, log in logs.items():
        fold, row = Fold(), rows[interaction_id]
        for frame in sse.Decoder(2**31).feed(log):
            event = events.parse(frame.data, frame.event)
            delta = event.fields.get("delta", {})
            delta.pop("partial_arguments", None)  # a repetition for some SDKs
            fold.add(event)
        if row["status"] != "in_progress":
            assert (fold.status, fold.ended) == (row["status"], True)
            assert fold.steps() == json.loads(row["output"]["bytes"])


@pytest.mark.parametrize("argument", ["serve", "migrate"])
def test_p10_a_database_of_a_later_version_is_refused_in_one_line(
    start_gateway: GatewayFactory, database_url: str, argument: str
) -> None:
    gateway = start_gateway()
    gateway.stop()
    with Records(database_url) as records:
        records.change("UPDATE alembic_version SET version_num = '9999'")
        refused = gateway.run(argument, *(["--port", "0"] if argument == "serve" else []))
        assert refused.returncode == 1
        [line] = refused.stderr.strip().splitlines()
        assert "9999" in line
        assert records.rows("SELECT version_num FROM alembic_version") == [("9999",)]


def test_p10_a_database_of_an_earlier_version_is_told_by_the_doctor(
    start_gateway: GatewayFactory, database_url: str
) -> None:
    gateway = start_gateway()
    gateway.stop()
    database = Database(database_url)
    with database.transaction() as connection:
        at_revision(connection, "0002", command.downgrade)
    database.dispose()
    told = gateway.run("doctor")
    assert told.returncode == 1
    assert "gateway migrate" in told.stdout
    assert "Traceback" not in told.stderr + told.stdout
    assert gateway.run("migrate").returncode == 0
    assert "gateway migrate" not in gateway.run("doctor").stdout


@pytest.fixture(params=KINDS)
def two_urls(request: pytest.FixtureRequest, templates: Templates) -> Iterator[tuple[str, str]]:
    """A database, and the place for a copy of it."""
    with templates.fresh(request.param) as url, templates.fresh(request.param) as other:
        yield url, other


def back_up(url: str, target: str) -> None:
    """Copy a database that is being written to, by the means that its makers recommend."""
    if url.startswith("sqlite"):
        with (
            sqlite3.connect(url.removeprefix("sqlite:///")) as source,
            sqlite3.connect(target.removeprefix("sqlite:///")) as copy,
        ):
            source.backup(copy, pages=20, sleep=0.001)
        source.close()
        copy.close()
        return
    if not shutil.which("pg_dump"):
        pytest.skip("NO pg_dump: a backup of PostgreSQL is not tried")
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    dumped = subprocess.run(["pg_dump", url], capture_output=True, check=True)
    load = ["psql", "-q", "-v", "ON_ERROR_STOP=1", target]
    subprocess.run(load, input=dumped.stdout, stdout=subprocess.DEVNULL, check=True)


async def test_d10_a_backup_taken_during_writes_is_a_whole_database(
    two_urls: tuple[str, str], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """What ran in the foreground when it was taken ends; it is not asked of the upstream again."""
    settings = {**QUICK, "GATEWAY_UPSTREAMS": scripted(upstream.url)}
    one = await asyncio.to_thread(Gateway, tmp_path, two_urls[0], **settings)
    upstream.script(STREAM + frames(*SAID[:5]), HANG)
    for _ in range(60):
        upstream.script(*slowly(0.01))
    async with Client(one) as client, client.open(input="when the backup was taken") as stream:
        found = (await stream.until(5))[0]["interaction"]["id"]
        writing = [asyncio.ensure_future(client.create(stream=True, input=f"{n}")) for n in range(40)]
        await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(back_up, *two_urls)
        await asyncio.gather(*writing)
        asked = len(upstream.requests)
        other = await asyncio.to_thread(Gateway, tmp_path, two_urls[1], **settings)
        try:
            async with Client(other, one.key) as restored:
                assert (await ended(restored, found))["errors"][0]["code"] == "aborted"
                with Records(two_urls[1]) as records:
                    await until(lambda: not records.count("interactions", "status = 'in_progress'"))
                    rows = records.rows("SELECT id, status FROM interactions")
                assert "completed" in {status for _, status in rows}
                for each, _ in rows:
                    must_be_whole(await restored.replay(each))
                assert len(upstream.requests) == asked
                assert (await client.get(found)).json()["status"] == "in_progress"  # the old self, alive
            other.must_be_in_order()
        finally:
            other.kill()
    one.kill()
