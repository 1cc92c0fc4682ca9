"""What is counted and traced: from closed sets only, cheaply, and never what was said."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from app.errors import ApiError
from app.telemetry.metrics import Metrics
from app.telemetry.observer import QUIET, Facts, Observer
from app.telemetry.traces import Traces
from tests.conftest import GatewayFactory
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.upstream import ScriptedUpstream, answer, head, sse, text_events

TOKEN = "an-admin-token-for-tests-0123456789abcdef"
SAID = {
    "status": "completed",
    "steps": [{"type": "model_output", "content": []}],
    "usage": {"total_input_tokens": 7},
}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FACTS = Facts("v1_id", "v1_root", "gemini-3-flash", None, "up")


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus reads, without the label of the worker."""
    found = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = tuple(sorted((name, value) for name, value in each.labels.items() if name != "worker"))
            found[each.name, labels] = each.value
    return found


def read(gateway: Gateway, token: str = TOKEN) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    said = httpx.get(f"{gateway.url}/metrics", headers={"authorization": f"Bearer {token}"}, trust_env=False)
    assert said.status_code == 200
    return samples(said.text)


def labelled(found: dict[Any, float], name: str, **labels: str) -> float:
    """The sum of the series of this name that have these labels."""
    return sum(
        value
        for (each, having), value in found.items()
        if each == name and set(labels.items()) <= set(having)
    )


