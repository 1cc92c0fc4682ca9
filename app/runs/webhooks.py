"""Webhooks: what an interaction's end has to be told to, and the loop that tells it.

Deliveries are committed with the end itself; from then on any process may make them, until a
receiver has answered with 2xx. A receiver may hear the same one twice, never none.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable

import orjson
from yarl import URL

from app import log
from app.auth import pepper
from app.core.model import Interaction
from app.core.versions import Versions
from app.egress import Poster, Unreachable
from app.errors import ApiError
from app.settings import Egress
from app.store.webhooks import Attempt, Delivery, Webhooks
from app.wire import webhooks as wire_webhooks

_SLOTS = 32
_OF_PROJECT = 16
_OF_URL = 4
_POLL = 5.0
_SETTLING = 30.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 3600.0
_GONE = 410
_HOUR_MS = 3_600_000


def deliveries(interaction: Interaction) -> tuple[Delivery, ...]:
    """What is to be delivered now that this interaction has ended; nothing of one that is not kept."""
    if not interaction.id or f'"{wire_webhooks.FIELD}"'.encode() not in interaction.options:
        return ()
    config = orjson.loads(interaction.options).get(wire_webhooks.FIELD)
    if not config:
        return ()
    body = wire_webhooks.notice(interaction, config)
    return tuple(
        Delivery(f"msg_{interaction.id}_{number}", interaction.project_id, interaction.id, uri, body)
        for number, uri in enumerate(dict.fromkeys(config["uris"]), start=1)
    )


def pause(failures: int, chance: float) -> float:
    """The seconds from a failed attempt to the next: doubled each time, up to an hour.

    `chance`, from 0 to 1, scatters them, so that a receiver that comes back is not met by all at once.
    """
    doubled = _FIRST_PAUSE * (1 << min(failures - 1, 16))
    return min(doubled, _LONGEST_PAUSE) * (1 + chance) / 2


class Messenger:
    """A loop that makes what deliveries are due, some at a time.

    No URL and no project can have all of its slots: whoever answers slowly holds up nobody else.
    """

    def __init__(
        self, webhooks: Webhooks, poster: Poster, peppers: Versions[bytes], settings: Egress
    ) -> None:
        self._webhooks = webhooks
        self._poster = poster
        self._peppers = peppers
        self._lease_ms = int((settings.seconds + _SETTLING) * 1000)
        self._retry_ms = settings.retry_hours * _HOUR_MS
        self._due = asyncio.Event()
        self._under_way: dict[str, Delivery] = {}

    def hint(self) -> None:
        """There may be something to deliver now; without a hint it is found a few seconds later."""
        self._due.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is cut short by that is delivered again by somebody else."""
        async with self._poster, asyncio.TaskGroup() as attempts:
            while True:
                self._due.clear()
                try:
                    await self._begin(attempts)
                except ApiError as error:
                    log.event(logging.WARNING, "no webhooks", reason=error.message)
                except Exception:  # noqa: BLE001 - a fault of ours costs a round, not the loop
                    log.logger().exception("webhooks failed in a way nobody foresaw")
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_POLL):
                await self._due.wait()
        except TimeoutError:
            return

    async def _begin(self, attempts: asyncio.TaskGroup) -> None:
        """Take as much as there are slots for. Little at a time, so that shares are not overdrawn by much."""
        while (free := _SLOTS - len(self._under_way)) > 0:
            taken = await self._webhooks.take(
                min(free, _OF_URL),
                self._lease_ms,
                _full((each.url for each in self._under_way.values()), _OF_URL),
                _full((each.project_id for each in self._under_way.values()), _OF_PROJECT),
            )
            for attempt in taken:
                self._under_way[attempt.delivery.id] = attempt.delivery
                attempts.create_task(self._make(attempt))
            if not taken:
                return

    async def _make(self, attempt: Attempt) -> None:
        try:
            await self._settle(attempt, await self._told(attempt))
        except ApiError as error:
            log.event(logging.WARNING, "a webhook was not settled", reason=error.message)
        except Exception:  # noqa: BLE001 - it is tried again when its lease runs out
            log.logger().exception("a webhook failed in a way nobody foresaw")
        finally:
            del self._under_way[attempt.delivery.id]
            self.hint()

    async def _told(self, attempt: Attempt) -> int | str:
        """The receiver's status, or why there is none."""
        delivery = attempt.delivery
        keys = self._peppers.map(lambda each: pepper.webhook_secret(each, delivery.project_id)).all()
        headers = wire_webhooks.headers(keys, delivery.id, int(time.time()), delivery.body)
        try:
            return await self._poster.post(delivery.url, delivery.body, headers)
        except Unreachable as error:
            return str(error)

    async def _settle(self, attempt: Attempt, answer: int | str) -> None:
        wait_ms = int(pause(attempt.number, secrets.randbelow(1001) / 1000) * 1000)
        if isinstance(answer, int) and 200 <= answer < 300:
            outcome = "delivered"
        elif answer == _GONE or attempt.age_ms + wait_ms > self._retry_ms:
            outcome = "given up"
        else:
            outcome = "tried again later"
        if outcome == "tried again later":
            await self._webhooks.later(attempt, wait_ms)
        else:
            await self._webhooks.done(attempt.delivery.id)
        _log(attempt, outcome, answer)


def _log(attempt: Attempt, outcome: str, answer: int | str) -> None:
    """The receiver's host and no more of the URL: paths and queries hold secrets."""
    log.event(
        logging.INFO if outcome == "delivered" else logging.WARNING,
        "webhook",
        id=attempt.delivery.id,
        project=attempt.delivery.project_id,
        host=URL(attempt.delivery.url).raw_host,
        attempt=attempt.number,
        answer=answer,
        outcome=outcome,
    )


def _full(used: Iterable[str], share: int) -> list[str]:
    return [name for name, times in Counter(used).items() if times >= share]
