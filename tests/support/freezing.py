"""Freezing a gateway: it stops where it stands, as a machine that sleeps."""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.support import PATIENCE
from tests.support.gateway import Gateway

_IN_A_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '0.3 s'"
)


async def freeze(gateway: Gateway) -> None:
    """Stop a gateway between two transactions: within one it would keep its locks as long as it sleeps."""
    if gateway.database_url.startswith("sqlite"):
        with _locked(gateway.database_url):
            await _stop(gateway)
        return
    async with asyncio.timeout(PATIENCE):
        await _stop(gateway)
        while await asyncio.to_thread(_is_in_a_transaction, gateway.database_url):
            gateway.signal(signal.SIGCONT)
            await asyncio.sleep(0.1)
            await _stop(gateway)


async def _stop(gateway: Gateway) -> None:
    assert gateway.process is not None
    stat = Path(f"/proc/{gateway.process.pid}/stat")
    gateway.signal(signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE):
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def _locked(url: str) -> Iterator[None]:
    """Nobody else writes meanwhile."""
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=PATIENCE)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def _is_in_a_transaction(url: str) -> bool:
    """Whether a transaction has been open for a while in which nothing happens."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_sleep(0.4)")
        row = connection.execute(_IN_A_TRANSACTION).fetchone()
    return row is not None and row[0] > 0
