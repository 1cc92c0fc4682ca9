"""The keys of an upstream: whose turn it is, which ones rest, and which are whose."""

import asyncio
import json
import os
import time
from collections import Counter

import pytest

from app.core.versions import Versions
from app.errors import ApiError
from app.settings import SettingsError, load
from app.upstream.credentials import Credentials, Secret
from app.upstream.failures import Failures
from tests.conftest import GatewayFactory
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import QUICK, asked_for, begin, ended
from tests.support.upstream import HANG, ScriptedUpstream, answer, head, sse, text_events

TOKEN = "an-admin-token-for-tests-0123456789abcdef"
SAID = {"status": "completed", "steps": [{"type": "model_output", "content": []}]}
STREAM = head("200 OK", "text/event-stream")
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(status: int, **headers: str) -> ApiError:
    return Failures("up", []).answered(status, b"{}", headers)


def pool(*keys: str | Secret, clock: Clock | None = None) -> Credentials:
    return Credentials("up", keys, Versions(b"secret"), clock or Clock())


def turns(made: Credentials, count: int, project: str = "") -> list[str]:
    return [made.any(project).key for _ in range(count)]


def test_keys_take_turns_by_weight():
    made = pool(Secret("a", 3), Secret("b"), Secret("c"))
    taken = turns(made, 50)
    assert Counter(taken) == {"a": 30, "b": 10, "c": 10}
    assert "aaa" not in "".join(taken)  # spread, not in a row


def test_a_key_that_is_limited_rests_as_long_as_it_is_told():
    clock = Clock()
    made = pool("a", "b", clock=clock)
    made.note("a", refused(429, **{"retry-after": "20"}))
    assert turns(made, 3) == ["b"] * 3
    clock.now += 19
    assert turns(made, 3) == ["b"] * 3
    clock.now += 2
    assert set(turns(made, 4)) == {"a", "b"}


@pytest.mark.parametrize(
    ("told", "rest"), [("999999999", 300), ("Fri, 21 Nov 2026 12:00:00 GMT", 10), ("0", 10)]
)
def test_no_upstream_puts_a_key_to_rest_for_ever(told: str, rest: int):
    clock = Clock()
    made = pool("a", "b", clock=clock)
    made.note("a", refused(429, **{"retry-after": told}))
    clock.now += rest - 0.1
    assert turns(made, 2) == ["b", "b"]
    clock.now += 0.2
    assert "a" in turns(made, 2)


def test_failures_rest_longer_each_time_and_an_answer_ends_that():
    clock = Clock()
    made = pool("a", "b", clock=clock)
    rests = []
    for _ in range(7):
        made.note("a", refused(503))
        began = clock.now
        while "a" not in turns(made, 2):
            clock.now += 0.5
        rests.append(clock.now - began)
    assert rests == [1, 2, 4, 8, 16, 30, 30]
    made.note("a", None)
    made.note("a", refused(500))
    clock.now += 1
    assert "a" in turns(made, 2)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_what_a_request_is_to_blame_for_rests_nobody(status: int):
    made = pool("a", "b")
    made.note("a", refused(status))
    assert set(turns(made, 2)) == {"a", "b"}


def test_a11_a_change_of_the_pepper_changes_no_choice_and_forgets_no_key():
    keys = ("a", "b", "c", "d")
    before = Credentials("up", keys, Versions(b"old"), Clock())
    prepared = Credentials("up", keys, Versions(b"old", coming=b"new"), Clock())
    changed = Credentials("up", keys, Versions(b"new", previous=b"old"), Clock())
    after = Credentials("up", keys, Versions(b"new"), Clock())
    for number in range(20):
        project = f"prj_{number}"
        made = [each.of_project(project) for each in (before, prepared, changed, after)]
        assert len({each.key for each in made}) == 1
        for pool in (prepared, changed):
            for known in made:
                assert pool.of(known.fingerprint, project).key == known.key
                assert known.key not in {each.key for each in pool.others(project, known.fingerprint)}
        assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint == made[3].fingerprint


def test_when_all_rest_the_one_that_is_ready_first_is_asked():
    made = pool("a", "b")
    made.note("a", refused(429, **{"retry-after": "20"}))
    made.note("b", refused(429, **{"retry-after": "5"}))
    assert turns(made, 2) == ["b", "b"]
    assert made.others("", "whatever") == []


def test_a_projects_keys_are_its_own_and_its_only_ones():
    made = pool(
        "free",
        Secret("mine", projects=frozenset({"prj_a"})),
        Secret("ours", projects=frozenset({"prj_a", "prj_b"})),
    )
    assert set(turns(made, 9, "prj_a")) == {"mine", "ours"}
    assert set(turns(made, 9, "prj_b")) == {"ours"}
    assert set(turns(made, 9, "prj_c")) == {"free"}
    for project, keys in (("prj_a", {"mine", "ours"}), ("prj_b", {"ours"}), ("prj_c", {"free"})):
        assert made.of_project(project).key in keys
        for each in made.health():
            assert made.of(each.credential, project).key in keys
            assert {other.key for other in made.others(project, each.credential)} <= keys


