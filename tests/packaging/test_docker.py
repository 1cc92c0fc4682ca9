"""The image, without an engine: the Dockerfile's steps run in a folder, and what they make serves."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    stage: int
    name: str
    value: str


def instructions() -> list[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[Instruction] = []
    stage = -1
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            name, _, value = line.strip().partition(" ")
            stage += name == "FROM"
            found.append(Instruction(stage, name, value.strip()))
    return found


def final(name: str) -> list[str]:
    last = max(instruction.stage for instruction in instructions())
    return [value for stage, found, value in instructions() if stage == last and found == name]


def copied() -> list[str]:
    return [
        source
        for _, name, value in instructions()
        if name == "COPY" and "--from" not in value
        for source in value.split()[:-1]
    ]


def test_every_base_image_is_the_same_and_names_a_version():
    bases = {value.split()[0] for _, name, value in instructions() if name == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", bases.pop())


def test_the_container_is_not_root_and_says_how_it_is():
    assert final("USER") == ["10001:10001"]
    assert final("EXPOSE") == ["8080"]
    assert final("VOLUME") == ["/data"]
    assert "/readyz" in final("HEALTHCHECK")[0]
    assert orjson.loads(final("CMD")[0]) == ["gateway", "serve", "--host", "0.0.0.0"]


def test_what_is_copied_exists_and_is_not_ignored():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for source in copied():
        name = source.removeprefix("./")
        assert (ROOT / name).exists(), name
        verdicts = [not rule.startswith("!") for rule in rules if fnmatch(name, rule.lstrip("!"))]
        assert verdicts[-1] is False, f"{name} is left out by .dockerignore"


@pytest.fixture
def image(tmp_path: Path) -> "Image":
    """The file system of the build stage, in a folder: its RUN and COPY, one after the other."""
    made = Image(tmp_path)
    for stage, name, value in instructions():
        if name == "ENV":
            made.set(value)
        elif stage == 0 and name in ("RUN", "COPY", "WORKDIR"):
            getattr(made, name.lower())(value)
    return made


class Image:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root
        ours = ("GATEWAY_", "GEMINI_", "GOOGLE_", "PYTHON")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"

    def here(self, text: str) -> str:
        """The same, with the image's own folders moved below this one."""
        return re.sub(r"(?<![\w.])/(opt|src|data)\b", rf"{self.root}/\1", text)

    def workdir(self, path: str) -> None:
        self.directory = Path(self.here(path))
        self.directory.mkdir(parents=True, exist_ok=True)

    def copy(self, value: str) -> None:
        *sources, target = value.split()
        for source in sources:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, self.directory / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, self.directory / target)

    def run(self, command: str) -> None:
        done = subprocess.run(
            ["sh", "-euc", self.here(command)],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"RUN {command}\n{done.stdout}"

    def set(self, value: str) -> None:
        for pair in value.split():
            name, _, text = pair.partition("=")
            self.environment[name] = self.here(text).replace("$PATH", self.environment["PATH"])

    def start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        (self.root / "data").mkdir()
        with (self.root / "errors").open("wb") as errors:
            return subprocess.Popen(
                command,
                cwd=self.root / "data",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def healthy(self, port: int) -> bool:
        command = orjson.loads(final("HEALTHCHECK")[0].partition("CMD ")[2])
        command[-1] = command[-1].replace(":8080", f":{port}")
        checked = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
        return checked.returncode == 0


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_steps_build_an_environment_that_serves_and_stops(image: Image, port: int):
    packages = {path.name for path in image.root.glob("opt/gateway/lib/python3*/site-packages/*")}
    assert {"app", "aiohttp"} <= packages
    assert packages.isdisjoint({"pip", "hatchling", "pytest"})

    command = orjson.loads(final("CMD")[0].replace("0.0.0.0", "127.0.0.1"))
    gateway = image.start([*command, "--port", str(port)])
    try:
        deadline = time.monotonic() + 30
        while not image.healthy(port):
            assert gateway.poll() is None, (image.root / "errors").read_text()
            assert time.monotonic() < deadline, "the health check never passed"
            time.sleep(0.2)
        assert (image.root / "data/gateway.db").exists()
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(timeout=15)
    finally:
        gateway.kill()
        gateway.wait()
    assert not image.healthy(port)


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_gateway_waits_for_a_database_that_answers(compose: dict[str, Any]):
    gateway, postgres = compose["services"]["gateway"], compose["services"]["postgres"]
    assert gateway["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "pg_isready" in postgres["healthcheck"]["test"]
    assert re.fullmatch(r"postgres:\d+", postgres["image"])
    assert "@postgres:5432/" in gateway["environment"]["GATEWAY_DATABASE_URL"]


def test_secrets_have_no_default(compose: dict[str, Any]):
    gateway, postgres = compose["services"]["gateway"], compose["services"]["postgres"]
    assert gateway["environment"]["GATEWAY_PEPPER"].startswith("${GATEWAY_PEPPER:?")
    assert postgres["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_the_gateway_gets_no_more_than_it_needs(compose: dict[str, Any]):
    gateway, postgres = compose["services"]["gateway"], compose["services"]["postgres"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["tmpfs"] == ["/tmp"]
    assert "ports" not in postgres
    mounted = {volume.split(":")[0] for service in (gateway, postgres) for volume in service["volumes"]}
    assert mounted == set(compose["volumes"])


REPLICAS = ("gateway-1", "gateway-2")


def test_replicas_are_the_same_gateway_twice(compose: dict[str, Any]):
    services = compose["services"]
    alone = {key: value for key, value in services["gateway"].items() if key != "ports"}
    trusted = {"GATEWAY_TRUSTED_PROXIES": '["172.16.0.0/12", "192.168.0.0/16"]'}  # docker's own networks
    for name in REPLICAS:
        alike = {key: value for key, value in services[name].items() if key != "profiles"}
        assert alike == {**alone, "environment": {**alone["environment"], **trusted}}
    started = {name for name, service in services.items() if service.get("profiles") == ["replicas"]}
    assert started == {*REPLICAS, "balancer"}


def test_only_the_balancer_of_the_replicas_can_be_reached(compose: dict[str, Any]):
    balancer = compose["services"]["balancer"]
    assert balancer["ports"] == compose["services"]["gateway"]["ports"]
    assert balancer["depends_on"] == {name: {"condition": "service_healthy"} for name in REPLICAS}
    assert balancer["networks"] == ["public"]
    assert balancer["read_only"] is True
    [mounted] = balancer["volumes"]
    source, _, target = mounted.partition(":")
    assert (ROOT / source).is_file()
    assert target == "/etc/nginx/nginx.conf:ro"


@pytest.fixture
def nginx() -> dict[str, list[str]]:
    """The directives of the balancer's configuration, each with the arguments it is given."""
    text = re.sub(r"#.*", "", (ROOT / "deploy/nginx.conf").read_text())
    assert text.count("{") == text.count("}")
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"(\w+)\s+([^;{}]+);", text):
        found.setdefault(name, []).append(value)
    return found


def test_the_balancer_knows_the_replicas(nginx: dict[str, list[str]], compose: dict[str, Any]):
    assert [server.split(":")[0] for server in nginx["server"]] == [*REPLICAS]
    assert nginx["listen"] == [compose["services"]["balancer"]["ports"][0].rpartition(":")[2]]


def test_the_balancer_lets_streams_through(nginx: dict[str, list[str]]):
    """Nothing is held back, and nothing is given up that the gateway has not given up."""
    for name in ("proxy_buffering", "proxy_request_buffering", "proxy_cache", "gzip"):
        assert nginx[name] == ["off"], name
    assert nginx["proxy_http_version"] == ["1.1"]
    settings = Settings.model_construct()
    longest = max(settings.timeouts.run, settings.limits.request_seconds)
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        assert float(nginx[name][0].removesuffix("s")) > longest, name
    assert nginx["client_max_body_size"] == ["0"]


def test_the_balancer_sends_no_request_twice(nginx: dict[str, list[str]]):
    """`timeout`, `non_idempotent` and statuses would: a model would be asked, and paid, again."""
    assert nginx["proxy_next_upstream"] == ["error"]
