"""JSON text: what is read can be written again."""

import orjson
import pytest
from hypothesis import given

from app.core import jsontext
from app.core.jsontext import NotJson
from tests.core.strategies import JSON


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@given(JSON)
def test_values_are_read_as_they_are(value):
    text = orjson.dumps(value)
    assert jsontext.parse(text) == jsontext.parse(text.decode()) == value


def test_what_is_read_can_be_written_again_with_something_around_it():
    value = jsontext.parse(nested(240))
    assert orjson.dumps({"event": {"delta": {"arguments": value}}})
    for text in (nested(241), nested(241).encode(), nested(1000)):
        with pytest.raises(NotJson, match=r"^nested more than 240 levels deep$"):
            jsontext.parse(text)


@pytest.mark.parametrize("text", ["", "{", "NaN", '"\\ud800"', "1e999", nested(2000), b"\xff"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(NotJson, match=r"^not valid JSON: "):
        jsontext.parse(text)


def test_depth_is_counted_from_the_value():
    assert jsontext.parse("[[1]]", 2) == [[1]]
    assert jsontext.parse('"[[[["', 1) == "[[[["
    with pytest.raises(NotJson):
        jsontext.parse("[[1]]", 1)
