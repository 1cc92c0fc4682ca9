"""Rate limits on real gateways: by the policy of a key or a project, told in the API's envelope."""

import asyncio
import json

import httpx

from tests.conftest import GatewayFactory
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.upstream import Pause, ScriptedUpstream, head, sse, text_events

STREAM = head("200 OK", "text/event-stream")


def limited(gateway: Gateway, *policy: str) -> str:
    """A key of the default project with these limits."""
    assert gateway.key
    made = gateway.run("keys", "create", "--project", "default", "--name", "limited", "--json", *policy)
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["key"])


def must_be_told(answer, limit: str) -> None:
    assert answer.status_code == 429, answer.text
    assert f"'{limit}'" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1


async def refusal(client: Client, path: str, body: object) -> httpx.Response:
    """The answer to one request too many: the next one, or the one after it where a minute has just begun."""
    for _ in range(3):
        said = await client.http.post(path, json=body)
        if said.status_code == 429:
            break
    return said


async def test_requests_are_counted_by_key_also_forwarded_ones(start_gateway: GatewayFactory) -> None:
    gateway = await asyncio.to_thread(start_gateway)
    key = await asyncio.to_thread(limited, gateway, "--rpm", "2")
    ask, body = {"model": "test-model", "input": "Hi"}, {"contents": [{"parts": [{"text": "Hi"}]}]}
    async with Client(gateway, key) as client, Client(gateway) as other:
        assert (await client.http.post("/v1beta/interactions", json=ask)).status_code == 200
        assert (await client.http.post("/v1beta/models/m:embedContent", json=body)).status_code < 429
        refused = await refusal(client, "/v1beta/interactions", ask)
        must_be_told(refused, "rpm")
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        forwarded = await refusal(client, "/v1beta/models/m:embedContent", body)
        must_be_told(forwarded, "rpm")
        assert forwarded.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert (await other.http.post("/v1beta/interactions", json=ask)).status_code == 200


async def test_runs_at_a_time_in_the_foreground_and_the_background(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url)
    key = await asyncio.to_thread(limited, gateway, "--concurrent", "2")
    begun = STREAM + sse(*text_events("Hi")[:3])
    for _ in range(2):
        upstream.script(begun, Pause(300))
    upstream.script(STREAM + sse(*text_events("Hi"), done=True))
    ask = {"model": "test-model", "input": "again"}
    async with Client(gateway, key) as client:
        assert (await client.create(background=True)).status == 200
        async with client.open(store=False) as reader:
            await reader.until(2)
            must_be_told(await client.http.post("/v1beta/interactions", json=ask), "concurrent")
        async with asyncio.timeout(60):  # the one that was left is over soon
            while (await client.http.post("/v1beta/interactions", json=ask)).status_code == 429:
                await asyncio.sleep(0.1)


async def test_tokens_are_corrected_by_what_was_used(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url)
    key = await asyncio.to_thread(limited, gateway, "--tpm", "1000")
    for _ in range(5):
        upstream.script(STREAM + sse(*text_events("Hi"), done=True))  # three tokens
    upstream.script(STREAM + sse(*text_events("Hi")[:3]), Pause(300))
    small = {"generation_config": {"max_output_tokens": 700}}
    async with Client(gateway, key) as client:
        for number in range(5):  # each takes 700, and gives nearly all of it back
            async with asyncio.timeout(60):
                while (heard := await client.create(stream=True, input=f"{number}", **small)).status == 429:
                    await asyncio.sleep(0.05)
            assert heard.status == 200
        async with client.open(**small) as reader:
            await reader.until(2)
            ask = {"model": "test-model", "input": "more", **small}
            must_be_told(await client.http.post("/v1beta/interactions", json=ask), "tpm")


async def test_a_key_is_limited_by_model_on_every_path(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url)
    limit = ("--model-limit", "gemini-3*:concurrent=1,rpm=1000", "--model-limit", "research-*:concurrent=1")
    key = await asyncio.to_thread(limited, gateway, *limit)
    called = {"contents": [{"parts": [{"text": "Hi"}]}]}
    begun, whole = STREAM + sse(*text_events("Hi")[:3]), STREAM + sse(*text_events("Hi"), done=True)

    async def must_be_refused(client: Client, **target: str) -> None:
        for way in ({}, {"stream": True}, {"background": True}, {"store": False}):
            ask = {**target, "input": "Hi", **way}
            must_be_told(await client.http.post("/v1beta/interactions", json=ask), "concurrent")

    async with Client(gateway, key) as client, Client(gateway) as unlimited:
        upstream.script(begun, Pause(300))
        async with client.open(model="gemini-3-pro", store=False) as reader:
            await reader.until(2)
            await must_be_refused(client, model="models/gemini-3-flash")
            for method in ("generateContent", "streamGenerateContent", "embedContent", "predict"):
                forwarded = await client.http.post(f"/v1beta/models/gemini-3-pro:{method}", json=called)
                must_be_told(forwarded, "concurrent")
            assert forwarded.json()["error"]["message"] == (
                "The key has 1 interactions running, which is its limit 'concurrent' for 'gemini-3*'."
            )
            upstream.rescript(whole)
            assert (await client.create(model="gemini-2")).status == 200
            assert (await unlimited.create(model="gemini-3-pro")).status == 200
        upstream.rescript(begun, Pause(300))
        assert (await client.create(model=None, agent="research-1", background=True)).status == 200
        await must_be_refused(client, agent="agents/research-2")


async def test_a_project_is_limited_by_model_for_all_its_keys(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url)
    key = await asyncio.to_thread(limited, gateway)
    limit = ("projects", "set", "default", "--model-limit", "gemini-*:tpm=1000")
    assert (await asyncio.to_thread(gateway.run, *limit)).returncode == 0
    upstream.script(STREAM + sse(*text_events("Hi")[:3]), Pause(120))
    most = {"generation_config": {"max_output_tokens": 700}}
    async with (
        Client(gateway, key) as client,
        Client(gateway) as other,
        client.open(model="gemini-3", **most) as reader,
    ):
        await reader.until(2)
        refused = await other.http.post(
            "/v1beta/interactions", json={"model": "gemini-2", "input": "more", **most}
        )
        must_be_told(refused, "tpm")
        text = "The project has used its 1000 tokens in a minute, its limit 'tpm' for 'gemini-*'."
        assert refused.json()["error"]["message"] == text


async def test_queued_runs_and_those_of_another_replica_count_for_a_model(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    here = await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_RUNS__BACKGROUND="0")
    there = await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_RUNS__BACKGROUND="0")
    key = await asyncio.to_thread(limited, here, "--model-limit", "gemini-*:concurrent=2")
    async with Client(here, key) as first, Client(there, key) as second:
        for client, number in ((first, "1"), (second, "2")):
            assert (await client.create(model="gemini-3", input=number, background=True)).status == 200
        for client in (first, second):
            ask = {"model": "gemini-2", "input": "3"}
            must_be_told(await client.http.post("/v1beta/interactions", json=ask), "concurrent")
        upstream.script(STREAM + sse(*text_events("Hi"), done=True))
        assert (await first.create(model="gemma")).status == 200
