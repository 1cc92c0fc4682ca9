"""`gateway doctor`: sees what is wrong, and changes nothing."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.store.database import Database
from tests.admin.conftest import Command, Result
from tests.support.aged import Aged, aged, ago
from tests.support.records import Records

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def findings(result: Result) -> dict[str, tuple[bool, str]]:
    assert result.err == ""
    found = {one["subject"]: (one["ok"], one["text"]) for one in json.loads(result.out)}
    assert result.code == (0 if all(ok for ok, _ in found.values()) else 1)
    return found


def test_all_is_well(command: Command):
    found = findings(command("doctor"))
    looked = [name for name in found if name != "write-ahead log"]
    assert looked == ["database", "schema", "pepper", "sweep", "events", "audit log", "upstream simulator"]
    assert all(ok for ok, _ in found.values())
    command("projects", "create", "acme")
    command("keys", "create", "-p", "acme", "--name", "x")
    assert findings(command("doctor", "--json"))["pepper"] == (True, "fits the keys in the database")


def test_another_pepper_does_not_fit(command: Command):
    command("projects", "create", "acme")
    command("keys", "create", "-p", "acme", "--name", "x")
    ok, text = findings(command("doctor", GATEWAY_PEPPER="another pepper " * 4))["pepper"]
    assert not ok
    assert "made with another pepper" in text


def test_what_is_due_and_when_the_sweep_was(command: Command, database_url: str):
    asyncio.run(fill(database_url, aged("v1_old", last_seq=1)))
    ok, text = findings(command("doctor"))["sweep"]
    assert not ok
    assert text == ("not done yet; to erase: 1 interactions, 1 event logs; to delete at upstreams: 0")
    with Records(database_url) as records:
        records.change(
            "INSERT INTO leases (name, owner, lease_until, done_at) VALUES ('sweep', 'o', 0, 1000)"
        )
        assert not findings(command("doctor"))["sweep"][0]
        records.change(f"UPDATE leases SET done_at = {ago(5000)}")
        ok, text = findings(command("doctor"))["sweep"]
        assert ok
        assert re.match(r"last done [0-9]{1,2} seconds ago; to erase: 1 interactions", text)
        records.change("UPDATE leases SET done_at = 1000")
        records.change("DELETE FROM interactions")
        assert findings(command("doctor"))["sweep"][0]  # late, but there is nothing to do


@ON_SQLITE
def test_d5_events_without_an_interaction_are_found(command: Command, database_url: str):
    with Records(database_url) as records:  # which does not check foreign keys
        records.change("INSERT INTO interaction_events VALUES ('v1_gone', 1, 1, x'00')")
    assert findings(command("doctor"))["events"] == (False, "1 without an interaction")


@ON_SQLITE
def test_p8_a_write_ahead_log_that_cannot_be_emptied_is_told(command: Command, database_url: str):
    assert findings(command("doctor"))["write-ahead log"][0]
    with Records(database_url) as reading, Records(database_url) as writing:
        reading.change("BEGIN")
        reading.rows("SELECT * FROM projects")
        writing.change("CREATE TABLE filler (x)")
        for _ in range(27):
            writing.change("INSERT INTO filler VALUES (zeroblob(10485760))")
        ok, text = findings(command("doctor"))["write-ahead log"]
        assert not ok
        assert text.endswith("MiB: something has been reading for long")


async def fill(url: str, *rows: dict[str, Any]) -> None:
    database = Database(url)
    past = await Aged(database).begin()
    await past.add(*rows)
    await database.close()


@ON_SQLITE
def test_nothing_is_changed_by_looking(command: Command, monkeypatch, tmp_path: Path):
    monkeypatch.delenv("GATEWAY_PEPPER")
    findings(command("doctor"))
    assert not (tmp_path / "data").exists()
    findings(command("doctor", GATEWAY_PEPPER="another pepper " * 4))
    command("projects", "create", "acme")
    assert command("keys", "create", "-p", "acme", "--name", "x").code == 0


@ON_SQLITE
def test_an_unmigrated_database(command: Command, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/new.db"
    found = findings(command("doctor", GATEWAY_DATABASE_URL=url))
    assert found["database"] == (True, "answers")
    assert found["schema"][0] is found["pepper"][0] is False
    assert found["schema"][1].endswith(": gateway migrate")
    assert command("migrate", GATEWAY_DATABASE_URL=url).code == 0
    assert findings(command("doctor", GATEWAY_DATABASE_URL=url))["schema"][0]


@ON_SQLITE
def test_a_database_out_of_reach(command: Command):
    found = findings(command("doctor", GATEWAY_DATABASE_URL="postgresql://127.0.0.1:1/db"))
    ok, text = found["database"]
    assert not ok
    assert "not available" in text
    assert "Connection refused" in text
    assert "schema" not in found


@ON_SQLITE
def test_secrets_that_others_can_read(command: Command, monkeypatch, tmp_path: Path):
    monkeypatch.delenv("GATEWAY_PEPPER")
    (tmp_path / "mine.toml").write_text("")
    command("projects", "create", "acme")
    command("keys", "create", "-p", "acme", "--name", "x")
    secrets = [tmp_path / "data" / "pepper", tmp_path / "mine.toml"]
    for mode, ok in ((0o640, False), (0o604, False), (0o600, True)):
        for path in secrets:
            path.chmod(mode)
        found = findings(command("doctor", "--config", "mine.toml"))
        assert (str(secrets[0]) not in found) is ok
        assert ("mine.toml" not in found) is ok
    assert len(command("keys", "list").json()) == 1


@ON_SQLITE
def test_an_upstream_without_a_key(command: Command):
    upstreams = (
        '[{"name":"a","kind":"interactions","base_url":"https://h","models":["x-*"]},'
        '{"name":"b","kind":"interactions","base_url":"https://h","api_keys":["a-secret-of-ours"]}]'
    )
    result = command("doctor", GATEWAY_UPSTREAMS=upstreams)
    assert findings(result)["upstream a"] == (False, "interactions, 0 keys, for x-*")
    assert findings(result)["upstream b"][0]
    assert "a-secret-of-ours" not in result.out
    passthrough = command("doctor", GATEWAY_UPSTREAMS=upstreams, GATEWAY_AUTH="passthrough")
    assert findings(passthrough)["upstream a"][0]


def test_a_key_for_a_project_that_is_not_there_is_found(command, monkeypatch):
    there = command("projects", "create", "team").json()["id"]
    keys = [{"key": "secret-of-ours", "projects": [there, "prj_mistyped"]}]
    upstream = {"name": "up", "kind": "interactions", "base_url": "https://h", "api_keys": keys}
    looked = command("doctor", "--json", GATEWAY_UPSTREAMS=json.dumps([upstream]))
    wrong = [
        each["text"] for each in json.loads(looked.out) if each["subject"] == "upstream up" and not each["ok"]
    ]
    assert wrong == ["a key is for prj_mistyped, which is no project here"]
    assert "secret-of-ours" not in looked.out
