"""The history of a chain: everything, in order, or a complaint that names what is gone."""

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import steps
from app.core.chain import Link, MissingLink, history
from tests.core.strategies import STEPS


def chained(count: int) -> list[Link]:
    return [
        Link(f"i{n}", f"i{n - 1}" if n else None, "completed", steps.dump([{"n": n}]), steps.dump([{"m": n}]))
        for n in range(count)
    ]


@given(st.lists(st.lists(STEPS, max_size=3), max_size=5))
def test_joined_arrays_are_one_array(arrays):
    whole = [step for array in arrays for step in array]
    assert steps.join(steps.dump(array) for array in arrays) == steps.dump(whole)


def test_arrays_are_joined_byte_for_byte():
    assert (
        steps.join([b"[]", b'[{ "a" : 1.0 }]', b"[]", b'[2,"\xc3\xa9"]']) == b'[{ "a" : 1.0 },2,"\xc3\xa9"]'
    )


def test_history_is_input_and_output_oldest_first():
    told = orjson.loads(history(chained(3)))
    assert told == [{"n": 0}, {"m": 0}, {"n": 1}, {"m": 1}, {"n": 2}, {"m": 2}]
    assert history([]) == b"[]"


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_a_missing_link_is_named(gone):
    links = chained(5)
    del links[gone]
    with pytest.raises(MissingLink) as missing:
        history(links)
    assert missing.value.id == f"i{gone}"


def test_a_chain_of_ten_thousand_links_takes_linear_time():
    array = steps.dump([{"text": "x" * 1000}])
    links = [Link(f"i{n}", f"i{n - 1}" if n else None, "completed", array, array) for n in range(10_000)]
    start = time.process_time()
    assert history(links).count(b"text") == 20_000
    assert time.process_time() - start < 2


def test_an_answer_that_is_continued_is_not_told_again():
    """Of the first answer and its two hops only the questions, before them everything."""
    links = [
        Link(f"i{n}", f"i{n - 1}" if n else None, ends, steps.dump([{"n": n}]), steps.dump([{"m": n}]))
        for n, ends in enumerate(["requires_continuation", "completed", *["requires_continuation"] * 2])
    ]
    told = orjson.loads(history(links, continues=True))
    assert told == [{"n": 0}, {"m": 0}, {"n": 1}, {"m": 1}, {"n": 2}, {"n": 3}]
    assert orjson.loads(history(links))[-1] == {"m": 3}
