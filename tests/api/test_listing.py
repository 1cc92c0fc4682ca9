"""GET /interactions: the caller's own, newest first, stable while more are created."""

import pytest

from tests.support.gateway import Gateway


def page(gateway: Gateway, key: str, **parameters) -> dict:
    with gateway.client(key) as client:
        answer = client.get("/v1beta/interactions", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(found: dict) -> list[str]:
    return [item["id"] for item in found["interactions"]]


@pytest.fixture
def key(gateway: Gateway) -> str:
    return gateway.new_key()


def test_only_ones_own_newest_first_and_without_content(gateway, key):
    made = [gateway.create(key, input=f"number {n}")["id"] for n in range(3)]
    gateway.create(gateway.new_key(), input="foreign")
    gateway.create(key, input="not stored", store=False)
    found = page(gateway, key)
    assert ids(found) == made[::-1]
    assert "next_page_token" not in found
    assert {"steps", "input"}.isdisjoint(found["interactions"][0])
    assert found["interactions"][0]["usage"]["total_tokens"] > 0


def test_pages_neither_repeat_nor_miss_while_more_are_created(gateway, key):
    made = [gateway.create(key, input=f"number {n}")["id"] for n in range(5)]
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        found = page(gateway, key, page_size=2, page_token=token)
        seen += ids(found)
        token = found.get("next_page_token")
        gateway.create(key, input="meanwhile")
    assert seen == made[::-1]


def test_filters(gateway, key):
    first = gateway.create(key, input="one", labels={"team": "red", "tier": "a"})
    second = gateway.create(key, input="two", labels={"team": "blue"}, model="other-model")
    third = gateway.create(key, input="three", agent="some-agent", model=None)
    child = gateway.create(key, input="four", previous_interaction_id=first["id"])
    for text, expected in (
        ('labels.team="red"', [first]),
        ("labels.team=red AND labels.tier=a", [first]),
        ("labels.team=red AND labels.tier=b", []),
        ('model="other-model"', [second]),
        ("agent=some-agent", [third]),
        (f'previous_interaction_id="{first["id"]}"', [child]),
        ("status=failed", []),
        ('created>="2020-01-01T00:00:00Z" AND status="completed" AND model=test-model', [child, first]),
        ('created<"2020-01-01T00:00:00Z"', []),
    ):
        assert ids(page(gateway, key, filter=text)) == [item["id"] for item in expected], text


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"page_size": "many"}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"page_token": "é"}, "page_token"),
        ({"filter": "status"}, "filter"),
        ({"filter": "status=completed AND"}, "filter"),
        ({"filter": "colour=red"}, "colour"),
        ({"filter": "status>completed"}, "status"),
        ({"filter": "created>yesterday"}, "yesterday"),
        ({"filter": "status='completed' OR 1=1"}, "filter"),
    ],
)
def test_a_bad_question_is_refused_by_name(gateway, parameters, named):
    with gateway.client() as client:
        answer = client.get("/v1/interactions", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert named in answer.json()["error"]["message"]


def test_a_token_of_another_filter_is_refused(gateway, key):
    for n in range(2):
        gateway.create(key, input=f"number {n}")
    token = page(gateway, key, page_size=1)["next_page_token"]
    with gateway.client(key) as client:
        answer = client.get("/v1beta/interactions", params={"page_token": token, "filter": "status=failed"})
    assert answer.status_code == 400


def test_a_key_is_needed(gateway):
    import httpx

    assert httpx.get(f"{gateway.url}/v1beta/interactions").status_code == 401
