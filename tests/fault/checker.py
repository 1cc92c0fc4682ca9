"""The checker: counts the promises that a campaign's evidence shows to be broken.

It knows the evidence and nothing of the gateway: no code of it is used here.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tests.fault.evidence import Evidence, Frame, Look, Reading, Row, frames_of, text_of

RUNNING = ("queued", "in_progress")
_EXCUSES = ("kill", "outage", "disconnect")
_GRACE = 3.0
"""Seconds in which a fault may take the record of a call, or of its end, with it."""


class Violation(NamedTuple):
    """A broken promise: which, of which interaction, and how it shows."""

    kind: str
    tag: str
    text: str


KINDS = {
    "stuck": "a run that has not ended",
    "two-ends": "an interaction with more than one end, or an end that changed",
    "numbering": "event numbers with a gap or a repeat",
    "end-mark": "an event log without exactly one terminal event, at its end",
    "changed": "an event that differs from what somebody saw",
    "lost": "something that a client saw and that is not stored",
    "order": "a reader with a gap, a repeat or a wrong place",
    "early-end": "an end that was told before it was committed",
    "text": "an answer that is not the text of its events",
    "mixed": "an answer that two calls of the upstream have made",
    "incomplete": "a completed interaction of which something is missing",
    "unrecorded": "a call of the upstream without a row",
    "rerun": "a model that was called again although its output had been seen",
    "chain": "an ended interaction that could not be continued",
    "undead": "a deleted interaction that is still there",
    "leaked": "content of an interaction that was not to be stored",
}


def check(evidence: Evidence) -> list[Violation]:
    """Every broken promise in this evidence."""
    return [*_Check(evidence).violations()]


class _Check:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._rows = {row.tag: row for row in evidence.rows}
        self._logs = {row.tag: [*_log_of(row)] for row in evidence.rows}
        self._heard = [*evidence.readings, *evidence.replays]

    def violations(self) -> Iterator[Violation]:
        for row in self._evidence.rows:
            yield from self._row(row)
        yield from self._twins()
        yield from self._same_bytes()
        for reading in self._heard:
            yield from self._reading(reading)
        for replay in self._evidence.replays:
            yield from self._replay(replay)
        for look in self._evidence.looks:
            yield from self._look(look)
        yield from self._told()
        yield from self._calls()
        for tag, why in self._evidence.broken_chains.items():
            yield Violation("chain", tag, why)

    def _row(self, row: Row) -> Iterator[Violation]:
        if row.status in RUNNING or row.leased:
            yield Violation("stuck", row.tag, f"is {row.status}")
            return
        if row.tag in self._evidence.deleted:
            yield Violation("undead", row.tag, f"was deleted and is {row.status}")
        if row.tag in self._evidence.cancelled and row.status != "cancelled":
            yield Violation("two-ends", row.tag, f"was told to be cancelled and is {row.status}")
        if not row.store:
            if row.output or row.batches:
                yield Violation("leaked", row.tag, "has content in the database")
            return
        yield from self._log(row, self._logs[row.tag])
        yield from self._text(row, self._logs[row.tag])

    def _log(self, row: Row, log: list[Frame]) -> Iterator[Violation]:
        expected = 1
        for first, last, raw in row.batches:
            if first != expected or len(frames_of(raw)) != last - first + 1:
                yield Violation("numbering", row.tag, f"{first}..{last} where {expected} comes next")
            expected = last + 1
        if row.last_seq != expected - 1:
            yield Violation("numbering", row.tag, f"ends at {row.last_seq}, its log at {expected - 1}")
        if len({frame.id for frame in log}) != len(log) or not all(frame.id for frame in log):
            yield Violation("numbering", row.tag, "event ids are missing or come twice")
        ends = [place for place, frame in enumerate(log) if frame.is_end]
        if log and ends != [len(log) - 1]:
            yield Violation("end-mark", row.tag, f"{len(log)} events, of which these end it: {ends}")
        # A cancelled interaction says so in `interaction.completed`; only a failed one has an `error`.
        elif log and log[-1].ending != row.status:
            yield Violation("two-ends", row.tag, f"is {row.status}, its log says {log[-1].ending}")

    def _text(self, row: Row, log: list[Frame]) -> Iterator[Violation]:
        stored = text_of(json.loads(row.output or b"[]"))
        if log and stored != (said := "".join(frame.said for frame in log)):
            yield Violation("text", row.tag, f"steps say {stored[-60:]!r}, events {said[-60:]!r}")
        words = re.findall(r"(\d+):(\d+) ", stored)
        if len({call for call, _ in words}) > 1:
            yield Violation("mixed", row.tag, stored[:120])
        counted = [int(word) for _, word in words]
        if counted != [*range(len(counted))]:
            yield Violation("incomplete", row.tag, f"counts {counted}")
        plan = self._evidence.plans.get(row.tag)
        if plan and row.status == "completed" and len(words) != plan.tokens:
            yield Violation("incomplete", row.tag, f"{len(words)} of {plan.tokens} words")

    def _twins(self) -> Iterator[Violation]:
        """One request, one row."""
        for tag, count in Counter(row.tag for row in self._evidence.rows).items():
            if count > 1:
                yield Violation("two-ends", tag, f"{count} rows")

    def _same_bytes(self) -> Iterator[Violation]:
        """An event id has one text, whoever hears it, whenever."""
        first: dict[tuple[str, str], bytes] = {}
        heard = [(reading.tag, reading.frames) for reading in self._heard]
        for tag, frames in [*self._logs.items(), *heard]:
            for frame in frames:
                if frame.id and first.setdefault((tag, frame.id), frame.text) != frame.text:
                    yield Violation("changed", tag, f"event {frame.id}")

    def _reading(self, reading: Reading) -> Iterator[Violation]:
        """What one reader was told, against the log: the same events, in a row, from the right place on."""
        if reading.done and (not reading.frames[-1:] or not reading.frames[-1].is_end) and not reading.after:
            yield Violation("end-mark", reading.tag, "a stream is done without an end")
        if reading.done and reading.frames and reading.frames[-1].event["event_type"] == "error":
            yield Violation("end-mark", reading.tag, "a stream is done after an error")
        if any(frame.is_end for frame in reading.frames[:-1]):
            yield Violation("end-mark", reading.tag, f"heard after the end: {_names(reading.frames)}")
        row, log = self._rows.get(reading.tag), self._logs.get(reading.tag, [])
        if row is None or not row.store or not log:
            return
        places = {frame.id: place for place, frame in enumerate(log)}
        told = [frame.id for frame in reading.frames if frame.id]
        missing = [name for name in told if name not in places]
        if missing or (reading.after and reading.after not in places):
            yield Violation("lost", reading.tag, f"seen, not stored: {missing or reading.after}")
            return
        begin = places[reading.after] + 1 if reading.after else 0
        if [places[name] for name in told] != [*range(begin, begin + len(told))]:
            yield Violation("order", reading.tag, f"after {reading.after}: {told}")
        if any(not frame.id for frame in reading.frames[:-1]):
            yield Violation("order", reading.tag, "an event without an id")

    def _replay(self, replay: Reading) -> Iterator[Violation]:
        """The whole stream, read when all was quiet, is the log."""
        log = self._logs.get(replay.tag, [])
        if log and [frame.text for frame in replay.frames] != [frame.text for frame in log]:
            yield Violation("lost", replay.tag, f"{len(replay.frames)} of {len(log)} events come back")
        row = self._rows.get(replay.tag)
        if row is not None and replay.done != (row.status != "failed"):
            yield Violation("end-mark", replay.tag, f"is {row.status}, its replay done: {replay.done}")

    def _look(self, look: Look) -> Iterator[Violation]:
        """A status that ends something is the last one."""
        row = self._rows.get(look.tag)
        if look.after_end and look.status in RUNNING:
            yield Violation("early-end", look.tag, f"its end was told, but it was {look.status}")
        if row is None or look.status in RUNNING:
            return
        # What is not stored is answered while its record is being written, which a death may prevent.
        if look.status != row.status and (row.store or not self._excused(look.at)):
            yield Violation("two-ends", look.tag, f"was {look.status}, is {row.status}")
        if row.store and look.text is not None and look.text != text_of(json.loads(row.output or b"[]")):
            yield Violation("text", look.tag, f"was told {look.text[-60:]!r}")

    def _told(self) -> Iterator[Violation]:
        """Whatever has been told of a stored interaction is in the database."""
        gone = self._evidence.deleted | self._evidence.maybe_deleted
        for tag, name in self._evidence.ids.items():
            row = self._rows.get(tag)
            if tag not in gone and (row is None or row.id != name):
                yield Violation("lost", tag, f"a client knows {name}, the database does not")

    def _calls(self) -> Iterator[Violation]:
        """Each call has left a record; none came after somebody had seen what an earlier one said."""
        seen: dict[str, float] = defaultdict(lambda: float("inf"))
        for reading in self._evidence.readings:
            if reading.content_at is not None:
                seen[reading.tag] = min(seen[reading.tag], reading.content_at)
        gone = self._evidence.deleted | self._evidence.maybe_deleted
        for call in self._evidence.calls:
            if call.tag not in self._rows and call.tag not in gone and not self._excused(call.at):
                yield Violation("unrecorded", call.tag, f"call {call.number}")
            if call.at > seen[call.tag]:
                yield Violation("rerun", call.tag, f"call {call.number}, after content had been seen")

    def _excused(self, at: float) -> bool:
        """Whether a process died, or the database went, within a moment: a call and its row begin together,
        so one may be there without the other."""
        faults = self._evidence.faults
        return any(name in _EXCUSES and begin < at + _GRACE and at < end for name, begin, end in faults)


def _names(frames: list[Frame]) -> list[tuple[str, str]]:
    """The last few of these events."""
    return [(frame.id, frame.event["event_type"]) for frame in frames[-4:]]


def _log_of(row: Row) -> Iterator[Frame]:
    for *_, raw in row.batches:
        yield from frames_of(raw)
