"""make bench: prints what the gateway costs, in under three minutes; ARGS=--short in under twenty seconds."""

import argparse
import contextlib
import os
import platform
import re
import sqlite3
import sys
import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import load, places
from bench.load import Measured, percentile
from bench.places import Place


@dataclass(frozen=True)
class Extent:
    """How much is measured. `paced`: how many streams, events of each, microseconds between them, rounds."""

    unary: tuple[int, ...] = (1, 32)
    seconds: float = 2.0
    paced: tuple[tuple[int, int, int, int], ...] = (
        (1, 20, 10_000, 12),
        (32, 100, 10_000, 2),
        (256, 60, 50_000, 1),
    )
    spread: float = 1.0
    burst: tuple[int, int, int] = (32, 500, 4)


_SHORT = Extent((32,), 0.5, ((1, 10, 5_000, 5), (32, 30, 10_000, 1)), 0.3, (32, 100, 1))


def main() -> int:
    """Measure and print; 1 when anything failed on the way."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--short", action="store_true", help="only to see that it works")
    extent = _SHORT if parser.parse_args().short else Extent()
    places.pin(os.getpid(), 1)
    print(_machine(), end="\n\n", flush=True)
    failures = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        direct = stack.enter_context(places.upstream())
        asked = [direct]
        for kind in ("sqlite", *(["postgresql"] if places.has_postgresql() else [])):
            (folder / kind).mkdir()
            asked += stack.enter_context(places.gateway(kind, folder / kind, direct.port))
        for place in asked:  # whatever is done once
            uvloop.run(load.streams(place, 4, 50, 0))
            uvloop.run(load.unary(place, 4, 0.3))
        failures += _unary(asked, extent)
        failures += _paced(asked, extent)
        failures += _burst(asked, extent)
    if failures:
        print(f"{failures} requests FAILED")
    return int(bool(failures))


def _unary(asked: Sequence[Place], extent: Extent) -> int:
    head = ("unary calls", "at once", "requests/s", "CPU us/request", "p50 ms", "p99 ms")
    rows, failures = [], 0
    for at_once in extent.unary:
        for place in asked:
            got = uvloop.run(load.unary(place, at_once, extent.seconds))
            failures += got.failures
            rate = f"{got.requests / got.seconds:,.0f}"
            cost = f"{got.processor / max(got.requests, 1) * 1e6:,.0f}"
            rows.append((place.name, str(at_once), rate, cost, *_both(got.whole)))
    _table(head, rows)
    return failures


def _paced(asked: Sequence[Place], extent: Extent) -> int:
    """Streams as models give them: medians are also shown as what the gateway, and what storing, adds."""
    head = (
        *("paced streams", "at once", "events/s", "CPU us/event"),
        *("first p50 ms", "p99", "event p50 ms", "p99"),
        *("gateway adds: first", "event", "storing adds: first", "event"),
    )
    rows: list[tuple[str, ...]] = []
    failures = 0
    for at_once, events, pause, rounds in extent.paced:
        direct = relayed = (0.0, 0.0)
        for place in asked:
            spread = extent.spread if at_once > 1 else 0
            got = uvloop.run(load.streams(place, at_once, events, pause, rounds=rounds, spread=spread))
            failures += got.failures
            medians = percentile(got.first, 50), percentile(got.each, 50)
            if place is asked[0]:
                direct = medians
            if not place.store:
                relayed = medians
            adds = _more(medians, direct) if place is not asked[0] else ("", "")
            adds += _more(medians, relayed) if place.store and place is not asked[0] else ("", "")
            rows.append((place.name, str(at_once), *_rate(got), *_both(got.first), *_both(got.each), *adds))
    _table(head, rows)
    return failures


def _burst(asked: Sequence[Place], extent: Extent) -> int:
    """Streams as fast as they go."""
    at_once, events, rounds = extent.burst
    rows, failures = [], 0
    for place in asked:
        got = uvloop.run(load.streams(place, at_once, events, 0, rounds=rounds))
        failures += got.failures
        rows.append((place.name, str(at_once), *_rate(got)))
    _table(("streams without a pause", "at once", "events/s", "CPU us/event"), rows)
    return failures


def _rate(got: Measured) -> tuple[str, str]:
    cost = got.processor / max(got.events, 1) * 1e6
    return f"{got.events / got.seconds:,.0f}", f"{cost:,.0f}"


def _both(times: "array[float]") -> tuple[str, str]:
    return f"{percentile(times, 50):.2f}", f"{percentile(times, 99):.2f}"


def _more(medians: tuple[float, float], others: tuple[float, float]) -> tuple[str, ...]:
    return tuple(f"{one - other:.2f}" for one, other in zip(medians, others, strict=True))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Readable as it is, and as Markdown."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        aligned = [cells[0].ljust(widths[0])]
        aligned += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join(aligned) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    print("\n".join([line(head), rule, *map(line, rows)]), end="\n\n", flush=True)


def _machine() -> str:
    """What it ran on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    if places.has_postgresql():
        versions.append(f"PostgreSQL {places.postgresql_version()}")
    load_now = os.getloadavg()[0]
    cores = f"{os.cpu_count()} cores ({model[1] if model else platform.machine()})"
    return f"{cores}, {', '.join(versions)}; load before the start {load_now:.1f}"


if __name__ == "__main__":
    sys.exit(main())
