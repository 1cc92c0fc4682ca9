"""Budgets, ledger and rate limits on real gateways: every end of a call is one row, and settled once."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import Pause, ScriptedUpstream, answer, head, sse, text_events


def set_budget(
    gateway: Gateway, *more: str, project: str = "default", period: str = "total"
) -> dict[str, Any]:
    assert gateway.key
    made = gateway.run("budgets", "set", "--project", project, "--period", period, *more, "--json")
    assert made.returncode == 0, made.stderr
    return dict(json.loads(made.stdout))


def levels(gateway: Gateway) -> list[dict[str, Any]]:
    listed = gateway.run("budgets", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return list(json.loads(listed.stdout))


def settled(gateway: Gateway) -> dict[str, Any]:
    """The only budget, once nothing is reserved of it any more and all is added."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with Records(gateway.database_url) as records:
            open_ = records.rows("SELECT count(*) FROM reservations")[0][0]
        if not open_:
            break
        time.sleep(0.1)
    return levels(gateway)[0]


def ledger(gateway: Gateway, count: int = 1, *, closed: bool = True) -> list[dict[str, Any]]:
    """The rows, once there are so many of calls that have ended, or of any."""
    names = (
        "call_id",
        "kind",
        "model",
        "status",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost",
        "labels",
    )
    deadline = time.monotonic() + 60
    while True:
        with Records(gateway.database_url) as records:
            found = records.rows(f"SELECT {', '.join(names)} FROM usage_ledger ORDER BY at, call_id")
        rows = [dict(zip(names, row, strict=True)) for row in found]
        ended = [row for row in rows if row["status"] != "in_progress"]
        if len(ended if closed else rows) >= count or time.monotonic() > deadline:
            return rows
        time.sleep(0.05)


async def test_every_call_is_one_row_whether_or_not_it_is_stored(priced, upstream: ScriptedUpstream) -> None:
    gateway = await asyncio.to_thread(priced, upstream.url)
    upstream.script(head("200 OK", "text/event-stream") + sse(*text_events("Hi"), done=True))
    async with Client(gateway) as client:
        kept = await client.create(stream=True, labels={"team": "red"})
        await client.create(store=False, stream=True)
    rows = await asyncio.to_thread(ledger, gateway, 2)
    assert [row["status"] for row in rows] == ["completed"] * 2
    assert kept.id in {row["call_id"] for row in rows}
    assert [
        (row["input_tokens"], row["output_tokens"], row["total_tokens"], row["cost"]) for row in rows
    ] == [(1, 2, 3, 21)] * 2
    assert {bytes(row["labels"]) if row["labels"] else None for row in rows} == {b'{"team":"red"}', None}


async def test_a_model_without_a_price_is_unpriced_and_not_free(priced) -> None:
    gateway = await asyncio.to_thread(priced)
    await asyncio.to_thread(gateway.create, model="other-model", input="Hi")
    rows = await asyncio.to_thread(ledger, gateway)
    assert rows[0]["cost"] is None
    said = json.loads(gateway.run("usage", "--by", "model", "--json").stdout)
    assert [(each["group"], each["unpriced"], each["cost_usd"]) for each in said] == [
        ("other-model", 1, None)
    ]


