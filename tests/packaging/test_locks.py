"""The lock files: hashed, free of addresses, and of one mind."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.txt", "requirements-build.txt", "requirements-otel.txt", "requirements-dev.txt"]


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_nothing_else_is_in_the_file(name: str):
    text = (ROOT / name).read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert pins(name)
    # One for each name, or one for each Python where they differ.
    assert {block.partition("==")[0] for block in blocks} == pins(name).keys()
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


@pytest.mark.parametrize("name", LOCKS)
def test_the_development_lock_holds_the_same_versions(name: str):
    assert pins(name).items() <= pins("requirements-dev.txt").items()
