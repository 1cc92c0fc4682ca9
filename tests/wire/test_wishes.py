"""Wishes: what a forwarded request asks for is found wherever it stands."""

import copy
from typing import Any

import pytest

from app.core.model import Json
from app.core.policy import Unfit
from app.wire import resources, wishes
from app.wire.resources import Call

PARTS = [{"parts": [{"text": "Hi"}]}]


def call(path: str, method: str = "POST") -> Call:
    found = resources.match(method, path)
    assert found is not None
    return found


GENERATE, STREAM = call("models/m:generateContent"), call("tunedModels/t:streamGenerateContent")
BATCH, COUNT = call("models/m:batchGenerateContent"), call("models/m:countTokens")
TRIGGER, CACHE, AGENT = call("triggers"), call("cachedContents"), call("agents")


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (GENERATE, "m"),
        (STREAM, "tunedModels/t"),
        (COUNT, "m"),
        (CACHE, ""),
        (call("models/m", "GET"), ""),
        (call("models/m/operations/o", "GET"), ""),
    ],
)
def test_the_model_that_is_called(asked: Call, model: str):
    assert wishes.model(asked) == model


@pytest.mark.parametrize(
    ("asked", "body", "found"),
    [
        (
            GENERATE,
            {"tools": [{"googleSearch": {}}, {"codeExecution": {}, "urlContext": {}}]},
            ["tool googleSearch", "tool codeExecution", "tool urlContext"],
        ),
        (GENERATE, {"tools": {"code_execution": {}}}, ["tool code_execution"]),
        (GENERATE, {"model": "models/other", "contents": PARTS}, ["model models/other"]),
        (
            CACHE,
            {"model": "models/x", "tools": [{"functionDeclarations": []}]},
            ["model models/x", "tool functionDeclarations"],
        ),
        (BATCH, {"batch": {"inputConfig": {"fileName": "files/a"}}}, ["unseen fileName"]),
        (
            BATCH,
            {
                "batch": {
                    "input_config": {"requests": {"requests": [{"request": {"tools": [{"mcpServers": []}]}}]}}
                }
            },
            ["tool mcpServers"],
        ),
        (call("fileSearchStores/f:importFile"), {"fileName": "files/a"}, []),
        (
            TRIGGER,
            {"interaction": {"agent": "a", "tools": [{"type": "mcp_server"}]}},
            ["agent a", "tool mcp_server"],
        ),
        (AGENT, {"base_agent": "b", "id": "mine"}, ["agent b"]),
        (
            GENERATE,
            {"contents": [{"parts": [{"functionCall": {"args": {"model": "x", "tools": [{"y": 1}]}}}]}]},
            [],
        ),
        (GENERATE, {"generationConfig": {"responseSchema": {"properties": {"tools": {}}}}}, []),
        (GENERATE, {"model": 1, "tools": ["x", None]}, []),
    ],
)
def test_what_is_asked_for(asked: Call, body: Json, found: list[str]):
    assert sorted(f"{wish.kind} {wish.name}" for wish in wishes.of_body(asked, body)) == sorted(found)


def batch(*requests: Json) -> Json:
    return {"batch": {"inputConfig": {"requests": {"requests": [{"request": each} for each in requests]}}}}


CAPPED = {"contents": PARTS, "generationConfig": {"maxOutputTokens": 100}}


@pytest.mark.parametrize(
    ("asked", "body", "sent"),
    [
        (GENERATE, {"contents": PARTS}, CAPPED),
        (STREAM, {"contents": PARTS, "generationConfig": None}, CAPPED),
        (GENERATE, {"contents": PARTS, "generationConfig": {"maxOutputTokens": 7}}, None),
        (
            GENERATE,
            {"contents": PARTS, "generation_config": {"top_p": 1}},
            {"contents": PARTS, "generation_config": {"top_p": 1, "max_output_tokens": 100}},
        ),
        (BATCH, batch({"contents": PARTS}, {"contents": PARTS}), batch(CAPPED, CAPPED)),
        (
            TRIGGER,
            {"interaction": {"model": "m", "input": "Hi"}},
            {"interaction": {"model": "m", "input": "Hi", "generation_config": {"max_output_tokens": 100}}},
        ),
        (TRIGGER, {"interaction": {"agent": "a", "input": "Hi"}}, None),
        (COUNT, {"contents": PARTS}, None),
        (CACHE, {"contents": PARTS}, None),
    ],
)
def test_nothing_generates_more_than_it_may(asked: Call, body: Json, sent: Any):
    assert wishes.capped(asked, copy.deepcopy(body), 100) == (body if sent is None else sent)


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        (GENERATE, {"generationConfig": {"maxOutputTokens": 101}}),
        (GENERATE, {"generation_config": {"maxOutputTokens": 101}}),
        (BATCH, batch({"contents": PARTS, "generationConfig": {"max_output_tokens": "5"}})),
        (TRIGGER, {"interaction": {"model": "m", "generation_config": {"max_output_tokens": 101}}}),
    ],
)
def test_more_output_is_refused(asked: Call, body: Json):
    with pytest.raises(Unfit, match="may be at most 100"):
        wishes.capped(asked, body, 100)
