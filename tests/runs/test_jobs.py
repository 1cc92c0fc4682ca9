"""Jobs on real gateways: a batch is in the ledger when it begins, and priced when its usage is seen."""

import asyncio
from typing import Any

from tests.runs.test_budgets import ledger, levels, set_budget, settled
from tests.support.client import Client
from tests.support.upstream import ScriptedUpstream, answer

USED = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
REPLIES = [{"response": {"usageMetadata": USED}}, {"response": {"usageMetadata": USED}}, {"error": {}}]
BEGIN = "/v1beta/models/test-m:batchGenerateContent"
REQUEST = {"request": {"contents": [], "generationConfig": {"maxOutputTokens": 1000}}}
ASKED = {"batch": {"inputConfig": {"requests": {"requests": [REQUEST, REQUEST]}}}}


def batch(name: str, state: str, **output: Any) -> bytes:
    metadata = {"state": f"BATCH_STATE_{state}", "model": "models/test-m"}
    done = {"done": True, "response": output} if output else {}
    return answer({"name": f"batches/{name}", "metadata": metadata, **done})


async def test_a_batch_is_unpriced_until_its_usage_is_seen_and_then_settled_once(
    priced, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(priced, upstream.url)
    await asyncio.to_thread(set_budget, gateway, "--tokens", "100000")
    upstream.script(batch("b1", "PENDING"))
    upstream.script(batch("b1", "RUNNING"))
    upstream.script(batch("b1", "SUCCEEDED", inlinedResponses={"inlinedResponses": REPLIES}))
    async with Client(gateway, deadline=30) as client:
        assert (await client.http.post(BEGIN, json=ASKED)).status_code == 200
        assert (await client.http.get("/v1beta/batches/b1")).status_code == 200
        rows = await asyncio.to_thread(ledger, gateway, closed=False)
        assert [(row["kind"], row["model"], row["status"], row["cost"]) for row in rows] == [
            ("batchGenerateContent", "test-m", "in_progress", None)
        ]
        assert (await asyncio.to_thread(levels, gateway))[0]["reserved"] > 2000
        for _ in range(2):
            assert (await client.http.get("/v1beta/batches/b1")).json()["done"]
        assert (await client.http.get("/v1beta/batches")).status_code == 200
    rows = await asyncio.to_thread(ledger, gateway)
    assert [(row["status"], row["total_tokens"], row["cost"]) for row in rows] == [("completed", 14, 25)]
    budget = await asyncio.to_thread(settled, gateway)
    assert (budget["spent"], budget["reserved"]) == (14, 0)


async def test_a_job_whose_usage_nobody_tells_is_unpriced_and_takes_what_was_reserved(
    priced, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(priced, upstream.url)
    await asyncio.to_thread(set_budget, gateway, "--tokens", "10000")
    operation = "models/test-m/operations/o1"
    upstream.script(batch("b2", "PENDING"))
    upstream.script(batch("b2", "SUCCEEDED", responsesFile="files/out"))
    upstream.script(answer({"name": operation}))
    upstream.script(answer({"name": operation, "done": True, "response": {"generateVideoResponse": {}}}))
    upstream.script(answer({"error": {"code": 400, "message": "no", "status": "X"}}, "400 Bad Request"))
    async with Client(gateway, deadline=30) as client:
        assert (await client.http.post(BEGIN, json=ASKED)).status_code == 200
        listed = (await client.http.get("/v1beta/batches")).json()
        assert [each["name"] for each in listed["operations"]] == ["batches/b2"]
        film = "/v1beta/models/test-m:predictLongRunning"
        assert (await client.http.post(film, json={"instances": []})).status_code == 200
        assert (await client.http.get(f"/v1beta/{operation}")).json()["done"]
        reserved = (await asyncio.to_thread(levels, gateway))[0]
        assert (await client.http.post(BEGIN, json=ASKED)).status_code == 400
        rows = await asyncio.to_thread(ledger, gateway, 3)
        budget = await asyncio.to_thread(settled, gateway)
        count = len(upstream.requests)
        much = {"request": {"generationConfig": {"maxOutputTokens": 9000}}}
        refused = {"batch": {"inputConfig": {"requests": {"requests": [much]}}}}
        assert (await client.http.post(BEGIN, json=refused)).status_code == 402
        assert len(upstream.requests) == count, "a job that does not fit was begun"
    assert [(row["kind"], row["status"], row["total_tokens"], row["cost"]) for row in rows] == [
        ("batchGenerateContent", "completed", 0, None),
        ("predictLongRunning", "completed", 0, None),
        ("batchGenerateContent", "failed", 0, 0),
    ]
    assert budget["spent"] == reserved["spent"] + reserved["reserved"] > 2000
    assert budget["reserved"] == 0


async def test_a_job_is_settled_by_whichever_process_sees_its_end(priced, upstream: ScriptedUpstream) -> None:
    """Also by one that has not heard of the budget yet."""
    other = await asyncio.to_thread(priced, upstream.url, GATEWAY_KEY_CACHE_SECONDS="60")
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(other, deadline=30) as there:
        assert (await there.create()).status == 200
        await asyncio.to_thread(set_budget, other, "--tokens", "100000")
        gateway = await asyncio.to_thread(priced, upstream.url)
        upstream.rescript(batch("b1", "PENDING"))
        upstream.script(batch("b1", "SUCCEEDED", inlinedResponses={"inlinedResponses": REPLIES}))
        async with Client(gateway, other.key, deadline=30) as here:
            assert (await here.http.post(BEGIN, json=ASKED)).status_code == 200
        assert (await there.http.get("/v1beta/batches/b1")).json()["done"]
    budget = await asyncio.to_thread(settled, gateway)
    assert (budget["spent"], budget["reserved"]) == (14, 0)
