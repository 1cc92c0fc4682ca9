"""A folder that an export is written to: files of lines, and a manifest that says what is in them.

A file counts when it stands in the manifest, which is replaced as a whole: an export that was
broken off goes on behind the last such file, whatever else it had begun to write.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from app.admin.operations import OperationError
from app.core.model import Json

MANIFEST = "manifest.json"
_LINES = 10_000
_BYTES = 256 << 20
_MEMORY = 1 << 20


@dataclass(slots=True)
class Manifest:
    """What has been exported. `cursor` is where it goes on; `filters` are what was asked for."""

    filters: Json
    files: list[Json] = field(default_factory=list)
    count: int = 0
    cursor: list[Any] | None = None
    complete: bool = False


@dataclass(slots=True)
class Lines:
    """How many lines there are, how long they are, and their digest."""

    count: int = 0
    size: int = 0
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def full(self, most: int) -> bool:
        """Whether they are as many, or as long, as may stand together."""
        return self.count >= most or self.size >= _BYTES

    def take(self, lines: Iterable[bytes], most: int) -> list[bytes]:
        """Those of these lines that may stand here, too."""
        taken = []
        for line in lines:
            if self.full(most):
                break
            self.add(line)
            taken.append(line)
        return taken

    def add(self, line: bytes) -> None:
        """One more line, with its end."""
        self.count += 1
        self.size += len(line)
        self._digest.update(line)

    def told(self) -> Json:
        """What a manifest says of them."""
        return {"count": self.count, "bytes": self.size, "sha256": self._digest.hexdigest()}


class Folder:
    """Takes lines, and remembers after which one everything is safe."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._path = path
        self._memory: list[bytes] = []
        self._waiting = 0
        self._lines = Lines()

    @classmethod
    def open(cls, path: Path, filters: Json, *, free: str) -> Self:
        """A new export, or one that was broken off: of the same filters, but for the one named `free`."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path / MANIFEST
        if not file.exists():
            if any(path.iterdir()):
                raise OperationError(f"{path} is not empty, and has no {MANIFEST} to go on with.")
            made = cls(path, Manifest(filters))
            made._save()
            return made
        manifest = Manifest(**orjson.loads(file.read_bytes()))
        if {**manifest.filters, free: None} != {**filters, free: None}:
            raise OperationError(f"{path} holds an export of something else.")
        return cls(path, manifest)

    def add(self, line: bytes, cursor: list[Any]) -> None:
        """One more line, with its end, and where to go on behind it."""
        if not self._lines.count:
            self._target().unlink(missing_ok=True)
        self._memory.append(line)
        self._lines.add(line)
        self._waiting += len(line)
        if self._waiting >= _MEMORY:
            self._flush()
        if self._lines.full(_LINES):
            self.close(cursor)

    def close(self, cursor: list[Any] | None, *, complete: bool = False) -> None:
        """End the file that is being written, and have the manifest name it."""
        if self._lines.count:
            self._flush(durably=True)
            self.manifest.files.append({"name": self._target().name, **self._lines.told()})
            self.manifest.count += self._lines.count
            self._lines = Lines()
        self.manifest.cursor, self.manifest.complete = cursor, complete
        self._save()

    def _flush(self, *, durably: bool = False) -> None:
        """Write what is in memory."""
        with os.fdopen(os.open(self._target(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.writelines(self._memory)
            self._memory.clear()
            self._waiting = 0
            if durably:
                file.flush()
                os.fsync(file.fileno())

    def _target(self) -> Path:
        return self._path / f"interactions-{len(self.manifest.files) + 1:06}.jsonl"

    def _save(self) -> None:
        draft = self._path / f"{MANIFEST}.part"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(self.manifest, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path / MANIFEST)
