"""What a forwarded request does to what projects own; each by a word of the allow-list.

Ownership is written before the answer is told. What cannot be written down is not handed out.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import orjson
from starlette.types import Send

from app.api import exchange, relay
from app.api.asking import Account, Asking, Front
from app.core.model import Json
from app.errors import ApiError, NotFound, Unavailable
from app.store.resources import Resource
from app.upstream import forward
from app.upstream.forward import Naming
from app.upstream.peer import Answer
from app.wire import answers, jobs, resources
from app.wire.answers import Made
from app.wire.resources import Kind

_AT_ONCE = 8
_ITEM_BYTES = 8 * 2**20
_PAGE_BYTES = 32 * 2**20


async def lists(front: Front, asking: Asking, kind: Kind, send: Send) -> None:
    """A page of the caller's own by our table, each member as the upstream shows it now.

    What the upstream does not have any more is left out, and the page filled up.
    """
    account, place = asking.account, answers.place(kind, asking.parameters)
    items: list[bytes] = []
    after, more = place.after, True
    while more and len(items) < place.size and sum(map(len, items)) < _PAGE_BYTES:
        wanted = min(place.size - len(items), _AT_ONCE)
        found = await front.ownership.page(account.caller, kind.name, after, wanted + 1)
        rows, more = found[:wanted], len(found) > wanted
        after = (rows[-1].created_at, rows[-1].name) if rows else after
        items += await _members(front, account, kind, rows)
    await exchange.answer(send, answers.page(kind, items, after if more else None))


async def makes(front: Front, asking: Asking, kind: Kind, send: Send) -> None:
    """Something is made, and is the caller's from then on."""
    answer, body = await made(front, asking, kind)
    await relay.whole(send, answer, body)


async def made(front: Front, asking: Asking, kind: Kind, call_id: str | None = None) -> tuple[Answer, bytes]:
    """What the upstream answers that has made something, once that is written down."""
    if name := answers.chosen(kind, asking.fields):
        await front.ownership.vacant(asking.account.caller, name)
    async with asking.send(asking.body) as answer:
        body = await whole(asking.account, answer)
    await record(front, asking.account, kind, body, call_id)
    return answer, body


async def renews(front: Front, asking: Asking, kind: Kind, send: Send) -> None:
    """Something lives on, for as long as the answer says."""
    async with asking.send(asking.body) as answer:
        body = await whole(asking.account, answer)
    renewed = answers.made(kind, told(asking.account, body))
    if renewed is not None:
        await _note(front, asking.account, renewed)
    await relay.whole(send, answer, body)


async def removes(front: Front, asking: Asking, _kind: Kind, send: Send) -> None:
    """Something is gone; that it was ever there is forgotten, now or (without a database) at its end."""
    async with asking.send(asking.body) as answer:
        body = await whole(asking.account, answer)
    with contextlib.suppress(Unavailable):
        await front.ownership.forget(asking.account.caller, asking.call.own)
    await relay.whole(send, answer, body)


async def yields(front: Front, asking: Asking, _kind: Kind, send: Send) -> None:
    """The files that came out of something of the caller's are the caller's, too."""
    account = asking.account
    async with asking.send(asking.body) as answer:
        begun, complete = await forward.begin(answer, _ITEM_BYTES)
        shown = answers.read(begun) if complete else None  # what is longer has its results inside
        if shown is not None:
            found = answers.yielded(shown)
            await front.ownership.adopt(
                account.caller, found, account.forwarder.name, account.credential.fingerprint
            )
            await _settle(front, asking.held, shown)
        await relay.pass_on(send, answer, begun)


async def mixes(front: Front, asking: Asking, kind: Kind, send: Send) -> None:
    """Public things pass, and the caller's own."""
    async with asking.send(asking.body) as answer:
        shown = told(asking.account, await whole(asking.account, answer))
    single = asking.call.target != kind.name
    members = [shown] if single else answers.members(kind, shown)
    own = await front.ownership.own(asking.account.caller, answers.names(kind, members))
    visible = [member for member in members if answers.mine(kind, member, own)]
    if single and not visible:
        raise resources.missing(asking.call.target)
    await relay.whole(send, answer, orjson.dumps(shown if single else {**shown, kind.name: visible}))


async def record(front: Front, account: Account, kind: Kind, body: bytes, call_id: str | None = None) -> None:
    """Write down whose this is that an answer tells of. Raises ApiError, and then nobody has it."""
    fields = told(account, body)
    found = answers.made(kind, fields)
    if found is None and kind.by_id and "id" not in fields:
        return  # made, and not kept: a voice that only its key has
    if found is None:
        raise account.forwarder.broken("no name of what was made")
    if resources.owner(found.name) != found.name:
        return  # inside something that has an owner
    try:
        await _note(front, account, found, call_id)
    except Unavailable:
        with contextlib.suppress(ApiError):
            async with account.forwarder.call(account.about("DELETE", found.name)):
                pass
        raise


async def whole(account: Account, answer: Answer) -> bytes:
    """An answer that has to be read before it is passed on."""
    body, complete = await forward.begin(answer, _PAGE_BYTES)
    if not complete:
        raise account.forwarder.broken("an answer that is too long")
    return body


def told(account: Account, body: bytes) -> Json:
    """What an answer says."""
    fields = answers.read(body)
    if fields is None:
        raise account.forwarder.broken("an answer that is not a JSON object")
    return fields


async def _note(front: Front, account: Account, new: Made, call_id: str | None = None) -> None:
    upstream, credential = account.forwarder.name, account.credential.fingerprint
    await front.ownership.record(account.caller, new, upstream, credential, call_id)


async def _members(front: Front, account: Account, kind: Kind, rows: Sequence[Resource]) -> list[bytes]:
    """Those of a list that the upstream still has; the first failure ends the questions for the others."""
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_member(front, account, kind, row)) for row in rows]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [item for each in asked if (item := each.result()) is not None]


async def _member(front: Front, account: Account, kind: Kind, row: Resource) -> bytes | None:
    """A member of a list; None when the upstream does not have it any more."""
    forwarder = front.forwarders.named(row.upstream)
    if forwarder is None:
        return None
    where = Account(
        account.caller,
        account.version,
        forwarder,
        forwarder.credentials.of(row.credential, account.caller.project_id),
    )
    try:
        async with forwarder.call(where.about("GET", row.name), Naming(row.name)) as answer:
            body, complete = await forward.begin(answer, _ITEM_BYTES)
    except NotFound:
        return None
    if not complete:
        return answers.stub(kind, row.name)
    shown = told(where, body)
    await _settle(front, row, shown)
    return orjson.dumps(shown)


async def _settle(front: Front, job: Resource | None, shown: Json) -> None:
    """Write what a job has used, when this shows it and nobody has seen it before."""
    if job is not None and job.call_id is not None and (ending := jobs.ending(shown)) is not None:
        with contextlib.suppress(Unavailable):  # whoever looks again will do it
            await front.accounts.settle_late(job.call_id, ending.status, ending.used)
