"""Row A11: the pepper is changed step by step, and what hangs on which is told; a lost one is accepted."""

import asyncio
import json
from pathlib import Path

import pytest

from app.auth import keys, pepper
from app.core.versions import Versions
from app.settings import Settings
from app.store.database import Database
from app.store.holders import Holder, Holders
from tests.admin.conftest import PEPPER, Command
from tests.support.audited import sealer

NEW = "another pepper for the tests, as long 9876543210"
CHANGED = {"GATEWAY_PEPPER": NEW, "GATEWAY_PREVIOUS_PEPPER": PEPPER}
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def key(command: Command) -> str:
    """A key of a project `acme`."""
    command("projects", "create", "acme")
    return str(command("keys", "create", "-p", "acme", "--name", "x").json()["key"])


def looked(command: Command, **settings: str) -> tuple[bool, str]:
    """What `doctor` says of the pepper."""
    found = command("doctor", "--json", **settings)
    return next((one["ok"], one["text"]) for one in json.loads(found.out) if one["subject"] == "pepper")


def used(url: str, key: str, peppers: Versions[bytes]) -> Holder | None:
    """What a gateway with these peppers finds."""

    async def ask() -> Holder | None:
        database = Database(url)
        try:
            holders = Holders(database, pepper.fingerprint(peppers.current))
            return await holders.of_key(peppers.map(lambda each: keys.digest(each, key)))
        finally:
            await database.close()

    return asyncio.run(ask())


def sealed(url: str, secret: str) -> None:
    async def once() -> None:
        database = Database(url)
        await sealer(database, pepper.audit_secret(secret.encode())).seal()
        await database.close()

    asyncio.run(once())


def actions(command: Command, **settings: str) -> list[str]:
    """What the gateway's own log says, oldest first."""
    found = command("audit", "list", "-p", "gateway", "--json", **settings).json()
    return [str(record["action"]) for record in reversed(found)]


def test_a11_a_changed_pepper_is_accepted_beside_the_one_before(command: Command, database_url, key):
    made = command("keys", "create", "-p", "acme", "--name", "y", **CHANGED).json()["key"]
    assert used(database_url, made, Versions(NEW.encode())) is not None
    assert used(database_url, key, Versions(NEW.encode())) is None
    for each in (key, made):  # which is whose can be told with either
        assert command("keys", "identify", each, **CHANGED).json()["state"] == "valid"
        prepared = {"GATEWAY_NEXT_PEPPER": NEW}
        assert command("keys", "identify", each, **prepared).json()["state"] == "valid"
    fits = "fits the keys in the database"
    assert looked(command, **CHANGED) == (True, f"{fits}; on the previous one still hang 1 keys")
    assert used(database_url, key, Versions(NEW.encode(), PEPPER.encode())) is not None
    assert looked(command, **CHANGED) == (True, f"{fits}; the previous one can go")
    assert looked(command, GATEWAY_PEPPER=NEW) == (True, fits)
    assert used(database_url, key, Versions(NEW.encode())) is not None


def test_a11_it_is_one_record_in_the_log(command: Command, key):
    for _ in range(2):
        command("keys", "create", "-p", "acme", "--name", "y", **CHANGED).json()
    assert actions(command) == ["pepper.change"]


def test_a11_the_log_is_genuine_with_either_and_counted_until_it_is_signed_anew(
    command: Command, database_url, key
):
    sealed(database_url, PEPPER)
    assert all(chain["ok"] for chain in command("audit", "verify", "--json", **CHANGED).json())
    prepared = {"GATEWAY_NEXT_PEPPER": NEW}
    assert all(chain["ok"] for chain in command("audit", "verify", "--json", **prepared).json())
    assert looked(command, **CHANGED)[1].endswith("still hang 1 keys, 2 logs")
    other = command("audit", "verify", "--json", GATEWAY_PEPPER=NEW)
    assert not any(chain["ok"] for chain in json.loads(other.out))


