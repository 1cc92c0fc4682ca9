"""Every command: what it prints for machines, and how it says no."""

import asyncio
import re
import time

import pytest

from app.auth import keys, pepper
from app.core.versions import Versions
from app.store.database import Database
from app.store.holders import Holders
from tests.admin.conftest import FINGERPRINT, PEPPER, Command
from tests.store.conftest import Store, new, outcome

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def recent(milliseconds: int) -> bool:
    return abs(milliseconds - time.time_ns() // 1_000_000) < 60_000


@pytest.fixture
def project(command: Command) -> str:
    """The id of a project `acme`."""
    return command("projects", "create", "acme").json()["id"]


def test_projects(command: Command, project):
    made = command("projects", "create", "zeta", "--retention-days", "7", "--json").json()
    assert made == {
        "id": made["id"],
        "name": "zeta",
        "created_at": made["created_at"],
        "retention_days": 7,
        "owner": None,
        "labels": {},
        "policy": {},
    }
    assert re.fullmatch(r"prj_[A-Za-z0-9_-]{16}", made["id"])
    assert recent(made["created_at"])
    listed = command("projects", "list", "--json").json()
    assert [(one["name"], one["id"], one["retention_days"]) for one in listed] == [
        ("acme", project, None),
        ("zeta", made["id"], 7),
    ]
    assert listed == command("projects", "list").json()  # piped
    for name, days, kept in (("acme", "0", 0), (made["id"], "-1", None)):
        assert command("projects", "set", name, "--retention-days", days) == (0, "", "")
        listed = command("projects", "list").json()
        assert kept in [one["retention_days"] for one in listed if name in (one["name"], one["id"])]
    assert command("projects", "create", "acme").refusal(1) == "gateway: There is a project 'acme' already."
    missing = command("projects", "set", "nobody", "--retention-days", "1")
    assert missing.refusal(1) == "gateway: There is no project 'nobody'."


def test_keys(command: Command, database_url, project):
    made = command("keys", "create", "--project", "acme", "--name", "ci", "--json").json()
    assert list(made) == ["id", "project", "key"]
    assert made["project"] == "acme"
    assert keys.is_key(made["key"])
    second = command("keys", "create", "-p", project, "--name", "laptop").json()  # piped
    listed = command("keys", "list", "--json").json()
    assert [one["id"] for one in listed] == [made["id"], second["id"]]
    assert list(listed[0]) == [
        *("id", "project_id", "project", "name", "prefix", "created_at", "expires_at", "revoked_at"),
        *("owner", "labels", "policy"),
    ]
    assert (listed[0]["project_id"], listed[0]["project"], listed[0]["name"]) == (project, "acme", "ci")
    assert listed[0]["prefix"] == made["key"][:10]
    assert made["key"] not in command("keys", "list").out
    assert command("keys", "list", "--project", "acme").json() == listed
    assert holder(database_url, made["key"]) == project

    assert command("keys", "revoke", made["id"]) == (0, "", "")
    assert holder(database_url, made["key"]) is None
    assert holder(database_url, second["key"]) == project
    assert recent(command("keys", "list").json()[0]["revoked_at"])
    again = command("keys", "revoke", made["id"])
    assert again.refusal(1) == f"gateway: There is no valid key '{made['id']}'."
    for refused in (
        command("keys", "create", "--project", "nobody", "--name", "x"),
        command("keys", "list", "--project", "nobody"),
    ):
        assert refused.refusal(1) == "gateway: There is no project 'nobody'."


def holder(database_url: str, key: str) -> str | None:
    """The project whose key this is."""

    async def ask() -> str | None:
        database = Database(database_url)
        found = await Holders(database, FINGERPRINT).of_key(Versions(keys.digest(PEPPER.encode(), key)))
        await database.close()
        return found.project_id if found else None

    return asyncio.run(ask())


def test_interactions(command: Command, database_url, project):
    async def fill() -> list[str]:
        database = Database(database_url)
        store = Store(database)
        rows = [
            new(project_id=project, created_at=n * 1000, input=b'[{"type":"user_input"}]') for n in range(3)
        ]
        for row in rows:
            await store.runs.insert(row)
            end = outcome(row.id, output=b'[{"type":"model_output","content":[]}]')
            await store.runs.finish(end)
        await database.close()
        return [row.id for row in rows]

    first, second, third = asyncio.run(fill())
    listed = command("interactions", "list", "--project", "acme", "--json").json()
    assert [one["id"] for one in listed] == [third, second, first]
    assert listed[0] == {
        "id": third,
        "status": "completed",
        "model": "m",
        "agent": None,
        "parent_id": None,
        "created_at": 2000,
    }
    assert command("interactions", "list", "-p", project, "--limit", "1").json() == listed[:1]

    shown = command("interactions", "show", first, "--project", "acme").json()
    assert shown["id"] == first
    assert shown["steps"] == [{"type": "user_input"}, {"type": "model_output", "content": []}]

    command("projects", "create", "other").json()
    for name in ("show", "delete"):
        refused = command("interactions", name, first, "--project", "other")
        assert refused.refusal(1) == f"gateway: The project 'other' has no interaction {first}."
    assert command("interactions", "list", "--project", "other").json() == []

    assert command("interactions", "delete", first, "--project", "acme") == (0, "", "")
    assert command("interactions", "show", first, "--project", "acme").code == 1
    assert command("interactions", "delete", first, "--project", "acme").code == 1
    assert len(command("interactions", "list", "--project", "acme").json()) == 2


def test_migrate_says_where_the_database_is(command: Command):
    found = command("migrate")
    assert (found.code, found.err) == (0, "")
    assert re.fullmatch(r"The database is at revision [0-9a-z_]+\.\n", found.out)


@ON_SQLITE
def test_wrong_usage_is_code_2(command: Command):
    for arguments in (
        ("keys", "create", "--project", "acme"),
        ("projects", "create", "acme", "--retention-days", "-5"),
        ("projects", "create", "acme", "--retention-days", "many"),
        ("projects", "create", "acme", "--retention-days", "99999999999"),
        ("projects", "set", "acme", "--retention-days", "36501"),
        ("interactions", "list"),
        ("interactions", "list", "--project", "acme", "--limit", "0"),
        ("serve", "--workers", "0"),
        ("serve", "--port", "http"),
        ("dance",),
        ("keys", "dance"),
        ("keys", "list", "--jsno"),
    ):
        refused = command(*arguments)
        assert (refused.code, refused.out) == (2, ""), arguments
        assert "Usage: " in refused.err
        assert "Traceback" not in refused.err


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 101, "x" * 10_000])
def test_names_are_short_and_printable(command: Command, project, name):
    refused = command("projects", "create", name).refusal(1)
    assert refused == "gateway: The name of a project has 1 to 100 printable characters."
    refused = command("keys", "create", "-p", "acme", "--name", name).refusal(1)
    assert refused == "gateway: The name of a key has 1 to 100 printable characters."


