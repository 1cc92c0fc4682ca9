"""The models: listed, asked for content, for a number of tokens, for embeddings.

generateContent says what an interaction with the same turns would say, and obeys the same directives.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from app import ids
from app.core.model import Json, Request
from app.errors import InvalidRequest, NotFound
from app.upstream.simulator import model, playback, stream, usage
from app.upstream.simulator.collections import Guard, shown
from app.upstream.simulator.model import Answer
from app.upstream.simulator.responses import LateResponse, rpc_failure
from app.upstream.simulator.shelves import fields_of

_MODELS = ("gemini-simulator", "gemini-simulator-lite", "gemini-simulator-embedding")
_METHODS = ("generateContent", "countTokens", "embedContent", "batchGenerateContent")
_DIMENSIONS = 8
_PARTS = {"image": "image", "audio": "audio", "video": "video"}


class Generation:
    """The endpoints of models."""

    def routes(self, prefix: str, guarded: Guard) -> list[Route]:
        """The routes below this prefix, each behind a guard."""
        one = f"{prefix}/models/{{model}}"
        return [
            Route(f"{one}:generateContent", guarded(self.generate), methods=["POST"]),
            Route(f"{one}:streamGenerateContent", guarded(self.stream), methods=["POST"]),
            Route(f"{one}:countTokens", guarded(self.count), methods=["POST"]),
            Route(f"{one}:embedContent", guarded(self.embed), methods=["POST"]),
            Route(f"{one}:batchEmbedContents", guarded(self.embed_many), methods=["POST"]),
            Route(f"{prefix}/models", guarded(self.list), methods=["GET"]),
            Route(one, guarded(self.get), methods=["GET"]),
            Route(f"{prefix}/decisions", guarded(self.decide), methods=["POST"]),
        ]

    async def list(self, request: HttpRequest) -> Response:
        """Some names; any other does as well."""
        query = request.query_params
        size = int(query.get("pageSize") or query.get("page_size") or len(_MODELS))
        start = int(query.get("pageToken") or query.get("page_token") or 0)
        more = {"nextPageToken": str(start + size)} if start + size < len(_MODELS) else {}
        return shown({"models": [_model(name) for name in _MODELS[start : start + size]], **more})

    async def get(self, request: HttpRequest) -> Response:
        """Any model, unless it is a `missing-` one."""
        return shown(_model(_known(request)))

    async def generate(self, request: HttpRequest) -> Response:
        """The whole answer."""
        name = _known(request)
        answer = answered(name, await fields_of(request))
        return LateResponse(_whole(name, answer), "application/json; charset=UTF-8", rpc_failure)

    async def stream(self, request: HttpRequest) -> Response:
        """The answer in pieces: as events, or as an array that grows."""
        name = _known(request)
        answer = answered(name, await fields_of(request))
        if request.query_params.get("alt") == "sse":
            return LateResponse(_events(name, answer), "text/event-stream")
        return LateResponse(_array(name, answer), "application/json; charset=UTF-8")

    async def count(self, request: HttpRequest) -> Response:
        """The tokens of the contents."""
        fields = await fields_of(request)
        inner = fields.get("generateContentRequest")
        found = usage.of_steps(_steps((inner if isinstance(inner, dict) else fields).get("contents")))
        return shown({"totalTokens": found.total()})

    async def embed(self, request: HttpRequest) -> Response:
        """The embedding of a content."""
        return shown({"embedding": _embedding((await fields_of(request)).get("content"))})

    async def embed_many(self, request: HttpRequest) -> Response:
        """The embeddings of many contents."""
        requests = (await fields_of(request)).get("requests")
        if not isinstance(requests, list):
            raise InvalidRequest("'requests' must be a list.")
        return shown({"embeddings": [_embedding(each.get("content")) for each in requests]})

    async def decide(self, request: HttpRequest) -> Response:
        """Yes to every question."""
        questions = (await fields_of(request)).get("questions")
        if not isinstance(questions, dict):
            raise InvalidRequest("'questions' must be an object.")
        return shown({"answers": {name: {"type": "noul", "answer": "yes"} for name in questions}})


def answered(name: str, fields: Json) -> Answer:
    """The answer to a generateContent request. Raises ApiError."""
    options: Json = {}
    told = fields.get("systemInstruction", fields.get("system_instruction"))
    if isinstance(told, dict):
        options["system_instruction"] = "".join(part.get("text", "") for part in told.get("parts", []))
    given = Request(input=[], model=name, options=options)
    return model.answer(given, _steps(fields.get("contents")))


def response_of(name: str, answer: Answer, text: str | None = None) -> Json:
    """A GenerateContentResponse with the answer, or with a piece of it."""
    said = _said(answer) if text is None else text
    candidate = {"content": {"parts": [{"text": said}], "role": "model"}, "finishReason": "STOP", "index": 0}
    spent = answer.usage
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": spent["total_input_tokens"],
            "candidatesTokenCount": spent["total_output_tokens"],
            "totalTokenCount": spent["total_tokens"],
        },
        "modelVersion": name,
        "responseId": ids.new_id("response"),
    }


async def _whole(name: str, answer: Answer) -> AsyncIterator[bytes]:
    if await playback.deliver(answer):
        yield orjson.dumps(response_of(name, answer))


async def _events(name: str, answer: Answer) -> AsyncIterator[bytes]:
    async for piece in _pieces(answer):
        yield b"data: " + orjson.dumps(response_of(name, answer, piece)) + b"\r\n\r\n"


async def _array(name: str, answer: Answer) -> AsyncIterator[bytes]:
    lead = b"["
    async for piece in _pieces(answer):
        yield lead + orjson.dumps(response_of(name, answer, piece))
        lead = b",\r\n"
    yield b"]"


async def _pieces(answer: Answer) -> AsyncIterator[str]:
    orders = answer.directives
    for count, piece in enumerate(stream.pieces(_said(answer), orders.tokens)):
        if count == orders.hang_after:
            await playback.silence()
        if count == orders.fail_after:
            raise playback.ConnectionLost("The connection to the simulator was lost.")
        await asyncio.sleep(orders.delay_ms / 1_000)
        yield piece


def _said(answer: Answer) -> str:
    outputs = [step for step in answer.steps if step["type"] == "model_output"]
    return "".join(item.get("text", "") for step in outputs for item in step["content"])


def _steps(contents: Any) -> list[Json]:
    """The contents as steps."""
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list) or not contents:
        raise InvalidRequest("'contents' is required.")
    return [_step(content, f"contents[{place}]") for place, content in enumerate(contents)]


def _step(content: Any, where: str) -> Json:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        raise InvalidRequest(f"'{where}.parts' must be a list.")
    kind = "model_output" if content.get("role") == "model" else "user_input"
    return {"type": kind, "content": [item for part in parts if (item := _item(part))]}


def _item(part: Any) -> Json | None:
    if not isinstance(part, dict):
        raise InvalidRequest("A part must be an object.")
    if isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    file = part.get("fileData", part.get("file_data"))
    blob = part.get("inlineData", part.get("inline_data"))
    held = file if isinstance(file, dict) else blob if isinstance(blob, dict) else None
    if held is None:
        return None
    mime_type = held.get("mimeType", held.get("mime_type", ""))
    where = "uri" if held is file else "data"
    value = held.get("fileUri", held.get("file_uri", held.get("data", "")))
    kind = _PARTS.get(str(mime_type).partition("/")[0], "document")
    return {"type": kind, where: value, "mime_type": mime_type}


def _embedding(content: Any) -> Json:
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()
    return {"values": [byte / 255 for byte in digest[:_DIMENSIONS]]}


def _known(request: HttpRequest) -> str:
    name: str = request.path_params["model"]
    if name.startswith("missing-"):
        raise NotFound(f"models/{name} is not found for API version v1beta.")
    return name


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "version": "1",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": _METHODS,
    }
