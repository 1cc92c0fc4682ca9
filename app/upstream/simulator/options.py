"""Options: the request's fields beside the input, checked and typed.

What is not named here (temperature, labels, a field of tomorrow) is taken and has no effect.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from app.core.model import Json, Request
from app.errors import InvalidRequest
from app.upstream.simulator.nesting import dump

_T = TypeVar("_T")

_TOOLS = (
    "function",
    "code_execution",
    "mcp_server",
    "filesystem",
    "google_maps",
    "google_search",
    "bash",
    "computer_use",
    "file_search",
    "url_context",
)
_FORMATS = ("text", "image", "audio")
_KINDS: Mapping[type, str] = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether functions may (`auto`, `validated`), must (`any`) or must not (`none`) be called."""

    mode: str = "auto"
    allowed: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Formats:
    """What the answer is made of; `schema` is True for JSON of any shape, None for plain text."""

    text: bool = True
    schema: Json | bool | None = None
    image: bool = False
    audio: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What the request asks for beside its input."""

    tools: list[Json]
    tool_choice: ToolChoice
    formats: Formats
    system_instruction: str
    summaries: bool
    max_output_tokens: int | None
    stop_sequences: list[str]


def read(request: Request) -> Options:
    """The request's options. Raises InvalidRequest, naming the field that is wrong."""
    given = request.options
    for name, value in given.items():
        dump(value, name)
    config = field(given, "generation_config", dict) or {}
    agent_config = field(given, "agent_config", dict) or {}
    limit = field(config, "max_output_tokens", int)
    if limit is not None and limit < 1:
        raise InvalidRequest("'max_output_tokens' must be at least 1.")
    stops = field(config, "stop_sequences", list) or []
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequest("'stop_sequences' must be a list of texts.")
    return Options(
        tools=_tools(field(given, "tools", list) or []),
        tool_choice=_tool_choice(config.get("tool_choice")),
        formats=_formats(given),
        system_instruction=field(given, "system_instruction", str) or "",
        summaries="auto" in (config.get("thinking_summaries"), agent_config.get("thinking_summaries")),
        max_output_tokens=limit,
        stop_sequences=stops,
    )


def field(given: Json, name: str, kind: type[_T]) -> _T | None:
    """The value of this type under this name, None when there is none. Raises InvalidRequest."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidRequest(f"'{name}' must be {_KINDS[kind]}.")
    return value


def _tools(tools: list[Any]) -> list[Json]:
    for place, tool in enumerate(tools):
        where = f"tools[{place}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"'{where}' must be an object.")
        _supported(tool.get("type"), where, _TOOLS)
        if tool["type"] == "function":
            if not field(tool, "name", str):
                raise InvalidRequest(f"The function at '{where}' needs a 'name'.")
            field(tool, "description", str)
            field(tool, "parameters", dict)
    return tools


def _tool_choice(choice: object) -> ToolChoice:
    if isinstance(choice, str):
        return ToolChoice(choice)
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    if not isinstance(allowed, dict):
        return ToolChoice()
    names = field(allowed, "tools", list)
    mode = field(allowed, "mode", str) or "auto"
    return ToolChoice(mode, None if names is None else frozenset(map(str, names)))


def _formats(given: Json) -> Formats:
    asked = given.get("response_format")
    entries = asked if isinstance(asked, list) else [] if asked is None else [asked]
    wanted: dict[str, Json] = {}
    for place, entry in enumerate(entries):
        where = f"response_format[{place}]" if isinstance(asked, list) else "response_format"
        if not isinstance(entry, dict):
            raise InvalidRequest(f"'{where}' must be an object.")
        _supported(entry.get("type"), where, _FORMATS)
        wanted[entry["type"]] = entry
    for modality in field(given, "response_modalities", list) or []:
        _supported(str(modality).lower(), "response_modalities", _FORMATS)
        wanted.setdefault(str(modality).lower(), {})
    return Formats(
        text="text" in wanted or not wanted,
        schema=_schema(wanted.get("text", {})),
        image="image" in wanted,
        audio="audio" in wanted,
    )


def _schema(entry: Json) -> Json | bool | None:
    named = {_CAMEL.sub("_", name).lower(): value for name, value in entry.items()}
    schema = named.get("schema")
    if schema is None:
        return True if named.get("mime_type") == "application/json" else None
    if not isinstance(schema, dict | bool):
        raise InvalidRequest("'schema' at 'response_format' must be a JSON schema.")
    return schema


def _supported(value: object, where: str, supported: tuple[str, ...]) -> None:
    if value not in supported:
        named = ", ".join(f"'{name}'" for name in supported)
        said = f"The value '{str(value)[:60]}' is not supported for 'type' at '{where}'."
        raise InvalidRequest(f"{said} Supported values: {named}.")
