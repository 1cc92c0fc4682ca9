"""Jobs: batches and long-running operations, which tell what they have used when they are done, if ever.

Results that lie in a file tell nothing here, and neither does a film.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from app.core import status, usage
from app.core.model import Json
from app.core.usage import BATCHES, NOTHING, Usage

JOBS = BATCHES | {"predictLongRunning"}
"""The methods whose answers are only the beginning of a job."""

_STATES = {
    "SUCCEEDED": status.COMPLETED,
    "FAILED": status.FAILED,
    "CANCELLED": status.CANCELLED,
    "EXPIRED": status.FAILED,
}
_CANDIDATES = 8
"""So many answers may a request have."""
_REPLIES = ("inlinedResponses", "inlinedEmbedContentResponses")


class Ending(NamedTuple):
    """How a job has ended, and what each of its requests has used; None where that is not told."""

    status: str
    used: Sequence[Usage] | None


def ending(job: Json) -> Ending | None:
    """The end of a job, from what the upstream shows of it; None when it goes on."""
    metadata = _object(job.get("metadata"))
    ended = _STATES.get(str(metadata.get("state")).rpartition("_STATE_")[2])
    if ended is None and job.get("done") is not True:
        return None
    if job.get("error") or ended == status.FAILED:
        ended = status.FAILED
    return Ending(ended or status.COMPLETED, _used(job, metadata, ended))


def most_output(fields: Json) -> list[object]:
    """What each answer to a call has been set as its most output; None where nothing was set."""
    batch = _object(fields.get("batch"))
    config = _object(_either(batch, "inputConfig", "input_config"))
    requests = _object(config.get("requests")).get("requests")
    if not isinstance(requests, list) or not requests:
        return _most(fields)
    return [most for each in requests for most in _most(_object(_object(each).get("request")))]


def _most(request: Json) -> list[object]:
    """Of one request, which may ask for several candidates."""
    config = _object(_either(request, "generationConfig", "generation_config"))
    candidates = _either(config, "candidateCount", "candidate_count")
    count = min(max(candidates, 1), _CANDIDATES) if isinstance(candidates, int) else 1
    return [_either(config, "maxOutputTokens", "max_output_tokens")] * count


def _used(job: Json, metadata: Json, ended: str | None) -> Sequence[Usage] | None:
    output = _object(job.get("response")) or _object(metadata.get("output"))
    replies = list(_replies(output))
    if not replies:
        return [NOTHING] if ended == status.FAILED and not output else None
    responses = [_object(each.get("response")) for each in replies if "response" in each]
    if any(not isinstance(each.get("usageMetadata"), dict) for each in responses):
        return None
    return [
        usage.of_generate_content(each["usageMetadata"], usage.searches_of(each)) for each in responses
    ] or [NOTHING]


def _replies(output: Json) -> Iterator[Json]:
    for name in _REPLIES:
        found = _object(output.get(name)).get("inlinedResponses")
        yield from (each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict))


def _either(fields: Json, *names: str) -> Any:
    """The field, under any of the names that JSON may have for it."""
    return next((fields[name] for name in names if name in fields), None)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
