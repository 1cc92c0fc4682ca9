"""The examples and the README do what they say."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE
from tests.support.gateway import Gateway, clean_environment

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "examples"


def test_the_python_example(gateway: Gateway):
    _check(gateway, _run(gateway, sys.executable, str(_EXAMPLES / "conversation.py")))


def test_the_curl_example(gateway: Gateway):
    if shutil.which("curl") is None:
        pytest.skip("NO CURL: the curl example does not run")
    said = _run(gateway, "sh", str(_EXAMPLES / "conversation.sh"))
    assert "event: interaction.completed\n" in said
    _check(gateway, said)


@pytest.mark.timeout(600)  # the first time, npm installs
def test_the_javascript_example(gateway: Gateway):
    if shutil.which("node") is None:
        pytest.skip("NO NODE: the JavaScript example does not run")
    _check(gateway, _run(gateway, "node", str(_installed() / "conversation.mjs")))


@pytest.mark.timeout(600)
def test_the_readme(gateway: Gateway):
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    curl, python, script = (
        re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0] for language in ("sh", "python", "js")
    )
    assert "turn 1" in _run(gateway, "sh", "-c", curl)
    said = _run(gateway, sys.executable, "-c", python)
    assert "Your name is Ada" in said
    assert "Tell me a story" in said
    if shutil.which("node"):
        readme = _installed() / "readme.mjs"
        readme.write_text(script, encoding="utf-8")
        assert "Your name is Ada" in _run(gateway, "node", str(readme))


def _run(gateway: Gateway, *command: str) -> str:
    environment = clean_environment(GOOGLE_GEMINI_BASE_URL=gateway.url, GEMINI_API_KEY=gateway.key)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _check(gateway: Gateway, said: str) -> None:
    assert "2. Your name is Ada. This is turn 2" in said
    assert "This is turn 3" in said
    assert re.search("4. The model calls .*get_weather.*Paris", said)
    assert "5. get_weather returned" in said
    assert re.search("6. .*completed.*function_result.*model_output", said, re.DOTALL)
    deleted = re.findall(r"deleted (\S+)", said)
    assert len(set(deleted)) == 5
    with gateway.client() as client:
        assert {client.get(f"/v1/interactions/{each}").status_code for each in deleted} == {404}


def _installed() -> Path:
    """The example with the SDK that its lock file names; installed once, then kept in `.cache`."""
    lock = (_EXAMPLES / "package-lock.json").read_bytes()
    kept = _ROOT / ".cache" / f"examples-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not kept.is_dir():
        draft = kept.with_name(f"{kept.name}.{os.getpid()}")
        draft.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(_EXAMPLES / name, draft)
        npm = ["npm", "ci"]
        done = subprocess.run(npm, cwd=draft, timeout=400, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        draft.rename(kept)
    shutil.copy(_EXAMPLES / "conversation.mjs", kept)
    return kept
