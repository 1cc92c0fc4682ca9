"""The machine: every rule is something that happens to a gateway; the invariants hold after each."""

import secrets
import time
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fault.evidence import DONE, Frame, frame_of, text_of
from tests.machine.model import REVISIONS, Known
from tests.support.gateway import Gateway
from tests.support.records import Records

_PATH = "/v1beta/interactions"
_PATIENCE = 60.0
_SOME = 3
"""So many there are before any goes away, or there would be little to do."""

dialects = st.sampled_from([*REVISIONS])
picks = st.integers(0, 99)
parents = st.one_of(st.none(), picks)
slow = st.booleans()


class Machine(RuleBasedStateMachine):
    """Clients of one gateway, and the hand that kills it."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway
        self._known: list[Known] = []
        self._killed = False
        self._http = httpx.Client(
            base_url=gateway.url, headers={"x-goog-api-key": gateway.key}, timeout=_PATIENCE, trust_env=False
        )

    @initialize()
    def begin(self) -> None:
        """With something that can be continued, and something that runs."""
        self.ask(dialect="steps", store=True, parent=None)
        self.begin_in_background(dialect="steps", parent=None, slowly=True)

    # --- what clients do ---

    @rule(dialect=dialects, store=st.booleans(), parent=parents)
    def ask(self, dialect: str, store: bool, parent: int | None) -> None:
        """A unary call."""
        above = self._pick(parent)
        answer = self._post(dialect, above, tokens=3, store=store)
        if answer is None:
            return
        told = answer.json()
        assert told["status"] == "completed"
        assert ("id" in told) == store
        if store:
            self._learn(told["id"], above, streamed=False).see("completed")

    @rule(dialect=dialects, store=st.booleans(), parent=parents, slowly=slow, count=st.integers(1, 30))
    def stream(self, dialect: str, store: bool, parent: int | None, slowly: bool, count: int) -> None:
        """A stream; the client leaves after some events."""
        above = self._pick(parent)
        self._stream(dialect, above, slowly, count, store=store)

    @rule(dialect=dialects, parent=parents, slowly=slow)
    def begin_in_background(self, dialect: str, parent: int | None, slowly: bool) -> None:
        """A background run: answered at once."""
        above = self._pick(parent)
        answer = self._post(dialect, above, tokens=_tokens(slowly), background=True)
        if answer is not None:
            told = answer.json()
            self._learn(told["id"], above, background=True, followed=False).see(told["status"])

    @rule(dialect=dialects, parent=parents, slowly=slow, count=st.integers(1, 30))
    def stream_in_background(self, dialect: str, parent: int | None, slowly: bool, count: int) -> None:
        """A background run, watched until the client leaves."""
        above = self._pick(parent)
        self._stream(dialect, above, slowly, count, background=True)

    @rule(pick=picks, dialect=dialects, count=st.integers(1, 30))
    def follow(self, pick: int, dialect: str, count: int) -> None:
        """From the beginning; the reader leaves after some events."""
        self._read(self._known[pick % len(self._known)], dialect, None, count)

    @rule(pick=picks, dialect=dialects, count=st.one_of(st.none(), st.integers(1, 30)))
    def resume(self, pick: int, dialect: str, count: int | None) -> None:
        """From where somebody left, perhaps to the end."""
        known = self._known[pick % len(self._known)]
        heard = known.heard[dialect]
        self._read(known, dialect, heard[-1].id if heard else None, count)

    @rule(pick=picks, dialect=dialects)
    def cancel(self, pick: int, dialect: str) -> None:
        """What runs in the background is cancelled; it may just have ended."""
        known = self._known[pick % len(self._known)]
        known.cancelled = known.cancelled or (known.background and not known.ended)
        answer = self._http.post(f"{_PATH}/{known.id}/cancel", headers=_headers(dialect))
        if known.hidden:
            assert answer.status_code == 404, answer.text
        elif answer.status_code == 200:
            known.see("cancelled")
        else:
            assert answer.status_code == 400, answer.text
            assert not known.background or known.ending != "cancelled", answer.text
            if known.background:
                self._look(known)
                assert known.ended, "refused to cancel what runs"

    @precondition(lambda self: len(self._known) > _SOME)
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        """Gone, whatever it was doing; once."""
        known = self._known[pick % len(self._known)]
        answer = self._http.delete(f"{_PATH}/{known.id}")
        if known.deleted:
            assert answer.status_code == 404, answer.text
        elif not known.expired:
            assert answer.status_code == 200, answer.text
        known.deleted = known.deleted or answer.status_code == 200

    # --- what time and bad luck do ---

    @precondition(lambda self: len(self._known) > _SOME)
    @rule(pick=picks)
    def expire(self, pick: int) -> None:
        """Its days are over."""
        known = self._known[pick % len(self._known)]
        if known.ended:
            with Records(self._gateway.database_url) as records:
                records.change(f"UPDATE interactions SET expires_at = 1 WHERE id = '{known.id}'")
            known.expired = True

    @precondition(lambda self: not self._killed)
    @rule()
    def kill_and_restart(self) -> None:
        """kill -9, and up again."""
        for known in self._known:
            known.kills += not known.ended and not known.hidden
        self._gateway.kill()
        self._gateway.start()
        self._killed = True

    # --- what holds ---

    @invariant()
    def everything_is_as_known(self) -> None:
        """Each can be found, or cannot; no end has changed."""
        for known in self._known:
            self._look(known)

    def teardown(self) -> None:
        """All come to an end, and the whole stream of each is what was heard of it."""
        try:
            deadline = time.monotonic() + _PATIENCE
            for known in [each for each in self._known if not each.hidden]:
                while not known.ended:
                    assert time.monotonic() < deadline, f"{known.id} does not end"
                    self._look(known)
                    time.sleep(0.05)
                for dialect in REVISIONS:
                    frames, done = self._read(known, dialect, None, None)
                    assert done == (known.ending != "failed")
                    assert len(frames) == len(known.heard[dialect])
                self._compare(known)
            self._gateway.must_be_in_order()
        finally:
            self._http.close()

    def _compare(self, known: Known) -> None:
        """The resource says what the events have said."""
        steps = self._http.get(f"{_PATH}/{known.id}", headers=_headers("steps")).json().get("steps") or []
        assert text_of(steps) == "".join(frame.said for frame in known.heard["steps"])

    # --- how it is done ---

    def _post(self, dialect: str, above: Known | None, *, tokens: int, **body: Any) -> httpx.Response | None:
        """The answer; None when it was refused, as it had to be."""
        answer = self._http.post(_PATH, json=_body(above, tokens, body), headers=_headers(dialect))
        if self._refused(answer.status_code, above, answer.read()):
            return None
        return answer

    def _refused(self, code: int, above: Known | None, said: bytes) -> bool:
        if above is None or code == 200:
            assert code == 200, said
            assert above is None or not (above.hidden or above.broken), "a broken chain was continued"
            return False
        if code == 400 and not above.hidden and not above.ended:  # it may have ended in the meantime
            return True
        expected = 404 if above.hidden else 400
        assert code == expected, said
        assert above.hidden or above.broken or above.ending == "failed", said
        return True

    def _stream(self, dialect: str, above: Known | None, slowly: bool, count: int, **body: Any) -> None:
        asked = _body(above, _tokens(slowly), {"stream": True, **body})
        with self._http.stream("POST", _PATH, json=asked, headers=_headers(dialect)) as response:
            if response.status_code != 200:
                assert self._refused(response.status_code, above, response.read())
                return
            self._refused(200, above, b"")
            frames, done = _frames(response, count)
        if body.get("store", True):
            name = frames[0].event["interaction"]["id"]
            known = self._learn(name, above, background=body.get("background", False))
            known.hear(dialect, None, frames)
            if done:
                known.see("completed")

    def _read(
        self, known: Known, dialect: str, after: str | None, count: int | None
    ) -> tuple[list[Frame], bool]:
        query = {"stream": "true"} | ({"last_event_id": after} if after else {})
        known.followed = True
        path = f"{_PATH}/{known.id}"
        with self._http.stream("GET", path, params=query, headers=_headers(dialect)) as response:
            if known.hidden:
                assert response.status_code == 404
                return [], False
            assert response.status_code == 200, response.read()
            frames, done = _frames(response, count)
        known.hear(dialect, after, frames)
        if done:
            self._look(known)
            assert known.ended, "its end was told before it was committed"
        return frames, done

    def _look(self, known: Known) -> None:
        answer = self._http.get(f"{_PATH}/{known.id}")
        if known.hidden:
            assert answer.status_code == 404, answer.text
        else:
            assert answer.status_code == 200, answer.text
            known.see(answer.json()["status"])

    def _learn(
        self,
        name: str,
        above: Known | None,
        *,
        streamed: bool = True,
        background: bool = False,
        followed: bool = True,
    ) -> Known:
        known = Known(name, streamed, background, above, followed=followed)
        self._known.append(known)
        return known

    def _pick(self, pick: int | None) -> Known | None:
        return None if pick is None else self._known[pick % len(self._known)]


def _tokens(slowly: bool) -> int:
    return 80 if slowly else 4


def _body(above: Known | None, tokens: int, more: dict[str, Any]) -> dict[str, Any]:
    """A request like no other: one that is sent again may be answered by the run of the first."""
    orders = f"[[fault tokens={tokens} delay_ms=10 break_after=0]]"
    parent = {} if above is None else {"previous_interaction_id": above.id}
    return {"model": "counting", "input": f"{secrets.token_hex(4)} {orders}", **parent, **more}


def _headers(dialect: str) -> dict[str, str]:
    return {"api-revision": REVISIONS[dialect]}


def _frames(response: httpx.Response, count: int | None) -> tuple[list[Frame], bool]:
    """The first frames of a stream, or all; and whether it ended in the orderly way."""
    frames: list[Frame] = []
    rest = b""
    for chunk in response.iter_raw():
        *whole, rest = (rest + chunk).split(b"\n\n")
        for text in whole:
            if text == DONE:
                return frames, True
            if not text.startswith(b":"):
                frames.append(frame_of(text))
            if count is not None and len(frames) >= count:
                return frames, False
    return frames, False
