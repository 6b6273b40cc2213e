"""The Trainer that all plain Hugging Face scripts of benchmarks/quality.py share, with the settings of a job.

Linear schedule with 10 % warm-up, weight decay 0.01, dynamic padding, the last epoch's weights.
"""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

import numpy as np
from datasets import Dataset
from quality_job import Job
from torch.optim import AdamW
from transformers import Trainer, TrainingArguments


class PlainTraining:
    """One training of a network on encoded rows, and what the trained network says.

    Args:
        data: of train and validation, lists of the same length by name, `labels` or positions among them.
    """

    def __init__(
        self, job: Job, options: Namespace, network: Any, data: dict[str, dict[str, Any]], collator: Any
    ) -> None:
        arguments = _arguments(job, options)
        self.trainer = Trainer(
            network,
            arguments,
            optimizers=(_optimizer(job, network, arguments), None),
            train_dataset=Dataset.from_dict(data["train"]),
            eval_dataset=Dataset.from_dict(data["validation"]),
            data_collator=collator,
        )
        self.seconds = 0.0

    def run(self) -> None:
        """Train all epochs with one evaluation of the loss after each, as such scripts do."""
        began = time.perf_counter()
        self.trainer.train()
        self.seconds = time.perf_counter() - began

    def predict(self, encoded: dict[str, Any]) -> Any:
        """Raw outputs of encoded rows, padded with -100."""
        found = self.trainer.predict(Dataset.from_dict(encoded)).predictions
        return found if isinstance(found, tuple) else np.asarray(found)


def _optimizer(job: Job, network: Any, arguments: TrainingArguments) -> Any:
    """None for the Trainer's own; AdamW with two learning rates where the new layer has one of its own."""
    if job.head_learning_rate is None:
        return None
    encoder = {id(parameter) for parameter in network.base_model.parameters()}
    head = [parameter for parameter in network.parameters() if id(parameter) not in encoder]
    groups = [
        {"params": list(network.base_model.parameters())},
        {"params": head, "lr": job.head_learning_rate},
    ]
    return AdamW(groups, lr=arguments.learning_rate, weight_decay=arguments.weight_decay)


def _arguments(job: Job, options: Namespace) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(options.scratch),
        per_device_train_batch_size=job.batch_size,
        per_device_eval_batch_size=job.batch_size * 2,
        num_train_epochs=job.epochs,
        learning_rate=job.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=50,
        bf16=job.precision == "bf16",
        fp16=job.precision == "fp16",
        use_cpu=job.device == "cpu",
        dataloader_pin_memory=job.device != "cpu",
        seed=options.seed,
        disable_tqdm=True,
        report_to="none",
    )
