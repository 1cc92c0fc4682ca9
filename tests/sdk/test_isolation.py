"""Another project's interaction looks exactly like one that does not exist."""

import pytest

from tests.sdk.scenarios.reading import ABSENT
from tests.support.gateway import Gateway

_REQUESTS = {
    "get": ("GET", "/{id}", None),
    "get with input": ("GET", "/{id}?include_input=true", None),
    "stream": ("GET", "/{id}?stream=true", None),
    "resume": ("GET", "/{id}?stream=true&last_event_id={event}", None),
    "delete": ("DELETE", "/{id}", None),
    "cancel": ("POST", "/{id}/cancel", None),
    "chain": ("POST", "", {"model": "m", "input": "Hello.", "previous_interaction_id": "{id}"}),
    "chain, streamed": (
        "POST",
        "",
        {"model": "m", "input": "Hello.", "previous_interaction_id": "{id}", "stream": True},
    ),
    "chain, not stored": (
        "POST",
        "",
        {"model": "m", "input": "Hello.", "previous_interaction_id": "{id}", "store": False},
    ),
}


@pytest.mark.parametrize("name", _REQUESTS)
def test_a_foreign_interaction_is_answered_like_an_absent_one(name, gateway: Gateway, other_key: str):
    mine = gateway.create(input="My name is Ada.")["id"]
    foreign = _answer(gateway, other_key, name, mine)
    absent = _answer(gateway, other_key, name, ABSENT)
    assert foreign == absent
    assert foreign[0] == 404
    with gateway.client() as owner:
        assert owner.get(f"/v1/interactions/{mine}").status_code == 200


def test_another_key_of_the_same_project_sees_everything(gateway: Gateway):
    mine = gateway.create(input="My name is Ada.")["id"]
    colleague = gateway.new_key("default")
    answer = gateway.create(colleague, input="What is my name?", previous_interaction_id=mine)
    assert "Your name is Ada" in answer["steps"][-1]["content"][0]["text"]


def test_the_sdk_of_another_project_finds_nothing(gateway: Gateway, other_key: str, connect):
    mine = gateway.create(input="My name is Ada.")["id"]
    stranger = connect(other_key)
    for act in (stranger.interactions.get, stranger.interactions.delete, stranger.interactions.cancel):
        with pytest.raises(Exception, match=f"Interaction not found: {mine}") as found:
            act(mine)
        assert type(found.value).__name__ == "NotFoundError"


def _answer(gateway: Gateway, key: str, name: str, interaction_id: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers, the id blotted out."""

    def fill(text: str) -> str:
        return text.replace("{id}", interaction_id).replace("{event}", f"{interaction_id[-8:]}_1")

    method, path, body = _REQUESTS[name]
    given = {field: fill(value) if isinstance(value, str) else value for field, value in (body or {}).items()}
    with gateway.client(key) as client:
        answer = client.request(method, "/v1beta/interactions" + fill(path), json=given or None)
    headers = dict(answer.headers)
    assert headers.pop("x-request-id")  # which is another for every request
    return answer.status_code, answer.text.replace(interaction_id, "ID"), headers
