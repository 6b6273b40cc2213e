"""Fine-tuning on a GPU: samples a second of a BERT-base shape in bf16, against a plain Trainer script in bf16.

    python benchmarks/finetune_gpu.py [--seeds 3] [--epochs 2] [--batch-size 32]
    python benchmarks/finetune_gpu.py --device cpu --smoke     only to see that it starts: a small shape, few rows

It needs a checkout and `pip install torch "transformers[torch]" datasets`, nothing else of this project's requirements
(the extra brings accelerate, without which no Trainer starts).

The base model is random: 12 layers of 768 with a vocabulary made from the words of examples/banking77. The accuracy of
a random encoder says nothing; what is compared is the speed on texts of real lengths.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from finetuning import REBERT, ROOT, Setting, compare, ratio, summary
from report import Table, machine, write_result

GOAL = 2.5
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = 30_522


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="a small shape and few rows: does it run?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    _check_device(options)
    with tempfile.TemporaryDirectory() as scratch:
        base = write_base(Path(scratch) / "base", small=options.smoke)
        setting = Setting(
            data=ROOT / "examples" / "banking77",
            base=base,
            rows=128 if options.smoke else None,
            epochs=1 if options.smoke else options.epochs,
            batch_size=options.batch_size,
            learning_rate=5e-5,
            device=options.device,
            bf16=True,
        )
        found = compare([REBERT, "plain_trainer"], setting, list(range(1 if options.smoke else options.seeds)))
    table = Table(
        f"Fine-tuning on {machine()['gpu'] or 'a CPU'}", ("system", "samples/s, median", "rebert is faster by")
    )
    for system, runs in found.items():
        times = f"{ratio(found[REBERT], runs):.2f} × (goal ≥ {GOAL} ×)" if system != REBERT else ""
        table.add(system, f"{summary(runs)[0]:.0f}", times)
    table.show()
    if not options.smoke:
        content = {"machine": machine(), "goal": GOAL, "setting": {**asdict(setting), "base": "random BERT-base"}}
        write_result("finetune_gpu", {**content, "runs": found}, [table])


def _check_device(options: argparse.Namespace) -> None:
    import torch

    if not find_spec("accelerate"):
        raise SystemExit('The Trainer needs accelerate: pip install "transformers[torch]".')
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here. To see that this starts: add --device cpu --smoke.")
    if options.device == "cpu" and not options.smoke:
        raise SystemExit("This benchmark measures a GPU; on a CPU it only runs with --smoke.")
    if options.device == "cpu":
        print("No GPU is measured: this run only shows that the benchmark starts.")


def write_base(folder: Path, *, small: bool) -> Path:
    """A random encoder of BERT-base's shape with a WordPiece vocabulary of the example's words."""
    import torch
    from transformers import BertConfig, BertModel

    words = _words()
    filled = [*SPECIAL, *words, *(f"[unused{number}]" for number in range(VOCABULARY - len(words) - len(SPECIAL)))]
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(filled), **(shape if small else {}))).save_pretrained(folder)
    _write_tokenizer(folder, filled)
    return folder


def _words() -> list[str]:
    text = (ROOT / "examples" / "banking77" / "train.csv").read_text(encoding="utf-8").lower()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*letters, *(f"##{letter}" for letter in letters), *re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text)]
    return list(dict.fromkeys(pieces))


def _write_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    own = BertWordPieceTokenizer({piece: number for number, piece in enumerate(vocabulary)})
    names = {
        "mask_token": "[MASK]",
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    fast = PreTrainedTokenizerFast(tokenizer_object=own._tokenizer, model_max_length=512, **names)
    fast.save_pretrained(folder)


if __name__ == "__main__":
    main()
