"""The rest of the API: which requests are passed on to the upstream, and whose things they touch.

An allow-list, read line by line: a request that fits no line is not found. In the paths

    {own}    ends the name of something that a project made; only that project reaches it
    {id}     names something public, or something inside what is owned
    {path}   is the rest of the path

and after the path stands what a success means:

    lists K      the caller's own K, a page at a time
    makes K      one of K was made, and belongs to the caller's project from then on
    renews       the answer tells how long it now lives
    removes      it is gone
    yields       the answer may name files that were made on the way
    mixes K      public K and somebody's own in one: what is another project's is left out
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote, unquote

from app.errors import NotFound

VERSIONS = ("v1beta", "v1", "v1alpha")

_ROUTES = """
    GET     models
    GET     models/{id}
    POST    models/{id}:generateContent
    POST    models/{id}:streamGenerateContent
    POST    models/{id}:countTokens
    POST    models/{id}:embedContent
    POST    models/{id}:batchEmbedContents
    POST    models/{id}:predict
    POST    models/{id}:predictLongRunning                  makes operations
    POST    models/{id}:batchGenerateContent                makes batches
    POST    models/{id}:asyncBatchEmbedContent              makes batches
    GET     models/{id}/operations/{own}                    yields

    GET     tunedModels                                     lists tunedModels
    GET     tunedModels/{own}
    POST    tunedModels/{own}:generateContent
    POST    tunedModels/{own}:streamGenerateContent

    GET     files                                           lists files
    GET     files/{own}
    GET     files/{own}:download
    DELETE  files/{own}                                     removes

    GET     cachedContents                                  lists cachedContents
    POST    cachedContents                                  makes cachedContents
    GET     cachedContents/{own}
    PATCH   cachedContents/{own}                            renews
    DELETE  cachedContents/{own}                            removes

    GET     batches                                         lists batches
    GET     batches/{own}                                   yields
    POST    batches/{own}:cancel
    PATCH   batches/{own}:updateGenerateContentBatch
    PATCH   batches/{own}:updateEmbedContentBatch
    DELETE  batches/{own}                                   removes

    GET     operations/{own}                                yields

    GET     fileSearchStores                                lists fileSearchStores
    POST    fileSearchStores                                makes fileSearchStores
    GET     fileSearchStores/{own}
    DELETE  fileSearchStores/{own}                          removes
    POST    fileSearchStores/{own}:importFile               makes operations
    GET     fileSearchStores/{own}/documents
    GET     fileSearchStores/{own}/documents/{id}
    DELETE  fileSearchStores/{own}/documents/{id}
    GET     fileSearchStores/{own}/operations/{id}
    GET     fileSearchStores/{own}/upload/operations/{id}

    GET     agents                                          lists agents
    POST    agents                                          makes agents
    GET     agents/{own}
    DELETE  agents/{own}                                    removes

    GET     environments                                    lists environments
    POST    environments                                    makes environments
    GET     environments/{own}
    DELETE  environments/{own}                              removes
    GET     environments/{own}/files/{path}

    GET     triggers                                        lists triggers
    POST    triggers                                        makes triggers
    GET     triggers/{own}
    PATCH   triggers/{own}
    DELETE  triggers/{own}                                  removes
    GET     triggers/{own}/executions
    POST    triggers/{own}/executions

    GET     webhooks                                        lists webhooks
    POST    webhooks                                        makes webhooks
    GET     webhooks/{own}
    PATCH   webhooks/{own}
    DELETE  webhooks/{own}                                  removes
    POST    webhooks/{own}:ping
    POST    webhooks/{own}:rotateSigningSecret

    GET     credentials                                     lists credentials
    POST    credentials                                     makes credentials
    GET     credentials/{own}
    PATCH   credentials/{own}
    DELETE  credentials/{own}                               removes

    GET     voices                                          mixes voices
    POST    voices                                          makes voices
    GET     voices/{own}                                    mixes voices
    DELETE  voices/{own}                                    removes

    POST    decisions
