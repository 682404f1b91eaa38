"""Data that come split: train, validation and test lists of items per user, kept exactly as they are.

Ids and order are those of the files; timestamps are positions. Maps beside the lists (``smap.json``,
``id_to_asin.json``) tell which original item an id stands for, and with it the title where the original is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffsasrec.interactions import GIVEN_PARTS
from diffsasrec.table_checks import check_table
from workbench.datasets import amazon, movielens
from workbench.datasets.dataset import Adapter, Format, Raw, source_facts
from workbench.datasets.reading import json_lines, read_json, shown
from workbench.datasets.table import positions
from workbench.paths import data_dir

_VERSION = 1
_NAMES = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_MAIN = re.compile(r"train\.(jsonl?(?:\.gz)?)")
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_MAPS = ("smap.json", "id_to_asin.json")


def read_given_split(main: Path, *, titles: Callable[[], pd.DataFrame | None] = lambda: None) -> Raw:
    """Return the lists of ``train.jsonl.gz`` (or ``.jsonl``, ``.json``, ``.json.gz``) and of the files beside it.

    A line, or an element of a JSON list, is ``{"user": 1, "items": [3, 5]}``; a JSON object is user -> items.

    Args:
        main: the file of the training part.
        titles: what gives ``item_id``, ``title`` and ``categories`` of the original items, where they are at hand.
    """
    files = _files_of(main)
    columns: list[pd.DataFrame] = []
    num_empty = 0
    everybody: set[Any] = set()
    parts: list[set[Any]] = []
    for part, file in enumerate(files):
        users, items = _read_part(main.parent / file)
        parts.append(set(users))
        everybody |= parts[-1]
        lengths = [len(some) for some in items]
        num_empty += lengths.count(0)
        flat = [item for some in items for item in some]
        rows = np.repeat(np.arange(len(users)), lengths)
        ids = {"user_id": pd.Series(users).to_numpy()[rows], "item_id": flat}
        columns.append(pd.DataFrame(ids).assign(part=np.int8(part)))
    table = pd.concat(columns, ignore_index=True)
    table["timestamp"] = positions(table["user_id"])

    def place(row: int) -> str:
        return f"{files[table['part'].iloc[row]]}, user {shown(table['user_id'].iloc[row])}"

    check_table(table, source=main.parent.name, place=place)
    items_table, maps = _describe(main.parent, table["item_id"], titles())
    facts = source_facts(main.parent, [*files, *maps])
    notes = [f"{num_empty} lists are empty"] if num_empty else []
    for file, users in zip(files, parts, strict=True):
        if len(users) < len(everybody):
            notes.append(f"{len(everybody) - len(users)} of {len(everybody)} users are not in {file}")
    facts["notes"] = notes
    return Raw(table, items_table, facts, is_dated=False, place=place)


def _files_of(main: Path) -> list[str]:
    """Return the names of the files of the three parts."""
    ending = main.name.removeprefix("train")
    files = []
    for part in GIVEN_PARTS:
        options = [f"{name}{ending}" for name in _NAMES[part]]
        there = [name for name in options if (main.parent / name).is_file()]
        if len(there) != 1:
            found = f"{', '.join(there)} are there" if there else "there is none"
            raise ValueError(f"{main.parent}: one of {', '.join(options)} is the {part} part, and {found}")
        files.append(there[0])
    return files


def _read_part(path: Path) -> tuple[list[Any], list[list[Any]]]:
    """Return the users and the items of each."""
    lists: dict[Any, list[Any]] = {}
    kinds: dict[str, type] = {}
    for where, user, items in _records(path):
        if not isinstance(items, list) or isinstance(user, bool) or not isinstance(user, int | str):
            raise ValueError(f'{where()}: each user reads {{"user": 1, "items": [3, 5]}}')
        if user in lists:
            raise ValueError(f"{where()}: user {shown(user)} has a list already: join the two")
        lists[user] = items
        for name, values in (("user", [user]), ("item", items)):
            for value in values:
                kind = kinds.setdefault(name, type(value))
                if type(value) is not kind or kind not in (int, str):
                    words = f"{name} {shown(value)}: ids must be all whole numbers or all texts"
                    raise ValueError(f"{where()}: {words}")
    if not lists:
        raise ValueError(f"{path.name} is empty: it must hold a list for each user")
    return list(lists), list(lists.values())


def _records(path: Path) -> Iterator[tuple[Callable[[], str], Any, Any]]:
    """Yield place, user and items of each record of a part."""
    if ".jsonl" in path.name:
        for number, record in json_lines(path, {"user": (int, str), "items": list}):
            yield partial("{}, line {}".format, path.name, number), record["user"], record["items"]
        return
    content = read_json(path)
    if isinstance(content, dict):
        for user, items in zip(_keys(content), content.values(), strict=True):
            yield partial("{}, user {}".format, path.name, shown(user)), user, items
        return
    for number, record in enumerate(content if isinstance(content, list) else [content], start=1):
        fields = record if isinstance(record, dict) else {}
        yield partial("{}, record {}".format, path.name, number), fields.get("user"), fields.get("items")


def _describe(folder: Path, ids: pd.Series, titles: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the items with their original ids, and titles where these are known, and the maps that were read."""
    items = pd.DataFrame({"item_id": pd.Index(ids.unique())})
    maps = [name for name in _MAPS if (folder / name).is_file()]
    if not maps:
        return items.assign(title=items["item_id"].astype("str"), categories=""), maps
    items["source_id"] = items["item_id"].map(_original_ids(folder / maps[-1]))
    if titles is None:
        shown = items["source_id"].where(items["source_id"].notna(), items["item_id"])
        return items.assign(title=shown.astype("str"), categories=""), maps
    found = titles.set_index("item_id").reindex(items["source_id"]).reset_index(drop=True)
    return pd.concat([items, found], axis=1), maps