@ON_SQLITE
def test_help_names_every_command(command: Command):
    found = command("--help")
    assert found.code == 0
    for name in ("serve", "migrate", "doctor", "simulate", "projects", "keys", "interactions"):
        assert re.search(rf"\b{name}\b", found.out)
    assert "Usage" in command().err + command().out


WRONG_SETTINGS = {
    "unknown": ({"GATEWAY_LOG_LEVLE": "x"}, ["settings: GATEWAY_LOG_LEVLE: there is no such setting"]),
    "weak pepper": (
        {"GATEWAY_PEPPER": "short"},
        ["settings: pepper: too weak: use at least 32 random characters, e.g. `openssl rand -hex 32`"],
    ),
    "another database": (
        {"GATEWAY_DATABASE_URL": "mysql://h/db"},
        ["settings: database_url: use sqlite:///path or postgresql://user@host/name"],
    ),
    "no URL": (
        {"GATEWAY_DATABASE_URL": "postgresql://h:port/db"},
        ["settings: database_url: this is not a URL"],
    ),
    "two at once": (
        {"GATEWAY_RETENTION__DAYS": "-1", "GATEWAY_AUTH": "none"},
        [
            "settings: auth: Input should be 'keys' or 'passthrough'",
            "settings: retention.days: Input should be greater than or equal to 0",
        ],
    ),
}


