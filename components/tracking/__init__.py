"""Tracking: runs, their curves and what became of them, in MLflow.

This package and `components/registry/` are the only homes of mlflow.

    runs       one run for each training; no run stays open
    curves     the loss while it is being learned, and how busy the machine is
    run_facts  settings, and what the model reads in windows or cannot reach
    recipes    what a version was made from, to make it again
    places     where all of that is kept
    data_inputs   the data sets
    outcomes   reports, pictures, the card
    bundles    engines and the bundle
    labelling  what more labels would buy
    decisions  the gate's, the bundle's, a person's
    monitoring  what the monitor has found, a run for each version
    pretraining   the phases of a pretraining, its examples, samples of its guesses
"""

from components.tracking.bundles import fetch_engine, fetch_release, log_bundle, log_engines, was_bundled
from components.tracking.curves import LiveCurves, send_history
from components.tracking.data_inputs import log_dataset
from components.tracking.decisions import (
    accepted_report,
    changed_decisions,
    earlier_decisions,
    log_approval,
    log_decision,
    log_expiry,
    log_measured,
    log_promotion,
    log_waiting,
    read_decision,
)
from components.tracking.labelling import log_label_value
from components.tracking.monitoring import fetch_predictions, fetch_reference, log_look, log_reference
from components.tracking.outcomes import (
    Rejection,
    last_rejection,
    log_card,
    log_evaluation,
    log_label_noise,
    log_rejection,
    log_training,
)
from components.tracking.pretraining import log_adaptation, log_examples, log_phase, pretraining_params, tell_phases
from components.tracking.recipes import log_recipe, read_recipe
from components.tracking.run_facts import log_tokens, run_params
from components.tracking.runs import (
    OpenRun,
    close_run,
    close_stale_runs,
    finish_run,
    open_runs,
    run_page,
    running,
    start_run,
)

__all__ = [
    "LiveCurves",
    "OpenRun",
    "Rejection",
    "accepted_report",
    "changed_decisions",
    "close_run",
    "close_stale_runs",
    "earlier_decisions",
    "fetch_engine",
    "fetch_predictions",
    "fetch_reference",
    "fetch_release",
    "finish_run",
    "last_rejection",
    "log_adaptation",
    "log_approval",
    "log_bundle",
    "log_card",
    "log_dataset",
    "log_decision",
    "log_engines",
    "log_evaluation",
    "log_examples",
    "log_expiry",
    "log_label_noise",
    "log_label_value",
    "log_look",
    "log_measured",
    "log_phase",
    "log_promotion",
    "log_recipe",
    "log_reference",
    "log_rejection",
    "log_tokens",
    "log_training",
    "log_waiting",
    "open_runs",
    "pretraining_params",
    "read_decision",
    "read_recipe",
    "run_page",
    "run_params",
    "running",
    "send_history",
    "start_run",
    "tell_phases",
    "was_bundled",
]
