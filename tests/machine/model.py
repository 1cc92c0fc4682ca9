"""What is known of one interaction: what was asked, what has been done to it, and what has been heard."""

from dataclasses import dataclass, field

from tests.fault.evidence import Frame

RUNNING = ("queued", "in_progress")
REVISIONS = {"steps": "2026-05-20", "outputs": "2025-12-11"}


@dataclass
class Known:
    """An interaction that is stored, as its clients know it."""

    id: str
    streamed: bool
    background: bool
    parent: "Known | None" = None
    deleted: bool = False
    expired: bool = False
    cancelled: bool = False
    followed: bool = False
    kills: int = 0
    ending: str | None = None
    heard: dict[str, list[Frame]] = field(default_factory=lambda: {name: [] for name in REVISIONS})

    @property
    def hidden(self) -> bool:
        """Whether nobody may find it any more."""
        return self.deleted or self.expired

    @property
    def ended(self) -> bool:
        """Whether it was seen to have ended."""
        return self.ending is not None

    @property
    def must_complete(self) -> bool:
        """Whether nothing has happened that could keep it from its end: it may be run again, once."""
        return not self.cancelled and (self.kills == 0 or (self.background and not self.followed))

    @property
    def broken(self) -> bool:
        """Whether an ancestor is gone, so that it cannot be continued any more."""
        above = self.parent
        while above is not None:
            if above.deleted:
                return True
            above = above.parent
        return False

    def see(self, status: str) -> None:
        """A status that was told: the first that ends it is the last."""
        assert status in (*RUNNING, "completed", "failed", "cancelled"), status
        if self.ending is not None:
            assert status == self.ending, f"{self.id} was {self.ending} and is {status}"
        elif status not in RUNNING:
            self.ending = status
            if status == "cancelled":
                assert self.cancelled, f"{self.id} was never to be cancelled"
            if status == "failed":
                assert not self.must_complete, f"{self.id} has failed for no reason"

    def hear(self, dialect: str, after: str | None, frames: list[Frame]) -> None:
        """Events that were told: in a row, and never otherwise than they were heard before."""
        heard = self.heard[dialect]
        places = {frame.id: place for place, frame in enumerate(heard)}
        begin = 0 if after is None else places[after] + 1
        for place, frame in enumerate(frames, begin):
            if place < len(heard):
                assert heard[place].text == frame.text, f"{self.id} was heard otherwise: {frame.text[:200]!r}"
            else:
                assert frame.id not in places, f"{self.id}: event {frame.id} comes twice"
                places[frame.id] = place
                heard.append(frame)
