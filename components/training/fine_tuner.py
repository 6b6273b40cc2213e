"""The HF Trainer with our batches, losses, evaluation and whole checkpoints. Imports transformers: import it late."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments

from components.config import Training
from components.task_types import Spec, TaskType
from components.training.best_weights import BestWeights
from components.training.checkpoints import commit_checkpoint, remove_old_checkpoints
from components.training.fast_dropout import DropoutMasks
from components.training.token_table import ShuffledBatches, TokenTable, sorted_batches
from components.training.training_flow import Plan, TrainingFlow
from components.training.training_history import History

EVALUATION_TOKENS = 8192  # padded tokens in an evaluation batch
LOGS = 50  # lines of training loss in a history, about
DECAYING_AND_NOT = 2  # groups of parameters in the Trainer's optimizer

Evaluate = Callable[[list[Any]], dict[str, float]]  # raw outputs of the validation windows, in their order


class FineTuner(Trainer):  # type: ignore[misc]  # transformers has no types
    """Trains one network.

    Args:
        network: what learns.
        args: made by `training_arguments`.
        training: the run file's section.
        task_type, spec: how the network is asked, and what its loss is.
        tokenizer: of the network, for what is drawn anew in each batch.
        weights: of the loss, or None.
        tables: the windows of "train" and "validation".
        score: metrics of the validation outputs; the one named `metric` chooses the best weights.
        masks: of the network's fast dropout, if it has been given that.
    """

    def __init__(
        self,
        network: Any,
        args: TrainingArguments,
        *,
        training: Training,
        task_type: TaskType,
        spec: Spec,
        tokenizer: Any,
        weights: torch.Tensor | None,
        tables: dict[str, TokenTable],
        score: Evaluate,
        metric: str,
        history: History,
        masks: DropoutMasks | None,
    ) -> None:
        self.training = training
        self.masks = masks
        self.task_type, self.spec = task_type, spec
        self.own_tokenizer = tokenizer
        self.weights = weights
        self.tables = tables
        self.score, self.metric = score, metric
        self.history = history
        self.step, self.part = -1, 0  # a step may be several batches, each with what is drawn for it
        self.best = BestWeights(network, _rows_of(tables["validation"]), training.early_stopping_patience)
        super().__init__(network, args, train_dataset=tables["train"], eval_dataset=tables["validation"])
        self.model_accepts_loss_kwargs = False  # nothing to count before each step
        self.loss_is_scaled_for_ga = False  # a mean over the batch: the Trainer divides by the accumulated steps
        self.remove_callback(PrinterCallback)
        plan = Plan(
            rows=tables["train"].drawn,
            rows_a_step=args.per_device_train_batch_size * args.gradient_accumulation_steps,
            learning_rate=training.learning_rate,
            metric=f"validation_{metric}",
            exhausted=lambda: self.best.exhausted,
        )
        self.add_callback(TrainingFlow(history, plan))

    def get_train_dataloader(self) -> DataLoader[Any]:
        table: Any = self.tables["train"]
        batches: Any = ShuffledBatches(
            table.groups, table.lengths, self.args.per_device_train_batch_size, self.args.seed
        )
        loader: DataLoader[Any] = DataLoader(
            table, batch_sampler=batches, collate_fn=table.batch, pin_memory=not self.args.use_cpu
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The Trainer's, with a learning rate of its own for the head where the run file has one."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        rate = self.training.head_learning_rate
        if rate is not None and len(optimizer.param_groups) == DECAYING_AND_NOT:
            network = self.accelerator.unwrap_model(self.model)
            encoder = {id(parameter) for parameter in network.base_model.parameters()}
            for group in list(optimizer.param_groups):
                head = [parameter for parameter in group["params"] if id(parameter) not in encoder]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) in encoder]
                optimizer.add_param_group({**group, "params": head, "lr": rate})
        return optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        self.part = self.part + 1 if self.state.global_step == self.step else 0
        self.step = self.state.global_step
        if self.masks is not None:
            self.masks.start(self.step)
        inputs = self._prepared(inputs, self.step, self.part)
        targets = inputs.pop("labels")
        outputs = self.task_type.forward(model, inputs)
        loss = self._loss(model, outputs, inputs, targets)
        return (loss, outputs) if return_outputs else loss

    def _prepared(self, inputs: dict[str, torch.Tensor], *place: int) -> dict[str, torch.Tensor]:
        """The batch as the network gets it; what is drawn in it depends on the seed and on its place."""
        return self.task_type.prepare(inputs, self.own_tokenizer, self.spec, (self.training.seed, *place))

    def _loss(
        self, model: Any, outputs: torch.Tensor, inputs: dict[str, torch.Tensor], targets: torch.Tensor
    ) -> torch.Tensor:
        network, own = self.accelerator.unwrap_model(model), self.task_type.without_padding(outputs, inputs)
        return self.task_type.loss(network, own, targets, self.training, self.weights)

    def evaluate(self, *_args: Any, **_options: Any) -> dict[str, float]:
        outputs, loss = self.validation_outputs()
        metrics = {f"validation_{name}": value for name, value in {"loss": loss, **self.score(outputs)}.items()}
        self.best.offer(metrics[f"validation_{self.metric}"], loss, self.state.epoch or 0.0)
        self.log(metrics)
        return metrics

    def validation_outputs(self) -> tuple[list[Any], float]:
        """Raw outputs of the validation windows in their order, in the precision of the training, and their loss."""
        table, model = self.tables["validation"], self.model_wrapped
        model.eval()
        found: list[Any] = [None] * len(table)
        losses = 0.0
        with torch.inference_mode():
            for places in sorted_batches(table.lengths, EVALUATION_TOKENS):
                batch = self._prepared(table.batch(places), places[0])
                inputs = self._prepare_inputs(batch)
                targets = inputs.pop("labels")
                outputs = self.task_type.forward(model, inputs)
                losses += float(self._loss(model, outputs, inputs, targets)) * len(places)
                numbers = self.task_type.condense(outputs, inputs).float().cpu().numpy()
                arrays = {name: values.cpu().numpy() for name, values in inputs.items()}
                for place, output in zip(places, self.task_type.split(numbers, arrays), strict=True):
                    found[place] = output
        return found, losses / len(table)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # not reported, and counting takes its time in every step

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self.best.save(folder)
        commit_checkpoint(folder)
        remove_old_checkpoints(folder.parent)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_weights(state_dict or self.model.state_dict(), Path(output_dir or self.args.output_dir))


def _rows_of(table: TokenTable) -> int:
    return int(table.rows[-1]) + 1 if len(table) else 1


def save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write a checkpoint's weights, tied ones twice."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # Copies, since safetensors takes no tensor that shares its memory with another, as tied weights do.
    save_file({name: value.clone() for name, value in weights.items()}, folder / "model.safetensors")


def training_arguments(
    training: Training, folder: Path, device: str, precision: str, rows: int, **others: Any
) -> TrainingArguments:
    """The Trainer's arguments: what the run file says, and nothing that costs time in every step.

    Args:
        rows: of an epoch.
        others: arguments of the Trainer that differ from these.
    """
    steps = math.ceil(rows / (training.batch_size * training.accumulation_steps)) * training.epochs
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.accumulation_steps,
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "warmup_steps": training.warmup_share,  # below 1 it is a share, from 1 on a count
        "weight_decay": training.weight_decay,
        "optim": "adamw_torch_fused",
        "use_cpu": device == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "activation_checkpointing": training.gradient_checkpointing,
        "seed": training.seed,
        "logging_steps": max(1, math.ceil(steps / LOGS)),
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device == "cuda",
        "remove_unused_columns": False,
    }
    return TrainingArguments(**{**arguments, **others})
