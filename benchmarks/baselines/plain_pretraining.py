"""A plain Hugging Face Trainer for masked language modelling with the library's collator, as run_mlm.py does it.

    python benchmarks/baselines/plain_pretraining.py FOLDER TEXT MAX_LENGTH BATCH STEPS lines|packed

FOLDER has a tokenizer and a configuration, TEXT one sentence a line and blank lines between documents. `lines` makes a
row of each piece of a document, padded to the longest of its batch; `packed` joins all documents and cuts them into
rows of the full length, across their borders, as group_texts does. Tokens are counted without padding.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

WARM_UP = 5  # steps that are not timed


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.began = 0.0

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.global_step == WARM_UP:
            self.began = time.perf_counter()


class Counted(DataCollatorForLanguageModeling):
    read = 0

    def torch_call(self, examples: Any) -> Any:
        Counted.read += sum(len(example["input_ids"]) for example in examples)
        return super().torch_call(examples)


def main(folder: str, text: str, max_length: int, batch: int, steps: int, form: str) -> dict[str, float]:
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    blocks = Path(text).read_text(encoding="utf-8").split("\n\n")
    documents = [tokenizer(block.replace("\n", " "), add_special_tokens=False)["input_ids"] for block in blocks]
    room = max_length - 2
    if form == "packed":
        joined = [token for document in documents for token in document]
        pieces = [joined[start : start + room] for start in range(0, len(joined) - room, room)]
    else:
        pieces = [d[start : start + room] for d in documents for start in range(0, len(d), room)]
    rows = [{"input_ids": [tokenizer.cls_token_id, *piece, tokenizer.sep_token_id]} for piece in pieces]
    network = BertForMaskedLM(AutoConfig.from_pretrained(folder))
    arguments = TrainingArguments(
        output_dir=f"{folder}/plain",
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=1e-3,
        warmup_steps=0.1,
        weight_decay=0.01,
        report_to="none",
        save_strategy="no",
        logging_steps=10_000,
        disable_tqdm=True,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
    )
    clock = Clock()
    collator = Counted(tokenizer, mlm_probability=0.15)
    Trainer(network, arguments, train_dataset=rows, data_collator=collator, callbacks=[clock]).train()
    seconds = time.perf_counter() - clock.began
    return {"tokens_per_second": Counted.read * (steps - WARM_UP) / steps / seconds, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])))
