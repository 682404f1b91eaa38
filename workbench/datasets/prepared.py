"""The cache of prepared data: memory-mappable arrays, Parquet and JSON, and nothing that is unpickled.

A prepared data set is a folder named by its fingerprint below ``<cache>/<name>/``; ``current.json`` beside it names
the one in use. Both are written beside and renamed, so a reader sees the old or the new, and never a half.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.interactions import Interactions
from diffsasrec.vocabulary import Vocabulary
from workbench.datasets.dataset import Dataset

FORMAT = 1
_CURRENT = "current.json"
_ARRAYS = ("user_ids", "offsets", "tokens", "timestamps", "item_ids")
_OPTIONAL_ARRAYS = ("ratings", "parts")  # where the source has them


def save_prepared(dataset: Dataset, cache: Path, *, version: int) -> Dataset:
    """Write a data set to the cache and return it as memory maps of what was written."""
    home = cache / dataset.name
    try:
        home.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".writing-", dir=home))
        try:
            _write(dataset, beside, version)
            _move_into_place(beside, home / dataset.fingerprint)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        _write_json(
            home / _CURRENT, {"format": FORMAT, "fingerprint": dataset.fingerprint, "version": version}
        )
    except OSError as error:
        raise ValueError(
            f"{dataset.name} could not be written to {home}: {error.strerror or error}; "
            "point DIFFSASREC_CACHE to a folder with room that you may write to"
        ) from error
    return _read(dataset.name, home / dataset.fingerprint)


def load_prepared(name: str, cache: Path, *, version: int | None = None) -> Dataset | None:
    """Return a prepared data set as memory maps; None when there is none, or one of another version.

    Raise ``ValueError`` when what is there cannot be read.
    """
    home = cache / name
    if not (home / _CURRENT).is_file():
        return None
    try:
        current = json.loads((home / _CURRENT).read_text(encoding="utf-8"))
        if current["format"] != FORMAT or (version is not None and current["version"] != version):
            return None
        return _read(name, home / _checked(current["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(
            f"the prepared data of {name!r} in {home} cannot be read ({error}): prepare it again, "
            f"or delete that folder"
        ) from error


def list_prepared(cache: Path) -> list[str]:
    """Return the names of all prepared data sets."""
    return sorted(path.parent.name for path in cache.glob(f"*/{_CURRENT}"))


def _write(dataset: Dataset, folder: Path, version: int) -> None:
    interactions = dataset.interactions
    arrays = (
        interactions.user_ids,
        interactions.offsets,
        interactions.tokens,
        interactions.timestamps,
        interactions.vocabulary.item_ids,
    )
    for name, array in zip(_ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    for name, array in (("ratings", interactions.ratings), ("parts", interactions.parts)):
        if array is not None:
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    dataset.items.to_parquet(folder / "items.parquet", index=False)
    content = {
        "format": FORMAT,
        "version": version,
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "is_dated": interactions.is_dated,
        "filters": interactions.filters,
        "facts": dataset.facts,
    }
    _write_json(folder / "dataset.json", content)
    folder.chmod(0o755)  # a temporary folder is private


def _read(name: str, folder: Path) -> Dataset:
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    user_ids, offsets, tokens, timestamps, item_ids = (_map(folder / f"{array}.npy") for array in _ARRAYS)
    given = {
        array: _map(folder / f"{array}.npy")
        for array in _OPTIONAL_ARRAYS
        if (folder / f"{array}.npy").is_file()
    }
    interactions = Interactions(
        user_ids,
        offsets,
        tokens,
        timestamps,
        Vocabulary(np.asarray(item_ids)),
        **given,
        is_dated=content.get("is_dated", True),
        filters=tuple(content.get("filters", ())),
    )
    items = pd.read_parquet(folder / "items.parquet")
    if len(items) != interactions.num_items:
        raise ValueError(f"items.parquet has {len(items)} rows for {interactions.num_items} items")
    return Dataset(name, interactions, items, content["fingerprint"], content["facts"])


def _map(path: Path) -> NDArray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _move_into_place(made: Path, place: Path) -> None:
    """Rename a folder; what was there before steps aside first, and is deleted afterwards."""
    aside = made.with_name(made.name + "-old")
    if place.exists():
        place.rename(aside)
    try:
        made.rename(place)
    except OSError:
        if not place.exists():  # otherwise somebody else has just put the same content there
            raise
    shutil.rmtree(aside, ignore_errors=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def _checked(fingerprint: str) -> str:
    """Return a fingerprint that can be no path."""
    if not (len(fingerprint) == 16 and set(fingerprint) <= set("0123456789abcdef")):
        raise ValueError(f"{fingerprint!r} is no fingerprint")
    return fingerprint
