"""The command line, in this process, where nothing but the command counts; and the admin API of a gateway."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.admin import cli
from app.auth import pepper
from tests.support.databases import KINDS, Templates
from tests.support.gateway import Gateway

PEPPER = "a pepper for the tests, long enough 0123456789"
TOKEN = "an-admin-token-for-tests-0123456789abcdef"
FINGERPRINT = pepper.fingerprint(PEPPER.encode())


class Result(NamedTuple):
    """What a command leaves behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, which must be JSON."""
        assert (self.code, self.err) == (0, ""), self
        return json.loads(self.out)

    def refusal(self, code: int) -> str:
        """Why it was refused: one line, and nothing else."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        return self.err.strip()


class Command:
    """Runs `gateway ...` on a database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, **environment: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["gateway", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = self._capsys.readouterr()
        return Result(int(ended.value.code or 0), out, err)


@pytest.fixture
def command(monkeypatch, capsys, database_url: str, tmp_path: Path) -> Iterator[Command]:
    """The command line, on an empty migrated database of either kind."""
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "GEMINI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GATEWAY_PEPPER", PEPPER)
    monkeypatch.setenv("GATEWAY_CONFIG", "")
    monkeypatch.chdir(tmp_path)
    root, logger = logging.getLogger(), logging.getLogger("gateway")
    before = root.handlers[:], root.level, logger.handlers[:], logger.level
    yield Command(monkeypatch, capsys)
    root.handlers[:], root_level, logger.handlers[:], level = before
    root.setLevel(root_level)
    logger.setLevel(level)


def client(gateway: Gateway, token: str | None = TOKEN) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"{gateway.url}/admin/v1", headers=headers, timeout=30, trust_env=False)


@pytest.fixture(scope="module", params=KINDS)
def process(request, templates: Templates, tmp_path_factory) -> Iterator[Gateway]:
    with templates.fresh(request.param) as url:
        running = Gateway(tmp_path_factory.mktemp("admin"), url, GATEWAY_ADMIN_TOKEN=TOKEN)
        yield running
        running.stop()


@pytest.fixture
def admin(process: Gateway) -> Iterator[httpx.Client]:
    with client(process) as http:
        yield http
    process.must_be_in_order()


def test_limits_for_models_are_set_by_pattern(admin: httpx.Client) -> None:
    limits = {"gemini-3*": {"rpm": 10, "tpm": 1000}, "*-pro": {"concurrent": 1}}
    made = admin.post(
        "/projects", json={"name": "modest", "policy": {"rpm": 9, "model_limits": limits}}
    ).json()
    assert made["policy"] == {"rpm": 9, "model_limits": limits}
    change = {"policy": {"model_limits": {"gemini-3*": {"tpm": None}, "*-pro": None}}}
    changed = admin.patch("/projects/modest", json=change).json()
    assert changed["policy"] == {"rpm": 9, "model_limits": {"gemini-3*": {"rpm": 10}}}
    for wrong, named in (
        ({"gemini-3*": {"rpm": 0}}, "'model_limits.gemini-3*.rpm' must be a whole number"),
        ({"a b": {"rpm": 1}}, "'model_limits': 'a b' is no pattern"),
        ({"a": {"rmp": 1}}, "body.policy.model_limits.a.rmp: "),
    ):
        refused = admin.patch("/projects/modest", json={"policy": {"model_limits": wrong}})
        assert refused.status_code == 400
        assert named in refused.json()["error"]["message"]
