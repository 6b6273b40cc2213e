"""A headless Chromium, driven over WebDriver's own HTTP: no further package is needed."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # Source: W3C WebDriver, the key of an element's reference
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,1000"]


def missing() -> str:
    """What a browser test needs and this machine lacks; empty where it lacks nothing."""
    return next((f"{name} is not installed" for name in ("chromium", "chromedriver") if not shutil.which(name)), "")


class Browser:
    """One window; a context manager that closes it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self.until(self._answers)
        profile = [f"--user-data-dir={folder / 'profile'}"]
        wanted = {
            "goog:chromeOptions": {"args": OPTIONS + profile, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._post("/session", capabilities={"alwaysMatch": wanted})["sessionId"]
        self.session = f"/session/{session}"

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return bool(self.client.get("/status").json()["value"]["ready"])
        return False

    def _post(self, path: str, **content: Any) -> Any:
        value = self.client.post(path, json=content).json()["value"]
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def open(self, url: str) -> None:
        self._post(f"{self.session}/url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self._post(f"{self.session}/execute/sync", script=script, args=list(arguments))

    def element(self, selector: str) -> str:
        found = self._post(f"{self.session}/element", using="css selector", value=selector)
        return f"{self.session}/element/{found[ELEMENT]}"

    def click(self, selector: str) -> None:
        self._post(f"{self.element(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field, as a person does."""
        element = self.element(selector)
        self._post(f"{element}/clear")
        self._post(f"{element}/value", text=text)

    def text(self, selector: str) -> str:
        """What a person reads there; empty where nothing is shown."""
        script = (
            "const node = document.querySelector(arguments[0]); return node?.checkVisibility() ? node.innerText : ''"
        )
        return str(self.run(script, selector))

    def until(self, true: Callable[[], Any], seconds: float = 20) -> Any:
        """Wait for something to be true."""
        ends = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.02)
        return found

    def reads(self, selector: str, part: str) -> str:
        """Wait for a text to stand there; returns all that does."""
        self.until(lambda: part in self.text(selector))
        return self.text(selector)

    def complaints(self) -> list[str]:
        """What the console says, such as of a script that failed or a resource that its policy forbids."""
        logged = self._post(f"{self.session}/se/log", type="browser")
        return [line["message"] for line in logged if "favicon" not in line["message"]]

    def picture(self, path: Path) -> None:
        """A picture of the window."""
        height = self.run("return document.documentElement.scrollHeight")
        self._post(f"{self.session}/window/rect", width=900, height=min(2400, height + 140))
        path.write_bytes(base64.b64decode(self.client.get(f"{self.session}/screenshot").json()["value"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(httpx.HTTPError, AttributeError):
            self.client.delete(self.session)
        self.client.close()
        self.process.terminate()
        self.process.wait()
