"""The HF Trainer for pretraining, in one process or in several. Imports transformers: import it late."""

from __future__ import annotations

from math import ceil, exp
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from components.pretraining.example_table import EpochLoader, ExampleTable, SharedBatches
from components.pretraining.network import SUMS, PretrainingNetwork, losses_of
from components.pretraining_config import Phase, PretrainingConfig
from components.reports.statistics import wilson
from components.training.checkpoints import commit_checkpoint, remove_old_checkpoints
from components.training.fast_dropout import DropoutMasks
from components.training.fine_tuner import EVALUATION_TOKENS, LOGS, save_weights, training_arguments
from components.training.token_table import sorted_batches
from components.training.training_flow import Plan, TrainingFlow
from components.training.training_history import History

METRIC = "validation_mlm_loss"


class Pretrainer(Trainer):  # type: ignore[misc]  # transformers has no types
    """Trains one phase.

    Args:
        model: what learns.
        args: made by `pretraining_arguments`.
        phase: the run file's.
        tables: sequences of "train" and "validation".
        masks: of the network's fast dropout, if it has been given that.
        flops: of a training step for one token.
        rate: measured operations a second of a matrix product, of one process.
    """

    def __init__(
        self,
        model: PretrainingNetwork,
        args: TrainingArguments,
        *,
        config: PretrainingConfig,
        phase: Phase,
        tables: dict[str, ExampleTable],
        history: History,
        masks: DropoutMasks | None,
        flops: float,
        rate: float,
    ) -> None:
        self.config, self.phase, self.tables, self.history, self.masks = config, phase, tables, history, masks
        self.flops, self.rate = flops, rate
        self.found: dict[str, float] = {}  # by the latest evaluation, of which the last step has one
        super().__init__(model, args, train_dataset=tables["train"], eval_dataset=tables["validation"])
        # Sums since the last log, and behind them all tokens that were read.
        self.seen = torch.zeros(len(SUMS) + 1, dtype=torch.float64, device=self.args.device)
        # The Trainer counts the hidden tokens of a whole step, over its parts and all processes: `num_items_in_batch`.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False
        self.remove_callback(PrinterCallback)
        self.add_callback(TrainingFlow(history, self._plan()))

    def _plan(self) -> Plan:
        rows, phase = len(self.tables["train"]), self.phase
        steps = max(1, int(ceil(rows / phase.batch_size) * phase.epochs))
        return Plan(
            rows=rows,
            rows_a_step=phase.batch_size,
            learning_rate=self.config.learning_rate(phase),
            metric=METRIC,
            evaluate_steps=ceil(steps / self.config.training.evaluations),
            writes=self.is_world_process_zero(),
            measures=self._measures,
            agreed=self._agreed,
        )

    def get_train_dataloader(self) -> EpochLoader:
        table: Any = self.tables["train"]
        phase, args = self.phase, self.args
        batches: Any = SharedBatches(
            table.lengths,
            phase.batch_size,
            phase.accumulation_steps,
            args.seed,
            rank=args.process_index,
            processes=args.world_size,
        )
        return EpochLoader(table, batch_sampler=batches, collate_fn=table.batch, pin_memory=not args.use_cpu)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        if self.masks is not None:
            self.masks.start(self.state.global_step)
        self.seen[-1] += int(inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).sum())
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        sums = model(**inputs)
        self.seen[:-1] += sums.detach()
        # The processes' gradients are averaged, so that each one's share of a mean over all counts so many times.
        processes = self.args.world_size
        pairs = self.phase.batch_size / processes if "next_sentence_label" in inputs else 0
        loss = losses_of(sums, num_items_in_batch / processes, pairs)
        return (loss, sums) if return_outputs else loss

    def evaluate(self, *_args: Any, **_options: Any) -> dict[str, float]:
        self.found = self.held_out_metrics()
        metrics = {f"validation_{name}": value for name, value in self.found.items()}
        self.log(metrics)
        return metrics

    def held_out_metrics(self) -> dict[str, float]:
        """Losses and accuracies on the held-out sequences, whose masks are always the same."""
        table, model = self.tables["validation"], self.model_wrapped
        model.eval()
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self.args.device)
        network = model.module if hasattr(model, "module") else model  # each process reads batches of its own
        with torch.no_grad():
            for number, places in enumerate(sorted_batches(table.lengths, EVALUATION_TOKENS)):
                if number % self.args.world_size == self.args.process_index:
                    sums += network(**self._prepare_inputs(table.batch(places)))
        model.train()
        found = self._added(sums).tolist()
        return metrics_of(found) | pair_evidence(found, int(table.places["random"].sum()) if found[-1] else 0)

    def _measures(self, seconds: float) -> dict[str, float]:
        *sums, tokens = self._added(self.seen).tolist()
        self.seen.zero_()
        found = metrics_of(sums)
        rate = tokens / seconds
        return {
            **{f"train_{name}": value for name, value in found.items() if name in ("mlm_loss", "nsp_loss")},
            "tokens_per_second": round(rate, 1),
            "matrix_rate_share": round(rate * self.flops / (self.rate * self.args.world_size), 4),
        }

    def _added(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a small tensor over all processes."""
        if self.args.world_size == 1:
            return values.clone()
        total: torch.Tensor = self.accelerator.reduce(values.to(self.args.device), reduction="sum")
        return total

    def _agreed(self, due: bool) -> bool:
        """What the first process has found due."""
        first = torch.tensor([float(due and self.is_world_process_zero())])
        return bool(self._added(first).item() > 0)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # not reported, and counting takes its time in every step

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process writes the state of its generators
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            commit_checkpoint(folder)
            remove_old_checkpoints(folder.parent)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_weights(state_dict or self.model.state_dict(), Path(output_dir or self.args.output_dir))


def metrics_of(sums: list[float]) -> dict[str, float]:
    """Losses (nats) and accuracies from the sums of `SUMS`; those of pairs only where there are any."""
    mlm_loss, mlm_right, tokens, nsp_loss, nsp_right, pairs = sums
    found = {"mlm_loss": mlm_loss / max(tokens, 1), "mlm_accuracy": mlm_right / max(tokens, 1)}
    found["mlm_perplexity"] = exp(min(found["mlm_loss"], 700))
    if pairs:
        found |= {"nsp_loss": nsp_loss / pairs, "nsp_accuracy": nsp_right / pairs}
    return found


def pair_evidence(sums: list[float], random: int) -> dict[str, float]:
    """What next-sentence accuracy is to be held against: how many pairs, Wilson's 95 % interval, and chance.

    Chance is what always giving the commoner answer comes to: a good half of the pairs is random, not one half.

    Args:
        sums: of `SUMS`, over the held-out sequences.
        random: how many of their second segments are random.
    """
    *_, right, pairs = sums
    if not pairs:
        return {}
    low, high = wilson(round(right), round(pairs))
    chance = max(random, pairs - random) / pairs
    return {"nsp_pairs": pairs, "nsp_low": low, "nsp_high": high, "nsp_chance": chance}


def pretraining_arguments(
    config: PretrainingConfig, phase: Phase, folder: Path, device: str, precision: str, rows: int
) -> TrainingArguments:
    """The Trainer's arguments for a phase.

    Args:
        rows: sequences of an epoch.
    """
    training = config.fine_tuning_settings(phase).model_copy(update={"gradient_checkpointing": False})
    steps = ceil(rows / phase.batch_size) * phase.epochs
    several = {"ddp_backend": "gloo" if device == "cpu" else "nccl"} if config.processes > 1 else {}
    return training_arguments(
        training,
        folder,
        device,
        precision,
        rows,
        logging_steps=max(1, ceil(steps / LOGS)),
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=True,
        **several,
    )
