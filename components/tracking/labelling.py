"""What more labels would buy, in a run of its own beside those of the model's trainings."""

from __future__ import annotations

from pathlib import Path

from components.labelling.label_value import LabelValue
from components.registry.store import mlflow_errors
from components.settings import Settings
from components.tracking.places import LONGEST_TAG, place_of


@mlflow_errors
def log_label_value(settings: Settings, run_id: str, value: LabelValue, folder: Path) -> None:
    """Show the learning curve and its forecast: the sentence, the numbers, the table and the picture."""
    place = place_of(settings, run_id)
    place.client.set_tag(run_id, "mlflow.runName", f"label value by {value.method}")
    place.client.set_tag(run_id, "mlflow.note.content", value.sentence[:LONGEST_TAG])
    asked = value.forecasts[-1]
    numbers: dict[str, float | None] = {"gain": asked.gain, "gain_low": asked.low, "gain_high": asked.high}
    numbers |= {"more_rows": asked.more, "training_rows": value.sizes[-1]}
    place.metrics({f"label_value/{name}": number for name, number in numbers.items()})
    place.upload(folder, "label_value")