def test_a_project_without_a_key_gets_none_of_another():
    made = pool(Secret("mine", projects=frozenset({"prj_a"})))
    for ask in (lambda: made.any("prj_b"), lambda: made.of_project("prj_b"), lambda: made.of("x", "prj_b")):
        with pytest.raises(ApiError) as said:
            ask()
        assert said.value.status == 503


def test_what_is_kept_is_asked_for_with_its_key_also_while_that_rests():
    made = pool("a", "b")
    fingerprint = made.any().fingerprint
    keeper = made.of(fingerprint)
    made.note(keeper.key, refused(429))
    assert made.of(fingerprint) == keeper
    kept = {project: made.of_project(project) for project in ("prj_1", "prj_2", "prj_3")}
    made.note("a", refused(429))
    made.note("b", refused(503))
    assert {project: made.of_project(project) for project in kept} == kept


def test_health_shows_no_key():
    made = pool(Secret("a-secret-key", 2, frozenset({"prj_a"})), "another-secret")
    made.note("a-secret-key", refused(401))
    first, second = made.health()
    assert (first.upstream, first.weight, first.projects) == ("up", 2, ("prj_a",))
    assert (first.last_error, first.failures) == ("401", 1)
    assert first.cooling_until is not None
    assert (second.last_error, second.cooling_until) == (None, None)
    assert "secret" not in repr(made.health())


