"""What every task of ours has in common: its stored result, and which failures are tried again.

Prefect's result cache is off: its keys are made of task inputs, which cannot see that a file behind a path has changed.
Finished work is found by content instead (`components/step_store.py`); what Prefect stores is the record, as JSON.
"""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from components.errors import ProjectError, RegistryAway


def is_worth_a_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """A user's mistake stays one however often it is tried; an MLflow that was away may be back."""
    try:
        state.result()
    except RegistryAway:
        return True
    except ProjectError:
        return False
    except Exception:
        return True
    return False


STORED: dict[str, Any] = {
    "persist_result": True,
    "result_serializer": "json",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": is_worth_a_retry,
}
