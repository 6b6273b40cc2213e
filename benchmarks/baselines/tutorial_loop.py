"""The loop that most tutorials show: every text padded to 128 tokens, a DataLoader, AdamW, float32.

Run by benchmarks/finetune_cpu.py; prints one line of JSON. The time counted is that of the training steps and of one
evaluation an epoch; loading, tokenizing and the test are not counted.
"""

from __future__ import annotations

import json
import time

import torch
from reading import evaluate_test, parse_options, read_rows
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_scheduler, set_seed


def main() -> None:
    options = parse_options(__doc__)
    set_seed(options.seed)
    device = torch.device(options.device)
    rows, labels = read_rows(options)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModelForSequenceClassification.from_pretrained(
        options.base, num_labels=len(labels), dtype=torch.float32
    ).to(device)
    loaders = {}
    for split in ("train", "validation"):
        encoded = tokenizer(
            rows[split]["text"], padding="max_length", truncation=True, max_length=128, return_tensors="pt"
        )
        tensors = TensorDataset(
            encoded["input_ids"], encoded["attention_mask"], torch.tensor([labels[x] for x in rows[split]["label"]])
        )
        size = options.batch_size if split == "train" else options.batch_size * 4
        loaders[split] = DataLoader(tensors, batch_size=size, shuffle=split == "train")

    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01)
    steps = len(loaders["train"]) * options.epochs
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=int(0.1 * steps), num_training_steps=steps)
    began = time.perf_counter()
    for _ in range(options.epochs):
        model.train()
        for ids, mask, targets in loaders["train"]:
            loss = model(input_ids=ids.to(device), attention_mask=mask.to(device), labels=targets.to(device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            for ids, mask, _targets in loaders["validation"]:
                model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits.argmax(-1)
    seconds = time.perf_counter() - began
    accuracy = evaluate_test(model, tokenizer, rows["test"], labels)
    samples = len(rows["train"]["text"]) * options.epochs
    print(json.dumps({"samples_per_second": samples / seconds, "seconds": seconds, "accuracy": accuracy}))


main()
