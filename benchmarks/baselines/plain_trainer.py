"""A plain Hugging Face Trainer script with dynamic padding, as in the text-classification example of transformers.

Run by benchmarks/finetune_cpu.py and finetune_gpu.py; prints one line of JSON. The time counted is that of
`trainer.train()` with one evaluation an epoch and no checkpoints.
"""

from __future__ import annotations

import json
import time

import torch
from datasets import Dataset
from reading import evaluate_test, parse_options, read_rows
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main() -> None:
    options = parse_options(__doc__)
    set_seed(options.seed)
    rows, labels = read_rows(options)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModelForSequenceClassification.from_pretrained(
        options.base, num_labels=len(labels), dtype=torch.float32
    )
    data = {}
    for split in ("train", "validation"):
        encoded = tokenizer(rows[split]["text"], truncation=True, max_length=128)
        data[split] = Dataset.from_dict({**encoded, "labels": [labels[label] for label in rows[split]["label"]]})
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=options.scratch,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=options.batch_size * 4,
            num_train_epochs=options.epochs,
            learning_rate=options.learning_rate,
            warmup_steps=0.1,
            weight_decay=0.01,
            eval_strategy="epoch",
            save_strategy="no",
            logging_steps=50,
            bf16=options.bf16,
            use_cpu=options.device == "cpu",
            dataloader_pin_memory=options.device != "cpu",
            seed=options.seed,
            disable_tqdm=True,
            report_to="none",
        ),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    accuracy = evaluate_test(model, tokenizer, rows["test"], labels)
    samples = len(rows["train"]["text"]) * options.epochs
    print(json.dumps({"samples_per_second": samples / seconds, "seconds": seconds, "accuracy": accuracy}))


main()
