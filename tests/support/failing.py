"""What every failed interaction must look like, whatever failed it."""

import time
from typing import Any

from tests.support import PATIENCE
from tests.support.client import Client, Heard, without_comments
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import Action, ScriptedUpstream, head

STREAM = head("200 OK", "text/event-stream")


async def ask(client: Client, upstream: ScriptedUpstream, *script: Action, **body: Any) -> Heard:
    """What a client hears when the upstream does this."""
    upstream.script(*script)
    return await client.create(**body)


def must_be_refused(heard: Heard, status: int, code: str) -> str:
    """Answered with a status and a code; the message."""
    assert not heard.is_stream, heard.body
    assert (heard.status, heard.json()["error"]["code"]) == (status, code), heard
    assert set(heard.json()) == {"error"}
    return str(heard.json()["error"]["message"])


async def must_have_failed(client: Client, heard: Heard, *, stored: bool = True) -> dict[str, Any]:
    """A stream that ended with an `error`, and is kept as it was heard; the error."""
    assert heard.status == 200
    assert heard.is_stream, heard.body
    assert not heard.done
    assert heard.events[-1]["event_type"] == "error", heard.events
    assert [event["event_type"] for event in heard.events].count("error") == 1
    error = heard.error
    assert error is not None
    assert set(error) == {"code", "message"}
    if stored:
        kept = (await client.get(heard.id)).json()
        assert kept["status"] == "failed"
        assert kept["errors"] == [error]
        assert (await client.replay(heard.id)).body == without_comments(heard.body)
    else:
        assert heard.id == ""
    return error


def must_be_recorded(gateway: Gateway, *, code: str, stored: bool = True, output: bytes = b"[]") -> None:
    """The newest interaction has ended as failed; content and reason are kept only where it is stored."""
    newest = "SELECT status, input, output, error FROM interactions ORDER BY created_at DESC, id DESC LIMIT 1"
    deadline = time.monotonic() + PATIENCE  # the end of what is not stored is told before it is committed
    with Records(gateway.database_url) as records:
        while (row := records.rows(newest)[0])[0] == "in_progress" and time.monotonic() < deadline:
            time.sleep(0.01)
    assert row[0] == "failed"
    if stored:
        assert row[1]
        assert row[2] == output
        assert b'"' + code.encode() + b'"' in row[3]
    else:
        assert row[1:] == (None, None, None)
