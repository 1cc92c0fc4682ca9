"""The checker can fail: sound evidence passes, and each way of doctoring it is found out."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fault.checker import KINDS, check
from tests.fault.evidence import Call, Evidence, Frame, Look, Plan, Reading, Row, frames_of

TAG, NAME = "run-1", "v1_abc"
WORDS = ["7:0 ", "7:1 ", "7:2 "]


def frame(number: int, **event: Any) -> bytes:
    event["event_id"] = f"e{number}"
    return f"event: {event['event_type']}\ndata: {json.dumps(event)}".encode()


def log(words: list[str] = WORDS, status: str = "completed") -> list[bytes]:
    """The frames of an interaction."""
    said: list[dict[str, Any]] = [
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": word}} for word in words
    ]
    end: dict[str, Any] = {
        "event_type": "interaction.completed",
        "interaction": {"id": NAME, "status": status},
    }
    if status == "failed":
        end = {"event_type": "error", "error": {"code": "aborted", "message": "!"}}
    begin = {"event_type": "interaction.created", "interaction": {"id": NAME, "status": "in_progress"}}
    return [frame(number, **event) for number, event in enumerate([begin, *said, end], 1)]


def joined(frames: list[bytes]) -> bytes:
    return b"".join(text + b"\n\n" for text in frames)


def output(*words: str) -> bytes:
    return json.dumps(
        [{"type": "model_output", "content": [{"type": "text", "text": "".join(words)}]}]
    ).encode()


def row(**changes: Any) -> Row:
    """A sound one, stored in two batches."""
    frames = log()
    sound = Row(
        id=NAME,
        tag=TAG,
        store=True,
        status="completed",
        output=output(*WORDS),
        last_seq=5,
        leased=False,
        batches=((1, 2, joined(frames[:2])), (3, 5, joined(frames[2:]))),
    )
    return dataclasses.replace(sound, **changes)


def reading(frames: list[bytes], after: str | None = None, **more: Any) -> Reading:
    return Reading(TAG, after, [f for text in frames for f in frames_of(text)], **more)


def sound() -> Evidence:
    """One interaction that went well: streamed, left after two events, read on elsewhere, looked at."""
    frames = log()
    return Evidence(
        plans={TAG: Plan(TAG, tokens=3)},
        readings=[
            reading(frames[:2], content_at=10.0),
            reading(frames[2:], after="e2", done=True, content_at=11.0),
        ],
        replays=[reading(frames, done=True)],
        looks=[Look(TAG, "in_progress"), Look(TAG, "completed", "".join(WORDS), after_end=True)],
        ids={TAG: NAME},
        calls=[Call(9.0, TAG, 7)],
        rows=[row()],
    )


def test_sound_evidence_has_no_violations():
    assert check(sound()) == []


Doctor = Callable[[Evidence], None]


def rows(**changes: Any) -> Doctor:
    def doctor(evidence: Evidence) -> None:
        evidence.rows = [row(**changes)]

    return doctor


def add(name: str, *more: Any) -> Doctor:
    def doctor(evidence: Evidence) -> None:
        kept = getattr(evidence, name)
        if isinstance(kept, dict | set):
            kept.update(more)
        else:
            kept.extend(more)

    return doctor


def relog(words: list[str] = WORDS, status: str = "completed", **changes: Any) -> Doctor:
    """The row has another log, and nobody has read it."""

    def doctor(evidence: Evidence) -> None:
        frames = log(words, status)
        batches = ((1, len(frames), joined(frames)),)
        evidence.rows = [row(**{"batches": batches, "last_seq": len(frames), **changes})]
        evidence.readings, evidence.replays, evidence.looks = [], [], []

    return doctor


def other_bytes(place: int) -> Frame:
    told = log()[place]
    return frames_of(told.replace(b"7:", b"8:"))[0]


DOCTORED: list[tuple[str, str, Doctor]] = [
    ("stuck", "still in progress", rows(status="in_progress")),
    ("stuck", "still queued", rows(status="queued")),
    ("stuck", "still leased", rows(leased=True)),
    ("two-ends", "the status changed", add("looks", Look(TAG, "failed"))),
    ("two-ends", "the log says otherwise", rows(status="failed")),
    ("two-ends", "cancelled, as was told, and completed", add("cancelled", TAG)),
    ("two-ends", "one request, two rows", add("rows", row(id="v1_twin"))),
    ("numbering", "a batch is missing", rows(batches=row().batches[:1])),
    ("numbering", "a batch comes twice", rows(batches=(*row().batches, row().batches[1]))),
    ("numbering", "a batch overlaps", rows(batches=(row().batches[0], (2, 5, row().batches[1][2])))),
    ("numbering", "a batch counts wrong", rows(batches=(row().batches[0], (3, 6, row().batches[1][2])))),
    ("numbering", "an id comes twice", rows(batches=((1, 5, joined([*log()[:4], log()[3]])),))),
    ("numbering", "the row counts otherwise", rows(last_seq=4)),
    ("end-mark", "no end in the log", rows(batches=((1, 4, joined(log()[:4])),), last_seq=4)),
    ("end-mark", "an end in the middle", rows(batches=((1, 5, joined([log()[4], *log()[:4]])),))),
    ("end-mark", "two ends", rows(batches=((1, 6, joined([*log(), log()[4].replace(b"e5", b"e6")])),))),
    ("end-mark", "done without an end", add("readings", reading(log()[:2], done=True))),
    ("end-mark", "heard on after the end", add("readings", reading([*log(), log()[1]]))),
    ("end-mark", "done after an error", add("readings", reading(log(status="failed"), done=True))),
    ("end-mark", "a replay without its mark", add("replays", reading(log()))),
    ("changed", "a reader heard other bytes", add("readings", reading([log()[0], other_bytes(1).text]))),
    ("changed", "two readers of what is gone", add("readings", reading([other_bytes(2).text], after="e2"))),
    ("lost", "an event that is not stored", add("readings", reading([frame(9, event_type="step.stop")]))),
    ("lost", "a place that is not stored", add("readings", reading([], after="e9"))),
    ("lost", "an id that is not stored", add("ids", ("run-2", "v1_lost"))),
    ("lost", "a replay that is too short", add("replays", reading([*log()[:2], log()[4]], done=True))),
    ("order", "a reader with a gap", add("readings", reading([log()[0], log()[2]]))),
    ("order", "a reader who hears twice", add("readings", reading([log()[0], log()[0]]))),
    ("order", "resumed at the wrong place", add("readings", reading([log()[3]], after="e2"))),
    ("order", "told again what was before", add("readings", reading([log()[1]], after="e2"))),
    ("early-end", "told before it was so", add("looks", Look(TAG, "in_progress", after_end=True))),
    ("text", "steps without a word", relog(output=output(*WORDS[:2]))),
    ("text", "an answer that is not stored", add("looks", Look(TAG, "completed", "7:0 "))),
    (
        "mixed",
        "two calls in one answer",
        relog(["7:0 ", "8:1 ", "8:2 "], output=output("7:0 ", "8:1 ", "8:2 ")),
    ),
    ("incomplete", "completed too early", relog(WORDS[:2], output=output(*WORDS[:2]))),
    (
        "incomplete",
        "a word comes twice",
        relog(["7:0 ", "7:1 ", "7:1 "], output=output("7:0 ", "7:1 ", "7:1 ")),
    ),
    ("unrecorded", "a call without a row", add("calls", Call(9.0, "run-3", 8))),
    ("rerun", "called again after content was seen", add("calls", Call(10.5, TAG, 8))),
    ("chain", "could not be continued", add("broken_chains", (TAG, "400"))),
    ("undead", "deleted and still there", add("deleted", TAG)),
    ("leaked", "content that was not to be stored", rows(store=False)),
]


@pytest.mark.parametrize(
    ("kind", "how", "doctor"), DOCTORED, ids=[f"{kind}: {how}" for kind, how, _ in DOCTORED]
)
def test_every_violation_is_found(kind: str, how: str, doctor: Doctor):
    evidence = sound()
    doctor(evidence)
    assert kind in {each.kind for each in check(evidence)}


def test_every_kind_is_tried():
    assert {kind for kind, _, _ in DOCTORED} == set(KINDS)


def test_what_a_fault_excuses():
    """A process that dies in the moment of a call may leave no row; what happened earlier is no excuse."""
    evidence = sound()
    evidence.calls.append(Call(20.0, "run-4", 9))
    evidence.faults = [("kill", 5.0, 6.0)]
    assert [each.kind for each in check(evidence)] == ["unrecorded"]
    evidence.faults = [("freeze", 21.0, 22.0)]
    assert [each.kind for each in check(evidence)] == ["unrecorded"]
    evidence.faults = [("kill", 21.0, 22.0)]
    assert check(evidence) == []


def test_what_is_not_stored_may_lose_its_end_to_a_death():
    evidence = Evidence(looks=[Look(TAG, "completed", at=20.0)])
    evidence.rows = [row(store=False, status="failed", output=None, batches=(), last_seq=0)]
    assert [each.kind for each in check(evidence)] == ["two-ends"]
    evidence.faults = [("kill", 21.0, 21.5)]
    assert check(evidence) == []


def test_what_a_deleted_interaction_leaves():
    evidence = sound()
    evidence.rows, evidence.replays, evidence.looks = [], [], []
    evidence.deleted = {TAG}
    assert check(evidence) == []


def test_a_stream_in_pieces():
    """Cut anywhere, with comments in it, it is read as it was sent; what was cut off has not been told."""
    raw = b": keep-alive\n\n" + joined(log()) + b"event: done\ndata: [DONE]\n\n"
    for size in (1, 7, len(raw)):
        found = Reading(TAG)
        for begin in range(0, len(raw), size):
            found.take(raw[begin : begin + size])
        assert [each.text for each in found.frames] == log()
        assert found.done
        assert found.ended
    cut = Reading(TAG)
    cut.take(raw[: raw.index(b"e5")])
    assert not cut.done
    assert cut.last_id == "e4"
