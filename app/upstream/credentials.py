"""The keys of an upstream, and which of them a call is made with.

What an upstream keeps can be seen with the key that made it, or not at all: so a project makes
things with one key, and they are used with that one. Everything else takes turns, by weight.

A key that fails rests: after 429 as long as the upstream says, after 5xx and the like a moment,
longer each time. A resting key has no turn, unless all rest. What a project keeps is asked for all
the same, as no other key can see it. A key with projects is theirs alone, and they use no other.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.core.versions import Versions
from app.errors import ApiError
from app.upstream.failures import Refusal

_LIMITED, _LONGEST = 10.0, 300.0
"""Seconds of rest after a 429 that does not say how long, and the most that one may ask for."""
_REFUSED = 60.0
_FIRST, _MOST = 1.0, 30.0
"""Seconds of rest after a failure, doubled by each one that follows at once, and the most of them."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A key as the settings have it."""

    key: str
    weight: int = 1
    projects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Credential:
    """A key, and what may be stored of it: enough to tell it from the others."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Health:
    """How a key is doing, without the key. Times are epoch milliseconds."""

    upstream: str
    credential: str
    weight: int
    projects: tuple[str, ...]
    cooling_until: int | None
    failures: int
    last_error: str | None
    last_error_at: int | None


class _Member:
    """A key in its pool: how it is doing, and when its turn is."""

    __slots__ = (
        "credential",
        "failures",
        "fingerprints",
        "last_error",
        "last_error_at",
        "projects",
        "ready_at",
        "turn",
        "weight",
    )

    def __init__(self, secret: Secret, fingerprints: Versions[str]) -> None:
        self.credential = Credential(secret.key, fingerprints.current)
        self.fingerprints = fingerprints
        self.weight = secret.weight
        self.projects = secret.projects
        self.turn = 0
        self.ready_at = 0.0
        self.failures = 0
        self.last_error: str | None = None
        self.last_error_at: int | None = None


class Credentials:
    """The keys of one upstream. Asking for one raises ApiError (503) when there is none.

    Their fingerprints are made with `secrets`; those of every version are known.
    """

    def __init__(
        self,
        upstream: str,
        keys: Iterable[str | Secret],
        secrets: Versions[bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        given = [Secret(key) if isinstance(key, str) else key for key in keys]
        self._all = [_Member(each, fingerprints(secrets, each.key)) for each in given]
        self._bound = frozenset(project for each in given for project in each.projects)
        self._free = [each for each in self._all if not each.projects]

    def __len__(self) -> int:
        return len(self._all)

    def keys(self) -> list[str]:
        """All of them, for what must not repeat them."""
        return [each.credential.key for each in self._all]

    def fingerprints(self) -> list[Versions[str]]:
        """Of each, by what it is, was or will be known."""
        return [each.fingerprints for each in self._all]

    def any(self, project_id: str = "") -> Credential:
        """Whichever is next of those that this project may use."""
        members = self._members(project_id)
        if len(members) == 1:
            return members[0].credential
        now = self._clock()
        ready = [each for each in members if each.ready_at <= now]
        if not ready:
            return min(members, key=lambda each: each.ready_at).credential
        # Smooth weighted turns: heavy keys come often, but not all at once.
        for each in ready:
            each.turn += each.weight
        chosen = max(ready, key=lambda each: each.turn)
        chosen.turn -= sum(each.weight for each in ready)
        return chosen.credential

    def others(self, project_id: str, fingerprint: str) -> list[Credential]:
        """Those that do not rest and that this project may use instead of one that has failed."""
        now = self._clock()
        return [
            each.credential
            for each in self._members(project_id)
            if each.ready_at <= now and fingerprint not in each.fingerprints
        ]

    def of_project(self, project_id: str) -> Credential:
        """The one that this project makes things with; the same as long as it is configured."""
        return max(
            (each.credential for each in self._members(project_id)),
            key=lambda each: hashlib.sha256(f"{each.key} {project_id}".encode()).digest(),
        )

    def of(self, fingerprint: str, project_id: str | None = None) -> Credential:
        """The one with this fingerprint; the project's first when it is not configured any more.

        A key that has become another project's is not configured for this one.
        """
        for each in self._all:
            if fingerprint in each.fingerprints:
                if project_id is None or each in self._members(project_id):
                    return each.credential
                break
        return self._members(project_id or "")[0].credential

    def note(self, key: str, error: ApiError | None) -> None:
        """A call with this key has been answered, or has failed so."""
        member = next((each for each in self._all if each.credential.key == key), None)
        if member is None:
            return
        if error is None:
            member.failures = 0
            member.ready_at = 0.0
        elif isinstance(error, Refusal) and (rest := _rest(error, member.failures)):
            member.failures += 1
            member.ready_at = max(member.ready_at, self._clock() + rest)
            member.last_error = str(error.said or error.code)
            member.last_error_at = time.time_ns() // 1_000_000

    def health(self) -> list[Health]:
        """How each of them is doing."""
        now, wall = self._clock(), time.time_ns() // 1_000_000
        return [
            Health(
                upstream=self._upstream,
                credential=each.credential.fingerprint,
                weight=each.weight,
                projects=tuple(sorted(each.projects)),
                cooling_until=wall + int((each.ready_at - now) * 1000) if each.ready_at > now else None,
                failures=each.failures,
                last_error=each.last_error,
                last_error_at=each.last_error_at,
            )
            for each in self._all
        ]

    def _members(self, project_id: str) -> Sequence[_Member]:
        """Those that this project may use."""
        if project_id in self._bound:
            members = [each for each in self._all if project_id in each.projects]
        else:
            members = self._free
        if not members:
            text = f"The upstream '{self._upstream}' has no API key configured."
            raise ApiError(text, status=503, code="service_unavailable")
        return members


def _rest(error: Refusal, failures: int) -> float:
    """How long a key rests that has failed so often before; 0 when it is not to blame."""
    if error.said == 429:
        return min(error.retry_after or _LIMITED, _LONGEST)
    if error.key_refused:
        return _REFUSED
    return min(_FIRST * (1 << min(failures, 10)), _MOST) if error.elsewhere else 0.0


def fingerprints(secrets: Versions[bytes], key: str) -> Versions[str]:
    """What is stored instead of a key, by the pepper that it is made with."""
    return secrets.map(lambda secret: hmac.digest(secret, b"credential " + key.encode(), "sha256")[:12].hex())
