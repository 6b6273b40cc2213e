"""The tokenizer's look at a delivery in another process, which has transformers at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.config import RunConfig
from components.processes.compute_process import ComputeProcess
from components.processes.orders import ProgressListener, computing_order, record
from components.records import BaseModel, as_json
from components.step_store import temporary_folder
from components.validation.token_checks import TokenFindings

ROWS = "rows.arrow"


def look_in_process(
    process: ComputeProcess, columns: Mapping[str, Any], texts: Sequence[str], base: BaseModel, config: RunConfig
) -> TokenFindings:
    """What `look_at_tokens` finds, found in another process.

    Raises:
        TrainingError: it took more than four hours, or the system killed the process.
        BaseModelError: the tokenizer cannot be loaded.
    """
    content = {
        "config": config.model_dump(mode="json"),
        "config_folder": str(config.folder),
        "base": as_json(base),
        "texts": list(texts),
    }
    order = computing_order(
        f"{__name__}:look",
        content,
        f"Reading the data of '{config.name}' with the tokenizer",
        "tokens.log",
        "use fewer rows, or a faster machine.",
    )
    with temporary_folder() as folder:
        table = pa.table(dict(columns))
        with pa.OSFile(str(folder / ROWS), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        return process.do(order, folder, TokenFindings)


def look(job: Mapping[str, Any], _: ProgressListener | None) -> TokenFindings:
    """The work in the other process."""
    from components.validation.token_checks import look_at_tokens

    config = RunConfig.model_validate({**job["config"], "folder": job["config_folder"]})
    with pa.memory_map(str(Path(job["folder"]) / ROWS)) as file:
        table = pa.ipc.open_file(file).read_all()
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    return look_at_tokens(columns, job["texts"], record(BaseModel, job["base"]), config)
