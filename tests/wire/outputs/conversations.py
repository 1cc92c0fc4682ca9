"""Conversations as they are: steps of every type with the fields that the API gives them."""

from typing import Any

from hypothesis import strategies as st

from app.core import events
from app.core.events import Event
from app.core.model import Json
from app.core.unfold import unfold
from tests.core.strategies import JSON, OBJECTS

TEXTS = st.text(max_size=12)
ANNOTATIONS = st.lists(
    st.one_of(
        st.builds(lambda url: {"type": "url_citation", "url": url, "title": "t", "end_index": 3}, TEXTS),
        st.builds(lambda url: {"type": "place_citation", "name": "n", "url": url}, TEXTS),
        st.just({"type": "file_citation", "file_name": "f", "source": "s"}),
        st.just({"type": "word_info", "start_index": 0}),
    ),
    max_size=2,
)
TEXT_ITEMS = st.fixed_dictionaries(
    {"type": st.just("text"), "text": TEXTS}, optional={"annotations": ANNOTATIONS, "lang": TEXTS}
)
MEDIA = st.fixed_dictionaries(
    {"type": st.sampled_from(["image", "audio", "video", "document"]), "data": st.just("aGk=")},
    optional={"mime_type": st.just("image/png"), "resolution": st.just("low")},
)
UNKNOWN_ITEMS = st.fixed_dictionaries({"type": st.just("hologram")}, optional={"x": JSON})
ITEMS = TEXT_ITEMS | MEDIA | UNKNOWN_ITEMS


def _messages(kind: str) -> st.SearchStrategy[Json]:
    return st.builds(lambda items: {"type": kind, "content": items}, st.lists(ITEMS, min_size=1, max_size=3))


USER_INPUTS = _messages("user_input")
MODEL_OUTPUTS = _messages("model_output")
THOUGHTS = st.fixed_dictionaries(
    {"type": st.just("thought")},
    optional={"signature": TEXTS, "summary": st.lists(TEXT_ITEMS | MEDIA, min_size=1, max_size=2)},
)
FUNCTION_CALLS = st.fixed_dictionaries(
    {"type": st.just("function_call"), "id": TEXTS, "name": TEXTS, "arguments": OBJECTS},
    optional={"signature": TEXTS.filter(bool)},
)
FUNCTION_RESULTS = st.fixed_dictionaries(
    {"type": st.just("function_result"), "call_id": TEXTS, "result": JSON},
    optional={"name": TEXTS, "is_error": st.booleans()},
)
SEARCHES = st.builds(
    lambda found: {
        "type": "google_search_result",
        "call_id": "c",
        "result": [{"search_suggestions": one} for one in found],
    },
    st.lists(TEXTS, max_size=2),
)
TOOLS = st.builds(
    lambda tool, fields: {"id": "c", "type": f"{tool}_call", **fields},
    st.sampled_from(
        ["code_execution", "url_context", "google_maps", "file_search", "mcp_server_tool", "retrieval"]
    ),
    st.fixed_dictionaries({}, optional={"arguments": OBJECTS, "signature": TEXTS.filter(bool)}),
) | st.builds(
    lambda tool, fields: {"call_id": "c", "type": f"{tool}_result", **fields},
    st.sampled_from(
        ["code_execution", "url_context", "google_maps", "file_search", "mcp_server_tool", "retrieval"]
    ),
    st.fixed_dictionaries({}, optional={"result": JSON, "is_error": st.booleans()}),
)
UNKNOWN_STEPS = st.fixed_dictionaries(
    {"type": st.just("dream")}, optional={"x": JSON, "content": st.just("y")}
)

INPUTS = st.lists(
    USER_INPUTS | MODEL_OUTPUTS | THOUGHTS | FUNCTION_CALLS | FUNCTION_RESULTS | SEARCHES | TOOLS,
    min_size=1,
    max_size=6,
)
ANSWERS = st.lists(MODEL_OUTPUTS | THOUGHTS | FUNCTION_CALLS | SEARCHES | TOOLS | UNKNOWN_STEPS, max_size=5)


@st.composite
def logs(draw: Any) -> tuple[list[Json], list[Event]]:
    """An answer, and the events of its stream: texts and arguments cut anywhere, news in between."""
    answer = draw(ANSWERS)
    stream: list[Event] = []
    for event in unfold(answer):
        stream += _cut(event, draw(st.integers(0, 3)))
        if draw(st.booleans()):
            stream.append(
                Event("step.news", {"event_type": "step.news", "index": 0, "delta": {"type": "text"}})
            )
    return answer, stream


def _cut(event: Event, pieces: int) -> list[Event]:
    """A delta of text or arguments in so many more pieces."""
    delta = event.fields.get("delta", {})
    name = {"text": "text", "arguments_delta": "arguments"}.get(delta.get("type", ""))
    if name is None or not delta[name]:
        return [event]
    size = -(-len(delta[name]) // (pieces + 1))
    parts = [delta[name][start : start + size] for start in range(0, len(delta[name]), size)]
    return [events.step_delta(event.fields["index"], {**delta, name: part}) for part in parts]
