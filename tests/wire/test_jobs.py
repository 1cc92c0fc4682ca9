"""Jobs: when a batch or an operation is done, and what its requests have used."""

from typing import Any

import pytest

from app.core.usage import NOTHING, Usage, together
from app.wire.jobs import ending, most_output

USED = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
SEARCHED = {"candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}], "usageMetadata": USED}
ONE, TWO = (
    Usage(5, output_tokens=2, total_tokens=7),
    Usage(5, output_tokens=2, total_tokens=7, grounding_calls=2),
)


def batch(state: str, *replies: Any, wrapper: str = "inlinedResponses", **more: Any) -> dict[str, Any]:
    output = {wrapper: {"inlinedResponses": list(replies)}} if replies else {}
    metadata = {"state": state, "output": output}
    return {"name": "batches/a", "metadata": metadata, "done": True, "response": output, **more}


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"name": "operations/a", "done": False},
        {"metadata": {"state": "BATCH_STATE_RUNNING"}},
        {"metadata": {"state": "BATCH_STATE_PENDING"}, "done": False},
        {"metadata": "odd", "done": "true"},
    ],
)
def test_what_goes_on_has_no_end(job: dict[str, Any]) -> None:
    assert ending(job) is None


def test_a_batch_tells_what_each_of_its_requests_has_used() -> None:
    replies = {"response": {"usageMetadata": USED}}, {"response": SEARCHED}, {"error": {"code": 400}}
    for job in (
        batch("BATCH_STATE_SUCCEEDED", *replies),
        batch("JOB_STATE_SUCCEEDED", *replies, wrapper="inlinedEmbedContentResponses"),
    ):
        assert ending(job) == ("completed", [ONE, TWO])
    assert together([ONE, TWO]) == Usage(10, output_tokens=4, total_tokens=14, grounding_calls=2)
    only_its_metadata = {"metadata": batch("BATCH_STATE_SUCCEEDED", *replies)["metadata"]}
    assert ending(only_its_metadata) == ("completed", [ONE, TWO])


def test_what_is_not_told_is_not_nothing() -> None:
    in_a_file = batch("BATCH_STATE_SUCCEEDED", response={"responsesFile": "files/x"})
    assert ending(in_a_file) == ("completed", None)
    one_is_silent = batch("BATCH_STATE_SUCCEEDED", {"response": {"usageMetadata": USED}}, {"response": {}})
    assert ending(one_is_silent) == ("completed", None)
    film = {"name": "models/veo/operations/a", "done": True, "response": {"generateVideoResponse": {}}}
    assert ending(film) == ("completed", None)
    assert ending(batch("BATCH_STATE_CANCELLED")) == ("cancelled", None)


def test_what_has_failed_before_any_answer_has_used_nothing() -> None:
    assert ending(batch("BATCH_STATE_FAILED")) == ("failed", [NOTHING])
    assert ending({"name": "operations/a", "done": True, "error": {"code": 3}}) == ("failed", [NOTHING])
    assert ending(batch("BATCH_STATE_SUCCEEDED", {"error": {"code": 400}})) == ("completed", [NOTHING])


def test_the_most_output_of_each_request_as_far_as_it_is_said() -> None:
    requests = [
        {"request": {"generationConfig": {"maxOutputTokens": 10}}},
        {"request": {"generation_config": {"max_output_tokens": 20}}},
        {"request": {}},
        "odd",
    ]
    for name in ("inputConfig", "input_config"):
        fields = {"batch": {name: {"requests": {"requests": requests}}}}
        assert most_output(fields) == [10, 20, None, None]
    assert most_output({"batch": {"inputConfig": {"fileName": "files/x"}}}) == [None]
    assert most_output({"generationConfig": {"maxOutputTokens": 5}}) == [5]
    assert most_output({}) == [None]
    for name, count in (("candidateCount", 3), ("candidate_count", 3), ("candidateCount", 10**9)):
        several = {"generationConfig": {"maxOutputTokens": 5, name: count}}
        assert most_output(several) == [5] * min(count, 8)
    assert most_output({"generationConfig": {"candidateCount": -1}}) == [None]
