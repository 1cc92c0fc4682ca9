"""References: what a request's body names that may belong to a project.

    files               by URI below an upstream's host, wherever it stands; by name as `fileName`
    cachedContents      `cachedContent`
    fileSearchStores    `fileSearchStoreNames`
    environments        `environment` and its like, at the top and in a trigger's interaction
    credentials         inside environments
    agents, voices      by id; one that no project has made is the upstream's own
    tunedModels         `model`

Fields are read in snake_case and in camelCase. Values that are free (arguments, results, schemas)
are looked into for URIs only, which cannot be anything else.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from app.core.model import Json, Request
from app.wire import resources

GEMINI = "generativelanguage.googleapis.com"

References = Mapping[str, str]
"""The names, each with the field where it stands."""

Path = tuple[str | int, ...]

_FILE = re.compile(r"/?(?:v[0-9]\w*/)?files/([^/:?#]+)(?::download)?/?")
_LONGEST = 512
_NOT_A_FILE = "files/-"
"""A name that nothing has: stands for a URI below an upstream's files that is not understood."""

_URI = frozenset({"uri", "fileUri", "file_uri", "fileName", "file_name", "source"})
_NAME: Mapping[str, str] = MappingProxyType(
    {
        "cachedContent": "cachedContents",
        "cached_content": "cachedContents",
        "fileSearchStoreNames": "fileSearchStores",
        "file_search_store_names": "fileSearchStores",
    }
)
_FREE_NAMES = (
    "args arguments labels metadata parameters parametersJsonSchema parameters_json_schema response "
    "responseJsonSchema response_json_schema responseSchema response_schema result schema"
)
FREE_FIELDS = frozenset(_FREE_NAMES.split())
"""Fields whose values are anybody's own: nothing in them is the API's."""
AGENT_FIELDS = frozenset({"agent", "base_agent", "baseAgent"})
_ENVIRONMENT_FIELDS = (
    "environment environment_id environmentId from_environment fromEnvironment base_environment "
    "baseEnvironment"
)
_ENVIRONMENT = frozenset(_ENVIRONMENT_FIELDS.split())
_TUNED = re.compile("tunedModels/.*", re.DOTALL)
_OWN_VOICE = re.compile(f"(?:voices/)?{resources.KINDS['voices'].prefix}.*", re.DOTALL)
_SOME: Mapping[str, tuple[str, re.Pattern[str]]] = MappingProxyType(
    {
        "model": ("tunedModels", _TUNED),
        "voice": ("voices", _OWN_VOICE),
        "voiceName": ("voices", _OWN_VOICE),
        "voice_name": ("voices", _OWN_VOICE),
        "baseVoice": ("voices", _OWN_VOICE),
        "base_voice": ("voices", _OWN_VOICE),
    }
)
"""Fields whose value is a project's only when it looks like this."""

_FRESH = "remote"
"""What stands for an environment that is yet to be made."""


def of_request(request: Request, hosts: frozenset[str]) -> References:
    """The names in an interaction request."""
    body: Json = {**request.options, "input": request.input}
    if request.agent is not None:
        body["agent"] = request.agent
    else:
        body["model"] = request.model
    return of_body(body, hosts)


def of_body(body: Json, hosts: frozenset[str]) -> References:
    """The names in a request's body; `hosts` are those whose URIs mean files of the upstream."""
    found: dict[str, str] = {}
    inner = body.get("interaction")
    for path, name in (*_anywhere(body, hosts), *_top(body, ()), *_top(inner, ("interaction",))):
        found.setdefault(_sane(name), _text(path))
    return found


def of_steps(steps: Any, hosts: frozenset[str]) -> list[str]:
    """The files that these steps name, the last one first."""
    return [_sane(name) for _, name in _anywhere(steps, hosts)][::-1]


def file(value: Any, hosts: frozenset[str]) -> str:
    """The name of the file that this URI or name means; "" when it does not mean one of the upstream's."""
    if not isinstance(value, str) or "files" not in (plain := unquote(value).strip()):
        return ""
    scheme, separator, after = plain.partition("://")
    if separator:
        host, path = _split(plain) if scheme.lower() in ("http", "https") else ("", "")
        if host not in hosts:
            return ""
    else:
        host, _, after = plain.partition("/")
        path = after if host.lower() in hosts else plain
    if match := _FILE.fullmatch(path.partition("?")[0].partition("#")[0]):
        name = f"files/{match[1]}"
        return resources.owner(name) or name
    return _NOT_A_FILE if separator and "files" in path.split("/") else ""


def _split(uri: str) -> tuple[str, str]:
    try:
        parts = urlsplit(uri)
        return (parts.hostname or "").rstrip("."), parts.path
    except ValueError:
        return "", ""


def _anywhere(value: Any, hosts: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """What is unmistakable, at any depth."""
    for path, key, text in _texts(value, ()):
        if key in _NAME:
            if FREE_FIELDS.isdisjoint(path):
                yield path, _named(_NAME[key], text)
        elif key in _SOME:
            kind, shape = _SOME[key]
            if shape.fullmatch(text) and FREE_FIELDS.isdisjoint(path):
                yield path, _named(kind, text)
        elif key in _URI or (text[:4].lower() == "http" and key != "text"):
            name = file(text, hosts)
            if name and ("://" in text or FREE_FIELDS.isdisjoint(path)):
                yield path, name


def _top(body: Any, at: Path) -> Iterator[tuple[Path, str]]:
    """What only its place tells."""
    if not isinstance(body, dict):
        return
    for field, value in body.items():
        if field in AGENT_FIELDS and isinstance(value, str):
            yield (*at, field), _named("agents", value)
        elif field in _ENVIRONMENT and isinstance(value, str):
            if value != _FRESH:
                yield (*at, field), _named("environments", value)
        elif field in _ENVIRONMENT or field == "network":
            yield from _environment(value, (*at, field))


def _environment(value: Any, at: Path) -> Iterator[tuple[Path, str]]:
    for path, key, text in _texts(value, at):
        if key in _ENVIRONMENT:
            yield path, _named("environments", text)
        elif key == "credential":
            yield path, _named("credentials", text)


def _texts(value: Any, at: Path) -> Iterator[tuple[Path, str, str]]:
    """Every text with its path and the field it stands in; a text in a list stands in the list's."""
    stack: list[tuple[Path, str, Any]] = [(at, str(at[-1]) if at else "", value)]
    while stack:
        path, key, node = stack.pop()
        if isinstance(node, str):
            yield path, key, node
        elif isinstance(node, dict):
            stack.extend(((*path, name), name, inner) for name, inner in reversed(node.items()))
        elif isinstance(node, list):
            places = range(len(node) - 1, -1, -1)
            stack.extend(((*path, place), key, node[place]) for place in places)


def _named(kind: str, value: str) -> str:
    """The full name, of an id or of a name; of something inside a member, the member's."""
    parts = value.strip().strip("/").split("/")
    return "/".join(parts[:2]) if parts[0] == kind and len(parts) > 1 else f"{kind}/{value}"


def _sane(name: str) -> str:
    """The name; one that cannot be anybody's, where it could not even be looked up."""
    return name if len(name) <= _LONGEST and name.isprintable() else f"{name.partition('/')[0]}/-"


def _text(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
