"""Exports over HTTP: the same lines as in a folder, in parts that can be asked for again."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.admin.api.streams import streamed
from app.core.audit import START
from app.store.database import Database
from tests.admin.conftest import TOKEN, client
from tests.conftest import GatewayFactory
from tests.support.aged import Aged, aged
from tests.support.gateway import Gateway

Parts = list[dict[str, Any]]


def part(admin: httpx.Client, **query: Any) -> tuple[Parts, dict[str, Any]]:
    """The lines of a part, and its manifest, which must be true."""
    said = admin.get("/interactions/export", params=query)
    assert (said.status_code, said.headers["content-type"]) == (200, "application/jsonl"), said.text
    *lines, last = said.content.splitlines(keepends=True)
    manifest = json.loads(last)["manifest"]
    text = b"".join(lines)
    digest = hashlib.sha256(text).hexdigest()
    assert (manifest["count"], manifest["bytes"], manifest["sha256"]) == (len(lines), len(text), digest)
    return [json.loads(line) for line in lines], manifest


@pytest.fixture
def stored(process: Gateway, admin: httpx.Client) -> tuple[str, str, list[str]]:
    """A project with seven interactions: its name, a key of it, and their ids."""
    name = f"exported-{len(admin.get('/projects?page_size=200').json()['projects'])}"
    assert admin.post("/projects", json={"name": name}).status_code == 200
    key = admin.post("/keys", json={"project": name, "name": "k"}).json()["key"]
    made = [
        process.create(key, input=f"secret {number}", labels={"team": "red" if number % 2 else "a=b"})["id"]
        for number in range(7)
    ]
    return name, key, made


def test_an_export_comes_in_parts(process: Gateway, admin: httpx.Client, stored) -> None:
    project, key, made = stored
    whole, manifest = part(admin, project=project)
    assert [line["interaction"]["id"] for line in whole] == made
    assert "secret 3" in json.dumps(whole[3])
    assert manifest["next_page_token"] is None
    found, token = [], None
    for _ in range(20):
        query = {"project": project, "page_size": 3} | ({"page_token": token} if token else {})
        lines, manifest = part(admin, **query)
        assert len(lines) <= 3
        assert part(admin, **query)[0] == lines  # broken off, it is asked for again
        found += lines
        token = manifest["next_page_token"]
        if token is None:
            break
        process.create(key, input="later")  # is not of this export
    assert found == whole
    chosen, _ = part(admin, project=project, label=["team=a=b"])
    assert [line["interaction"]["id"] for line in chosen] == made[::2]
    assert part(admin, project=project, until="2020-01-01")[0] == []


def test_an_export_is_refused_by_the_name_of_what_is_wrong(admin: httpx.Client, stored) -> None:
    project, _, _ = stored
    token = part(admin, project=project, page_size=2)[1]["next_page_token"]
    for query, named in (
        ({"page_token": token, "model": "m"}, "page_token"),
        ({"page_token": token, "until": "2020-01-01"}, "page_token"),
        ({"page_token": "x"}, "page_token"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 10_001}, "page_size"),
        ({"since": "yesterday"}, "since"),
        ({"since": "7d"}, "since"),  # would be another moment for each part
        ({"until": "-1"}, "until"),
        ({"label": "red"}, "label"),
        ({"label": ["a=b", "a=c"]}, "label"),
        ({"models": "m"}, "models"),
    ):
        said = admin.get("/interactions/export", params={"project": project, **query})
        assert (said.status_code, named in said.json()["error"]["message"]) == (400, True), (query, said.text)
    assert admin.get("/interactions/export").status_code == 400
    assert admin.get("/interactions/export", params={"project": "nobody"}).status_code == 404


def test_an_export_is_for_auditors_and_in_the_log(process: Gateway, admin: httpx.Client, stored) -> None:
    project, _, _ = stored
    tokens = {
        role: admin.post("/tokens", json={"name": f"{project} {role}", "role": role}).json()["token"]
        for role in ("operator", "auditor", "viewer")
    }
    for role, token in tokens.items():
        with client(process, token) as http:
            for path in ("/interactions/export", "/audit/export"):
                said = http.get(path, params={"project": project})
                assert said.status_code == (200 if role == "auditor" else 403), (role, path)
    records = admin.get("/audit", params={"project": project, "actor": f"{project} auditor"}).json()[
        "records"
    ]
    assert sorted(each["action"] for each in records) == ["audit.export", "interaction.export"]
    assert "secret" not in json.dumps(records)


def test_the_audit_log_goes_on_behind_a_record(admin: httpx.Client, stored) -> None:
    project, _, _ = stored
    lines: Parts = []
    for _ in range(600):  # until the sealer has been there
        lines = [json.loads(line) for line in admin.get(f"/audit/export?project={project}").text.splitlines()]
        if len(lines) > 8:
            break
    first = lines[0]
    rest = [
        json.loads(line)
        for line in admin.get(
            "/audit/export", params={"project": first["project_id"], "after": 1}
        ).text.splitlines()
    ]
    assert [each["seq"] for each in rest[:-1]] == [*range(2, len(rest) + 1)]
    stated = bytes.fromhex(first.pop("hash"))
    text = json.dumps(first, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert stated == hashlib.sha256(START + text).digest()
    said = admin.get("/audit/export", params={"after": 1})
    assert (said.status_code, "after" in said.text) == (400, True)


SIZE = 50_000


@pytest.mark.timeout(300)
async def test_an_export_needs_no_memory_for_what_it_tells(
    start_gateway: GatewayFactory, database: Database
) -> None:
    past = await Aged(database).begin()
    output = b'[{"type":"model_output","content":[{"type":"text","text":"%s"}]}]' % (b"x" * SIZE)
    for first in range(0, 2000, 200):
        rows = (
            aged(f"v1_big_{n:06}", expired=False, created_at=n, output=output)
            for n in range(first, first + 200)
        )
        await past.add(*rows)
    gateway = start_gateway(GATEWAY_ADMIN_TOKEN=TOKEN)
    with client(gateway) as admin:
        part(admin, project="aged", page_size=10)
        before, told = gateway.most_memory, 0
        with admin.stream("GET", "/interactions/export", params={"project": "aged"}) as said:
            for chunk in said.iter_bytes():
                told += len(chunk)
                last = chunk
        assert told > 2000 * SIZE
        assert b'"next_page_token":null' in last
    grown = gateway.most_memory - before
    assert grown < 2000 * SIZE / 2
    gateway.must_be_in_order()


async def test_an_answer_that_breaks_off_has_no_end_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"{}\n"
        raise ConnectionError

    answer = await streamed(lines())
    with pytest.raises(ConnectionError):
        [each async for each in answer.body_iterator]
    assert "broke off" in caplog.text
