"""`gateway audit` and what `gateway interactions` and `projects` have got: thin, but they must fit."""

import asyncio
import json
from pathlib import Path

from app.auth import pepper
from app.store.database import Database
from tests.admin.conftest import PEPPER, Command
from tests.support.audited import harmed, remove, sealer


def seal(url: str) -> None:
    """What a running gateway does every second."""

    async def once() -> None:
        database = Database(url)
        await sealer(database, pepper.audit_secret(PEPPER.encode())).seal()
        await database.close()

    asyncio.run(once())


def test_a10_every_change_is_one_record_and_the_chain_is_verified(command: Command, database_url: str):
    project = command("projects", "create", "mine", "--json").json()["id"]
    key = command("keys", "create", "-p", "mine", "--name", "k", "--json").json()["id"]
    command("interactions", "hold", "-p", "mine", "--key", key, "--reason", "case 1", "--json").json()
    assert [hold["target"] for hold in command("interactions", "holds", "--json").json()] == [key]
    seal(database_url)
    listed = command("audit", "list", "-p", "mine", "--json").json()
    assert [record["action"] for record in listed] == ["hold.place", "key.create", "project.create"]
    assert {record["actor_kind"] for record in listed} == {"cli"}
    found = command("audit", "verify", "--json").json()
    assert all(chain["ok"] for chain in found)
    exported = command("audit", "export", "-p", "mine")
    assert [json.loads(line).get("seq") for line in exported.out.splitlines()] == [1, 2, 3, None]
    asyncio.run(harm(database_url, project))
    broken = command("audit", "verify", "-p", "mine", "--json")
    assert (broken.code, json.loads(broken.out)[0]["first_bad"]) == (1, 2)
    assert "audit log" in command("doctor", "--json").out
    assert command("audit", "accept", "-p", "mine", "--reason", "a test").code == 0


async def harm(url: str, project: str) -> None:
    database = Database(url)
    await harmed(database, remove(project, 2))
    await database.close()


def test_a_project_is_deleted_only_when_that_is_meant_and_nothing_is_held(command: Command):
    command("projects", "create", "mine", "--json")
    assert command("projects", "delete", "mine").code == 2
    command("interactions", "hold", "-p", "mine", "--all", "--reason", "case 1", "--json")
    assert "held" in command("projects", "delete", "mine", "--yes").refusal(1)
    (hold,) = command("interactions", "holds", "-p", "mine", "--json").json()
    assert command("interactions", "release", hold["id"]).code == 0
    assert command("projects", "delete", "mine", "--yes", "--json").json()["project"] == "mine"
    assert command("projects", "list", "--json").json() == []
    assert "no project" in command("projects", "delete", "mine", "--yes").refusal(1)


def test_what_is_to_be_held_is_said_once(command: Command):
    command("projects", "create", "mine", "--json")
    assert command("interactions", "hold", "-p", "mine", "--reason", "r").code == 2
    two = ("--interaction", "v1_a", "--all")
    assert command("interactions", "hold", "-p", "mine", "--reason", "r", *two).code == 2


def test_an_empty_project_is_exported_and_due(command: Command, tmp_path: Path):
    command("projects", "create", "mine", "--json")
    made = command(
        "interactions", "export", "-p", "mine", "--out", str(tmp_path / "out"), "--since", "2026-01-01"
    )
    assert (made.json()["count"], made.json()["complete"]) == (0, True)
    assert command("interactions", "due", "--json").json() == []


def test_lists_take_the_conditions_of_the_api(command: Command):
    command("projects", "create", "mine", "--json")
    command("projects", "create", "other", "--json")
    assert len(command("audit", "list", "--json").json()) == 2
    assert len(command("audit", "list", "-p", "mine", "--since", "1h", "--json").json()) == 1
    for none in (["--since", "2099-01-01"], ["--action", "key.create"], ["--actor", "nobody"]):
        assert command("audit", "list", *none, "--json").json() == []
    assert command("interactions", "list", "-p", "mine", "--status", "failed", "--json").json() == []
    assert command("interactions", "due", "-p", "mine", "--json").json() == []
    for wrong in (["--since", "yesterday"], ["--since", "1970-01-01T00:00:00+14:00"]):
        said = command("audit", "list", *wrong)
        assert (said.code, "--since" in said.err) == (2, True), said
    assert "say which" in command("audit", "export", "--after", "3").refusal(1)
