"""Continuity: the events of one run, as several streams tell them, each told once.

A run that an upstream keeps outlives the connections that it is heard through. The next stream may
go on exactly where the last one stopped, repeat what came without ids, begin again from the start
in larger or smaller deltas, or be put together from the resource. What has been told is recognised
by what it says, so that of every event only what is new remains.

    the first stream         is only remembered
    interaction.created      the stream begins at the start: its steps are matched with the told ones
    a known index            is that step: its delta goes on behind what was said last with an id
    an unknown index         is a new step, unless it begins to tell all steps once more (`Trial`)
"""

from dataclasses import dataclass, field
from typing import Any

from app.core import events
from app.core.arriving import Arriving, Trial
from app.core.events import BrokenStream, Event
from app.core.pieces import Piece, deltas, pieces
from app.core.told import Differs, Place, Told

_STEP = frozenset({events.STEP_START, events.STEP_DELTA, events.STEP_STOP})


@dataclass(slots=True)
class _Stream:
    """The stream that is being taken in, when it is not the first one."""

    besides: int = 0
    """How many of the events that belong to no step it has told, or need not tell."""
    again: bool = False
    """Whether it tells everything from the start."""
    here: dict[int, Arriving] = field(default_factory=dict)
    """Steps of which it is not known yet what they are."""
    places: dict[int, tuple[Told, Place]] = field(default_factory=dict)
    """The others, and how far they have come."""
    found: set[Told] = field(default_factory=set)
    trials: list[Trial] = field(default_factory=list)
    stop: Event | None = None
    """Held back: the step may be told on under another index."""


