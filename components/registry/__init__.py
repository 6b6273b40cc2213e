"""The registry: versions, aliases and the ledger in MLflow.

This package and `components/tracking/` are the only homes of mlflow.

store          the client, and MLflow's exceptions as ours
packaging      a model directory as an MLflow model
registration   a model directory in, its one version out
versions       finding and fetching versions
ledger         what was live when and why
aliases        promote and rollback
"""

from components.registry.aliases import promote, rollback, set_challenger
from components.registry.ledger import LedgerEvent, live_at, read_ledger
from components.registry.registration import register_model
from components.registry.store import open_store
from components.registry.versions import (
    champion,
    download_model,
    find_version,
    get_version,
    list_models,
    rolled_back,
    versions,
    with_alias,
)

__all__ = [
    "LedgerEvent",
    "champion",
    "download_model",
    "find_version",
    "get_version",
    "list_models",
    "live_at",
    "open_store",
    "promote",
    "read_ledger",
    "register_model",
    "rollback",
    "rolled_back",
    "set_challenger",
    "versions",
    "with_alias",
]
