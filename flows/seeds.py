"""The same fine-tuning with other seeds: how much of a difference is luck with the order of rows and the dropout."""

from __future__ import annotations

from dataclasses import replace

from components.records import EvaluationReport, TokenizedDataset, ValidatedDataset
from components.step_parts import with_seed
from flows import steps
from flows.job import Job
from flows.tracked import tracked_run


def other_seeds(job: Job, dataset: ValidatedDataset, tokens: TokenizedDataset) -> list[EvaluationReport]:
    """The scores of the candidate's recipe with each further seed that `gate.seeds` asks for; nothing is registered."""
    return [_again(job, dataset, tokens, offset) for offset in range(1, job.config.gate.seeds)]


def _again(job: Job, dataset: ValidatedDataset, tokens: TokenizedDataset, offset: int) -> EvaluationReport:
    from components import tracking

    other = replace(job, inputs=with_seed(job.inputs, offset))
    with tracked_run(other, dataset, tokens, {"gate.seed": str(other.config.training.seed)}) as run_id:
        model = steps.fine_tune(other, run_id, dataset, tokens)
        report = steps.evaluate(other, dataset, model)
        tracking.log_training(job.settings, run_id, model)
        tracking.log_evaluation(job.settings, run_id, report)
    return report
