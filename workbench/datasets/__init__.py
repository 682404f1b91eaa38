"""Data sets by name: from raw files to a prepared, memory-mapped ``Dataset`` with titles.

One adapter per raw format, a row in ``DATASETS`` each; any other table is prepared from its file. A name may go on
with filters, as in ``ml-1m~5core``: see ``variants``.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from diffsasrec.config import from_dict, nearest, to_dict, unknown_name
from diffsasrec.models.base import SequentialModel
from workbench.datasets import amazon, amazon_2023, given_splits, movielens, netflix, toy
from workbench.datasets.dataset import Adapter, Dataset, Raw, assemble, changed_files
from workbench.datasets.download import fetch_archive
from workbench.datasets.formats import is_recognised, recognise
from workbench.datasets.prepared import list_prepared, load_prepared, save_prepared
from workbench.datasets.table import read_table, suffix_of
from workbench.datasets.variants import (
    SEPARATOR,
    Variant,
    base_name,
    canonical_name,
    filtered,
    parse,
    version_of,
)
from workbench.paths import cache_dir, data_dir

__all__ = [
    "DATASETS",
    "Dataset",
    "base_name",
    "canonical_name",
    "known",
    "open_dataset",
    "oracle_for",
    "prepare",
]

_TABLE_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _read_toy(folder: Path) -> Raw:
    config = toy.ToyConfig()
    return Raw(*toy.generate(config), {"toy_config": to_dict(config), "licence": "generated here; free"})


TOY = Adapter(name="toy", read=_read_toy, version=1, licence="generated here; free")

AMAZON_NAMES = "amazon-<category>-<edition>, where an edition is 2014, 5core, 2023, 2023-0core or 2023-5core"
_AMAZON = {adapter.name: adapter for adapter in (*amazon.ADAPTERS, *amazon_2023.ADAPTERS)}
DATASETS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        TOY,
        *movielens.ADAPTERS,
        *(_AMAZON[f"amazon-{name}"] for name in ("beauty-2014", "beauty-5core", "toys-and-games-2014")),
        _AMAZON["amazon-toys-and-games-5core"],
        netflix.NETFLIX,
        *given_splits.ADAPTERS,
    )
}


def known(name: str) -> Adapter | None:
    """Return the adapter of a known data set: one of ``DATASETS``, or any category of the Amazon reviews."""
    return DATASETS.get(name) or _AMAZON.get(name)


def prepare(
    name: str,
    *,
    from_dir: str | Path | None = None,
    form: str | None = None,
    cache: str | Path | None = None,
    address: str | None = None,
    **columns: str | None,
) -> Dataset:
    """Read raw files, check them, and keep the result in the cache; return it.

    Args:
        name: a name in ``DATASETS``, or one that goes on with filters; one of your own, with ``from_dir``; or the path
            of a CSV, TSV or Parquet file, which then is known by its stem.
        from_dir: the folder of the raw files; default: that of the data set below the raw data, and when the files
            are not there, a download into it. Under a name of your own: a folder or file of any form in
            ``formats.FORMATS``, or a table.
        form: the name of the form, where the files do not tell.
        cache: the folder of prepared data; default: ``workbench.paths.cache_dir()``.
        address: where to download the archive from instead of its publisher; the ``.md5`` lies beside it.
        columns: the names of a table's columns, as ``table.read_table`` takes them.

    Raises:
        FileNotFoundError: raw files that are neither there nor to be had; says what to put where.
        ValueError: an unknown name, or something wrong in the files: says what and where.
    """
    place = Path(cache) if cache is not None else cache_dir()
    given = {key: value for key, value in columns.items() if value is not None}
    if _is_variant(name):
        variant, read = parse(name), from_dir is not None or address is not None
        options = {"from_dir": from_dir, "form": form, "address": address, **columns}
        base = (
            prepare(variant.base, cache=place, **options) if read else open_dataset(variant.base, cache=place)
        )
        return _save_variant(base, variant, place)
    adapter = known(name)
    if adapter is None:
        known_as, raw, version = _read_own(name, from_dir, form, given, place)
        return save_prepared(assemble(known_as, raw), place, version=version)
    for option in [*given, *(["form"] if form is not None else [])]:
        warnings.warn(f"{option} has no effect on {name}: its files are known", stacklevel=2)
    if from_dir is not None and not adapter.files:
        warnings.warn(f"from_dir has no effect on {name}: it is generated", stacklevel=2)
    folder = Path(from_dir) if from_dir is not None else _folder_of(adapter)
    missing = adapter.missing(folder)
    if missing and from_dir is not None:
        raise FileNotFoundError(f"no {missing[0]} in {folder}: {name} is read from {_files_of(adapter)}")
    if missing:
        _download(adapter, folder, address)
    return save_prepared(assemble(name, adapter.load(folder)), place, version=adapter.version)


def open_dataset(name: str, *, cache: str | Path | None = None) -> Dataset:
    """Return a prepared data set; a generated one, or one whose raw files are there, is prepared on first use.

    Raises:
        FileNotFoundError: nothing is prepared and no raw files are there; says what to put where.
        ValueError: an unknown name (the nearest is named), or prepared data that cannot be read.
    """
    place = Path(cache) if cache is not None else cache_dir()
    if _is_variant(name):
        variant = parse(name)
        base = open_dataset(variant.base, cache=place)
        found = load_prepared(variant.name, place, version=version_of(base, variant))
        return found if found is not None else _save_variant(base, variant, place)
    adapter = known(name)
    if adapter is None:
        found = load_prepared(name, place) if _NAME.fullmatch(name) else None
        if found is None:
            raise _unknown(name, place)
        _warn_of_changes(found)
        return found
    found = load_prepared(name, place, version=adapter.version)
    if found is not None and not _outdated(found):
        _warn_of_changes(found)
        return found
    folder = _folder_of(adapter)
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


def _is_variant(name: str) -> bool:
    """Return whether a name goes on with filters; a file's path is no such name."""
    return SEPARATOR in name and "/" not in name and suffix_of(Path(name)) is None


