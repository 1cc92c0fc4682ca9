"""Rate limits: within them everything passes, above them nothing, on one process and with Redis on two."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import redis

from app.auth.quota import Counters, Quota
from app.core.quota import Rates, Scope, Window, scopes, wait
from app.core.rules import read
from app.errors import ApiError

_REDIS = os.environ.get("GATEWAY_TEST_REDIS", "redis://127.0.0.1:6379/9")


@dataclass(frozen=True)
class Limits:
    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None


async def nobody(*_: str | None) -> int:
    return 0


@pytest.fixture(params=["memory", "redis"])
def redis_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "memory":
        return None
    try:
        with redis.Redis.from_url(_REDIS, socket_connect_timeout=2) as client:
            client.ping()
    except redis.RedisError as error:
        pytest.skip(f"NO REDIS ON {_REDIS}: {error}")
    return _REDIS


@pytest.fixture(autouse=True)
async def within_a_minute() -> None:
    """Windows begin with the minutes of the clock: what is counted together must not stand in two of them."""
    while (left := 60 - time.time() % 60) < 5:
        await asyncio.sleep(left)


@pytest.fixture
async def counters(redis_url: str | None) -> AsyncIterator[Counters]:
    made = Counters(redis_url)
    yield made
    await made.close()


def scope(pattern: str | None = None, **limits: int) -> Scope:
    return Scope(Limits(**limits), f"prj_{secrets.token_hex(6)}", "key_1", pattern)


async def refused(quota: Quota, scopes: list[Scope], tokens: int = 1) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await quota.admit(scopes, tokens)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(caught.value.headers["retry-after"]) <= 120
    return caught.value


async def test_requests_in_a_minute(counters: Counters) -> None:
    quota, mine = Quota(counters, nobody), scope(rpm=3)
    for _ in range(3):
        await quota.admit([mine], 1)
    error = await refused(quota, [mine])
    assert "limit 'rpm'" in error.message
    assert "key" in error.message
    await quota.admit([scope(rpm=3)], 1)


async def test_never_more_than_the_limit_when_all_come_together(counters: Counters) -> None:
    quota, mine = Quota(counters, nobody), scope(rpm=50)
    outcomes = await asyncio.gather(*(quota.admit([mine], 1) for _ in range(200)), return_exceptions=True)
    assert sum(isinstance(each, ApiError) for each in outcomes) == 150


async def test_tokens_are_taken_by_estimate_and_corrected(counters: Counters) -> None:
    quota, mine = Quota(counters, nobody), scope(tpm=1000)
    permit = await quota.admit([mine], 900)
    assert "limit 'tpm'" in (await refused(quota, [mine], 200)).message
    await permit.settle(100)
    second = await quota.admit([mine], 800)
    await second.settle(5000)
    await refused(quota, [mine], 1)


async def test_an_estimate_above_the_limit_refuses_nobody_for_ever(counters: Counters) -> None:
    await Quota(counters, nobody).admit([scope(tpm=10)], 4096)


async def test_what_is_refused_counts_nowhere(counters: Counters) -> None:
    quota, project, key = Quota(counters, nobody), scope(rpm=2), scope(rpm=1)
    await quota.admit([project, key], 1)
    for _ in range(5):
        await refused(quota, [project, key])
    await quota.admit([project], 1)


async def test_runs_at_a_time(counters: Counters) -> None:
    quota, mine = Quota(counters, nobody), scope(concurrent=2)
    first, _ = [await quota.admit([mine], 1) for _ in range(2)]
    assert "limit 'concurrent'" in (await refused(quota, [mine])).message
    first.leave()
    first.leave()
    await quota.admit([mine], 1)
    await refused(quota, [mine])


async def test_runs_of_other_replicas_count(counters: Counters) -> None:
    async def many(project_id: str, key_id: str | None, model: str | None) -> int:
        return 2

    await refused(Quota(counters, many), [scope(concurrent=2)])
    await Quota(counters, many).admit([scope(concurrent=3)], 1)


@pytest.mark.parametrize("limit", ["rpm", "tpm", "concurrent"])
async def test_a_limit_for_some_models_is_counted_apart_and_named(counters: Counters, limit: str) -> None:
    quota, project = Quota(counters, nobody), f"prj_{secrets.token_hex(6)}"
    rules = read(
        {"rpm": 9, "model_limits": {"gemini-3*": {limit: 1}, "*-pro": {limit: 2}, "gemma": {"rpm": 1}}}
    )

    def of(target: str) -> list[Scope]:
        return scopes(rules, project, "key_1", target)

    await quota.admit(of("gemini-3-flash"), 1)
    error = await refused(quota, of("gemini-3-pro"))
    assert error.message.startswith("The key has ")
    assert error.message.endswith(f"its limit '{limit}' for 'gemini-3*'.")
    await quota.admit(of("models/gemini-2-pro"), 1)  # what was refused before has left no trace
    await quota.admit(of("agents/other-pro"), 1)
    assert "for '*-pro'" in (await refused(quota, of("gemini-2-pro"))).message
    await quota.admit(of("gemma"), 1)
    assert "'rpm' for 'gemma'" in (await refused(quota, of("models/gemma"))).message
    await quota.admit(of("anything"), 1)


def test_every_pattern_that_fits_is_a_limit_of_its_own() -> None:
    rules = read(
        {"tpm": 5, "model_limits": {"gemini-*": {"rpm": 1}, "*": {"concurrent": 2}, "x": {"rpm": 3}}}
    )
    found = scopes(rules, "prj_1", None, "models/gemini-3")
    assert [(each.pattern, each.limits) for each in found] == [
        (None, rules),
        ("*", Rates(concurrent=2)),
        ("gemini-*", Rates(rpm=1)),
    ]
    assert scopes(read({"model_limits": {"x": {"rpm": 3}}}), "prj_1", "key_1", "X") == []


async def test_two_replicas_share_a_limit_in_redis(redis_url: str | None) -> None:
    if redis_url is None:
        pytest.skip("what is in memory is not shared")
    pair = [Counters(redis_url), Counters(redis_url)]
    mine = scope("gemini-*", rpm=20)
    calls = (Quota(each, nobody).admit([mine], 1) for each in pair * 20)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, ApiError) for each in outcomes) == 20
    for each in pair:
        await each.close()


async def test_p14_without_redis_each_process_counts_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters("redis://127.0.0.1:9/0")
    quota, mine = Quota(counters, nobody), scope(rpm=2)
    for _ in range(2):
        await quota.admit([mine], 1)
    await refused(quota, [mine])
    assert [record.message for record in caplog.records].count("no Redis: each process counts by itself") == 1
    await counters.close()


@pytest.mark.parametrize(
    ("limit", "cost", "window", "seconds"),
    [
        (10, 1, Window(0, 0.0, 10, 100.0), 46),  # 40 s to the end of this minute, and a tenth of the next
        (10, 1, Window(20, 30.0, 0, 0.0), 3),
        (10, 10, Window(5, 30.0, 0, 0.0), 30),
        (10, 1, Window(0, 0.0, 0, 0.0), 1),
    ],
)
def test_how_long_to_wait(limit: int, cost: int, window: Window, seconds: int) -> None:
    assert wait(limit, cost, window) == seconds
