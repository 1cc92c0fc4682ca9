"""Projects and keys on the command line: what can be set and rotated, and what the audit log says of it."""

import asyncio
import io
import json
import time
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import select

from app.admin.api.teams import PolicyGiven, RatesGiven
from app.admin.commands import options
from app.admin.operations import OperationError
from app.admin.teams import Teams
from app.auth import keys
from app.core.audit import Actor
from app.core.policy import Policy
from app.core.quota import Rates
from app.core.versions import Versions
from app.settings import Settings
from app.store.database import Database
from app.store.holders import Holder, Holders
from app.store.schema import audit_log
from tests.admin.conftest import FINGERPRINT, PEPPER, Command
from tests.support.records import Records

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DAY_MS = 86_400_000
RULES = {
    "models": ["gemini-*", "gemma"],
    "agents": [],
    "deny_tools": ["mcp_server", "code_execution"],
    "networks": ["10.0.0.0/8", "2001:db8::/32"],
    "max_output_tokens": 500,
    "store": "never",
    "retention_days": 7,
    "rpm": 60,
    "tpm": 10_000,
    "concurrent": 3,
    "model_limits": {"*-pro": {"concurrent": 1}, "gemini-3*": {"rpm": 10, "tpm": 1000}},
}
OPTIONS = (
    *("--models", "gemini-*, gemma", "--agents", "none", "--deny-tools", "mcp_server,code_execution"),
    *("--networks", "10.0.0.0/8,2001:db8::/32", "--max-output-tokens", "500", "--store", "never"),
    *("--retention-days", "7", "--rpm", "60", "--tpm", "10000", "--concurrent", "3"),
    *("--model-limit", "gemini-3*:rpm=10,tpm=1000", "--model-limit", "*-pro:concurrent=1"),
)


@pytest.fixture
def project(command: Command) -> str:
    """The id of a project `acme`."""
    return str(command("projects", "create", "acme").json()["id"])


def now() -> int:
    return time.time_ns() // 1_000_000


def listed(command: Command, key_id: str) -> dict[str, Any]:
    """A key as `keys list` shows it."""
    return next(one for one in command("keys", "list").json() if one["id"] == key_id)


def holder(database_url: str, key: str) -> Holder | None:
    async def ask() -> Holder | None:
        database = Database(database_url)
        try:
            return await Holders(database, FINGERPRINT).of_key(Versions(keys.digest(PEPPER.encode(), key)))
        finally:
            await database.close()

    return asyncio.run(ask())


def audited(database_url: str) -> list[Any]:
    """The records of the audit log, oldest first."""

    async def ask() -> list[Any]:
        database = Database(database_url)
        try:
            query = select(audit_log).order_by(audit_log.c.at, audit_log.c.id)
            return list(await database.read(lambda connection: connection.execute(query).all()))
        finally:
            await database.close()

    return asyncio.run(ask())


def test_every_rule_can_be_set_everywhere():
    rules = {each.name for each in fields(Policy)}
    assert set(PolicyGiven.model_fields) == set(options._RULES) == set(RULES) == rules
    assert set(RatesGiven.model_fields) == set(Rates._fields)


def test_a_key_is_made_with_all_that_can_be_said_of_it(command: Command, project):
    options = (*OPTIONS, "--owner", "Ada", "--label", "team=red", "--label", "env=", "--expires", "90d")
    made = command("keys", "create", "-p", "acme", "--name", "ci", *options).json()
    found = listed(command, made["id"])
    assert (found["owner"], found["labels"], found["policy"]) == ("Ada", {"team": "red"}, RULES)
    assert abs(found["expires_at"] - 90 * DAY_MS - now()) < 60_000


