"""Logs: one JSON object a line for machines, readable lines on a terminal.

Never content and never secrets: what may be logged is named where it is logged, and the few
strings that come from a client are cut and escaped here.
"""

import logging
import sys
import time
import traceback
from typing import Any

import orjson

_NAME = "gateway"
_CUT = 200


def logger() -> logging.Logger:
    """The gateway's own logger; pass facts as `extra={"fields": {...}}`."""
    return logging.getLogger(_NAME)


def event(level: int, message: str, **fields: Any) -> None:
    """Log a message with facts. Strings are cut at 200 characters."""
    log = logging.getLogger(_NAME)
    if log.isEnabledFor(level):
        # Not `log.log`: it looks for its caller in the stack, which nobody is told.
        log.handle(log.makeRecord(_NAME, level, "", 0, message, (), None, extra={"fields": fields}))


def configure(level: str, style: str) -> None:
    """Send the logs of the gateway and its server to standard error."""
    readable = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Readable() if readable else _Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_NAME).setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.INFO if level == "debug" else logging.WARNING)
    # Its warnings name the server, and what they are about comes to us as exceptions.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": _clean(record.getMessage()),
        }
        facts = {name: _clean(value) for name, value in getattr(record, "fields", {}).items()}
        line = head | facts | head  # the head comes first, and no fact takes its place
        if record.exc_info:
            line["trace"] = _trace(record)
        return orjson.dumps(line, default=str).decode()


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={_clean(value)!s}" for name, value in getattr(record, "fields", {}).items())
        head = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{head} {record.levelname.lower():7} {_clean(record.getMessage())} {facts}".rstrip()
        return line + ("\n" + "\n".join(_trace(record)) if record.exc_info else "")


def _trace(record: logging.LogRecord) -> list[str]:
    """Where it happened and the kind of error, but not its text, which may quote a request."""
    assert record.exc_info is not None  # noqa: S101 - the callers have looked
    kind, _, where = record.exc_info
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(where)]
    return [*frames, kind.__name__ if kind else ""]


def _clean(value: Any) -> Any:
    """Strings without control characters, escapes or line separators, and not too long."""
    if not isinstance(value, str):
        return value
    cut = value if len(value) <= _CUT else value[:_CUT] + "..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
