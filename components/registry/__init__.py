"""The registry: versions, aliases and the ledger in MLflow.

This package and `components/tracking/` are the only homes of mlflow.

store          the client, and MLflow's exceptions as ours
packaging      a model directory as an MLflow model
registration   a model directory in, its one version out
versions       finding and fetching versions
ledger         what was live when and why
ledger_numbers what the ledger keeps of a decision, and how it fits
seals          what makes tampering with it visible
removal        versions that nobody needs any more
aliases        promote, rollback, and what a killed process left of them
approvals      what waits for a person, and goes live when one approves it
"""

from components.registry.aliases import (
    promote,
    retire_challenger,
    rollback,
    rollback_target,
    set_challenger,
    settle,
)
from components.registry.approvals import (
    Waiting,
    approve,
    ask_for_approval,
    expire,
    require_waiting,
    stop_waiting,
    waiting_models,
    waiting_versions,
)
from components.registry.ledger import LedgerEvent, aliases_at, live_at, read_ledger, read_moves
from components.registry.registration import register_model
from components.registry.removal import delete_version, needed_versions, version_files
from components.registry.seals import examine_ledger
from components.registry.store import open_store
from components.registry.versions import (
    best_accepted,
    champion,
    fetch_model,
    fetched_folder,
    find_by_address,
    find_version,
    get_version,
    list_models,
    reference_folder,
    rolled_back,
    versions,
    with_alias,
)

__all__ = [
    "LedgerEvent",
    "Waiting",
    "aliases_at",
    "approve",
    "ask_for_approval",
    "best_accepted",
    "champion",
    "delete_version",
    "examine_ledger",
    "expire",
    "fetch_model",
    "fetched_folder",
    "find_by_address",
    "find_version",
    "get_version",
    "list_models",
    "live_at",
    "needed_versions",
    "open_store",
    "promote",
    "read_ledger",
    "read_moves",
    "reference_folder",
    "register_model",
    "require_waiting",
    "retire_challenger",
    "rollback",
    "rollback_target",
    "rolled_back",
    "set_challenger",
    "settle",
    "stop_waiting",
    "version_files",
    "versions",
    "waiting_models",
    "waiting_versions",
    "with_alias",
]
