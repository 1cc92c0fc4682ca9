"""Words of user texts and of names, for matching one with the other."""

import re

_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W_A-Za-z]+")
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?(?![\w.]*\w)")
_SENTENCE = re.compile(r"[.!?:]\s|\n")
_PUNCTUATION = ".,;:!?()[]{}<>\"'*_"
_SAY_NOTHING = (
    "a about all an and any are call can current for from function get give given have into list make my "
    "name not of on one or please return returns set tell text that the this to tool use user value what "
    "when where which will with you your"
)
_COMMON = frozenset(_SAY_NOTHING.split())


def words(text: str) -> set[str]:
    """The words of a text, in lower case and without a plural s."""
    return {_singular(word) for word in _WORD.findall(text.lower())}


def telling(text: str) -> set[str]:
    """The words of a name or a description that say what it is about: `getWeather` -> weather."""
    parts = {_singular(part.lower()) for part in _PART.findall(text)}
    return {part for part in parts if len(part) > 2} - _COMMON


def proper_names(text: str) -> list[str]:
    """The names inside the sentences of a text, in order: "Is it hot in New York?" -> New York."""
    found: list[str] = []
    for sentence in _SENTENCE.split(text):
        joins = False
        for token in sentence.split()[1:]:
            name = token.strip(_PUNCTUATION).partition("'")[0]
            proper = len(name) > 1 and name[0].isupper()
            if proper and joins:
                found[-1] += f" {name}"
            elif proper:
                found.append(name)
            joins = proper and token.endswith(name)
    return found


def numbers(text: str) -> list[int | float]:
    """The numbers in a text, in order."""
    return [float(found) if "." in found else int(found) for found in _NUMBER.findall(text)]


def longest(text: str) -> str:
    """The longest word of a text, the first of several; "" when it has none."""
    return max(_WORD.findall(text), key=len, default="")


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