def test_a_key_is_changed_by_what_is_given_and_nothing_else(command: Command, project):
    made = command(
        "keys", "create", "-p", "acme", "--name", "ci", *OPTIONS, "--owner", "Ada", "--label", "a=1"
    ).json()
    change = ("keys", "set", made["id"])
    assert command(*change, "--rpm", "5", "--models", "any", "--label", "b=2", "--name", "cd") == (0, "", "")
    found = listed(command, made["id"])
    assert found["policy"] == {**{name: rule for name, rule in RULES.items() if name != "models"}, "rpm": 5}
    assert (found["name"], found["owner"], found["labels"]) == ("cd", "Ada", {"a": "1", "b": "2"})
    lifted = ("--agents", "any", "--deny-tools", "none", "--networks", "any", "--max-output-tokens", "none")
    numbers = (
        "--store",
        "client",
        "--retention-days",
        "none",
        "--rpm",
        "none",
        "--tpm",
        "none",
        "--concurrent",
        "none",
        "--model-limit",
        "none",
    )
    command(*change, *lifted, *numbers, "--owner", "", "--label", "a=", "--expires", "2099-12-31")
    found = listed(command, made["id"])
    assert (found["policy"], found["owner"], found["labels"]) == ({}, None, {"b": "2"})
    assert found["expires_at"] == 4_102_358_400_000
    command(*change, "--expires", "none")
    assert listed(command, made["id"])["expires_at"] is None


def test_limits_for_models_are_set_one_by_one(command: Command, database_url, project):
    made = command("projects", "create", "other", "--model-limit", "a:b:rpm=1").json()
    assert made["policy"] == {"model_limits": {"a:b": {"rpm": 1}}}

    def limits(*texts: str) -> Any:
        options = [option for text in texts for option in ("--model-limit", text)]
        assert command("projects", "set", "other", *options) == (0, "", "")
        return command("projects", "list").json()[1]["policy"].get("model_limits")

    assert limits("a:b:tpm=2", "a:b:concurrent=3") == {"a:b": {"rpm": 1, "tpm": 2, "concurrent": 3}}
    assert limits("a:b:rpm=none,tpm=5", "x*:rpm=1") == {"a:b": {"tpm": 5, "concurrent": 3}, "x*": {"rpm": 1}}
    assert limits("a:b:none") == {"x*": {"rpm": 1}}
    told = json.loads(audited(database_url)[-1].details)
    assert told["before"]["policy"] == {
        "model_limits": {"a:b": {"tpm": 5, "concurrent": 3}, "x*": {"rpm": 1}}
    }
    assert told["after"]["policy"] == {"model_limits": {"x*": {"rpm": 1}}}
    assert limits("none") is None


def test_a_project_has_a_policy_for_all_its_keys(command: Command, database_url, project):
    command(
        "projects",
        "set",
        "acme",
        "--models",
        "gem*",
        "--owner",
        "Ada",
        "--label",
        "a=1",
        "--retention-days",
        "9",
    )
    [found] = command("projects", "list").json()
    assert (found["policy"], found["owner"], found["labels"]) == ({"models": ["gem*"]}, "Ada", {"a": "1"})
    assert found["retention_days"] == 9
    made = command("keys", "create", "-p", "acme", "--name", "ci", "--rpm", "5").json()
    allowed = holder(database_url, made["key"])
    assert allowed is not None
    assert allowed.project_policy.models == (("gem*",),)
    assert allowed.key_policy.rpm == 5
    assert command("projects", "create", "other", "--rpm", "5").json()["policy"] == {"rpm": 5}


REFUSED = {
    "no pattern": (("--models", "a b"), "'models': 'a b' is no pattern of names."),
    "no tool": (("--deny-tools", "mcp-server"), "'deny_tools': 'mcp-server' is no pattern of names."),
    "no network": (
        ("--networks", "office"),
        "'networks': 'office' does not appear to be an IPv4 or IPv6 network",
    ),
    "no store": (("--store", "maybe"), "'store' is one of client, never, always."),
    "no rate": (("--rpm", "0"), "'rpm' must be a whole number from 1 to 9007199254740992."),
    "no model": (("--model-limit", "a b:rpm=1"), "'model_limits': 'a b' is no pattern of names."),
    "no rate of a model": (
        ("--model-limit", "gem*:rpm=1,tmp=1"),
        "'model_limits.gem*.tmp': a policy has no such field.",
    ),
    "no owner": (("--owner", "a\nb"), "An owner has 1 to 200 printable characters."),
    "no label": (("--label", f"{'a' * 64}=1"), "The name and the value of a label have 1 to 63 characters."),
}


