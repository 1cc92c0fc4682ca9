"""Bodies: strict JSON objects, not too deep."""

import sys
import time

import orjson
import pytest
from hypothesis import given

from app.errors import InvalidRequest
from app.wire.body import parse
from tests.core.strategies import OBJECTS


def nested(levels: int) -> bytes:
    """An object that is so many levels deep."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@given(OBJECTS)
def test_an_object_is_read_as_it_is(body):
    assert parse(orjson.dumps(body), 100) == body


def test_strings_keep_every_character():
    text = '"\\u0000 \\ud83d\\ude00 \u2028 \\" \\/"'
    assert parse(b'{"a":' + text.encode() + b"}", 10) == {"a": '\x00 😀 \u2028 " /'}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1}x',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\n"}',
        b'{"\\udfff":1}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_is_not_strict_json_is_refused(body):
    with pytest.raises(InvalidRequest, match=r"^The request body is not valid JSON: ") as refused:
        parse(body, 100)
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"5", b"null", b"true"])
def test_what_is_not_an_object_is_refused(body):
    with pytest.raises(InvalidRequest, match=r"^The request body must be a JSON object\.$"):
        parse(body, 100)


@pytest.mark.parametrize("limit", [10, 100, 500])
def test_a_body_may_be_as_deep_as_the_limit(limit):
    assert parse(nested(limit), limit)
    with pytest.raises(InvalidRequest, match=f"nested more than {limit} levels deep"):
        parse(nested(limit + 1), limit)


def test_breadth_is_not_depth():
    body = {"a": [{"b": []}] * 1000, "c": "[" * 1000}
    assert parse(orjson.dumps(body), 10) == body


def test_the_deepest_place_counts_wherever_it_is():
    body = {"a": [{}] * 50, "b": {"c": orjson.loads(nested(20))}}
    with pytest.raises(InvalidRequest, match="nested more than 10 levels"):
        parse(orjson.dumps(body), 10)


def test_a_large_flat_body_is_read_in_no_time():
    body = orjson.dumps({"data": "A" * 20_000_000, "items": list(range(100_000))})
    start = time.process_time()
    assert sys.getsizeof(parse(body, 100)["data"]) > 20_000_000
    assert time.process_time() - start < 2
