"""Runs that an upstream keeps: followed over as many connections as it takes.

    stream     the answer to the POST, then GET ?stream=true behind the last event with an id
    poll       GET every few seconds, where streams break, are refused or fall silent too often

Whatever comes twice is told once: `app.core.continuity`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from app.core import events, status
from app.core.continuity import Continuity
from app.core.events import BrokenStream, Event
from app.core.model import Json, Kept
from app.core.unfold import unfold
from app.errors import ApiError
from app.upstream.calls import Calls, are_steps, ended, without_steps

_NO_USAGE = frozenset({status.CANCELLED, status.FAILED})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a kept run is followed that tells nothing, in seconds and attempts."""

    attempts: int = 8
    streams: int = 3
    """After so many attempts without progress it is polled."""
    pause: float = 0.5
    longest_pause: float = 15
    poll: float = 5
    usage: tuple[float, ...] = (1, 2, 4)


class KeptRun:
    """One run at the upstream, and what has been told of it."""

    def __init__(
        self, calls: Calls, patience: Patience, kept: Kept | None = None, told: Continuity | None = None
    ) -> None:
        self._calls = calls
        self._patience = patience
        self._told = told or Continuity()
        self._id = kept.id if kept else ""
        self._last_event_id = kept.last_event_id if kept else None
        self._fruitless = 0
        self._polls = False

    async def events(self, first: AsyncGenerator[Event] | None = None) -> AsyncGenerator[Event]:
        """Its events to the end, each once; `first` is the stream that has been opened already.

        Raises ApiError when the upstream does not have it, or tells nothing more for too long.
        """
        heard = first or self._go_on()
        while True:
            try:
                async with aclosing(heard):
                    async for event in heard:
                        async for new in self._new(event):
                            yield new
                            if new.type in events.TERMINAL:
                                return
                self._give_up_after(self._calls.failures.broken("it ends before the interaction does"))
            except BrokenStream as error:
                self._give_up_after(self._calls.failures.broken(error))
                self._last_event_id = None
            except ApiError as error:
                self._give_up_after(error)
            await asyncio.sleep(self._pause())
            self._fruitless += 1
            self._told.reconnected()
            heard = self._go_on()

    async def _new(self, event: Event) -> AsyncIterator[Event]:
        """What is to be told of an event."""
        if event.type == events.CREATED:
            self._id = self._id or _id_of(event.fields.get("interaction"))
        elif event.type == events.COMPLETED and _goes_on(event):
            return
        elif event.type == events.COMPLETED:
            event = await self._with_usage(event)
        elif event.type == events.ERROR and self._id:
            await self._must_have_failed(event)
        for new in self._told.take(event):
            self._fruitless = 0
            event_id = new.fields.get("event_id")
            self._last_event_id = event_id if isinstance(event_id, str) else self._last_event_id
            yield new

    def _go_on(self) -> AsyncGenerator[Event]:
        if self._polls or self._fruitless > self._patience.streams:
            return self._poll()
        return self._calls.follow(self._id, self._last_event_id)

    def _pause(self) -> float:
        if not self._fruitless:
            return 0
        return min(self._patience.longest_pause, self._patience.pause * 2.0 ** (self._fruitless - 1))

    def _give_up_after(self, error: ApiError) -> None:
        """Decide what is left to try after this; raise it when nothing is."""
        if not self._id or self._fruitless >= self._patience.attempts:
            raise error
        if not 400 <= error.status < 500 or error.status in (408, 429):
            return
        if self._polls:
            raise self._gone() if error.status == 404 else error
        self._polls = self._last_event_id is None or error.status == 404
        self._last_event_id = None

    def _gone(self) -> ApiError:
        return ApiError(
            "The upstream does not have this interaction any more.", status=502, code="bad_gateway"
        )

    async def _poll(self) -> AsyncGenerator[Event]:
        """The whole run from its resource, once it has ended."""
        self._polls = True
        while not ended(interaction := await self._calls.get(self._id)):
            self._fruitless = 0
            await asyncio.sleep(self._patience.poll)
        for event in self.from_resource(interaction):
            yield event

    def from_resource(self, interaction: Json) -> list[Event]:
        """The events of a run that has ended. Raises BrokenStream."""
        steps = interaction.get("steps") or []
        if not are_steps(steps):
            raise BrokenStream("steps that are none")
        while steps and steps[0]["type"] == "user_input":
            steps = steps[1:]  # a GET shows the question before the answer
        errors = interaction.get("errors")
        if interaction["status"] == status.FAILED and isinstance(errors, list) and errors:
            failed = self._calls.failures.reported(errors[0])
            last = events.error(failed.code, failed.message)
        else:
            last = events.completed(without_steps(interaction))
        return [events.created({"id": self._id}), *unfold(steps), last]

    async def _must_have_failed(self, error: Event) -> None:
        """A stream may end with an error although the run goes on. Raises ApiError when it does."""
        try:
            interaction = await self._calls.get(self._id)
        except ApiError:
            return
        if interaction.get("status") == status.FAILED:
            return
        self._polls = ended(interaction)
        raise self._calls.failures.reported(error.fields["error"])

    async def _with_usage(self, completed: Event) -> Event:
        """The end of the run; its usage may arrive seconds later."""
        interaction = completed.fields.get("interaction")
        if not isinstance(interaction, dict) or "usage" in interaction or not self._id:
            return completed
        if interaction.get("status") in _NO_USAGE:
            return completed
        for pause in self._patience.usage:
            await asyncio.sleep(pause)
            try:
                late = (await self._calls.get(self._id)).get("usage")
            except ApiError:
                continue
            if late is not None:
                return Event(
                    completed.type, {**completed.fields, "interaction": {**interaction, "usage": late}}
                )
        return completed


def _id_of(interaction: object) -> str:
    found = interaction.get("id") if isinstance(interaction, dict) else None
    return found if isinstance(found, str) else ""


def _goes_on(completed: Event) -> bool:
    """Whether this end says that it is none."""
    interaction = completed.fields.get("interaction")
    said = interaction.get("status") if isinstance(interaction, dict) else None
    return isinstance(said, str) and not status.is_terminal(said)
