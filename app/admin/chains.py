"""The chains of the audit log, followed record by record to the ends that were signed."""

from dataclasses import dataclass

from app.core import audit
from app.core.audit import Head
from app.core.versions import Versions
from app.store.audit import Audit, Sealed


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of following a chain. `first_bad` is the number of the first record that is wrong.

    `hash` is that of the last good one: whoever keeps it elsewhere can tell any later change.
    """

    project_id: str
    ok: bool
    records: int
    unsealed: int
    first_bad: int | None
    hash: str
    text: str


class Chains:
    """Verifies chains; `secrets` are what their ends may be signed with."""

    def __init__(self, log: Audit, secrets: Versions[bytes]) -> None:
        self._audit = log
        self._secrets = secrets

    async def all(self, newest: int | None = None) -> list[Verified]:
        """Every chain, and first whether all are there that have ever begun."""
        found = [await self.one(each, newest) for each in await self._audit.chains()]
        return [await self._listed(), *found]

    async def _listed(self) -> Verified:
        """Whether all chains are there that have ever begun."""
        heads = await self._audit.heads()
        listed = heads.pop(audit.CHAINS, None)
        possible = [audit.chains(secret, heads) for secret in self._secrets.all()]
        there = possible[0]
        ok = listed in possible if heads or listed is not None else not await self._audit.chains()
        count = listed.seq if listed is not None else 0
        text = f"{there.seq} chains" if ok else f"{there.seq} chains, but a signed list of {count} others"
        return Verified(audit.CHAINS, ok, there.seq, 0, None, there.hash.hex(), text)

    async def one(self, chain: str, newest: int | None = None) -> Verified:
        """Follow one chain to the end that was signed; with `newest` only so many records before it."""
        walk = await self._start(chain, newest)
        await self._follow(chain, walk)
        head = (await self._audit.heads()).get(chain)
        if head is not None:  # what was sealed while we were on the way
            await self._follow(chain, walk, head.seq)
        wrong = walk.wrong or _ending(walk, head, self._secrets)
        unsealed = await self._audit.open(chain)
        first_bad, text = wrong or (None, "in order")
        return Verified(chain, wrong is None, walk.seq, unsealed, first_bad, walk.last.hex(), text)

    async def _start(self, chain: str, newest: int | None) -> "_Walk":
        """At the beginning, or so many records before the end."""
        head = (await self._audit.heads()).get(chain)
        if newest is not None and head is not None and head.seq > newest:
            for sealed in (await self._audit.sealed(chain, head.seq - newest - 1))[:1]:
                return _Walk(sealed.record.seq or 0, sealed.hash)
        return _Walk()

    async def _follow(self, chain: str, walk: "_Walk", until: int | None = None) -> None:
        async for sealed in self._audit.chain(chain, walk.seq, until):
            if walk.wrong is not None:
                return
            walk.take(sealed)


@dataclass(slots=True)
class _Walk:
    """On the way along a chain: the last good record, and what is wrong with the one behind it."""

    seq: int = 0
    last: bytes = audit.START
    wrong: tuple[int, str] | None = None

    def take(self, sealed: Sealed) -> None:
        """The next record that there is."""
        if sealed.record.seq != self.seq + 1:
            self.wrong = (self.seq + 1, f"missing: the next one is record {sealed.record.seq}")
        elif audit.link(self.last, sealed.record.fields()) != sealed.hash:
            self.wrong = (self.seq + 1, f"not what was sealed: {sealed.record.id}")
        else:
            self.seq, self.last = self.seq + 1, sealed.hash


def _ending(walk: _Walk, head: Head | None, secrets: Versions[bytes]) -> tuple[int, str] | None:
    """What is wrong with the end of a chain, if anything."""
    if head is None:
        return 1, "the signed end of the chain is missing"
    if walk.seq < head.seq:
        return walk.seq + 1, f"missing, with all behind it: the signed end is record {head.seq}"
    if walk.seq > head.seq:
        return head.seq + 1, f"stands behind the signed end, record {head.seq}"
    if walk.last != head.hash or not head.genuine(*secrets.all()):
        return walk.seq, "the signed end of the chain is another"
    return None
