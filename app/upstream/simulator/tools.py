"""Server tools: what Google runs itself, shown as a `*_call` step and its `*_result`."""

import html
import json
import re
from collections.abc import Callable

from app.core.model import Json
from app.upstream.simulator import words
from app.upstream.simulator.signatures import Transcript

_URL = re.compile(r"https?://[^\s<>\"']{1,2000}")
_WHEN = {
    "google_search": "search google look news latest find",
    "google_maps": "map nearby near direction restaurant place",
    "code_execution": "run compute calculate code execute python",
    "file_search": "file document pdf",
}

_Run = Callable[[Json, str], tuple[Json, Json]]


def used(tools: list[Json], text: str, transcript: Transcript) -> list[Json]:
    """The steps of the declared server tools that the text asks for."""
    steps: list[Json] = []
    for number, tool in enumerate(tools):
        run = _RUNS.get(tool["type"])
        if run is not None and _asks(tool, text):
            call_id = transcript.call_id("tool", number)
            call, result = run(tool, text)
            steps += [{"id": call_id, **call}, {"call_id": call_id, **result}]
    return steps


def citations(steps: list[Json], text: str) -> list[Json]:
    """The annotations that a text carries after these steps: one when the web was searched.

    Places in a text are counted in bytes.
    """
    if not text or not any(step["type"] == "google_search_result" for step in steps):
        return []
    citation = {
        "type": "url_citation",
        "url": "https://example.com/",
        "title": "example.com",
        "start_index": 0,
        "end_index": len(text.encode()),
    }
    return [citation]


def _asks(tool: Json, text: str) -> bool:
    kind = tool["type"]
    if kind == "url_context":
        return _URL.search(text) is not None
    if kind == "mcp_server":
        telling = words.telling(f"{tool.get('name')} {_mcp_tool(tool)}") | {"mcp"}
    else:
        telling = words.words(_WHEN[kind])
    return bool(telling & words.words(text))


def _mcp_tool(tool: Json) -> str:
    """The first tool that may be used on this server."""
    allowed = tool.get("allowed_tools")
    first = allowed[0] if isinstance(allowed, list) and allowed else None
    names = first.get("tools") if isinstance(first, dict) else [first]
    name = names[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) else "lookup"


def _google_search(_tool: Json, text: str) -> tuple[Json, Json]:
    shown = f"<div>{html.escape(text[:200])}</div>"
    return (
        {"type": "google_search_call", "arguments": {"queries": [text[:200]]}},
        {"type": "google_search_result", "result": [{"search_suggestions": shown}]},
    )


def _google_maps(_tool: Json, text: str) -> tuple[Json, Json]:
    name = next(iter(words.proper_names(text)), "Example Place")
    place = {"name": name, "place_id": "places/example", "url": "https://maps.example.com/"}
    return (
        {"type": "google_maps_call", "arguments": {"queries": [text[:200]]}},
        {"type": "google_maps_result", "result": [{"places": [place]}]},
    )


def _code_execution(_tool: Json, text: str) -> tuple[Json, Json]:
    shown = " ".join(text[:200].split())
    code = f"print({json.dumps(shown, ensure_ascii=False)})"
    return (
        {"type": "code_execution_call", "arguments": {"code": code, "language": "python"}},
        {"type": "code_execution_result", "result": f"{shown}\n", "is_error": False},
    )


def _url_context(_tool: Json, text: str) -> tuple[Json, Json]:
    urls = [url.rstrip(".,;:!?)") for url in _URL.findall(text)[:20]]
    return (
        {"type": "url_context_call", "arguments": {"urls": urls}},
        {"type": "url_context_result", "result": [{"url": url, "status": "success"} for url in urls]},
    )


def _file_search(_tool: Json, _text: str) -> tuple[Json, Json]:
    return {"type": "file_search_call"}, {"type": "file_search_result", "result": []}


def _mcp_server(tool: Json, text: str) -> tuple[Json, Json]:
    served = {"name": _mcp_tool(tool), "server_name": str(tool.get("name") or "")}
    said = [{"type": "text", "text": f"{served['name']} found nothing else."}]
    return (
        {"type": "mcp_server_tool_call", **served, "arguments": {"query": text[:200]}},
        {"type": "mcp_server_tool_result", **served, "result": said},
    )


_RUNS: dict[str, _Run] = {
    "google_search": _google_search,
    "google_maps": _google_maps,
    "code_execution": _code_execution,
    "url_context": _url_context,
    "file_search": _file_search,
    "mcp_server": _mcp_server,
}