"""

_UPLOADS = """
    POST    files                                           makes files
    POST    fileSearchStores/{own}:uploadToFileSearchStore  makes operations
    PUT     environments/{own}/files/{path}
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A collection of things that belong to projects, and how the API writes them.

    `by_id` is the newer style: members have an `id` instead of a `name`, fields are in snake_case.
    """

    name: str
    by_id: bool = False
    members: str = ""
    """The field of a list that holds the members, where it is not the collection's name."""
    wrapper: str = ""
    """The field that the answer to an upload has around the member."""
    expires: str = ""
    """The field that says when a member ends by itself."""
    prefix: str = ""
    """How the ids of made members begin, where there are public ones, too."""
    public: str = ""
    """The `type` of the public ones."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the allow-list."""

    method: str
    path: str
    effect: str
    kind: Kind | None
    upload: bool
    shape: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A request that the allow-list lets pass. `target` is its path, made anew from what was understood."""

    route: Route
    target: str
    own: str
    """The name that decides whose this is ("files/abc"), or "" when it is nobody's."""
    model: str
    """The model that is called, or ""."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("tunedModels"),
            Kind("files", wrapper="file", expires="expirationTime"),
            Kind("cachedContents", expires="expireTime"),
            Kind("batches", members="operations"),
            Kind("operations"),
            Kind("fileSearchStores"),
            Kind("agents", by_id=True),
            Kind("environments", by_id=True),
            Kind("triggers", by_id=True),
            Kind("webhooks", by_id=True),
            Kind("credentials", by_id=True),
            Kind("voices", by_id=True, prefix="voice_", public="prebuilt"),
        )
    }
)

_ID = "[A-Za-z0-9_][A-Za-z0-9_.~=-]{0,255}"
_SNAPSHOT = "files/environment-"
"""How the name of a file begins that is an environment's content: it is the environment's owner's."""


def _shape(path: str) -> re.Pattern[str]:
    pattern = re.escape(path)
    for name, inner in (("own", _ID), ("id", _ID), ("path", ".*")):
        pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{inner})")
    return re.compile(pattern)


def _read(table: str, *, upload: bool) -> Iterator[Route]:
    for line in table.splitlines():
        if words := line.split():
            method, path, effect, kind, *_ = [*words, "", ""]
            yield Route(method, path, effect, KINDS.get(kind or _owned(path)), upload, _shape(path))


def _owned(path: str) -> str:
    """The collection of what is owned in this path."""
    return path.partition("/{own}")[0].rpartition("/")[2]


ROUTES = (*_read(_ROUTES, upload=False), *_read(_UPLOADS, upload=True))
COLLECTIONS = tuple(dict.fromkeys(re.split("[/:]", route.path)[0] for route in ROUTES))

_BY_METHOD: Mapping[tuple[str, bool], tuple[Route, ...]] = MappingProxyType(
    {
        (method, upload): tuple(
            route for route in ROUTES if route.method == method and route.upload is upload
        )
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        for upload in (False, True)
    }
)


def match(method: str, path: str, *, upload: bool = False) -> Call | None:
    """The call that this is; `path` is decoded and begins after the version. None: not on the list."""
    if not _canonical(path):
        return None
    for route in _BY_METHOD.get((method, upload), ()):
        if found := route.shape.fullmatch(path):
            own = "" if method == "GET" and _is_public(found) else _own(found)
            return Call(route, quote(path, safe="/:=~"), own, _model(found))
    return None


def owner(name: str) -> str:
    """The name that decides whose the thing of this name is: of a document, its store's.

    "" for a name that this version does not know.
    """
    if not _canonical(name):
        return ""
    shapes = (route.shape for route in _BY_METHOD["GET", False])
    return next((_own(found) for shape in shapes if (found := shape.fullmatch(name))), "")


def missing(name: str) -> NotFound:
    """The answer for what is not there, and for what is another project's."""
    return NotFound(f"Resource not found: {name}")


def _canonical(path: str) -> bool:
    """What could be read as another path, also by who decodes it twice, is not read at all.

    U+FFFD stands for bytes that are no text.
    """
    parts = unquote(path).split("/")
    return path.isprintable() and "\ufffd" not in path and not ({".", ".."} & set(parts) or "" in parts[:-1])


def _own(found: re.Match[str]) -> str:
    if "own" not in found.groupdict():
        return ""
    name = found.string[: found.end("own")]
    if name.startswith(_SNAPSHOT):
        return f"environments/{name.removeprefix(_SNAPSHOT)}"
    return name


def _is_public(found: re.Match[str]) -> bool:
    """Whether what is asked for may be public, which only the answer tells."""
    kind = KINDS.get(found.string.partition("/")[0])
    return (
        kind is not None
        and bool(kind.prefix)
        and not found.groupdict().get("own", "").startswith(kind.prefix)
    )


def _model(found: re.Match[str]) -> str:
    return found["id"] if found.string.startswith("models/") else ""
