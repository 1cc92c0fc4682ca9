"""Webhooks from the end of an interaction to its receivers, over real sockets and on both databases."""

import asyncio
import base64
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from sqlalchemy import Connection

from app.auth import pepper
from app.core.model import Interaction
from app.core.versions import Versions
from app.egress import Guard, Poster
from app.runs.webhooks import Messenger, deliveries, pause
from app.settings import Egress
from app.store.database import Database
from app.store.keys import Keys, Project
from app.store.webhooks import Delivery, Webhooks, insert_deliveries
from tests.support import PATIENCE
from tests.support.records import Records
from tests.support.upstream import HANG, Asked, ScriptedUpstream, answer, head

PEPPER = b"a pepper for the tests, and no other"
MINE, THEIRS = "prj_mine", "prj_theirs"
HOME = "127.0.0.0/8"
HOUR = 3_600_000


@pytest.fixture
async def webhooks(database: Database) -> Webhooks:
    """The deliveries of two projects."""
    for project in (MINE, THEIRS):
        await Keys(database).create_project(Project(project, project, 1, None))
    return Webhooks(database)


@pytest.fixture
async def receiver() -> AsyncIterator[ScriptedUpstream]:
    """A receiver that does what the test says."""
    async with ScriptedUpstream() as made:
        yield made


@asynccontextmanager
async def messenger(
    webhooks: Webhooks,
    *allow: str,
    seconds: float = 20,
    retry_hours: float = 24,
    enabled: bool = True,
    peppers: Versions[bytes] | None = None,
) -> AsyncIterator[Messenger]:
    """The loop, at work."""
    settings = Egress(enabled=enabled, allow=list(allow), seconds=seconds, retry_hours=retry_hours)
    made = Messenger(webhooks, Poster(Guard(settings)), peppers or Versions(PEPPER), settings)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def keep(database: Database, *made: Delivery) -> None:
    def end(connection: Connection, batch: Sequence[tuple[Delivery, ...]]) -> Sequence[None]:
        for each in batch:
            insert_deliveries(connection, each)
        return [None] * len(batch)

    await database.write(end, made)


def delivery(number: int, url: str, project: str = MINE) -> Delivery:
    return Delivery(f"msg_{number}", project, "v1_interaction", url, b'{"type":"interaction.completed"}')


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def attempts(records: Records) -> list[tuple[Any, ...]]:
    return records.rows("SELECT id, attempts FROM webhook_deliveries ORDER BY id")


def put_off(records: Records) -> list[tuple[Any, ...]]:
    """Those whose first attempt has failed: due after a pause, which is shorter than a lease."""
    return [
        row[:2]
        for row in records.rows("SELECT id, attempts, due_at - created_at FROM webhook_deliveries")
        if row[1] == 1 and row[2] < 20_000
    ]


def hurry(records: Records) -> None:
    """What only time could do: whatever waits is due."""
    records.change("UPDATE webhook_deliveries SET due_at = 0")


def ids(requests: list[Asked]) -> list[str]:
    return [asked.headers["webhook-id"] for asked in requests]


def interaction(**fields: Any) -> Interaction:
    usual: dict[str, Any] = {
        "id": "v1_interaction",
        "project_id": MINE,
        "status": "completed",
        "created_at": 1_790_000_000_000,
        "updated_at": 1_790_000_000_000,
        "model": "m",
        "agent": None,
        "parent_id": None,
        "root_id": "v1_interaction",
        "depth": 0,
        "background": False,
        "options": b"{}",
        "input": b"[]",
        "output": b"[]",
        "details": b"{}",
        "error": None,
        "last_seq": 0,
        "history_bytes": 0,
    }
    return Interaction(**(usual | fields))


def test_an_end_becomes_a_delivery_for_each_receiver():
    config = {"uris": ["https://a.example/", "https://b.example/", "https://a.example/"]}
    options = json.dumps({"webhook_config": {**config, "user_metadata": {"job": 1}}}).encode()
    one, two = deliveries(interaction(options=options, status="requires_action"))
    assert (one.url, two.url) == ("https://a.example/", "https://b.example/")
    assert one.id != two.id
    assert one.body == two.body
    told = json.loads(one.body)
    assert told["type"] == "interaction.requires_action"
    assert told["data"] == {"id": "v1_interaction", "user_metadata": {"job": 1}}
    assert (one.project_id, one.interaction_id) == (MINE, "v1_interaction")
    assert deliveries(interaction(options=options, status="requires_action")) == (one, two)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"options": b'{"system_instruction":"\\"webhook_config\\""}'},
        {"options": b'{"labels":{"webhook_config":"x"}}'},
        {"id": "", "options": b'{"webhook_config":{"uris":["https://a.example/"]}}'},
    ],
)
def test_most_ends_are_told_to_nobody(fields: dict[str, Any]):
    assert deliveries(interaction(**fields)) == ()


