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
from transformers import Trainer, TrainingArguments


class PlainTraining:
    """One training of a network on encoded rows, and what the trained network says.

    Args:
        data: of train and validation, lists of the same length by name, `labels` or positions among them.
    """

    def __init__(
        self, job: Job, options: Namespace, network: Any, data: dict[str, dict[str, Any]], collator: Any
    ) -> None:
        self.trainer = Trainer(
            network,
            _arguments(job, options),
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
