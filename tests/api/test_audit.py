"""Requests in the audit log: one record each, with who, what, how it ended, and nothing of content."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.api.audited import _Strangers
from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.gateway import Gateway
from tests.support.records import Records

SECRET = "a-secret-that-must-not-be-told"
FIELDS = "project_id, actor_kind, actor, address, action, target, outcome, bytes_in, bytes_out, details"


@pytest.fixture
def client(gateway: Gateway):
    with gateway.client() as made:
        yield made
    gateway.must_be_in_order()


def record(gateway: Gateway, answer: httpx.Response) -> dict[str, Any]:
    """The one record of a request, which is written after its answer."""
    query = f"SELECT {FIELDS} FROM audit_log WHERE request_id = '{answer.headers['x-request-id']}'"
    return wait(gateway, query)


def wait(gateway: Gateway, query: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with Records(gateway.database_url) as records:
            found = records.rows(query)
        if found:
            assert len(found) == 1
            return dict(zip(FIELDS.split(", "), found[0], strict=True))
        time.sleep(0.02)
    raise AssertionError(f"no record: {query}")


def create(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1beta/interactions", json={"model": "m", "input": SECRET, **body})


def test_a_create_is_told_with_its_id_and_its_sizes(gateway: Gateway, client: httpx.Client):
    answer = create(client)
    told = record(gateway, answer)
    assert (told["action"], told["outcome"]) == ("interaction.create", "ok")
    assert told["target"] == answer.json()["id"]
    assert (told["bytes_in"], told["bytes_out"]) == (len(answer.request.content), len(answer.content))
    assert (told["actor_kind"], told["address"]) == ("key", "127.0.0.1")
    with Records(gateway.database_url) as records:
        owner = records.rows(f"SELECT project_id, key_id FROM interactions WHERE id = '{told['target']}'")
    assert owner == [(told["project_id"], told["actor"])]


def test_every_action_has_its_name(gateway: Gateway, client: httpx.Client):
    made = create(client, background=True).json()["id"]
    path = f"/v1beta/interactions/{made}"
    streamed = client.get(path, params={"stream": "true"})
    event_id = streamed.text.split('"event_id":"')[1].split('"')[0]
    asked = [
        ("interaction.stream", made, "ok", create(client, stream=True, background=True)),
        ("interaction.stream", made, "ok", streamed),
        (
            "interaction.resume",
            made,
            "ok",
            client.get(path, params={"stream": "true", "last_event_id": event_id}),
        ),
        ("interaction.get", made, "ok", client.get(path)),
        ("interaction.list", None, "ok", client.get("/v1beta/interactions")),
        ("interaction.cancel", made, "failed_precondition", client.post(path + "/cancel")),
        ("interaction.delete", made, "ok", client.delete(path)),
        ("interaction.delete", made, "not_found", client.delete(path)),
        ("interaction.get", None, "invalid_request", client.get(f"/v1beta/interactions/{SECRET}!")),
        ("interaction.create", None, "invalid_request", create(client, model=None)),
        ("forward", "GET models", "ok", client.get("/v1beta/models", params={"pageSize": "7"})),
        ("forward", None, "not_found", client.get(f"/v1beta/models/{SECRET}/{SECRET}/{SECRET}")),
    ]
    for action, target, outcome, answer in asked[1:]:
        told = record(gateway, answer)
        assert (told["action"], told["target"], told["outcome"]) == (action, target, outcome), answer.text
    assert record(gateway, asked[0][3])["action"] == "interaction.create"
    with Records(gateway.database_url) as records:
        columns = "actor, address, action, target, outcome, details, request_id"
        assert SECRET not in str(records.rows(f"SELECT {columns} FROM audit_log"))


def test_every_answer_has_an_id_of_ours(gateway: Gateway, client: httpx.Client):
    given = {"x-request-id": "forged"}
    answers = [
        create(client),
        client.get("/healthz", headers=given),
        client.get("/nowhere", headers=given),
        client.put("/v1beta/interactions", headers=given),
        client.get("/v1beta/models", headers=given),
        client.get("/v1beta//models", headers=given),
        client.get("/v1beta/interactions/no", headers={**given, "x-goog-api-key": "none"}),
    ]
    numbers = [answer.headers.get_list("x-request-id") for answer in answers]
    assert all(len(each) == 1 and each[0].startswith("req_") for each in numbers)
    assert len({each[0] for each in numbers}) == len(answers)


def test_s8_whoever_has_no_key_is_told_of_once_in_a_while(start_gateway: GatewayFactory):
    gateway = start_gateway()
    with gateway.client("igw_" + SECRET) as stranger:
        answers = [stranger.get("/v1beta/interactions/v1_aaaaaaaa") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {401}
    told = record(gateway, answers[0])
    assert (told["project_id"], told["actor"], told["target"]) == ("gateway", None, None)
    assert told["outcome"] == "authentication"
    gateway.stop()  # which commits what waits
    with Records(gateway.database_url) as records:
        assert records.count("audit_log", "project_id = 'gateway'") < 20
        assert SECRET.encode() not in records.text()


def test_strangers_that_were_not_written_are_counted():
    now = [0.0]
    strangers = _Strangers(lambda: now[0])
    assert [strangers.take() for _ in range(3)] == [0, None, None]
    now[0] = 1.0
    assert [strangers.take() for _ in range(2)] == [2, None]


async def test_a_client_that_leaves_is_told_as_such(gateway: Gateway):
    body = {"model": "m", "input": "[[sim tokens=400 delay_ms=50]]", "stream": True}
    async with (
        httpx.AsyncClient(
            base_url=gateway.url, headers={"x-goog-api-key": gateway.key}, trust_env=False
        ) as client,
        client.stream("POST", "/v1beta/interactions", json=body) as answer,
    ):
        async for _ in answer.aiter_bytes():
            break
    told = await asyncio.to_thread(record, gateway, answer)
    assert (told["action"], told["outcome"]) == ("interaction.create", "cancelled")
    assert told["bytes_out"] > 0


def test_s9_a10_all_of_it_is_sealed_within_seconds_and_verified(start_gateway: GatewayFactory):
    gateway = start_gateway()
    with gateway.client() as client:
        answers = [create(client) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    deadline = time.monotonic() + PATIENCE
    with Records(gateway.database_url) as records:
        while records.count("audit_log", "action = 'interaction.create' AND seq IS NOT NULL") < 30:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert records.count("audit_log", "details IS NOT NULL AND action LIKE 'interaction%'") == 0
    assert gateway.run("audit", "verify").returncode == 0
    assert SECRET not in gateway.run("audit", "export").stdout
    assert SECRET not in gateway.log()
    with Records(gateway.database_url) as records:
        records.change("UPDATE audit_log SET outcome = 'not_found' WHERE seq = 7")
    found = gateway.run("audit", "verify", "--json")
    assert (found.returncode, '"first_bad": 7' in found.stdout) == (1, True)
    assert "audit" in gateway.run("doctor").stdout
    assert gateway.run("doctor").returncode == 1


def test_an_entry_is_not_lost_without_a_trace_when_it_cannot_be_written(start_gateway: GatewayFactory):
    gateway = start_gateway(GATEWAY_LOG_FORMAT="json")
    with Records(gateway.database_url) as records:
        records.change("ALTER TABLE audit_log RENAME TO away")
    with gateway.client() as client:
        answer = create(client)
    assert answer.status_code == 200
    deadline = time.monotonic() + PATIENCE
    while "not written to the audit log" not in gateway.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.headers["x-request-id"] in gateway.log()


def test_a_held_interaction_cannot_be_deleted_by_the_api(gateway: Gateway, client: httpx.Client):
    made = create(client).json()["id"]
    placed = gateway.run(
        "interactions", "hold", "-p", "default", "--interaction", made, "--reason", "case", "--json"
    )
    assert '"interactions": 1' in placed.stdout, placed
    refused = client.delete(f"/v1beta/interactions/{made}")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "failed_precondition"
    assert "held" in refused.json()["error"]["message"]
    assert record(gateway, refused)["outcome"] == "failed_precondition"
    assert client.get(f"/v1beta/interactions/{made}").status_code == 200
