"""Policies over HTTP: what keys are refused, what becomes of their requests, and how fast that changes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from app.auth import keys, pepper
from app.core.audit import Actor, Entry
from app.core.model import Json
from app.core.rules import changed, read
from app.core.versions import Versions
from app.store.database import Database
from app.store.keys import Key, Keys, Project
from tests.api.conftest import upstreams
from tests.conftest import UPSTREAM_KEY
from tests.support import PATIENCE
from tests.support.databases import Templates
from tests.support.gateway import _PEPPER as PEPPER
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import ScriptedUpstream, answer

INTERACTIONS = "/v1beta/interactions"
DONE = answer({"status": "completed", "steps": []})
GENERATED = answer({"candidates": []})


class Team:
    """A project of a gateway, and clients with keys of it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.name = f"team-{keys.new_key()[4:16]}"

    async def __aenter__(self) -> Self:
        self.database = Database(self.gateway.database_url)
        self.keys = Keys(self.database)
        await self.keys.create_project(Project(self.name, self.name, 1, None))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.database.close()

    async def key(self, **rules: Any) -> str:
        """A new key with these rules."""
        key, key_id = keys.new_key(), f"key-{keys.new_key()[4:16]}"
        record = Key(key_id, self.name, self.name, "test", keys.shown(key), 1, None, None)
        record = replace(record, policy=read(rules))
        await self.keys.create(record, pepper.digest(Versions(PEPPER.encode()), key))
        self.newest = key_id
        return key

    async def rule(self, **rules: Any) -> None:
        """Change the project's policy."""

        def change(before: Project) -> tuple[Project, Entry]:
            after = changed(before.policy, rules)
            entry = Entry(before.id, Actor("cli", "test"), "project.set", before.id)
            return replace(before, policy=after), entry

        assert await self.keys.change_project(self.name, change)

    def client(self, key: str, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.gateway.url,
            headers={"x-goog-api-key": key, **headers},
            timeout=PATIENCE,
            trust_env=False,
        )


@pytest.fixture
async def team(fronting: Gateway) -> AsyncIterator[Team]:
    """A project of the fronting gateway."""
    async with Team(fronting) as made:
        yield made


async def create(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    target = {} if "agent" in body else {"model": "gemini-flash"}
    return await client.post(INTERACTIONS, json={**target, "input": "Hi", **body})


def refused(response: httpx.Response, status: int, rule: str) -> bool:
    error = response.json()["error"]
    code = error["code"]
    told = {403: ("permission_denied", 403), 400: ("invalid_request", 400)}[status]
    return response.status_code == status and code in told and rule in error["message"]


@pytest.mark.parametrize(
    ("rules", "body", "status", "rule"),
    [
        ({"models": ["gemma*"]}, {}, 403, "models"),
        ({"agents": ["mine"]}, {"agent": "deep-research"}, 403, "agents"),
        ({"deny_tools": ["code_execution"]}, {"tools": [{"type": "code_execution"}]}, 403, "deny_tools"),
        ({"networks": ["10.0.0.0/8"]}, {}, 403, "networks"),
        (
            {"max_output_tokens": 9},
            {"generation_config": {"max_output_tokens": 10}},
            400,
            "max_output_tokens",
        ),
        ({"store": "always"}, {"store": False}, 400, "'store'"),
        ({"store": "never"}, {"background": True}, 400, "'background'"),
    ],
)
async def test_an_interaction_is_refused_by_the_rule(
    team: Team, remote: ScriptedUpstream, rules, body, status, rule
):
    """By a rule of the key and by one of the project alike, and no upstream hears of it."""
    async with team.client(await team.key(**rules)) as strict:
        assert refused(await create(strict, **body), status, rule)
    free = await team.key()
    await team.rule(**rules)
    async with team.client(free) as client:
        assert refused(await create(client, **body), status, rule)
    assert remote.requests == []


async def test_what_a_policy_changes_in_a_request(team: Team, remote: ScriptedUpstream):
    remote.script(DONE)
    async with team.client(await team.key(max_output_tokens=9, store="never")) as client:
        made = await create(client, store=True, generation_config={"top_p": 1})
        assert made.status_code == 200, made.text
        assert "id" not in made.json()
    [asked] = remote.requests
    assert json.loads(asked.body)["generation_config"] == {"top_p": 1, "max_output_tokens": 9}
    async with team.client(await team.key()) as client:
        assert (await create(client)).json()["id"]


async def test_retention_of_a_key_is_not_longer_than_its_projects(team: Team, remote: ScriptedUpstream):
    async def kept(**rules: Any) -> bool:
        remote.script(DONE)
        async with team.client(await team.key(**rules)) as client:
            return "id" in (await create(client)).json()

    assert await kept(retention_days=3)
    assert not await kept(retention_days=0)
    await team.rule(retention_days=0)
    assert not await kept(retention_days=3)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{INTERACTIONS}/v1_absent-absent"),
        ("DELETE", f"{INTERACTIONS}/v1_absent-absent"),
        ("POST", f"{INTERACTIONS}/v1_absent-absent/cancel"),
        ("GET", INTERACTIONS),
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/files"),
        ("POST", "/upload/v1beta/files"),
    ],
)
async def test_networks_hold_for_every_route(team: Team, remote: ScriptedUpstream, method: str, path: str):
    """`X-Forwarded-For` of somebody who is no trusted proxy changes nothing."""
    async with team.client(
        await team.key(networks=["10.0.0.0/8"]), **{"x-forwarded-for": "10.0.0.1"}
    ) as client:
        assert refused(await client.request(method, path), 403, "networks")
    async with team.client(await team.key(networks=["127.0.0.0/8"])) as client:
        assert (await client.get(INTERACTIONS)).status_code == 200
    assert remote.requests == []