async def test_what_ends_well_and_does_not_say_what_it_used_was_not_free(
    priced, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(priced, upstream.url)
    await asyncio.to_thread(set_budget, gateway, "--tokens", "10000")
    upstream.script(answer({"status": "completed", "steps": []}))
    upstream.script(answer({"candidates": []}))
    upstream.script(answer({"embedding": {"values": [1]}}))
    async with Client(gateway) as client:
        assert (await client.create(generation_config={"max_output_tokens": 1000})).status == 200
        for method, asked in (("generateContent", "contents"), ("embedContent", "content")):
            url = f"/v1beta/models/test-m:{method}"
            assert (await client.http.post(url, json={asked: []})).status_code == 200
    rows = await asyncio.to_thread(ledger, gateway, 3)
    assert [(row["status"], row["total_tokens"], row["cost"]) for row in rows] == [("completed", 0, None)] * 3
    budget = await asyncio.to_thread(settled, gateway)
    assert 1100 < budget["spent"] < 1200, "a thousand, a hundred, and none for the embedding"
    assert budget["reserved"] == 0


async def test_a_hard_budget_refuses_what_may_not_fit_and_names_itself(priced) -> None:
    gateway = await asyncio.to_thread(priced)
    budget = set_budget(gateway, "--tokens", "150")
    with gateway.client() as http:
        ask = {"model": "test-model", "input": "Hi"}
        assert http.post("/v1beta/interactions", json=ask).status_code == 200
        first = settled(gateway)
        assert 0 < first["spent"] <= 50
        small = ask | {"generation_config": {"max_output_tokens": 10}}
        too_much = ask | {"generation_config": {"max_output_tokens": 1000}}
        refused = http.post("/v1beta/interactions", json=too_much)
        told = small | {"system_instruction": "All of this is sent, and paid for. " * 100}
        assert http.post("/v1beta/interactions", json=told).status_code == 402
        assert http.post("/v1beta/interactions", json=small).status_code == 200
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "payment_required"
    assert budget["id"] in refused.json()["error"]["message"]
    rows = ledger(gateway, 2)
    assert settled(gateway)["spent"] == sum(row["total_tokens"] for row in rows)
    assert settled(gateway)["reserved"] == 0


async def test_a_hard_budget_in_money_refuses_what_has_no_price(priced) -> None:
    gateway = await asyncio.to_thread(priced)
    set_budget(gateway, "--money", "1")
    with gateway.client() as http:
        refused = http.post("/v1beta/interactions", json={"model": "other", "input": "Hi"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "failed_precondition")
    assert "no price for 'other'" in refused.json()["error"]["message"]


@pytest.mark.parametrize("fault", ["failed", "cut", "refused", "left", "cancelled", "deleted"])
async def test_however_a_call_ends_nothing_stays_reserved(
    priced, upstream: ScriptedUpstream, fault: str
) -> None:
    gateway = await asyncio.to_thread(priced, upstream.url)
    await asyncio.to_thread(set_budget, gateway, "--tokens", "100000")
    start = head("200 OK", "text/event-stream") + sse(*text_events("Hi")[:4])
    scripts: dict[str, tuple[Any, ...]] = {
        "failed": (start + sse({"event_type": "error", "error": {"code": "api_error", "message": "no"}}),),
        "cut": (start,),
        "refused": (answer({"error": {"code": "invalid_request", "message": "no"}}, "400 Bad Request"),),
    }
    upstream.script(*scripts.get(fault, (start, Pause(30))))
    async with Client(gateway) as client:
        if fault in scripts:
            await client.create(stream=True)
        elif fault == "left":
            async with client.open(store=False) as reader:
                await reader.until(3)
        else:
            async with client.open(background=fault == "cancelled") as reader:
                interaction_id = (await reader.until(1))[0]["interaction"]["id"]
                if fault == "cancelled":
                    url = f"/v1beta/interactions/{interaction_id}/cancel"
                    assert (await client.http.post(url)).status_code == 200
                else:
                    assert (await client.delete(interaction_id)).status == 200
        budget = await asyncio.to_thread(settled, gateway)
        rows = await asyncio.to_thread(ledger, gateway)
    assert budget["reserved"] == 0
    assert (budget["spent"] == 0) is (fault == "refused"), "what was seen of it counts"
    assert budget["spent"] < 100
    assert len(rows) == 1
    assert rows[0]["status"] == ("cancelled" if fault in ("left", "cancelled") else rows[0]["status"])
    assert rows[0]["status"] != "completed"
    assert rows[0]["cost"] == (0 if fault == "refused" else None), "what nobody knows was not free"


async def test_p1_a_background_run_keeps_its_reservation_through_a_crash(
    priced, upstream: ScriptedUpstream
) -> None:
    short = {"GATEWAY_RUNS__LEASE": "2", "GATEWAY_RUNS__HEARTBEAT": "0.5"}
    gateway = await asyncio.to_thread(priced, upstream.url, **short)
    await asyncio.to_thread(set_budget, gateway, "--tokens", "100000")
    whole = head("200 OK", "text/event-stream") + sse(*text_events("Hi"), done=True)
    upstream.script(Pause(60))
    upstream.script(whole)
    async with Client(gateway) as client:
        begun = (await client.create(background=True)).json()
        async with asyncio.timeout(10):
            while not upstream.requests:
                await asyncio.sleep(0.02)
    await asyncio.to_thread(gateway.kill)
    reserved = (await asyncio.to_thread(levels, gateway))[0]["reserved"]
    await asyncio.to_thread(gateway.start)
    rows = await asyncio.to_thread(ledger, gateway)
    budget = await asyncio.to_thread(settled, gateway)
    assert reserved > 100
    assert [(row["call_id"], row["status"], row["total_tokens"]) for row in rows] == [
        (begun["id"], "completed", 3)
    ]
    assert (budget["spent"], budget["reserved"]) == (3, 0)


async def test_p1_what_was_asked_of_an_upstream_is_in_the_ledger_whoever_died(
    priced, upstream: ScriptedUpstream
) -> None:
    """A run that is deleted when its process is dead, a forwarded call that nobody ends any more."""
    gateway = await asyncio.to_thread(priced, upstream.url, GATEWAY_RUNS__LEASE="600")
    await asyncio.to_thread(set_budget, gateway, "--tokens", "100000")
    upstream.script(Pause(60))
    async with Client(gateway) as client:
        begun = (await client.create(background=True, labels={"team": "red"})).json()
        url = "/v1beta/models/test-m:generateContent"
        left = asyncio.create_task(client.http.post(url, json={"contents": []}))
        async with asyncio.timeout(20):
            while len(upstream.requests) < 2:
                await asyncio.sleep(0.02)
        await asyncio.to_thread(ledger, gateway, closed=False)
        await asyncio.to_thread(gateway.kill)
        await asyncio.gather(left, return_exceptions=True)
    before = (await asyncio.to_thread(levels, gateway))[0]
    await asyncio.to_thread(gateway.start)
    async with Client(gateway) as client:
        assert (await client.delete(begun["id"])).status == 200
    rows = await asyncio.to_thread(ledger, gateway, 2, closed=False)
    found = {row["kind"]: (row["model"], row["status"], row["cost"]) for row in rows}
    assert found == {
        "interaction": ("test-model", "in_progress", None),
        "generateContent": ("test-m", "in_progress", None),
    }
    assert {bytes(row["labels"]) for row in rows if row["labels"]} == {b'{"team":"red"}'}
    with Records(gateway.database_url) as records:
        records.change("UPDATE reservations SET expires_at = 1")  # as minutes later
        records.change("DELETE FROM leases")  # it may have died in the middle of a sweep
    budget = await asyncio.to_thread(settled, gateway)
    assert before["reserved"] > 200
    assert (budget["spent"], budget["reserved"]) == (before["reserved"], 0)


async def test_forwarded_calls_are_counted_streamed_or_not(priced, upstream: ScriptedUpstream) -> None:
    gateway = await asyncio.to_thread(priced, upstream.url)
    await asyncio.to_thread(set_budget, gateway, "--money", "1")
    used = {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 8}
    text = 'a trap: "usageMetadata": {"promptTokenCount": 99}'
    said = {
        "candidates": [{"content": {"parts": [{"text": text}]}}],
        "usageMetadata": used,
        "modelVersion": "x",
    }
    chunks = [b"data: " + json.dumps(said).encode() + b"\r\n\r\n"] * 2
    asked = {"contents": [{"parts": [{"text": "Hi"}]}]}
    upstream.script(answer(said))
    upstream.script(head("200 OK", "text/event-stream") + chunks[0], chunks[1])
    upstream.script(answer({"error": {"code": 400, "message": "no", "status": "X"}}, "400 Bad Request"))
    async with Client(gateway) as client:
        plain = await client.http.post("/v1beta/models/test-m:generateContent", json=asked)
        url = "/v1beta/models/test-m:streamGenerateContent?alt=sse"
        streamed = await client.http.post(url, json=asked)
        refused = await client.http.post("/v1beta/models/test-m:generateContent", json=asked)
        free = await client.http.post("/v1beta/models/test-m:countTokens", json=asked)
    assert (plain.status_code, streamed.status_code, refused.status_code, free.status_code) == (
        200,
        200,
        400,
        400,
    )
    assert plain.json() == said
    rows = await asyncio.to_thread(ledger, gateway, 3)
    assert [(row["kind"], row["status"], row["total_tokens"], row["cost"]) for row in rows] == [
        ("generateContent", "completed", 8, 35),
        ("streamGenerateContent", "completed", 8, 35),
        ("generateContent", "failed", 0, 0),
    ]
    budget = await asyncio.to_thread(settled, gateway)
    assert (budget["spent"], budget["reserved"]) == ("0.00007", "0.00")


async def test_a_forwarded_call_over_budget_is_told_in_the_api_s_other_words(priced) -> None:
    gateway = await asyncio.to_thread(priced)
    set_budget(gateway, "--tokens", "10")
    with gateway.client() as http:
        refused = http.post("/v1beta/models/test-m:generateContent", json={"contents": []})
    assert refused.status_code == 402
    assert refused.json()["error"]["status"] == "FAILED_PRECONDITION"


async def test_many_calls_at_once_spend_what_they_use(priced) -> None:
    gateway = await asyncio.to_thread(priced)
    await asyncio.to_thread(set_budget, gateway, "--money", "1000")
    async with Client(gateway, deadline=60) as client:
        heard = await asyncio.gather(
            *(client.create(store=bool(n % 2), stream=bool(n % 3), input="Hi" * (n + 1)) for n in range(100))
        )
    assert {each.status for each in heard} == {200}
    rows = await asyncio.to_thread(ledger, gateway, 100)
    budget = await asyncio.to_thread(settled, gateway)
    assert len(rows) == 100
    assert budget["reserved"] == "0.00"
    assert round(float(budget["spent"]) * 1_000_000) == sum(row["cost"] for row in rows) > 0


async def test_w1_a_price_table_that_cannot_be_read_stops_the_start(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[[prices]]\nmodels = ["m"]\nsince = 2026-01-01\ninput = -1\noutput = 1\n')
    config = tmp_path / "gateway.toml"
    config.write_text(f'prices = "{path}"\n')
    said = gateway.run("usage", "--config", str(config))
    assert said.returncode == 2
    assert "price 1: 'input' must be an amount" in said.stderr
