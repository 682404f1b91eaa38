"""A checkpoint is a folder: model.safetensors, config.json, vocabulary.json. Nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from diffsasrec.config import to_dict
from diffsasrec.files import make_folder, replace_file, write_tensors, write_text
from diffsasrec.models import MODELS, build_model
from diffsasrec.models.base import SequentialModel
from diffsasrec.vocabulary import Vocabulary

FORMAT = 1
WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and why."""


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to recommend, with the catalogue it was trained on."""

    name: str  # in MODELS
    model: SequentialModel  # in evaluation mode
    vocabulary: Vocabulary
    hash: str  # 16 hex digits of the weights file


def save_checkpoint(folder: Path, model: SequentialModel, vocabulary: Vocabulary) -> None:
    """Write the model to ``folder``: each file beside its place and then renamed, the weights last.

    Raises:
        WriteError: a file could not be written, on a full disk for example.
    """
    make_folder(folder)
    kind = type(model.config), type(model)
    name = next(name for name, entry in MODELS.items() if entry == kind)
    content = {"format": FORMAT, "model": name, "num_items": model.num_items, "config": to_dict(model.config)}
    write_text(folder / CONFIG, json.dumps(content, indent=1) + "\n")
    replace_file(folder / VOCABULARY, vocabulary.save)
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_tensors(folder / WEIGHTS, weights)


def load_checkpoint(folder: Path, *, vocabulary: Vocabulary | None = None) -> Checkpoint:
    """Read a checkpoint; with ``vocabulary``, only if it was trained on that catalogue.

    Raises:
        FileNotFoundError: a file of it is missing.
        CheckpointError: it is truncated, of another catalogue or format, or no safetensors file at all.
    """
    for name in (CONFIG, VOCABULARY, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no checkpoint in {folder}: {name} is missing; train the model first")
    content = _parsed(folder / CONFIG, lambda path: json.loads(path.read_text(encoding="utf-8")))
    own_vocabulary = _parsed(folder / VOCABULARY, Vocabulary.load)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise CheckpointError(
            f"the checkpoint {folder} has format {found!r}, this version reads format {FORMAT}: "
            "use the version that wrote it, or train again"
        )
    if vocabulary is not None and own_vocabulary != vocabulary:
        raise CheckpointError(
            f"the checkpoint {folder} belongs to another catalogue: it knows {own_vocabulary.num_items} items "
            f"({own_vocabulary.fingerprint()}), the data has {vocabulary.num_items} ({vocabulary.fingerprint()})"
        )
    if set(content) != {"format", "model", "num_items", "config"}:
        raise CheckpointError(f"{folder / CONFIG} has the keys {sorted(content)}: train the model again")
    model = _restored_model(folder, content, own_vocabulary.num_items)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]
    return Checkpoint(content["model"], model, own_vocabulary, digest)


def _parsed(path: Path, parse: Callable[[Path], Any]) -> Any:
    """Return what a file holds; raise ``CheckpointError`` that names it when it is broken."""
    try:
        return parse(path)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is broken ({error}): train the model again") from error


def _restored_model(folder: Path, content: dict, num_items: int) -> SequentialModel:
    """Return the model that config.json describes, with the saved weights."""
    try:
        if content["num_items"] != num_items:
            raise ValueError(
                f"config.json says {content['num_items']} items, vocabulary.json has {num_items}"
            )
        weights = load_file(folder / WEIGHTS)
        name, config = content["model"], content["config"]
        model = build_model(name, config, num_items, item_features=weights.get("transformer.item_features"))
        model.load_state_dict(weights)
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} is truncated or no safetensors file ({error}); other formats, pickles above all, "
            "are never loaded: train the model again"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint {folder} does not fit together: {error}") from error
    return model.eval()


def load_state(path: Path) -> dict:
    """Read what ``files.write_state`` wrote, with ``weights_only=True``: it runs no code of the file.

    Raises:
        CheckpointError: the file is broken or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError ... for broken files
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch adds advice that is none here
        raise CheckpointError(
            f"{path} is broken and cannot be resumed from ({reason}): begin anew, without resume"
        ) from error
