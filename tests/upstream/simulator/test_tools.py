import re

import pytest

from app.errors import InvalidRequest
from tests.upstream.simulator.asking import WEATHER, ask, kinds, text_of


@pytest.mark.parametrize(
    ("tool", "text", "steps"),
    [
        (
            {"type": "google_search", "search_types": ["web_search"]},
            "Search for <cats>",
            [
                {"type": "google_search_call", "arguments": {"queries": ["Search for <cats>"]}},
                {
                    "type": "google_search_result",
                    "result": [{"search_suggestions": "<div>Search for &lt;cats&gt;</div>"}],
                },
            ],
        ),
        (
            {"type": "code_execution"},
            'Run "this"',
            [
                {
                    "type": "code_execution_call",
                    "arguments": {"code": 'print("Run \\"this\\"")', "language": "python"},
                },
                {"type": "code_execution_result", "result": 'Run "this"\n', "is_error": False},
            ],
        ),
        (
            {"type": "url_context"},
            "Read https://example.com/a?b=c, and http://example.org.",
            [
                {
                    "type": "url_context_call",
                    "arguments": {"urls": ["https://example.com/a?b=c", "http://example.org"]},
                },
                {
                    "type": "url_context_result",
                    "result": [
                        {"url": "https://example.com/a?b=c", "status": "success"},
                        {"url": "http://example.org", "status": "success"},
                    ],
                },
            ],
        ),
        (
            {"type": "file_search", "file_search_store_names": ["fileSearchStores/a"]},
            "What do the files say?",
            [{"type": "file_search_call"}, {"type": "file_search_result", "result": []}],
        ),
        (
            {"type": "google_maps"},
            "A restaurant near the Louvre",
            [
                {"type": "google_maps_call", "arguments": {"queries": ["A restaurant near the Louvre"]}},
                {
                    "type": "google_maps_result",
                    "result": [
                        {
                            "places": [
                                {
                                    "name": "Louvre",
                                    "place_id": "places/example",
                                    "url": "https://maps.example.com/",
                                },
                            ],
                        },
                    ],
                },
            ],
        ),
        (
            {
                "type": "mcp_server",
                "name": "tickets",
                "allowed_tools": [{"mode": "auto", "tools": ["find_issue"]}],
            },
            "Which issue is open?",
            [
                {
                    "type": "mcp_server_tool_call",
                    "name": "find_issue",
                    "server_name": "tickets",
                    "arguments": {"query": "Which issue is open?"},
                },
                {
                    "type": "mcp_server_tool_result",
                    "name": "find_issue",
                    "server_name": "tickets",
                    "result": [{"type": "text", "text": "find_issue found nothing else."}],
                },
            ],
        ),
    ],
)
def test_a_server_tool_that_is_asked_for_is_used(tool, text, steps):
    answer = ask(text, tools=[tool])
    assert answer.status == "completed"
    assert kinds(answer) == ["thought", *(step["type"] for step in steps), "model_output"]
    call, result = answer.steps[1:3]
    assert call["id"] == result["call_id"]
    assert [
        {key: value for key, value in step.items() if key not in ("id", "call_id")} for step in (call, result)
    ] == steps
    assert answer.usage["total_tool_use_tokens"] > 0
    assert kinds(ask("Hello", tools=[tool])) == ["thought", "model_output"]
    assert kinds(ask(text, tools=[tool], generation_config={"tool_choice": "none"})) == [
        "thought",
        "model_output",
    ]


def test_a_search_is_cited_in_bytes():
    answer = ask("Search für Käse", tools=[{"type": "google_search"}])
    (content,) = answer.steps[-1]["content"]
    (citation,) = content["annotations"]
    assert citation["type"] == "url_citation"
    assert (
        content["text"].encode()[citation["start_index"] : citation["end_index"]].decode() == content["text"]
    )


def test_server_tools_come_before_function_calls():
    answer = ask("Search the weather", tools=[WEATHER, {"type": "google_search"}])
    assert kinds(answer) == ["thought", "google_search_call", "google_search_result", "function_call"]


def test_an_unknown_tool_is_refused_as_gemini_does():
    named = (
        "'function', 'code_execution', 'mcp_server', 'filesystem', 'google_maps', 'google_search', 'bash', "
        "'computer_use', 'file_search', 'url_context'."
    )
    said = f"The value 'tool_xyz' is not supported for 'type' at 'tools[1]'. Supported values: {named}"
    with pytest.raises(InvalidRequest, match=re.escape(said)):
        ask("Hello", tools=[{"type": "bash"}, {"type": "tool_xyz"}])


def test_an_unknown_field_of_a_tool_passes():
    assert "Hello" in text_of(ask("Hello", tools=[{"type": "google_search", "of_tomorrow": True}]))
