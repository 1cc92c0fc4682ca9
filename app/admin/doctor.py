"""Findings: what `gateway doctor` says of what it has looked at."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from app.auth import pepper
from app.settings import Settings, Upstream, config_file
from app.store.leases import Lease
from app.store.retention import Backlog

_LATE_SWEEPS, _LATE_SECONDS = 10, 600
_LONG_WAL = 256 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` looked at."""

    subject: str
    ok: bool
    text: str


def retention(sweep: Lease | None, backlog: Backlog, every_seconds: float) -> list[Finding]:
    """Whether what has expired is swept away, and leaves nothing behind."""
    done = None if sweep is None or sweep.done_ms_ago is None else sweep.done_ms_ago / 1000
    late = done is None or done > max(_LATE_SWEEPS * every_seconds, _LATE_SECONDS)
    due = backlog.expired + backlog.logs
    last = "not done yet" if done is None else f"last done {done:.0f} seconds ago"
    text = (
        f"{last}; to erase: {backlog.expired} interactions, {backlog.logs} event logs; "
        f"to delete at upstreams: {backlog.leftovers}"
    )
    return [
        Finding("sweep", not (late and due), text),
        Finding("events", not backlog.orphans, f"{backlog.orphans} without an interaction"),
        *_wal(backlog.wal_bytes),
    ]


def audit(chains: Sequence[tuple[str, bool, str]]) -> Finding:
    """Whether the chains of the audit log, by project, are in order, and what the first fault is."""
    wrong = [f"{project or 'the list of logs'}: {text}" for project, ok, text in chains if not ok]
    text = (
        f"see `gateway audit verify`: {wrong[0]}" if wrong else f"{len(chains)} chains in order at their ends"
    )
    return Finding("audit log", not wrong, text)


def bound_keys(upstreams: Iterable[Upstream], projects: Collection[str]) -> list[Finding]:
    """Keys of upstreams for projects that there are not: those projects' calls would use other keys."""
    return [
        Finding(
            f"upstream {upstream.name}", ok=False, text=f"a key is for {project}, which is no project here"
        )
        for upstream in upstreams
        for key in upstream.api_keys
        for project in key.projects
        if project not in projects
    ]


def files(settings: Settings) -> list[Finding]:
    """Files that hold secrets and that others on this machine can read."""
    paths = [find(settings) for find in (pepper.path, pepper.previous_path, pepper.next_path)]
    return [
        Finding(str(path), ok=False, text=f"can be read by others: chmod 600 {path}")
        for path in (*paths, config_file())
        if path.is_file() and path.stat().st_mode & 0o077
    ]


def _wal(size: int | None) -> list[Finding]:
    if size is None:
        return []
    text = f"{size >> 20} MiB" + (": something has been reading for long" if size > _LONG_WAL else "")
    return [Finding("write-ahead log", size <= _LONG_WAL, text)]
