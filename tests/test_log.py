"""Logs: one object a line, and nothing in it that does not belong there."""

import logging
import os
import sys
from collections.abc import Callable, Iterator

import orjson
import pytest

from app import log


@pytest.fixture
def written(capsys) -> Iterator[Callable[[], str]]:
    """What has been written since it was last asked for; logging is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:], level = before
    root.setLevel(level)
    for name in ("gateway", "uvicorn"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(text: str) -> list[dict]:
    return [orjson.loads(line) for line in text.splitlines()]


def test_a_line_is_an_object(written):
    log.configure("info", "json")
    log.event(logging.INFO, "interaction", id="v1_x", ms=5, stored=True, code=None)
    log.event(logging.WARNING, "b")
    first, second = lines(written())
    assert list(first) == ["time", "level", "message", "id", "ms", "stored", "code"]
    assert first["time"].endswith("Z")
    assert (first["level"], first["message"], first["id"], first["ms"]) == ("info", "interaction", "v1_x", 5)
    assert (first["stored"], first["code"]) == (True, None)
    assert second["level"] == "warning"


def test_the_level_is_kept(written):
    log.configure("warning", "json")
    log.event(logging.INFO, "no")
    log.logger().error("yes")
    logging.getLogger("somebody.else").info("no")
    assert [line["message"] for line in lines(written())] == ["yes"]


NASTY = "a\nb\r\x1b[31mred\x00\u2028\u202e\ud800 é 😀"


@pytest.mark.parametrize("style", ["json", "text"])
def test_what_clients_send_cannot_forge_a_line(written, style):
    log.configure("info", style)
    log.event(logging.INFO, NASTY, said=NASTY)
    text = written()
    [line] = text.splitlines()
    assert line.isprintable()
    assert text == line + "\n"
    escaped = "a\\nb\\r\\x1b[31mred\\x00\\u2028\\u202e\\ud800 é 😀"
    if style == "json":
        assert orjson.loads(line)["said"] == escaped
    else:
        assert line.endswith(f"info    {escaped} said={escaped}")


def test_long_strings_are_cut(written):
    log.configure("info", "json")
    log.event(logging.INFO, "m" * 300, said="x" * 10_000, whole="y" * 200)
    [line] = lines(written())
    assert line["message"] == "m" * 200 + "..."
    assert line["said"] == "x" * 200 + "..."
    assert line["whole"] == "y" * 200


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_error_is_told_without_its_text(written, style):
    log.configure("info", style)
    try:
        os.environ["SECRET CONTENT"]
    except KeyError:
        log.logger().exception("it failed", extra={"fields": {"incident": "5"}})
    text = written()
    assert "SECRET" not in text
    assert "KeyError" in text
    assert "test_an_error_is_told_without_its_text" in text
    if style == "json":
        [line] = lines(text)
        assert line["incident"] == "5"
        assert line["trace"][-1] == "KeyError"


def test_what_is_no_json_is_shown_somehow(written):
    log.configure("info", "json")
    log.event(logging.INFO, "x", where=logging, pair=(1, 2))
    [line] = lines(written())
    assert line["pair"] == [1, 2]
    assert "logging" in line["where"]


def test_facts_do_not_hide_what_every_line_has(written):
    log.configure("info", "json")
    log.logger().info("real", extra={"fields": {"message": "forged", "level": "forged", "time": "forged"}})
    [line] = lines(written())
    assert (line["message"], line["level"]) == ("real", "info")


@pytest.mark.parametrize(("terminal", "readable"), [(True, True), (False, False)])
def test_people_get_lines_and_machines_get_json(written, monkeypatch, terminal, readable):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    log.configure("info", "auto")
    log.event(logging.INFO, "hello", a=1)
    assert written().startswith("{") is not readable
