"""Which told step it is that a stream tells again: known as soon as only one answer is left."""

from collections import deque
from collections.abc import Iterable, Sequence

from app.core import events
from app.core.events import Event
from app.core.pieces import pieces
from app.core.told import Differs, Place, Told


class Arriving:
    """A step as one stream tells it, and the told steps that it may be, the likeliest first."""

    def __init__(self, candidates: Iterable[Told]) -> None:
        self._candidates = deque(candidates)
        self._place = Place()
        self._ahead = False
        self.held: list[Event] = []

    @property
    def step(self) -> Told | None:
        """What it is, or seems to be, a telling of; None when it is a new step."""
        return self._candidates[0] if self._candidates else None

    def decide(self, event: Event) -> bool:
        """Take more of the step in; whether it is known now what it is."""
        self.held.append(event)
        again = [event]
        while self._candidates:
            try:
                return any(self._decides(self._candidates[0], each) for each in again)
            except Differs:
                self._candidates.popleft()
                self._place, self._ahead, again = Place(), False, self.held
        return True

    def _decides(self, told: Told, event: Event) -> bool:
        """Whether the event shows that this is the step: it goes on behind its end, or ends with it."""
        if event.type == events.STEP_STOP:
            if not told.is_covered(self._place):
                raise Differs
            return True
        if event.type == events.STEP_START and event.fields["step"].get("type") != told.type:
            raise Differs
        self._place, rest = told.rest(self._place, pieces(event, told.type))
        if rest and told.stopped:
            raise Differs
        self._ahead = self._ahead or bool(rest)
        return self._ahead and told.is_covered(self._place)


class Trial:
    """Finds out whether new indices are new steps, or told ones once more.

    An upstream may answer "what comes after this event" with the rest of its step and then
    everything from the start, under indices that it has not used before. It does so in order, and
    to the end: one step that is another, or one told step that does not come, is an acquittal.
    """

    def __init__(self, told: Sequence[Told], stop: Event | None = None) -> None:
        self.told = told
        self.stop = stop
        """The stop before all this, which is none when a step is told on under another index."""
        self._left = deque(told)
        self._open: dict[int, Arriving] = {}
        self._found = 0
        self._all = len(told)
        self._verdict: bool | None = None
        self.held: list[Event] = []

    def verdict(self, event: Event) -> bool | None:
        """Take an event in: True when it all was told before, False when not, None when that is open."""
        self.held.append(event)
        if self._verdict is None:
            self._verdict = self._judge(event)
        return self._verdict

    def _judge(self, event: Event) -> bool | None:
        if event.type in events.TERMINAL:
            ends = [events.step_stop(index) for index in self._open]
            return not any(self._sees(end) is False for end in ends) and self._found == self._all
        if self._sees(event) is False:
            return False
        return True if self._found == self._all else None

    def _sees(self, event: Event) -> bool | None:
        """False when this event cannot be of a told step."""
        index = event.fields.get("index")
        if event.type == events.STEP_START:
            if not self._left:
                return False
            self._open[index] = Arriving([self._left.popleft()])  # type: ignore[index]
        arriving = self._open.get(index)  # type: ignore[arg-type]
        if arriving is None or not arriving.decide(event):
            return None
        if arriving.step is None:
            return False
        del self._open[index]  # type: ignore[arg-type]
        self._found += 1
        return self._found == self._all or event.type == events.STEP_STOP