def _save_variant(base: Dataset, variant: Variant, place: Path) -> Dataset:
    """Keep a filtered data set in the cache; no filter at all is the base itself."""
    if variant.name == base.name:
        return base
    return save_prepared(filtered(base, variant), place, version=version_of(base, variant))


def _outdated(dataset: Dataset) -> bool:
    """Return whether a generated world was drawn with other parameters than today's."""
    return dataset.name == TOY.name and dataset.facts.get("toy_config") != to_dict(toy.ToyConfig())


def _read_own(
    name: str, from_dir: str | Path | None, form: str | None, columns: dict[str, str], place: Path
) -> tuple[str, Raw, int]:
    """Return the name, content and version of data that are under no known name."""
    file = Path(from_dir if from_dir is not None else name)
    is_table = suffix_of(file) is not None and not file.is_dir()
    if from_dir is None and not is_table:
        raise _unknown(name, place)
    known_as = _own_name(name, from_dir is not None)
    if is_table and form is None and (columns or not is_recognised(file)):
        return known_as, read_table(file, **columns), _TABLE_VERSION
    found, main = recognise(file, name=form)
    for option in columns:
        warnings.warn(f"{option} has no effect on {main.name}: its form is {found.name}", stacklevel=3)
    raw = found.read(main)
    return known_as, raw._replace(facts={"format": found.name, **raw.facts}), found.version


def _unknown(name: str, place: Path) -> ValueError:
    if not name.startswith("amazon-"):
        return unknown_name("data set", name, [*DATASETS, *list_prepared(place)])
    close = nearest(name, [*_AMAZON, *list_prepared(place)])
    hint = f" did you mean {close!r}?" if close is not None else ""
    return ValueError(f"unknown data set {name!r}:{hint} known: {AMAZON_NAMES}")


def _folder_of(adapter: Adapter) -> Path:
    return data_dir() / (adapter.place or adapter.name)


def _warn_of_changes(dataset: Dataset) -> None:
    changed = changed_files(dataset.facts)
    if changed:
        warnings.warn(
            f"{', '.join(changed)} changed after {dataset.name} was prepared: `workbench prepare` reads it again",
            stacklevel=3,
        )


def _download(adapter: Adapter, folder: Path, address: str | None) -> None:
    if address is None and not adapter.is_download:
        raise FileNotFoundError(
            f"{adapter.name} cannot be downloaded from here, and {_what_to_do(adapter, folder)}"
        )
    try:
        fetch_archive(address or adapter.address, adapter.files, folder)
    except ConnectionError as error:
        what = _what_to_do(adapter, folder)
        raise FileNotFoundError(f"{adapter.name} could not be downloaded ({error}), and {what}") from error


def _what_to_do(adapter: Adapter, folder: Path) -> str:
    download = (
        f"run `workbench prepare {adapter.name}` with a network, or unpack"
        if adapter.is_download
        else "fetch"
    )
    return (
        f"{adapter.missing(folder)[0]} is not in {folder}: {download} {adapter.address} and put "
        f"{_files_of(adapter)} into that folder, or name theirs with --from FOLDER"
    )


def _files_of(adapter: Adapter) -> str:
    others = f" (or {', '.join(adapter.other_files)})" if adapter.other_files else ""
    return ", ".join(adapter.files) + others


def _own_name(name: str, is_name: bool) -> str:
    """Return the name that a table gets: as given, or the file's without its ending."""
    file = Path(name)
    suffix = suffix_of(file)
    known_as = name if is_name or suffix is None else file.name[: -len(suffix)]
    if known(known_as) is not None:
        raise ValueError(f"the name {known_as!r} is taken by another data set: rename the file")
    if not _NAME.fullmatch(known_as):
        raise ValueError(f"{known_as!r} cannot be a name: use letters, digits, dots, dashes and underscores")
    return known_as
