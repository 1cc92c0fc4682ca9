"""Rows D3 and D6 of the fault list: ids that do not fit, and the same thing done twice."""

import asyncio

import pytest

from tests.support.client import Client, Heard
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import HANG, RESET, ScriptedUpstream, head, sse, text_events

ABSENT = "v1_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"
STREAM = head("200 OK", "text/event-stream")


@pytest.fixture(scope="module")
def foreign_key(gateway: Gateway) -> str:
    """A key of another project."""
    return gateway.new_key()


@pytest.fixture
async def mine(gateway: Gateway):
    async with Client(gateway) as made:
        yield made


@pytest.fixture
async def theirs(gateway: Gateway, foreign_key: str):
    async with Client(gateway, foreign_key) as made:
        yield made


def not_found(heard: Heard, interaction_id: str) -> bool:
    """The one answer for what is absent, foreign, expired or deleted."""
    message = f"Interaction not found: {interaction_id}"
    return (heard.status, heard.json()) == (404, {"error": {"code": "not_found", "message": message}})


async def everything_about(client: Client, interaction_id: str) -> list[Heard]:
    cancelled = await client.http.post(f"/v1beta/interactions/{interaction_id}/cancel")
    return [
        await client.get(interaction_id),
        await client.replay(interaction_id),
        await client.replay(interaction_id, after=f"{interaction_id[-8:]}_1"),
        await client.delete(interaction_id),
        await client.create(previous_interaction_id=interaction_id),
        await client.create(previous_interaction_id=interaction_id, store=False, stream=True),
        Heard(cancelled.status_code, cancelled.headers, cancelled.content),
    ]


async def test_d3_absent_foreign_expired_and_deleted_are_one(
    gateway: Gateway, mine: Client, theirs: Client
) -> None:
    foreign = (await mine.create()).id
    deleted = (await theirs.create()).id
    expired = (await theirs.create()).id
    unstored = (await theirs.create(store=False)).json()
    assert "id" not in unstored
    assert (await theirs.delete(deleted)).status == 200
    with Records(gateway.database_url) as records:
        records.change(f"UPDATE interactions SET expires_at = 0 WHERE id = '{expired}'")
        [[hidden]] = records.rows("SELECT id FROM interactions ORDER BY created_at DESC, id DESC LIMIT 1")
    for interaction_id in (ABSENT, foreign, deleted, expired, hidden):
        for heard in await everything_about(theirs, interaction_id):
            assert not_found(heard, interaction_id), heard
    assert (await mine.get(foreign)).status == 200


@pytest.mark.parametrize(
    "malformed",
    [
        "x",
        "v1_",
        "v1_short",
        "v2_AAAAAAAAAAAAAAAA",
        "v1_" + "A" * 129,
        "v1_" + "A" * 7000,
        "v1_AAAAAAAA'%20OR%201=1",
        "v1_AAAAAAAA<script>",
        "v1_AAAAAAAA%C3%A9",
        "v1_AAAAAAAA.",
    ],
)
async def test_d3_malformed_id_in_the_path(mine: Client, malformed: str) -> None:
    for heard in (
        await mine.get(malformed),
        await mine.delete(malformed),
    ):
        assert (heard.status, heard.json()["error"]["code"]) == (400, "invalid_request")
        assert len(heard.body) < 300


@pytest.mark.parametrize(
    "malformed",
    [
        "x",
        "v1_short",
        "v1_" + "A" * 2**20,
        "' OR 1=1 --",
        "<b>v1_AAAAAAAA</b>",
        "v1_AAAAAAAA\r\nx: y",
        "v1_AAAAAAAA\n",
    ],
)
async def test_d3_malformed_parent(mine: Client, malformed: str) -> None:
    heard = await mine.create(previous_interaction_id=malformed)
    assert (heard.status, heard.json()["error"]["code"]) == (400, "invalid_request")
    assert "previous_interaction_id" in heard.json()["error"]["message"]
    assert len(heard.body) < 300


async def test_d3_running_and_failed_parents_are_refused(client: Client, faulty: ScriptedUpstream) -> None:
    faulty.script(STREAM, sse(*text_events("a")[:4]), HANG)
    async with client.open() as stream:
        [created] = await stream.until(1)
        parent = created["interaction"]["id"]
        running = await client.create(previous_interaction_id=parent)
        await stream.rest()
    failed = await client.create(previous_interaction_id=parent)
    for heard, word in ((running, "in_progress"), (failed, "failed")):
        assert (heard.status, heard.json()["error"]["code"]) == (400, "failed_precondition")
        assert parent in heard.json()["error"]["message"]
        assert word in heard.json()["error"]["message"]
    assert len(faulty.requests) == 1


