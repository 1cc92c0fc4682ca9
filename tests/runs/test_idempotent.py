"""Row C11 of the fault list: `Idempotency-Key` over HTTP, in every way to ask."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.conftest import GatewayFactory
from tests.runs.conftest import Replicas
from tests.support import PATIENCE
from tests.support.client import Client, Heard
from tests.support.records import Records
from tests.support.runs import QUICK, SAID, STEP, STREAM, asked_for, ended, kinds, post, slowly, until
from tests.support.upstream import HANG, Gate, ScriptedUpstream, answer, sse

PLAIN = answer({"status": "completed", "steps": [STEP]})
ways = pytest.mark.parametrize(
    "way", [{}, {"stream": True}, {"background": True}, {"background": True, "stream": True}], ids=str
)


@pytest.fixture
def key() -> dict[str, str]:
    """A key that nobody has used."""
    return {"idempotency-key": f"order {secrets.token_hex(6)}"}


def must_be_running(heard: Heard) -> None:
    """Refused, because the first copy is still being answered."""
    assert (heard.status, heard.json()["error"]["code"]) == (409, "aborted"), heard
    assert int(heard.headers["retry-after"]) >= 1


def script(upstream: ScriptedUpstream, way: dict[str, Any]) -> Gate:
    """An answer of the kind that this way of asking gets, and what it waits for."""
    gate = Gate()
    upstream.script(gate, *(slowly(0) if way else [PLAIN]))
    return gate


@ways
async def test_c11_copies_at_once_are_one_run_at_any_replica(
    here: Client,
    there: Client,
    behind: ScriptedUpstream,
    replicas: Replicas,
    key: dict[str, str],
    way: dict[str, Any],
) -> None:
    gate, before = script(behind, way), replicas.count()
    copying = [asyncio.ensure_future(post(client, key, **way)) for client in (here, there) * 3]
    if "background" not in way:  # there, all copies are told the same, early or late
        await until(lambda: sum(each.done() for each in copying) == 5)
    gate.open()
    copies = await asyncio.gather(*copying)
    told = [heard for heard in copies if heard.status == 200]
    for heard in copies:
        if heard.status != 200:
            must_be_running(heard)
    assert len(told) == (6 if "background" in way else 1)
    assert len({heard.id for heard in told}) == 1
    await ended(there, told[0].id)
    assert len(behind.requests) == 1
    assert replicas.count() == before + 1


@ways
async def test_c11_a_later_copy_gets_the_stored_answer(
    here: Client, there: Client, behind: ScriptedUpstream, key: dict[str, str], way: dict[str, Any]
) -> None:
    script(behind, way).open()
    first = await post(here, key, **way)
    stored = await ended(here, first.id)
    for client in (here, there):
        later = await post(client, key, **way)
        assert (later.status, later.id, later.is_stream) == (200, first.id, first.is_stream)
        if first.is_stream:
            assert later.body == first.body == (await client.replay(first.id)).body
        else:
            assert later.json() == ({**stored, "steps": [STEP]} if way else first.json())
            assert (later.json()["status"], later.json()["steps"]) == ("completed", [STEP])
    assert len(behind.requests) == 1


async def test_c11_a_failure_is_an_answer(
    here: Client, there: Client, behind: ScriptedUpstream, key: dict[str, str]
) -> None:
    behind.script(answer({"error": {"code": "not_found", "message": "no such model"}}, "404 Not Found"))
    other = {"idempotency-key": f"other {key['idempotency-key']}"}
    first, later = await post(here, key), await post(there, key)
    streamed, again = await post(here, other, stream=True), await post(there, other, stream=True)
    assert first.error
    assert (first.status, first.error) == (later.status, later.error)
    assert streamed.error == again.error == first.error
    assert len(behind.requests) == 2


async def test_c11_a_stream_that_failed_in_the_middle_is_told_again(
    here: Client, there: Client, behind: ScriptedUpstream, key: dict[str, str]
) -> None:
    behind.script(STREAM + sse(*SAID[:5]))
    first = await post(here, key, stream=True)
    assert kinds(first.events)[-1] == "error"
    assert (await post(there, key, stream=True)).body == first.body
    assert len(behind.requests) == 1


async def test_c11_another_body_is_refused_and_another_project_is_another_matter(
    here: Client, behind: ScriptedUpstream, replicas: Replicas, key: dict[str, str]
) -> None:
    behind.script(PLAIN)
    async with Client(replicas.other, replicas.stranger, question=here.question) as other:
        first = await post(here, key)
        for body in ({"input": "Bye"}, {"store": False}, {"stream": True}):
            refused = await post(here, key, **body)
            assert (refused.status, refused.json()["error"]["code"]) == (422, "invalid_request")
        theirs = await post(other, key)
        assert theirs.status == 200
        assert theirs.id != first.id
        assert (await other.get(first.id)).status == 404
        unnamed = await post(here, {"idempotency-key": ""})
        assert (unnamed.status, unnamed.json()["error"]["code"]) == (400, "invalid_request")
    assert len(behind.requests) == 2


async def test_c11_what_was_not_stored_is_not_done_again(
    here: Client, there: Client, behind: ScriptedUpstream, key: dict[str, str]
) -> None:
    gate = script(behind, {})
    first = asyncio.ensure_future(post(here, key, store=False))
    await asked_for(behind)
    must_be_running(await post(there, key, store=False))
    gate.open()
    assert (await first).status == 200
    async with asyncio.timeout(PATIENCE):  # its answer is told before its record has its end
        while (await post(here, key, store=False)).status == 409:
            await asyncio.sleep(0.05)
    for client in (here, there):
        again = await post(client, key, store=False)
        assert (again.status, again.json()["error"]["code"]) == (400, "failed_precondition")
    assert len(behind.requests) == 1


async def test_c11_the_key_of_what_was_deleted_is_free(
    here: Client, there: Client, behind: ScriptedUpstream, key: dict[str, str]
) -> None:
    behind.script(PLAIN)
    first = await post(here, key)
    assert (await there.delete(first.id)).status == 200
    anew = await post(there, key)
    assert anew.status == 200
    assert anew.id != first.id


async def test_p2_killed_before_the_answer_the_key_finds_the_run(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, key: dict[str, str]
) -> None:
    one, other = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **QUICK) for _ in range(2))
    )
    upstream.script(HANG)
    async with Client(one) as here, Client(other, one.key, question=here.question) as there:
        calls = [asyncio.ensure_future(post(here, key)), asyncio.ensure_future(post(here, input="no key"))]
        with Records(one.database_url) as records:
            await asked_for(upstream, 2)
            while records.count("interactions") < 2:
                await asyncio.sleep(0.01)
            one.kill()
            await asyncio.gather(*calls, return_exceptions=True)
            must_be_running(await post(there, key))
            for (found,) in records.rows("SELECT id FROM interactions"):
                assert (await ended(there, found))["status"] == "failed"
            later = await post(there, key)
            assert (later.status, later.json()["error"]["code"]) == (409, "aborted")
            assert records.count("interactions") == 2
    assert len(upstream.requests) == 2
