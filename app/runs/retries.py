"""Retries: a request that is sent again because its client gave up waiting is not executed again.

SDKs do that by themselves, some after a minute and five times, with nothing that says so. What
they send is the same bytes from the same key, while the run of the first copy goes on without its
client, or has ended a moment ago unread. Such a request is given that run instead of a new one.

Known in this process only: a look into the database for every request would cost all of them, and
clients that come back mostly do so over the same balancer. Elsewhere a retry is a new run, as it
would be without any of this; `Idempotency-Key` is what holds everywhere.
"""

import asyncio
from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from app.core import status
from app.core.model import Interaction

Finished = asyncio.Future[Interaction | None]
"""Resolves at the end of a run; see Run."""

_MOST = 10_000
_UNREAD_SECONDS = 60.0


class Asked(NamedTuple):
    """A request by what makes it the same as another one: who asks, and what.

    The dialect is part of it, because the same bytes may ask for something else in the other one.
    Other headers are not: a retry may be numbered, and nothing else changes what is executed.
    """

    project_id: str
    key_id: str | None
    dialect: str
    fingerprint: bytes


class Retries:
    """Remembers the runs that clients have left, up to `most`, until `seconds` after their end.

    Only their ids: what is handed to a retry is read from the run where it still lives, and else
    from the store, where a delete has the last word.
    """

    def __init__(self, seconds: float = _UNREAD_SECONDS, most: int = _MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._left: OrderedDict[str, Asked] = OrderedDict()
        self._unread: dict[Asked, OrderedDict[str, None]] = {}
        """The same runs by what was asked, those that were left first in front."""

    def left(self, asked: Asked, interaction_id: str, finished: Finished) -> None:
        """A client has left this stored run before it had the whole answer.

        Or because its failure was the answer: that one is not handed to whoever asks next.
        """
        self._forget(interaction_id)
        if finished.done() and not _is_result(finished):
            return
        self._left[interaction_id] = asked
        self._unread.setdefault(asked, OrderedDict())[interaction_id] = None
        if len(self._left) > self._most:
            self._forget(next(iter(self._left)))
        finished.add_done_callback(partial(self._ended, interaction_id))

    def again(self, asked: Asked) -> str | None:
        """The id of a run that this request was made for already, and that is its own from now on.

        Two copies get two runs, if two were left: to ask the same thing twice is nobody's mistake.
        """
        unread = self._unread.get(asked)
        if unread is None:
            return None
        interaction_id = next(iter(unread))
        self._forget(interaction_id)
        return interaction_id

    def _ended(self, interaction_id: str, finished: Finished) -> None:
        """Keep a result for a while."""
        if _is_result(finished):
            finished.get_loop().call_later(self._seconds, self._forget, interaction_id)
        else:
            self._forget(interaction_id)

    def _forget(self, interaction_id: str) -> None:
        asked = self._left.pop(interaction_id, None)
        if asked is None:
            return
        unread = self._unread[asked]
        del unread[interaction_id]
        if not unread:
            del self._unread[asked]


def _is_result(finished: Finished) -> bool:
    """Whether there is something to tell. A failure or a cancel is none: who asks again wants another try."""
    result = finished.result()
    return result is not None and result.status not in {status.FAILED, status.CANCELLED}
