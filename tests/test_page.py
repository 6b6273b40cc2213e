"""The page at `/` as a person meets it, in a headless Chromium."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from components.serving.api_keys import add_key
from components.serving.endpoint_process import address_of, open_socket
from components.serving.places import Places
from components.task_types import task_type_names
from service.application import Application
from tests import browser, model_folders
from tests.browser import Browser
from tests.bundles import build_source, tiny_config

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is a browser")
# What a person is shown of an answer of each type; of random weights nothing more can be said.
SHOWN = {
    "text_classification": "%",
    "multi_label": "%",
    "zero_shot": "%",
    "regression": "",
    "token_classification": "table",
    "question_answering": "%",
    "fill_mask": "Mask 1",
}


@contextmanager
def served(source: Path, places: Places | None = None) -> Iterator[str]:
    """The address of an endpoint in a thread of this process."""
    config = uvicorn.Config(Application(source, places), log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    with open_socket("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield address_of(listener).url
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


def test_a_person_asks_is_told_why_and_corrects(window: Browser, support_model: Path, tmp_path: Path):
    store = tmp_path / "feedback.jsonl"
    source = build_source(tmp_path, support_model, tiny_config())
    with served(source, Places(feedback=store)) as url:
        window.open(url)
        assert "support" in window.reads("h1", "support")
        window.type("#in-text", "where is <b>my</b> card 👍?")
        window.click("#ask")
        assert "%" in window.reads("#answer", "balance")
        assert "version 1" in window.text("#took")
        window.click("#explain")
        assert "where is <b>my</b> card 👍?" in window.reads("#why", "all weights add up")
        window.click("#correct summary")
        window.run("document.querySelector('#true-label').value = 'refund'")
        window.click("#correction button")
        window.reads("#sent", "kept for the next training")
        [kept] = map(json.loads, store.read_text(encoding="utf-8").splitlines())
        assert (kept["text"], kept["label"]) == ("where is <b>my</b> card 👍?", "refund")
        assert len(kept["request"]) == 16
        assert window.complaints() == []  # its policy forbids nothing that it needs


def test_a_person_is_asked_for_the_key_that_the_endpoint_wants(window: Browser, support_model: Path, tmp_path: Path):
    key = add_key(tmp_path / "keys.json", "shop")
    with served(build_source(tmp_path, support_model, tiny_config()), Places(keys=tmp_path / "keys.json")) as url:
        window.open(url)
        window.reads("#access", "API key")
        window.type("#key", "wrong")
        window.click("#access button")
        window.reads("#problem", "The API key is not known")
        window.type("#key", key)
        window.click("#access button")
        window.reads("#question", "Text")
        window.click("#ask")
        assert "%" in window.reads("#answer", "%")
        window.open(f"{url}/docs")
        assert "/predict" in window.reads("#page", "/predict")
        window.complaints()


def test_a_person_is_told_what_is_wrong(window: Browser, support_model: Path, tmp_path: Path):
    with served(build_source(tmp_path, support_model, tiny_config())) as url:
        window.open(url)
        window.reads("#question", "Text")
        window.run("document.querySelector('#in-text').value = ' '")
        window.click("#ask")
        assert "is blank" in window.reads("#problem", "To fix:")
        window.complaints()
    window.type("#in-text", "card")
    window.click("#ask")
    window.reads("#problem", "The endpoint does not answer.")
    window.complaints()


@pytest.mark.slow
@pytest.mark.parametrize("name", task_type_names())
def test_every_type_of_model_can_be_asked(window: Browser, name: str, tiny_base: Path, tmp_path: Path):
    model = model_folders.build_model(tmp_path / "model", tiny_base, task_type=name)
    with served(build_source(tmp_path, model, tiny_config()), Places(feedback=tmp_path / "f.jsonl")) as url:
        window.open(url)
        window.until(lambda: window.text("#question"))
        window.click("#ask")
        window.reads("#took", "version 1")
        assert SHOWN[name] in window.text("#answer")
        window.picture(tmp_path / f"{name}.png")
        assert window.complaints() == []
