"""Retries: a request that is sent again gets the run that its client has left."""

import asyncio

import pytest

from app.core.model import Interaction
from app.runs.retries import Asked, Finished, Retries
from tests.support import PATIENCE

ASKED = Asked("prj", "key", "steps", b"digest")


def going() -> Finished:
    return asyncio.get_running_loop().create_future()


def result(status: str = "completed") -> Interaction:
    return Interaction(
        id="v1_run",
        project_id="prj",
        status=status,
        created_at=1,
        updated_at=2,
        model="m",
        agent=None,
        parent_id=None,
        root_id="v1_run",
        depth=0,
        background=False,
        options=b"{}",
        input=b"[]",
        output=b"[]",
        details=b"{}",
        error=None,
        last_seq=0,
        history_bytes=0,
    )


async def test_a_retry_gets_the_run_that_was_left_and_nobody_gets_it_again() -> None:
    retries = Retries()
    assert retries.again(ASKED) is None
    retries.left(ASKED, "v1_run", going())
    assert retries.again(ASKED) == "v1_run"
    assert retries.again(ASKED) is None


@pytest.mark.parametrize(
    "other",
    [
        ASKED._replace(project_id="prj_2"),
        ASKED._replace(key_id="key_2"),
        ASKED._replace(key_id=None),
        ASKED._replace(dialect="outputs"),
        ASKED._replace(fingerprint=b"other"),
    ],
    ids=["project", "key", "no key", "dialect", "body"],
)
async def test_another_request_does_not_get_it(other: Asked) -> None:
    retries = Retries()
    retries.left(ASKED, "v1_run", going())
    assert retries.again(other) is None
    assert retries.again(ASKED) == "v1_run"


async def test_two_copies_get_the_two_runs_that_were_left() -> None:
    retries = Retries()
    retries.left(ASKED, "v1_first", going())
    retries.left(ASKED, "v1_second", going())
    assert [retries.again(ASKED) for _ in range(3)] == ["v1_first", "v1_second", None]


async def test_who_leaves_again_may_come_again() -> None:
    retries, finished = Retries(), going()
    for _ in range(5):
        retries.left(ASKED, "v1_run", finished)
        assert retries.again(ASKED) == "v1_run"


async def test_a_result_is_there_for_a_while_and_then_forgotten() -> None:
    retries, finished = Retries(seconds=0.2), going()
    retries.left(ASKED, "v1_run", finished)
    await asyncio.sleep(0.3)  # it is the end that counts, however long the run takes
    finished.set_result(result())
    await asyncio.sleep(0)
    assert retries.again(ASKED) == "v1_run"
    retries.left(ASKED, "v1_run", finished)  # read only in part, once more
    async with asyncio.timeout(PATIENCE):
        while retries._left:
            await asyncio.sleep(0.01)
    assert retries.again(ASKED) is None
    assert retries._unread == {}


@pytest.mark.parametrize("status", [None, "failed", "cancelled"])
async def test_what_ended_without_a_result_is_tried_anew(status: str | None) -> None:
    retries, finished = Retries(), going()
    retries.left(ASKED, "v1_run", finished)
    finished.set_result(result(status) if status else None)
    await asyncio.sleep(0)
    assert retries.again(ASKED) is None
    assert (dict(retries._left), retries._unread) == ({}, {})


@pytest.mark.parametrize("status", [None, "failed", "cancelled"])
async def test_what_has_failed_already_is_never_handed_on(status: str | None) -> None:
    """Not even in the moment before anybody is told of its end."""
    retries, finished = Retries(), going()
    finished.set_result(result(status) if status else None)
    retries.left(ASKED, "v1_run", finished)
    assert retries.again(ASKED) is None
    assert (dict(retries._left), retries._unread) == ({}, {})


async def test_a_run_that_needs_an_answer_is_a_result() -> None:
    retries, finished = Retries(), going()
    retries.left(ASKED, "v1_run", finished)
    finished.set_result(result("requires_action"))
    await asyncio.sleep(0)
    assert retries.again(ASKED) == "v1_run"


async def test_the_oldest_are_forgotten_past_the_limit() -> None:
    retries = Retries(most=3)
    requests = [ASKED._replace(fingerprint=bytes([number])) for number in range(5)]
    for number, asked in enumerate(requests):
        retries.left(asked, f"v1_{number}", going())
    assert len(retries._left) == len(retries._unread) == 3
    assert [retries.again(asked) for asked in requests] == [None, None, "v1_2", "v1_3", "v1_4"]
