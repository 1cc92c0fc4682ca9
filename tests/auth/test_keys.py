"""Keys: their shape, their checksum and their digest."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import keys

ALPHABET = string.ascii_letters + string.digits
KEY = "igw_FqNvR9grgYEdxVcBWSXeXXLQvFCryfxHBh04UdT6qe"  # well-formed, and nobody's


def test_a_key_is_made_of_letters_and_digits_and_never_repeated():
    made = {keys.new_key() for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"igw_[A-Za-z0-9]{42}", key) and keys.is_key(key) for key in made)
    # 36 random characters: no position is the same in all of them.
    assert all(len({key[position] for key in made}) > 40 for position in range(4, 40))


@given(st.integers(4, 45), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(position, character):
    wrong = KEY[:position] + character + KEY[position + 1 :]
    assert keys.is_key(wrong) is (wrong == KEY)


@given(st.integers(4, 44))
def test_two_swapped_characters_are_noticed(position):
    first, second = KEY[position], KEY[position + 1]
    wrong = KEY[:position] + second + first + KEY[position + 2 :]
    assert keys.is_key(wrong) is (first == second)


@given(st.text() | st.text(ALPHABET, min_size=42, max_size=42).map("igw_".__add__))
def test_what_somebody_made_up_is_no_key(text):
    assert not keys.is_key(text)


@pytest.mark.parametrize("wrong", ["", KEY[:-1], KEY + "a", KEY + "\n", " " + KEY, KEY.upper(), KEY[4:]])
def test_what_is_nearly_a_key_is_none(wrong):
    assert not keys.is_key(wrong)


def test_little_of_a_key_is_shown():
    assert keys.shown(KEY) == KEY[:10]


def test_a_digest_depends_on_the_key_and_the_pepper():
    made = {keys.digest(pepper, key) for pepper in (b"a" * 32, b"b" * 32) for key in (KEY, keys.new_key())}
    assert len(made) == 4
    assert all(len(digest) == 32 for digest in made)
    assert keys.digest(b"pepper", KEY) == keys.digest(b"pepper", KEY)
    assert KEY.encode() not in keys.digest(b"pepper", KEY)