async def test_a_key_from_another_network_is_told_in_its_projects_log(team: Team):
    async with team.client(await team.key(networks=["10.0.0.0/8"])) as client:
        answer = await client.get(INTERACTIONS)
    query = (
        "SELECT api_keys.project_id = audit_log.project_id, action, outcome, address FROM audit_log "
        "JOIN api_keys ON api_keys.id = audit_log.actor "
        f"WHERE request_id = '{answer.headers['x-request-id']}'"
    )
    found: list[Any] = []
    async with asyncio.timeout(30):
        while not found:
            with Records(team.gateway.database_url) as records:
                found = records.rows(query)
            await asyncio.sleep(0.02)
    assert found == [(True, "interaction.list", "permission_denied", "127.0.0.1")]


TOOL: Json = {"contents": [], "tools": [{"codeExecution": {}}]}


@pytest.mark.parametrize(
    ("rules", "path", "body", "status", "rule"),
    [
        ({"models": ["gemma*"]}, "models/gemini:generateContent", {}, 403, "models"),
        (
            {"models": ["gemma*"]},
            "models/gemma:countTokens",
            {"generateContentRequest": {"model": "models/x"}},
            403,
            "models",
        ),
        ({"models": ["gemma*"]}, "cachedContents", {"model": "models/gemini"}, 403, "models"),
        ({"deny_tools": ["code_execution"]}, "models/m:generateContent", TOOL, 403, "deny_tools"),
        (
            {"deny_tools": ["code_execution"]},
            "models/m:batchGenerateContent",
            {"batch": {"inputConfig": {"fileName": "files/x"}}},
            403,
            "deny_tools",
        ),
        ({"agents": ["mine"]}, "agents", {"base_agent": "deep-research"}, 403, "agents"),
        (
            {"max_output_tokens": 9},
            "models/m:generateContent",
            {"generationConfig": {"maxOutputTokens": 10}},
            400,
            "max_output_tokens",
        ),
    ],
)
async def test_a_forwarded_call_is_refused_by_the_rule(
    team: Team, remote: ScriptedUpstream, rules, path, body, status, rule
):
    async with team.client(await team.key(**rules)) as client:
        assert refused(await client.post(f"/v1beta/{path}", json=body), status, rule)
    assert remote.requests == []


async def test_a_forwarded_call_generates_no_more_than_it_may(team: Team, remote: ScriptedUpstream):
    remote.script(GENERATED)
    async with team.client(await team.key(max_output_tokens=9)) as client:
        asked = await client.post("/v1beta/models/m:generateContent", json={"contents": []})
    assert asked.status_code == 200
    assert json.loads(remote.requests[0].body) == {"contents": [], "generationConfig": {"maxOutputTokens": 9}}


@pytest.fixture(params=["sqlite", "postgresql"])
def replicas(request: pytest.FixtureRequest, templates: Templates, tmp_path: Path) -> Iterator[list[Gateway]]:
    """Two gateways on one database; where they can be told of changes, they remember keys for a minute."""
    seconds = "60" if request.param == "postgresql" else "1"
    with templates.fresh(request.param) as url, ExitStack() as stack:
        settings = {
            "GATEWAY_UPSTREAMS": upstreams("http://127.0.0.1:9", UPSTREAM_KEY),
            "GATEWAY_KEY_CACHE_SECONDS": seconds,
        }
        made = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            made.append(Gateway(folder, url, **settings))
            stack.callback(made[-1].kill)
        yield made


async def test_a4_revocation_and_policies_reach_every_replica_at_once(replicas: list[Gateway]):
    """With notices within a moment, although the key is remembered for a minute; else in the cache's time."""
    async with Team(replicas[0]) as team:
        key = await team.key()
        clients = [
            httpx.AsyncClient(base_url=each.url, headers={"x-goog-api-key": key}, trust_env=False)
            for each in replicas
        ]

        async def until(status: int) -> None:
            changed = time.monotonic()
            while [(await client.get(INTERACTIONS)).status_code for client in clients] != [status] * 2:
                assert time.monotonic() - changed < PATIENCE, f"never {status}"
                await asyncio.sleep(0.02)

        await until(200)
        await team.rule(networks=["10.0.0.0/8"])
        await until(403)
        await team.rule(networks=None)
        await until(200)
        assert await team.keys.revoke(team.newest)
        await until(401)
        for client in clients:
            await client.aclose()
