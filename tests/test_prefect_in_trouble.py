"""A Prefect server in trouble, as when its database is away, ends no run."""

from __future__ import annotations

import logging

import httpx
import pytest

from flows import artifacts

REQUEST = httpx.Request("POST", "http://127.0.0.1:4200/api/artifacts/")


@pytest.mark.parametrize(
    "error",
    [
        httpx.HTTPStatusError("Server error '500'\nmore", request=REQUEST, response=httpx.Response(500)),
        httpx.ConnectError("refused"),
    ],
)
def test_what_cannot_be_shown_is_a_warning(
    error: httpx.HTTPError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def away(*_: object, **__: object) -> None:
        raise error

    for name in ("create_markdown_artifact", "create_link_artifact", "create_table_artifact"):
        monkeypatch.setattr(artifacts, name, away)
    with caplog.at_level(logging.WARNING, "rebert.flows"):
        artifacts.publish_text("shop", "training", "text")
        artifacts.publish_link("shop", "http://127.0.0.1:5000", "page")
        artifacts.publish_checks("shop", [])
    assert [line.split(" is ")[0] for line in caplog.messages] == [
        "'shop-training'",
        "'shop-mlflow'",
        "'shop-validation'",
    ]
    assert not [line for line in caplog.messages if "\n" in line]


def test_a_fault_of_the_server_is_asked_again():
    """Set by our settings, before Prefect is imported."""
    from prefect.settings import get_current_settings

    assert get_current_settings().client.retry_extra_codes == {500}
