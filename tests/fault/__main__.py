"""make fault ARGS="--runs 1000 --database sqlite --seed 7": campaigns until so many runs are through."""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fault.campaign import Campaign
from tests.fault.checker import KINDS as PROMISES
from tests.fault.checker import Violation, check
from tests.fault.evidence import Evidence
from tests.support.databases import KINDS, Templates

_AT_ONCE = 250


def main() -> int:
    """Print what happened; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="make fault")
    parser.add_argument("--runs", type=int, default=1000, help="how many runs, on each database")
    parser.add_argument("--database", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--workers", action="store_true", help="one gateway with --workers 3, not three")
    parser.add_argument("--no-agents", action="store_true", help="models only")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to leave no process and no database behind
    kinds = KINDS if asked.database == "both" else (asked.database,)
    _say(f"seed {asked.seed}")
    found: list[Violation] = []
    folder = Path(tempfile.mkdtemp(prefix="fault-"))
    templates = Templates(folder)
    try:
        for kind in kinds:
            for first in range(0, asked.runs, _AT_ONCE):
                campaign = Campaign(
                    runs=min(_AT_ONCE, asked.runs - first),
                    seed=asked.seed + first,
                    workers=asked.workers,
                    agents=not asked.no_agents,
                )
                with templates.fresh(kind) as url:
                    place = folder / f"{kind}-{first}"
                    place.mkdir()
                    evidence = asyncio.run(campaign.run(url, place))
                broken = check(evidence)
                found += broken
                _say(summary(kind, evidence, broken))
    finally:
        templates.close()
    _say(f"{len(found)} violations" + (f"; logs in {folder}" if found else ""))
    if not found:
        shutil.rmtree(folder)
    return int(bool(found))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def summary(kind: str, evidence: Evidence, broken: list[Violation]) -> str:
    """One campaign in a few lines."""
    statuses = Counter(row.status for row in evidence.rows)
    faults = Counter(name for name, *_ in evidence.faults)
    tags = {row.tag for row in evidence.rows}
    told = {
        "readings": len(evidence.readings),
        "events": sum(len(reading.frames) for reading in evidence.readings),
        "looks": len(evidence.looks),
        "cancelled": len(evidence.cancelled),
        "deleted": len(evidence.deleted),
        "replays": len(evidence.replays),
        "plans without a row": len(evidence.plans.keys() - tags - evidence.maybe_deleted),
    }
    lines = [
        f"{kind}: {len(evidence.plans)} runs, {len(evidence.calls)} upstream calls: {_counts(statuses)}",
        f"  faults: {_counts(faults)}",
        f"  clients: {_counts(Counter(told))}",
        f"  refusals: {_counts(Counter(text.partition(': ')[2][:50] for text in evidence.refused))}",
    ]
    counted = Counter(each.kind for each in broken)
    lines += [f"  BROKEN {PROMISES[name]}: {count}" for name, count in counted.items()]
    lines += [f"    {each.kind} {each.tag}: {each.text}" for each in broken[:20]]
    return "\n".join([*lines, f"  violations: {len(broken)}"])


def _counts(counter: "Counter[str]") -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none"


if __name__ == "__main__":
    sys.exit(main())
