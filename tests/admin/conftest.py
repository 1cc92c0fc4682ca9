"""The command line: in this process, where nothing but the command counts."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.admin import cli
from app.auth import pepper

PEPPER = "a pepper for the tests, long enough 0123456789"
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