def test_a11_what_hangs_on_a_pepper_that_is_not_here_is_void_and_told(command: Command, key):
    command("keys", "create", "-p", "acme", "--name", "y", **CHANGED).json()
    ok, text = looked(command, GATEWAY_PEPPER=NEW)
    assert not ok
    assert text.startswith("1 keys made with another pepper, and void: set GATEWAY_PREVIOUS_PEPPER to it")
    for each in command("keys", "list").json():
        command("keys", "revoke", each["id"])
    assert looked(command, GATEWAY_PEPPER=NEW)[0]


def test_a11_a_previous_pepper_that_was_never_used_here_changes_nothing(command: Command, key):
    wrong = {"GATEWAY_PEPPER": NEW, "GATEWAY_PREVIOUS_PEPPER": NEW[::-1]}
    assert "another pepper" in command("keys", "create", "-p", "acme", "--name", "y", **wrong).refusal(1)
    assert "another pepper" in command("serve", "--port", "0", **wrong).refusal(1)
    ok, text = looked(command, **wrong)
    assert not ok
    assert "`gateway pepper accept`" in text


def test_a11_a_lost_pepper_costs_keys_and_no_content(command: Command, database_url, key):
    lost = {"GATEWAY_PEPPER": NEW}
    assert "--yes" in command("pepper", "accept", **lost).err
    assert command("pepper", "accept", "--yes").refusal(1).endswith("there is nothing to accept.")
    assert command("pepper", "accept", "--yes", **lost).out == "Void: 1 keys.\n"
    made = command("keys", "create", "-p", "acme", "--name", "y", **lost).json()["key"]
    assert used(database_url, made, Versions(NEW.encode())) is not None
    assert used(database_url, key, Versions(NEW.encode())) is None
    assert [each["name"] for each in command("projects", "list", **lost).json()] == ["acme"]
    assert actions(command, **lost) == ["pepper.accept"]
    assert command("pepper", "accept", "--yes", **lost).refusal(1).endswith("there is nothing to accept.")


@pytest.fixture
def files(command: Command, monkeypatch, tmp_path: Path) -> Path:
    """The data folder with the pepper in it."""
    monkeypatch.delenv("GATEWAY_PEPPER")
    return tmp_path / "data"


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a11_the_pepper_in_the_folder_is_changed_in_three_steps(command: Command, files, database_url, key):
    first = pepper.load(settings_of(files)).current
    prepared = command("pepper", "rotate").out
    assert "Restart every gateway, then run this again" in prepared
    assert names(files) == ["pepper", "pepper.next"]
    running = pepper.load(settings_of(files))  # what a process has that was restarted now
    assert running.current == first
    assert "The next pepper is the pepper now" in command("pepper", "rotate").out
    assert names(files) == ["pepper", "pepper.previous"]
    restarted = pepper.load(settings_of(files))
    assert (restarted.current, restarted.previous) == (running.coming, first)
    made = command("keys", "create", "-p", "acme", "--name", "y").json()["key"]
    for each in (key, made):
        assert used(database_url, each, running) is not None
    refused = command("pepper", "rotate").refusal(1)
    assert refused == "gateway: On the previous pepper still hang 1 keys."
    for each in (key, made):
        assert used(database_url, each, restarted) is not None
        assert used(database_url, each, running) is not None
    assert command("pepper", "rotate").out.startswith("The previous pepper is gone.")
    assert names(files) == ["pepper"]
    for each in (key, made):
        assert used(database_url, each, pepper.load(settings_of(files))) is not None
    assert actions(command) == ["pepper.prepare", "pepper.change", "pepper.drop"]
    assert looked(command) == (True, "fits the keys in the database")


@ON_SQLITE
def test_a11_a_pepper_that_is_a_setting_is_changed_there(command: Command, key):
    assert "see docs/operations.md" in command("pepper", "rotate").refusal(1)


@ON_SQLITE
def test_a11_others_must_not_read_any_of_them(command: Command, files: Path, key):
    command("pepper", "rotate")
    for name in ("pepper", "pepper.next"):
        (files / name).chmod(0o644)
        wrong = [one["subject"] for one in json.loads(command("doctor").out) if not one["ok"]]
        assert wrong == [str(files / name)]
        (files / name).chmod(0o600)
