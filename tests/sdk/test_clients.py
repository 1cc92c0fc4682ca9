"""How the SDK is pointed at the gateway, and who may use it."""

import asyncio
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.sdk.scenarios.reading import MODEL, ask, follow_up, refused, text
from tests.support.gateway import Gateway

_ONCE = types.HttpRetryOptions(attempts=1)


def test_the_base_url_and_the_key_come_from_the_environment(gateway: Gateway, monkeypatch):
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gateway.url)
    monkeypatch.setenv("GEMINI_API_KEY", gateway.key)
    with genai.Client() as client:
        assert "Hello" in text(ask(client, "Hello."))


def test_a_slash_at_the_end_of_the_base_url_does_no_harm(gateway: Gateway):
    with genai.Client(api_key=gateway.key, http_options={"base_url": gateway.url + "/"}) as client:
        assert "Hello" in text(ask(client, "Hello."))


def test_every_version_of_the_path_shows_the_same_interactions(connect):
    default, *others = (connect(api_version=version) for version in ("v1", "v1beta", "v1alpha"))
    made = ask(default, "My name is Ada.")
    for client in others:
        assert client.interactions.get(made.id).id == made.id
        assert "Your name is Ada" in text(follow_up(client, made, "What is my name?"))


async def test_many_conversations_of_one_async_client_do_not_mix(connect):
    async def converse(interactions: Any, number: int) -> str:
        first = await interactions.create(model=MODEL, input=f"My number is {number}.")
        more = {"previous_interaction_id": first.id}
        return text(await interactions.create(model=MODEL, input="What is my number?", **more))

    async with connect().aio as client:
        said = await asyncio.gather(*(converse(client.interactions, number) for number in range(20)))
    assert all(f"Your number is {number}." in told for number, told in enumerate(said))


@pytest.mark.parametrize("key", ["igw_" + "x" * 43, "a-google-key", "no key"])
async def test_a_wrong_key_is_an_authentication_error(connect, key: str):
    client = connect(key)
    with pytest.raises(Exception, match="API key not valid") as caught:
        await asyncio.to_thread(ask, client, "Hello.")
    assert type(caught.value).__name__ == "AuthenticationError"
    async with client.aio as asynchronous:
        with pytest.raises(Exception, match="API key not valid") as caught:
            await asynchronous.interactions.create(model=MODEL, input="Hello.")
    assert type(caught.value).__name__ == "AuthenticationError"


@pytest.mark.parametrize(
    ("status", "name"),
    [(403, "PermissionDeniedError"), (429, "RateLimitError"), (500, "InternalServerError"), (503, None)],
)
def test_the_upstreams_failures_keep_their_class(connect, status: int, name: str | None):
    client = connect(retry_options=_ONCE)
    with pytest.raises(Exception, match=f"told to answer with status {status}") as caught:
        ask(client, f"Hello. [[sim status={status}]]")
    assert type(caught.value).__name__ == (name or "InternalServerError")


def test_a_background_run_needs_to_be_stored(connect):
    with refused(400, "invalid_request", "background", "store"):
        ask(connect(), "Take your time.", background=True, store=False)


def test_an_agent_works_in_the_background(connect):
    client = connect()
    begun = client.interactions.create(
        agent="deep-research-preview-04-2026", input="Research geese.", background=True
    )
    assert begun.agent == "deep-research-preview-04-2026"
    told = list(client.interactions.get(begun.id, stream=True))
    assert told[-1].interaction.status == "completed"
    assert client.interactions.get(begun.id).status == "completed"
