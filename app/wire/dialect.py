"""The dialects, and which of them a client speaks; no client says so outright.

`Api-Revision` decides where it is sent; else the SDK's own version in `x-goog-api-client` or
`user-agent`: major 1 reads `outputs`, everything newer `steps`. Found by running the SDKs.
"""

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from app.core.model import Interaction, Json, Request
from app.ids import Place
from app.wire import steps
from app.wire.outputs import request as outputs_request
from app.wire.outputs import resource as outputs_resource
from app.wire.outputs import stream as outputs_stream

Name = Literal["steps", "outputs"]
Headers = Iterable[tuple[bytes, bytes]]

_STEPS_SINCE = b"2026-05-20"
_DATE = re.compile(rb"\d{4}-\d{2}-\d{2}")
_SDK = re.compile(rb"(?:google-genai-sdk/|GeminiNextGenAPIClient/\S+ )(\d{1,4})\.(\d{1,4})(?:\S* gl-(node))?")
_ANNOTATIONS_APART_SINCE = {b"": 70, b"node": 48}


class Stream(Protocol):
    """A stream of events as one client sees it."""

    @property
    def after(self) -> int:
        """The number of the event behind which it must be fed."""
        ...

    def frames(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What the client is sent for these chunks of stored frames."""
        ...


class Dialect(Protocol):
    """A wire schema: requests in, interactions and their streams out."""

    def request(self, body: Json) -> Request:
        """The request in this body. Raises InvalidRequest, naming the field."""
        ...

    def interaction(self, found: Interaction, *, timeline: bool, include_input: bool = False) -> bytes:
        """The resource as JSON text: for a GET with `timeline`, for the answer of a POST without."""
        ...

    def stream(self, place: Place) -> Stream:
        """The stream of a client that is at this place."""
        ...


class _Steps:
    def request(self, body: Json) -> Request:
        return steps.request(body)

    def interaction(self, found: Interaction, *, timeline: bool, include_input: bool = False) -> bytes:
        return steps.interaction(found, timeline=timeline, include_input=include_input)

    def stream(self, place: Place) -> Stream:
        return steps.Stream(place.seq)


@dataclass(frozen=True, slots=True)
class _Outputs:
    early: bool = False

    def request(self, body: Json) -> Request:
        return outputs_request.request(body)

    def interaction(self, found: Interaction, *, timeline: bool, include_input: bool = False) -> bytes:
        del timeline  # `outputs` are the model's, whoever asks
        return outputs_resource.interaction(found, include_input=include_input)

    def stream(self, place: Place) -> Stream:
        return outputs_stream.Stream(place, early=self.early)


_STEPS, _OUTPUTS, _EARLY_OUTPUTS = _Steps(), _Outputs(), _Outputs(early=True)


def of(headers: Headers, default: Name) -> Dialect:
    """The dialect to answer a request with these headers in."""
    if choose(headers, default) == "steps":
        return _STEPS
    return _EARLY_OUTPUTS if _is_early(headers) else _OUTPUTS


def choose(headers: Headers, default: Name) -> Name:
    """The name of the dialect for a request with these headers."""
    majors: set[bytes] = set()
    for name, value in headers:
        if name == b"api-revision" and _DATE.fullmatch(value):
            return "steps" if value >= _STEPS_SINCE else "outputs"
        if name in (b"x-goog-api-client", b"user-agent") and (sdk := _SDK.search(value)):
            majors.add(sdk[1])
    if not majors:
        return default
    return "outputs" if b"1" in majors else "steps"


def _is_early(headers: Headers) -> bool:
    """Whether this is an SDK from before `text_annotation` deltas: Python 1.55-1.69, JavaScript 1.33-1.47."""
    versions = [_SDK.search(value) for name, value in headers if name == b"x-goog-api-client"]
    return any(
        sdk and sdk[1] == b"1" and int(sdk[2]) < _ANNOTATIONS_APART_SINCE[sdk[3] or b""] for sdk in versions
    )