def test_the_pauses_grow_up_to_an_hour_and_are_scattered():
    longest = [pause(failures, 1) for failures in range(1, 40)]
    assert longest[:5] == [5, 10, 20, 40, 80]
    assert longest == sorted(longest)
    assert longest[-1] == 3600
    assert [pause(failures, 0) * 2 for failures in range(1, 40)] == longest
    assert pause(10**6, 1) == 3600
    assert 25 < sum(1 for total in cumulated(longest) if total < 24 * 3600) < 45


def cumulated(values: list[float]) -> list[float]:
    return [sum(values[: count + 1]) for count in range(len(values))]


async def test_a_receiver_can_verify_what_it_gets(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(answer({}))
    await keep(database, delivery(1, f"{receiver.url}/hook?token=x"))
    async with messenger(webhooks, HOME):
        with Records(database_url) as records:
            await until(lambda: not attempts(records))
    [asked] = receiver.requests
    assert asked.line == "POST /hook?token=x HTTP/1.1"
    assert asked.body == b'{"type":"interaction.completed"}'
    assert asked.headers["content-type"] == "application/json"
    assert ids([asked]) == ["msg_1"]
    assert abs(int(asked.headers["webhook-timestamp"]) - time.time()) < 60
    shown = pepper.shown_webhook_secret(pepper.webhook_secret(PEPPER, MINE))
    verify(shown, asked)
    others = pepper.shown_webhook_secret(pepper.webhook_secret(PEPPER, THEIRS))
    with pytest.raises(Exception, match="did not match"):
        verify(others, asked)


@pytest.mark.parametrize(
    "peppers",
    [Versions(PEPPER, coming=PEPPER[::-1]), Versions(PEPPER[::-1], previous=PEPPER)],
    ids=["before the change", "after it"],
)
async def test_a11_receivers_with_either_secret_verify_while_the_pepper_is_changed(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream, peppers
):
    receiver.script(answer({}))
    await keep(database, delivery(1, f"{receiver.url}/hook"))
    async with messenger(webhooks, HOME, peppers=peppers):
        with Records(database_url) as records:
            await until(lambda: not attempts(records))
    [asked] = receiver.requests
    for each in (PEPPER, PEPPER[::-1]):
        verify(pepper.shown_webhook_secret(pepper.webhook_secret(each, MINE)), asked)
    with pytest.raises(InvalidSignature):
        verify(pepper.shown_webhook_secret(pepper.webhook_secret(b"a third one", MINE)), asked)


def verify(shown: str, asked: Asked) -> None:
    """As the receiver's library would, with other code than the gateway's."""
    assert shown.startswith("whsec_")
    signatures = [each.partition(",") for each in asked.headers["webhook-signature"].split(" ")]
    for version, _, signature in signatures:
        assert version == "v1"
        theirs = hmac.HMAC(base64.b64decode(shown.removeprefix("whsec_")), hashes.SHA256())
        theirs.update(f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode())
        theirs.update(asked.body)
        with contextlib.suppress(InvalidSignature):
            theirs.verify(base64.b64decode(signature))
            return
    raise InvalidSignature("Signature did not match digest.")


@pytest.mark.parametrize("status", ["500 Broken", "404 Not Found", "302 Found", "429 Too Many"])
async def test_s2_a_failure_is_tried_again_under_the_same_id(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream, status: str
):
    receiver.script(answer({}, status, location=receiver.url))
    receiver.script(answer({}, "204 No Content")[:-2])
    await keep(database, delivery(1, receiver.url))
    with Records(database_url) as records:
        async with messenger(webhooks, HOME) as loop:
            await until(lambda: put_off(records) == [("msg_1", 1)])
            hurry(records)
            loop.hint()
            await until(lambda: not attempts(records))
    assert ids(receiver.requests) == ["msg_1", "msg_1"]
    assert receiver.requests[0].body == receiver.requests[1].body


async def test_a_receiver_that_is_gone_for_good_is_given_up(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(answer({}, "410 Gone"))
    await keep(database, delivery(1, receiver.url))
    async with messenger(webhooks, HOME):
        with Records(database_url) as records:
            await until(lambda: not attempts(records))
    assert len(receiver.requests) == 1


async def test_s2_attempts_end_when_the_time_for_them_is_over(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(answer({}, "500 Broken"))
    await keep(database, delivery(1, receiver.url), delivery(2, receiver.url))
    with Records(database_url) as records:
        records.change(
            f"UPDATE webhook_deliveries SET created_at = created_at - {24 * HOUR} WHERE id = 'msg_1'"
        )
        async with messenger(webhooks, HOME):
            await until(lambda: put_off(records) == attempts(records) == [("msg_2", 1)])
    assert sorted(ids(receiver.requests)) == ["msg_1", "msg_2"]


@pytest.mark.parametrize(("allow", "enabled"), [((), True), (("10.0.0.0/8",), True), ((HOME,), False)])
async def test_s2_the_guard_stands_at_each_delivery(
    database: Database,
    database_url: str,
    webhooks: Webhooks,
    receiver: ScriptedUpstream,
    allow: tuple[str, ...],
    enabled: bool,
):
    """What was allowed when the request came may not be allowed any more."""
    receiver.script(answer({}))
    await keep(database, delivery(1, receiver.url))
    with Records(database_url) as records:
        async with messenger(webhooks, *allow, enabled=enabled):
            await until(lambda: put_off(records) == [("msg_1", 1)])
    assert receiver.requests == []


async def test_two_processes_deliver_each_once(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(answer({}))
    other = Database(database_url)
    expected = [delivery(number, f"{receiver.url}/{number}") for number in range(80)]
    async with messenger(webhooks, HOME) as one, messenger(Webhooks(other), HOME) as two:
        with Records(database_url) as records:
            for some in (expected[:40], expected[40:]):
                await keep(database, *some)
                one.hint()
                two.hint()
            await until(lambda: len(receiver.requests) >= 80 and not attempts(records))
    await other.close()
    assert sorted(ids(receiver.requests)) == sorted(each.id for each in expected)


async def test_p_a_process_that_dies_in_an_attempt_costs_a_delay(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    """Between the taking and the end of it: the next process delivers once more, under the same id."""
    receiver.script(HANG)
    receiver.script(answer({}))
    await keep(database, delivery(1, receiver.url))
    with Records(database_url) as records:
        async with messenger(webhooks, HOME):
            await until(lambda: receiver.requests)
        [(_, taken)] = attempts(records)
        assert taken == 1
        async with messenger(webhooks, HOME) as loop:
            assert await webhooks.take(1, HOUR) == []
            hurry(records)
            loop.hint()
            await until(lambda: not attempts(records))
    assert ids(receiver.requests) == ["msg_1", "msg_1"]
    assert receiver.requests[0].body == receiver.requests[1].body


async def test_s2_a_slow_receiver_does_not_hold_up_others(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(answer({}))
    async with ScriptedUpstream() as slow:
        slow.script(HANG)
        waiting = [delivery(number, f"{slow.url}/same") for number in range(100)]
        await keep(database, *waiting, delivery(1000, receiver.url))
        async with messenger(webhooks, HOME, seconds=600):
            await until(lambda: receiver.requests)
            assert 0 < len(slow.requests) < 10


async def test_s2_a_project_of_slow_receivers_does_not_hold_up_others(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(answer({}))
    async with ScriptedUpstream() as slow:
        slow.script(HANG)
        waiting = [delivery(number, f"{slow.url}/{number}") for number in range(100)]
        await keep(database, *waiting, delivery(1000, receiver.url, THEIRS))
        async with messenger(webhooks, HOME, seconds=600):
            await until(lambda: receiver.requests and len(slow.requests) >= 16)
            assert len(slow.requests) < 24


async def test_s2_a_receiver_that_is_too_slow_is_tried_again(
    database: Database, database_url: str, webhooks: Webhooks, receiver: ScriptedUpstream
):
    receiver.script(head()[:-10], HANG)
    receiver.script(answer({}))
    await keep(database, delivery(1, receiver.url))
    with Records(database_url) as records:
        async with messenger(webhooks, HOME, seconds=0.3) as loop:
            await until(lambda: put_off(records) == [("msg_1", 1)])
            hurry(records)
            loop.hint()
            await until(lambda: not attempts(records))
    assert ids(receiver.requests) == ["msg_1", "msg_1"]


async def test_d_a_database_that_fails_for_a_while_costs_a_while(
    database: Database,
    database_url: str,
    webhooks: Webhooks,
    receiver: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
):
    receiver.script(answer({}))
    await keep(database, delivery(1, receiver.url))
    with Records(database_url) as records:
        records.change("ALTER TABLE webhook_deliveries RENAME TO away")
        async with messenger(webhooks, HOME) as loop:
            await until(lambda: "no webhooks" in caplog.messages)
            records.change("ALTER TABLE away RENAME TO webhook_deliveries")
            loop.hint()
            await until(lambda: not attempts(records))
    assert ids(receiver.requests) == ["msg_1"]


async def test_the_log_says_where_and_how_but_no_more(
    database: Database,
    database_url: str,
    webhooks: Webhooks,
    receiver: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG, "gateway")
    receiver.script(answer({"answer": "canary-answer"}, "500 canary-reason"))
    secret = delivery(1, f"{receiver.url}/canary-path?token=canary-query")
    await keep(database, Delivery(secret.id, MINE, secret.interaction_id, secret.url, b"canary-body"))
    await keep(database, delivery(2, "https://canary-host.invalid:1/canary-path?canary-query"))
    async with messenger(webhooks, HOME):
        await until(lambda: caplog.messages.count("webhook") == 2)
    told = {
        record.fields["id"]: record.fields  # type: ignore[attr-defined]
        for record in caplog.records
        if record.message == "webhook"
    }
    assert told["msg_1"]["host"] == "127.0.0.1"
    assert (told["msg_1"]["answer"], told["msg_1"]["attempt"]) == (500, 1)
    assert told["msg_2"]["outcome"] == "tried again later"
    everything = str([record.__dict__ for record in caplog.records])
    for canary in ("answer", "reason", "path", "query", "body"):
        assert f"canary-{canary}" not in everything