@ON_SQLITE
async def test_what_happens_is_counted(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> None:
    settings = [
        {
            "name": "up",
            "kind": "interactions",
            "base_url": upstream.url,
            "api_keys": ["k"],
            "models": ["my-*", "*"],
        }
    ]
    gateway = await asyncio.to_thread(
        start_gateway, GATEWAY_UPSTREAMS=json.dumps(settings), GATEWAY_ADMIN_TOKEN=TOKEN
    )
    upstream.script(answer(SAID))
    upstream.script(answer({"error": {"message": "no"}}, "503 No"))
    upstream.script(head("200 OK", "text/event-stream") + sse(*text_events("a"), done=True))
    async with Client(gateway) as client:
        assert (await client.create(model="my-model")).status == 200
        assert (await client.create(model="my-model")).status == 503
        assert (await client.create(model="whatever", stream=True)).done
        await client.http.get("/healthz")
        await client.http.get("/no/such/path")
    found = await asyncio.to_thread(read, gateway)
    assert labelled(found, "gateway_requests_total", route="/v1beta/interactions", status="2xx") == 2
    assert labelled(found, "gateway_requests_total", route="/v1beta/interactions", status="5xx") == 1
    assert labelled(found, "gateway_requests_total", route="none", status="4xx") == 1
    assert labelled(found, "gateway_runs_total", model="my-*", status="completed") == 1
    assert labelled(found, "gateway_runs_total", model="my-*", status="failed") == 1
    assert labelled(found, "gateway_runs_total", model="other") == 1
    assert labelled(found, "gateway_upstream_calls_total", upstream="up", outcome="ok") == 2
    assert labelled(found, "gateway_upstream_calls_total", upstream="up", outcome="failed") == 1
    assert labelled(found, "gateway_tokens_total", model="my-*", kind="input") == 7
    assert labelled(found, "gateway_run_seconds_count") == 3
    assert labelled(found, "gateway_first_event_seconds_count") == 2
    assert labelled(found, "gateway_commit_seconds_count") > 0
    assert labelled(found, "gateway_commit_writes_sum") >= labelled(found, "gateway_commit_writes_count")
    assert ("gateway_live_runs", ()) in found


@ON_SQLITE
async def test_s8_no_client_adds_a_series(start_gateway: GatewayFactory) -> None:
    gateway = await asyncio.to_thread(start_gateway, GATEWAY_TELEMETRY__METRICS="open")

    async def series() -> set[Any]:
        text = (await client.http.get("/metrics")).text
        return {key for key in samples(text) if not key[0].endswith("_created")}

    async def everything() -> None:
        word = secrets.token_hex(8)
        await client.create(model=word)
        await client.create(model=None, agent=word)
        await client.create(model=f"models/{word}")
        for path in (
            f"/{word}",
            f"/v1beta/interactions/v1_{word}",
            f"/v1beta/models/{word}",
            f"/v1beta/{word}",
        ):
            await client.http.get(path)
            await client.http.request(word.upper(), path)
            await client.http.get(path, headers={"x-goog-api-key": word})

    async with Client(gateway) as client:
        for _ in range(2):
            await everything()
            before = await series()
        for _ in range(5):
            await everything()
        assert await series() == before
        assert len(before) < 300


@ON_SQLITE
async def test_who_may_read_the_metrics(start_gateway: GatewayFactory) -> None:
    gateway = await asyncio.to_thread(start_gateway, GATEWAY_ADMIN_TOKEN=TOKEN)
    made = await asyncio.to_thread(
        gateway.run, "tokens", "create", "prometheus", "--role", "viewer", "--json"
    )
    async with Client(gateway) as client:
        assert (await client.http.get("/metrics")).status_code == 401
        for token in (TOKEN, json.loads(made.stdout)["token"]):
            said = await client.http.get("/metrics", headers={"authorization": f"Bearer {token}"})
            assert said.status_code == 200
            assert said.headers["content-type"].startswith("text/plain")
    await asyncio.to_thread(gateway.stop)
    silent = await asyncio.to_thread(
        start_gateway, GATEWAY_ADMIN_TOKEN=TOKEN, GATEWAY_TELEMETRY__METRICS="off"
    )
    async with Client(silent) as client:
        said = await client.http.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert said.status_code == 404


def a_request(observer: Observer, usage: dict[str, int]) -> None:
    """Everything that an observer is told of one request."""
    with observer.asked([(b"host", b"x")]):
        with observer.running(FACTS):
            with observer.calling("up", FACTS):
                observer.heard(0.1)
            observer.ended(FACTS, "completed", 0.5, usage)
        observer.request("POST", "/v1beta/interactions", 200)


def test_counting_a_request_costs_next_to_nothing():
    """Some 5 microseconds on a quiet machine: by the cost of the calls alone, with room for a busy one."""
    metrics = Metrics(["gemini-*", "*"])
    usage = {"total_input_tokens": 7, "total_output_tokens": 9, "total_thought_tokens": 3}

    def spent(observer: Observer) -> float:
        began = time.perf_counter()
        for _ in range(1000):
            a_request(observer, usage)
        return (time.perf_counter() - began) / 1000

    counted, not_counted = (min(spent(each) for _ in range(30)) for each in (metrics, QUIET))
    assert counted < 30 * not_counted, f"{counted * 1e6:.1f} us instead of {not_counted * 1e6:.1f} us"


@pytest.fixture
def traced() -> Iterator[tuple[Traces, InMemorySpanExporter]]:
    """Traces whose spans stay here."""
    kept = InMemorySpanExporter()
    traces = Traces(Metrics([]), kept, "test")
    yield traces, kept
    traces._provider.shutdown()


def finished(traced: tuple[Traces, InMemorySpanExporter]) -> list[Any]:
    traced[0]._provider.force_flush()
    return sorted(traced[1].get_finished_spans(), key=lambda span: span.start_time)


def test_an_interaction_is_a_span_with_its_calls_inside(traced) -> None:
    traces, _ = traced
    with traces.asked([(b"traceparent", PARENT.encode())]), traces.running(FACTS):
        with pytest.raises(ApiError), traces.calling("up", FACTS):
            raise ApiError("canary message", status=503, code="service_unavailable")
        with traces.calling("up", FACTS):
            headers: dict[str, str] = {}
            traces.carry(headers)
        traces.ended(FACTS, "completed", 1.0, {"total_input_tokens": 3, "total_output_tokens": 4})
    run, failed, call = finished(traced)
    assert [span.name for span in (run, failed, call)] == ["chat gemini-3-flash"] * 3
    assert [span.kind.name for span in (run, failed, call)] == ["SERVER", "CLIENT", "CLIENT"]
    assert f"{run.parent.trace_id:032x}-{run.parent.span_id:016x}" == PARENT[3:-3]
    assert failed.parent.span_id == call.parent.span_id == run.context.span_id
    assert f"-{call.context.span_id:016x}-" in headers["traceparent"]
    assert run.attributes["gen_ai.operation.name"] == "chat"
    assert run.attributes["gen_ai.request.model"] == "gemini-3-flash"
    assert run.attributes["gen_ai.conversation.id"] == "v1_root"
    assert (run.attributes["gen_ai.usage.input_tokens"], run.attributes["gen_ai.usage.output_tokens"]) == (
        3,
        4,
    )
    assert (failed.attributes["error.type"], failed.status.is_ok) == ("service_unavailable", False)
    assert "canary" not in run.to_json() + failed.to_json() + call.to_json()


def test_what_is_traced_is_counted_too(traced) -> None:
    traces, _ = traced
    a_request(traces, {"total_input_tokens": 7})
    traces.took_up("restart")
    traces.swept()
    traces.erased(3)
    traces.committed(2, 0.1)
    found = samples(traces._inner.text().decode())
    for name in (
        "requests",
        "runs",
        "tokens",
        "upstream_calls",
        "takeovers",
        "sweeps",
        "erased_interactions",
    ):
        assert labelled(found, f"gateway_{name}_total") > 0, name
    assert labelled(found, "gateway_commit_writes_sum") == 2


@ON_SQLITE
@pytest.mark.parametrize("forwarded", [False, True])
async def test_spans_are_sent_and_hold_nothing_that_was_said(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, forwarded: bool
) -> None:
    upstream.script(answer(SAID))
    async with ScriptedUpstream() as collector:
        collector.script(head() + b"{}")
        settings = [
            {"name": "up", "kind": "interactions", "base_url": upstream.url, "api_keys": ["canary-key"]}
        ]
        gateway = await asyncio.to_thread(
            start_gateway,
            GATEWAY_UPSTREAMS=json.dumps(settings),
            GATEWAY_TELEMETRY__OTLP_ENDPOINT=collector.url,
            GATEWAY_TELEMETRY__OTLP_HEADERS='{"x-collector": "canary-collector"}',
            GATEWAY_TELEMETRY__FORWARD_TRACEPARENT=str(forwarded).lower(),
        )
        async with Client(gateway) as client:
            asked = {"model": "test-model", "input": "canary prompt", "labels": {"canary": "label"}}
            said = await client.http.post("/v1beta/interactions", json=asked, headers={"traceparent": PARENT})
            assert said.status_code == 200
        assert await asyncio.to_thread(gateway.stop) in {0, -15}
        sent = b"".join(each.body for each in collector.requests)
        assert collector.requests[0].headers["x-collector"] == "canary-collector"
    assert collector.requests[0].line.startswith("POST /v1/traces")
    assert b"chat test-model" in sent
    assert bytes.fromhex(PARENT.split("-")[1]) in sent
    assert b"canary" not in sent
    passed = upstream.requests[0].headers.get("traceparent", "")
    assert passed.startswith(PARENT[:36]) is forwarded
    assert passed != PARENT
    assert "canary-collector" not in gateway.log()


def test_without_an_endpoint_nothing_is_loaded():
    import subprocess
    import sys

    code = "import app.main, sys; print([m for m in sys.modules if '.exporter' in m or '.traces' in m])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
