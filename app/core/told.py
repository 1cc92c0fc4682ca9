"""What has been told of a step, and what of another telling of it is new.

Streams cut the same step in different ways, so it is not events that are compared but what they
amount to: text, whole items, arguments, annotations and fields, each of which only grows.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from app.core.jsontext import NotJson, parse
from app.core.model import Json
from app.core.pieces import Piece

_SPACE = re.compile(r'("(?:[^"\\]|\\.)*(?:"|\\?$))|[ \t\r\n]+', re.DOTALL)


class Differs(Exception):
    """This is not the step that was told."""


@dataclass(slots=True)
class _Text:
    """A text that grows by pieces."""

    pieces: list[str]
    size: int = 0

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.size += len(text)

    def whole(self) -> str:
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""


_Spot = tuple[int, int]
"""A place in a tape: an item, and how much of it, where it is a text."""


@dataclass(slots=True)
class _Tape:
    """A list that grows: texts side by side are one text, everything else stands for itself."""

    items: list[_Text | Any] = field(default_factory=list)

    def end(self) -> _Spot:
        if self.items and isinstance(last := self.items[-1], _Text):
            return len(self.items) - 1, last.size
        return len(self.items), 0

    def add(self, value: Any) -> None:
        if not isinstance(value, str):
            self.items.append(value)
            return
        if not self.items or not isinstance(self.items[-1], _Text):
            self.items.append(_Text([]))
        self.items[-1].add(value)

    def rest(self, spot: _Spot, value: Any) -> tuple[_Spot, list[Any]]:
        """What of the value is beyond this tape, if anything, and the spot behind the value."""
        at, offset = spot
        here = self.items[at] if at < len(self.items) else None
        if isinstance(value, str):
            rest = self._beyond(at, offset, value) if at < len(self.items) else [value]
            return (at, offset + len(value)), rest
        if isinstance(here, _Text):
            if offset < here.size:
                raise Differs
            at += 1
        if at >= len(self.items):
            return (at + 1, 0), [value]
        if self.items[at] != value:
            raise Differs
        return (at + 1, 0), []

    def _beyond(self, at: int, offset: int, value: str) -> list[Any]:
        here = self.items[at]
        if not isinstance(here, _Text):
            raise Differs
        common = max(0, min(here.size - offset, len(value)))
        if common and not here.whole().startswith(value[:common], offset):
            raise Differs
        if common == len(value):
            return []
        if at < len(self.items) - 1:
            raise Differs
        return [value[common:]]


@dataclass(slots=True)
class Place:
    """How far into a told step another telling has come."""

    content: _Spot = (0, 0)
    summary: _Spot = (0, 0)
    annotations: _Spot = (0, 0)
    arguments: str = ""
    seen: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Told:
    """One step, as far as it has been told, under the index that it was told with."""

    index: int
    type: str
    stopped: bool = False
    content: _Tape = field(default_factory=_Tape)
    summary: _Tape = field(default_factory=_Tape)
    annotations: _Tape = field(default_factory=_Tape)
    arguments: str = ""
    fields: Json = field(default_factory=dict)

    def end(self) -> Place:
        """The place behind everything."""
        return Place(
            self.content.end(),
            self.summary.end(),
            self.annotations.end(),
            self.arguments,
            frozenset(self.fields),
        )

    def add(self, pieces: list[Piece]) -> None:
        """More has been told."""
        for piece in pieces:
            if piece.kind == "field":
                self.fields[piece.name] = piece.value
            elif piece.kind == "arguments":
                self.arguments += piece.value
            else:
                self._tape(piece.kind).add(piece.value)

    def catch_up(self, place: Place, said: list[Piece]) -> Place:
        """The place of a telling whose news, these, have been added."""
        end = self.end()
        return replace(place, **{kind: getattr(end, kind) for kind, _, _ in said if kind != "field"})

    def rest(self, place: Place, pieces: list[Piece]) -> tuple[Place, list[Piece]]:
        """What of these pieces has not been told, and the place behind them. Raises Differs."""
        place, rest = replace(place), []
        for piece in pieces:
            rest += self._rest(place, piece)
        return place, rest

    def is_covered(self, place: Place) -> bool:
        """Whether a telling that has come to this place has told everything that was told."""
        told = {name for name, value in self.fields.items() if not _empty(value)}
        return (
            place.content >= self.content.end()
            and place.summary >= self.summary.end()
            and place.annotations >= self.annotations.end()
            and self._covers_arguments(place.arguments)
            and told <= place.seen
        )

    def _covers_arguments(self, said: str) -> bool:
        told, said = _tight(self.arguments), _tight(said)
        return said.startswith(told) or (not said and told == "{}") or _same(told, said)

    def _rest(self, place: Place, piece: Piece) -> list[Piece]:
        if piece.kind == "field":
            place.seen |= {piece.name}
            return self._rest_of_field(piece)
        if piece.kind == "arguments":
            before, place.arguments = place.arguments, place.arguments + piece.value
            return self._rest_of_arguments(before, piece)
        spot, rest = self._tape(piece.kind).rest(getattr(place, piece.kind), piece.value)
        setattr(place, piece.kind, spot)
        return [piece._replace(value=value) for value in rest]

    def _rest_of_field(self, piece: Piece) -> list[Piece]:
        if piece.name not in self.fields:
            return [piece]
        told = self.fields[piece.name]
        if told == piece.value or _empty(piece.value):
            return []
        if not _empty(told):
            raise Differs
        return [piece]

    def _rest_of_arguments(self, before: str, piece: Piece) -> list[Piece]:
        """JSON text may be written with other spaces."""
        if before == self.arguments:
            return [piece] if piece.value else []
        told, said = _tight(self.arguments), _tight(before + piece.value)
        if told.startswith(said) or _same(told, said):
            return []
        if not said.startswith(told):
            raise Differs
        return [piece._replace(value=said[len(told) :])]

    def _tape(self, kind: str) -> _Tape:
        return getattr(self, kind)  # type: ignore[no-any-return]


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _tight(text: str) -> str:
    """JSON text, or the beginning of one, without the spaces between its tokens."""
    return _SPACE.sub(lambda found: found[1] or "", text)


def _same(one: str, other: str) -> bool:
    try:
        return bool(parse(one) == parse(other))
    except NotJson:
        return False