class Continuity:
    """What has been told of a run, and what of the next event is new."""

    def __init__(self) -> None:
        self._log: list[Event] | None = []  # of the first stream, until another one begins
        self._steps: list[Told] = []
        self._next = 0
        self._known: dict[int, Told] = {}  # by the upstream's index
        self._opened = False
        self._besides: list[dict[str, Any]] = []  # told events that belong to no step
        self._since: dict[Told, Place] = {}  # where steps were at the last event with an id
        self._last: Told | None = None  # the step that it was in
        self._begun: list[Told] = []  # steps that have begun after it
        self._besides_then = 0
        self._has_ids = False
        self._now = _Stream()

    def take(self, event: Event) -> list[Event]:
        """What of this event is new: most often the event itself."""
        if self._log is not None:
            self._log.append(event)
            return [event]
        if not _is_sound(event):
            return [event]  # whoever folds it will say what is wrong with it
        now = self._now
        if now.trials:
            return self._try(event)
        stop, now.stop = now.stop, None
        if self._may_be_old(event):
            now.trials = [Trial(told, stop) for told in (self._steps, self._begun) if told]
            return self._try(event)
        before = self._sort(stop) if stop is not None else []
        if self._may_go_on_elsewhere(event):
            now.stop = event
            return before
        return [*before, *self._sort(event)]

    def reconnected(self) -> None:
        """From here on another stream of the same run is taken in."""
        log, self._log = self._log, None
        if log is not None:
            self._has_ids = any("event_id" in event.fields for event in log)
            for event in filter(_is_sound, log):
                self._remember(event)
        self._now = _Stream(besides=self._besides_then)

    # The first stream, as it is remembered when the second one begins

    def _remember(self, event: Event) -> None:
        if event.type not in _STEP:
            self._keep_beside(event)
            return
        index = event.fields["index"]
        if event.type == events.STEP_START:
            self._add_step(index, index, event)
        elif (told := self._known.get(index)) is not None:
            self._tell(told, event)

    def _add_step(self, theirs: int, ours: int, event: Event) -> Told:
        told = Told(ours, event.fields["step"]["type"])
        self._steps.append(told)
        self._next = max(self._next, ours + 1)
        self._known[theirs] = told
        self._tell(told, event)
        return told

    def _tell(self, told: Told, event: Event, said: list[Piece] | None = None) -> None:
        """This event is told of this step; `said` is what it adds, where that is known."""
        if self._is_anchor(event):
            self._anchor(told)
        elif event.type == events.STEP_START:
            self._begun.append(told)
        else:
            self._since.setdefault(told, told.end())
        if event.type == events.STEP_STOP:
            told.stopped = True
        else:
            told.add(pieces(event, told.type) if said is None else said)

    def _anchor(self, told: Told | None = None) -> None:
        """The next stream may begin here, in the middle of this step."""
        self._last = told or self._last
        self._since.clear()
        self._begun = []
        self._besides_then = len(self._besides)

    def _is_anchor(self, event: Event) -> bool:
        """Whether a stream can go on behind this event: it has an id, or would have one at Google."""
        if "event_id" in event.fields:
            self._has_ids = True
            return True
        delta = event.fields.get("delta")
        return not self._has_ids and isinstance(delta, dict) and delta.get("type") == "text"

    def _keep_beside(self, event: Event) -> None:
        if event.type == events.CREATED:
            self._opened = True
        elif event.type not in events.TERMINAL:
            self._besides.append(_without_ids(event))
            if "event_id" in event.fields:
                self._anchor()

    # Later streams

    def _may_be_old(self, event: Event) -> bool:
        """Whether a step begins of which only what follows shows that it is new."""
        index = event.fields.get("index")
        starts = event.type == events.STEP_START and index not in self._known
        return starts and not self._now.again and bool(self._steps)

    def _may_go_on_elsewhere(self, event: Event) -> bool:
        """Whether a step stops that may be told on under another index."""
        index = event.fields.get("index")
        if event.type != events.STEP_STOP or self._now.again or index is None or index in self._now.here:
            return False
        told = self._told(index)
        return told is not None and not told.stopped and told not in self._now.found

    def _try(self, event: Event) -> list[Event]:
        """Hold back what may have been told, until that is known."""
        trials = self._now.trials
        verdicts = [trial.verdict(event) for trial in trials]
        place = next((place for place, verdict in enumerate(verdicts) if verdict is not False), None)
        if place is not None and verdicts[place] is None:
            return []
        trial = trials[place or 0]
        self._now.trials = []
        before = trial.stop
        if place is not None:
            self._now.again = True
            self._now.found = {told for told in self._steps if told not in trial.told}
        if trial.told is self._steps and self._now.again:
            before, self._now.besides = None, 0
            self._now.places.clear()
        held = trial.held if before is None else [before, *trial.held]
        return [new for each in held for new in self._sort(each)]

    def _sort(self, event: Event) -> list[Event]:
        index = event.fields.get("index")
        if event.type not in _STEP or index is None:
            return self._beside(event)
        if event.type == events.STEP_START:
            self._now.here[index] = Arriving(self._candidates(index))
        if index in self._now.here:
            return self._decide(index, self._now.here[index], event)
        if index not in self._now.places:
            told = self._told(index)
            if told is None:
                return [event]  # it makes no sense, and whoever folds it will say so
            self._now.places[index] = told, self._since.get(told, told.end())
        return self._go_on(index, event)

    def _beside(self, event: Event) -> list[Event]:
        if event.type in events.TERMINAL:
            return [event]
        if event.type == events.CREATED:
            if not self._opened:
                self._opened = True
                return [event]
            self._now.again, self._now.besides = True, 0
            return []
        said = _without_ids(event)
        if said in self._besides[self._now.besides :]:
            self._now.besides = self._besides.index(said, self._now.besides) + 1
            return []
        self._keep_beside(event)
        self._now.besides = len(self._besides)
        return [event]

    def _candidates(self, index: int) -> list[Told]:
        if self._now.again:
            return [told for told in self._steps if told not in self._now.found]
        return [self._known[index]] if index in self._known else []

    def _decide(self, index: int, arriving: Arriving, event: Event) -> list[Event]:
        if not arriving.decide(event):
            return []
        del self._now.here[index]
        told = arriving.step
        if told is not None and told not in self._now.found:
            self._now.found.add(told)
            self._known[index] = told
            self._now.places[index] = told, Place()
            start, *more = arriving.held
            made = self._go_on(index, start)
        else:
            start, *more = arriving.held
            told = self._add_step(index, self._next, start)
            self._now.found.add(told)
            self._now.places[index] = told, told.end()
            made = [_under(told.index, start)]
        return [*made, *(new for each in more for new in self._go_on(index, each))]

    def _go_on(self, index: int, event: Event) -> list[Event]:
        """More of a step that is known."""
        told, place = self._now.places[index]
        if event.type == events.STEP_STOP:
            if told.stopped:
                return []
            self._tell(told, event)
            return [_under(told.index, event)]
        said = pieces(event, told.type)
        try:
            place, rest = told.rest(place, said)
        except Differs:
            if self._now.again:
                raise BrokenStream(f"step {index} is told differently than before") from None
            place, rest = told.rest(told.end(), said)
        if rest and told.stopped:
            raise BrokenStream(f"step {index} has already stopped")
        self._now.places[index] = told, place
        if not rest:
            return []
        self._tell(told, event, rest)
        self._now.places[index] = told, told.catch_up(place, rest)
        if rest == said and event.type == events.STEP_DELTA:
            return [_under(told.index, event)]
        more = {name: value for name, value in event.fields.items() if name == "event_id"}
        return [
            Event(events.STEP_DELTA, {**events.step_delta(told.index, delta).fields, **more})
            for delta in deltas(rest, told.type)
        ]

    def _told(self, index: int) -> Told | None:
        """The step that an event without a `step.start` in this stream belongs to."""
        if index in self._now.places:
            return self._now.places[index][0]
        if index in self._known:
            return self._known[index]
        return self._last or next((told for told in reversed(self._steps) if not told.stopped), None)


def _is_sound(event: Event) -> bool:
    """Whether an event of a step has what makes it one."""
    if event.type not in _STEP:
        return True
    fields = event.fields
    body = {events.STEP_START: fields.get("step"), events.STEP_DELTA: fields.get("delta")}.get(event.type, {})
    typed = event.type == events.STEP_STOP or (isinstance(body, dict) and isinstance(body.get("type"), str))
    return typed and type(fields.get("index")) is int


def _under(index: int, event: Event) -> Event:
    """The event with this index."""
    if event.fields["index"] == index:
        return event
    return Event(event.type, {**event.fields, "index": index})


def _without_ids(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.fields.items() if name not in ("event_id", "interaction_id")}
