"""Row C3 of the fault list: ids of events that an interaction has not, not yet, or no longer."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.runs.conftest import Replicas
from tests.support.client import Client, Heard
from tests.support.records import Records
from tests.support.runs import SAID, STREAM, asked_for, begin, cancel, ended, post, slowly, written
from tests.support.upstream import HANG, ScriptedUpstream, sse

OUTPUTS = {"api-revision": "2026-01-01"}


async def refusals(client: Client, found: str, ids: Iterable[str]) -> set[bytes]:
    """What these event ids are answered; a refusal each."""
    answers: list[Heard] = await asyncio.gather(*(client.replay(found, after=each) for each in ids))
    assert {heard.status for heard in answers} == {400}, answers
    return {heard.body for heard in answers}


def strange(found: str, last: int) -> list[str]:
    """Ids that no event has, or that are beyond the end."""
    numbers = [f"{last + 1}", "0", "-1", "1.0", "1e3", "9" * 30, "01", "", "x", "1-", "1-0", "r1", "\u0661"]
    return [
        *(f"{found[-8:]}_{each}" for each in numbers),
        "",
        "1",
        "v1_other_1",
        "x" * 5000,
        "a\nb",
        "' OR 1",
    ]


async def test_c3_of_a_running_and_of_an_ended_background_run(
    here: Client, there: Client, behind: ScriptedUpstream, replicas: Replicas
) -> None:
    behind.script(STREAM + sse(*SAID[:4]), HANG)
    found, other = await begin(here), await begin(here, input="other")
    await asked_for(behind, 2)
    for each in (found, other):
        await written(replicas.one, condition=f"interaction_id = '{each}' AND last_seq >= 4")
    said = set()
    for client in (here, there):
        said |= await refusals(client, found, [*strange(found, 4), f"{other[-8:]}_1"])
    for each in (found, other):
        await cancel(there, each)
    last = len((await here.replay(found)).events)
    for client in (here, there):
        said |= await refusals(client, found, [*strange(found, last), f"{other[-8:]}_1"])
    assert len(said) == 1, "one text for whatever is wrong"
    alone = await here.get(found, last_event_id=f"{found[-8:]}_1")
    assert alone.status == 400


@pytest.mark.parametrize("headers", [{}, OUTPUTS], ids=["steps", "outputs"])
async def test_c3_of_a_log_that_was_compacted(
    here: Client, there: Client, behind: ScriptedUpstream, replicas: Replicas, headers: dict[str, str]
) -> None:
    """What was counted while it ran says nothing about the stream that is made of the stored steps."""
    behind.script(*slowly(0))
    begun = await post(here, headers, background=True)
    await ended(here, begun.id)
    url, query = f"/v1beta/interactions/{begun.id}", {"stream": "true"}
    live = await here._hear("GET", url, params=query, headers=headers)
    with Records(replicas.one.database_url) as records:  # as the sweeper does
        records.change(f"DELETE FROM interaction_events WHERE interaction_id = '{begun.id}'")
        records.change(f"UPDATE interactions SET last_seq = 0 WHERE id = '{begun.id}'")
    for client in (here, there):
        whole = await client._hear("GET", url, params=query, headers=headers)
        assert whole.done
        of_both = [{each["event_id"] for each in heard.events} for heard in (live, whole)]
        assert not of_both[0] & of_both[1]
        assert len(await refusals(client, begun.id, of_both[0])) == 1
        frames = whole.body.split(b"\n\n")
        for number, event in enumerate(whole.events, 1):
            more = {**query, "last_event_id": event["event_id"]}
            rest = await client._hear("GET", url, params=more, headers=headers)
            assert rest.body == b"\n\n".join(frames[number:])
        beyond = f"{begun.id[-8:]}_r{len(whole.events) + 1}"
        if not headers:
            await refusals(client, begun.id, [beyond])
