"""Identifiers: safe in a URL, not to be guessed, in the order of time."""

import base64
import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app import ids

INTERACTION_IDS = st.from_regex(r"\Av1_[A-Za-z0-9_-]{8,64}\Z")


def raw(interaction_id: str) -> bytes:
    return base64.urlsafe_b64decode(interaction_id.removeprefix("v1_"))


def test_an_interaction_id_needs_no_escaping_and_is_never_repeated():
    made = [ids.new_interaction_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    for one in made:
        assert re.fullmatch(r"v1_[A-Za-z0-9_-]{28}", one)
        assert ids.is_interaction_id(one)
    # 120 random bits: no byte of the tail is the same in all of them.
    assert all(len({raw(one)[position] for one in made}) > 100 for position in range(6, 21))


def test_interaction_ids_begin_with_the_time():
    before = time.time_ns() // 1_000_000
    made = [ids.new_interaction_id() for _ in range(200)]
    after = time.time_ns() // 1_000_000
    moments = [int.from_bytes(raw(one)[:6], "big") for one in made]
    assert moments == sorted(moments)
    assert before <= moments[0] <= moments[-1] <= after


def test_other_ids_say_what_they_are():
    made = {ids.new_id("key") for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"key_[A-Za-z0-9_-]{16}", one) for one in made)


@pytest.mark.parametrize(
    "value",
    [
        "v1_ChdxREN3YXU2V0hPX3VfdU1QcTVHZGlBaxIXcURDd2F1NldIT191X3VNUHE1R2RpQWs",
        "v1_upstream",
        "v1_" + "x" * 128,
    ],
)
def test_ids_of_google_have_the_shape_too(value):
    assert ids.is_interaction_id(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "v1_",
        "v1_short",
        "v2_ABCDEFGHIJ",
        "v1_ABCDEFGHIJ\n",
        "v1_ABCDEFGH%2F",
        "v1_ABCDEFGH/..",
        "v1_é" * 9,
        "v1_" + "x" * 129,
        " v1_ABCDEFGHIJ",
        "int_123",
        "v1_\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    ],
)
def test_what_is_not_an_interaction_id(value):
    assert not ids.is_interaction_id(value)


@given(INTERACTION_IDS, st.integers(1, 10**16 - 1))
def test_an_event_id_tells_its_number(interaction_id, seq):
    made = ids.event_id(interaction_id, seq)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", made)
    assert ids.event_seq(interaction_id, made) == seq


@given(INTERACTION_IDS, INTERACTION_IDS, st.integers(1, 1000))
def test_an_event_id_belongs_to_one_interaction(one, other, seq):
    assume(one[-8:] != other[-8:])
    assert ids.event_seq(other, ids.event_id(one, seq)) is None


@given(INTERACTION_IDS, st.text())
def test_no_text_at_all_upsets_the_reading_of_event_ids(interaction_id, text):
    assert ids.event_seq(interaction_id, text) is None or text.startswith(interaction_id[-8:])


@pytest.mark.parametrize(
    "number",
    ["0", "-1", "01", "+1", "1.0", "", " 1", "1 ", "1\n", "1_000", "1e3", "0x1", "9" * 17, "٣", "\uff11"],
)
def test_only_plain_numbers_from_one_on_are_event_numbers(number):
    assert ids.event_seq("v1_ABCDEFGH", f"ABCDEFGH_{number}") is None
    assert ids.event_seq("v1_ABCDEFGH", "ABCDEFGH_1") == 1


@given(INTERACTION_IDS, st.integers(1, 10**16 - 1), st.integers(1, 10**9 - 1))
def test_an_event_id_tells_a_place_and_so_does_the_id_of_a_part(interaction_id, seq, part):
    whole = ids.event_id(interaction_id, seq)
    half = ids.part_id(whole, part)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", half)
    assert ids.place(interaction_id, whole) == ids.Place(seq, 0) > ids.Place(seq - 1, part) > ids.START
    assert ids.place(interaction_id, half) == ids.Place(seq - 1, part)
    assert ids.event_seq(interaction_id, half) is None


@pytest.mark.parametrize(
    "value",
    [
        *("", "-", "-1", "ABCDEFGH-1", " ABCDEFGH_1", "ABCDEFGX_1-1", "ABCDEFGH_0-1", "ABCDEFGH_1-"),
        *("ABCDEFGH_1-0", "ABCDEFGH_1-01", "ABCDEFGH_1-1-1", "ABCDEFGH_1-x", "ABCDEFGH_1-1000000000"),
        *("ABCDEFGH_1-\u0661", "ABCDEFGH_1-1\n"),
    ],
)
def test_what_is_no_place(value):
    assert ids.place("v1_ABCDEFGH", value) is None