def _original_ids(path: Path) -> dict[Any, Any]:
    """Return id -> original id, from pairs [original id, id] or from ``{"item": {id: original id}}``."""
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("item"), dict):
        found = content["item"]
        return dict(zip(_keys(found), found.values(), strict=True))
    pairs = content if isinstance(content, list) else [content]
    for pair in pairs:
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, int | str) for one in pair)
        ):
            raise ValueError(f"{path.name}: {shown(pair)} is no pair [original id, id]")
    return {ours: theirs for theirs, ours in pairs}


def _keys(found: dict[str, Any]) -> list[Any]:
    """Return the keys of a JSON object, as the numbers they must have been where all are whole numbers."""
    return [int(key) for key in found] if all(map(_WHOLE_NUMBER.fullmatch, found)) else list(found)


def _adapter(
    name: str, titles: Callable[[], pd.DataFrame | None], maps: tuple[str, ...], known: tuple[int, int, int]
) -> Adapter:
    users, items, interactions = known
    return Adapter(
        name=name,
        read=lambda folder: read_given_split(folder / "train.jsonl.gz", titles=titles),
        version=_VERSION,
        files=("train.jsonl.gz", "val.jsonl.gz", "test.jsonl.gz", *maps),
        address="https://github.com/WHUIR/DiffuRec",
        is_download=False,
        place=f"splits/{name}",
        licence="research use with citation (Li et al. 2024)",
        known_counts=({"users": users, "items": items, "interactions": interactions},),
    )


def _films() -> pd.DataFrame | None:
    folder = data_dir() / "ml-1m"
    return movielens.read_films(folder) if (folder / "movies.dat").is_file() else None


def _beauty() -> pd.DataFrame | None:
    file = data_dir() / "amazon-beauty-5core" / "items.parquet"
    return amazon.read_items_table(file) if file.is_file() else None


ADAPTERS = (
    _adapter("diffurec-ml-1m", _films, ("smap.json",), (6040, 3706, 1_000_209)),
    _adapter("diffurec-beauty", _beauty, ("id_to_asin.json",), (22_363, 12_101, 198_502)),
)

FORMATS = (
    Format(
        name="given-split",
        files="train, val and test, each .jsonl or .json, perhaps .gz; perhaps smap.json",
        version=_VERSION,
        find=lambda _, names: [name for name in names if _MAIN.fullmatch(name)],
        read=read_given_split,
    ),
)