@ON_SQLITE
@pytest.mark.parametrize(("options", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_set_is_one_line_and_changes_nothing(
    command: Command, database_url, project, options, why
):
    made = command("keys", "create", "-p", "acme", "--name", "ci").json()
    for arguments in (
        ("projects", "create", "other"),
        ("projects", "set", "acme"),
        ("keys", "create", "-p", "acme", "--name", "x"),
        ("keys", "set", made["id"]),
    ):
        assert command(*arguments, *options).refusal(1).startswith(f"gateway: {why}")
    assert len(command("projects", "list").json()) == len(command("keys", "list").json()) == 1
    assert len(audited(database_url)) == 2


@ON_SQLITE
@pytest.mark.parametrize(
    "arguments",
    [
        ("projects", "set", "acme"),
        ("projects", "set", "acme", "--rpm", "many"),
        ("keys", "set", "key_1"),
        ("keys", "set", "key_1", "--label", "team"),
        ("keys", "set", "key_1", "--expires", "soon"),
        ("keys", "rotate", "key_1", "--grace", "1 day"),
        ("keys", "create", "-p", "acme", "--name", "x", "--tpm", "1.5"),
        ("projects", "set", "acme", "--model-limit", "rpm=5"),
        ("projects", "set", "acme", "--model-limit", "gemini:5"),
        ("projects", "set", "acme", "--model-limit", "gemini:rpm=5,"),
    ],
)
def test_wrong_usage_is_code_2(command: Command, arguments):
    refused = command(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "Usage: " in refused.err


@ON_SQLITE
def test_a_key_does_not_expire_in_the_past(command: Command, project):
    refused = command("keys", "create", "-p", "acme", "--name", "x", "--expires", "2001-01-01")
    assert refused.refusal(1) == "gateway: A key cannot expire in the past: revoke it."


def test_a_rotated_key_goes_on_for_a_while(command: Command, database_url, project):
    made = command(
        "keys", "create", "-p", "acme", "--name", "ci", *OPTIONS, "--owner", "Ada", "--label", "a=1"
    ).json()
    rotated = command("keys", "rotate", made["id"], "--grace", "7d").json()
    assert list(rotated) == ["id", "project", "key"]
    assert rotated["key"] != made["key"]
    old, new = listed(command, made["id"]), listed(command, rotated["id"])
    for same in ("project", "name", "owner", "labels", "policy"):
        assert new[same] == old[same]
    assert new["expires_at"] is None
    assert abs(old["expires_at"] - 7 * DAY_MS - now()) < 60_000
    assert holder(database_url, made["key"]) is not None
    assert holder(database_url, rotated["key"]) is not None
    command("keys", "rotate", rotated["id"], "--grace", "0s").json()
    assert holder(database_url, rotated["key"]) is None
    for gone in (rotated["id"], "key_nobody"):
        refused = command("keys", "rotate", gone)
        assert refused.refusal(1) == f"gateway: There is no valid key '{gone}'."
    too_long = command("keys", "rotate", made["id"], "--grace", "91d")
    assert too_long.refusal(1) == "gateway: The grace period is at most 90 days."


def test_a_leaked_key_is_identified_and_not_kept(command: Command, database_url, project, monkeypatch):
    made = command("keys", "create", "-p", "acme", "--name", "ci", "--owner", "Ada").json()
    found = command("keys", "identify", made["key"]).json()
    assert found == {
        **{name: found[name] for name in ("created_at", "expires_at", "revoked_at")},
        "id": made["id"],
        "project_id": project,
        "project": "acme",
        "name": "ci",
        "owner": "Ada",
        "labels": {},
        "state": "valid",
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(made["key"] + "\n"))
    assert command("keys", "identify", "-").json() == found
    command("keys", "revoke", made["id"])
    assert command("keys", "identify", made["key"]).json()["state"] == "revoked"
    rotated = command("keys", "create", "-p", "acme", "--name", "cd").json()
    command("keys", "rotate", rotated["id"], "--grace", "0s")
    assert command("keys", "identify", rotated["key"]).json()["state"] == "expired"
    unknown = command("keys", "identify", keys.new_key())
    assert unknown.refusal(1) == "gateway: This key was not made here."
    for no_key in ("", "AIzaSyA1234567890", made["key"][:-1], "' OR 1=1"):
        assert (
            command("keys", "identify", no_key).refusal(1)
            == "gateway: This is no key of an Interactions Gateway."
        )
    with Records(database_url) as records:
        text = records.text()
    assert made["key"].encode() not in text
    assert rotated["key"].encode() not in text


def test_every_look_at_what_a_secret_is_or_whose_is_one_record(command: Command, database_url, project):
    made = command("keys", "create", "-p", "acme", "--name", "ci").json()
    command("keys", "identify", made["key"]).json()
    command("keys", "identify", keys.new_key()).refusal(1)
    command("keys", "identify", "no key").refusal(1)
    assert command("projects", "webhook-secret", "acme").out.startswith("whsec_")
    told = [(each.action, each.project_id, each.target, each.outcome) for each in audited(database_url)]
    assert sorted(told) == [
        ("key.create", project, made["id"], "ok"),
        ("key.identify", "gateway", None, "not_found"),
        ("key.identify", project, made["id"], "ok"),
        ("project.create", project, project, "ok"),
        ("project.webhook_secret", project, project, "ok"),
    ]


def test_every_change_is_one_record_and_no_reading_is(command: Command, database_url, project):
    command("projects", "set", "acme", "--rpm", "5", "--retention-days", "3")
    made = command("keys", "create", "-p", "acme", "--name", "ci", "--models", "a").json()
    command("keys", "set", made["id"], "--models", "b", "--label", "x=1")
    rotated = command("keys", "rotate", made["id"], "--grace", "1h").json()
    command("keys", "revoke", made["id"])
    for reading in (("projects", "list"), ("keys", "list")):
        command(*reading).json()
    command("keys", "revoke", made["id"])  # a second time
    command("projects", "create", "acme")
    found = audited(database_url)
    assert {(record.project_id, record.actor_kind, record.outcome) for record in found} == {
        (project, "cli", "ok")
    }
    assert all(record.actor for record in found)
    told = [(record.action, record.target, json.loads(record.details or b"null")) for record in found]
    assert sorted(told, key=lambda one: one[0]) == [
        (
            "key.create",
            made["id"],
            {
                "after": {
                    "name": "ci",
                    "owner": None,
                    "labels": {},
                    "policy": {"models": ["a"]},
                    "expires_at": None,
                }
            },
        ),
        ("key.revoke", made["id"], None),
        ("key.rotate", made["id"], {"successor": rotated["id"], "grace_ms": 3_600_000}),
        (
            "key.set",
            made["id"],
            {
                "before": {"labels": {}, "policy": {"models": ["a"]}},
                "after": {"labels": {"x": "1"}, "policy": {"models": ["b"]}},
            },
        ),
        (
            "project.create",
            project,
            {"after": {"name": "acme", "owner": None, "labels": {}, "policy": {}, "retention_days": None}},
        ),
        (
            "project.set",
            project,
            {
                "before": {"policy": {}, "retention_days": None},
                "after": {"policy": {"rpm": 5}, "retention_days": 3},
            },
        ),
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"id": "prj_x"},
        {"project_id": "prj_x"},
        {"name": "x", "digest": "x"},
        {"revoked_at": None},
        {"created_at": 1},
        {"prefix": "x"},
        {"labels": "x"},
        {"labels": {"a": 1}},
        {"policy": "x"},
        {"policy": {"scopes": ["*"]}},
        {"expires_at": "tomorrow"},
        {"owner": 7},
        {"labels": {str(number): "x" for number in range(65)}},
    ],
)
async def test_only_the_listed_fields_can_be_set(database: Database, given):
    """Mass assignment: what nobody meant to be set is refused, not ignored."""
    settings = Settings(pepper=PEPPER)  # type: ignore[arg-type] # pydantic makes a secret of it
    teams = Teams(settings, database, Actor("cli", "ada"))
    project = await teams.create_project("acme")
    made = await teams.create_key("acme", "ci")
    before = await teams.projects(), await teams.keys()
    with pytest.raises(OperationError):
        await teams.set_key(made.id, given)
    with pytest.raises(OperationError):
        await teams.create_key("acme", "cd", given)
    if "expires_at" not in given:
        with pytest.raises(OperationError):
            await teams.set_project(project.id, given)
    assert (await teams.projects(), await teams.keys()) == before