async def test_d3_missing_link_is_named(mine: Client) -> None:
    first = (await mine.create(input="one")).id
    second = (await mine.create(input="two", previous_interaction_id=first)).id
    third = (await mine.create(input="three", previous_interaction_id=second)).id
    assert (await mine.delete(first)).status == 200
    for parent in (second, third):
        heard = await mine.create(previous_interaction_id=parent)
        assert (heard.status, heard.json()["error"]["code"]) == (400, "failed_precondition")
        assert first in heard.json()["error"]["message"]
    assert (await mine.get(third)).json()["previous_interaction_id"] == second


async def test_d2_expired_link_is_still_context(gateway: Gateway, mine: Client) -> None:
    first = (await mine.create(input="My name is Ada.")).id
    second = (await mine.create(input="Hello", previous_interaction_id=first)).id
    with Records(gateway.database_url) as records:
        records.change(f"UPDATE interactions SET expires_at = 0 WHERE id = '{first}'")
    third = await mine.create(input="What is my name?", previous_interaction_id=second)
    assert "Ada" in third.json()["steps"][-1]["content"][0]["text"]


async def test_d6_delete_twice_and_get_after_delete(gateway: Gateway, mine: Client) -> None:
    secret = "a very private matter"
    kept = (await mine.create(input=secret, stream=True)).id
    first, second = await mine.delete(kept), await mine.delete(kept)
    assert (first.status, first.json()) == (200, {})
    assert not_found(second, kept)
    assert not_found(await mine.get(kept), kept)
    with Records(gateway.database_url) as records:
        assert secret.encode() not in records.text()


async def test_d6_delete_at_once_by_many(mine: Client) -> None:
    kept = (await mine.create()).id
    found = await asyncio.gather(*(mine.delete(kept) for _ in range(10)))
    assert sorted(heard.status for heard in found) == [200] + [404] * 9


async def test_d6_cancel_of_what_cannot_be_cancelled(client: Client, faulty: ScriptedUpstream) -> None:
    faulty.script(STREAM, sse(*text_events("a")[:4]), HANG)
    async with client.open() as stream:
        [created] = await stream.until(1)
        path = f"/v1beta/interactions/{created['interaction']['id']}/cancel"
        running = await client.http.post(path)
        await stream.rest()
    twice = [await client.http.post(path) for _ in range(2)]
    for heard in (running, *twice):
        assert (heard.status_code, heard.json()["error"]["code"]) == (400, "failed_precondition")


async def test_c3_last_event_id_that_is_none(mine: Client) -> None:
    streamed, unary = (await mine.create(stream=True)).events, (await mine.create()).id
    kept, last = streamed[0]["interaction"]["id"], streamed[-1]["event_id"]
    for other in (kept, unary):
        refused = [
            await mine.replay(other, after=wrong)
            for wrong in (
                "",
                "x",
                "1",
                "-1",
                "0",
                str(2**80),
                f"{other[-8:]}_0",
                f"{other[-8:]}_-1",
                f"{other[-8:]}_01",
                f"{other[-8:]}_99999",
                f"{other[-8:]}_{2**80}",
                f"{ABSENT[-8:]}_1",
                last.replace("_", "-") if other == kept else last,
                "'; DROP TABLE interactions; --",
            )
        ]
        assert {heard.status for heard in refused} == {400}
        assert len({heard.body for heard in refused}) == 1
    rest = await mine.replay(kept, after=last)
    assert rest.status == 200
    assert rest.done
    assert rest.events == []


async def test_replay_of_each_rest(mine: Client) -> None:
    whole = await mine.create(stream=True, input="[[sim tokens=5]]")
    frames = whole.body.split(b"\n\n")
    for position, event in enumerate(whole.events, 1):
        rest = await mine.replay(whole.id, after=event["event_id"])
        assert rest.body == b"\n\n".join(frames[position:])


async def test_replay_of_an_answer_that_was_never_streamed(mine: Client) -> None:
    unary = await mine.create(input="[[sim tokens=5]]")
    whole = await mine.replay(unary.id)
    assert whole.done
    frames = whole.body.split(b"\n\n")
    for position, event in enumerate(whole.events, 1):
        assert (await mine.replay(unary.id, after=event["event_id"])).body == b"\n\n".join(frames[position:])


async def test_failed_call_can_be_read_but_not_continued(client: Client, faulty: ScriptedUpstream) -> None:
    faulty.script(STREAM, sse(*text_events("a")[:4]), RESET)
    heard = await client.create(stream=True)
    kept = (await client.get(heard.id)).json()
    assert kept["status"] == "failed"
    assert kept["errors"] == [heard.error]
    assert not_found(await client.delete(ABSENT), ABSENT)
    assert (await client.delete(heard.id)).status == 200
