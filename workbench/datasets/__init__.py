"""Data sets by name: from raw files to a prepared, memory-mapped ``Dataset`` with titles.

One adapter per raw format, a row in ``DATASETS`` each; any other table is prepared from its file.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from diffsasrec.config import from_dict, to_dict, unknown_name
from diffsasrec.models.base import SequentialModel
from workbench.datasets import movielens, toy
from workbench.datasets.dataset import Adapter, Dataset, Raw, assemble
from workbench.datasets.download import fetch_archive
from workbench.datasets.prepared import list_prepared, load_prepared, save_prepared
from workbench.datasets.table import read_table, suffix_of
from workbench.paths import cache_dir, data_dir

__all__ = ["DATASETS", "Dataset", "open_dataset", "oracle_for", "prepare"]

_TABLE_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _read_toy(folder: Path) -> Raw:
    config = toy.ToyConfig()
    return Raw(*toy.generate(config), {"toy_config": to_dict(config), "licence": "generated here; free"})


TOY = Adapter(name="toy", read=_read_toy, version=1, licence="generated here; free")

DATASETS: dict[str, Adapter] = {
    "toy": TOY,
    "ml-100k": movielens.ML_100K,
    "ml-1m": movielens.ML_1M,
}


def prepare(
    name: str,
    *,
    from_dir: str | Path | None = None,
    cache: str | Path | None = None,
    user_col: str | None = None,
    item_col: str | None = None,
    time_col: str | None = None,
    address: str | None = None,
) -> Dataset:
    """Read raw files, check them, and keep the result in the cache; return it.

    Args:
        name: a name in ``DATASETS``, or the path of a CSV, TSV or Parquet file, which then is known by its stem.
        from_dir: the folder of the raw files; default: the folder ``name`` of the raw data, and when the files
            are not there, a download into it. For a table: its file, and ``name`` is the name it gets.
        cache: the folder of prepared data; default: ``workbench.paths.cache_dir()``.
        user_col: the names of a table's columns; defaults: user_id, item_id, timestamp.
        item_col: see user_col.
        time_col: see user_col.
        address: where to download the archive from instead of its publisher; the ``.md5`` lies beside it.

    Raises:
        FileNotFoundError: raw files that are neither there nor to be had; says what to put where.
        ValueError: an unknown name, or something wrong in the files: says what and where.
    """
    place = Path(cache) if cache is not None else cache_dir()
    columns = {"user_col": user_col, "item_col": item_col, "time_col": time_col}
    given = {key: value for key, value in columns.items() if value is not None}
    if name not in DATASETS:
        file = Path(from_dir if from_dir is not None else name)
        if suffix_of(file) is None:
            raise unknown_name("data set", name, [*DATASETS, *list_prepared(place)])
        known_as = _table_name(name, from_dir is not None)
        return save_prepared(assemble(known_as, read_table(file, **given)), place, version=_TABLE_VERSION)
    adapter = DATASETS[name]
    if given:
        warnings.warn(f"{', '.join(given)} has no effect on {name}: its columns are known", stacklevel=2)
    if from_dir is not None and not adapter.files:
        warnings.warn(f"from_dir has no effect on {name}: it is generated", stacklevel=2)
    folder = Path(from_dir) if from_dir is not None else data_dir() / name
    missing = adapter.missing(folder)
    if missing and from_dir is not None:
        raise FileNotFoundError(
            f"no {missing[0]} in {folder}: {name} is read from {', '.join(adapter.files)}"
        )
    if missing:
        _download(adapter, folder, address or adapter.address)
    return save_prepared(assemble(name, adapter.read(folder)), place, version=adapter.version)


def open_dataset(name: str, *, cache: str | Path | None = None) -> Dataset:
    """Return a prepared data set; a generated one, or one whose raw files are there, is prepared on first use.

    Raises:
        FileNotFoundError: nothing is prepared and no raw files are there; says what to put where.
        ValueError: an unknown name (the nearest is named), or prepared data that cannot be read.
    """
    place = Path(cache) if cache is not None else cache_dir()
    if name not in DATASETS:
        found = load_prepared(name, place) if _NAME.fullmatch(name) else None
        if found is None:
            raise unknown_name("data set", name, [*DATASETS, *list_prepared(place)])
        return found
    adapter = DATASETS[name]
    found = load_prepared(name, place, version=adapter.version)
    if found is not None and not _outdated(found):
        return found
    folder = data_dir() / name
    missing = adapter.missing(folder)
    if missing:
        raise FileNotFoundError(f"{name} is not prepared, and {_what_to_do(adapter, folder)}")
    return prepare(name, cache=place)


def oracle_for(dataset: Dataset) -> SequentialModel | None:
    """Return the best model there can be, where the process behind the data is known; else None."""
    config = dataset.facts.get("toy_config")
    if config is None:
        return None
    return toy.ToyOracle(from_dict(toy.ToyConfig, config), dataset.interactions.vocabulary.item_ids)


def _outdated(dataset: Dataset) -> bool:
    """Return whether a generated world was drawn with other parameters than today's."""
    return dataset.name == TOY.name and dataset.facts.get("toy_config") != to_dict(toy.ToyConfig())


def _download(adapter: Adapter, folder: Path, address: str) -> None:
    try:
        fetch_archive(address, adapter.files, folder)
    except ConnectionError as error:
        what = _what_to_do(adapter, folder)
        raise FileNotFoundError(f"{adapter.name} could not be downloaded ({error}), and {what}") from error


def _what_to_do(adapter: Adapter, folder: Path) -> str:
    files = ", ".join(adapter.files)
    return (
        f"{adapter.missing(folder)[0]} is not in {folder}: run `workbench prepare {adapter.name}` with a network, "
        f"or unpack {adapter.address} and put {files} into that folder, or name theirs with --from FOLDER"
    )


def _table_name(name: str, is_name: bool) -> str:
    """Return the name that a table gets: as given, or the file's without its ending."""
    file = Path(name)
    suffix = suffix_of(file)
    known_as = name if is_name or suffix is None else file.name[: -len(suffix)]
    if known_as in DATASETS:
        raise ValueError(f"the name {known_as!r} is taken by another data set: rename the file")
    if not _NAME.fullmatch(known_as):
        raise ValueError(f"{known_as!r} cannot be a name: use letters, digits, dots, dashes and underscores")
    return known_as
