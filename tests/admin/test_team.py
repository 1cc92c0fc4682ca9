"""README, "For a team": what it tells a newcomer to type works, in the order in which it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory

_README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.timeout(600)  # a dozen processes
def test_a_newcomer_makes_two_teams_and_sees_what_they_use(start_gateway: GatewayFactory):
    gateway = start_gateway()
    section = _README.partition("## For a team")[2].partition("\n## ")[0]
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("gateway ")]
    assert len(commands) == len(lines) - 1  # the first one puts the command into the path
    for command in commands:
        done = gateway.run(*command)
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
    made = gateway.run("keys", "list", "--json").stdout
    assert "backend" in made
    assert "bot" in made
