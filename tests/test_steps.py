"""Prefect's tasks: which failures are tried again."""

from __future__ import annotations

from typing import NoReturn

import pytest

from components.errors import ConfigError, RegistryAway, RegistryError
from flows.task_options import is_worth_a_retry


class FailedState:
    """A task run's state whose result is an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> NoReturn:
        raise self.error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RegistryAway("MLflow does not answer.", "start it."), True),
        (RegistryError("MLflow does not let you in.", "set a password."), False),
        (ConfigError("no such key.", "correct it."), False),
        (OSError("anything else"), True),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(error: Exception, again: bool) -> None:
    assert is_worth_a_retry(None, None, FailedState(error)) is again
