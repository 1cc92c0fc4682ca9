"""What arrives from outside: JSON values, steps of every type, and streams of events."""

from typing import Any

from hypothesis import strategies as st

from app.core import events
from app.core.events import Event

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=8), JSON, max_size=3)

CONTENT_TYPES = ("text", "image", "audio", "document", "video")
STEP_TYPES = (
    "user_input",
    "model_output",
    "thought",
    *(
        f"{tool}_{end}"
        for tool in (
            "function",
            "code_execution",
            "url_context",
            "google_search",
            "google_maps",
            "file_search",
            "mcp_server_tool",
            "retrieval",
        )
        for end in ("call", "result")
    ),
)
DELTA_TYPES = (
    *CONTENT_TYPES,
    "thought_summary",
    "thought_signature",
    "text_annotation_delta",
    "arguments_delta",
    "google_search_call",
    "function_result",
)


def _objects(types: st.SearchStrategy[str], known: dict[str, st.SearchStrategy[Any]]) -> Any:
    """Objects with a type, some of these fields, and now and then fields nobody has heard of."""
    return st.builds(
        lambda extra, kind, fields: {**extra, **fields, "type": kind},
        st.just({}) | OBJECTS,
        types,
        st.fixed_dictionaries({}, optional=known),
    )


CONTENTS = _objects(
    st.sampled_from(CONTENT_TYPES) | st.sampled_from(DELTA_TYPES) | st.text(max_size=8),
    {
        "text": st.text(max_size=20) | JSON,
        "annotations": st.lists(OBJECTS, max_size=2) | JSON,
        "data": st.just("aGk="),
        "uri": st.text(max_size=8),
        "mime_type": st.just("image/png"),
    },
)
STEPS = _objects(
    st.sampled_from(STEP_TYPES) | st.text(max_size=8),
    {
        "content": st.lists(CONTENTS, max_size=3) | JSON,
        "summary": st.lists(CONTENTS, max_size=3) | JSON,
        "signature": st.text(max_size=8) | JSON,
        "id": st.text(max_size=8),
        "name": st.text(max_size=8),
        "arguments": OBJECTS | JSON,
        "result": JSON,
        "is_error": st.booleans(),
    },
)


def _fields(**usual: st.SearchStrategy[Any]) -> Any:
    """Event fields as they should be, or of any type, or absent."""
    return st.fixed_dictionaries({}, optional={name: right | JSON for name, right in usual.items()})


INDEXES = st.integers(0, 2)
DELTAS = _objects(
    st.sampled_from(DELTA_TYPES) | st.text(max_size=8),
    {
        "text": st.text(max_size=8) | JSON,
        "content": CONTENTS | st.lists(CONTENTS, max_size=2) | JSON,
        "summary": st.lists(CONTENTS, max_size=2),
        "annotations": st.lists(OBJECTS, max_size=2) | JSON,
        "arguments": st.sampled_from(["{", "}", '{"a":1}', "[]"]) | JSON,
        "signature": JSON,
    },
)
_FIELDS_OF = {
    events.STEP_START: _fields(index=INDEXES, step=STEPS),
    events.STEP_DELTA: _fields(index=INDEXES, delta=DELTAS),
    events.STEP_STOP: _fields(index=INDEXES),
    events.STATUS_UPDATE: _fields(interaction_id=st.text(max_size=8), status=st.text(max_size=8)),
    events.CREATED: _fields(interaction=OBJECTS),
}
_END_FIELDS = {
    events.COMPLETED: _fields(interaction=_fields(status=st.text(max_size=8), steps=st.lists(STEPS))),
    events.ERROR: _fields(error=_fields(code=st.text(max_size=8), message=st.text(max_size=8))),
}


def _of(fields: dict[str, Any]) -> st.SearchStrategy[Event]:
    return st.one_of([st.builds(Event, st.just(kind), made) for kind, made in fields.items()])


_UNKNOWN = st.builds(Event, st.text(max_size=8), OBJECTS)
ENDS = _of(_END_FIELDS)
STREAMS = st.builds(
    lambda said, end: [*said, *end],
    st.lists(_of(_FIELDS_OF) | _UNKNOWN, max_size=12),
    st.lists(ENDS, max_size=2),
)
