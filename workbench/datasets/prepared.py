"""The cache of prepared data: memory-mappable arrays, Parquet and JSON, and nothing that is unpickled.

A prepared data set is a folder named by its fingerprint below ``<cache>/<name>/``; ``current.json`` beside it names
the one in use. Both are written beside and renamed, so a reader sees the old or the new, and never a half.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.files import WriteError, explained, flush_to_disk, make_folder, write_text
from diffsasrec.interactions import Interactions
from diffsasrec.vocabulary import Vocabulary
from workbench.datasets.dataset import Dataset

FORMAT = 1
_CURRENT, _ABOUT, _WRITING = "current.json", "dataset.json", ".writing-"
_ARRAYS = ("user_ids", "offsets", "tokens", "timestamps", "item_ids")
_OPTIONAL_ARRAYS = ("ratings", "parts")  # where the source has them


def save_prepared(dataset: Dataset, cache: Path, *, version: int) -> Dataset:
    """Write a data set to the cache and return it as memory maps of what was written.

    Processes that prepare the same name at once do so one after the other.

    Raises:
        WriteError: it could not be written; what was prepared before is there still.
    """
    home = cache / dataset.name
    try:
        make_folder(home)
        with _locked(home):
            _put(dataset, home, version)
    except WriteError as error:
        raise WriteError(f"{error}, or point DIFFSASREC_CACHE to another folder") from error
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


def _put(dataset: Dataset, home: Path, version: int) -> None:
    """Write a data set beside its place, then rename it, then name it as the one in use."""
    for leftover in home.glob(f"{_WRITING}*"):  # of a process that was killed: only one at a time comes here
        shutil.rmtree(leftover, ignore_errors=True)
    place, beside = home / dataset.fingerprint, home / f"{_WRITING}{dataset.fingerprint}"
    try:
        with explained(home):
            beside.mkdir()
            _write(dataset, beside, version)
            for path in beside.iterdir():
                flush_to_disk(path)
            if not _is_same(beside, place):
                _move_into_place(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _write_json(home / _CURRENT, {"format": FORMAT, "fingerprint": dataset.fingerprint, "version": version})


def _is_same(made: Path, place: Path) -> bool:
    """Return whether a folder holds already, byte for byte, what was made: then its readers are left in peace."""
    names = [path.name for path in made.iterdir()]
    return place.is_dir() and filecmp.cmpfiles(made, place, names, shallow=False)[0] == names


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
    _write_json(folder / _ABOUT, content)


def _read(name: str, folder: Path) -> Dataset:
    content = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
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
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except EOFError as error:
        raise ValueError(f"{path.name} is empty") from error


def _move_into_place(made: Path, place: Path) -> None:
    """Rename a folder; what was there before steps aside first, and is deleted afterwards."""
    aside = made.with_name(f"{made.name}-old")
    if place.exists():
        place.rename(aside)
    made.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Wait until nobody else writes below a folder, and keep others waiting."""
    with explained(home):
        file = home.with_name(f".{home.name}.lock").open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _checked(fingerprint: str) -> str:
    """Return a fingerprint that can be no path."""
    if not (len(fingerprint) == 16 and set(fingerprint) <= set("0123456789abcdef")):
        raise ValueError(f"{fingerprint!r} is no fingerprint")
    return fingerprint
