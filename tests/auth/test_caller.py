"""The caller: found by one key in any of three places, and remembered for a moment."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import caller as caller_module
from app.auth import keys
from app.auth.addresses import Addresses
from app.auth.caller import Authenticator, Caller
from app.core import policy, rules
from app.core.versions import Versions
from app.errors import PermissionDenied, Unauthenticated
from app.store.holders import Holder

PEPPER = b"p" * 32
# Well-formed, and nobody's. Not new ones: they are in the names of tests.
KEY, OTHER = (
    "igw_Xo7IiCSc60FD0YFtd0Fk1InPg2ODOk47D8TNroKkWa",
    "igw_oaSwxG7EK1dQYuKOdciVv6wxvmZceFweytriXQNoke",
)
ADA = Holder("prj_ada", "key_ada", 7)
INVALID = "API key not valid. Please pass a valid API key."


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(caller_module, "time", made)
    return made


class Register:
    """Knows KEY; counts how often it is asked."""

    def __init__(self, *, passthrough: bool = False, cache_seconds: float = 5) -> None:
        self.known = {keys.digest(PEPPER, KEY): ADA}
        self.asked: list[bytes] = []
        self._authenticator = Authenticator(
            Versions(PEPPER), self._lookup, passthrough=passthrough, cache_seconds=cache_seconds
        )

    async def _lookup(self, digests: Versions[bytes]) -> Holder | None:
        self.asked.append(digests.current)
        return next((self.known[each] for each in digests.all() if each in self.known), None)

    async def caller(self, *headers: tuple[str, str], query: str = "") -> Caller:
        made = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        return await self._authenticator.caller(made, query.encode("latin-1"))

    async def refusal(self, *headers: tuple[str, str], query: str = "") -> str:
        with pytest.raises(Unauthenticated) as refused:
            await self.caller(*headers, query=query)
        assert refused.value.status == 401
        assert KEY not in refused.value.message
        return refused.value.message


PLACES: list[tuple[list[tuple[str, str]], str]] = [
    ([("x-goog-api-key", KEY)], ""),
    ([("authorization", f"Bearer {KEY}")], ""),
    ([("authorization", f"bearer  {KEY} ")], ""),
    ([], f"key={KEY}"),
    ([], f"alt=sse&key={KEY}&x=1"),
    ([("x-goog-api-key", KEY), ("authorization", f"Bearer {KEY}")], f"key={KEY}"),
    ([("x-goog-api-key", KEY), ("x-goog-api-key", KEY)], "key="),
    ([("x-goog-api-key", KEY), ("authorization", "Basic dTpw")], ""),
]


@pytest.mark.parametrize(("headers", "query"), PLACES)
async def test_a_key_is_found_wherever_it_is(headers, query):
    assert await Register().caller(*headers, query=query) == Caller("prj_ada", "key_ada", 7)


NOTHING: list[tuple[list[tuple[str, str]], str]] = [
    ([], ""),
    ([("x-goog-api-key", "")], "key="),
    ([("authorization", f"Basic {KEY}")], ""),
    ([("authorization", "Bearer")], ""),
    ([("x-api-key", KEY)], f"apikey={KEY}"),
]


@pytest.mark.parametrize(("headers", "query"), NOTHING)
async def test_without_a_key_one_is_asked_for(headers, query):
    message = "No API key. Pass it in the x-goog-api-key header."
    assert await Register().refusal(*headers, query=query) == message


CONFLICTS: list[tuple[list[tuple[str, str]], str]] = [
    ([("x-goog-api-key", KEY), ("x-goog-api-key", OTHER)], ""),
    ([("x-goog-api-key", KEY), ("authorization", f"Bearer {OTHER}")], ""),
    ([("x-goog-api-key", KEY)], f"key={OTHER}"),
    ([], f"key={KEY}&key={OTHER}"),
]


@pytest.mark.parametrize(("headers", "query"), CONFLICTS)
async def test_two_different_keys_are_refused_whatever_they_are(headers, query):
    register = Register()
    assert await register.refusal(*headers, query=query) == "Two different API keys in one request."
    assert register.asked == []


@pytest.mark.parametrize(
    "key", ["x", "AIzaSyA1234567890", KEY[:-1] + "!", KEY + "a", "é", "\x00", "k" * 5000]
)
async def test_what_cannot_be_a_key_is_refused_without_asking(key):
    register = Register()
    assert await register.refusal(("x-goog-api-key", key)) == INVALID
    assert await register.refusal(query=f"key=x{key}") == INVALID
    assert register.asked == []


async def test_an_unknown_key_gets_the_same_answer():
    register = Register()
    assert await register.refusal(("x-goog-api-key", OTHER)) == INVALID
    assert register.asked == [keys.digest(PEPPER, OTHER)]


@given(st.binary(max_size=30), st.binary(max_size=30))
async def test_no_bytes_at_all_get_in_or_upset_it(header, query):
    authenticator = Authenticator(Versions(PEPPER), Register()._lookup, passthrough=False, cache_seconds=0)
    with pytest.raises(Unauthenticated):
        await authenticator.caller(
            [(b"x-goog-api-key", header), (b"authorization", b"Bearer " + header)], query
        )
    with pytest.raises(Unauthenticated):
        await authenticator.caller([], b"key=" + query)


async def test_a_caller_is_remembered_for_a_moment(clock):
    register = Register(cache_seconds=5)
    for _ in range(3):
        await register.caller(("x-goog-api-key", KEY))
    assert len(register.asked) == 1
    clock.now += 4.9
    await register.caller(query=f"key={KEY}")
    assert len(register.asked) == 1
    clock.now += 0.2
    await register.caller(("x-goog-api-key", KEY))
    assert len(register.asked) == 2


async def test_a_revoked_key_works_no_longer_than_it_is_remembered(clock):
    register = Register(cache_seconds=5)
    await register.caller(("x-goog-api-key", KEY))
    register.known.clear()
    await register.caller(("x-goog-api-key", KEY))
    clock.now += 5.1
    assert await register.refusal(("x-goog-api-key", KEY)) == INVALID


async def test_what_is_remembered_is_forgotten_when_told_so(clock):
    register = Register(cache_seconds=5)
    await register.caller(("x-goog-api-key", KEY))
    register.known.clear()
    register._authenticator.forget()
    assert await register.refusal(("x-goog-api-key", KEY)) == INVALID


async def test_a4_an_answer_from_before_a_revocation_is_not_remembered(clock):
    """The key is looked up, then revoked and told so, and only then does the answer arrive."""
    asked = asyncio.Event()
    answers: list[Holder | None] = [ADA, None]
    arrived = asyncio.Event()

    async def lookup(_digests: Versions[bytes]) -> Holder | None:
        asked.set()
        await arrived.wait()
        return answers.pop(0)

    authenticator = Authenticator(Versions(PEPPER), lookup, passthrough=False, cache_seconds=5)
    headers = [(b"x-goog-api-key", KEY.encode())]
    first = asyncio.create_task(authenticator.caller(headers, b""))
    await asked.wait()
    authenticator.forget()
    arrived.set()
    assert (await first).project_id == "prj_ada"
    with pytest.raises(Unauthenticated):
        await authenticator.caller(headers, b"")


async def test_a_caller_stands_under_both_policies():
    project, key = rules.read({"rpm": 9, "deny_tools": ["bash"]}), rules.read({"rpm": 3, "models": ["a"]})
    register = Register()
    register.known[keys.digest(PEPPER, KEY)] = replace(
        ADA, key_name="ci", project_policy=project, key_policy=key
    )
    found = await register.caller(("x-goog-api-key", KEY))
    assert (found.key_name, found.project_policy, found.key_policy) == ("ci", project, key)
    assert found.policy == policy.combine(project, key)


async def test_a_key_is_used_from_its_networks_only():
    office = rules.read({"networks": ["10.0.0.0/8"]})
    headers = [(b"x-goog-api-key", KEY.encode()), (b"x-forwarded-for", b"10.1.1.1")]

    async def lookup(_digests: Versions[bytes]) -> Holder | None:
        return replace(ADA, project_policy=office)

    plain = Authenticator(Versions(PEPPER), lookup, passthrough=False, cache_seconds=5)
    assert (await plain.caller(headers, b"", ("10.2.3.4", 5))).address == "10.2.3.4"
    for peer in (("8.8.8.8", 5), ("", 0), None):
        with pytest.raises(PermissionDenied, match="networks"):
            await plain.caller(headers, b"", peer)
    proxied = Authenticator(
        Versions(PEPPER), lookup, passthrough=False, cache_seconds=5, addresses=Addresses(["192.0.2.0/24"])
    )
    assert (await proxied.caller(headers, b"", ("192.0.2.1", 5))).address == "10.1.1.1"
    with pytest.raises(PermissionDenied):
        await proxied.caller(headers[:1], b"", ("192.0.2.1", 5))


async def test_a_new_key_works_at_once():
    register = Register()
    await register.refusal(("x-goog-api-key", OTHER))
    register.known[keys.digest(PEPPER, OTHER)] = ADA
    assert (await register.caller(("x-goog-api-key", OTHER))).project_id == "prj_ada"


async def test_memory_is_bounded(monkeypatch, clock):
    monkeypatch.setattr(caller_module, "_CACHED", 3)
    register = Register()
    made = [keys.new_key() for _ in range(5)]
    register.known = {keys.digest(PEPPER, key): ADA for key in made}
    for key in made:
        await register.caller(("x-goog-api-key", key))
    assert len(register._authenticator._cache) == 3
    await register.caller(("x-goog-api-key", made[-1]))
    assert len(register.asked) == 5
    await register.caller(("x-goog-api-key", made[0]))
    assert len(register.asked) == 6


async def test_callers_may_bring_their_own_keys():
    register = Register(passthrough=True)
    register.known[keys.digest(PEPPER, "AIzaSyA1234567890")] = Holder("byok_1", None, None)
    found = await register.caller(("authorization", "Bearer AIzaSyA1234567890"))
    assert found == Caller("byok_1", None, None, credential="AIzaSyA1234567890")
    assert await register.refusal(("x-goog-api-key", "k" * 5000)) == INVALID
    assert await register.refusal(("x-goog-api-key", "a\x01b")) == INVALID


async def test_our_own_keys_are_never_handed_on():
    assert (await Register().caller(("x-goog-api-key", KEY))).credential is None


async def test_a11_a3_every_key_costs_one_question_whichever_pepper_it_was_made_with():
    """One that was made with the previous pepper is remembered under the current one."""
    current, previous, coming = (name * 32 for name in (b"c", b"p", b"n"))
    for made_with in (current, previous, coming):
        asked: list[Versions[bytes]] = []
        digest = keys.digest(made_with, KEY)

        async def lookup(
            digests: Versions[bytes], asked: list[Versions[bytes]] = asked, digest: bytes = digest
        ) -> Holder | None:
            asked.append(digests)
            return ADA if digest in digests.all() else None

        peppers = Versions(current, previous, coming)
        authenticator = Authenticator(peppers, lookup, passthrough=False, cache_seconds=60)
        for _ in range(3):
            assert (await authenticator.caller([(b"x-goog-api-key", KEY.encode())], b"")).key_id == "key_ada"
        with pytest.raises(Unauthenticated):
            await authenticator.caller([(b"x-goog-api-key", OTHER.encode())], b"")
        assert [len(digests.all()) for digests in asked] == [3, 3]
