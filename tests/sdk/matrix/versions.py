"""The versions of the SDK: those that have a lock file. Each gets an environment, made once and then kept.

An environment is kept in `.cache/sdks` under the hash of what it was made of.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_HERE = Path(__file__).parent
_SCENARIOS = _HERE.parent / "javascript" / "scenarios.mjs"
_KEPT = ROOT / ".cache" / "sdks"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
_NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


@dataclass(frozen=True)
class Version:
    """One version of the SDK for one language."""

    language: str
    number: str

    def __str__(self) -> str:
        return f"{self.language} {self.number}"

    @property
    def parts(self) -> tuple[int, ...]:
        """To be compared."""
        return tuple(int(part) for part in self.number.split("."))

    @property
    def runs_here(self) -> bool:
        """Whether this machine has what the language needs."""
        return self.language == "Python" or bool(shutil.which("node") and shutil.which("npm"))

    def command(self) -> list[str]:
        """What runs the scenarios with this version, which is installed if it is not yet."""
        folder = self._installed()
        if self.language == "Python":
            return [str(folder / "bin" / "python"), "-W", "ignore", "-m", "tests.sdk.matrix"]
        shutil.copy(_SCENARIOS, folder)  # it finds the SDK beside it
        return ["node", str(folder / _SCENARIOS.name)]

    @property
    def _locks(self) -> list[Path]:
        if self.language == "Python":
            return [_HERE / "python" / f"{self.number}.txt"]
        folder = _HERE / "javascript" / self.number
        return [folder / "package.json", folder / "package-lock.json"]

    def _installed(self) -> Path:
        made_of = b"".join(lock.read_bytes() for lock in self._locks) + sys.version.encode()
        name = f"{self.language.lower()}-{self.number}-{hashlib.sha256(made_of).hexdigest()[:12]}"
        kept = _KEPT / name
        if not kept.is_dir():
            draft = _KEPT / f"{name}.{os.getpid()}"
            draft.mkdir(parents=True)
            if self.language == "Python":
                _run([sys.executable, "-m", "venv", str(draft)], draft)
                locked = ("--only-binary", ":all:", "--require-hashes", "-r", str(self._locks[0]))
                _run([str(draft / "bin" / "python"), *_PIP, *locked], draft)
            else:
                for lock in self._locks:
                    shutil.copy(lock, draft)
                _run(list(_NPM), draft)
            _keep(draft, kept)
        return kept


def _keep(draft: Path, kept: Path) -> None:
    try:
        draft.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
        shutil.rmtree(draft)  # somebody else was faster


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, timeout=400, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _found() -> list[Version]:
    python = [Version("Python", lock.stem) for lock in _HERE.glob("python/*.txt")]
    script = [
        Version("JavaScript", lock.parent.name) for lock in _HERE.glob("javascript/*/package-lock.json")
    ]
    return [version for some in (python, script) for version in sorted(some, key=lambda each: each.parts)]


VERSIONS = _found()
