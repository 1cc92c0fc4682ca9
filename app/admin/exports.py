"""Exports: interactions with all their content, as lines of JSON, into a folder or to whoever reads a stream.

No more is in memory than one piece of what the store reads. Who exports stands in the audit log before
anything is told.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from app.admin import positions
from app.admin.folder import Folder, Lines, Manifest
from app.admin.operations import Operations
from app.admin.questions import ExportAsked
from app.core.audit import Actor, Entry
from app.core.model import Json
from app.errors import InvalidRequest
from app.settings import Settings
from app.store.audit import Audit
from app.store.database import Database
from app.store.export import Choice, Export, Exported
from app.wire import steps as wire_steps


class Line(NamedTuple):
    """An interaction as a line, and where to go on behind it."""

    text: bytes
    place: tuple[int, str]


class Exports:
    """What an auditor can take along."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._gateway = Operations(settings, database)
        self._audit = Audit(database)
        self._export = Export(database)
        self._actor = actor

    async def write(self, asked: ExportAsked, folder: Path) -> Manifest:
        """Write what is asked for into a folder, or go on where that was broken off."""
        filters = await self._filters(asked)
        target = Folder.open(folder, filters, free="until" if asked.until is None else "")
        if not target.manifest.complete:
            await self._tell(filters)
            await self._fill(target)
        return target.manifest

    async def _fill(self, target: Folder) -> None:
        cursor = target.manifest.cursor
        after = (cursor[0], cursor[1]) if cursor is not None else None
        async for piece in self._pieces(_choice(target.manifest.filters), after):
            for text, place in piece:
                target.add(text, [*place])
                after = place
        target.close([*after] if after is not None else None, complete=True)

    async def part(self, asked: ExportAsked, most: int, token: str | None) -> AsyncIterator[bytes]:
        """Some lines, and one behind them that says how many they are and where the next part begins.

        A part that was broken off can be asked for again.
        """
        filters, same = await self._filters(asked), _mark(asked)
        after = None
        if token is not None:
            *place, filters["until"], mark = positions.read(token, int, str, int, int)
            if mark != same:
                raise InvalidRequest("'page_token' belongs to another export.")
            after = int(place[0]), str(place[1])
        await self._tell(filters)
        lines, more = Lines(), None
        async for piece in self._pieces(_choice(filters), after):
            some = lines.take((line.text for line in piece), most)
            yield b"".join(some)
            if len(some) < len(piece) or lines.full(most):
                more = positions.text(*piece[len(some) - 1].place, filters["until"], same)
                break
        told = {"filters": filters, **lines.told(), "next_page_token": more}
        yield orjson.dumps({"manifest": told}, option=orjson.OPT_APPEND_NEWLINE)

    async def _filters(self, asked: ExportAsked) -> Json:
        """What is asked for, as a manifest has it: up to this moment, if nothing else is said."""
        owner = await self._gateway.project(asked.project)
        labels = dict(label.split("=", 1) for label in asked.label)
        return {
            "project_id": owner.id,
            "key_id": asked.key_id,
            "model": asked.model,
            "labels": labels,
            "since": asked.since,
            "until": asked.until if asked.until is not None else _now(),
        }

    async def _tell(self, filters: Json) -> None:
        project_id = filters["project_id"]
        entry = Entry(project_id, self._actor, "interaction.export", project_id, details=filters)
        await self._audit.write(entry)

    async def _pieces(self, choice: Choice, after: tuple[int, str] | None) -> AsyncIterator[list[Line]]:
        """The chosen interactions, so many at a time as there may be in memory."""
        while found := await self._export.piece(choice, after):
            after = found[-1].place
            yield await asyncio.to_thread(_lines, found)  # nobody else waits for it


def _choice(filters: Json) -> Choice:
    labels = tuple((filters.get("labels") or {}).items())
    return Choice(**{**filters, "labels": labels})


def _mark(asked: ExportAsked) -> int:
    """What tells one export's parts from another's."""
    return zlib.crc32(asked.model_dump_json(include=set(ExportAsked.model_fields)).encode())


def _lines(found: Sequence[Exported]) -> list[Line]:
    return [Line(_line(each), each.place) for each in found]


def _line(exported: Exported) -> bytes:
    """The interaction as the API shows it, and beside it what the API does not show."""
    found = exported.interaction
    beside = {
        "project_id": found.project_id,
        "key_id": exported.key_id,
        "root_id": found.root_id,
        "stored": exported.store,
        "background": found.background,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "expires_at": exported.expires_at,
        "upstream": exported.upstream,
    }
    shown = orjson.Fragment(wire_steps.interaction(found, timeline=True))
    whole = {"interaction": shown, "request": orjson.Fragment(found.options), "record": beside}
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)


def _now() -> int:
    return time.time_ns() // 1_000_000
