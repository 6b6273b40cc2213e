"""What docs/endpoint.md shows of asking works as it stands there: curl, httpx and a generated client."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.records import Bundle
from components.serving.endpoint_process import EndpointProcess, open_socket
from components.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "endpoint.md"
SHOWN_AT = "http://127.0.0.1:3000"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(support_bundle: tuple[Settings, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings, bundle = support_bundle
    log = tmp_path_factory.mktemp("endpoint") / "log"
    with open_socket("127.0.0.1", 0) as listener, EndpointProcess(settings, bundle, listener, log) as endpoint:
        endpoint.wait_until_ready()
        yield endpoint.address.url


def shown(language: str, word: str) -> str:
    """The first snippet in a language that has a word in it."""
    page = PAGE.read_text(encoding="utf-8")
    snippets = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return next(snippet for snippet in snippets if word in snippet)


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder / "support-client")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl(url: str, tmp_path: Path):
    answer = json.loads(run(["bash", "-c", shown("bash", "curl").replace(SHOWN_AT, url)], tmp_path))
    example = json.loads(shown("json", "predictions"))
    assert answer.keys() == example.keys()
    assert answer["predictions"][0].keys() == example["predictions"][0].keys()


def test_httpx(url: str, tmp_path: Path):
    said = run([sys.executable, "-c", shown("python", "httpx").replace(SHOWN_AT, url)], tmp_path)
    assert re.fullmatch(r"(\w+ 0\.\d+\n){2}", said)


@pytest.mark.skipif(shutil.which("openapi-python-client") is None, reason="openapi-python-client is not installed")
def test_a_generated_client(url: str, tmp_path: Path):
    run(["bash", "-e", "-c", shown("bash", "openapi-python-client").replace(SHOWN_AT, url)], tmp_path)
    said = run([sys.executable, "-c", shown("python", "AuthenticatedClient").replace(SHOWN_AT, url)], tmp_path)
    assert re.fullmatch(r"1 \w+\n", said)