def test_keys_in_the_settings_are_strings_or_tables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [each for each in os.environ if each.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MY_KEY", "from-there")
    (tmp_path / "gateway.toml").write_text(
        """
        [[upstreams]]
        name = "a"
        kind = "interactions"
        base_url = "https://a.example"
        api_keys = ["plain", { key = "env:MY_KEY", weight = 3, projects = ["prj_x"] }]
        """
    )
    one, two = load().upstreams[0].api_keys
    assert (one.key.get_secret_value(), one.weight, one.projects) == ("plain", 1, [])
    assert (two.key.get_secret_value(), two.weight, two.projects) == ("from-there", 3, ["prj_x"])
    (tmp_path / "gateway.toml").write_text((tmp_path / "gateway.toml").read_text().replace("prj_x", "acme"))
    with pytest.raises(SettingsError, match="'acme' is not the id of a project"):
        load()


@pytest.fixture
async def pooled(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway with three keys for the scriptable upstream."""
    settings = [
        {
            "name": "up",
            "kind": "interactions",
            "base_url": upstream.url,
            "api_keys": ["key-a", "key-b", "key-c"],
        }
    ]
    return await asyncio.to_thread(
        start_gateway, GATEWAY_UPSTREAMS=json.dumps(settings), GATEWAY_ADMIN_TOKEN=TOKEN
    )


def asked_with(upstream: ScriptedUpstream) -> list[str]:
    return [asked.headers["x-goog-api-key"] for asked in upstream.requests]


async def without_failures(client: Client) -> set[str]:
    """The keys that have not failed, as the admin API names them."""
    shown = await client.http.get("/admin/v1/upstreams", headers={"authorization": f"Bearer {TOKEN}"})
    return {each["credential"] for each in shown.json()["credentials"] if not each["failures"]}


def charged(gateway: Gateway) -> set[str]:
    """The keys that calls are charged to."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with Records(gateway.database_url) as records:
            rows = records.rows("SELECT credential FROM usage_ledger WHERE status != 'in_progress'")
        if rows:
            return {str(row[0]) for row in rows}
        time.sleep(0.05)
    return set()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failing", ["429 Too Many", "503 No", "500 No"])
async def test_another_key_is_asked_before_anything_was_heard(pooled, upstream, failing, stream) -> None:
    upstream.script(answer({"error": {"message": "no"}}, failing))
    upstream.script(answer({"error": {"message": "no"}}, failing))
    upstream.script(STREAM + sse(*text_events("a"), done=True) if stream else answer(SAID))
    async with Client(pooled) as client:
        heard = await client.create(stream=stream)
        assert heard.status == 200
        if stream:
            assert heard.done
        answered = await without_failures(client)
    assert sorted(asked_with(upstream)) == ["key-a", "key-b", "key-c"]
    assert charged(pooled) == answered, "the ledger names a key that did not answer"


@ON_SQLITE
async def test_each_key_is_asked_once_and_then_the_failure_is_told(pooled, upstream) -> None:
    upstream.script(answer({"error": {"message": "no"}}, "503 No"))
    async with Client(pooled) as client:
        assert (await client.create()).status == 503
        assert sorted(asked_with(upstream)) == ["key-a", "key-b", "key-c"]
        assert (await client.create()).status == 503  # all rest: one is asked, nobody instead
    assert len(upstream.requests) == 4


@ON_SQLITE
@pytest.mark.parametrize("status", ["400 No", "401 No", "404 No"])
async def test_what_another_key_would_not_change_is_not_asked_again(pooled, upstream, status) -> None:
    upstream.script(answer({"error": {"message": "no"}}, status))
    async with Client(pooled) as client:
        assert (await client.create()).status in {400, 404, 502}
    assert len(upstream.requests) == 1


@ON_SQLITE
async def test_what_was_begun_is_not_asked_again(pooled, upstream) -> None:
    """Also where nothing but the opening had been told, or a key sees what others do not."""
    upstream.script(STREAM + sse(*text_events("a")[:1]))
    upstream.script(answer({"error": {"message": "no"}}, "503 No"))
    async with Client(pooled) as client:
        heard = await client.create(stream=True)
        assert heard.error is not None
        assert len(upstream.requests) == 1
        assert (await client.create(model=None, agent="some-agent")).status == 503
        assert len(upstream.requests) == 2


@ON_SQLITE
async def test_what_is_passed_on_is_asked_with_another_key_too(pooled, upstream) -> None:
    upstream.script(
        answer({"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}, "429 No")
    )
    upstream.script(answer({"candidates": []}))
    async with Client(pooled) as client:
        said = await client.http.post("/v1beta/models/m:generateContent", json={"contents": []})
        healthy = await without_failures(client)
    assert (said.status_code, said.json()) == (200, {"candidates": []})
    assert len(set(asked_with(upstream))) == 2
    assert upstream.requests[0].body == upstream.requests[1].body
    assert len(healthy) == 2
    assert charged(pooled) <= healthy


@ON_SQLITE
@pytest.mark.parametrize(
    "said", [{"code": "RESOURCE_EXHAUSTED"}, {"code": 429}, {"status": "RESOURCE_EXHAUSTED"}]
)
async def test_a_key_rests_also_when_a_stream_says_that_it_is_limited(pooled, upstream, said) -> None:
    opening = text_events("a")[:1]
    upstream.script(STREAM + sse(*opening, {"event_type": "error", "error": {"message": "no", **said}}))
    upstream.script(answer(SAID))
    async with Client(pooled) as client:
        assert (await client.create(stream=True)).error is not None
        for _ in range(4):
            assert (await client.create()).status == 200
    first, *others = asked_with(upstream)
    assert sorted(set(others)) == sorted({"key-a", "key-b", "key-c"} - {first})


@ON_SQLITE
async def test_health_is_seen_through_the_admin_api(pooled, upstream) -> None:
    upstream.script(answer({"error": {"message": "no"}}, "429 No", retry_after="60"))
    upstream.script(answer(SAID))
    async with Client(pooled) as client:
        assert (await client.create()).status == 200
        shown = await client.http.get("/admin/v1/upstreams", headers={"authorization": f"Bearer {TOKEN}"})
    found = shown.json()["credentials"]
    assert [each["last_error"] for each in found].count("429") == 1
    assert [each["cooling_until"] is not None for each in found].count(True) == 1
    assert "key-" not in shown.text


@ON_SQLITE
async def test_a_teams_calls_use_its_own_keys(start_gateway: GatewayFactory, upstream) -> None:
    upstream.script(answer(SAID))
    plain = json.dumps(
        [{"name": "up", "kind": "interactions", "base_url": upstream.url, "api_keys": ["free"]}]
    )
    first = await asyncio.to_thread(start_gateway, GATEWAY_UPSTREAMS=plain)
    made = await asyncio.to_thread(first.run, "projects", "create", "team", "--json")
    keys = ["free", {"key": "theirs", "projects": [json.loads(made.stdout)["id"]]}]
    bound = [{"name": "up", "kind": "interactions", "base_url": upstream.url, "api_keys": keys}]
    theirs = await asyncio.to_thread(first.new_key, "team")
    await asyncio.to_thread(first.stop)
    second = await asyncio.to_thread(start_gateway, GATEWAY_UPSTREAMS=json.dumps(bound))
    async with Client(second, theirs) as team, Client(second) as other:
        for _ in range(3):
            assert (await team.create()).status == 200
            assert (await team.http.get("/v1beta/models")).status_code == 200
        assert set(asked_with(upstream)) == {"theirs"}
        upstream.requests.clear()
        for _ in range(3):
            assert (await other.create()).status == 200
            assert (await other.http.get("/v1beta/models")).status_code == 200
        assert set(asked_with(upstream)) == {"free"}


@ON_SQLITE
async def test_a_run_goes_on_with_another_key_when_its_own_is_gone(
    start_gateway: GatewayFactory, upstream
) -> None:
    """And that one is charged."""

    def with_key(key: str) -> str:
        made = [{"name": "up", "kind": "interactions", "base_url": upstream.url, "api_keys": [key]}]
        return json.dumps(made)

    upstream.script(HANG)
    first = await asyncio.to_thread(start_gateway, GATEWAY_UPSTREAMS=with_key("old"), **QUICK)
    async with Client(first) as client:
        begun = await begin(client)
        await asked_for(upstream)
    await asyncio.to_thread(first.kill)
    upstream.rescript(answer(SAID))
    settings = {**QUICK, "GATEWAY_UPSTREAMS": with_key("new"), "GATEWAY_ADMIN_TOKEN": TOKEN}
    second = await asyncio.to_thread(start_gateway, **settings)
    async with Client(second, first.key) as client:
        assert (await ended(client, begun))["status"] == "completed"
        assert await asyncio.to_thread(charged, second) == await without_failures(client)
    assert asked_with(upstream) == ["old", "new"]
