"""Identifiers: made here, shown to clients, never escaped in a URL ([A-Za-z0-9_-] only)."""

import base64
import random
import re
import secrets
import time
from typing import NamedTuple

_INTERACTION = re.compile(r"v1_[A-Za-z0-9_-]{8,128}")


class Place(NamedTuple):
    """How much of a stream a client has: all events up to number `seq`, and `part` frames of the next.

    Parts are of a dialect in which one event becomes several frames. A `replayed` stream was made
    from the stored steps, so its events are not those that were sent while the run lasted.
    """

    seq: int = 0
    part: int = 0
    replayed: bool = False


START = Place()


def new_interaction_id() -> str:
    """A new id, `v1_` and 28 characters.

    First 48 bits of time, so that rows written together lie together in an index; then 120 random
    bits, so that nobody guesses one.
    """
    return "v1_" + _text(_moment() + secrets.token_bytes(15))


def new_id(prefix: str) -> str:
    """An identifier for anything that need not be secret: `prefix_`, 48 bits of time and 48 random ones."""
    return f"{prefix}_{_text(_moment() + random.randbytes(6))}"  # noqa: S311 - no secret


def is_interaction_id(value: str) -> bool:
    """Whether this has the shape of an interaction id, ours or Google's."""
    return _INTERACTION.fullmatch(value) is not None


def event_id(interaction_id: str, seq: int) -> str:
    """The id of an interaction's event number `seq` (from 1): opaque, the same in every dialect."""
    return f"{interaction_id[-8:]}_{seq}"


def replayed_id(interaction_id: str, seq: int) -> str:
    """The id of event number `seq` of a stream that is made from the stored steps."""
    return f"{interaction_id[-8:]}_r{seq}"


def event_seq(interaction_id: str, value: str) -> int | None:
    """The number in this event id, or None when it is not an event id of this interaction."""
    tail, _, digits = value.rpartition("_")
    if tail != interaction_id[-8:] or not re.fullmatch(r"[1-9][0-9]{0,15}", digits):
        return None
    return int(digits)


def part_id(whole: str, part: int) -> str:
    """The id of the first, second, ... of the frames that an event becomes; the last has the event's own."""
    return f"{whole}-{part}"


def place(interaction_id: str, value: str) -> Place | None:
    """The place behind the event or the part with this id, or None when it is not of this interaction."""
    tail, mark, number = value.rpartition("_")
    replayed = number.startswith("r")
    if replayed:
        value = tail + mark + number[1:]
    whole, _, part = value.rpartition("-")
    if re.fullmatch(r"[1-9][0-9]{0,8}", part) and (seq := event_seq(interaction_id, whole)):
        return Place(seq - 1, int(part), replayed)
    seq = event_seq(interaction_id, value)
    return None if seq is None else Place(seq, 0, replayed)


def _moment() -> bytes:
    return (time.time_ns() // 1_000_000).to_bytes(6, "big")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
