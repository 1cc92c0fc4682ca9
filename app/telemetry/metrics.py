"""Metrics for Prometheus, of this one process.

Counting is a plain addition, on the event loop; what Prometheus reads is made when it asks. Labels
come from closed sets only: no client can add a series.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from types import MappingProxyType, TracebackType
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from app.errors import ApiError
from app.telemetry.observer import Facts, Observer

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
_WRITES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_CLASSES = {n: f"{n}xx" for n in range(1, 6)}
_OTHER = "other"
_REMEMBERED = 1024
_TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "total_input_tokens": "input",
        "total_cached_tokens": "cached",
        "total_output_tokens": "output",
        "total_thought_tokens": "thought",
        "total_tool_use_tokens": "tool_use",
    }
)
_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "requests": ("Requests answered, by the template of their route.", ("method", "route", "status")),
        "runs": ("Interactions that have ended here.", ("model", "status")),
        "tokens": ("Tokens that upstreams have counted.", ("model", "kind")),
        "upstream_calls": ("Calls to upstreams.", ("upstream", "outcome")),
        "takeovers": ("Runs taken up from other processes or the queue.", ("course",)),
        "sweeps": ("Sweeps done to their end.", ()),
        "erased_interactions": ("Interactions erased because they had expired.", ()),
    }
)


class _Histogram:
    """How often a value was how large."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str, worker: str) -> HistogramMetricFamily:
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        made = HistogramMetricFamily(name, text, labels=["worker"])
        made.add_metric([worker], buckets, self._sum)
        return made


class _Call:
    """Counts how a call of an upstream has ended."""

    __slots__ = ("_calls", "_upstream")

    def __init__(self, calls: "Counter[tuple[str, ...]]", upstream: str) -> None:
        self._calls = calls
        self._upstream = upstream

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls[self._upstream, "ok" if error is None else _outcome(error)] += 1


class Metrics(Observer):
    """Counts. `models` are globs, and a model's label is the first that it fits; `other` if it fits none."""

    def __init__(self, models: Iterable[str]) -> None:
        self._label = lru_cache(_REMEMBERED)(partial(_fitting, tuple(models)))
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _COUNTERS}
        self._requests = self._counts["requests"]
        self._calls = self._counts["upstream_calls"]
        self._tokens = self._counts["tokens"]
        self._run_seconds = _Histogram(_SECONDS)
        self._first_event = _Histogram(_SECONDS)
        self._commits = _Histogram(_COMMIT_SECONDS)
        self._writes = _Histogram(_WRITES)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a number that is read when somebody asks for it."""
        self._gauges[name] = text, read

    def request(self, method: str, route: str, status: int) -> None:
        """Count it by its template and the hundreds of its status."""
        method = method if method in _METHODS else _OTHER
        self._requests[method, route, _CLASSES.get(status // 100, _OTHER)] += 1

    def calling(self, upstream: str, facts: Facts | None = None) -> AbstractContextManager[None]:  # noqa: ARG002
        """Count how the call ends."""
        return _Call(self._calls, upstream)

    def heard(self, seconds: float) -> None:
        """Count it by how long it took."""
        self._first_event.add(seconds)

    def ended(self, facts: Facts, status: str, seconds: float, usage: Mapping[str, Any] | None) -> None:
        """Count the run and its tokens."""
        model = self._label((facts.model or facts.agent or "").rpartition("/")[2])
        self._counts["runs"][model, status] += 1
        self._run_seconds.add(seconds)
        for name, kind in _TOKENS.items() if usage else ():
            count = usage.get(name) if usage else None
            if isinstance(count, int) and count > 0:
                self._tokens[model, kind] += count

    def took_up(self, course: str) -> None:
        """Count it by what was decided."""
        self._counts["takeovers"][(course,)] += 1

    def swept(self) -> None:
        """Count it."""
        self._counts["sweeps"][()] += 1

    def erased(self, interactions: int) -> None:
        """Count them."""
        self._counts["erased_interactions"][()] += interactions

    def committed(self, writes: int, seconds: float) -> None:
        """Count the batch; only the one thread that writes does."""
        self._commits.add(seconds)
        self._writes.add(writes)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self.collect))
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Everything, each series labelled with the process that has counted it."""
        worker = str(os.getpid())
        for name, (text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(f"gateway_{name}", text, labels=["worker", *labels])
            counted = self._counts[name]
            for values in counted.copy() or ([()] if not labels else []):
                family.add_metric([worker, *values], counted[values])
            yield family
        yield self._run_seconds.family("gateway_run_seconds", "How long runs took.", worker)
        yield self._first_event.family(
            "gateway_first_event_seconds", "From a run's beginning to its first event.", worker
        )
        yield self._commits.family("gateway_commit_seconds", "How long write transactions took.", worker)
        yield self._writes.family("gateway_commit_writes", "How many writes shared a transaction.", worker)
        for name, (text, read) in self._gauges.items():
            gauge = GaugeMetricFamily(f"gateway_{name}", text, labels=["worker"])
            gauge.add_metric([worker], read())
            yield gauge


class _Collected:
    """What a registry takes: something with a `collect`."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


def _fitting(patterns: tuple[str, ...], name: str) -> str:
    return next((each for each in patterns if each != "*" and fnmatchcase(name, each)), _OTHER)


def _outcome(error: BaseException) -> str:
    """How a call has failed, in one of a few words."""
    if not isinstance(error, Exception):
        return "cancelled"
    if not isinstance(error, ApiError):
        return "broken"
    if error.status == 429:
        return "limited"
    return "refused" if error.status < 500 else "failed"
