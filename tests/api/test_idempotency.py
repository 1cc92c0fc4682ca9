"""The header `Idempotency-Key`, and what it is compared by; row C11."""

import hashlib

import pytest

from app.api import idempotency
from app.errors import InvalidRequest

NAME = b"idempotency-key"


@pytest.mark.parametrize("text", ["a", "x" * 255, " ~!\"'", "8e03978e-40d5-43e8-bc93-6894a57f9324", "a,b"])
def test_c11_a_key_is_what_the_header_says(text: str) -> None:
    assert idempotency.key([(b"host", b"x"), (NAME, text.encode())]) == text


def test_c11_without_the_header_there_is_no_key() -> None:
    assert idempotency.key([(b"host", b"x"), (b"x-idempotency-key", b"a")]) is None


@pytest.mark.parametrize(
    "value", [b"", b"x" * 256, "é".encode(), b"a\tb", b"a\x00", b"\x7f", b"\xff", b"\x85"]
)
def test_c11_a_key_that_cannot_be_one_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="'Idempotency-Key'"):
        idempotency.key([(NAME, value)])


def test_c11_two_different_keys_are_refused_and_one_said_twice_is_one() -> None:
    with pytest.raises(InvalidRequest, match="Two different"):
        idempotency.key([(NAME, b"a"), (NAME, b"b")])
    assert idempotency.key([(NAME, b"a"), (NAME, b"a")]) == "a"


def test_c11_bodies_are_told_apart_by_their_bytes() -> None:
    assert idempotency.fingerprint(b'{"a":1}') == hashlib.sha256(b'{"a":1}').digest()
    assert idempotency.fingerprint(b'{"a":1}') != idempotency.fingerprint(b'{"a": 1}')


def test_c11_what_is_refused_says_when_to_come_back_or_what_to_change() -> None:
    running, reused = idempotency.running(), idempotency.reused()
    assert (running.status, running.code, running.headers) == (409, "aborted", {"retry-after": "1"})
    assert (reused.status, reused.code, reused.headers) == (422, "invalid_request", {})
