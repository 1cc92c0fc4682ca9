"""Functions: which of the declared ones the user's text is about, and calls of them."""

from app.core.model import Json
from app.upstream.simulator import words
from app.upstream.simulator.example import example
from app.upstream.simulator.options import ToolChoice
from app.upstream.simulator.signatures import Transcript


def called(tools: list[Json], choice: ToolChoice, text: str) -> list[Json]:
    """The functions to call: those the text names, else those whose description it touches.

    `any` calls the first one when the text is about none.
    """
    if choice.mode == "none":
        return []
    functions = [
        tool
        for tool in tools
        if tool["type"] == "function" and (choice.allowed is None or tool["name"] in choice.allowed)
    ]
    said = words.words(text)
    named = [function for function in functions if _named(function["name"], text, said)]
    described = [
        function for function in functions if said & words.telling(function.get("description") or "")
    ]
    return named or described or (functions[:1] if choice.mode == "any" else [])


def calls(functions: list[Json], text: str, transcript: Transcript) -> list[Json]:
    """One `function_call` step for each of these functions."""
    return [
        {
            "id": transcript.call_id("function", number),
            "type": "function_call",
            "name": function["name"],
            "arguments": _arguments(function.get("parameters"), text),
        }
        for number, function in enumerate(functions)
    ]


def _named(name: str, text: str, said: set[str]) -> bool:
    return bool(said & words.telling(name)) or name in text.split()


def _arguments(parameters: Json | None, text: str) -> Json:
    made = example({"type": "object", **parameters}, text) if parameters else {}
    return made if isinstance(made, dict) else {}
