"""Webhooks from end to end: a request names a receiver, and the receiver is told of its end."""

import asyncio
import base64
import hashlib
import hmac
from typing import Any

import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client
from tests.support.upstream import HANG, Asked, Pause, ScriptedUpstream, answer, head

OPEN = {"GATEWAY_EGRESS__ENABLED": "true", "GATEWAY_EGRESS__ALLOW": '["127.0.0.1"]'}
FINE = answer({"status": "completed", "steps": [{"type": "model_output", "content": []}]})


def must_be_signed(asked: Asked, shown: str) -> None:
    """As Standard Webhooks says, with the secret that the operator was shown."""
    signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
    digest = hmac.digest(base64.b64decode(shown.removeprefix("whsec_")), signed, hashlib.sha256)
    assert asked.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


async def told(receiver: ScriptedUpstream, count: int = 1) -> list[dict[str, Any]]:
    """What the receiver has been told, once it is so much."""
    async with asyncio.timeout(PATIENCE):
        while len(receiver.requests) < count:
            await asyncio.sleep(0.02)
    return [asked.json() for asked in receiver.requests]


async def test_s2_the_receiver_is_told_signed_and_again_until_it_has_it(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **OPEN)
    upstream.script(Pause(0.2), FINE)
    async with ScriptedUpstream() as receiver, Client(gateway) as client:
        receiver.script(head("500 Internal Server Error", "text/plain"))
        receiver.script(head("200 OK", "text/plain"))
        config = {"uris": [f"{receiver.url}/hook"], "user_metadata": {"job": 7}}
        begun = (await client.create(background=True, webhook_config=config)).json()
        first, second = await told(receiver, 2)
        assert first == second
        assert (first["type"], first["data"]["id"]) == ("interaction.completed", begun["id"])
        assert first["data"]["user_metadata"] == {"job": 7}
        assert (await client.get(begun["id"])).json()["status"] == "completed"
        secret = gateway.run("projects", "webhook-secret", "default").stdout.strip()
        for asked in receiver.requests:
            must_be_signed(asked, secret)
        assert len({asked.headers["webhook-id"] for asked in receiver.requests}) == 1
        assert "webhook_config" not in upstream.requests[0].json()


@pytest.mark.parametrize(
    ("script", "ends"), [([HANG], "cancelled"), ([head("400 Bad Request", "text/plain")], "failed")]
)
async def test_every_end_has_its_word(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, script: list[Any], ends: str
):
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **OPEN)
    upstream.script(*script)
    async with ScriptedUpstream() as receiver, Client(gateway) as client:
        receiver.script(head("200 OK", "text/plain"))
        begun = (await client.create(background=True, webhook_config={"uris": [receiver.url]})).json()
        if ends == "cancelled":
            await client.http.post(f"/v1beta/interactions/{begun['id']}/cancel")
        assert (await told(receiver))[0]["type"] == f"interaction.{ends}"


async def test_s2_nobody_is_called_unless_the_operator_allows_it(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    upstream.script(FINE)
    closed = await asyncio.to_thread(start_gateway, upstream.url)
    public_only = await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_EGRESS__ENABLED="true")
    for gateway, word in ((closed, "egress.enabled"), (public_only, "webhook_config.uris[0]")):
        async with Client(gateway, closed.key) as client:
            refused = await client.create(webhook_config={"uris": ["https://127.0.0.1/hook"]})
            assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_request")
            assert word in refused.json()["error"]["message"]
