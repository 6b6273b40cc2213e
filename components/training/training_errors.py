"""What a training can lack, said so that it can be mended: memory, or room on the disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from components.config import Training
from components.errors import ProjectError, StorageError, TrainingError


@contextmanager
def translated_errors(training: Training, max_length: int, device: str) -> Iterator[None]:
    """Turn a lack of memory or disk into an error that says what to do; others pass."""
    try:
        yield
    except ProjectError:
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        if _says(error, "no space left", "PytorchStreamWriter failed") or getattr(error, "errno", 0) == errno.ENOSPC:
            raise StorageError(
                f"The disk is full: {error}", "free some space, then run again; training goes on where it was."
            ) from error
        if isinstance(error, MemoryError) or _says(error, "out of memory", "can't allocate memory"):
            raise TrainingError(
                f"{training.batch_size} rows of up to {max_length} tokens do not fit into the memory of {device}.",
                "halve training.batch_size and double training.accumulation_steps, or lower model.max_length.",
            ) from error
        raise


def _says(error: BaseException, *words: str) -> bool:
    text = str(error).lower()
    return any(word.lower() in text for word in words)
