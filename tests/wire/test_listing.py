"""The query of a list, and its pages."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.listing import Query
from app.errors import InvalidRequest
from app.wire import listing
from tests.core.strategies import JSON
from tests.wire.test_steps import DONE

DAY = 1_795_219_200_000  # 2026-11-21


def query(**parameters: str) -> Query:
    return listing.query(parameters)


def refusal(**parameters: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        query(**parameters)
    return refused.value.message


def token(*fields) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("size", "limit"), [(None, 20), ("1", 1), ("100", 100), ("999999", 100), ("0", 20), ("007", 7)]
)
def test_the_size_of_a_page(size, limit):
    assert query(**({"page_size": size} if size else {})) == Query(limit=limit)


@pytest.mark.parametrize("size", ["", "-1", "1.5", "ten", "1" * 7, "١"])
def test_a_size_that_is_no_number(size):
    assert refusal(page_size=size) == "'page_size' must be a number."


FILTERS = {
    "": {},
    "  ": {},
    'status="completed"': {"status": "completed"},
    "status=completed": {"status": "completed"},
    'model = "m 1" AND agent="a"': {"model": "m 1", "agent": "a"},
    'previous_interaction_id="v1_x"': {"parent_id": "v1_x"},
    'labels.team="a" AND labels.Tier-2_x=b': {"labels": (("team", "a"), ("Tier-2_x", "b"))},
    'model=""': {"model": ""},
    'model="a AND b"': {"model": "a AND b"},
    "created>=2026-11-21": {"since": DAY},
    'created > "2026-11-21T00:00:00Z"': {"since": DAY + 1000},
    "created<2026-11-21T01:00:00+01:00": {"until": DAY},
    "created<=2026-11-21": {"until": DAY + 1000},
    "created=2026-11-21": {"since": DAY, "until": DAY + 1000},
    "created>=2026-11-20 AND created<2026-11-21": {"since": DAY - 86_400_000, "until": DAY},
    "created>2026-11-21 AND created>2026-11-20": {"since": DAY + 1000},
    "created<2026-11-20 AND created<2026-11-21": {"until": DAY - 86_400_000},
}


@pytest.mark.parametrize(("text", "conditions"), FILTERS.items())
def test_a_filter_is_conditions(text, conditions):
    assert query(filter=text) == Query(limit=20, **conditions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("status", "'filter' cannot be read from character 1 on."),
        ("status=completed AND", "'filter' cannot be read from character 1 on."),
        ("status=completed AND ", "'filter' cannot be read from character 22 on."),
        ("status=a or model=b", "'filter' cannot be read from character 1 on."),
        ('status="a', "'filter' cannot be read from character 1 on."),
        ('model="a\x00b"', "'filter' cannot be read from character 1 on."),
        ("model=a\x00", "'filter' cannot be read from character 1 on."),
        ("input=a", "'filter' cannot compare 'input' with '='."),
        ("model>a", "'filter' cannot compare 'model' with '>'."),
        ("labels.a<b", "'filter' cannot compare 'labels.a' with '<'."),
        ("model=a AND model=b", "'filter' names 'model' twice."),
        ("created>soon", "'filter': 'soon' is not a time like 2026-11-21T10:00:00Z."),
    ],
)
def test_a_filter_that_cannot_be_read(text, message):
    assert refusal(filter=text) == message


@given(st.text() | st.from_regex(r'(status|created|labels\.a)[=<>]{1,2}"?[\w:-]*"?( AND .*)?'))
def test_no_text_at_all_upsets_the_filter(text):
    try:
        assert query(filter=text).limit == 20
    except InvalidRequest as refused:
        assert "'filter'" in refused.message  # noqa: PT017 - either is right


def test_the_next_page_begins_where_this_one_ends():
    parameters = {"filter": "status=completed"}
    following = listing.next_page_token(DONE, parameters)
    assert following.replace("-", "").replace("_", "").isalnum()
    made = listing.query({**parameters, "page_token": following, "page_size": "5"})
    assert made == Query(limit=5, after=(DONE.created_at, DONE.id), status="completed")
    assert refusal(page_token=following) == "'page_token' belongs to another filter."
    assert query(page_token="") == Query(limit=20)


FOREIGN = "'page_token' is not a token of this list."


@pytest.mark.parametrize("given_", ["x", "é", "====", token(), token(1, 2), token(1, DONE.id)])
def test_a_token_that_is_none(given_):
    assert refusal(page_token=given_) == FOREIGN


@pytest.mark.parametrize("created_at", [True, False, 1.5, "1", None, -1, 2**63])
def test_a_token_with_another_time(created_at):
    assert refusal(page_token=token(created_at, DONE.id, 0)) == FOREIGN


@pytest.mark.parametrize("interaction_id", [5, "", "v1_\x00\x00\x00\x00\x00\x00\x00\x00", "v1_" + "x" * 200])
def test_a_token_with_another_id(interaction_id):
    assert refusal(page_token=token(1, interaction_id, 0)) == FOREIGN


@given(JSON)
def test_no_json_at_all_upsets_the_token(value):
    text = base64.urlsafe_b64encode(orjson.dumps(value)).decode()
    assert refusal(page_token=text) == FOREIGN


def test_a_page():
    items = [b'{"id":"a"}', b'{"id":"b"}']
    assert listing.answer(items, "t") == b'{"interactions":[{"id":"a"},{"id":"b"}],"next_page_token":"t"}'
    assert listing.answer([], None) == b'{"interactions":[]}'
