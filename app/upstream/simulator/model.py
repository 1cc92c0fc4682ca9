"""The model: a request and a conversation in, an answer out. The same in, the same out."""

from dataclasses import dataclass
from typing import Any

import orjson

from app.core import status
from app.core.model import Json, Request
from app.errors import ApiError, InvalidRequest, NotFound, code_of
from app.upstream.simulator import directives, functions, options, pictures, signatures, talk, tools, usage
from app.upstream.simulator.conversation import Conversation, converse
from app.upstream.simulator.directives import Directives
from app.upstream.simulator.example import example
from app.upstream.simulator.options import Formats, Options
from app.upstream.simulator.signatures import Transcript


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model makes of a turn, and how it was told to deliver it."""

    steps: list[Json]
    status: str
    usage: Json
    directives: Directives


def answer(request: Request, steps: object) -> Answer:
    """The answer to these steps: the whole history and the request's input.

    Raises ApiError when the request is wrong, its model is a `missing-` one, or a directive says so.
    """
    _check_target(request)
    conversation = converse(steps)
    orders = directives.parse(conversation.asked)
    if orders.status is not None:
        raise _ordered(orders.status, orders.retry_after)
    wanted = options.read(request)
    transcript = signatures.verified(conversation.steps)
    return _Answering(conversation, wanted, orders, transcript).answer()


def _check_target(request: Request) -> None:
    if bool(request.model) == bool(request.agent):
        raise InvalidRequest("Exactly one of 'model' and 'agent' must be given.")
    if request.target.removeprefix("models/").startswith("missing-"):
        kind = "model" if request.model else "agent"
        code = "model_not_found" if request.model else NotFound.code
        raise NotFound(f"The {kind} '{request.target[:100]}' was not found.", code=code)


def _ordered(http_status: int, retry_after: int | None) -> ApiError:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    text = f"The simulator was told to answer with status {http_status}."
    return ApiError(text, status=http_status, code=code_of(http_status), headers=headers)


@dataclass(frozen=True, slots=True)
class _Answering:
    """One turn, with all that decides what is said."""

    conversation: Conversation
    options: Options
    directives: Directives
    transcript: Transcript

    def answer(self) -> Answer:
        asked = directives.without(self.conversation.asked)
        thoughts = self._thoughts()
        wanted = self.options
        called = functions.called(wanted.tools, wanted.tool_choice, asked) if self._may_call() else []
        served = tools.used(wanted.tools, asked, self.transcript) if wanted.tool_choice.mode != "none" else []
        if called:
            made, ended = functions.calls(called, asked, self.transcript), status.REQUIRES_ACTION
        else:
            made, ended = self._said(asked, served)
        spent = self._usage(thoughts, served, made)
        return Answer([*thoughts, *served, *made], ended, spent, self.directives)

    def _may_call(self) -> bool:
        return bool(self.conversation.asked) or not self.conversation.results

    def _thoughts(self) -> list[Json]:
        number = self.directives.thoughts
        if number == 0:
            return []
        if number is None:
            number = 1 if self.options.summaries else 0
        step: Json = {"signature": self.transcript.signature(), "type": "thought"}
        if number:
            step["summary"] = [talk.thought(place, self.conversation) for place in range(number)]
        return [step]

    def _said(self, asked: str, served: list[Json]) -> tuple[list[Json], str]:
        content: list[Json] = []
        ended = status.COMPLETED
        formats = self.options.formats
        if formats.text:
            text, cut = self._text(asked, formats)
            content.append({"text": text, "type": "text"})
            if formats.schema is None and (cited := tools.citations(served, text)):
                content[0]["annotations"] = cited
            ended = status.INCOMPLETE if cut else ended
        if formats.image:
            content.append(pictures.image(asked))
        if formats.audio:
            content.append(pictures.audio(asked))
        return [{"content": content, "type": "model_output"}], ended

    def _text(self, asked: str, formats: Formats) -> tuple[str, bool]:
        """The text, and whether `max_output_tokens` has cut it."""
        reply = talk.reply(self.conversation, self.options.system_instruction)
        size = (self.directives.tokens or 0) * usage.CHARACTERS_PER_TOKEN
        if formats.schema is None:
            text = reply if len(reply) >= size else (f"{reply} " * (size // len(reply) + 1))[:size]
        else:
            text = _json(formats.schema, asked, reply).ljust(size)
        for stop in self.options.stop_sequences:
            text = text.partition(stop)[0]
        limit = self.options.max_output_tokens
        most = len(text) if limit is None else limit * usage.CHARACTERS_PER_TOKEN
        return text[:most], most < len(text)

    def _usage(self, thoughts: list[Json], served: list[Json], made: list[Json]) -> Json:
        given = usage.of_steps(self.conversation.steps)
        given["text"] += usage.of_fields(self.options.system_instruction, self.options.tools)
        thought = sum(8 + usage.of_fields(*step.get("summary", [])) for step in thoughts)
        tool_use = usage.of_steps(served).total()
        return usage.report(given, usage.of_steps(made), tool_use=tool_use, thought=thought)


def _json(schema: object, asked: str, reply: str) -> str:
    value: Any = {"answer": reply} if schema is True else example(schema, asked)
    return orjson.dumps(value).decode()
