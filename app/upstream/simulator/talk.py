"""Talk: what the simulator says to a conversation, in words.

It answers "What is my name?" from "My name is Ada", quotes function results, else repeats what it
was asked; it says how many turns it sees, what it was shown, and what its instructions are.
"""

import re
from collections import Counter
from collections.abc import Iterator

import orjson

from app.core.model import Json
from app.upstream.simulator import directives
from app.upstream.simulator.conversation import MEDIA, Conversation

_LONGEST_QUOTE = 2_000
_LONGEST_READ = 100_000
_QUESTION = re.compile(
    r"\bwhat(?P<verb>\S?s| is| was| are) (?P<wanted>(?:my|the) \w[\w ]{0,80})", re.IGNORECASE
)
_FACT = re.compile(
    r"\b(?=((?:my|the) [^\W\d_][\w ]{0,39}?) (?:is|are) ([^.,;:!?]{1,80}?)(?: and\b|[.,;:!?]|$))",
    re.IGNORECASE,
)


def reply(conversation: Conversation, instruction: str) -> str:
    """The answer in plain text."""
    asked = directives.without(conversation.asked)
    sentences = [*_quoted(conversation.results)]
    if asked:
        sentences.append(_recalled(conversation, asked) or f'You said "{asked[:_LONGEST_QUOTE]}".')
    sentences += _seen(conversation)
    sentences.append(f"This is turn {conversation.turns} of our conversation.")
    return _instructed(" ".join(sentences), instruction)


def thought(number: int, conversation: Conversation) -> Json:
    """One summary of what the simulator thinks about, as a content."""
    about = directives.without(conversation.asked)[:80] or "what came back"
    text = f'**Step {number + 1}**\n\nI consider "{about}" (turn {conversation.turns}).\n'
    return {"text": text, "type": "text"}


def _quoted(results: list[Json]) -> Iterator[str]:
    for result in results:
        value = result["result"]
        said = value if isinstance(value, str) else orjson.dumps(value).decode()
        verb = "failed with" if result.get("is_error") is True else "returned"
        yield f"{result.get('name') or result['call_id']} {verb} {said[:_LONGEST_QUOTE]}."


def _recalled(conversation: Conversation, asked: str) -> str | None:
    """The answer to a question for something that the user has told, in any turn."""
    question = _QUESTION.search(_line(asked))
    if question is None:
        return None
    told = {subject.lower(): (subject, value) for subject, value in _facts(conversation)}
    wanted = question["wanted"].lower().split()
    for size in range(len(wanted), 1, -1):
        if found := told.get(" ".join(wanted[:size])):
            verb = "are" if question["verb"].lower() == " are" else "is"
            return f"{_turned(found[0])} {verb} {found[1]}."
    return f"You have not told me your {wanted[1]}." if wanted[0] == "my" else None


def _facts(conversation: Conversation) -> Iterator[tuple[str, str]]:
    for text in conversation.texts():
        for found in _FACT.finditer(_line(text[:_LONGEST_READ])):
            yield found[1], found[2].strip()


def _turned(subject: str) -> str:
    """The user's words from the other side: "my name" -> "Your name"."""
    owner, _, noun = subject.partition(" ")
    return f"{'Your' if owner.lower() == 'my' else 'The'} {noun}"


def _seen(conversation: Conversation) -> Iterator[str]:
    shown: dict[str, Counter[str]] = {kind: Counter() for kind in MEDIA}
    for item in conversation.media():
        shown[item["type"]][str(item.get("mime_type") or "unknown")] += 1
    parts = [_count(kind, types) for kind, types in shown.items() if types]
    if parts:
        yield f"I see {' and '.join(parts)}."


def _count(kind: str, types: Counter[str]) -> str:
    number = types.total()
    return f"{number} {kind}{'s' if number > 1 else ''} ({', '.join(types)})"


def _instructed(text: str, instruction: str) -> str:
    if not instruction:
        return text
    words = instruction.lower()
    if "uppercase" in words or "upper case" in words:
        return text.upper()
    if "lowercase" in words or "lower case" in words:
        return text.lower()
    return f'{text} My instructions are "{instruction[:_LONGEST_QUOTE]}".'


def _line(text: str) -> str:
    return ". ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