@ON_SQLITE
@pytest.mark.parametrize(
    "arguments", [("serve", "--port", "0"), ("projects", "list"), ("doctor",)], ids=lambda found: found[0]
)
@pytest.mark.parametrize(("environment", "lines"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS.keys())
def test_wrong_settings_stop_every_command(command: Command, arguments, environment, lines):
    refused = command(*arguments, **environment)
    assert (refused.code, refused.out) == (2, "")
    assert sorted(refused.err.splitlines()) == lines


@ON_SQLITE
def test_a_settings_file_may_be_named(command: Command, tmp_path):
    (tmp_path / "mine.toml").write_text("[retention]\ndays = -1\n")
    refused = command("projects", "list", "--config", str(tmp_path / "mine.toml"))
    assert refused.refusal(2) == "settings: retention.days: Input should be greater than or equal to 0"
    refused = command("projects", "list", "--config", "none.toml")
    assert refused.refusal(2) == "settings: GATEWAY_CONFIG: there is no file none.toml"


OUT_OF_REACH = {
    "postgresql://127.0.0.1:1/db": "Connection refused",
    "sqlite:////proc/nowhere/gateway.db": "unable to open database file",
    "sqlite:////dev/null/x.db": "unable to open database file",
    "sqlite:////": "unable to open database file",
}


@ON_SQLITE
@pytest.mark.parametrize(("url", "why"), OUT_OF_REACH.items())
def test_a_database_out_of_reach_is_one_line(command: Command, url, why):
    for arguments in (("projects", "list"), ("migrate",)):
        refused = command(*arguments, GATEWAY_DATABASE_URL=url).refusal(1)
        assert refused.startswith("gateway: ")
        assert why in refused
    served = command("serve", "--port", "0", GATEWAY_DATABASE_URL=url)
    assert (served.code, served.out) == (1, "")
    assert served.err.splitlines()[-1].startswith("gateway: ")
    assert "Traceback" not in served.err


@ON_SQLITE
def test_a_data_folder_that_cannot_be_made_is_one_line(command: Command, monkeypatch):
    monkeypatch.delenv("GATEWAY_PEPPER")
    command("projects", "create", "acme", GATEWAY_PEPPER=PEPPER)
    refused = command("keys", "create", "-p", "acme", "--name", "x", GATEWAY_DATA_DIR="/dev/null/data")
    assert refused.refusal(1).startswith("gateway: ")


def test_a_key_is_never_made_with_another_pepper(command: Command, project):
    command("keys", "create", "-p", "acme", "--name", "x").json()
    refused = command("keys", "create", "-p", "acme", "--name", "y", GATEWAY_PEPPER="another pepper " * 4)
    assert refused.refusal(1) == (
        "gateway: The keys in this database were made with another pepper: set GATEWAY_PEPPER to it, "
        "or GATEWAY_DATA_DIR to the folder that holds it. If it is lost: `gateway pepper accept`."
    )
    assert len(command("keys", "list").json()) == 1


@ON_SQLITE
def test_a_lost_pepper_is_not_made_anew(command: Command, project, monkeypatch, tmp_path):
    command("keys", "create", "-p", "acme", "--name", "x").json()
    monkeypatch.delenv("GATEWAY_PEPPER")
    assert "another pepper" in command("keys", "create", "-p", "acme", "--name", "y").refusal(1)
    assert "another pepper" in command("serve", "--port", "0").refusal(1)
    assert not (tmp_path / "data").exists()
    assert pepper.fingerprint(PEPPER.encode())
